//! Runs in flight: listed, measured, and found by the next process.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use obs_core::{
    Clock, FinishedRun, Obs, Page, PageError, Recording, Status, Timestamp, in_flight,
    testing::{TestObs, assert_balanced},
};

use crate::support::{measured, measured_with};

#[derive(Debug)]
struct Words(Vec<AtomicU64>);

impl Words {
    fn blank() -> Arc<Self> {
        Arc::new(Self((0..in_flight::PAGE_WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    /// What a process that is killed now leaves.
    fn left(&self) -> in_flight::LostRuns {
        let words: Vec<_> = self.0.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        in_flight::read_page(&words).unwrap()
    }
}

impl Page for Words {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

fn on(page: &Arc<Words>) -> TestObs {
    let page = Arc::clone(page) as Arc<dyn Page>;
    TestObs::with(|builder| builder.in_flight_page(page)).unwrap()
}

#[test]
fn a_lost_run_has_the_id_that_the_run_had() {
    let page = Words::blank();
    let test = on(&page);
    let kind = test.obs().kind("dsl").realm("acme").type_("chain");
    let strategy = kind.strategy("bonus").version("3").hash("sha256:9f2c").build().unwrap();
    let mut run = strategy.start();
    let lost = page.left().records();
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].run_id, lost[0].status), (run.id(), Status::Lost));
    assert_eq!(lost[0].epoch, test.obs().epoch());
    run.finish(Err::<(), _>("no".to_owned())).unwrap_err();
    let record = &test.records()[0];
    assert_eq!((record.run_id, record.started_at), (lost[0].run_id, lost[0].started_at));
    assert_eq!(
        (&record.kind, &record.realm, &record.strategy_id, &record.strategy_version),
        (&lost[0].kind, &lost[0].realm, &lost[0].strategy_id, &lost[0].strategy_version)
    );
    assert_eq!(
        (&record.strategy_type, &record.strategy_hash),
        (&lost[0].strategy_type, &lost[0].strategy_hash)
    );
    assert!(page.left().runs.is_empty());
}

#[test]
fn on_the_clock_of_the_system_a_lost_run_has_the_id_and_the_start_that_the_run_had() {
    let page = Words::blank();
    let obs = Obs::builder().in_flight_page(Arc::clone(&page) as Arc<dyn Page>).build().unwrap();
    let strategy = obs.kind("dsl").lookup("bonus", "3");
    let wall = || Clock::default().wall().as_micros();
    // Long enough that the thread reads the wall clock again and again.
    let end = wall() + 50_000;
    while wall() < end {
        let before = wall();
        let mut run = strategy.start();
        let after = wall();
        let lost = page.left();
        assert_eq!((lost.runs.len(), lost.torn), (1, 0));
        assert_eq!(lost.runs[0].run_id, run.id());
        let started_at = lost.runs[0].started_at.as_micros();
        // The thread may be interrupted between its readings of the two clocks.
        const OFF: i64 = 1_000_000;
        assert!(
            (before - OFF..=after + OFF).contains(&started_at),
            "{before} {started_at} {after}"
        );
        let listed = obs.in_flight(1);
        assert_eq!(listed[0].run, lost.runs[0]);
        assert!(listed[0].age < Duration::from_secs(10), "{:?}", listed[0].age);
        run.finish(Ok::<_, String>(())).unwrap();
    }
}

#[test]
fn the_id_of_a_run_stays_when_its_thread_reads_the_wall_clock_again() {
    let page = Words::blank();
    let test = on(&page);
    let strategy = test.obs().kind("dsl").lookup("bonus", "3");
    let mut run = strategy.start();
    let lost = page.left().runs;
    test.clock().jump_wall(3_600_000_000);
    test.clock().advance(Duration::from_secs(1));
    drop(strategy.start());
    assert_eq!(page.left().runs, lost);
    assert_eq!(run.id(), lost[0].run_id);
    let _ = run.finish(Err::<(), _>("no".to_owned()));
    let record = test.records().into_iter().find(|record| record.run_id == lost[0].run_id).unwrap();
    assert_eq!((record.status, record.started_at), (Status::Error, lost[0].started_at));
}

#[test]
fn a_page_of_another_layout_is_refused() {
    let page = Words::blank();
    let _test = on(&page);
    let mut words: Vec<_> = page.0.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    assert!(in_flight::read_page(&words).is_ok());
    // The one before had ids and starts in its slots.
    words[1] = 1;
    let error = in_flight::read_page(&words).unwrap_err();
    assert!(matches!(error, PageError::Version { version: 1, .. }), "{error}");
}

#[test]
fn whatever_ends_a_run_frees_its_slot() {
    let page = Words::blank();
    let test = on(&page);
    let strategy = test.obs().kind("dsl").lookup("s", "1");
    let quiet = || std::panic::resume_unwind(Box::new("quiet panic"));
    strategy.start().finish(Ok::<_, String>(())).unwrap();
    strategy.start().finish(Err::<(), _>("no".to_owned())).unwrap_err();
    drop(strategy.start());
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _run = strategy.start();
        let _ = quiet();
    }));
    let _ = catch_unwind(AssertUnwindSafe(|| {
        strategy.observe(&(), |_run| -> Result<(), String> { quiet() })
    }));
    drop(strategy.observe_async(&(), async |_run| Ok::<_, String>(())));
    let run = strategy.start();
    std::thread::spawn(move || drop(run)).join().unwrap();
    assert!(page.left().runs.is_empty());
    assert_balanced(test.obs());
}

#[test]
fn while_the_record_is_handed_over_the_slot_is_still_taken() {
    /// Looks at the page as a process would leave it that is killed in `submit`.
    #[derive(Debug)]
    struct Looks(Arc<Words>, AtomicU64);
    impl obs_core::Sink for Looks {
        fn submit(&self, kept: obs_core::Kept) -> obs_core::Ack {
            let lost = self.0.left().runs;
            assert_eq!(lost[0].run_id, kept.record.run_id);
            self.1.fetch_add(1, Ordering::Relaxed);
            kept.ticket.persisted();
            obs_core::Ack::Memory
        }
        fn capacity(&self, _class: obs_core::Class) -> u64 {
            1
        }
    }
    let page = Words::blank();
    let sink = Arc::new(Looks(Arc::clone(&page), AtomicU64::new(0)));
    let obs = Obs::builder()
        .in_flight_page(page)
        .sink(Arc::clone(&sink) as Arc<dyn obs_core::Sink>)
        .build()
        .unwrap();
    let strategy = obs.kind("dsl").lookup("s", "1");
    drop(strategy.start());
    strategy.observe(&(), |_run| Err::<(), _>("no".to_owned())).unwrap_err();
    assert_eq!(sink.1.load(Ordering::Relaxed), 2);
    // Where the assertion in the sink fails, its panic is caught, and the record is abandoned.
    assert_balanced(&obs);
    let ledger = obs.ledger();
    assert_eq!(ledger.ok.persisted + ledger.error.persisted, 2);
}

#[test]
fn the_oldest_run_is_listed_first_and_its_age_is_measured_by_series() {
    let measured = measured(true, |builder| builder.in_flight(true)).unwrap();
    let obs = measured.test.obs();
    let old = obs.kind("dsl").lookup("old", "1");
    let young = obs.kind("conserver").lookup("young", "1");
    let labels =
        |kind| [("obs.kind", kind), ("obs.realm", "unknown"), ("obs.strategy.type", "unknown")];
    let age = |kind| measured.export().at("obs.run.oldest.age", &labels(kind)).unwrap();
    // A run that is leaked never ends, and shows.
    let leaked = Box::leak(Box::new(old.start()));
    measured.test.clock().advance(Duration::from_secs(5));
    let run = young.start();
    measured.test.clock().advance(Duration::from_secs(2));
    let listed = obs.in_flight(9);
    assert_eq!(listed.len(), 2);
    assert_eq!((listed[0].run.run_id, listed[0].age), (leaked.id(), Duration::from_secs(7)));
    assert_eq!(&*listed[1].run.strategy_id, "young");
    assert_eq!(obs.in_flight(1).len(), 1);
    assert!((age("dsl") - 7.0).abs() < 1e-9);
    assert!((age("conserver") - 2.0).abs() < 1e-9);
    drop(run);
    assert!(age("conserver").abs() < 1e-9, "nothing in flight is no age");
}

#[test]
fn without_slots_there_is_no_list_and_no_age() {
    let measured = measured(false, |builder| builder).unwrap();
    let run = measured.test.obs().kind("dsl").lookup("s", "1").start();
    assert!(measured.test.obs().in_flight(9).is_empty());
    let export = measured.export();
    assert!(!export.numbers.contains_key("obs.run.oldest.age"));
    assert!(!export.numbers.contains_key("obs.run.untracked"));
    drop(run);
}

#[test]
fn runs_that_find_no_slot_are_exported_and_otherwise_as_any() {
    let measure = obs_core::otel::Measure::EachRun;
    let measured = measured_with(measure, false, |builder| builder.in_flight(true)).unwrap();
    let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
    let mut runs: Vec<_> = (0..5_000).map(|_| strategy.start()).collect();
    let ids: std::collections::HashSet<_> = runs.iter_mut().map(|run| run.id()).collect();
    assert_eq!(ids.len(), 5_000);
    assert_eq!(measured.test.obs().in_flight(usize::MAX).len(), 4_096);
    let untracked = measured.export().at("obs.run.untracked", &[("which", "run")]);
    assert_eq!(untracked, Some(904.0));
    drop(runs);
    measured.test.assert_balanced();
}

#[test]
fn a_dry_run_and_one_that_happened_elsewhere_have_no_slot() {
    let page = Words::blank();
    let test = on(&page);
    let strategy = test.obs().kind("dsl").lookup("s", "1");
    let dry = strategy.with_recording(Recording::Nothing).start();
    assert!(test.obs().in_flight(9).is_empty());
    drop(dry);
    let metrics_only = strategy.with_recording(Recording::MetricsOnly).start();
    assert_eq!((test.obs().in_flight(9).len(), page.left().runs.len()), (1, 0));
    drop(metrics_only);
    let now = test.clock();
    now.advance(Duration::from_secs(100));
    let started_at = Timestamp::from_micros(1_767_225_600_000_000);
    strategy.record(FinishedRun {
        started_at: Some(started_at),
        keep: true,
        ..FinishedRun::default()
    });
    assert_eq!(test.records()[0].started_at, started_at, "its own start, not that of its replay");
}

#[test]
fn a_page_of_slots_that_is_too_short_or_in_use_is_refused() {
    let page = Words::blank();
    let first = on(&page);
    let second = Obs::builder().in_flight_page(Arc::clone(&page) as Arc<dyn Page>).build();
    let second = second.unwrap_err().to_string();
    assert!(second.starts_with("in-flight page: the page begins with"), "{second}");
    drop(first);
}
