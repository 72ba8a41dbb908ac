//! What a shutdown writes, counts and promises.

use std::time::Duration;

use obs_core::{DropReason, StoreMetrics, StoreState, testing::TestObs};
use obs_persist::{DROP_DEADLINE, PersistConfig, Persister, testing::MemoryStore};

use crate::support::{LONG, Rig, SOON, timed, until};

#[test]
fn a_shutdown_writes_what_is_queued_and_closes_the_store() {
    let rig = Rig::new();
    rig.store.set_stalled(true);
    rig.submit_ok(700);
    rig.submit_errors(100);
    let shutdown = rig.persister.shutdown(LONG);
    rig.store.set_stalled(false);
    let report = futures_executor::block_on(shutdown);
    assert_eq!((report.persisted, report.left, report.complete), (800, 0, true));
    assert_eq!(report.dropped.total(), 0);
    assert!(rig.store.is_closed());
    assert_eq!(rig.persister.state(), StoreState::Stopped);
    assert_eq!(rig.store.rows().len(), 800);
    rig.ledger();
}

#[test]
fn a_shutdown_with_a_stalled_store_returns_by_its_deadline_with_the_rest_counted() {
    let rig = Rig::new();
    rig.store.set_stalled(true);
    rig.submit_ok(300);
    rig.submit_errors(20);
    let (report, took) = timed(|| rig.persister.shutdown_blocking(Duration::from_millis(200)));
    assert_eq!((report.persisted, report.left, report.complete), (0, 0, false));
    assert_eq!(report.dropped.of(DropReason::ShutdownDeadline), 320);
    assert!(took < Duration::from_millis(700), "{took:?}");
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.in_queue, ledger.error.in_queue), (0, 0));
    assert_eq!(ledger.ok.dropped.of(DropReason::ShutdownDeadline), 300);
    assert_eq!(ledger.error.dropped.of(DropReason::ShutdownDeadline), 20);
}

#[test]
fn a_store_that_blocks_its_thread_delays_no_shutdown() {
    let rig = Rig::with(|config| config.linger = SOON);
    rig.store.block_once(Duration::from_secs(3));
    rig.submit_ok(10);
    until("the store blocks", || rig.store.writes() == 1);
    let (report, took) = timed(|| rig.persister.shutdown_blocking(Duration::from_millis(200)));
    assert_eq!(report.dropped.of(DropReason::ShutdownDeadline), 10);
    assert!(took < Duration::from_millis(700), "{took:?}");
    // The write comes to its end one day; what it did was counted as lost, and stays so.
    until("the late write is done", || rig.store.rows().len() == 10);
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.dropped.of(DropReason::ShutdownDeadline)), (0, 10));
    assert_eq!(rig.persister.state(), StoreState::Stopped);
}

#[test]
fn a_shutdown_while_the_store_is_down_tries_until_its_deadline() {
    let rig = Rig::with(|config| config.linger = SOON);
    rig.store.set_down(true);
    rig.submit_errors(5);
    until("it is down", || rig.persister.state() == StoreState::Down);
    let report = rig.persister.shutdown_blocking(Duration::from_millis(150));
    assert_eq!(report.dropped.of(DropReason::ShutdownDeadline), 5);
    assert!(!report.complete);
    rig.ledger();
}

#[test]
fn a_shutdown_finishes_when_the_store_comes_back_in_time() {
    let rig = Rig::with(|config| config.linger = SOON);
    rig.store.set_down(true);
    rig.submit_errors(5);
    until("it waits long", || rig.store.prepares() >= 4);
    let shutdown = rig.persister.shutdown(LONG);
    rig.store.set_down(false);
    let report = futures_executor::block_on(shutdown);
    assert_eq!((report.persisted, report.complete), (5, true));
}

#[test]
fn a_shutdown_with_nothing_to_write_does_not_wait_for_a_store_that_is_down() {
    let store = MemoryStore::new();
    store.set_down(true);
    let rig = Rig::over(store, |_| {});
    until("it is down", || rig.persister.state() == StoreState::Down);
    let (report, took) = timed(|| rig.persister.shutdown_blocking(LONG));
    assert!(report.complete && took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_shutdown_with_nothing_to_write_does_not_wait_for_a_store_that_does_not_answer() {
    let store = MemoryStore::new();
    store.set_unreachable(true);
    let rig = Rig::over(store, |_| {});
    until("it connects", || rig.store.prepares() == 1);
    let (report, took) = timed(|| rig.persister.shutdown_blocking(LONG));
    assert!(report.complete && took < Duration::from_secs(2), "{took:?}");

    let store = MemoryStore::new();
    store.set_unreachable(true);
    let rig = Rig::over(store, |_| {});
    rig.submit_ok(1);
    let shutdown = rig.persister.shutdown(LONG);
    rig.store.set_unreachable(false);
    assert_eq!(
        futures_executor::block_on(shutdown).persisted,
        1,
        "with something to write it waits"
    );
}

#[test]
fn after_a_shutdown_records_are_refused_and_counted() {
    let rig = Rig::new();
    rig.submit_ok(1);
    assert!(rig.persister.shutdown_blocking(LONG).complete);
    rig.submit_ok(2);
    rig.submit_errors(3);
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.dropped.of(DropReason::Closed)), (1, 2));
    assert_eq!(ledger.error.dropped.of(DropReason::Closed), 3);
    assert!(rig.persister.flush_blocking(LONG).complete);
}

#[test]
fn a_second_shutdown_gives_the_report_of_the_first() {
    let rig = Rig::new();
    rig.submit_ok(4);
    let first = rig.persister.shutdown_blocking(LONG);
    assert_eq!(first.persisted, 4);
    assert_eq!(rig.persister.shutdown_blocking(LONG), first);
    assert_eq!(futures_executor::block_on(rig.persister.shutdown(Duration::ZERO)), first);
}

#[test]
fn of_two_shutdowns_at_once_the_shorter_deadline_counts() {
    let rig = Rig::new();
    rig.store.set_stalled(true);
    rig.submit_ok(1);
    let patient = rig.persister.shutdown(LONG * 10);
    let hasty = rig.persister.shutdown_blocking(Duration::from_millis(50));
    assert_eq!(futures_executor::block_on(patient), hasty);
    assert_eq!(hasty.dropped.of(DropReason::ShutdownDeadline), 1);
}

#[test]
fn a_shutdown_whose_future_is_dropped_goes_on_with_its_deadline() {
    let rig = Rig::new();
    rig.store.set_stalled(true);
    rig.submit_ok(1);
    drop(rig.persister.shutdown(Duration::from_millis(50)));
    until("the deadline ends it", || rig.persister.state() == StoreState::Stopped);
    assert_eq!(rig.ledger().ok.dropped.of(DropReason::ShutdownDeadline), 1);
}

#[test]
fn a_flush_that_waits_gets_its_answer_from_a_shutdown() {
    let rig = Rig::new();
    rig.store.set_stalled(true);
    rig.submit_ok(1);
    let flush = rig.persister.flush(LONG * 10);
    rig.persister.shutdown_blocking(Duration::from_millis(50));
    let report = futures_executor::block_on(flush);
    assert_eq!(report.dropped.of(DropReason::ShutdownDeadline), 1);
    assert_eq!(report.left, 0);
}

#[test]
fn dropping_the_handle_is_a_shutdown_with_a_deadline() {
    let test = TestObs::new();
    let start = |store: &MemoryStore| {
        Persister::start(PersistConfig::default(), Box::new(store.clone()), StoreMetrics::default())
            .unwrap()
    };
    let good = MemoryStore::new();
    let persister = start(&good);
    persister.sink().submit(test.kept("bonus", "1"));
    drop(persister);
    assert_eq!((good.rows().len(), good.is_closed()), (1, true));

    let stalled = MemoryStore::new();
    stalled.set_stalled(true);
    let persister = start(&stalled);
    let sink = persister.sink();
    sink.submit(test.kept("bonus", "1"));
    let ((), took) = timed(|| drop(persister));
    assert!(took < DROP_DEADLINE + Duration::from_secs(1), "{took:?}");
    sink.submit(test.kept("bonus", "1"));
    let ledger = test.obs().ledger();
    assert_eq!(ledger.ok.dropped.of(DropReason::ShutdownDeadline), 1);
    assert_eq!(ledger.ok.dropped.of(DropReason::Closed), 1);
    test.assert_balanced();
}

#[test]
fn records_that_race_with_a_shutdown_are_written_or_counted() {
    for _ in 0..20 {
        let rig = Rig::new();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| rig.submit_ok(100));
            }
            assert!(rig.persister.shutdown_blocking(LONG).complete);
        });
        let ledger = rig.ledger();
        assert_eq!(ledger.ok.in_queue, 0);
        let (written, refused) = (ledger.ok.persisted, ledger.ok.dropped.of(DropReason::Closed));
        assert_eq!(written + refused, 300);
        assert_eq!(rig.store.rows().len() as u64, written);
    }
}
