//! What a full lane does, through a whole persister whose store does not answer.

use obs_core::{Class, DropReason, testing::record};
use obs_persist::Room;

use crate::support::{LONG, Rig, SOON, failed, until};

/// A persister whose store has the first record and does not let go of it.
fn stalled() -> Rig {
    let rig = Rig::with(|config| {
        config.queue_records = 10;
        config.error_records = 4;
        config.batch_records = 1;
    });
    rig.store.set_stalled(true);
    rig
}

#[test]
fn a_flood_of_ok_records_costs_no_error_until_its_own_limit() {
    let rig = stalled();
    rig.submit_ok(50);
    rig.submit_errors(4);
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.in_queue, ledger.ok.dropped.of(DropReason::QueueFull)), (10, 40));
    assert_eq!((ledger.error.in_queue, ledger.error.dropped.total()), (4, 0));

    rig.submit_errors(1);
    assert_eq!(rig.ledger().error.dropped.of(DropReason::QueueFull), 1);

    let flush = rig.persister.flush(LONG);
    rig.store.set_stalled(false);
    let report = futures_executor::block_on(flush);
    assert_eq!((report.persisted, report.complete), (14, true));
    assert_eq!(rig.ledger().error.persisted, 4);
}

#[test]
fn with_the_default_limits_a_full_ok_lane_costs_no_error_of_its_reserve_and_every_refusal_is_counted()
 {
    const OFFERED: usize = 5_000;
    let rig = Rig::with(|_| {});
    rig.store.set_stalled(true);
    rig.submit_ok(OFFERED);
    rig.submit_errors(256);
    let ledger = rig.ledger();
    let refused = ledger.ok.dropped.of(DropReason::QueueFull);
    assert_eq!((ledger.ok.in_queue, refused), (1_000, OFFERED as u64 - 1_000));
    assert_eq!((ledger.error.in_queue, ledger.error.dropped.total()), (256, 0));
}

#[test]
fn errors_use_free_room_of_the_ok_lane() {
    let rig = stalled();
    rig.submit_errors(14);
    assert_eq!(rig.ledger().error.dropped.total(), 0);
    rig.submit_errors(1);
    rig.submit_ok(1);
    let ledger = rig.ledger();
    assert_eq!(ledger.error.dropped.of(DropReason::QueueFull), 1);
    assert_eq!(ledger.ok.dropped.of(DropReason::QueueFull), 1);
}

#[test]
fn records_that_are_being_written_still_count_against_the_limit() {
    let rig = stalled();
    rig.submit_ok(1);
    until("the store has the first record", || rig.store.writes() == 1);
    rig.submit_ok(9);
    assert_eq!(rig.ledger().ok.dropped.total(), 0);
    rig.submit_ok(1);
    assert_eq!(rig.ledger().ok.dropped.of(DropReason::QueueFull), 1);
}

#[test]
fn a_record_larger_than_its_lane_is_refused_as_too_large() {
    let rig = Rig::with(|config| {
        config.queue_bytes = 4_096;
        config.error_bytes = 4_096;
    });
    for mut large in [record("bonus", "1"), failed("bonus")] {
        large.error_message = Some("x".repeat(5_000).into());
        rig.submit(large);
    }
    let ledger = rig.ledger();
    assert_eq!(ledger.ok.dropped.of(DropReason::TooLarge), 1);
    assert_eq!(ledger.error.dropped.of(DropReason::TooLarge), 1);
}

#[test]
fn ok_records_are_not_starved_by_a_stream_of_errors() {
    let rig = Rig::with(|config| {
        config.batch_records = 5;
        config.linger = SOON;
        config.error_records = 500;
    });
    rig.store.set_stalled(true);
    rig.submit_errors(1);
    until("the store has the first record", || rig.store.writes() == 1);
    rig.submit_errors(100);
    rig.submit_ok(5);
    rig.store.set_stalled(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    let oks: Vec<_> = rig
        .store
        .rows()
        .iter()
        .enumerate()
        .filter(|(_, row)| row.class() == Class::Ok)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(oks.len(), 5);
    assert!(oks[4] < 30, "the last ok record came after {} others", oks[4]);
}

#[test]
fn the_capacity_of_each_class_is_what_can_be_pending_at_most() {
    let rig = stalled();
    assert_eq!(rig.sink.capacity(Class::Ok), 10);
    assert_eq!(rig.sink.capacity(Class::Error), 14);
}

#[test]
fn a_batch_program_waits_for_room_and_loses_nothing() {
    let rig = Rig::with(|config| config.queue_records = 8);
    for _ in 0..300 {
        assert_eq!(rig.persister.wait_for_room(LONG), Room::Free);
        rig.submit_ok(1);
    }
    assert!(rig.persister.flush_blocking(LONG).complete);
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.dropped.total()), (300, 0));
}

#[test]
fn waiting_for_room_ends_at_its_deadline_when_the_store_is_slow() {
    let rig = stalled();
    rig.submit_ok(10);
    until("the store is asked", || rig.store.writes() == 1);
    assert_eq!(rig.persister.wait_for_room(std::time::Duration::from_millis(30)), Room::Deadline);
}

#[test]
fn waiting_for_room_returns_at_once_while_the_store_is_down_or_closed() {
    let rig = stalled();
    rig.store.set_stalled(false);
    rig.store.set_down(true);
    rig.submit_ok(10);
    until("the store is down", || rig.persister.last_error().is_some());
    assert_eq!(rig.persister.wait_for_room(LONG * 100), Room::StoreDown);
    rig.store.set_down(false);
    assert!(rig.persister.shutdown_blocking(LONG).complete);
    assert_eq!(rig.persister.wait_for_room(LONG * 100), Room::Closed);
}

#[test]
fn a_thread_that_waits_for_room_is_told_when_the_store_goes_down() {
    let rig = stalled();
    rig.submit_ok(10);
    until("the store is asked", || rig.store.writes() == 1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| rig.persister.wait_for_room(LONG * 100));
        rig.store.set_down(true);
        rig.store.set_stalled(false);
        assert_eq!(waiting.join().unwrap(), Room::StoreDown);
    });
    rig.store.set_down(false);
}
