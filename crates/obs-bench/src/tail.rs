//! The tail: how long the slowest runs take while a collector collects every 5 ms.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    Effort,
    hot::{self, Bound, Exported},
    report::{Aim, Report},
    windows::{median, quantile},
};

const EVERY: Duration = Duration::from_millis(5);
/// Runs of a window, each with a time of its own.
const RUNS: usize = 100_000;

pub(crate) fn run(effort: Effort, report: &mut Report) {
    let exported = [Exported::new(), Exported::new()];
    let (strategy, bound) = (hot::strategy(&exported[0], 0.0, false), Bound::new(&exported[1]));
    let runs: [&(dyn Fn() + Sync); 2] = [&|| hot::plain_ok(&strategy), &|| bound.one_run()];
    let rounds = effort.rounds.min(61);
    let mut tails = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((run, exported), tails) in runs.iter().zip(&exported).zip(&mut tails) {
            tails.push(window(*run, exported));
        }
    }
    let made = (rounds * RUNS) as u64;
    assert_eq!(exported.each_ref().map(Exported::runs), [made, made], "under a collector");
    report.title("99.9th percentile under a collection every 5 ms, nanoseconds");
    report.nanos("obs, not kept, p99.9", median(&tails[0]));
    report.nanos("by hand, bound, p99.9", median(&tails[1]));
    report.ratio("p999_under_collector_vs_bound", &tails[0], &tails[1], Aim::AtMost(0.3));
}

fn window(run: &(dyn Fn() + Sync), exported: &Exported) -> f64 {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                exported.runs();
                thread::sleep(EVERY);
            }
        });
        let clock = quanta::Clock::new();
        let mut nanos = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let before = clock.raw();
            run();
            nanos.push(clock.delta_as_nanos(before, clock.raw()) as f64);
        }
        done.store(true, Ordering::Relaxed);
        quantile(&nanos, 0.999)
    })
}
