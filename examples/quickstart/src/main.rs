//! A real rules engine on real earthquakes, watched by obs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people: it prints what it saw"
)]

mod args;
mod engine;
mod error;
mod events;
mod nearby;
mod operators;
mod page;
mod plan;
mod report;
mod rows;
mod rules;
mod scoring;
mod text;
mod work;

use std::{
    env,
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use obs::{StoreState, Telemetry};

use crate::{
    args::{Args, HELP},
    engine::Engine,
    page::Page,
    plan::Plan,
    report::{Report, measured_nodes},
    scoring::Scoring,
};

/// How long a thread waits for room between two runs, so that no row is refused for lack of it.
const ROOM_DEADLINE: Duration = Duration::from_secs(30);
/// How long rows and metrics have to arrive after the last run.
const FLUSH_DEADLINE: Duration = Duration::from_secs(15);
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// The same where the store is down, and a person waits for a page that will say so.
const DOWN_DEADLINE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = match Args::parse(env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    if args.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut builder = obs::builder().snapshots(true);
    if let Some(seed) = args.seed {
        builder = builder.seed(seed);
    }
    let telemetry = builder.init()?;
    let engine = Engine::new(events::load()?)?;
    let events = engine.events().len();
    let (files, shares): (Vec<_>, Vec<_>) = rules::files()?.into_iter().unzip();
    let rules = files.into_iter().map(|file| engine.compile(file)).collect::<Result<_, _>>()?;
    let plan = Plan::new(&shares, events, args.seed);
    let scoring = Scoring::new(&telemetry, engine, rules)?;

    work::share(args.runs, args.threads, |run| {
        telemetry.wait_for_room(ROOM_DEADLINE);
        scoring.run(plan.step(run));
    });

    let flushed = telemetry.flush_blocking(deadline(&telemetry, FLUSH_DEADLINE));
    if !flushed.is_complete() {
        eprintln!("warning: {flushed}");
    }
    show(args, events, &telemetry, &scoring)?;
    thread::sleep(args.hold);
    let ended = telemetry.shutdown_blocking(deadline(&telemetry, SHUTDOWN_DEADLINE));
    if !ended.is_complete() {
        eprintln!("warning: {ended}");
    }
    Ok(())
}

fn deadline(telemetry: &Telemetry, usual: Duration) -> Duration {
    let down = telemetry.store_state() == Some(StoreState::Down);
    if down { DOWN_DEADLINE } else { usual }
}

/// Prints what there is to see, and refuses numbers that contradict one another.
fn show(
    args: &Args,
    events: usize,
    telemetry: &Telemetry,
    scoring: &Scoring,
) -> Result<(), Box<dyn Error>> {
    let metrics = telemetry.snapshot()?;
    let (kept, store_error) = match rows::read(telemetry) {
        Ok(kept) => (kept, None),
        Err(error) => (None, Some(with_causes(&*error))),
    };
    let report =
        Report::new(&metrics, &telemetry.ledger(), scoring, telemetry.store_url(), kept.as_ref());
    let text = if args.json {
        serde_json::to_string(&report)? + "\n"
    } else {
        let (kept, store_error) = (kept.as_ref(), store_error.as_deref());
        Page { report: &report, kept, store_error, runs: args.runs, events }.to_string()
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads, as `head` does, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    match report.contradictions(args.runs, measured_nodes(&metrics)) {
        none if none.is_empty() => Ok(()),
        found => Err(Box::new(Contradiction(found))),
    }
}

/// Numbers that do not add up.
#[derive(Debug)]
struct Contradiction(Vec<String>);

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the numbers contradict one another, which is a bug: {}", self.0.join("; "))
    }
}

impl Error for Contradiction {}

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
