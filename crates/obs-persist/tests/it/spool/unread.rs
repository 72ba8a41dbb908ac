//! A process that has no descriptor left, when its store is back or when its first error comes: nothing in the
//! spool can be opened for a while.
#![cfg(unix)]

use std::{path::PathBuf, time::Duration};

use futures_executor::block_on;
use obs_core::Ack;
use obs_persist::testing::MemoryStore;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{segments, with_spool};
use crate::support::{self, LONG, Rig, failed, until};

/// Tells the child where its spool is; without it there is no child.
const CHILD: &str = "OBS_PERSIST_TEST_UNREAD_SPOOL";

/// 12 MB of them: two segments are full, synced and closed.
const ERRORS: usize = 120;

/// Where this process has its spool, if it is a child.
#[expect(clippy::disallowed_methods, reason = "how a parent tells its child what to do")]
fn spool_of_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Does something while the whole process has no descriptor.
fn without_descriptors<T>(does: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let mut none = before;
    none.current = Some(0);
    setrlimit(Resource::Nofile, none).unwrap();
    assert!(std::fs::File::open("/dev/null").is_err());
    let done = does();
    setrlimit(Resource::Nofile, before).unwrap();
    done
}

/// Not a test by itself: descriptors are short in the whole process.
#[test]
fn child() {
    let Some(directory) = spool_of_child() else { return };
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

    without_descriptors(|| {
        rig.store.set_stalled(false);
        let flush = rig.persister.flush_blocking(Duration::from_millis(500));
        assert_eq!((flush.complete, flush.dropped.total()), (false, 0), "{flush}");
        // Those of the segment that is still open, and no other.
        until("what can be read is written", || {
            let left = (ERRORS - rig.store.rows().len()) as u64;
            left > ERRORS as u64 / 2 && left < ERRORS as u64 && rig.ledger().error.spooled == left
        });
    });

    // By itself, because it is tried again.
    until("everything is written", || rig.store.rows().len() == ERRORS);
    let flush = rig.persister.flush_blocking(LONG);
    assert!(flush.complete, "{flush}");
    let error = rig.ledger().error;
    assert_eq!((error.persisted, error.spooled, error.dropped.total()), (ERRORS as u64, 0, 0));
}

/// Not a test by itself either.
#[test]
fn child_of_first_error() {
    let Some(directory) = spool_of_child() else { return };
    let rig = Rig::over(MemoryStore::new(), |known| *known = with_spool(&directory));
    // Its segments are there, and its worker has whatever it opens.
    until("two segments are made", || segments(&directory) == 2);
    rig.submit_ok(1);
    until("the worker writes", || rig.store.rows().len() == 1);
    let fail = || rig.sink.submit(rig.test.kept_record(failed("bonus")));

    without_descriptors(|| {
        assert_eq!(fail(), Ack::Os);
        // Ten times as long as until a sync is due.
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(fail(), Ack::Os, "a shortage is no failure of the disk");
        assert_eq!(block_on(rig.sink.durable(Ack::Os)), Ack::Disk, "nothing has to be opened");
    });

    assert_eq!(fail(), Ack::Os);
    assert_eq!(block_on(rig.sink.durable(Ack::Os)), Ack::Disk);
    let flush = rig.persister.flush_blocking(LONG);
    assert!(flush.complete, "{flush}");
    let error = rig.ledger().error;
    assert_eq!((error.persisted, error.spooled, error.dropped.total()), (3, 0, 0));
}

fn passes(test: &str) {
    let root = tempfile::tempdir().unwrap();
    let child = support::child(test).env(CHILD, root.path().join("spool")).output().unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "{said}");
}

#[test]
fn a_process_without_descriptors_loses_no_error_that_it_acknowledged() {
    passes("spool::unread::child");
}

#[test]
fn a_process_without_descriptors_at_its_first_error_promises_no_less_then_or_later() {
    passes("spool::unread::child_of_first_error");
}
