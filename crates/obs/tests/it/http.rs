//! A service as the documentation of `obs-http` wires it: one request, one set of ids everywhere.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use axum::{Router, routing::get};
use diesel::{Connection, RunQueryDsl, dsl::sql, sql_types::Text, sqlite::SqliteConnection};
use obs::{Environment, KeepPolicy, Rate, Telemetry, Value, otel::meter_provider};
use obs_http::{
    Access, Endpoints, HttpLayer, RequestRecords, Runtime, for_axum,
    otel::{HttpMetrics, watch_runtime},
};
use opentelemetry::metrics::MeterProvider as _;

use crate::support::{PATIENCE, total, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What a service adds to its routes.
fn service(telemetry: &Arc<Telemetry>, runtime: &Runtime) -> Router {
    let meter = meter_provider(telemetry).meter("shop");
    watch_runtime(&meter, runtime);
    let all = KeepPolicy { ok_rate: Rate::new(1.0).unwrap(), ..KeepPolicy::default() };
    let layer = HttpLayer::builder()
        .metrics(HttpMetrics::new(&meter))
        .records(RequestRecords::new(telemetry.obs(), all).unwrap())
        .runtime(runtime)
        .build();
    let endpoints = Endpoints::builder(Access::Open)
        .obs(telemetry.obs())
        .store(telemetry.store_watch().unwrap())
        .runtime(runtime)
        .metrics_text({
            let telemetry = Arc::clone(telemetry);
            move || match telemetry.snapshot() {
                Ok(snapshot) => Ok(snapshot.to_prometheus()),
                Err(error) => Err(error.to_string()),
            }
        })
        .build();
    let bonus = telemetry.kind("dsl").lookup("bonus", "3");
    let handler = async move || bonus.observe(&(), |_run| Ok::<_, String>("12.5"));
    Router::new()
        .route("/bonus/{user}", get(handler))
        .merge(for_axum::router(&endpoints))
        .layer(layer)
}

#[test]
fn one_request_is_in_rows_metrics_and_endpoints_under_its_ids() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.sqlite");
    let store = format!("sqlite:{}", file.display());
    let variables = [("OBS_STORE", store.as_str()), ("OBS_SAMPLE_RATE", "1")];
    let telemetry = obs::builder()
        .environment(Environment::from_iter(variables))
        .snapshots(true)
        .init()
        .unwrap();
    let telemetry = Arc::new(telemetry);

    let runtime = Runtime::of(telemetry.obs());
    let app = service(&telemetry, &runtime);

    let server = tokio::runtime::Runtime::new().unwrap();
    let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    server.spawn(async move { axum::serve(listener, app).await });
    let ask = |path: &str| {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n");
        let ids =
            format!("X-Request-Id: 4b0c1f\r\ntraceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n");
        connection.write_all(format!("{head}{ids}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("/bonus/ada").ends_with("12.5"));
    until("the request has ended", || (runtime.snapshot().requests.finished == 1).then_some(()));

    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let health = ask("/readyz");
    assert!(health.contains("\"persisted\":2") && health.contains("\"state\":\"up\""), "{health}");
    let snapshot = telemetry.snapshot().unwrap();
    let durations = snapshot.metric("http.server.request.duration").unwrap();
    let route = [("http.route", "/bonus/{user}"), ("http.response.status_code", "200")];
    let counts = durations.series_with(&route).map(|series| match &series.value {
        Value::Histogram(histogram) => histogram.count,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.sum::<u64>(), 1);
    assert_eq!(total(&snapshot, "http.server.active_requests", &[]), 0.0);
    let scraped = ask("/metrics");
    assert!(scraped.contains("content-type: text/plain; version=0.0.4"), "{scraped}");
    let series = "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
                  http_response_status_code=\"200\",http_route=\"/bonus/{user}\",\
                  network_protocol_version=\"1.1\",url_scheme=\"http\"} 1\n";
    assert!(scraped.contains(series), "{scraped}");
    assert!(scraped.contains("\nobs_runtime_requests_total{class=\"2xx\"} 1\n"), "{scraped}");
    assert_eq!(total(&snapshot, "obs.runtime.requests", &[("class", "2xx")]), 1.0);
    // Its row leads to the trace from every bucket.
    let openmetrics = snapshot.to_openmetrics();
    let bucket = openmetrics.lines().find(|line| {
        line.starts_with("obs_run_duration_seconds_bucket{")
            && line.contains("obs_kind=\"http.server\"")
            && line.contains(" # {")
    });
    assert!(bucket.unwrap().contains(&format!("trace_id=\"{TRACE}\"")), "{bucket:?}");
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());

    let query = "kind || ' ' || strategy_id || ' ' || correlation_id || ' ' || trace_id FROM run";
    let mut rows = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let query = format!("SELECT {query} ORDER BY kind");
    let rows: Vec<String> = sql::<Text>(&query).load(&mut rows).unwrap();
    let ids = format!("4b0c1f {TRACE}");
    assert_eq!(rows, [format!("dsl bonus {ids}"), format!("http.server /bonus/{{user}} {ids}")]);
}
