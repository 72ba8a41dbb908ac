//! The spool in front of the store: real files, a store that stalls or fails, processes that die.

use std::{fs, path::Path, time::Duration};

use obs_core::{Ack, Class, DropReason, Kind, Obs, StoreMetrics, testing::record};
use obs_persist::{
    Fsync, PersistConfig, Persister, SPOOL_BYTES_LEAST, SpoolDir, testing::MemoryStore,
};
use uuid::Uuid;

use crate::support::{LONG, Rig, SOON, failed, until};

mod dead;
mod handed_back;
mod killed;
mod over_sqlite;
mod poisoned;
mod unread;
mod unsettled;

fn with_spool(directory: &Path) -> PersistConfig {
    let mut config = PersistConfig::default();
    config.spool_dir = Some(SpoolDir::Given(directory.to_owned()));
    config.linger = SOON;
    config
}

/// A process's worth of telemetry over a spool.
struct Life {
    obs: Obs,
    store: MemoryStore,
    persister: Persister,
}

impl Life {
    fn begin(directory: &Path, store: MemoryStore) -> Self {
        Self::with(with_spool(directory), store)
    }

    fn with(config: PersistConfig, store: MemoryStore) -> Self {
        let store_of_worker = Box::new(store.clone());
        let persister = Persister::start(config, store_of_worker, StoreMetrics::default()).unwrap();
        let mut builder = Obs::builder().sink(persister.sink());
        if let Some(page) = persister.ledger_page() {
            builder = builder.ledger_page(page);
        }
        if let Some(page) = persister.runs_page() {
            builder = builder.in_flight_page(page);
        }
        Self { obs: builder.build().unwrap(), store, persister }
    }

    fn kind(&self) -> Kind {
        self.obs.kind("dsl")
    }

    fn fail(&self) -> Option<Ack> {
        let run = self.kind().strategy("bonus").version("1").build().unwrap().start();
        run.finish_ack(Err::<(), _>("no such field".to_owned())).1
    }

    /// So many errors, in the order in which they came. That of their ids is another: on a busy machine a thread may
    /// rest between two clocks.
    fn fail_all(&self, errors: usize) -> Vec<Uuid> {
        let strategy = self.kind().strategy("bonus").version("1").build().unwrap();
        let fail = |_| {
            let mut run = strategy.start();
            let id = run.id();
            assert_eq!(run.finish_ack(Err::<(), _>("no".to_owned())).1, Some(Ack::Os));
            id
        };
        (0..errors).map(fail).collect()
    }

    fn error(&self) -> obs_core::ClassLedger {
        let ledger = self.obs.ledger();
        assert_eq!(ledger.imbalance(), 0, "{ledger}");
        ledger.error
    }
}

fn segments(directory: &Path) -> usize {
    let Ok(epochs) = fs::read_dir(directory) else { return 0 };
    let files = epochs.filter_map(|epoch| fs::read_dir(epoch.unwrap().path()).ok()).flatten();
    files
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "seg"))
        .count()
}

#[test]
fn an_error_is_in_the_spool_before_its_run_returns_and_an_ok_record_is_not() {
    let root = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    store.set_stalled(true);
    let life = Life::begin(&root.path().join("spool"), store);
    assert_eq!(life.fail(), Some(Ack::Os));
    let error = life.error();
    assert_eq!((error.spooled, error.in_queue), (1, 0));
    let mut run = life.kind().strategy("bonus").version("1").build().unwrap().start();
    run.keep();
    assert_eq!(run.finish_ack(Ok::<_, String>(())).1, Some(Ack::Memory));
    assert_eq!(life.obs.ledger().ok.in_queue, 1);
    life.store.set_stalled(false);
    assert!(life.persister.flush_blocking(LONG).complete);
    assert_eq!((life.error().spooled, life.error().persisted), (0, 1));
}

#[test]
fn what_is_promised_of_errors_beforehand_is_what_they_are_answered() {
    let root = tempfile::tempdir().unwrap();
    let policies =
        [(Fsync::Interval, Ack::Os), (Fsync::Always, Ack::Disk), (Fsync::Never, Ack::Os)];
    for (at, (fsync, expected)) in policies.into_iter().enumerate() {
        let mut config = with_spool(&root.path().join(at.to_string()));
        config.spool_fsync = fsync;
        let life = Life::with(config, MemoryStore::new());
        let promised = life.persister.watch().error_ack();
        assert_eq!((promised, life.fail()), (expected, Some(expected)), "{fsync:?}");
    }
    let without = Life::with(PersistConfig::default(), MemoryStore::new());
    let promised = without.persister.watch().error_ack();
    assert_eq!((promised, without.fail()), (Ack::Memory, Some(Ack::Memory)));
}

#[test]
fn more_errors_than_memory_may_hold_are_all_written_once_and_in_order() {
    const ERRORS: usize = 3_000;
    let root = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    store.set_stalled(true);
    let mut config = with_spool(&root.path().join("spool"));
    (config.queue_records, config.error_records) = (10, 5);
    let life = Life::with(config, store);
    let ids = life.fail_all(ERRORS);
    let error = life.error();
    assert_eq!((error.spooled, error.dropped.total()), (3_000, 0));
    life.store.set_stalled(false);
    let report = life.persister.flush_blocking(LONG);
    assert!(report.complete, "{report}");
    let rows: Vec<_> = life.store.rows().iter().map(|row| row.run_id).collect();
    assert_eq!(rows.len(), ERRORS);
    assert!(rows == ids, "in the order in which they were recorded");
    assert_eq!(life.error().persisted, 3_000);
}

#[test]
fn errors_that_come_while_the_store_drains_do_not_overtake_those_that_were_spilled() {
    const ERRORS: usize = 20_000;
    let root = tempfile::tempdir().unwrap();
    let mut config = with_spool(&root.path().join("spool"));
    // Almost every error is spilled, and almost none for long.
    (config.queue_records, config.error_records, config.batch_records) = (2, 2, 2);
    config.linger = Duration::ZERO;
    let life = Life::with(config, MemoryStore::new());
    let ids = life.fail_all(ERRORS);
    let report = life.persister.flush_blocking(LONG);
    assert!(report.complete, "{report}");
    let rows: Vec<_> = life.store.rows().iter().map(|row| row.run_id).collect();
    let overtaken = rows.iter().zip(&ids).filter(|(row, id)| row != id).count();
    assert_eq!((rows.len(), overtaken), (ERRORS, 0));
}

#[test]
fn what_the_store_did_not_take_stays_behind_a_shutdown_and_the_next_process_writes_it() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let store = MemoryStore::new();
    store.set_stalled(true);
    let life = Life::begin(&spool, store);
    (0..500).for_each(|_| assert_eq!(life.fail(), Some(Ack::Os)));
    let report = life.persister.shutdown_blocking(Duration::from_millis(50));
    assert_eq!((report.spooled, report.dropped.total(), report.left), (500, 0, 0), "{report}");
    assert_eq!(life.fail(), Some(Ack::Os), "errors after the end reach the spool, too");
    assert_eq!(life.error().spooled, 501);
    drop(life);

    let next = Life::begin(&spool, MemoryStore::new());
    until("everything is adopted", || next.store.rows().len() == 501);
    assert!(next.persister.flush_blocking(LONG).complete);
    let error = next.error();
    assert_eq!((error.adopted, error.persisted, error.recorded), (501, 501, 0));
    assert_eq!(error.dropped.total(), 0, "nothing died in memory");
    until("the dead directory is gone", || fs::read_dir(&spool).unwrap().count() == 1);
    drop(next);
    until("all is gone", || fs::read_dir(&spool).unwrap().count() == 0);
}

#[test]
fn a_full_spool_refuses_the_newest_error_and_counts_each_one() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let store = MemoryStore::new();
    store.set_stalled(true);
    let mut config = with_spool(&spool);
    (config.queue_records, config.error_records) = (1, 1);
    config.spool_bytes = SPOOL_BYTES_LEAST;
    let rig = Rig::over(store, |known| *known = config);
    let mut big = failed("bonus");
    big.error_message = Some("x".repeat(100_000).into());
    let acks: Vec<Ack> = (0..200)
        .map(|_| {
            big.run_id = failed("bonus").run_id;
            rig.sink.submit(rig.test.kept_record(big.clone()))
        })
        .collect();
    let error = rig.ledger().error;
    let refused =
        acks.iter().filter(|ack| matches!(ack, Ack::Refused(DropReason::SpoolFull))).count();
    assert!(refused > 100, "{refused} of 200");
    assert_eq!(error.dropped.of(DropReason::SpoolFull), refused as u64);
    assert_eq!(error.dropped.total() + error.spooled + error.in_queue, 200);
    assert!(segments(&spool) <= 2);
    // Settling makes room.
    rig.store.set_stalled(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    big.run_id = failed("bonus").run_id;
    until("there is room", || rig.sink.submit(rig.test.kept_record(big.clone())) == Ack::Os);
}

#[test]
fn whoever_asks_gets_its_record_onto_the_disk() {
    let root = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    store.set_stalled(true);
    let life = Life::begin(&root.path().join("spool"), store.clone());
    let run = life.kind().strategy("bonus").version("1").build().unwrap().start();
    let (_, ack) = futures_executor::block_on(run.finish_durable(Err::<(), _>("x".to_owned())));
    assert_eq!(ack, Some(Ack::Disk));
    let mut config = with_spool(&root.path().join("always"));
    config.spool_fsync = Fsync::Always;
    assert_eq!(Life::with(config, store).fail(), Some(Ack::Disk));
}

#[test]
fn a_directory_that_cannot_be_used_stops_nobody() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let life = Life::begin(&file, MemoryStore::new());
    assert_eq!(life.fail(), Some(Ack::Memory));
    assert!(life.persister.ledger_page().is_none());
    assert!(life.persister.flush_blocking(LONG).complete);
    assert_eq!(life.store.rows().len(), 1);
}

#[test]
fn a_spool_that_nobody_named_is_not_put_where_everybody_can_write() {
    let root = tempfile::tempdir().unwrap();
    let mut config = with_spool(root.path());
    let everybodys = std::env::temp_dir().join("obs-persist-test-of-a-default-spool");
    config.spool_dir = Some(SpoolDir::Default(everybodys.clone()));
    let life = Life::with(config, MemoryStore::new());
    assert_eq!(life.fail(), Some(Ack::Memory));
    assert!(!everybodys.exists());
}

#[test]
fn an_error_that_a_store_had_which_panics_each_time_stays_in_the_spool() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let store = MemoryStore::new();
    store.panic(u64::MAX);
    let life = Life::begin(&spool, store);
    life.fail();
    until("the store is asked", || life.store.writes() > 0);
    life.persister.shutdown_blocking(LONG);
    assert_eq!((life.error().spooled, life.error().dropped.total()), (1, 0));
    drop(life);
    let next = Life::begin(&spool, MemoryStore::new());
    until("it is adopted", || next.store.rows().len() == 1);
}

#[test]
fn a_healthy_life_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let life = Life::begin(&spool, MemoryStore::new());
    assert!((0..100).all(|_| life.fail() == Some(Ack::Os)));
    assert!(life.persister.shutdown_blocking(LONG).complete);
    assert_eq!(segments(&spool), 0, "at the end of a shutdown already");
    drop(life);
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
}

#[test]
fn records_of_the_ok_class_never_touch_the_spool() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let rig = Rig::over(MemoryStore::new(), |config| *config = with_spool(&spool));
    assert_eq!(rig.sink.submit(rig.test.kept_record(record("bonus", "1"))), Ack::Memory);
    assert_eq!(rig.ledger().class(Class::Ok).spooled, 0);
}

#[test]
fn an_error_after_the_persister_is_gone_still_reaches_a_spool() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let Life { obs, persister, .. } = Life::begin(&spool, MemoryStore::new());
    drop(persister);
    assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
    let run = obs.kind("dsl").strategy("bonus").version("1").build().unwrap().start();
    assert_eq!(run.finish_ack(Err::<(), _>("late".to_owned())).1, Some(Ack::Os));
    assert_eq!(obs.ledger().error.spooled, 1);
    assert!(segments(&spool) > 0);
}

#[test]
fn what_a_persister_had_taken_over_is_free_again_once_it_is_gone_whoever_still_holds_its_telemetry()
{
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let stalled = || {
        let store = MemoryStore::new();
        store.set_stalled(true);
        store
    };
    let first = Life::begin(&spool, stalled());
    (0..3).for_each(|_| assert_eq!(first.fail(), Some(Ack::Os)));
    first.persister.shutdown_blocking(Duration::from_millis(50));
    drop(first);
    let Life { obs, persister, .. } = Life::begin(&spool, stalled());
    until("they are taken over", || obs.ledger().error.adopted == 3);
    let watch = persister.watch();
    persister.shutdown_blocking(Duration::from_millis(50));
    drop(persister);

    let next = Life::begin(&spool, MemoryStore::new());
    until("they are taken over once more", || next.store.rows().len() == 3);
    assert!(next.persister.flush_blocking(LONG).complete);
    assert_eq!((next.error().adopted, next.error().dropped.total()), (3, 0));
    assert_eq!((obs.ledger().error.spooled, watch.error_ack()), (3, Ack::Os));
}
