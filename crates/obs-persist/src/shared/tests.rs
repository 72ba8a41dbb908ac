//! What wakes the worker, and how long it may rest, as records come in.

use std::{
    path::Path,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use obs_core::{
    Ack, Class, Clock, DropReason, Json, ManualClock, RunRecord, Status, StoreMetrics,
    testing::{TestObs, record},
};

use super::{Content, Queued, Shared};
use crate::{
    SpoolDir,
    batch::Step,
    config::PersistConfig,
    spool::{self, Spool},
    waiters::Fate,
};

/// Whether somebody has woken the worker since it was asked last.
fn is_woken(shared: &Shared) -> bool {
    pin!(shared.work.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn an_error_ends_the_long_wait_of_the_few_ok_records_before_it() {
    let (clock, test) = (ManualClock::new(), TestObs::new());
    let ms = Duration::from_millis;
    let config = PersistConfig::default();
    let shared = Shared::new(&config, StoreMetrics::default(), None, Clock::from(&clock));
    let submit = |status| {
        let mut record = record("bonus", "1");
        record.status = status;
        shared.submit(test.kept_record(record));
    };
    // One at a time, for some seconds.
    for _ in 0..5 {
        submit(Status::Ok);
        clock.advance(10 * config.linger);
        assert_eq!(shared.next_step(), Step::Write);
        assert_eq!(shared.take_batch().len(), 1);
        shared.settle(0..1, Fate::Persisted);
    }
    submit(Status::Ok);
    assert!(is_woken(&shared));
    assert_eq!(shared.next_step(), Step::Linger(10 * config.linger));
    clock.advance(ms(40));
    submit(Status::Ok);
    assert!(!is_woken(&shared), "it would wait on anyway");
    submit(Status::Error);
    assert!(is_woken(&shared));
    assert_eq!(shared.next_step(), Step::Linger(config.linger - ms(40)));
    submit(Status::Error);
    assert!(!is_woken(&shared));
    clock.advance(config.linger);
    assert_eq!(shared.next_step(), Step::Write);
    assert_eq!(shared.take_batch().len(), 4);
    shared.settle(0..4, Fate::Persisted);
    test.assert_balanced();
}

#[test]
fn a_lane_that_is_full_is_written_at_once_however_few_records_it_may_hold() {
    const PLACES: usize = 8;
    let (clock, test) = (ManualClock::new(), TestObs::new());
    let config = PersistConfig { queue_records: PLACES, ..PersistConfig::default() };
    let shared = Shared::new(&config, StoreMetrics::default(), None, Clock::from(&clock));
    let submit = || shared.submit(test.kept_record(record("bonus", "1")));
    for _ in 0..5 {
        submit();
        clock.advance(10 * config.linger);
        assert_eq!(shared.next_step(), Step::Write);
        assert_eq!(shared.take_batch().len(), 1);
        shared.settle(0..1, Fate::Persisted);
    }
    submit();
    assert!(is_woken(&shared));
    assert_eq!(shared.next_step(), Step::Linger(10 * config.linger), "few come: it waits for long");
    for _ in 1..PLACES - 1 {
        submit();
        assert!(!is_woken(&shared));
    }
    submit();
    assert!(is_woken(&shared), "the next record would be refused");
    assert_eq!(shared.next_step(), Step::Write);
    assert_eq!(shared.take_batch().len(), PLACES);
    shared.settle(0..PLACES, Fate::Persisted);
    submit();
    assert_eq!(shared.next_step(), Step::Linger(config.linger), "many came: it waits no longer");
    assert_eq!(test.obs().ledger().imbalance(), 0);
}

#[test]
fn a_small_lane_makes_the_batches_of_errors_no_smaller() {
    const ERRORS: usize = 100;
    let test = TestObs::new();
    let config = PersistConfig { queue_records: 2, ..PersistConfig::default() };
    let shared = Shared::new(&config, StoreMetrics::default(), None, Clock::default());
    for _ in 0..ERRORS {
        let mut record = record("bonus", "1");
        record.status = Status::Error;
        shared.submit(test.kept_record(record));
    }
    assert_eq!(shared.take_batch().len(), ERRORS);
    shared.settle(0..ERRORS, Fate::Persisted);
    test.assert_balanced();
}

/// Nobody works on it: what is taken and settled is up to the test.
fn with_spool(folder: &Path) -> Shared {
    let spool_dir = Some(SpoolDir::Given(folder.join("spool")));
    let config = PersistConfig { spool_dir, ..PersistConfig::default() };
    let spool = Spool::open(&config.spool().unwrap(), spool::random_epoch()).unwrap();
    Shared::new(&config, StoreMetrics::default(), Some(spool), Clock::default())
}

fn error(strategy: &str) -> RunRecord {
    let mut record = record(strategy, "1");
    record.status = Status::Error;
    record.error_message = Some("division by zero".into());
    record.input = Some(Json::parse(r#"{"lines":[{"price":12.5}]}"#).unwrap());
    record
}

#[test]
fn the_store_gets_of_an_error_in_the_spool_all_that_the_run_said() {
    let (folder, test) = (tempfile::tempdir().unwrap(), TestObs::new());
    let shared = with_spool(folder.path());
    let records = ["one", "two", "three"].map(error);
    for record in &records {
        assert_eq!(shared.submit(test.kept_record(record.clone())), Ack::Os);
    }
    let mut ok = record("ok", "1");
    ok.nodes = 7;
    assert_eq!(shared.submit(test.kept_record(ok.clone())), Ack::Memory);
    let taken = shared.take_batch();
    assert_eq!(taken[..3], records);
    assert_eq!(taken[3..], [ok]);
    shared.settle(0..4, Fate::Persisted);
    let ledger = test.obs().ledger();
    assert_eq!((ledger.error.persisted, ledger.ok.persisted, ledger.error.spooled), (3, 1, 0));
    test.assert_balanced();
}

#[test]
fn a_frame_that_cannot_be_read_costs_none_of_its_neighbours_and_is_counted() {
    let (folder, test) = (tempfile::tempdir().unwrap(), TestObs::new());
    let shared = with_spool(folder.path());
    let (good, bad) = (error("good"), error("bad"));
    // More than are taken under one hold of the lock.
    for at in 0..100 {
        if at % 40 > 1 {
            assert_eq!(shared.submit(test.kept_record(good.clone())), Ack::Os);
            continue;
        }
        let (record, mut ticket) = test.kept_record(bad.clone()).into_parts();
        let (slot, frame) = shared.spool.as_ref().unwrap().write(&record).unwrap();
        ticket.spooled();
        let mut broken = frame.to_vec();
        broken.truncate(frame.len() - 9);
        let content = Content::Frame(broken.into());
        let queued = Queued { content, ticket, slot: Some(slot) };
        assert!(shared.enqueue(queued, Class::Error, record.bytes()).is_ok());
    }
    let taken = shared.take_batch();
    assert_eq!((taken.len(), taken.iter().all(|record| *record == good)), (94, true));
    // Each of them is at its place.
    shared.settle(0..90, Fate::Persisted);
    shared.settle(90..94, Fate::Quarantined);
    let error = test.obs().ledger().error;
    assert_eq!((error.persisted, error.quarantined, error.spooled), (90, 4, 0));
    assert_eq!((error.dropped.of(DropReason::SpoolIo), error.dropped.total()), (6, 6));
    assert_eq!(test.obs().ledger().imbalance(), 0);
}

#[test]
fn what_a_store_would_refuse_is_for_the_store_to_refuse() {
    let (folder, test) = (tempfile::tempdir().unwrap(), TestObs::new());
    let shared = with_spool(folder.path());
    // No record that a run makes has such a text; somebody may change one on its way here.
    let mut odd = error("odd");
    odd.error_message = Some("\0".into());
    assert_eq!(shared.submit(test.kept_record(odd.clone())), Ack::Os);
    assert_eq!(shared.take_batch(), [odd]);
    shared.settle(0..1, Fate::Quarantined);
    test.assert_balanced();
}
