//! The command in a directory of its own, and a private Postgres.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use obs_core::Clock;
use serde_json::Value;
use tempfile::TempDir;

/// A directory, and the command in it with its variables.
pub(crate) struct Operator {
    pub(crate) dir: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What one call said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Operator {
    /// With none of the variables of whoever runs the tests.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Said {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_obs"))
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }

    /// The lines of `--json`, after a call that went well.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.call(&[arguments, &["--json"]].concat());
        assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

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
        let script =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/private-postgres"));
        let mut process = Command::new(script)
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
    let name = format!("cli_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    postgres(url, &format!("CREATE DATABASE {name}"));
    let (front, _) = url.rsplit_once('/').unwrap();
    format!("{front}/{name}")
}

/// The rows of a query, their columns joined by `|`, NULL as `-`.
pub(crate) fn postgres(url: &str, query: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let messages = client.simple_query(query).await;
        drop(client);
        driver.await.unwrap().unwrap();
        let messages = messages.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let rows = messages.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("-"));
                Some(cells.collect::<Vec<_>>().join("|"))
            }
            _ => None,
        });
        rows.collect()
    })
}

pub(crate) fn count(url: &str, table: &str) -> usize {
    postgres(url, &format!("SELECT count(*) FROM {table}"))[0].parse().unwrap()
}

/// Whether the full counts are asked for.
pub(crate) fn is_soak() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    std::env::var_os("OBS_TEST_SOAK").is_some()
}

/// How long a process may take to do what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::default();
    let start = clock.now();
    while !is_so() {
        assert!(clock.now().since(start) < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
