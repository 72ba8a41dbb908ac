//! The tail: how long the slowest runs take while a collector collects every 5 ms.
//!
//! Both sides have the same 64 series, which runs take in turn, and export them to the same exporter. Each has
//! windows of its own, with a thread that runs and one that collects, and the windows take turns: a run that
//! follows one of the other side would find the caches full of that.

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
/// Runs of a window, each with a time of its own: several collections.
const RUNS: usize = 400_000;

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
    // Written once before: at a page that is new to the process the next run would be slow, one in 512.
    let mut nanos = vec![1.0; RUNS];
    for _ in 0..rounds {
        for ((run, exported), tails) in runs.iter().zip(&exported).zip(&mut tails) {
            window(run, exported, &mut nanos);
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

/// Measures how long each run takes.
fn window(run: &dyn Fn(usize), exported: &Exported, nanos: &mut [f64]) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                exported.runs();
                thread::sleep(EVERY);
            }
        });
        let clock = quanta::Clock::new();
        for (at, nanos) in nanos.iter_mut().enumerate() {
            let before = clock.raw();
            run(at);
            *nanos = clock.delta_as_nanos(before, clock.raw()) as f64;
        }
        done.store(true, Ordering::Relaxed);
    });
}
