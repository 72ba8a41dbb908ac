//! What happens while a store does not work.

use std::time::Duration;

use obs_core::{DropReason, StoreState};
use obs_persist::testing::MemoryStore;

use crate::support::{LONG, Rig, SOON, timed, until};

#[test]
fn a_store_that_is_down_at_the_start_gets_every_row_when_it_comes_up() {
    let store = MemoryStore::new();
    store.set_down(true);
    let rig = Rig::over(store, |_| {});
    rig.submit_ok(500);
    rig.submit_errors(100);
    until("it has tried", || rig.store.prepares() >= 3);
    assert_eq!(rig.persister.state(), StoreState::Down);
    assert_eq!(rig.persister.last_error().unwrap(), "cannot connect: told to be down");
    rig.store.set_down(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    assert_eq!(rig.persister.last_error(), None);
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.error.persisted), (500, 100));
    assert_eq!(rig.store.rows().len(), 600);
}

#[test]
fn a_failed_write_is_tried_again_on_a_new_connection_and_counted_once() {
    let rig = Rig::new();
    rig.store.fail(3);
    rig.submit_ok(10);
    assert!(rig.persister.flush_blocking(LONG).complete);
    // The batch fails, then two canaries on two connections; its halves go over the third.
    assert_eq!((rig.store.writes(), rig.store.canaries()), (3, 3));
    assert_eq!(rig.store.prepares(), 3);
    assert_eq!(rig.ledger().ok.persisted, 10);
    assert_eq!(rig.store.rows().len(), 10);
}

#[test]
fn a_write_that_was_committed_before_its_connection_was_lost_is_counted_once() {
    let rig = Rig::new();
    rig.store.fail_after_commit(2);
    rig.submit_ok(10);
    rig.submit_errors(10);
    let report = rig.persister.flush_blocking(LONG);
    assert_eq!((report.persisted, report.complete), (20, true));
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.error.persisted), (10, 10));
    assert_eq!(rig.store.rows().len(), 20);
}

#[test]
fn a_write_that_takes_too_long_is_given_up_and_tried_again() {
    let rig = Rig::with(|config| {
        config.linger = SOON;
        config.write_timeout = Duration::from_millis(50);
    });
    rig.store.set_stalled(true);
    rig.submit_ok(3);
    until("the deadline has passed", || rig.persister.last_error().is_some());
    let error = rig.persister.last_error().unwrap();
    assert_eq!(error, "writing a batch took longer than 50ms; the connection is given up");
    rig.store.set_stalled(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    assert!(rig.store.prepares() >= 2);
    assert_eq!(rig.ledger().ok.persisted, 3);
}

#[test]
fn a_worker_that_panics_loses_its_batch_only_and_starts_again() {
    let rig = Rig::with(|config| config.batch_records = 10);
    rig.store.set_stalled(true);
    rig.submit_ok(10);
    until("the first batch is being written", || rig.store.writes() == 1);
    rig.submit_ok(20);
    rig.store.panic(1);
    let flush = rig.persister.flush(LONG);
    rig.store.set_stalled(false);
    let report = futures_executor::block_on(flush);
    assert!(report.complete);
    assert_eq!((report.persisted, report.dropped.of(DropReason::Abandoned)), (20, 10));
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.dropped.of(DropReason::Abandoned)), (20, 10));
    assert!(rig.persister.shutdown_blocking(LONG).complete);
}

#[test]
fn a_worker_that_panics_again_and_again_never_sticks() {
    let rig = Rig::with(|config| config.batch_records = 1);
    rig.store.set_stalled(true);
    rig.store.panic(4);
    rig.submit_errors(6);
    let shutdown = rig.persister.shutdown(LONG);
    rig.store.set_stalled(false);
    let report = futures_executor::block_on(shutdown);
    assert!(report.complete, "{report}");
    assert_eq!((report.persisted, report.dropped.of(DropReason::Abandoned)), (2, 4));
    rig.ledger();
}

#[test]
fn while_the_store_is_down_ok_records_fill_their_lane_and_the_rest_is_counted() {
    let rig = Rig::with(|config| config.queue_records = 100);
    rig.store.set_down(true);
    rig.submit_ok(150);
    rig.submit_errors(256);
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.in_queue, ledger.ok.dropped.of(DropReason::QueueFull)), (100, 50));
    assert_eq!(ledger.error.dropped.total(), 0);
    rig.store.set_down(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    assert_eq!(rig.store.rows().len(), 356);
}

#[test]
fn callers_that_flush_again_and_again_do_not_storm_a_store_that_is_down() {
    let rig = Rig::new();
    until("it is connected", || rig.store.prepares() == 1);
    rig.store.set_down(true);
    rig.submit_ok(1);
    let ((), took) = timed(|| {
        for _ in 0..200 {
            assert!(!rig.persister.flush_blocking(Duration::from_millis(5)).complete);
        }
    });
    // One every 100 ms, and the first ones.
    let allowed = took.as_millis() / 100 + 3;
    assert!(u128::from(rig.store.prepares()) <= allowed, "{} in {took:?}", rig.store.prepares());
}
