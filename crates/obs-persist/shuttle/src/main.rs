//! Random schedules of the lanes, the worker, the clerk and those who flush and shut down, with the very
//! files that obs-persist is built from, and the checker's locks and a simulated time in them.
//!
//!   just shuttle                    every model, 2,000 schedules of each kind
//!   just shuttle 10000 [NAME...]    so many, of these only
//!
//! Half of the schedules are drawn by PCT, with three changes of priority, half at random. The checker
//! finds a deadlock by itself; a schedule that fails is printed, to be replayed.

#![expect(dead_code, unused_imports, reason = "not all of the files is modelled")]
#![expect(clippy::print_stdout, reason = "a tool prints")]

#[path = "../../src"]
mod tree {
    pub(crate) mod batch;
    pub(crate) mod believed;
    pub(crate) mod bisect;
    pub(crate) mod canary;
    pub(crate) mod lanes;
    pub(crate) mod maintenance;
    pub(crate) mod report;
    pub(crate) mod retry;
    pub(crate) mod said;
    pub(crate) mod shared;
    pub(crate) mod store;
    pub(crate) mod stored;
    pub(crate) mod waiters;
    pub(crate) mod worker;
}
mod config;
mod models;
mod outside;
mod spool;
mod sync;

use std::{process::ExitCode, time::Instant};

use shuttle::{
    Config, MaxSteps, Runner,
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};

pub(crate) use outside::{erasure, platform, quarantine};
pub(crate) use tree::{
    batch, believed, bisect, canary, lanes, maintenance, report, retry, said, shared, store,
    stored, waiters, worker,
};

/// How many schedules of each kind, unless told.
const SCHEDULES: usize = 2_000;

/// How often PCT changes the priorities of a schedule.
const DEPTH: usize = 3;

/// The stack of a task: the checker's default is too small for real code.
const STACK_BYTES: usize = 256 << 10;

/// A schedule that takes more steps goes round in circles.
const STEPS_MAX: usize = 200_000;

fn main() -> ExitCode {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let count = wanted.first().and_then(|count| count.parse().ok());
    if count.is_some() {
        wanted.remove(0);
    }
    let known = |name: &&String| models::ALL.iter().any(|(model, _)| model == *name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<_> = models::ALL.iter().map(|(name, _)| *name).collect();
        println!("there is no model {unknown}: take one of {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    for (name, model) in models::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            check(name, count.unwrap_or(SCHEDULES), model);
        }
    }
    ExitCode::SUCCESS
}

/// Panics at the first schedule in which the model does not hold.
fn check(name: &str, schedules: usize, model: fn()) {
    let start = Instant::now();
    run(PctScheduler::new(DEPTH, schedules), model);
    run(RandomScheduler::new(schedules), model);
    let seconds = start.elapsed().as_secs_f64();
    println!("{name}: holds in {schedules} schedules of each kind ({seconds:.1} s)");
}

fn run(scheduler: impl Scheduler + 'static, model: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    Runner::new(scheduler, config).run(model);
}
