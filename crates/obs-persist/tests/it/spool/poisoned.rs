//! An error that the store does not take: from the spool into the quarantine, once.

use std::{fs, path::Path};

use obs_core::Ack;
use obs_persist::{quarantine::Quarantine, testing::MemoryStore};

use super::Life;
use crate::support::{LONG, until};

fn refusing() -> MemoryStore {
    let store = MemoryStore::new();
    store.set_poison(Some("bonus"));
    store
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    // As the spool wants it.
    let private: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(to, private).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_error_that_is_set_aside_leaves_the_spool_and_is_not_adopted_again() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let quarantine = Quarantine::at(spool.join("quarantine"));
    let life = Life::begin(&spool, refusing());
    for _ in 0..3 {
        assert_eq!(life.fail(), Some(Ack::Os));
    }
    assert!(life.persister.flush_blocking(LONG).complete);
    assert_eq!((life.error().quarantined, life.error().spooled), (3, 0));
    assert_eq!(quarantine.list().unwrap().len(), 3);
    assert!(life.persister.shutdown_blocking(LONG).complete);

    let next = Life::begin(&spool, MemoryStore::new());
    assert!(next.persister.flush_blocking(LONG).complete);
    assert_eq!((next.error().adopted, next.store.rows().len()), (0, 0));
    assert_eq!(quarantine.list().unwrap().len(), 3);
}

#[test]
fn a_process_that_dies_between_the_file_and_the_ledger_sets_the_record_aside_once() {
    let root = tempfile::tempdir().unwrap();
    let (spool, crashed) = (root.path().join("spool"), root.path().join("crashed"));
    let store = refusing();
    store.set_stalled(true);
    let life = Life::begin(&spool, store);
    for _ in 0..3 {
        assert_eq!(life.fail(), Some(Ack::Os));
    }
    until("it is being written", || life.store.writes() == 1);
    // What a crash leaves: the frames as they are now, and the files as they will be.
    copy(&spool, &crashed);
    life.store.set_stalled(false);
    assert!(life.persister.flush_blocking(LONG).complete);
    let quarantine = Quarantine::at(spool.join("quarantine"));
    let before = quarantine.list().unwrap();
    assert_eq!(before.len(), 3);
    copy(quarantine.folder(), &crashed.join("quarantine"));

    let next = Life::begin(&crashed, refusing());
    until("they are adopted and settled", || next.error().quarantined == 3);
    assert_eq!((next.error().adopted, next.error().dropped.total()), (3, 0));
    let after = Quarantine::at(crashed.join("quarantine")).list().unwrap();
    let ids = |entries: &[obs_persist::quarantine::Entry]| {
        entries.iter().map(|entry| entry.run_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&after), ids(&before), "each is there once");
}
