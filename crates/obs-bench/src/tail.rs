//! The tail: how long the slowest runs take while a collector collects every 5 ms.
//!
//! Both sides have the same 64 series, which runs take in turn, and export them to the same exporter. One
//! thread runs both, a few hundred runs of one and then of the other, and one collector collects both: what
//! the machine and the collector do hits both alike.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use obs_core::Strategy;

use crate::{
    Effort,
    hot::{self, Bound, Exported},
    report::{Aim, Report},
    windows::{median, quantile},
};

const EVERY: Duration = Duration::from_millis(5);
const SERIES: usize = 64;
/// Runs of a window and side, each with a time of its own.
const RUNS: usize = 100_000;
/// So many runs of one side, then as many of the other.
const TURN: usize = 500;

pub(crate) fn run(effort: Effort, report: &mut Report) {
    let exported = [Exported::new(), Exported::new()];
    let realms: Vec<String> = (0..SERIES).map(|series| format!("realm-{series}")).collect();
    let strategies: Vec<Strategy> = {
        let kind = hot::kind(&exported[0], hot::NEVER, false);
        let strategy = |realm: &String| kind.realm(realm).lookup("bonus", "3");
        realms.iter().map(strategy).collect()
    };
    let bound: Vec<Bound> = realms.iter().map(|realm| Bound::new(&exported[1], realm)).collect();
    let runs: [&dyn Fn(usize); 2] =
        [&|run| hot::plain_ok(&strategies[run % SERIES]), &|run| bound[run % SERIES].one_run()];
    // No run is the first of its series.
    (0..SERIES).for_each(|series| runs.iter().for_each(|run| run(series)));
    let rounds = effort.rounds.min(61);
    let mut tails = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (tails, nanos) in tails.iter_mut().zip(window(&runs, &exported)) {
            tails.push(quantile(&nanos, 0.999));
        }
    }
    let made = (rounds * RUNS + SERIES) as u64;
    assert_eq!(exported.each_ref().map(Exported::runs), [made, made], "under a collector");
    report.title("99.9th percentile, 64 series, under a collection every 5 ms, nanoseconds");
    report.nanos("obs, not kept, p99.9", median(&tails[0]));
    report.nanos("by hand, bound, p99.9", median(&tails[1]));
    report.ratio("p999_under_collector_vs_bound", &tails[0], &tails[1], Aim::AtMost(0.3));
}

/// How long each run took, of either side.
fn window(runs: &[&dyn Fn(usize); 2], exported: &[Exported; 2]) -> [Vec<f64>; 2] {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for exported in exported {
                    exported.runs();
                }
                thread::sleep(EVERY);
            }
        });
        let clock = quanta::Clock::new();
        let mut nanos = [Vec::with_capacity(RUNS), Vec::with_capacity(RUNS)];
        for turn in 0..RUNS / TURN {
            for (run, nanos) in runs.iter().zip(&mut nanos) {
                for at in 0..TURN {
                    let before = clock.raw();
                    run(turn * TURN + at);
                    nanos.push(clock.delta_as_nanos(before, clock.raw()) as f64);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        nanos
    })
}
