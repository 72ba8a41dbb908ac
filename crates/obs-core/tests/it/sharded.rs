//! Cells against instruments: whatever happens, both export the same.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::Duration,
};

use obs_core::{Drained, ErrorStatus, FinishedRun, RunError, Status, Strategy, otel::Measure};
use proptest::{prelude::*, strategy::Strategy as Generator};

use crate::support::{Export, Measured, measured_with};

#[derive(Clone, Debug)]
struct Step {
    thread: usize,
    realm: usize,
    status: Status,
    nanos: u64,
    nodes: u64,
    /// Collect after this run.
    collect: bool,
    /// End this run's thread afterwards and go on with a new one.
    end_thread: bool,
}

fn step() -> impl Generator<Value = Step> {
    let status = prop_oneof![
        Just(Status::Ok),
        Just(Status::Ok),
        Just(Status::Error),
        Just(Status::Timeout),
        Just(Status::Cancelled),
    ];
    // Every order of magnitude, and the neighbourhood of bounds.
    let nanos = prop_oneof![
        (0_u32..40, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1)),
        (prop_oneof![Just(100_000_u64), Just(250_000_000), Just(10_000_000_000)], 0_u64..3)
            .prop_map(|(bound, offset)| bound - 1 + offset),
    ];
    let nodes = prop_oneof![0_u64..30, 0_u64..20_000];
    (
        0_usize..3,
        0_usize..2,
        status,
        nanos,
        nodes,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(thread, realm, status, nanos, nodes, collect, end_thread)| Step {
            thread,
            realm,
            status,
            nanos,
            nodes,
            collect,
            end_thread,
        })
}

/// A thread that records the runs it is sent, and says when it has.
struct Worker {
    runs: Option<SyncSender<(Strategy, FinishedRun, SyncSender<()>)>>,
    handle: Option<thread::JoinHandle<()>>,
}

impl Worker {
    fn new() -> Self {
        let (runs, received) = sync_channel::<(Strategy, FinishedRun, SyncSender<()>)>(1);
        let handle = thread::spawn(move || {
            for (strategy, run, done) in received {
                strategy.record(run);
                done.send(()).unwrap();
            }
        });
        Self { runs: Some(runs), handle: Some(handle) }
    }

    fn record(&self, strategy: &Strategy, run: FinishedRun) {
        let (done, is_done) = sync_channel(1);
        self.runs.as_ref().unwrap().send((strategy.clone(), run, done)).unwrap();
        is_done.recv().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.runs.take());
        self.handle.take().unwrap().join().unwrap();
    }
}

fn play(measure: Measure, steps: &[Step]) -> Export {
    let measured = measured_with(measure, true, |builder| builder).unwrap();
    let kind = measured.test.obs().kind("dsl");
    let strategies = ["a", "b"].map(|realm| kind.realm(realm).lookup("s", "1"));
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::new()).collect();
    for step in steps {
        let run = FinishedRun {
            status: step.status,
            duration: Duration::from_nanos(step.nanos),
            nodes: step.nodes,
            ..FinishedRun::default()
        };
        workers[step.thread].record(&strategies[step.realm], run);
        if step.end_thread {
            workers[step.thread] = Worker::new();
        }
        if step.collect {
            measured.export();
        }
    }
    measured.export()
}

fn assert_same(cells: &Export, direct: &Export) {
    assert_eq!(cells.numbers, direct.numbers);
    assert_eq!(
        cells.histograms.keys().collect::<Vec<_>>(),
        direct.histograms.keys().collect::<Vec<_>>()
    );
    for (name, points) in &direct.histograms {
        for (labels, expected) in points {
            let found = &cells.histograms[name][labels];
            assert_eq!(
                (&found.buckets, found.count),
                (&expected.buckets, expected.count),
                "{name}"
            );
            assert_eq!((found.min, found.max), (expected.min, expected.max), "{name}");
            let error = (found.sum - expected.sum).abs();
            assert!(error <= 1e-11 * expected.sum, "{name}: {} and {}", found.sum, expected.sum);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn cells_export_what_instruments_export_for_any_interleaving(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        assert_same(&play(Measure::InCells, &steps), &play(Measure::EachRun, &steps));
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_negative_while_threads_run_and_readers_collect() {
    const THREADS: usize = 3;
    const RUNS: usize = 30_000;
    let measured = measured_with(Measure::InCells, true, |builder| builder).unwrap();
    let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
    let in_flight = |measured: &Measured| {
        let export = measured.export();
        let active = export.total("obs.run.active");
        let finished: u64 =
            export.histograms["obs.run.duration"].values().map(|point| point.count).sum();
        let started = export.total("obs.run.started");
        assert!(active >= 0.0, "{active} in flight");
        assert_eq!(
            started - active,
            finished as f64,
            "started = finished + active in every export"
        );
    };
    strategy.start().finish(Ok::<_, String>(())).unwrap();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..RUNS {
                        let mut run = strategy.start();
                        run.add_nodes(3);
                        run.finish(Ok::<_, String>(())).unwrap();
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            in_flight(&measured);
        }
    });
    in_flight(&measured);
    let export = measured.export();
    assert_eq!(export.total("obs.run.started"), (THREADS * RUNS + 1) as f64);
    assert_eq!(export.total("obs.run.active"), 0.0);
    let nodes: f64 = export.histograms["obs.run.nodes"].values().map(|point| point.sum).sum();
    assert_eq!(nodes, (3 * THREADS * RUNS) as f64);
}

#[test]
fn runs_that_start_on_one_thread_and_end_on_another_are_in_flight_until_then() {
    let measured = measured_with(Measure::InCells, true, |builder| builder).unwrap();
    let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
    let runs: Vec<_> =
        thread::spawn(move || (0..10).map(|_| strategy.start()).collect()).join().unwrap();
    assert_eq!(measured.export().total("obs.run.active"), 10.0);
    drop(runs);
    assert_eq!(measured.export().total("obs.run.active"), 0.0);
}

#[test]
fn a_run_that_ends_while_its_threads_locals_are_destroyed_is_counted() {
    struct EndsLate(std::cell::RefCell<Option<obs_core::Run>>);
    thread_local! {
        static LATE: EndsLate = const { EndsLate(std::cell::RefCell::new(None)) };
    }
    let measured = measured_with(Measure::InCells, true, |builder| builder).unwrap();
    let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
    thread::spawn(move || {
        LATE.with(|late| *late.0.borrow_mut() = Some(strategy.start()));
        // Locals of this crate are made after ours, so they are destroyed first.
        strategy.start().finish(Ok::<_, String>(())).unwrap();
    })
    .join()
    .unwrap();
    let export = measured.export();
    assert_eq!(export.total("obs.run.started"), 2.0);
    assert_eq!(export.total("obs.run.active"), 0.0);
    measured.test.assert_balanced();
}

#[test]
fn failures_are_counted_by_their_code_at_once() {
    struct Late;
    impl RunError for Late {
        fn status(&self) -> ErrorStatus {
            ErrorStatus::Timeout
        }
    }
    let measured = measured_with(Measure::InCells, true, |builder| builder).unwrap();
    let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
    let _: Result<(), Late> = strategy.observe(&(), |_run| Err(Late));
    assert_eq!(measured.export().total("obs.run.errors"), 1.0);
}

#[test]
fn a_drain_leaves_nothing_to_a_collection_and_changes_nothing_it_exports() {
    let [drained, left] =
        [(); 2].map(|()| measured_with(Measure::InCells, true, |builder| builder).unwrap());
    for measured in [&drained, &left] {
        let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        for nanos in 1..2_000 {
            strategy.record(FinishedRun {
                duration: Duration::from_nanos(nanos * 1_000),
                nodes: nanos % 40,
                ..FinishedRun::default()
            });
            if std::ptr::eq(measured, &drained) && nanos % 300 == 0 {
                assert_eq!(measured.test.obs().drain(), Drained::Done);
            }
        }
    }
    assert_eq!(drained.test.obs().drain(), Drained::Done);
    assert_same(&drained.export(), &left.export());
}
