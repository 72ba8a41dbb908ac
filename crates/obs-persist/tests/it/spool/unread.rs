//! A process that has no descriptor left when its store is back: nothing in the spool can be opened for a while.
#![cfg(unix)]

use std::{path::PathBuf, time::Duration};

use futures_executor::block_on;
use obs_core::Ack;
use obs_persist::testing::MemoryStore;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::with_spool;
use crate::support::{self, LONG, Rig, failed, until};

/// Tells the child where its spool is; without it there is no child.
const CHILD: &str = "OBS_PERSIST_TEST_UNREAD_SPOOL";

/// 12 MB of them: two segments are full, synced and closed.
const ERRORS: usize = 120;

/// Not a test by itself: descriptors are short in the whole process.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a parent tells its child what to do")]
fn child() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let store = MemoryStore::new();
    store.set_stalled(true);
    let mut config = with_spool(&directory);
    (config.queue_records, config.error_records) = (2, 2);
    let rig = Rig::over(store, |known| *known = config);
    for _ in 0..ERRORS {
        let mut error = failed("bonus");
        error.error_message = Some("x".repeat(100_000).into());
        assert_eq!(rig.sink.submit(rig.test.kept_record(error)), Ack::Os);
    }
    assert_eq!(block_on(rig.sink.durable(Ack::Os)), Ack::Disk);

    let before = getrlimit(Resource::Nofile);
    let mut none = before;
    none.current = Some(0);
    setrlimit(Resource::Nofile, none).unwrap();
    assert!(std::fs::File::open("/dev/null").is_err());
    rig.store.set_stalled(false);
    let flush = rig.persister.flush_blocking(Duration::from_millis(500));
    assert_eq!((flush.complete, flush.dropped.total()), (false, 0), "{flush}");
    // Those of the segment that is still open, and no other.
    until("what can be read is written", || {
        let left = (ERRORS - rig.store.rows().len()) as u64;
        left > ERRORS as u64 / 2 && left < ERRORS as u64 && rig.ledger().error.spooled == left
    });

    setrlimit(Resource::Nofile, before).unwrap();
    // By itself, because it is tried again.
    until("everything is written", || rig.store.rows().len() == ERRORS);
    let flush = rig.persister.flush_blocking(LONG);
    assert!(flush.complete, "{flush}");
    let error = rig.ledger().error;
    assert_eq!((error.persisted, error.spooled, error.dropped.total()), (ERRORS as u64, 0, 0));
}

#[test]
fn a_process_without_descriptors_loses_no_error_that_it_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let child = support::child("spool::unread::child")
        .env(CHILD, root.path().join("spool"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "{said}");
}
