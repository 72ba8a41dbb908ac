//! The whole stack on loopback: Postgres, an agent, two gateways behind one name, Prometheus with our rules.

mod load;
mod names;
mod postgres;
mod process;
mod query;

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use obs_stack::root;

use crate::{
    ports::free_port,
    programs::{COLLECTOR, PROMETHEUS},
};
pub(crate) use load::{Load, Made};
use names::Names;
pub(crate) use postgres::Postgres;
pub(crate) use process::Process;
pub(crate) use query::{Prometheus, get_at, post};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The programs; all of them end with it.
pub(crate) struct Stack {
    pub(crate) agent: Process,
    pub(crate) gateways: [Process; 2],
    pub(crate) prometheus: Prometheus,
    pub(crate) postgres: Postgres,
    grpc: u16,
    http: u16,
    /// Where the agent shows metrics to a scrape.
    pub(crate) scrape: u16,
    /// Where the gateways show their own metrics.
    pub(crate) telemetry_of_gateways: [u16; 2],
    pub(crate) folder: PathBuf,
    // Ends last.
    _server: Process,
    _names: Names,
    _temporary: tempfile::TempDir,
}

/// What is other than in the files as they are shipped.
#[derive(Default)]
pub(crate) struct Shape {
    /// Laid over `agent.yaml`; a name is one in `otel-collector`.
    pub(crate) agent: Option<PathBuf>,
    /// The same over `gateway.yaml`.
    pub(crate) gateway: Option<PathBuf>,
    /// For all Collectors, beside those of each.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Stack {
    /// `None` only if whoever runs the tests has said to go without one of the programs.
    pub(crate) fn start() -> Option<Self> {
        Self::start_as(Shape::default())
    }

    /// The same with files laid over those of the Collectors.
    pub(crate) fn start_as(shape: Shape) -> Option<Self> {
        let (binary, prometheus) = (COLLECTOR.find()?, PROMETHEUS.find()?);
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_owned();
        let postgres = Postgres::start();
        let names = Names::start();
        let [grpc, http, scrape, server_port] = [(); 4].map(|()| free_port());
        let telemetry = [(); 3].map(|()| free_port());
        let server = server(&prometheus, &folder, server_port, telemetry);
        let api = Prometheus::new(server_port);
        api.wait_until_ready();
        let tier = Tier { binary, folder: folder.clone(), shape, gateway_port: free_port() };
        let url = format!("http://127.0.0.1:{server_port}");
        let gateways =
            [1_u8, 2].map(|number| tier.gateway(number, telemetry[usize::from(number)], &url));
        let gateway_port = tier.gateway_port;
        let settings = [
            ("OBS_COLLECTOR_GRPC_PORT", grpc.to_string()),
            ("OBS_COLLECTOR_HTTP_PORT", http.to_string()),
            ("OBS_COLLECTOR_PROMETHEUS_PORT", scrape.to_string()),
            ("OBS_COLLECTOR_TELEMETRY_PORT", telemetry[0].to_string()),
            (
                "OBS_COLLECTOR_GATEWAY",
                format!("dns://{}/gateway.test:{gateway_port}", names.address()),
            ),
            ("OBS_COLLECTOR_GATEWAY_PORT", gateway_port.to_string()),
        ];
        let agent = tier.collector("agent", "agent.yaml", tier.shape.agent.as_deref(), &settings);
        let stack = Self {
            agent,
            gateways,
            prometheus: api,
            postgres,
            grpc,
            http,
            scrape,
            telemetry_of_gateways: [telemetry[1], telemetry[2]],
            folder,
            _server: server,
            _names: names,
            _temporary: temporary,
        };
        stack.wait_until_up();
        Some(stack)
    }

    pub(crate) fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    pub(crate) fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// All three Collectors are seen by Prometheus.
    fn wait_until_up(&self) {
        until(
            || "three Collectors that Prometheus scrapes",
            || {
                let up = self.prometheus.number("sum(up{job=\"otel-collector\"})");
                (up == Some(3.0)).then_some(())
            },
        );
    }
}

/// What the Collectors of a stack have in common.
struct Tier {
    binary: PathBuf,
    folder: PathBuf,
    shape: Shape,
    gateway_port: u16,
}

impl Tier {
    fn gateway(&self, number: u8, telemetry: u16, prometheus: &str) -> Process {
        let settings = [
            ("OBS_COLLECTOR_HOST", format!("127.0.0.{number}")),
            ("OBS_COLLECTOR_GRPC_PORT", self.gateway_port.to_string()),
            ("OBS_COLLECTOR_TELEMETRY_PORT", telemetry.to_string()),
            ("OBS_COLLECTOR_PROMETHEUS_URL", prometheus.to_owned()),
        ];
        let name = format!("gateway-{number}");
        self.collector(&name, "gateway.yaml", self.shape.gateway.as_deref(), &settings)
    }

    fn collector(
        &self,
        name: &str,
        file: &str,
        over: Option<&Path>,
        settings: &[(&str, String)],
    ) -> Process {
        let files = [Some(Path::new(file)), over].into_iter().flatten();
        let files = files.map(|file| root().join("otel-collector").join(file));
        let arguments: Vec<_> = files.map(|file| format!("--config={}", file.display())).collect();
        let mut all = settings.to_vec();
        all.extend(self.shape.settings.iter().cloned());
        all.push(("OBS_COLLECTOR_HEALTH_PORT", free_port().to_string()));
        all.push(("OBS_COLLECTOR_STORAGE", self.folder.join(name).display().to_string()));
        Process::start(name, &self.binary, &arguments, &all, &self.folder)
    }
}

fn server(binary: &Path, folder: &Path, port: u16, telemetry: [u16; 3]) -> Process {
    let config = prometheus_config(folder, telemetry);
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-otlp-receiver".to_owned(),
    ];
    Process::start("prometheus", binary, &arguments, &[], folder)
}

/// The project's own configuration, with the targets of this stack, scraped each second.
fn prometheus_config(folder: &Path, telemetry: [u16; 3]) -> PathBuf {
    let text = fs::read_to_string(root().join("prometheus/prometheus.yaml")).unwrap();
    let targets = format!(
        "[127.0.0.1:{}, 127.0.0.1:{}, 127.0.0.2:{}]",
        telemetry[0], telemetry[1], telemetry[2]
    );
    let rules = root().join("prometheus/rules").display().to_string();
    let changed = text
        .replace("[agent:8888, gateway-1:8887, gateway-2:8887]", &targets)
        .replace(": 15s", ": 1s")
        .replace("- rules/", &format!("- {rules}/"));
    assert!(changed.contains(&targets) && changed.contains(&rules), "{changed}");
    let path = folder.join("prometheus.yaml");
    fs::write(&path, changed).unwrap();
    path
}

/// What the agent shows to a scrape.
pub(crate) fn scraped(port: u16) -> String {
    until(|| "the agent's own /metrics", || get_at("127.0.0.1", port, "/metrics"))
}

/// Looks until there is something to see.
#[track_caller]
pub(crate) fn until<T, W: Display>(what: impl Fn() -> W, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same with a deadline of its own.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test that waits for other processes")]
pub(crate) fn until_within<T, W: Display>(
    patience: Duration,
    what: impl Fn() -> W,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(start.elapsed() < patience, "not seen in {patience:?}: {}", what());
        thread::sleep(Duration::from_millis(100));
    }
}
