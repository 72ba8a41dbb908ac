//! A process whose files may not get as long as ours would (`ulimit -f`): whoever writes beyond that gets a signal that
//! ends the process, which is what telemetry must never do.
#![cfg(unix)]

use std::{path::PathBuf, time::Duration};

use obs_core::Ack;
use obs_persist::{PersistConfig, SpoolDir, StoreUrl, testing::MemoryStore};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    support::{self, LONG, Live, Rig, SOON, failed, sqlite, sqlite_url, until},
    worker::{lines, listen},
};

/// Tells the child where its files are; without it there is no child.
const CHILD: &str = "OBS_PERSIST_TEST_FILE_LIMIT";

const ERRORS: usize = 100;

/// Where this process has its files, if it is a child.
#[expect(clippy::disallowed_methods, reason = "how a parent tells its child what to do")]
fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// From now on no file of this process may get longer; as long as it likes with `None`.
fn limit(bytes: Option<u64>) {
    let mut limit = getrlimit(Resource::Fsize);
    limit.current = bytes.or(limit.maximum);
    setrlimit(Resource::Fsize, limit).unwrap();
}

fn with_spool(folder: PathBuf) -> PersistConfig {
    let mut config = PersistConfig::default();
    config.spool_dir = Some(SpoolDir::Given(folder));
    config.linger = SOON;
    config
}

/// Not a test by itself, nor are the others that begin like this: what is limited is the whole process.
#[test]
fn child_with_a_spool() {
    let Some(folder) = folder_of_child() else { return };
    listen();
    // The first has room for the pages and for no segment, the second for nothing at all.
    for (life, most) in [1 << 20, 0].into_iter().enumerate() {
        limit(Some(most));
        let store = MemoryStore::new();
        store.set_stalled(true);
        let folder = folder.join(life.to_string());
        let rig = Rig::over(store, |known| *known = with_spool(folder.clone()));
        let fail = || rig.sink.submit(rig.test.kept_record(failed("bonus")));
        for _ in 0..ERRORS {
            assert_eq!(fail(), Ack::Memory);
        }
        let errors = rig.ledger().error;
        assert_eq!((errors.in_queue, errors.spooled), (ERRORS as u64, 0));
        let said = lines("the spool cannot make a segment");
        let said: Vec<_> =
            said.iter().filter(|line| line.contains(folder.to_str().unwrap())).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        let why = format!("no file of this process may have more than {most}: raise its limit");
        assert!(said[0].starts_with("WARN") && said[0].contains(&why), "{said:?}");

        limit(None);
        until("the spool has room again", || fail() == Ack::Os);
        rig.store.set_stalled(false);
        let flush = rig.persister.flush_blocking(LONG);
        assert!(flush.complete, "{flush}");
        let errors = rig.ledger().error;
        assert_eq!((errors.persisted, errors.dropped.total()), (rig.store.rows().len() as u64, 0));
        assert!(errors.persisted > ERRORS as u64);
    }
}

#[test]
fn child_with_a_database_in_a_file() {
    let Some(folder) = folder_of_child() else { return };
    let path = folder.join("runs.sqlite");
    let store = StoreUrl::parse(&sqlite_url(&path)).unwrap().store();
    let live = Live::over(store, PersistConfig::default());
    live.submit(failed("bonus"));
    live.flush();

    // Some of them fit.
    limit(Some(512 << 10));
    for _ in 0..ERRORS {
        let mut error = failed("bonus");
        error.error_message = Some("x".repeat(20_000).into());
        live.submit(error);
    }
    let flush = live.persister.flush_blocking(Duration::from_secs(1));
    assert_eq!((flush.complete, flush.dropped.total()), (false, 0), "{flush}");
    live.test.assert_balanced();
    until("it says why", || live.persister.last_error().is_some());

    limit(None);
    live.flush();
    let rows = sqlite(&path, "SELECT count(*) || ' ' || count(DISTINCT run_id) FROM run");
    assert_eq!(rows, [format!("{0} {0}", ERRORS + 1)]);
}

fn passes(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let child = support::child(test).env(CHILD, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{}: {said}", child.status);
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"), "{said}");
}

#[test]
fn a_process_whose_files_may_not_be_as_long_as_a_segment_lives_and_keeps_its_errors_in_memory() {
    passes("file_limit::child_with_a_spool");
}

#[test]
fn a_process_whose_database_meets_its_limit_of_file_sizes_lives_and_loses_nothing() {
    passes("file_limit::child_with_a_database_in_a_file");
}
