//! Rollups against a model: whatever happens, they add up to the runs that ended.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use obs_core::{
    Class, FinishedRun, Rollup, RollupSink, Status, Strategy, otel::Measure, testing::TestObs,
};
use proptest::{prelude::*, strategy::Strategy as Generator};

use crate::support::{Measured, measured_with};

const MINUTE: Duration = Duration::from_secs(60);

/// Keeps the last rollup of each key, as a store does, and counts what it was handed.
#[derive(Debug, Default)]
struct Last(Mutex<HashMap<Key, Rollup>>);

/// Minute, kind, realm, strategy, version, status.
type Key = (i64, String, Option<String>, String, String, Status);

impl RollupSink for Last {
    fn take(&self, rollups: Vec<Rollup>) {
        assert!(rollups.len() <= 256);
        let mut last = self.0.lock().unwrap();
        for rollup in rollups {
            assert_eq!(
                rollup.count,
                rollup.durations.iter().map(|bucket| bucket.count).sum::<u64>()
            );
            assert!(rollup.count > 0);
            let realm = rollup.realm.as_deref().map(Into::into);
            let texts = [&rollup.kind, &rollup.strategy_id, &rollup.strategy_version];
            let [kind, id, version] = texts.map(|text| (**text).to_owned());
            let key = (rollup.minute.as_micros(), kind, realm, id, version, rollup.status);
            let before = last.insert(key, rollup.clone());
            assert!(before.is_none_or(|it| !it.complete && it.count <= rollup.count), "{rollup:?}");
        }
    }
}

impl Last {
    fn all(&self) -> Vec<Rollup> {
        self.0.lock().unwrap().values().cloned().collect()
    }

    fn count(&self, is_meant: impl Fn(&Rollup) -> bool) -> u64 {
        self.all().iter().filter(|rollup| is_meant(rollup)).map(|rollup| rollup.count).sum()
    }
}

fn rolled_up() -> (TestObs, Arc<Last>) {
    let last = Arc::new(Last::default());
    let sink = Arc::clone(&last) as Arc<dyn RollupSink>;
    (TestObs::with(|builder| builder.rollups(sink)).unwrap(), last)
}

fn run(status: Status, nanos: u64, nodes: u64) -> FinishedRun {
    FinishedRun { status, duration: Duration::from_nanos(nanos), nodes, ..FinishedRun::default() }
}

#[derive(Clone, Debug)]
enum Step {
    Run {
        thread: usize,
        strategy: usize,
        status: Status,
        nanos: u64,
        nodes: u64,
    },
    EndThread(usize),
    /// A strategy that nobody can run any more, and that comes back at its next run.
    Forget(usize),
    Advance(u64),
    JumpBack,
    Drain,
    RollUp,
    Collect,
}

fn step() -> impl Generator<Value = Step> {
    let status = prop_oneof![
        Just(Status::Ok),
        Just(Status::Error),
        Just(Status::Timeout),
        Just(Status::Cancelled)
    ];
    let nanos = (0_u32..40, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1));
    prop_oneof![
        8 => (0_usize..3, 0_usize..3, status, nanos, 0_u64..50).prop_map(
            |(thread, strategy, status, nanos, nodes)| Step::Run { thread, strategy, status, nanos, nodes }
        ),
        1 => (0_usize..3).prop_map(Step::EndThread),
        1 => (0_usize..3).prop_map(Step::Forget),
        2 => (1_u64..100).prop_map(Step::Advance),
        1 => Just(Step::JumpBack),
        2 => Just(Step::Drain),
        1 => Just(Step::RollUp),
        1 => Just(Step::Collect),
    ]
}

type Work = (Strategy, FinishedRun, SyncSender<()>);

/// A thread that records the runs it is sent, and says when it has.
fn worker() -> (SyncSender<Work>, thread::JoinHandle<()>) {
    let (runs, received) = sync_channel::<Work>(1);
    let handle = thread::spawn(move || {
        for (strategy, run, done) in received {
            strategy.record(run);
            drop(strategy);
            done.send(()).unwrap();
        }
    });
    (runs, handle)
}

/// How many runs ended so, how long they took, and their nodes.
type Expected = HashMap<(String, Status), (u64, u128, u128)>;

fn play(measured: &Measured, steps: Vec<Step>) -> Expected {
    let (obs, clock) = (measured.test.obs(), measured.test.clock());
    let mut expected = Expected::new();
    let mut workers: Vec<_> = (0..3).map(|_| worker()).collect();
    // Strategies of a kind are remembered; a kind of its own is the way to forget one.
    let mut kinds = [0_usize; 3];
    for step in steps {
        match step {
            Step::Run { thread, strategy, status, nanos, nodes } => {
                let id = format!("s{strategy}");
                let known = obs.kind(&format!("k{}", kinds[strategy])).lookup(&id, "1");
                let (done, is_done) = sync_channel(1);
                workers[thread].0.send((known, run(status, nanos, nodes), done)).unwrap();
                is_done.recv().unwrap();
                let sums = expected.entry((id, status)).or_default();
                *sums = (sums.0 + 1, sums.1 + u128::from(nanos), sums.2 + u128::from(nodes));
            }
            Step::EndThread(thread) => {
                let (runs, handle) = std::mem::replace(&mut workers[thread], worker());
                drop(runs);
                handle.join().unwrap();
            }
            Step::Forget(strategy) => kinds[strategy] += 1,
            Step::Advance(seconds) => clock.advance(Duration::from_secs(seconds)),
            Step::JumpBack => clock.jump_wall(-90_000_000),
            Step::Drain => while obs.drain() == obs_core::Drained::More {},
            Step::RollUp => obs.roll_up(),
            Step::Collect => drop(measured.export()),
        }
    }
    expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rollups_add_up_to_the_ledger_for_any_interleaving_of_runs_threads_minutes_and_drains(
        steps in prop::collection::vec(step(), 0..150), in_cells: bool,
    ) {
        let last = Arc::new(Last::default());
        let sink = Arc::clone(&last) as Arc<dyn RollupSink>;
        let measure = if in_cells { Measure::InCells } else { Measure::EachRun };
        let measured = measured_with(measure, true, |builder| builder.rollups(sink)).unwrap();
        let expected = play(&measured, steps);
        measured.test.obs().roll_up();
        let mut found = Expected::new();
        for rollup in last.all() {
            let sums = found.entry((rollup.strategy_id.to_string(), rollup.status)).or_default();
            let (count, nanos, nodes) = (rollup.count, rollup.duration_nanos, rollup.nodes);
            *sums = (sums.0 + count, sums.1 + nanos, sums.2 + nodes);
        }
        prop_assert_eq!(found, expected);
        let ledger = measured.test.obs().ledger();
        for class in Class::ALL {
            let count = last.count(|rollup| rollup.status.class() == class);
            prop_assert_eq!(count, ledger.class(class).recorded, "{}", class);
        }
        prop_assert_eq!(last.count(|_| true), ledger.runs.finished);
    }
}

#[test]
fn nothing_is_lost_while_threads_run_minutes_pass_and_two_drain() {
    const THREADS: u64 = 3;
    const RUNS: u64 = 20_000;
    let (test, last) = rolled_up();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let strategy = test.obs().kind("dsl").lookup(&format!("s{}", thread % 2), "1");
                scope.spawn(move || {
                    for number in 0..RUNS {
                        strategy.record(run(Status::Ok, number, 1));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                test.obs().roll_up();
            }
        });
        while workers.iter().any(|worker| !worker.is_finished()) {
            test.clock().advance(MINUTE);
            let _ = test.obs().drain();
        }
        over.store(true, Ordering::Release);
    });
    test.obs().roll_up();
    assert_eq!(last.count(|_| true), THREADS * RUNS);
    let all = last.all();
    let nanos: u128 = all.iter().map(|rollup| rollup.duration_nanos).sum();
    assert_eq!(nanos, u128::from(THREADS * (RUNS * (RUNS - 1) / 2)));
    assert_eq!(all.iter().map(|rollup| rollup.nodes).sum::<u128>(), u128::from(THREADS * RUNS));
}

#[test]
fn a_run_belongs_to_the_minute_of_the_first_drain_after_it_and_minutes_do_not_go_back() {
    let (test, last) = rolled_up();
    let strategy = test.obs().kind("dsl").realm("acme").lookup("bonus", "3");
    let start = test.clock();
    let minute_of =
        |rollup: &Rollup| (rollup.minute.as_micros() - 1_767_225_600_000_000) / 60_000_000;
    strategy.record(run(Status::Ok, 5, 1));
    let _ = test.obs().drain();
    assert!(last.all().is_empty(), "the minute is not over");
    start.advance(MINUTE);
    strategy.record(run(Status::Ok, 7, 1));
    let _ = test.obs().drain();
    let first = last.all();
    assert_eq!(first.iter().map(|it| (minute_of(it), it.count)).collect::<Vec<_>>(), [(0, 1)]);
    assert!(first[0].complete && first[0].epoch == test.obs().epoch());
    assert_eq!((first[0].realm.as_deref(), &*first[0].strategy_version), (Some("acme"), "3"));
    start.jump_wall(-3_600_000_000);
    strategy.record(run(Status::Ok, 9, 1));
    test.obs().roll_up();
    assert_eq!(last.count(|rollup| minute_of(rollup) == 1 && !rollup.complete), 2);
}

#[test]
fn strategies_that_find_no_room_are_counted_together_and_numbers_are_used_again() {
    const ROOM: usize = 4_096;
    let (test, last) = rolled_up();
    let record = |kind: &str, id: usize| {
        let strategy = test.obs().kind(kind).strategy(id.to_string()).version("1").build().unwrap();
        strategy.record(run(Status::Ok, 1_000, 1));
        strategy
    };
    let held: Vec<_> = (0..ROOM + 3).map(|id| record("dsl", id)).collect();
    test.obs().roll_up();
    assert_eq!(test.obs().rollups_folded(), 3);
    assert_eq!(last.count(|rollup| &*rollup.strategy_id == "_OTHER"), 3);
    assert_eq!(last.all().len(), ROOM + 1);
    drop(held);
}

#[test]
fn two_strategies_that_a_rollup_cannot_tell_apart_are_one_rollup() {
    let (test, last) = rolled_up();
    for hash in ["sha256:1", "sha256:2"] {
        let builder = test.obs().kind("dsl").strategy("bonus").version("1");
        builder.hash(hash).build().unwrap().record(run(Status::Ok, 1, 1));
    }
    test.obs().roll_up();
    assert_eq!(last.all().iter().map(|rollup| rollup.count).collect::<Vec<_>>(), [2]);
}
