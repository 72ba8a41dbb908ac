//! What a flush waits for, and what it says.

use std::time::Duration;

use obs_core::StoreState;

use crate::support::{LONG, Rig, SOON, timed, until};

#[test]
fn a_flush_waits_for_exactly_what_was_queued_before_it() {
    let rig = Rig::with(|config| config.batch_records = 3);
    rig.store.set_stalled(true);
    rig.submit_ok(3);
    until("the first batch is being written", || rig.store.writes() == 1);
    let flush = rig.persister.flush(LONG);
    // These three would hold the flush up: the second write never ends.
    rig.submit_ok(3);
    rig.store.let_through(1);
    let report = futures_executor::block_on(flush);
    assert_eq!((report.persisted, report.left, report.complete), (3, 0, true));
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.in_queue), (3, 3));
    rig.store.set_stalled(false);
}

#[test]
fn newer_errors_that_overtake_do_not_count_for_a_flush() {
    let rig = Rig::with(|config| config.batch_records = 3);
    rig.store.set_stalled(true);
    rig.submit_ok(3);
    until("the first batch is being written", || rig.store.writes() == 1);
    rig.submit_ok(1);
    let flush = rig.persister.flush(LONG);
    rig.submit_errors(4);
    // Three old ones, then three errors, then one error with the old one that the flush waits for.
    rig.store.let_through(2);
    until("the errors have overtaken", || rig.store.writes() == 3);
    let early = rig.persister.flush(Duration::ZERO);
    assert_eq!(futures_executor::block_on(early).left, 2);
    rig.store.let_through(1);
    let report = futures_executor::block_on(flush);
    assert_eq!((report.persisted, report.complete), (4, true));
    assert_eq!(rig.ledger().error.persisted, 4);
}

#[test]
fn a_flush_does_not_wait_for_the_linger() {
    let rig = Rig::new();
    rig.submit_ok(3);
    assert_eq!(rig.persister.flush_blocking(LONG).persisted, 3);
}

#[test]
fn a_record_alone_is_written_after_the_linger() {
    let rig = Rig::with(|config| config.linger = SOON);
    rig.submit_ok(1);
    until("it is written", || rig.store.rows().len() == 1);
}

#[test]
fn full_batches_do_not_linger() {
    let rig = Rig::with(|config| config.batch_records = 10);
    rig.submit_ok(25);
    until("two batches are written", || rig.store.rows().len() >= 20);
}

#[test]
fn a_flush_returns_at_its_deadline_and_says_what_is_left() {
    let rig = Rig::new();
    rig.store.set_stalled(true);
    rig.submit_ok(2);
    rig.submit_errors(1);
    let (report, took) = timed(|| rig.persister.flush_blocking(Duration::from_millis(100)));
    assert_eq!((report.persisted, report.left, report.complete), (0, 3, false));
    assert_eq!(report.to_string(), "0 persisted, 0 dropped, 3 left");
    assert!(took >= Duration::from_millis(100) && took < Duration::from_millis(600), "{took:?}");
    let flush = rig.persister.flush(LONG);
    rig.store.set_stalled(false);
    assert_eq!(futures_executor::block_on(flush).persisted, 3);
}

#[test]
fn an_empty_flush_is_complete_even_while_the_store_is_down() {
    let rig = Rig::new();
    rig.store.set_down(true);
    let report = rig.persister.flush_blocking(LONG);
    assert_eq!((report.persisted, report.complete), (0, true));
}

#[test]
fn a_flush_cuts_the_wait_before_the_next_attempt_short() {
    let rig = Rig::with(|config| config.linger = SOON);
    rig.store.set_down(true);
    rig.submit_ok(1);
    until("it tried a few times, and waits longer now", || rig.store.prepares() >= 5);
    rig.store.set_down(false);
    let (report, took) = timed(|| rig.persister.flush_blocking(LONG));
    assert!(report.complete);
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(rig.persister.state(), StoreState::Up);
}

#[test]
fn many_flushes_at_once_all_get_an_answer() {
    let rig = Rig::new();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    rig.submit_ok(1);
                    let report = rig.persister.flush_blocking(LONG);
                    assert!(report.complete, "{report}");
                }
            });
        }
    });
    assert_eq!(rig.ledger().ok.persisted, 400);
}

#[test]
fn a_flush_that_nobody_awaits_is_forgotten() {
    let rig = Rig::new();
    rig.store.set_stalled(true);
    rig.submit_ok(1);
    for _ in 0..100 {
        drop(rig.persister.flush(LONG));
    }
    rig.store.set_stalled(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
}
