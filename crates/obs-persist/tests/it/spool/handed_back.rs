//! Errors in the spool that the worker had and could neither write nor set aside: they are tried again.

use std::{fs, path::Path, sync::Arc, time::Duration};

use obs_core::{Ack, Obs, RunRecord, StoreMetrics};
use obs_persist::{Persister, Store, StoreFuture, quarantine::Quarantine, testing::MemoryStore};

use super::{Life, segments, with_spool};
use crate::support::{LONG, until};

/// Panics at each record of the strategy `bomb`.
#[derive(Debug)]
struct Mined(MemoryStore);

impl Store for Mined {
    fn name(&self) -> String {
        "mined".to_owned()
    }
    fn prepare(&mut self) -> StoreFuture<'_> {
        self.0.prepare()
    }
    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        if batch.iter().any(|record| &*record.strategy_id == "bomb") {
            std::panic::resume_unwind(Box::new("told to panic"));
        }
        self.0.write(batch)
    }
    fn canary(&mut self, row: Box<RunRecord>) -> StoreFuture<'_> {
        self.0.canary(row)
    }
    fn close(&mut self) -> StoreFuture<'_> {
        self.0.close()
    }
}

fn fail(obs: &Obs, strategy: &str) {
    let run = obs.kind("dsl").strategy(strategy).version("1").build().unwrap().start();
    assert_eq!(run.finish_ack(Err::<(), _>("no such field".to_owned())).1, Some(Ack::Os));
}

#[test]
fn errors_that_a_panicking_worker_had_are_written_by_the_next_one() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let store = MemoryStore::new();
    store.set_stalled(true);
    store.panic(1);
    let life = Life::begin(&spool, store);
    (0..300).for_each(|_| assert_eq!(life.fail(), Some(Ack::Os)));
    life.store.set_stalled(false);
    let report = life.persister.flush_blocking(LONG);
    assert!(report.complete, "{report}");
    assert_eq!((life.error().persisted, life.error().spooled), (300, 0));
    assert!(life.persister.shutdown_blocking(LONG).complete);
    assert_eq!(segments(&spool), 0, "nothing keeps a segment");
}

#[test]
fn an_error_that_makes_the_worker_panic_twice_stays_for_the_next_process_and_no_other_does() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let store = MemoryStore::new();
    let mined = Box::new(Mined(store.clone()));
    store.set_unreachable(true);
    let persister = Persister::start(with_spool(&spool), mined, StoreMetrics::default()).unwrap();
    let page = persister.ledger_page().unwrap();
    let obs = Obs::builder().sink(persister.sink()).ledger_page(page).build().unwrap();
    for at in 0..100 {
        fail(&obs, if at == 50 { "bomb" } else { "bonus" });
    }
    store.set_unreachable(false);
    let report = persister.flush_blocking(LONG);
    assert!(report.complete, "{report}");
    let ledger = obs.ledger();
    assert_eq!((ledger.error.persisted, ledger.error.spooled, ledger.imbalance()), (99, 1, 0));
    fail(&obs, "bonus");
    assert!(persister.flush_blocking(LONG).complete);
    assert_eq!(obs.ledger().error.persisted, 100, "the worker goes on");
    drop((persister, obs));

    let next = Life::begin(&spool, store);
    until("it is adopted", || next.store.rows().len() == 101);
    assert_eq!(&*next.store.rows()[100].strategy_id, "bomb");
    assert!(next.persister.flush_blocking(LONG).complete);
    assert_eq!((next.error().spooled, next.error().dropped.total()), (0, 0));
}

#[test]
fn many_errors_that_each_make_the_worker_panic_hold_up_the_others_for_seconds_only() {
    let root = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    let mined = Box::new(Mined(store.clone()));
    store.set_unreachable(true);
    let config = with_spool(&root.path().join("spool"));
    let persister = Persister::start(config, mined, StoreMetrics::default()).unwrap();
    let page = persister.ledger_page().unwrap();
    let obs = Obs::builder().sink(persister.sink()).ledger_page(page).build().unwrap();
    (0..60).for_each(|_| fail(&obs, "bomb"));
    (0..60).for_each(|_| fail(&obs, "bonus"));
    store.set_unreachable(false);
    let report = persister.flush_blocking(LONG / 2);
    assert!(report.complete, "{report}");
    let error = obs.ledger().error;
    assert_eq!((error.persisted, error.spooled, error.dropped.total()), (60, 60, 0));
}

/// A store that refuses the strategy `bonus`, and a quarantine whose folder cannot be made.
fn refusing(spool: &Path, folder: &Path) -> Life {
    let store = MemoryStore::new();
    store.set_poison(Some("bonus"));
    fs::write(folder.parent().unwrap(), "").unwrap();
    let mut config = with_spool(spool);
    config.quarantine_dir = Some(folder.to_owned());
    Life::with(config, store)
}

#[test]
fn a_poison_error_waits_in_the_spool_while_the_quarantine_cannot_be_written_and_holds_up_no_other()
{
    let root = tempfile::tempdir().unwrap();
    let (spool, folder) = (root.path().join("spool"), root.path().join("file/quarantine"));
    let life = refusing(&spool, &folder);
    (0..20).for_each(|_| assert_eq!(life.fail(), Some(Ack::Os)));
    let report = life.persister.flush_blocking(Duration::from_millis(500));
    assert_eq!((report.complete, report.left, report.dropped.total()), (false, 20, 0), "{report}");
    (0..20).for_each(|_| fail(&life.obs, "other"));
    // The ledger says so a moment after the store has them.
    until("the others are written", || life.error().persisted == 20);
    assert_eq!((life.error().spooled, life.store.rows().len()), (20, 20));

    fs::remove_file(folder.parent().unwrap()).unwrap();
    // By itself, because it is tried again.
    until("all of them are set aside", || life.error().quarantined == 20);
    assert_eq!(Quarantine::at(&folder).list().unwrap().len(), 20);
    assert_eq!((life.error().spooled, life.error().dropped.total()), (0, 0));
    assert!(life.persister.shutdown_blocking(LONG).complete);
    assert_eq!(segments(&spool), 0, "nothing keeps a segment");
}

#[test]
fn a_poison_error_that_could_not_be_set_aside_by_the_end_is_for_the_next_process() {
    let root = tempfile::tempdir().unwrap();
    let (spool, folder) = (root.path().join("spool"), root.path().join("file/quarantine"));
    let life = refusing(&spool, &folder);
    (0..3).for_each(|_| assert_eq!(life.fail(), Some(Ack::Os)));
    until("it was tried", || life.store.canaries() >= 2);
    let report = life.persister.shutdown_blocking(LONG);
    assert_eq!((report.spooled, report.dropped.total(), report.left), (3, 0, 0), "{report}");
    drop(life);
    fs::remove_file(folder.parent().unwrap()).unwrap();

    let mut config = with_spool(&spool);
    config.quarantine_dir = Some(folder);
    let store = MemoryStore::new();
    store.set_poison(Some("bonus"));
    let next = Life::with(config, store);
    until("they are set aside", || next.error().quarantined == 3);
    assert_eq!((next.error().adopted, next.error().dropped.total()), (3, 0));
}

/// What somebody does to the folder, and what mends it.
#[cfg(unix)]
type Mischief = (fn(&Path), fn(&Path));

#[cfg(unix)]
#[test]
fn a_poison_error_waits_in_the_spool_while_the_folder_of_the_quarantine_is_not_safe() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn chmod(folder: &Path, mode: u32) {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }
    let opened: Mischief = (
        |folder| {
            fs::create_dir(folder).unwrap();
            chmod(folder, 0o755);
        },
        |folder| chmod(folder, 0o700),
    );
    let linked: Mischief = (
        |folder| {
            let other = folder.with_extension("other");
            fs::create_dir(&other).unwrap();
            symlink(other, folder).unwrap();
        },
        |folder| fs::remove_file(folder).unwrap(),
    );
    for (spoil, mend) in [opened, linked] {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("quarantine");
        spoil(&folder);
        let mut config = with_spool(&root.path().join("spool"));
        config.quarantine_dir = Some(folder.clone());
        let store = MemoryStore::new();
        store.set_poison(Some("bonus"));
        let life = Life::with(config, store);
        (0..3).for_each(|_| assert_eq!(life.fail(), Some(Ack::Os)));
        let report = life.persister.flush_blocking(Duration::from_millis(500));
        assert_eq!((report.left, report.dropped.total()), (3, 0), "{report}");
        mend(&folder);
        until("all of them are set aside", || life.error().quarantined == 3);
    }
}
