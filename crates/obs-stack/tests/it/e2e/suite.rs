//! The load suite against a service with the HTTP layer, whose totals leave through the whole stack.

use std::{process::Command, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, routing::get};
use obs::{
    Environment, KeepPolicy, Telemetry,
    http::{Access, Endpoints, HttpLayer, RequestRecords, Runtime, for_axum, otel::HttpMetrics},
    otel::{meter_provider, opentelemetry::metrics::MeterProvider as _},
};

use crate::stack::{PATIENCE, Stack, until};

const JOB: &str = "shop";

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn the_load_suite_holds_and_its_totals_are_those_of_prometheus_and_the_rows() {
    let Some(stack) = Stack::start() else { return };
    let telemetry = Arc::new(
        obs::builder()
            .environment(Environment::from_iter([("OTEL_METRIC_EXPORT_INTERVAL", "500")]))
            .service_name(JOB)
            .endpoint(stack.http())
            .store(&stack.postgres.url)
            .spool_dir(stack.folder.join("spool"))
            .init()
            .unwrap(),
    );
    let (address, _server) = serve(&telemetry);
    let prometheus = stack.prometheus.address();
    let said = load(&address, &["--prometheus", &prometheus, "--job", JOB]).unwrap();
    assert!(said.contains("20 users"), "{said}");

    // Each run of a strategy is in Prometheus, too, and the ledger is settled.
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let finished = telemetry.ledger().runs.finished as f64;
    stack
        .prometheus
        .comes_to(&format!("sum(obs_run_duration_seconds_count{{job=\"{JOB}\"}})"), finished);
    stack.prometheus.comes_to(&format!("sum(obs_record_imbalance{{job=\"{JOB}\"}})"), 0.0);
    let ledger = telemetry.ledger();
    let rows = ledger.ok.persisted + ledger.error.persisted;
    until(
        || "all rows",
        || {
            let found = stack.postgres.ask("SELECT count(*) FROM obs.run").ok()?;
            (found == [rows.to_string()]).then_some(())
        },
    );
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

/// A shop as the example is one, on a port of its own.
fn serve(telemetry: &Arc<Telemetry>) -> (String, tokio::runtime::Runtime) {
    let meter = meter_provider(telemetry).meter("shop");
    let runtime = Runtime::of(telemetry.obs());
    let layer = HttpLayer::builder()
        .metrics(HttpMetrics::new(&meter))
        .records(RequestRecords::new(telemetry.obs(), KeepPolicy::default()).unwrap())
        .runtime(&runtime)
        .build();
    let endpoints = Endpoints::builder(Access::Open).obs(telemetry.obs()).runtime(&runtime).build();
    let [price, parcel] = ["price", "parcel"].map(|name| telemetry.kind(name).lookup("rule", "1"));
    let router = Router::new()
        .route("/price/{item}", get(async move || price.observe(&(), |_| Ok::<_, String>("12.5"))))
        .route(
            "/parcel/{country}",
            get(async move || parcel.observe(&(), |_| Ok::<_, String>("4.9"))),
        )
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
