//! Drives a service over HTTP as its users would, and says whether it holds: a mix of requests, a warm-up, a hold, a
//! ramp-down, thresholds; then the service's ledger, and the totals in Prometheus against its own.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod args;
mod client;
mod report;
mod users;

use std::{env, process::ExitCode};

use args::{Args, HELP};
use client::Client;
use report::{balance_of, totals_of};

/// For a wrong call, as sysexits.h has it.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::parse(env::args_os().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(USAGE);
        }
    };
    let report = users::drive(&args);
    let mut broken = report.broken_thresholds(args.users);
    broken.extend(ledger(&args));
    broken.extend(
        args.prometheus.as_ref().and_then(|address| totals_of(address, &args.job, &report)),
    );
    print!("{report}");
    for threshold in &broken {
        eprintln!("BROKEN: {threshold}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is wrong with the ledger of the service.
fn ledger(args: &Args) -> Option<String> {
    let path = args.ledger.as_deref()?;
    match Client::new(&args.target).get(path) {
        Ok((status, body)) => balance_of(status, &body),
        Err(error) => Some(format!("the ledger cannot be read: {error}")),
    }
}
