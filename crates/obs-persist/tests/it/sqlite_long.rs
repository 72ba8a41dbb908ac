//! The embedded store in the long run: retention, a full disk, other writers, processes that die.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use diesel::connection::SimpleConnection;
use obs_core::{
    Clock, Json, RunRecord, Status, StoreState, Timestamp,
    testing::{audit_entry, record},
};
use obs_persist::{PersistConfig, Store, StoreUrl};
use tempfile::{TempDir, tempdir};

use crate::{
    faults::soak,
    retention::aged,
    support::{LONG, Live, SOON, failed, full, open_sqlite, skipped, sqlite, sqlite_url, until},
};

fn count(path: &Path, table: &str) -> usize {
    sqlite(path, &format!("SELECT CAST(count(*) AS TEXT) FROM {table}"))[0].parse().unwrap()
}

fn says(live: &Live, part: &str) -> bool {
    live.persister.last_error().is_some_and(|error| error.contains(part))
}

fn forever() -> PersistConfig {
    let mut config = PersistConfig::default();
    config.retention_ok = None;
    config.retention_error = None;
    config
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A record whose payload takes so many bytes.
fn large(bytes: usize) -> RunRecord {
    let mut large = full(Status::Ok);
    large.input = Some(Json::parse(&format!("\"{}\"", "x".repeat(bytes))).unwrap());
    large
}

#[test]
fn old_rows_are_deleted_and_only_those_and_errors_outlive_oks() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let days = [0, 5, 29, 31, 60, 179, 181, 400];
    let filler = Live::over(StoreUrl::parse(&sqlite_url(&path)).unwrap().store(), forever());
    for day in days {
        // More than one transaction deletes.
        let copies = if day == 60 { 1_100 } else { 1 };
        for at in 0..copies {
            filler.submit(aged(record("ok", "1"), day));
            if at % 500 == 499 {
                filler.flush();
            }
        }
        filler.submit(aged(failed("error"), day));
        let mut cancelled = record("cancelled", "1");
        cancelled.status = Status::Cancelled;
        filler.submit(aged(cancelled, day));
        filler.flush();
    }
    assert_eq!(count(&path, "run"), 3 * days.len() + 1_099);
    drop(filler);
    let live = Live::open(&sqlite_url(&path));
    until("the oldest error is gone", || count(&path, "run") == 12);
    let left = sqlite(
        &path,
        "SELECT strategy_id || ' ' || CAST(round((unixepoch() - started_at / 1000000) / 86400.0) AS INTEGER) \
         FROM run ORDER BY strategy_id DESC, started_at DESC",
    );
    let expected = [
        "ok 0",
        "ok 5",
        "ok 29",
        "error 0",
        "error 5",
        "error 29",
        "error 31",
        "error 60",
        "error 179",
        "cancelled 0",
        "cancelled 5",
        "cancelled 29",
    ];
    assert_eq!(left, expected);
    assert_eq!(count(&path, "run_payload"), 12);
    live.submit(record("today", "1"));
    live.flush();
    assert_eq!(count(&path, "run"), 13);
}

#[test]
fn maintenance_says_how_far_each_class_goes_back() {
    let folder = tempdir().unwrap();
    let mut store =
        StoreUrl::parse(&sqlite_url(&folder.path().join("obs.sqlite"))).unwrap().store();
    let (now, kept) = (Clock::default().wall(), PersistConfig::default().retention());
    let (ok, error) = (aged(record("ok", "1"), 29), aged(failed("error"), 60));
    let oldest = (Some(ok.started_at), Some(error.started_at));
    let batch = [
        aged(record("ok", "1"), 5),
        ok,
        aged(record("ok", "1"), 31),
        aged(failed("error"), 31),
        error,
        aged(failed("error"), 181),
    ];
    runtime().block_on(async {
        store.prepare().await.unwrap();
        let nothing = store.maintain(now, kept).await.unwrap();
        assert_eq!((nothing.oldest_ok, nothing.oldest_error), (None, None));
        store.write(batch.into()).await.unwrap();
        let done = store.maintain(now, kept).await.unwrap();
        assert_eq!((done.rows, done.oldest_ok, done.oldest_error), (2, oldest.0, oldest.1));
        // Entries of the audit trail are kept as errors are.
        let entries = [90, 20].map(|days_ago| aged(audit_entry("points", "assigned"), days_ago));
        let first = Some(entries[0].started_at);
        store.write(entries.into()).await.unwrap();
        let done = store.maintain(now, kept).await.unwrap();
        assert_eq!((done.rows, done.oldest_ok, done.oldest_error), (0, oldest.0, first));
    });
}

#[test]
fn a_clock_that_is_set_years_ahead_empties_no_file() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let mut store = StoreUrl::parse(&sqlite_url(&path)).unwrap().store();
    let (now, kept) = (Clock::default().wall(), PersistConfig::default().retention());
    let years_ahead = Timestamp::from_micros(now.as_micros() + 3 * 365 * 86_400_000_000);
    let batch = [record("ok", "1"), aged(record("ok", "1"), 31), failed("error")];
    runtime().block_on(async {
        store.prepare().await.unwrap();
        store.maintain(now, kept).await.unwrap();
        store.write(batch.into()).await.unwrap();
        let done = store.maintain(years_ahead, kept).await.unwrap();
        assert_eq!(done.rows, 1, "what is old by the time that has passed");
        let done = store.maintain(now, kept).await.unwrap();
        assert_eq!(done.rows, 0);
    });
    assert_eq!(count(&path, "run"), 2);
}

#[test]
fn a_file_from_which_as_much_goes_as_comes_does_not_grow() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let mut store = StoreUrl::parse(&sqlite_url(&path)).unwrap().store();
    let runtime = runtime();
    let (now, kept) = (Clock::default().wall(), PersistConfig::default().retention());
    let sizes: Vec<u64> = runtime.block_on(async {
        store.prepare().await.unwrap();
        let mut sizes = Vec::new();
        for _ in 0..5 {
            for _ in 0..10 {
                let batch: Arc<[RunRecord]> = (0..100).map(|_| aged(large(4_000), 31)).collect();
                store.write(batch).await.unwrap();
            }
            let mut rows = 0;
            loop {
                let done = store.maintain(now, kept).await.unwrap();
                assert_eq!(done.problem, None);
                rows += done.rows;
                if !done.more {
                    break;
                }
            }
            assert_eq!(rows, 1_000);
            sizes.push(fs::metadata(&path).unwrap().len());
        }
        sizes
    });
    let (first, last) = (sizes[1], sizes[4]);
    assert!(last <= first + first / 20, "{sizes:?}");
}

/// A file system of its own, so small that it can be filled; `None` where nobody may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            skipped("mounting a small file system failed (run as root, or with CAP_SYS_ADMIN)");
        }
        mounted.then_some(Self(folder))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("obs.sqlite")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn fill(store: &mut dyn Store, days_ago: i64) -> (usize, String) {
    for written in 0..200 {
        let batch: Arc<[RunRecord]> = (0..20).map(|_| aged(large(50_000), days_ago)).collect();
        if let Err(error) = store.write(batch).await {
            return (written * 20, error.chain());
        }
    }
    panic!("it never was full");
}

#[test]
fn on_a_full_disk_old_rows_still_make_room_for_new_ones() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let path = disk.file();
    let mut store = StoreUrl::parse(&sqlite_url(&path)).unwrap().store();
    let now = Clock::default().wall();
    runtime().block_on(async {
        store.prepare().await.unwrap();
        let done = store.maintain(now, forever().retention()).await.unwrap();
        assert_eq!((done.rows, done.problem), (0, None));
        let ballast = path.with_extension("sqlite-ballast");
        assert_eq!(fs::metadata(&ballast).unwrap().len(), 8 << 20);
        let (written, error) = fill(&mut *store, 31).await;
        assert!(error.contains("disk is full"), "{error}");
        assert!(written > 200, "{written}");
        // Nobody said that anything may go, so the ballast stays.
        assert!(ballast.exists());
        store.prepare().await.unwrap();
        let done = store.maintain(now, PersistConfig::default().retention()).await.unwrap();
        let left = count(&path, "run");
        assert!(left < written / 2, "{left} of {written} are left: {done:?}");
        let batch: Arc<[RunRecord]> = (0..20).map(|_| large(50_000)).collect();
        store.write(batch).await.unwrap();
    });
}

#[test]
fn a_write_that_meets_a_full_disk_drops_what_is_old_and_goes_on() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let path = disk.file();
    let mut config = PersistConfig::default();
    config.linger = SOON;
    config.batch_records = 20;
    config.queue_bytes = 64 << 20;
    let live = Live::over(StoreUrl::parse(&sqlite_url(&path)).unwrap().store(), config);
    until("it is up and maintained", || path.with_extension("sqlite-ballast").exists());
    // Three times what the disk holds.
    for _ in 0..180 {
        (0..20).for_each(|_| live.submit(aged(large(50_000), 31)));
        live.flush();
    }
    let ledger = live.test.obs().ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.quarantined), (3_600, 0));
    assert!(count(&path, "run") < 3_600);
}

#[test]
fn a_full_disk_with_nothing_to_drop_makes_rows_wait_and_sets_none_aside() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let path = disk.file();
    let live = Live::open(&sqlite_url(&path));
    until("it is up", || live.persister.state() == StoreState::Up);
    let bulk = disk.0.path().join("bulk");
    until("the rest is taken", || {
        let size = fs::metadata(&bulk).map_or(0, |bulk| bulk.len());
        let more = vec![1; usize::try_from(size).unwrap() + (1 << 20)];
        fs::write(&bulk, &more).is_err()
    });
    (0..50).for_each(|_| live.submit(large(50_000)));
    until("it is down", || says(&live, "disk is full"));
    fs::remove_file(&bulk).unwrap();
    live.flush();
    let ledger = live.test.obs().ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.quarantined), (50, 0));
    assert_eq!(count(&path, "run"), 50);
}

#[test]
fn rows_wait_while_somebody_holds_the_writers_lock_for_longer_than_we_do() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let mut config = PersistConfig::default();
    config.linger = SOON;
    let live = Live::over(StoreUrl::parse(&sqlite_url(&path)).unwrap().store(), config);
    until("it is set up", || live.persister.state() == StoreState::Up);
    let mut other = open_sqlite(&path);
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    (0..10).for_each(|_| live.submit(failed("bonus")));
    until("the busy timeout of 5 s is over", || says(&live, "database is locked"));
    other.batch_execute("COMMIT").unwrap();
    live.flush();
    let ledger = live.test.obs().ledger();
    assert_eq!((ledger.error.persisted, ledger.error.quarantined), (10, 0));
}

/// How often the process is killed.
fn kills() -> u64 {
    if soak() { 50 } else { 12 }
}

#[test]
fn no_row_that_was_flushed_is_lost_or_doubled_by_a_process_that_is_killed() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let mut acknowledged = Vec::new();
    for kill in 0..kills() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sqlite_long::a_child_that_writes_until_it_is_killed",
                "--nocapture",
                "--ignored",
            ])
            .env("OBS_TEST_CHILD_STORE", sqlite_url(&path))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after so many batches, in the midst of the next.
        let mut flushed = 0;
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some(id) = line.strip_prefix("written ") {
                acknowledged.push(id.to_uppercase());
            }
            flushed += u64::from(line == "flushed");
            if flushed > kill % 4 {
                break;
            }
        }
        std::thread::park_timeout(Duration::from_micros(kill * 700));
        child.kill().unwrap();
        // What it said before it died.
        let rest = lines.map_while(Result::ok);
        acknowledged
            .extend(rest.filter_map(|line| Some(line.strip_prefix("written ")?.to_uppercase())));
        child.wait().unwrap();
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    let stored: std::collections::BTreeSet<_> =
        sqlite(&path, "SELECT hex(run_id) FROM run JOIN run_payload USING (run_id)")
            .into_iter()
            .collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !stored.contains(*id)).collect();
    assert!(lost.is_empty(), "{} of {} are lost", lost.len(), acknowledged.len());
    assert_eq!(count(&path, "run"), stored.len());
    assert_eq!(sqlite(&path, "SELECT integrity_check FROM pragma_integrity_check"), ["ok"]);
}

#[test]
#[ignore = "the other process of a test"]
#[expect(clippy::disallowed_methods, reason = "its parent tells it where to write")]
fn a_child_that_writes_until_it_is_killed() {
    let Ok(url) = std::env::var("OBS_TEST_CHILD_STORE") else { return };
    let live = Live::open(&url);
    loop {
        let batch: Vec<_> = (0..20).map(|_| full(Status::Error)).collect();
        batch.iter().for_each(|one| live.submit(one.clone()));
        assert!(live.persister.flush_blocking(LONG).complete);
        for one in &batch {
            println!("written {}", one.run_id.simple());
        }
        println!("flushed");
    }
}
