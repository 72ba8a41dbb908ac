//! A real Postgres that is killed, cut off, held, filled and crowded under load: every record is
//! there once afterwards, none is set aside, and the store is not stormed.
//!
//! Short by default; `OBS_TEST_SOAK=1` runs the full times.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use obs_core::{Clock, Json, StoreState, testing::record};
use obs_persist::{PersistConfig, StoreUrl, quarantine::Quarantine};
use tempfile::TempDir;

use crate::{
    proxy::{Mode, Proxy},
    support::{
        LONG, Live, count, database, execute, failed, postgres, skipped, sqlite, sqlite_url, timed,
        try_postgres, until,
    },
};

/// What the worker may take to write what waited, once the store is back.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Connections a second, at most, whatever happens.
const CONNECTS_PER_SECOND: usize = 10;

pub(crate) fn soak() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    std::env::var("OBS_TEST_SOAK").is_ok()
}

/// The full time in a soak, else the short one.
fn seconds(short: u64, full: u64) -> Duration {
    Duration::from_secs(if soak() { full } else { short })
}

/// A live persister with room for a long outage and a quarantine that must stay empty.
struct Rig {
    live: Live,
    quarantine: Quarantine,
    _folder: TempDir,
}

fn rig(url: &str, change: impl FnOnce(&mut PersistConfig)) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let dir: PathBuf = folder.path().join("quarantine");
    let mut config = PersistConfig::default();
    config.quarantine_dir = Some(dir.clone());
    config.error_records = 50_000;
    config.error_bytes = 512 << 20;
    config.linger = Duration::from_millis(10);
    change(&mut config);
    let live = Live::over(StoreUrl::parse(url).unwrap().store(), config);
    until("it is connected", || live.persister.state() == StoreState::Up);
    Rig { live, quarantine: Quarantine::at(dir), _folder: folder }
}

impl Rig {
    /// Submits errors at a rate until `meanwhile` has come to its end, and looks at the books all
    /// the time; says how many there were.
    fn load(&self, per_second: u32, meanwhile: impl FnOnce()) -> usize {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut submitted = 0;
                while !over.load(Ordering::Relaxed) {
                    self.live.submit(failed("bonus"));
                    submitted += 1;
                    if submitted % 20 == 0 {
                        self.live.test.assert_balanced();
                    }
                    thread::park_timeout(Duration::from_secs(1) / per_second);
                }
                submitted
            });
            meanwhile();
            over.store(true, Ordering::Relaxed);
            load.join().unwrap()
        })
    }

    /// Everything that was submitted is there once, soon.
    fn settle(&self, url: &str, submitted: usize) {
        let (report, took) = timed(|| self.live.persister.flush_blocking(LONG));
        assert!(report.complete, "{report}; {:?}", self.live.persister.last_error());
        assert_eq!((report.quarantined, report.dropped.total()), (0, 0), "{report}");
        assert!(took < DRAIN_MAX, "{took:?}");
        self.live.test.assert_balanced();
        let ledger = self.live.test.obs().ledger();
        assert_eq!(ledger.error.persisted + ledger.ok.persisted, submitted as u64);
        assert_eq!(count(url, "obs.run"), submitted);
        assert_eq!(count(url, "obs.run_payload"), submitted);
        assert_eq!(self.quarantine.list().unwrap(), []);
    }
}

/// A server that a test may kill and start.
pub(crate) struct Server {
    pub(crate) url: String,
    says: BufReader<ChildStdout>,
    told: Option<ChildStdin>,
    process: Child,
}

impl Server {
    pub(crate) fn new(settings: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/private-postgres");
        let mut process = Command::new(script)
            .arg("--commands")
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = BufReader::new(process.stdout.take().unwrap());
        let mut url = String::new();
        says.read_line(&mut url).unwrap();
        let told = process.stdin.take();
        Self { url: url.trim().to_owned(), says, told, process }
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.told.as_ref().unwrap(), "{command}").unwrap();
        let mut done = String::new();
        self.says.read_line(&mut done).unwrap();
        assert_eq!(done.trim(), command);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its end of input is the script's signal. Killed, it would leave the server's directory behind.
        drop(self.told.take());
        let _ = self.process.wait();
    }
}

/// Does something every so often for a while.
pub(crate) fn every(pause: Duration, time: Duration, mut act: impl FnMut()) {
    let clock = Clock::default();
    let start = clock.now();
    while clock.now().since(start) < time {
        act();
        thread::park_timeout(pause);
    }
}

#[test]
fn a_server_that_is_killed_five_times_under_load_loses_and_doubles_nothing() {
    let mut server = Server::new(&["fsync=on"]);
    let url = server.url.clone();
    let rig = rig(&url, |_| {});
    let submitted = rig.load(200, || {
        for _ in 0..5 {
            let before = rig.live.test.obs().ledger().error.persisted;
            until("it writes", || rig.live.test.obs().ledger().error.persisted > before);
            server.tell("kill");
            server.tell("start");
        }
    });
    rig.settle(&url, submitted);
}

#[test]
fn a_store_that_is_down_for_long_gets_every_error_within_seconds_of_its_return() {
    let mut server = Server::new(&[]);
    let url = server.url.clone();
    let rig = rig(&url, |_| {});
    let submitted = rig.load(200, || {
        server.tell("kill");
        every(Duration::from_millis(50), seconds(4, 60), || {});
        assert_eq!(rig.live.persister.state(), StoreState::Down);
        server.tell("start");
    });
    assert!(submitted > 100, "{submitted}");
    rig.settle(&url, submitted);
}

#[test]
fn backends_that_are_terminated_again_and_again_cost_few_connections_and_no_row() {
    let url = database();
    let proxy = Proxy::before(&url);
    let rig = rig(&proxy.url(&url), |_| {});
    let time = seconds(3, 20);
    let before = proxy.accepted();
    let mut most = 0;
    let ours =
        "pg_stat_activity WHERE application_name = 'obs-persist' AND datname = current_database()";
    let submitted = rig.load(200, || {
        every(Duration::from_millis(200), time, || {
            most = most.max(count(&url, ours));
            execute(&url, &format!("SELECT pg_terminate_backend(pid) FROM {ours}"));
        });
    });
    rig.settle(&url, submitted);
    let connects = proxy.accepted() - before;
    let allowed = CONNECTS_PER_SECOND * usize::try_from(time.as_secs()).unwrap();
    assert!(connects <= allowed, "{connects} connections in {time:?}");
    assert!(most <= 2, "{most} at once");
}

#[test]
fn a_server_without_a_free_connection_is_waited_for() {
    let server = Server::new(&["max_connections=12"]);
    let url = server.url.clone();
    let proxy = Proxy::before(&url);
    let rig = rig(&proxy.url(&url), |_| {});
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let take = || {
        runtime.block_on(async {
            let (client, connection) =
                tokio_postgres::connect(&url, tokio_postgres::NoTls).await.ok()?;
            tokio::spawn(connection);
            Some(client)
        })
    };
    let mut taken = Vec::new();
    let before = proxy.accepted();
    let time = seconds(3, 30);
    let submitted = rig.load(200, || {
        taken.extend(std::iter::from_fn(take));
        let killer = taken.pop().unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'obs-persist'";
        runtime.block_on(tokio_postgres::Client::simple_query(&killer, end)).unwrap();
        // Whoever comes first has the place that became free: if it is ours, again.
        every(Duration::from_millis(20), time, || {
            runtime.block_on(tokio_postgres::Client::simple_query(&killer, end)).unwrap();
            taken.extend(take());
        });
        drop(std::mem::take(&mut taken));
    });
    rig.settle(&url, submitted);
    let allowed = CONNECTS_PER_SECOND * usize::try_from(time.as_secs() + 1).unwrap();
    let connects = proxy.accepted() - before;
    assert!(connects <= allowed, "{connects} connections in {time:?}");
}

#[test]
fn a_half_open_connection_is_given_up_and_a_shutdown_keeps_its_deadline() {
    let url = database();
    let proxy = Proxy::before(&url);
    let limit = seconds(1, 12);
    let rig = rig(&proxy.url(&url), |config| config.write_timeout = limit);
    // What happens after the first connection is over, too.
    rig.live.submit(failed("bonus"));
    rig.live.flush();
    proxy.set(Mode::Hold);
    rig.live.submit(failed("bonus"));
    let (_, took) = timed(|| {
        until("it is given up", || rig.live.persister.last_error().is_some());
    });
    assert!(took < limit + Duration::from_secs(1), "{took:?}");
    let submitted = 2 + rig.load(200, || every(Duration::from_millis(50), seconds(2, 60), || {}));
    proxy.set(Mode::Pass);
    rig.settle(&url, submitted);

    proxy.set(Mode::Hold);
    rig.live.submit(failed("bonus"));
    let deadline = Duration::from_millis(700);
    let (report, took) = timed(|| rig.live.persister.shutdown_blocking(deadline));
    assert!(took < deadline + Duration::from_millis(500), "{took:?}");
    assert!(!report.complete);
    assert_eq!(report.persisted + report.dropped.total() + report.left, 1, "{report}");
    rig.live.test.assert_balanced();
}

#[test]
fn a_connection_that_is_cut_after_any_message_costs_and_doubles_no_row() {
    let url = database();
    let proxy = Proxy::before(&url);
    let rig = rig(&proxy.url(&url), |_| {});
    let mut submitted = 0;
    for round in 0..30 {
        let kind = [b'P', b'B', b'E', b'S', b'Q'][round % 5];
        proxy.set(Mode::CutAfter(kind));
        (0..20).for_each(|_| rig.live.submit(failed("bonus")));
        (0..20).for_each(|_| rig.live.submit(record("bonus", "1")));
        submitted += 40;
        let report = rig.live.persister.flush_blocking(LONG);
        assert!(report.complete, "after {}: {report}", char::from(kind));
        assert_eq!((report.quarantined, report.dropped.total()), (0, 0), "{report}");
        // Parse and Query only come with a new connection.
        assert!(proxy.mode() == Mode::Pass || matches!(kind, b'P' | b'Q'), "{}", char::from(kind));
        proxy.set(Mode::Pass);
    }
    rig.settle(&url, submitted);
}

#[test]
fn a_store_that_is_slow_or_refuses_for_a_while_gets_every_row() {
    let url = database();
    let proxy = Proxy::before(&url);
    let rig = rig(&proxy.url(&url), |_| {});
    let mut submitted = 0;
    for mode in [Mode::Delay(Duration::from_millis(300)), Mode::Throttle(50_000), Mode::Refuse] {
        proxy.set(mode);
        submitted += rig.load(100, || every(Duration::from_millis(50), seconds(1, 20), || {}));
        proxy.set(Mode::Pass);
        rig.settle(&url, submitted);
    }
}

/// How often the store comes and goes.
const FLAPS: u32 = 3;

/// How soon rows are written again, without anybody asking for it.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

#[test]
fn a_store_that_comes_and_goes_is_found_within_ten_seconds_each_time() {
    let url = database();
    let proxy = Proxy::before(&url);
    let rig = rig(&proxy.url(&url), |_| {});
    let persisted = || rig.live.test.obs().ledger().error.persisted;
    let mut recoveries = Vec::new();
    let submitted = rig.load(200, || {
        for _ in 0..FLAPS {
            let before = persisted();
            until("it writes", || persisted() > before);
            proxy.set(Mode::Refuse);
            until("it is down", || rig.live.persister.state() == StoreState::Down);
            let before = persisted();
            every(Duration::from_millis(50), seconds(2, 60), || {});
            assert_eq!(persisted(), before, "nobody is there to write to");
            proxy.set(Mode::Pass);
            let ((), took) = timed(|| until("rows are written again", || persisted() > before));
            recoveries.push(took);
        }
    });
    println!("{FLAPS} recoveries: {recoveries:?}");
    assert!(recoveries.iter().all(|took| *took <= RECOVERY_MAX), "{recoveries:?}");
    rig.settle(&url, submitted);
}

#[test]
fn a_database_whose_disk_is_full_gets_every_row_once_there_is_room_and_nothing_is_set_aside() {
    let url = database();
    let data = postgres(&url, "SHOW data_directory").remove(0);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(data).unwrap());
    let Some(disk) = SmallDisk::new(24, owner) else { return };
    let name = url.rsplit_once('/').unwrap().1;
    let space = format!("small_{name}");
    execute(&url, &format!("CREATE TABLESPACE {space} LOCATION '{}'", disk.path().display()));
    execute(&url, &format!("ALTER DATABASE {name} SET default_tablespace = {space}"));
    let rig = rig(&url, |_| {});
    let submitted = fill(&rig, "No space left");
    disk.make_room();
    rig.settle(&url, submitted);
    drop(rig);
    postgres(&url, &format!("ALTER DATABASE {name} RESET default_tablespace"));
    let _ = try_postgres(&url, "DROP SCHEMA obs CASCADE");
    postgres(&url, &format!("DROP TABLESPACE {space}"));
}

/// Submits until the store says that its disk is full, and then for a while; says how many.
fn fill(rig: &Rig, says: &str) -> usize {
    let large = || {
        let mut large = failed("bonus");
        // Ids in hexadecimal, so that it takes its room however it is compressed.
        let noise: String = (0..300).map(|_| record("", "").run_id.simple().to_string()).collect();
        large.trace = Some(Json::parse(&format!("\"{noise}\"")).unwrap());
        large
    };
    let mut submitted = 0;
    let is_full = || rig.live.persister.last_error().is_some_and(|error| error.contains(says));
    while !is_full() {
        let ledger = rig.live.test.obs().ledger();
        let error = rig.live.persister.last_error();
        assert!(submitted < 5_000, "it is never full: {error:?} {ledger}");
        assert_eq!(ledger.error.quarantined, 0, "{ledger}");
        rig.live.submit(large());
        submitted += 1;
        thread::park_timeout(Duration::from_millis(1));
    }
    every(Duration::from_millis(50), seconds(2, 10), || {
        rig.live.submit(large());
        rig.live.submit(failed("bonus"));
        submitted += 2;
    });
    submitted
}

#[test]
fn a_file_on_a_full_disk_gets_every_row_once_there_is_room_and_nothing_is_set_aside() {
    let Some(disk) = SmallDisk::new(16, 0) else { return };
    let file = disk.path().join("runs.db");
    let rig = rig(&sqlite_url(&file), |_| {});
    let submitted = fill(&rig, "full");
    disk.make_room();
    rig.live.flush();
    let rows = |table: &str| sqlite(&file, &format!("SELECT CAST(count(*) AS TEXT) FROM {table}"));
    assert_eq!(
        [rows("run"), rows("run_payload")],
        [[submitted.to_string()], [submitted.to_string()]]
    );
    assert_eq!(rig.quarantine.list().unwrap(), []);
    let ledger = rig.live.test.obs().ledger();
    assert_eq!((ledger.error.persisted, ledger.error.quarantined), (submitted as u64, 0));
}

/// A small file system of its own with a ballast in it; needs the right to mount.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(megabytes: u32, owner: u32) -> Option<Self> {
        const MAY_MOUNT: u64 = 1 << 21;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let rights = rights.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
        if rights & MAY_MOUNT == 0 {
            skipped("a full disk needs the right to mount (run as root, or with CAP_SYS_ADMIN)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let disk = Self(folder);
        let options = format!("size={megabytes}m,mode=0700,uid={owner}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(disk.0.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "cannot mount although we have the right to");
        fs::create_dir(disk.path()).unwrap();
        std::os::unix::fs::chown(disk.path(), Some(owner), None).unwrap();
        fs::write(disk.ballast(), vec![0; (megabytes as usize) << 19]).unwrap();
        // The way there is private by default.
        let open: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(disk.0.path(), open).unwrap();
        Some(disk)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("space")
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still hold a file.
        let path: &Path = self.0.path();
        let _ = Command::new("umount").arg("--lazy").arg(path).status();
    }
}
