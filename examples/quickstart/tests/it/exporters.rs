//! The table of docs/exporters.md: each command as it stands there, but for ports and the number of runs.

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Quickstart;

const TABLE: &str = include_str!("../../../../docs/exporters.md");
const RUNS: u64 = 500;
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// The command in a row of the table: its variables.
fn variables(to: &str) -> Vec<(String, String)> {
    let row = TABLE.lines().find(|line| line.starts_with(&format!("| {to} | `")));
    let command = row.unwrap_or_else(|| panic!("no row for {to}")).split('`').nth(1).unwrap();
    assert!(command.contains("cargo run -p quickstart"), "{command}");
    let words = command.split(' ').take_while(|word| *word != "cargo");
    words
        .map(|word| word.split_once('=').unwrap())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[expect(clippy::disallowed_methods, reason = "a real process is waited for")]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < PATIENCE, "not seen in {PATIENCE:?}: {what}");
        thread::sleep(POLL);
    }
}

/// The sum of a counter on a page.
fn started(port: u16) -> Option<u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    let lines = page.lines().filter(|line| line.starts_with("obs_run_started_total{"));
    Some(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64)
}

/// A Collector with the project's configuration, ended when dropped.
struct Collector {
    process: Child,
    grpc: u16,
    http: u16,
    prometheus: u16,
}

impl Collector {
    /// `None` only if whoever runs the tests has said that there is to be no Collector.
    fn start() -> Option<Self> {
        let binary = collector()?;
        let (grpc, http, prometheus) = (free_port(), free_port(), free_port());
        let process = Command::new(binary)
            .arg(format!("--config={}", root().join("otel-collector/config.yaml").display()))
            .env("OBS_COLLECTOR_GRPC_PORT", grpc.to_string())
            .env("OBS_COLLECTOR_HTTP_PORT", http.to_string())
            .env("OBS_COLLECTOR_PROMETHEUS_PORT", prometheus.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for port in [grpc, http, prometheus] {
            until("the Collector's ports", || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        Some(Self { process, grpc, http, prometheus })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[expect(clippy::disallowed_methods, reason = "how the scripts tell a test where the binary is")]
fn collector() -> Option<PathBuf> {
    if env::var("OBS_SKIP_COLLECTOR").is_ok_and(|skip| skip == "1") {
        // Not by a macro: what those print is shown for tests that fail only.
        let _ = writeln!(std::io::stderr(), "SKIPPED: no real Collector: OBS_SKIP_COLLECTOR=1");
        return None;
    }
    let newest = || {
        let builds = fs::read_dir(root().join(".cache/collector")).ok()?.flatten();
        let binaries = builds.map(|build| build.path().join("otelcol-obs"));
        binaries
            .filter(|binary| binary.is_file())
            .max_by_key(|binary| fs::metadata(binary).and_then(|metadata| metadata.modified()).ok())
    };
    let binary = env::var("OBS_TEST_COLLECTOR").map(PathBuf::from).ok().or_else(newest);
    assert!(
        binary.is_some(),
        "there is no Collector: run scripts/build-collector, or set OBS_SKIP_COLLECTOR=1 to go without"
    );
    binary
}

/// The program with the variables of a row, until it has ended by itself.
fn run(to: &str, replace: &[(&str, u16)]) -> Output {
    let (_folder, mut command) = command(to, replace);
    let output = command.args(["--runs", &RUNS.to_string()]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{to}: {errors}");
    assert!(!errors.contains("warning"), "{to}: {errors}");
    output
}

fn command(to: &str, replace: &[(&str, u16)]) -> (Quickstart, Command) {
    let quickstart = Quickstart::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.env_clear().current_dir(quickstart.dir.path());
    for (name, mut value) in variables(to) {
        for (port, real) in replace {
            value = value.replace(&format!(":{port}"), &format!(":{real}"));
        }
        command.env(name, value);
    }
    (quickstart, command)
}

/// The same while it stays alive; `look` is given the port of its page.
fn hold(to: &str, replace: &[(&str, u16)], look: impl FnOnce(u16)) {
    let (quickstart, mut command) = command(to, replace);
    let port = free_port();
    let out = fs::File::create(quickstart.dir.path().join("out")).unwrap();
    let mut process = command
        .args(["--runs", &RUNS.to_string(), "--hold", "120"])
        .env("OTEL_EXPORTER_PROMETHEUS_PORT", port.to_string())
        .stdout(out)
        .spawn()
        .unwrap();
    until("every run on the page", || (started(port) == Some(RUNS)).then_some(()));
    look(port);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn to_nothing_and_to_the_console_it_needs_nobody() {
    let output = run("nothing", &[]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("--- metrics ---"));
    let output = run("console", &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("--- metrics ---") && text.contains("obs.run.started [{run}]"), "{text}");
}

#[test]
fn to_prometheus_the_page_has_every_run() {
    hold("Prometheus", &[], |_| {});
}

#[test]
fn over_both_protocols_the_collector_has_every_run() {
    for to in ["OTLP, gRPC", "OTLP, HTTP with protobuf"] {
        let Some(collector) = Collector::start() else { return };
        run(to, &[("4317", collector.grpc), ("4318", collector.http)]);
        until(to, || (started(collector.prometheus) == Some(RUNS)).then_some(()));
    }
}

#[test]
fn to_several_at_once_each_has_every_run() {
    let Some(collector) = Collector::start() else { return };
    hold("several at once", &[("4318", collector.http)], |_| {
        until("the Collector", || (started(collector.prometheus) == Some(RUNS)).then_some(()));
    });
}
