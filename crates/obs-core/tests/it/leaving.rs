//! Runs that nobody ends, that are open by the thousand, and that end elsewhere than they began.

use std::{sync::mpsc, thread};

use obs_core::testing::TestObs;

#[test]
#[expect(clippy::mem_forget, reason = "what is tested")]
fn forgotten_runs_stay_in_flight_and_are_the_only_ones() {
    const FORGOTTEN: u64 = 7;
    let test = TestObs::new();
    let strategy = test.obs().kind("dsl").lookup("bonus", "1");
    for at in 0..100 {
        let run = strategy.start();
        if at % 14 == 3 { std::mem::forget(run) } else { drop(run) }
    }
    let ledger = test.obs().ledger();
    let runs = &ledger.runs;
    assert_eq!((runs.started, runs.finished, runs.active), (100, 100 - FORGOTTEN, FORGOTTEN));
    assert_eq!(ledger.imbalance(), 0);
}

#[test]
fn ten_thousand_runs_within_each_other_are_each_in_flight_until_their_own_end() {
    const DEPTH: u64 = 10_000;
    /// How often the books are read.
    const STEP: usize = 100;
    let test = TestObs::new();
    let strategy = test.obs().kind("dsl").lookup("bonus", "1");
    let active = || test.obs().ledger().runs.active;
    let mut open = Vec::new();
    for depth in 0..DEPTH {
        if open.len().is_multiple_of(STEP) {
            assert_eq!(active(), depth);
        }
        open.push(strategy.start());
    }
    while let Some(inner) = open.pop() {
        inner.finish(Ok::<_, String>(())).unwrap();
        if open.len().is_multiple_of(STEP) {
            assert_eq!(active(), open.len() as u64);
        }
    }
    test.assert_balanced();
    assert_eq!(test.obs().ledger().runs.finished, DEPTH);
}

#[test]
fn runs_that_travel_through_threads_are_counted_once_each() {
    const RUNS: usize = 1_000;
    let test = TestObs::new();
    let strategy = test.obs().kind("dsl").lookup("bonus", "1");
    let (first, second) = mpsc::sync_channel(16);
    let (third, fourth) = mpsc::sync_channel(16);
    thread::scope(|scope| {
        scope.spawn(move || (0..RUNS).for_each(|_| first.send(strategy.start()).unwrap()));
        scope.spawn(move || {
            for mut run in second {
                run.node("between");
                third.send(run).unwrap();
            }
        });
        scope.spawn(move || {
            for (at, run) in fourth.into_iter().enumerate() {
                match at % 3 {
                    0 => drop(run),
                    1 => run.finish(Ok::<_, String>(())).unwrap(),
                    _ => drop(run.finish(Err::<(), _>("no".to_owned()))),
                }
            }
        });
    });
    let runs = test.obs().ledger().runs;
    assert_eq!((runs.started, runs.finished, runs.active), (1_000, 1_000, 0));
    test.assert_balanced();
    let failed = test.records().iter().filter(|record| record.status.is_failure()).count();
    assert_eq!(failed, RUNS / 3);
}
