//! The `obs` command: what an operator of rows, spool and ledger needs.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod config;
mod error;
mod folder;
mod output;
mod text;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, output::Output};

fn main() -> ExitCode {
    // Wrong calls, `--help` and `--version` end here, with clap's own words and codes.
    let args = Args::parse();
    let mut output = Output::new(args.json);
    match commands::run(&args, &mut output).and_then(|()| output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.complain(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
