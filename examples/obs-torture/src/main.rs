//! Makes runs, says what obs promised of each, and dies on request: what fault tests are built on.
//!
//! It uses nothing but the public surface of `obs`, so whatever it proves holds for any program.

#![expect(clippy::print_stderr, reason = "a program for people and tests: it says what went wrong")]

mod acks;
mod args;
mod child;
mod ledger_file;
mod pace;
mod payload;
mod runs;
mod say;
mod setup;
mod signals;

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use obs::{Report, Telemetry};

use crate::{
    acks::Acks,
    args::Args,
    child::Child,
    ledger_file::LedgerFile,
    pace::Pace,
    payload::Pool,
    runs::{Ground, Work, make_here},
    signals::Stop,
};

/// The exit code for records that were not settled by the deadline.
const LATE: u8 = 3;

/// How long a forked child may take beyond its shutdown, before it is taken for stuck.
const CHILD_PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(problem) = args.check() {
        eprintln!("error: {problem}");
        return ExitCode::from(2);
    }
    match run(&args) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<u8, Box<dyn Error>> {
    // Before anything else opens a descriptor.
    let acks = Acks::open(args.ack_fd)?;
    let stop = Stop::on_sigterm()?;
    let telemetry = Arc::new(setup::telemetry(args)?);
    let snapshots = |path| LedgerFile::start(path, &telemetry);
    let ledger_file = args.metrics_file.as_deref().map(snapshots).transpose()?;
    let work = Arc::new(Work {
        strategy: setup::strategy(&telemetry)?,
        error_every: args.error_every,
        durability: args.durability(),
        pool: Pool::new(args.seed, args.row_bytes),
        acks,
        pace: Pace::new(args.rate),
        stop: stop.clone(),
        log_lines: args.log_lines,
        abort_at: args.abort_at,
    });
    let ground = Ground::new(args.runtime, args.threads)?;

    let before_fork = if args.fork { args.runs / 2 } else { args.runs };
    ground.make(&work, 0..before_fork, args.threads)?;
    let child = match args.fork {
        true => Some(Child::fork(|| after_the_fork(args, &work, &telemetry))?),
        false => None,
    };
    ground.make(&work, before_fork..args.runs, args.threads)?;
    if args.inflight_at_end > 0 {
        // Dropped, and with that cancelled, if this process is asked to end and not killed.
        let _open = work.open(args.runs, args.inflight_at_end);
        stop.wait();
    }
    let adopted = args.runs > 0 || setup::wait_until_adopted(&telemetry, &stop);
    let mut code = ended("", &ground.shutdown(&telemetry, args.shutdown()));
    if !adopted {
        code = LATE;
    }
    if let Some(ledger_file) = ledger_file {
        ledger_file.finish()?;
    }
    if let Some(child) = child {
        let status = child.wait(args.shutdown() + CHILD_PATIENCE)?;
        say::line(format_args!("child: exit status {status}"));
        if status != 0 && status != i32::from(LATE) {
            code = 1;
        }
    }
    Ok(code)
}

/// What the child does: as many runs as its parent has left, numbered from the parent's last on.
fn after_the_fork(args: &Args, work: &Work, telemetry: &Telemetry) -> Result<u8, Box<dyn Error>> {
    make_here(work, args.runs..args.runs + args.runs.div_ceil(2));
    let code = ended("child ", &telemetry.shutdown_blocking(args.shutdown()));
    if let Some(path) = &args.metrics_file {
        ledger_file::write(&ledger_file::of_child(path), &telemetry.ledger())?;
    }
    Ok(code)
}

/// Says how it ended, as text and as exit code.
fn ended(who: &str, report: &Report) -> u8 {
    let ledger = &report.ledger;
    say::line(format_args!(
        "{who}report: {report} (rows since the shutdown began)\n{who}ledger: {ledger}"
    ));
    if report.is_complete() { 0 } else { LATE }
}

/// The whole chain of an error in one line.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
