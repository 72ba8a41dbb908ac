//! A process that dies after the store's commit and before it has heard of it: the next one asks.
//!
//! Its directory is copied while it hangs: that is what a kill at that moment leaves.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use obs_core::{DropReason, Obs, Page, StoreMetrics};
use obs_persist::{Persister, testing::MemoryStore};

use super::{Life, with_spool};
use crate::support::{LONG, until};

const RUNS: u64 = 8;

/// A life with some runs committed, none of them settled, and the others waiting; how many are rows.
fn hanging(spool: &Path, store: &MemoryStore) -> (Life, u64) {
    store.hang_after_commit(1);
    let mut config = with_spool(spool);
    (config.batch_records, config.linger) = (5, LONG);
    config.write_timeout = LONG;
    let life = Life::with(config, store.clone());
    finish_ok(&life, RUNS);
    until("a batch is committed", || !store.rows().is_empty());
    (life, store.rows().len() as u64)
}

fn finish_ok(life: &Life, runs: u64) {
    let strategy = life.kind().strategy("bonus").version("1").build().unwrap();
    for _ in 0..runs {
        let mut run = strategy.start();
        run.keep();
        run.finish(Ok::<_, String>(())).unwrap();
    }
}

/// What a kill at this moment leaves.
fn killed(spool: &Path, copy: &Path) {
    fs::create_dir_all(copy).unwrap();
    private(copy);
    for epoch in fs::read_dir(spool).unwrap().map(Result::unwrap) {
        let to = copy.join(epoch.file_name());
        fs::create_dir(&to).unwrap();
        private(&to);
        for file in fs::read_dir(epoch.path()).unwrap().map(Result::unwrap) {
            match fs::copy(file.path(), to.join(file.file_name())) {
                // What is taken over right now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

#[cfg(unix)]
fn private(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(not(unix))]
fn private(_directory: &Path) {}

fn crashed(life: &Life) -> u64 {
    let ledger = life.obs.ledger();
    assert_eq!(ledger.imbalance(), 0, "{ledger}");
    ledger.ok.dropped.of(DropReason::Crash)
}

#[test]
fn what_the_store_had_committed_when_a_process_died_does_not_count_as_lost() {
    let root = tempfile::tempdir().unwrap();
    let (spool, copy) = (root.path().join("spool"), root.path().join("copy"));
    let store = MemoryStore::new();
    let (dead, rows) = hanging(&spool, &store);
    assert!(rows > 0 && rows < RUNS, "{rows}");
    killed(&spool, &copy);
    // The server is still at it for a while.
    store.be_busy(2);
    let next = Life::begin(&copy, store);
    until("the crash is counted", || next.obs.ledger().ok.adopted == RUNS);
    until("the dead directory is gone", || fs::read_dir(&copy).unwrap().count() == 1);
    assert!(next.persister.shutdown_blocking(LONG).complete);
    assert_eq!(crashed(&next), RUNS - rows);
    assert_eq!(next.obs.ledger().ok.persisted, rows, "their count is ours now");
    drop(next);
    dead.persister.shutdown_blocking(Duration::ZERO);
}

#[test]
fn what_was_settled_before_a_process_died_is_taken_off_the_page() {
    let root = tempfile::tempdir().unwrap();
    let (spool, copy) = (root.path().join("spool"), root.path().join("copy"));
    let store = MemoryStore::new();
    let life = Life::begin(&spool, store.clone());
    finish_ok(&life, 20);
    assert!(life.persister.flush_blocking(LONG).complete);
    // These stay in memory: their batch is refused, again and again.
    store.set_down(true);
    finish_ok(&life, 3);
    until("they are tried", || life.persister.last_error().is_some());
    killed(&spool, &copy);
    life.persister.shutdown_blocking(Duration::ZERO);
    // It has the first ones: were they asked about, they would not count.
    store.set_down(false);
    let next = Life::begin(&copy, store);
    until("the crash is counted", || next.obs.ledger().ok.adopted == 3);
    assert!(next.persister.shutdown_blocking(LONG).complete);
    assert_eq!(crashed(&next), 3);
}

#[test]
fn what_is_certain_counts_at_once_and_the_next_process_asks_what_this_one_did_not() {
    let root = tempfile::tempdir().unwrap();
    let [spool, second, third] = ["spool", "second", "third"].map(|name| root.path().join(name));
    let (dead, rows) = hanging(&spool, &MemoryStore::new());
    killed(&spool, &second);
    // It has no rows, but does not say so yet.
    let store = MemoryStore::new();
    store.be_busy(1_000);
    let next = Life::begin(&second, store);
    until("what is certain is counted", || crashed(&next) == RUNS - rows);
    killed(&second, &third);
    let last = Life::begin(&third, MemoryStore::new());
    until("the rest is counted after a kill", || crashed(&last) == rows);
    drop(last);
    until("all is gone", || fs::read_dir(&third).unwrap().count() == 0);
    assert_eq!(crashed(&next), RUNS - rows);
    next.persister.shutdown_blocking(Duration::ZERO);
    drop(next);
    let last = Life::begin(&second, MemoryStore::new());
    until("the rest is counted after a shutdown", || crashed(&last) == rows);
    drop(last);
    dead.persister.shutdown_blocking(Duration::ZERO);
}

#[test]
fn what_was_handed_to_the_store_and_is_no_row_counts_as_lost() {
    let root = tempfile::tempdir().unwrap();
    let (spool, copy) = (root.path().join("spool"), root.path().join("copy"));
    let (dead, _) = hanging(&spool, &MemoryStore::new());
    killed(&spool, &copy);
    // Nothing of it is there.
    let next = Life::begin(&copy, MemoryStore::new());
    until("the crash is counted", || crashed(&next) == RUNS);
    drop(next);
    dead.persister.shutdown_blocking(Duration::ZERO);
}

#[test]
fn a_question_that_fails_is_asked_again_and_after_five_failures_all_count_as_lost() {
    for (failures, lost) in [(4, false), (1_000, true)] {
        let root = tempfile::tempdir().unwrap();
        let (spool, copy) = (root.path().join("spool"), root.path().join("copy"));
        let store = MemoryStore::new();
        let (dead, rows) = hanging(&spool, &store);
        killed(&spool, &copy);
        store.say_nothing(failures);
        let next = Life::begin(&copy, store);
        until("the crash is counted", || next.obs.ledger().ok.adopted == RUNS);
        assert_eq!(crashed(&next), if lost { RUNS } else { RUNS - rows }, "{failures} failures");
        drop(next);
        dead.persister.shutdown_blocking(Duration::ZERO);
    }
}

/// The ledger's page; whenever it is about to change, it looks at the page of what is under way.
#[derive(Debug)]
struct Spy {
    page: Arc<dyn Page>,
    beside: PathBuf,
    seen: AtomicU64,
}

impl Page for Spy {
    fn words(&self) -> &[AtomicU64] {
        const SETTLING_AT: usize = 2;
        let bytes = fs::read(&self.beside).unwrap();
        if bytes.as_chunks::<8>().0[SETTLING_AT] != [0; 8] {
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
        self.page.words()
    }
}

#[test]
fn whatever_is_settled_is_said_beside_before_the_ledger_changes() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let store = MemoryStore::new();
    store.set_stalled(true);
    let persister =
        Persister::start(with_spool(&spool), Box::new(store.clone()), StoreMetrics::default())
            .unwrap();
    let epoch = fs::read_dir(&spool).unwrap().next().unwrap().unwrap().path();
    let page = persister.ledger_page().unwrap();
    let spy = Arc::new(Spy { page, beside: epoch.join("batch.page"), seen: AtomicU64::new(0) });
    let builder = Obs::builder().sink(persister.sink());
    let obs = builder.ledger_page(Arc::clone(&spy) as Arc<dyn Page>).build().unwrap();
    let life = Life { obs, store, persister };
    finish_ok(&life, RUNS);
    assert_eq!(spy.seen.load(Ordering::Relaxed), 0);
    life.store.set_stalled(false);
    assert!(life.persister.flush_blocking(LONG).complete);
    assert_eq!(spy.seen.load(Ordering::Relaxed), RUNS);
}
