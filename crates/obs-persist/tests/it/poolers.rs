//! A pooler in between: PgBouncer as Debian ships it, and one that is played by the test.

mod played;

use std::{
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::Duration,
};

use obs_core::{StoreState, testing::record};
use obs_persist::{Erasure, Migrations, StoreUrl};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_postgres::NoTls;

use crate::{
    places::Silent,
    ports::free_port,
    support::{Live, count, database, failed, skipped, until},
};

/// A PgBouncer of our own, which ends with this value.
struct PgBouncer {
    process: Child,
    port: u16,
    _folder: TempDir,
}

/// Where PgBouncer is. Debian keeps it off the path of ordinary users.
fn program() -> Option<PathBuf> {
    let found = [
        "/usr/sbin/pgbouncer",
        "/usr/bin/pgbouncer",
        "/usr/local/bin/pgbouncer",
        "/opt/homebrew/bin/pgbouncer",
    ];
    let found = found.into_iter().map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        skipped("there is no PgBouncer here: run scripts/setup (Debian: pgbouncer)");
    }
    found
}

impl PgBouncer {
    fn start(server: &str, port: u16, settings: &str) -> Option<Self> {
        let program = program()?;
        let (_, host) = server.split_once('@').unwrap();
        let (host, _) = host.split_once('/').unwrap();
        let server_port = host.rsplit_once(':').unwrap().1;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgbouncer.ini");
        let ini = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\nunix_socket_dir =\ndefault_pool_size = 4\n{settings}\n"
        );
        // `any` lets everybody in as whoever the database's line says.
        let ini = ini.replace(" port=", " user=obs port=");
        std::fs::write(&file, ini).unwrap();
        // It refuses to run as root, and must read its file as somebody else.
        let mut command = Command::new(program);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = |path: &std::path::Path, mode| {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            };
            open(folder.path(), 0o755);
            open(&file, 0o644);
            let id = Command::new("id").arg("-u").output().unwrap();
            if id.stdout.starts_with(b"0\n") {
                command.args(["-u", "postgres"]);
            }
        }
        let process = command
            .arg("-q")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("PgBouncer listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { process, port, _folder: folder })
    }

    /// The same database through it.
    fn url(&self, server: &str) -> String {
        format!("postgres://obs@127.0.0.1:{}/{}", self.port, server.rsplit_once('/').unwrap().1)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A database with the schema.
fn prepared() -> String {
    let url = database();
    let live = Live::open(&url);
    until("the schema is there", || live.persister.state() == StoreState::Up);
    url
}

fn is_refused_with_the_way_out(settings: &str) {
    let server = prepared();
    let Some(pooler) = PgBouncer::start(&server, free_port(), settings) else { return };
    let live = Live::open(&pooler.url(&server));
    (0..20).for_each(|_| live.submit(record("bonus", "1")));
    live.submit(failed("bonus"));
    until("it is refused", || {
        live.persister.last_error().is_some_and(|error| error.contains("loses prepared statements"))
    });
    let error = live.persister.last_error().unwrap();
    for part in [
        "PgBouncer before 1.21",
        "pool_mode = session",
        "max_prepared_statements above 0",
        "the server itself",
    ] {
        assert!(error.contains(part), "{error}");
    }
    // Nothing is lost, and nothing is taken for a record's own fault.
    let port = pooler.port;
    drop(pooler);
    let _pooler =
        PgBouncer::start(&server, port, "pool_mode = session\nignore_startup_parameters = options")
            .unwrap();
    live.flush();
    let ledger = live.test.obs().ledger();
    assert_eq!((ledger.ok.persisted, ledger.error.persisted), (20, 1));
    assert_eq!((ledger.ok.quarantined, ledger.error.quarantined), (0, 0));
    assert_eq!(count(&server, "obs.run"), 21);
}

#[test]
fn pgbouncer_1_18_in_transaction_mode_is_refused_with_the_way_out() {
    is_refused_with_the_way_out("pool_mode = transaction");
}

#[test]
fn so_it_is_when_it_ignores_what_it_does_not_know() {
    is_refused_with_the_way_out(
        "pool_mode = transaction\nignore_startup_parameters = options,extra_float_digits",
    );
}

#[test]
fn so_it_is_in_statement_mode_whatever_it_says() {
    let server = prepared();
    let Some(pooler) = PgBouncer::start(&server, free_port(), "pool_mode = statement") else {
        return;
    };
    let live = Live::open(&pooler.url(&server));
    live.submit(record("bonus", "1"));
    until("it is refused", || {
        live.persister.last_error().is_some_and(|error| error.contains("transaction"))
    });
    assert_eq!(live.persister.flush_blocking(Duration::from_millis(100)).persisted, 0);
}

#[test]
fn pgbouncer_in_session_mode_works_from_the_first_migration_on() {
    for settings in
        ["pool_mode = session", "pool_mode = session\nignore_startup_parameters = options"]
    {
        let server = database();
        let Some(pooler) = PgBouncer::start(&server, free_port(), settings) else { return };
        let live = Live::open(&pooler.url(&server));
        for _ in 0..5 {
            (0..50).for_each(|_| live.submit(record("bonus", "1")));
            live.submit(failed("bonus"));
            live.flush();
        }
        assert_eq!(count(&server, "obs.run"), 255);
    }
}

/// The same database through a pooler that is played.
fn through(pooler: &played::Played, server: &str) -> String {
    format!("postgres://obs@127.0.0.1:{}/{}", pooler.port, server.rsplit_once('/').unwrap().1)
}

#[test]
fn a_transaction_pooler_that_keeps_prepared_statements_works_from_the_first_migration_on() {
    let server = database();
    let pooler = played::Played::start(&server, true);
    let live = Live::open(&through(&pooler, &server));
    for _ in 0..10 {
        (0..50).for_each(|_| live.submit(record("bonus", "1")));
        live.submit(failed("bonus"));
        live.flush();
    }
    assert_eq!((count(&server, "obs.run"), count(&server, "obs.run_payload")), (510, 510));
    // It did change sessions, and had to prepare again.
    for transactions in &pooler.counts.transactions {
        assert!(transactions.load(Ordering::Relaxed) > 5);
    }
    assert!(pooler.counts.prepared_again.load(Ordering::Relaxed) > 0);
}

#[test]
fn one_behind_a_host_that_says_nothing_is_tried_out_where_it_answered() {
    let server = database();
    let pooler = played::Played::start(&server, true);
    let silent = Silent::new();
    let url = through(&pooler, &server).replace('@', &format!("@127.0.0.1:{},", silent.port()));
    let live = Live::open(&format!("{url}?connect_timeout=2"));
    live.submit(record("bonus", "1"));
    live.flush();
    assert_eq!(count(&server, "obs.run"), 1);
    // Four connections went to the pooler, one after the other.
    assert_eq!(silent.callers(), 1);
}

#[test]
fn one_that_loses_them_is_refused_whoever_made_it() {
    let server = prepared();
    let pooler = played::Played::start(&server, false);
    let live = Live::open(&through(&pooler, &server));
    live.submit(record("bonus", "1"));
    until("it is refused", || {
        live.persister.last_error().is_some_and(|error| error.contains("loses prepared statements"))
    });
    assert_eq!(count(&server, "obs.run"), 0);
}

#[test]
fn an_erasure_behind_a_pooler_ends_by_what_the_server_was_told_when_others_hold_what_it_needs() {
    for table in ["erased", "erasure"] {
        let server = prepared();
        let pooler = played::Played::start(&server, true);
        let url = through(&pooler, &server);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let said = runtime.block_on(async {
            let mut store = StoreUrl::parse(&url).unwrap().store_with(Migrations::External);
            store.prepare().await.unwrap();
            let (other, connection) = tokio_postgres::connect(&server, NoTls).await.unwrap();
            let _other = tokio::spawn(connection);
            let hold = format!("BEGIN; LOCK TABLE obs.{table} IN ACCESS EXCLUSIVE MODE");
            other.batch_execute(&hold).await.unwrap();
            let erasure = Erasure::of("user-7");
            let erased = obs_persist::erase(&mut *store, &erasure, |_| Ok(0));
            timeout(Duration::from_secs(30), erased).await.map(|erased| erased.unwrap_err().chain())
        });
        let said = said.unwrap_or_else(|_| panic!("{table}: it waits for ever"));
        assert!(said.contains("statement timeout"), "{table}: {said}");
    }
}
