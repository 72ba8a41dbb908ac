//! The real Collector as a child process, and certificates for it.

use std::{
    env, fs,
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::{ports::free_port, support::until};

const BINARY: &str = "OBS_TEST_COLLECTOR";
const SKIP: &str = "OBS_SKIP_COLLECTOR";

/// A Collector with the project's own configuration, on ports of its own; ended when dropped.
pub(crate) struct Collector {
    process: Child,
    grpc: u16,
    http: u16,
    // Deleted after the process has ended.
    folder: TempDir,
}

/// An authority, a server and a client that it vouches for, as PEM files.
pub(crate) struct Tls {
    pub(crate) authority: PathBuf,
    server: PathBuf,
    server_key: PathBuf,
    pub(crate) client: PathBuf,
    pub(crate) client_key: PathBuf,
    _folder: TempDir,
}

impl Collector {
    /// `None` only if whoever runs the tests has said that there is to be no Collector. `mutual`: it wants
    /// certificates of its clients.
    pub(crate) fn start(tls: Option<&Tls>, mutual: bool) -> Option<Self> {
        let binary = binary()?;
        let folder = tempfile::tempdir().unwrap();
        let (grpc, http, prometheus) = (free_port(), free_port(), free_port());
        let mut command = Command::new(binary);
        command
            .arg(format!("--config={}", root().join("otel-collector/config.yaml").display()))
            .arg("--config=yaml:exporters::debug::verbosity: detailed")
            .env("OBS_COLLECTOR_GRPC_PORT", grpc.to_string())
            .env("OBS_COLLECTOR_HTTP_PORT", http.to_string())
            .env("OBS_COLLECTOR_PROMETHEUS_PORT", prometheus.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap());
        for protocol in ["grpc", "http"] {
            let Some(tls) = tls else { continue };
            let mut set = |key: &str, path: &Path| {
                let key = format!("receivers::otlp::protocols::{protocol}::tls::{key}");
                command.arg(format!("--config=yaml:{key}: {}", path.display()));
            };
            set("cert_file", &tls.server);
            set("key_file", &tls.server_key);
            if mutual {
                set("client_ca_file", &tls.authority);
            }
        }
        let mut collector = Self { process: command.spawn().unwrap(), grpc, http, folder };
        until("the Collector's ports", || {
            if let Some(status) = collector.process.try_wait().unwrap() {
                panic!("the Collector ended with {status}: {}", collector.said());
            }
            [grpc, http].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        Some(collector)
    }

    /// What it says of all that came in.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn grpc(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.grpc)
    }

    pub(crate) fn http(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.http)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tls {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(params, authority_key);
        let vouched = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
        };
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let ((server, server_key), (client, client_key)) =
            (vouched("localhost"), vouched("orders"));
        Self {
            authority: write("authority.pem", &authority),
            server: write("server.pem", &server),
            server_key: write("server.key", &server_key),
            client: write("client.pem", &client),
            client_key: write("client.key", &client_key),
            _folder: folder,
        }
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
    let binary = binary.filter(|binary| binary.is_file());
    Some(binary.unwrap_or_else(|| {
        panic!("there is no Collector: run scripts/build-collector, or name one in {BINARY}, or set {SKIP}=1")
    }))
}

/// What `scripts/build-collector` built last.
fn newest_build() -> Option<PathBuf> {
    let builds = fs::read_dir(root().join(".cache/collector")).ok()?;
    let binaries = builds.flatten().map(|build| build.path().join("otelcol-obs"));
    let dated = binaries.filter_map(|it| Some((fs::metadata(&it).ok()?.modified().ok()?, it)));
    dated.max().map(|(_, binary)| binary)
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
