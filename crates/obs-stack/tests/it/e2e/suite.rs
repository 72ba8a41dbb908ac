//! The load suite against the example service, whose totals leave through the whole stack.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use obs::{
    Environment, KeepPolicy, Telemetry,
    http::{Access, Endpoints, HttpLayer, RequestRecords, Runtime, for_axum, otel::HttpMetrics},
    otel::{meter_provider, opentelemetry::metrics::MeterProvider as _},
};

use serde_json::Value;

use crate::{
    programs::built,
    stack::{Stack, get_at, until},
};

const JOB: &str = "shop";

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn the_load_suite_holds_on_the_example_and_its_totals_are_those_of_prometheus_and_the_rows() {
    let Some(stack) = Stack::start() else { return };
    let service = Service::start(&stack);
    let prometheus = stack.prometheus.address();
    let said = load(&service.address, &["--prometheus", &prometheus, "--job", JOB]).unwrap();
    assert!(said.contains("20 users"), "{said}");

    // Each run of a strategy is in Prometheus, too, and the ledger is settled.
    let rows = until(
        || "a settled ledger",
        || {
            let ledger = service.ledger();
            let of = |term: &str| {
                ["ok", "error"]
                    .map(|class| ledger[class][term].as_u64().unwrap())
                    .iter()
                    .sum::<u64>()
            };
            let waiting = of("in_queue") + of("spooled");
            (waiting == 0).then(|| of("persisted"))
        },
    );
    let ledger = service.ledger();
    assert_eq!(ledger["imbalance"], 0, "{ledger}");
    let finished = ledger["runs"]["finished"].as_f64().unwrap();
    let runs = format!("sum(obs_run_duration_seconds_count{{job=\"{JOB}\"}})");
    stack.prometheus.comes_to(&runs, finished);
    stack.prometheus.comes_to(&format!("sum(obs_record_imbalance{{job=\"{JOB}\"}})"), 0.0);
    let found = stack.postgres.ask("SELECT count(*) FROM obs.run").unwrap();
    assert_eq!(found, [rows.to_string()]);
}

/// `examples/axum-service` as a process, which ends with it.
struct Service {
    process: Child,
    address: String,
}

impl Service {
    fn start(stack: &Stack) -> Self {
        let log = stack.folder.join("service.log");
        let process = Command::new(built("axum-service"))
            .arg("127.0.0.1:0")
            .env_clear()
            .env("OTEL_SERVICE_NAME", JOB)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", stack.http())
            .env("OTEL_METRIC_EXPORT_INTERVAL", "500")
            .env("OBS_STORE", &stack.postgres.url)
            .env("OBS_SPOOL_DIR", stack.folder.join("spool"))
            .env("OBS_LOG_FORMAT", "json")
            .current_dir(&stack.folder)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let open = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "open").then(|| line["address"].as_str().unwrap().to_owned())
        };
        let address =
            until(|| "the service", || fs::read_to_string(&log).unwrap().lines().find_map(open));
        Self { process, address }
    }

    fn ledger(&self) -> Value {
        let (host, port) = self.address.rsplit_once(':').unwrap();
        let body = get_at(host, port.parse().unwrap(), "/ledger").unwrap();
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_load_suite_fails_when_a_threshold_is_broken() {
    let telemetry = obs::builder().environment(Environment::empty()).rows(false).init().unwrap();
    let (address, _server) = serve(&Arc::new(telemetry));
    let short = ["--users", "2", "--warm-up", "0", "--hold", "1", "--ramp-down", "0"];
    load_with(&address, &short, &["--request", "1 read GET /price/tea"]).unwrap();
    let said = load_with(&address, &short, &["--request", "1 write GET /broken"]).unwrap_err();
    assert!(said.contains("BROKEN: share of failed writes: 1.0000"), "{said}");
    let said = load_with(&address, &short, &["--request", "1 read GET /slow"]).unwrap_err();
    assert!(said.contains("BROKEN: p95 of all requests"), "{said}");
    let said =
        load_with(&address, &short, &["--request", "1 read GET /price/tea", "--ledger", "/no"]);
    assert!(said.unwrap_err().contains("no ledger was shown: status 404"));
}

fn load(address: &str, more: &[&str]) -> Result<String, String> {
    let phases = ["--users", "20", "--warm-up", "3", "--hold", "10", "--ramp-down", "2"];
    load_with(address, &phases, more)
}

fn load_with(address: &str, phases: &[&str], more: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_obs-load"));
    crate::programs::run(command.args(["--target", address]).args(phases).args(more))
}

/// A service with routes that break thresholds, on a port of its own.
fn serve(telemetry: &Arc<Telemetry>) -> (String, tokio::runtime::Runtime) {
    let meter = meter_provider(telemetry).meter("shop");
    let runtime = Runtime::of(telemetry.obs());
    let layer = HttpLayer::builder()
        .metrics(HttpMetrics::new(&meter))
        .records(RequestRecords::new(telemetry.obs(), KeepPolicy::default()).unwrap())
        .runtime(&runtime)
        .build();
    let endpoints = Endpoints::builder(Access::Open).obs(telemetry.obs()).runtime(&runtime).build();
    let price = telemetry.kind("price").lookup("rule", "1");
    let router = Router::new()
        .route("/price/{item}", get(async move || price.observe(&(), |_| Ok::<_, String>("12.5"))))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/slow", get(async || tokio::time::sleep(Duration::from_millis(900)).await))
        .merge(for_axum::router(&endpoints))
        .layer(layer);
    let server =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    server.spawn(async move { axum::serve(listener, router).await });
    (address, server)
}
