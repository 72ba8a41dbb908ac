//! A persister over a store in memory, a private Postgres, and waiting without sleeping.

use std::{
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use diesel::{
    Connection, RunQueryDsl, connection::SimpleConnection, dsl::sql, sql_types::Text,
    sqlite::SqliteConnection,
};
use obs_core::{
    Clock, Json, Ledger, RunRecord, Sink, Status, StoreMetrics,
    testing::{TestObs, record},
};
use obs_persist::{PersistConfig, Persister, Store, StoreUrl, testing::MemoryStore};

/// Far longer than anything here takes; only a test that fails waits for it.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A linger that is over at once, for tests in which the worker acts by itself.
pub(crate) const SOON: Duration = Duration::from_millis(1);

/// A persister over a store in memory.
pub(crate) struct Rig {
    pub(crate) test: TestObs,
    pub(crate) store: MemoryStore,
    pub(crate) persister: Persister,
    pub(crate) sink: Arc<dyn Sink>,
}

impl Rig {
    /// A store that works, and a linger that never ends.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut PersistConfig)) -> Self {
        Self::over(MemoryStore::new(), change)
    }

    pub(crate) fn over(store: MemoryStore, change: impl FnOnce(&mut PersistConfig)) -> Self {
        let mut config = PersistConfig::default();
        // Nothing is written because time passes: only full batches, flushes and shutdowns write.
        config.linger = Duration::from_secs(60);
        change(&mut config);
        let persister =
            Persister::start(config, Box::new(store.clone()), StoreMetrics::default()).unwrap();
        let sink = persister.sink();
        Self { test: TestObs::new(), store, persister, sink }
    }

    pub(crate) fn submit(&self, record: RunRecord) {
        self.sink.submit(self.test.kept_record(record));
    }

    pub(crate) fn submit_ok(&self, count: usize) {
        (0..count).for_each(|_| self.submit(record("bonus", "1")));
    }

    pub(crate) fn submit_errors(&self, count: usize) {
        (0..count).for_each(|_| self.submit(failed("bonus")));
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let ledger = self.test.obs().ledger();
        self.test.assert_balanced();
        ledger
    }
}

/// A persister over an address, with its own ledger.
pub(crate) struct Live {
    pub(crate) test: TestObs,
    pub(crate) persister: Persister,
    pub(crate) sink: Arc<dyn Sink>,
}

impl Live {
    pub(crate) fn open(url: &str) -> Self {
        Self::over(StoreUrl::parse(url).unwrap().store(), PersistConfig::default())
    }

    pub(crate) fn over(store: Box<dyn Store>, config: PersistConfig) -> Self {
        let persister = Persister::start(config, store, StoreMetrics::default()).unwrap();
        let sink = persister.sink();
        Self { test: TestObs::new(), persister, sink }
    }

    pub(crate) fn submit(&self, record: RunRecord) {
        self.sink.submit(self.test.kept_record(record));
    }

    /// Everything is in the store, and nothing is lost.
    pub(crate) fn flush(&self) {
        let report = self.persister.flush_blocking(LONG);
        assert!(report.complete, "{report}; {:?}", self.persister.last_error());
        assert_eq!(report.dropped.total(), 0, "{report}");
        self.test.assert_balanced();
    }
}

/// One of these tests, as a process of its own.
pub(crate) fn child(test: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    child
}

pub(crate) fn failed(strategy: &str) -> RunRecord {
    let mut failed = record(strategy, "1");
    failed.status = Status::Error;
    failed.error_type = Some("no_such_field".into());
    failed.keep_reason = obs_core::KeepReason::Failure;
    failed.inclusion_probability = 1.0;
    failed
}

/// A record with a value in every column.
pub(crate) fn full(status: Status) -> RunRecord {
    let mut full = record("büro-\"bonus\"", "3.1");
    full.status = status;
    full.kind = "dsl.execution".into();
    full.strategy_hash = Some("9f86d081".into());
    full.subject = Some("user-7".into());
    full.correlation_id = Some("order-17".into());
    full.parent_run_id = Some(record("parent", "1").run_id);
    full.error_type = status.is_failure().then(|| "no_such_field".into());
    full.error_message =
        status.is_failure().then(|| "no field `dmin`: it is {null}, \\N and \u{1f30b}".into());
    full.error_node = status.is_failure().then(|| "n7".into());
    full.value = Some(12.5);
    full.case_name = Some("big-spender".into());
    full.nodes = 40;
    full.slow = true;
    full.slim = true;
    full.trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
    full.span_id = Some("b7ad6b7169203331".into());
    full.input = Some(Json::parse(r#"{"mag":5.1,"place":"Island \"x\"","felt":null}"#).unwrap());
    full.input_bytes = 45;
    full.attributes = Some(Json::parse(r#"{"shard":3}"#).unwrap());
    full.trace = Some(Json::parse(r#"[{"id":"n1","kind":"compare"},{"id":"n2"}]"#).unwrap());
    (full.trace_total, full.trace_kept, full.trace_bytes) = (40, 2, 4_711);
    full
}

/// Waits until something is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(2);
    let clock = Clock::default();
    let start = clock.now();
    while !is_true() {
        assert!(clock.now().since(start) < LONG, "never: {what}");
        std::thread::park_timeout(PAUSE);
    }
}

/// Says that a case could not run, and why. With `OBS_TEST_PRIVILEGED`, which `scripts/test` sets where it may
/// install and mount, that is a failure.
#[track_caller]
pub(crate) fn skipped(why: &str) {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    let must = std::env::var_os("OBS_TEST_PRIVILEGED").is_some();
    assert!(!must, "OBS_TEST_PRIVILEGED is set, but {why}");
    // Not `eprintln!`, which is kept back of a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// How long something takes, with what it returned.
pub(crate) fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let clock = Clock::default();
    let start = clock.now();
    let result = act();
    (result, clock.now().since(start))
}

// ---- SQLite ----

/// The only text column of a query, row by row.
pub(crate) fn sqlite(path: &Path, query: &str) -> Vec<String> {
    sql::<Text>(query).load(&mut open_sqlite(path)).unwrap()
}

/// A connection of somebody else's, which waits while the store is in the middle of something.
pub(crate) fn open_sqlite(path: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
    connection
}

pub(crate) fn sqlite_url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

// ---- Postgres ----

/// A server for all tests of this binary. It ends when its stdin does, with this process.
struct Server {
    url: String,
    _process: Option<(Child, ChildStdin)>,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
        if let Ok(url) = std::env::var("OBS_TEST_POSTGRES") {
            return Server { url, _process: None };
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/private-postgres");
        let mut process = Command::new(script)
            .args(["-c", "max_connections=200"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/private-postgres starts");
        let stdin = process.stdin.take().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("postgres://"), "no server: {url}");
        Server { url: url.trim().to_owned(), _process: Some((process, stdin)) }
    })
}

/// A fresh database; its address.
pub(crate) fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let url = &server().url;
    let name = format!("persist_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    execute(url, &format!("CREATE DATABASE {name}"));
    let (front, _) = url.rsplit_once('/').unwrap();
    format!("{front}/{name}")
}

pub(crate) fn database_name(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

/// An address on the same server.
pub(crate) fn sibling(url: &str, database: &str) -> String {
    format!("{}/{database}", url.rsplit_once('/').unwrap().0)
}

/// The rows of a query, their columns joined by `|`, NULL as `-`.
pub(crate) fn postgres(url: &str, query: &str) -> Vec<String> {
    try_postgres(url, query).unwrap_or_else(|error| panic!("{query}: {error:?}"))
}

pub(crate) fn try_postgres(url: &str, query: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let driver = tokio::spawn(connection);
        let messages = client.simple_query(query).await;
        drop(client);
        let _ = driver.await;
        let rows = messages?.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("-"));
                Some(cells.collect::<Vec<_>>().join("|"))
            }
            _ => None,
        });
        Ok(rows.collect())
    })
}

pub(crate) fn execute(url: &str, statement: &str) {
    postgres(url, statement);
}

pub(crate) fn count(url: &str, table: &str) -> usize {
    postgres(url, &format!("SELECT count(*) FROM {table}"))[0].parse().unwrap()
}

/// What undoes each migration of a store, newest first.
pub(crate) fn downs(store: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(store);
    let mut folders: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.iter().rev().map(|one| std::fs::read_to_string(one.join("down.sql")).unwrap()).collect()
}
