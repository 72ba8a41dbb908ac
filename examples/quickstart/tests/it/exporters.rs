//! docs/exporters.md: each command and each file as it stands there, but for ports and the number of runs.

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Quickstart, ports::free_port};

const PAGE: &str = include_str!("../../../../docs/exporters.md");
const RUNS: u64 = 500;
/// Where the page for Prometheus is by default.
const PAGE_PORT: u16 = 9464;
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// How the program is told where metrics go.
#[derive(Clone, Copy, Debug)]
enum By {
    Variables,
    File,
}

const BOTH: [By; 2] = [By::Variables, By::File];

/// The command in a row of the table: its variables.
fn variables(to: &str) -> Vec<(String, String)> {
    let row = PAGE.lines().find(|line| line.starts_with(&format!("| {to} | `")));
    let command = row.unwrap_or_else(|| panic!("no row for {to}")).split('`').nth(1).unwrap();
    assert!(command.contains("cargo run -p quickstart"), "{command}");
    let words = command.split(' ').take_while(|word| *word != "cargo");
    let pairs = words.map(|word| word.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The file that begins with that comment.
fn file(to: &str) -> &'static str {
    let begin = format!("```yaml\n# {to}\n");
    let (_, rest) = PAGE.split_once(&begin).unwrap_or_else(|| panic!("no file for {to}"));
    rest.split_once("```").unwrap().0
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
        let log = tempfile::NamedTempFile::new().unwrap();
        let process = Command::new(binary)
            .arg(format!("--config={}", root().join("otel-collector/config.yaml").display()))
            .env("OBS_COLLECTOR_GRPC_PORT", grpc.to_string())
            .env("OBS_COLLECTOR_HTTP_PORT", http.to_string())
            .env("OBS_COLLECTOR_PROMETHEUS_PORT", prometheus.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut collector = Self { process, grpc, http, prometheus };
        until("the Collector's ports", || {
            if let Some(status) = collector.process.try_wait().unwrap() {
                let log = fs::read_to_string(log.path()).unwrap_or_default();
                panic!("the Collector ended with {status}: {log}");
            }
            let answers = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
            [grpc, http, prometheus].iter().all(answers).then_some(())
        });
        Some(collector)
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

/// The program as the page says it, until it has ended by itself.
fn run(to: &str, by: By, replace: &[(u16, u16)]) -> Output {
    let (_folder, mut command) = command(to, by, replace);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{to}, {by:?}: {errors}");
    assert!(!errors.contains("warning"), "{to}, {by:?}: {errors}");
    output
}

fn command(to: &str, by: By, replace: &[(u16, u16)]) -> (Quickstart, Command) {
    let with_ports = |text: &str| {
        replace.iter().fold(text.to_owned(), |text, (port, real)| {
            text.replace(&port.to_string(), &real.to_string())
        })
    };
    let quickstart = Quickstart::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.env_clear().current_dir(quickstart.dir.path()).args(["--runs", &RUNS.to_string()]);
    match by {
        By::Variables => {
            command.envs(variables(to).iter().map(|(name, value)| (name, with_ports(value))));
            if let Some((_, real)) = replace.iter().find(|(port, _)| *port == PAGE_PORT) {
                command.env("OTEL_EXPORTER_PROMETHEUS_PORT", real.to_string());
            }
        }
        By::File => {
            fs::write(quickstart.dir.path().join("obs.yaml"), with_ports(file(to))).unwrap();
            command.env("OTEL_CONFIG_FILE", "obs.yaml");
        }
    }
    (quickstart, command)
}

/// The same while it stays alive, with every run on its page.
fn hold(to: &str, by: By, replace: &[(u16, u16)], look: impl FnOnce()) {
    let port = free_port();
    let replace: Vec<_> = replace.iter().copied().chain([(PAGE_PORT, port)]).collect();
    let (quickstart, mut command) = command(to, by, &replace);
    let out = fs::File::create(quickstart.dir.path().join("out")).unwrap();
    let mut process = command.args(["--hold", "120"]).stdout(out).spawn().unwrap();
    until("every run on the page", || (started(port) == Some(RUNS)).then_some(()));
    look();
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn to_nothing_and_to_the_console_it_needs_nobody() {
    for by in BOTH {
        let output = run("nothing", by, &[]);
        assert!(!String::from_utf8_lossy(&output.stdout).contains("--- metrics ---"));
        let output = run("console", by, &[]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("--- metrics ---"), "{by:?}: {text}");
        assert!(text.contains("obs.run.started [{run}]"), "{by:?}: {text}");
    }
}

#[test]
fn to_prometheus_the_page_has_every_run() {
    for by in BOTH {
        hold("Prometheus", by, &[], || ());
    }
}

#[test]
fn over_both_protocols_the_collector_has_every_run() {
    for to in ["OTLP, gRPC", "OTLP, HTTP with protobuf"] {
        for by in BOTH {
            let Some(collector) = Collector::start() else { return };
            run(to, by, &[(4317, collector.grpc), (4318, collector.http)]);
            until(to, || (started(collector.prometheus) == Some(RUNS)).then_some(()));
        }
    }
}

#[test]
fn to_several_at_once_each_has_every_run() {
    for by in BOTH {
        let Some(collector) = Collector::start() else { return };
        hold("several at once", by, &[(4318, collector.http)], || {
            // What was flushed after the last run.
            until("the Collector", || (started(collector.prometheus) == Some(RUNS)).then_some(()));
        });
    }
}
