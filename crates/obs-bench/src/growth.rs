//! How the cost of a run grows with the number of strategies, of nodes, and with an outage of the store. What rows
//! cost as their tables grow is with the drain.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use obs_persist::testing::MemoryStore;
use tempfile::tempdir;

use crate::{
    hot::{self, Exported},
    report::Report,
    store::Pipeline,
    windows::median,
};

const RUNS: usize = 20_000;
const ROUNDS: usize = 7;

/// How long the store is away, in minutes, and how many errors come meanwhile.
const OUTAGES: [usize; 4] = [0, 1, 10, 60];
const ERRORS_A_MINUTE: usize = 36 * 60;
/// Errors of one strategy: of more, a part would be stored without what makes them large.
const ERRORS_OF_ONE: usize = 90;
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn run(report: &mut Report) {
    strategies_and_nodes(report);
    outage(report);
}

/// What runs cost when so many errors wait in the spool as an outage leaves there, and what those cost
/// when it is over. No time passes: of that, the worker's tests have an hour.
fn outage(report: &mut Report) {
    report.title("nanoseconds a run, as an outage goes on with 36 errors a second");
    let folder = tempdir().unwrap();
    let store = MemoryStore::new();
    store.set_down(true);
    let pipeline = Pipeline::new(store, hot::NEVER, Some(folder.path()));
    let plain = pipeline.strategy("bonus");
    let mut failed = 0;
    for minutes in OUTAGES {
        while failed < minutes * ERRORS_A_MINUTE {
            fail(&pipeline, &mut failed);
        }
        let windows: Vec<f64> = (0..ROUNDS).map(|_| fail(&pipeline, &mut failed)).collect();
        report.nanos(&format!("a failed run, spooled, after {minutes} minutes"), median(&windows));
        let nanos = fastest_of(|_| hot::plain_ok(&plain));
        report.nanos(&format!("a run, not kept, after {minutes} minutes"), nanos);
    }
    pipeline.store.set_down(false);
    let before = Instant::now();
    let flushed = pipeline.persister.flush_blocking(DEADLINE);
    let nanos = before.elapsed().as_secs_f64() * 1e9 / failed as f64;
    assert!(flushed.complete && flushed.dropped.total() == 0, "{flushed}");
    assert_eq!(pipeline.store.rows().len(), failed, "every failed run became a row");
    report.nanos("an error, from the spool to a store in memory", nanos);
}

/// Some runs that fail, of a strategy of their own; nanoseconds each.
fn fail(pipeline: &Pipeline, failed: &mut usize) -> f64 {
    let strategy = pipeline.strategy(&format!("tenant-rule-{failed}"));
    let before = Instant::now();
    for _ in 0..ERRORS_OF_ONE {
        let result: Result<(), &str> = strategy.observe(&"order 66", |run| {
            run.add_nodes(black_box(hot::NODES)).subject("user-7");
            Err("division by zero")
        });
        black_box(result).unwrap_err();
    }
    *failed += ERRORS_OF_ONE;
    before.elapsed().as_secs_f64() * 1e9 / ERRORS_OF_ONE as f64
}

fn strategies_and_nodes(report: &mut Report) {
    report.title("nanoseconds a run, not kept, as work grows");
    for strategies in [1, 10, 100, 1_000, 10_000] {
        let exported = Exported::new();
        let kind = hot::kind(&exported, hot::NEVER, false);
        let ids: Vec<String> = (0..strategies).map(|id| format!("tenant-rule-{id}")).collect();
        let nanos = fastest_of(|run| hot::plain_ok(&kind.lookup(&ids[run % ids.len()], "1")));
        report.nanos(&format!("{strategies} strategies by lookup"), nanos);
    }
    for nodes in [0, 1, 10, 50, 200] {
        let exported = Exported::new();
        let strategy = hot::strategy(&exported, hot::NEVER, false);
        let nanos = fastest_of(|_| {
            let result: Result<(), String> = strategy.observe(&(), |run| {
                for _ in 0..black_box(nodes) {
                    run.node("n-compare-1").kind("compare").branch("match");
                }
                Ok(())
            });
            black_box(result).unwrap();
        });
        report.nanos(&format!("a trace of {nodes} nodes"), nanos);
    }
}

fn fastest_of(run: impl Fn(usize)) -> f64 {
    let window = |_| {
        let before = Instant::now();
        (0..RUNS).for_each(&run);
        before.elapsed().as_secs_f64() * 1e9 / RUNS as f64
    };
    (0..ROUNDS).map(window).fold(f64::INFINITY, f64::min)
}
