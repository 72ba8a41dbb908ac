//! A Collector of our own build, as a child process.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Scrape, until};
use crate::{ports::free_port, tls::Certificates};

const BINARY: &str = "OBS_TEST_COLLECTOR";
const SKIP: &str = "OBS_SKIP_COLLECTOR";

/// A Collector with the project's own configuration, on ports of its own; ended when dropped.
pub(super) struct Collector {
    process: Child,
    command: Command,
    grpc: u16,
    http: u16,
    prometheus: u16,
    // Deleted after the process has ended.
    _folder: tempfile::TempDir,
}

impl Collector {
    /// `None` only if whoever runs the tests has said that there is to be no Collector.
    pub(super) fn start(tls: Option<&Certificates>) -> Option<Self> {
        Self::start_with(tls, &[])
    }

    /// The same with lines of configuration in addition, each `path::to::key: value`.
    pub(super) fn start_with(tls: Option<&Certificates>, more: &[String]) -> Option<Self> {
        let binary = binary()?;
        let folder = tempfile::tempdir().unwrap();
        let (grpc, http, prometheus) = (free_port(), free_port(), free_port());
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(binary);
        command
            .arg(format!("--config={}", root().join("otel-collector/config.yaml").display()))
            .env("OBS_COLLECTOR_GRPC_PORT", grpc.to_string())
            .env("OBS_COLLECTOR_HTTP_PORT", http.to_string())
            .env("OBS_COLLECTOR_PROMETHEUS_PORT", prometheus.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        // Every log record and span, with all that it says.
        command.arg("--config=yaml:exporters::debug::verbosity: detailed");
        for protocol in ["grpc", "http"] {
            if let Some(files) = tls {
                let tls = format!("receivers::otlp::protocols::{protocol}::tls");
                command.arg(format!("--config=yaml:{tls}::cert_file: {}", files.server.display()));
                command
                    .arg(format!("--config=yaml:{tls}::key_file: {}", files.server_key.display()));
            }
        }
        command.args(more.iter().map(|line| format!("--config=yaml:{line}")));
        let process = command.spawn().unwrap();
        let mut collector = Self { process, command, grpc, http, prometheus, _folder: folder };
        collector.wait_until_ready();
        Some(collector)
    }

    /// What it says of all that came in.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(self._folder.path().join("log")).unwrap_or_default()
    }

    /// Ends it as a machine would that loses its power.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The same again, on the same ports.
    pub(super) fn start_again(&mut self) {
        self.process = self.command.spawn().unwrap();
        self.wait_until_ready();
    }

    pub(super) fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    pub(super) fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Scrapes until the Collector, which gathers exports for a moment, shows what is awaited.
    pub(super) fn scrape_until(&self, shows: impl Fn(&Scrape) -> bool) -> Scrape {
        let mut last = String::new();
        until("the last export at the Collector's Prometheus endpoint", || {
            last = self.get_metrics()?;
            let scrape = Scrape::parse(&last);
            shows(&scrape).then_some(scrape)
        })
    }

    fn get_metrics(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.prometheus)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.0 200").then(|| body.to_owned())
    }

    fn wait_until_ready(&mut self) {
        let ports = [self.grpc, self.http, self.prometheus];
        let log = self._folder.path().join("log");
        until("the Collector's ports", || {
            if let Some(status) = self.process.try_wait().unwrap() {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("the Collector ended with {status}: {log}");
            }
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()).then_some(())
        });
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "how the scripts tell a test where the binary is")]
fn binary() -> Option<PathBuf> {
    if env::var(SKIP).is_ok_and(|skip| skip == "1") {
        // Not by a macro: what those print is shown for tests that fail only.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: no real Collector was tested, because {SKIP}=1");
        return None;
    }
    let binary = env::var(BINARY).map(PathBuf::from).ok().or_else(newest_build);
    if let Some(binary) = binary.filter(|binary| binary.is_file()) {
        return Some(binary);
    }
    panic!(
        "there is no Collector to test against: run scripts/build-collector, or name a binary in \
         {BINARY}, or set {SKIP}=1 to go without this test"
    );
}

/// What `scripts/build-collector` built last.
fn newest_build() -> Option<PathBuf> {
    let builds = fs::read_dir(root().join(".cache/collector")).ok()?;
    let binaries = builds.flatten().map(|build| build.path().join("otelcol-obs"));
    binaries
        .filter_map(|binary| Some((fs::metadata(&binary).ok()?.modified().ok()?, binary)))
        .max()
        .map(|(_, binary)| binary)
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
