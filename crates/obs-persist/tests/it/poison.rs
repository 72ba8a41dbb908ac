//! Records that the store does not take, told from a store that is sick.

use std::{fs, time::Duration};

use obs_core::{
    Clock, DropReason, ManualClock, StoreMetrics, StoreState,
    testing::{TestObs, record},
};
use obs_persist::{PersistConfig, Persister, quarantine::Quarantine, testing::MemoryStore};
use tempfile::TempDir;

use crate::support::{LONG, Live, Rig, SOON, timed, until};

/// A persister with a quarantine, over a store that refuses the strategy `poison`.
struct Poisoned {
    rig: Rig,
    quarantine: Quarantine,
    _folder: TempDir,
}

fn poisoned(quarantine_records: usize) -> Poisoned {
    poisoned_with(|config| config.quarantine_records = quarantine_records)
}

fn poisoned_with(change: impl FnOnce(&mut PersistConfig)) -> Poisoned {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("quarantine");
    let store = MemoryStore::new();
    store.set_poison(Some("poison"));
    let rig = Rig::over(store, |config| {
        config.quarantine_dir = Some(dir.clone());
        change(config);
    });
    Poisoned { rig, quarantine: Quarantine::at(dir), _folder: folder }
}

impl Poisoned {
    fn submit_poison(&self) {
        self.rig.submit(record("poison", "1"));
    }

    fn set_aside(&self) -> usize {
        self.quarantine.list().unwrap().len()
    }
}

#[test]
fn one_bad_record_in_a_batch_is_set_aside_and_the_others_are_written_within_a_second() {
    let poisoned = poisoned(10);
    let rig = &poisoned.rig;
    rig.submit_ok(100);
    poisoned.submit_poison();
    rig.submit_ok(100);
    let (report, took) = timed(|| rig.persister.flush_blocking(LONG));
    assert!(report.complete);
    assert_eq!((report.persisted, report.quarantined, report.dropped.total()), (200, 1, 0));
    assert_eq!(rig.store.rows().len(), 200);
    assert!(took < Duration::from_secs(1), "{took:?}");
    // 2 * log2(256) + 4 beside the batch itself.
    let statements = rig.store.writes() + rig.store.canaries();
    assert!(statements <= 21, "{statements}");
    assert_eq!(rig.store.prepares(), 1, "the connection is as good as before");

    let entry = &poisoned.quarantine.list().unwrap()[0];
    assert_eq!(entry.error, "cannot write: told to refuse this record");
    let suspect = poisoned.quarantine.show(entry.run_id).unwrap();
    assert_eq!(&*suspect.record.strategy_id, "poison");
    assert_eq!(rig.ledger().ok.quarantined, 1);
}

#[test]
fn a_batch_of_nothing_but_bad_records_is_set_aside_whole_and_the_next_one_written() {
    let poisoned = poisoned(1_000);
    let rig = &poisoned.rig;
    (0..100).for_each(|_| poisoned.submit_poison());
    let report = rig.persister.flush_blocking(LONG);
    assert_eq!((report.persisted, report.quarantined), (0, 100));
    rig.submit_ok(10);
    assert_eq!(rig.persister.flush_blocking(LONG).persisted, 10);
    assert_eq!(poisoned.set_aside(), 100);
}

#[test]
fn a_store_that_fails_for_a_while_gets_no_record_set_aside() {
    for failures in [1, 2, 3, 5, 7] {
        let poisoned = poisoned(10);
        let rig = &poisoned.rig;
        rig.store.fail(failures);
        rig.submit_ok(50);
        let report = rig.persister.flush_blocking(LONG);
        assert_eq!((report.persisted, report.quarantined), (50, 0), "{failures} failures");
        assert_eq!(rig.store.rows().len(), 50);
        assert_eq!(poisoned.set_aside(), 0);
    }
}

#[test]
fn while_the_store_is_down_nothing_is_tried_but_connecting() {
    let poisoned = poisoned(10);
    let rig = &poisoned.rig;
    rig.store.set_stalled(true);
    rig.submit_ok(255);
    poisoned.submit_poison();
    until("the batch is being written", || rig.store.writes() == 1);
    rig.store.set_down(true);
    rig.store.set_stalled(false);
    until("it has tried", || rig.store.prepares() >= 4);
    assert_eq!(rig.persister.state(), StoreState::Down);
    assert_eq!((rig.store.writes(), rig.store.canaries()), (1, 1));
    rig.store.set_down(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    // Some of it may have been done before the flush.
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.quarantined), (255, 1));
}

#[test]
fn a_record_whose_write_takes_too_long_is_never_held_to_be_bad() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::with(|config| {
        config.linger = SOON;
        config.write_timeout = Duration::from_millis(20);
        config.quarantine_dir = Some(folder.path().join("quarantine"));
    });
    rig.store.set_stalled(true);
    rig.submit_ok(2);
    until("it was tried a few times", || rig.store.writes() >= 4 || rig.store.canaries() >= 4);
    rig.store.set_stalled(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.quarantined), (2, 0));
}

#[test]
fn without_a_folder_a_bad_record_is_lost_and_counted_and_the_others_are_written() {
    let store = MemoryStore::new();
    store.set_poison(Some("poison"));
    let rig = Rig::over(store, |_| {});
    rig.submit_ok(10);
    rig.submit(record("poison", "1"));
    let report = rig.persister.flush_blocking(LONG);
    assert_eq!((report.persisted, report.quarantined), (10, 0));
    assert_eq!(report.dropped.of(DropReason::Encode), 1);
    assert_eq!(rig.ledger().ok.dropped.of(DropReason::Encode), 1);
}

#[test]
fn a_full_quarantine_loses_further_records_and_counts_them_as_such() {
    let poisoned = poisoned(3);
    (0..5).for_each(|_| poisoned.submit_poison());
    let report = poisoned.rig.persister.flush_blocking(LONG);
    assert_eq!((report.quarantined, report.dropped.of(DropReason::SpoolFull)), (3, 2));
    assert_eq!(poisoned.set_aside(), 3);
    let ledger = poisoned.rig.ledger();
    assert_eq!((ledger.ok.quarantined, ledger.ok.dropped.of(DropReason::SpoolFull)), (3, 2));
}

/// The same, where days pass when a test says so.
fn with_calendar(hands: &ManualClock) -> (TempDir, Quarantine, Live) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("quarantine");
    let store = MemoryStore::new();
    store.set_poison(Some("poison"));
    let mut config = PersistConfig::default();
    config.quarantine_dir = Some(dir.clone());
    let (metrics, calendar) = (StoreMetrics::default(), Clock::from(hands));
    let persister =
        Persister::start_with_calendar(config, Box::new(store), metrics, calendar).unwrap();
    let live = Live { test: TestObs::new(), sink: persister.sink(), persister };
    (folder, Quarantine::at(dir), live)
}

/// Between two flushes the worker looks whether something is too old.
fn look(live: &Live) {
    for _ in 0..2 {
        live.submit(record("bonus", "1"));
        live.flush();
    }
}

#[test]
fn a_record_that_was_set_aside_goes_after_a_week_and_not_because_a_clock_jumped() {
    const DAY: Duration = Duration::from_hours(24);
    let jump = i64::try_from((400 * DAY).as_micros()).unwrap();
    let hands = ManualClock::new();
    let (_folder, quarantine, live) = with_calendar(&hands);
    live.submit(record("poison", "1"));
    assert_eq!(live.persister.flush_blocking(LONG).quarantined, 1);
    let left = || {
        look(&live);
        quarantine.list().unwrap().len()
    };
    hands.jump_wall(jump);
    hands.advance(DAY / 2);
    assert_eq!(left(), 1);
    hands.jump_wall(-jump);
    hands.advance(6 * DAY);
    assert_eq!(left(), 1);
    hands.advance(DAY);
    assert_eq!(left(), 0);
}

#[test]
fn a_record_that_is_set_aside_after_a_clock_was_put_right_stays_for_a_week_from_then() {
    const DAY: Duration = Duration::from_hours(24);
    let hands = ManualClock::new();
    let (_folder, quarantine, live) = with_calendar(&hands);
    // It had been behind.
    hands.jump_wall(i64::try_from((10 * DAY).as_micros()).unwrap());
    live.submit(record("poison", "1"));
    assert_eq!(live.persister.flush_blocking(LONG).quarantined, 1);
    let since = quarantine.list().unwrap()[0].since;
    assert_eq!(since, Some(Clock::from(&hands).wall()));
    hands.advance(DAY);
    look(&live);
    assert_eq!(quarantine.list().unwrap().len(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_loses_the_record_and_counts_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let store = MemoryStore::new();
    store.set_poison(Some("poison"));
    let rig = Rig::over(store, |config| config.quarantine_dir = Some(file.join("quarantine")));
    rig.submit(record("poison", "1"));
    let report = rig.persister.flush_blocking(LONG);
    assert_eq!(report.dropped.of(DropReason::SpoolIo), 1);
    rig.ledger();
}

#[test]
fn a_worker_that_panics_in_the_middle_settles_each_record_once() {
    let poisoned = poisoned(10);
    let rig = &poisoned.rig;
    rig.store.set_stalled(true);
    poisoned.submit_poison();
    rig.submit_ok(63);
    let flush = rig.persister.flush(LONG);
    until("the batch is being written", || rig.store.writes() == 1);
    // The batch fails, its canary passes, the first half fails, and then the first quarter.
    rig.store.let_through(4);
    until("halves are being written", || rig.store.writes() == 4);
    rig.store.panic(1);
    rig.store.set_stalled(false);
    let report = futures_executor::block_on(flush);
    assert!(report.complete, "{report}");
    let lost = report.dropped.of(DropReason::Abandoned);
    assert_eq!(report.persisted + report.quarantined + lost, 64, "{report}");
    assert!(lost > 0, "{report}");
    let ledger = rig.ledger();
    assert_eq!(ledger.ok.persisted, report.persisted);
    assert_eq!(ledger.ok.dropped.of(DropReason::Abandoned), lost);
}

#[test]
fn a_record_that_is_retried_goes_into_a_store_that_takes_it_now() {
    let poisoned = poisoned(10);
    let rig = &poisoned.rig;
    (0..3).for_each(|_| poisoned.submit_poison());
    assert_eq!(rig.persister.flush_blocking(LONG).quarantined, 3);
    let entries = poisoned.quarantine.list().unwrap();
    poisoned.quarantine.retry(entries[0].run_id).unwrap();
    until("it came back", || {
        let now = poisoned.quarantine.show(entries[0].run_id);
        now.is_ok_and(|now| !now.entry.retrying && now.entry.since > entries[0].since)
    });
    assert_eq!((poisoned.set_aside(), rig.store.rows().len()), (3, 0));

    rig.store.set_poison(None);
    for entry in &entries[..2] {
        poisoned.quarantine.retry(entry.run_id).unwrap();
    }
    until("they are written", || rig.store.rows().len() == 2);
    until("their files are gone", || poisoned.set_aside() == 1);
    let ledger = rig.ledger();
    assert_eq!((ledger.ok.quarantined, ledger.ok.persisted), (3, 0), "they were counted before");
}

/// The worker looks for new records after each batch, and while they come it has always something to do.
#[test]
fn a_record_that_is_retried_need_not_wait_until_no_others_come() {
    let poisoned = poisoned_with(|config| config.linger = Duration::from_millis(20));
    let rig = &poisoned.rig;
    poisoned.submit_poison();
    assert!(rig.persister.flush_blocking(LONG).complete);
    assert_eq!(rig.ledger().ok.quarantined, 1);
    rig.store.set_poison(None);
    poisoned.quarantine.retry(poisoned.quarantine.list().unwrap()[0].run_id).unwrap();
    // Another record as soon as the one before is written.
    until("it is written, and its file is gone", || {
        let written = rig.store.rows().len();
        rig.submit_ok(1);
        until("the next one is written", || rig.store.rows().len() > written);
        poisoned.set_aside() == 0
    });
}

#[test]
fn a_record_that_is_retried_while_no_process_runs_is_found_by_the_next_one() {
    let poisoned = poisoned(10);
    poisoned.submit_poison();
    assert_eq!(poisoned.rig.persister.flush_blocking(LONG).quarantined, 1);
    let Poisoned { rig, quarantine, _folder } = poisoned;
    drop(rig);
    quarantine.retry(quarantine.list().unwrap()[0].run_id).unwrap();
    let dir = quarantine.folder().to_owned();
    let rig = Rig::over(MemoryStore::new(), |config| config.quarantine_dir = Some(dir));
    until("it is written", || rig.store.rows().len() == 1);
    until("its file is gone", || quarantine.list().unwrap().is_empty());
}
