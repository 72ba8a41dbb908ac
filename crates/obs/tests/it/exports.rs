//! What is exported, when, and what happens when it cannot be.

use std::time::Duration;

use obs::{Environment, Exported, FinishedRun};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{AggregationTemporality, metric::Data, number_data_point::Value},
};
use prost::Message as _;

use crate::support::{FakeCollector, PATIENCE, metrics_only, total, two_runs, until};

#[test]
fn metrics_are_exported_at_every_interval() {
    let collector = FakeCollector::start();
    let telemetry = metrics_only()
        .endpoint(collector.url())
        .export_interval(Duration::from_millis(20))
        .init()
        .unwrap();
    until("three exports", || (collector.requests().len() >= 3).then_some(()));
    assert_eq!(telemetry.shutdown_blocking(PATIENCE).export, Ok(Exported::Done));
}

#[test]
fn headers_compression_and_resource_travel_with_every_export() {
    let collector = FakeCollector::start();
    let environment = Environment::from_iter([
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b,x-tenant=acme"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_SERVICE_NAME", "orders"),
    ]);
    let telemetry =
        metrics_only().environment(environment).endpoint(collector.url()).init().unwrap();
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let request = collector.requests().pop().unwrap();
    for header in [
        "post /v1/metrics ",
        "content-type: application/x-protobuf",
        "x-token: a b",
        "x-tenant: acme",
    ] {
        assert!(request.head.contains(header), "{header}: {}", request.head);
    }
    let body = String::from_utf8_lossy(&request.body);
    let instance = telemetry.obs().epoch().to_string();
    for text in [
        "service.name",
        "orders",
        "service.instance.id",
        &instance,
        "telemetry.sdk.name",
        "process.pid",
    ] {
        assert!(body.contains(text), "{text}: {body}");
    }

    let environment = Environment::from_iter([("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
    let telemetry =
        metrics_only().environment(environment).endpoint(collector.url()).init().unwrap();
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let request = collector.requests().pop().unwrap();
    assert!(request.head.contains("content-encoding: gzip"), "{}", request.head);
    assert!(request.body.starts_with(&[0x1f, 0x8b]), "not gzip");
}

#[test]
fn totals_are_complete_at_the_first_export_after_the_collector_came_back() {
    let collector = FakeCollector::start();
    // 400 is final: the exporter does not try again by itself.
    collector.answer_with(400);
    let telemetry = metrics_only().endpoint(collector.url()).snapshots(true).init().unwrap();
    for _ in 0..3 {
        two_runs(&telemetry);
        assert!(telemetry.flush_blocking(PATIENCE).export.is_err());
    }
    collector.answer_with(200);
    assert_eq!(telemetry.flush_blocking(PATIENCE).export, Ok(Exported::Done));
    let snapshot = telemetry.snapshot().unwrap();
    let last = collector.requests().pop().unwrap();
    for (counter, complete) in [("obs.run.started", 6.0), ("obs.export.failures", 3.0)] {
        assert_eq!(exported(&last.body, counter), complete, "{counter}");
        assert_eq!(total(&snapshot, counter, &[]), complete, "{counter}");
    }
}

/// All series of a cumulative counter together, as they are in a request.
fn exported(body: &[u8], counter: &str) -> f64 {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let mut metrics =
        scopes.flat_map(|scope| scope.metrics).filter(|metric| metric.name == counter);
    let Some(Data::Sum(sum)) = metrics.next().unwrap().data else { panic!("no sum: {counter}") };
    assert!(metrics.next().is_none(), "{counter} is there once");
    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
    let value = |value| match value {
        Value::AsInt(number) => number as f64,
        Value::AsDouble(number) => number,
    };
    sum.data_points.into_iter().filter_map(|point| point.value).map(value).sum()
}

#[test]
fn the_failure_counter_exists_before_the_first_failure() {
    let collector = FakeCollector::start();
    let telemetry = metrics_only().endpoint(collector.url()).snapshots(true).init().unwrap();
    let snapshot = telemetry.snapshot().unwrap();
    let failures = snapshot.metric("obs.export.failures").unwrap();
    assert_eq!((failures.unit.as_str(), failures.series.len()), ("{export}", 1));
    assert_eq!(total(&snapshot, "obs.export.failures", &[("signal", "metrics")]), 0.0);
}

#[test]
fn the_reason_of_a_failure_says_what_the_network_said() {
    let port = crate::ports::free_port();
    for protocol in [obs::Protocol::HttpProtobuf, obs::Protocol::Grpc] {
        let telemetry = metrics_only()
            .endpoint(format!("http://127.0.0.1:{port}"))
            .protocol(protocol)
            .init()
            .unwrap();
        let error = telemetry.flush_blocking(PATIENCE).export.unwrap_err().to_string();
        assert!(error.contains("onnection refused"), "{error}");
        assert!(error.contains(&format!("http://127.0.0.1:{port}/")), "{error}");
    }
}

#[test]
fn snapshots_are_cumulative_even_where_exports_are_not() {
    let collector = FakeCollector::start();
    let delta = [("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")];
    let telemetry = metrics_only()
        .environment(Environment::from_iter(delta))
        .endpoint(collector.url())
        .snapshots(true)
        .init()
        .unwrap();
    for runs in [2.0, 4.0] {
        two_runs(&telemetry);
        assert!(telemetry.flush_blocking(PATIENCE).is_complete());
        assert_eq!(total(&telemetry.snapshot().unwrap(), "obs.run.started", &[]), runs);
    }
}

#[test]
fn a_snapshot_says_what_the_runs_were() {
    let telemetry = metrics_only().snapshots(true).slo(Duration::from_millis(180)).init().unwrap();
    two_runs(&telemetry);
    let snapshot = telemetry.snapshot().unwrap();
    let duration = snapshot.metric("obs.run.duration").unwrap();
    assert_eq!((duration.unit.as_str(), duration.series.len()), ("s", 2));
    for status in ["ok", "error"] {
        let series = duration.series_with(&[("obs.run.status", status)]).next().unwrap();
        assert_eq!(series.attribute("obs.kind"), Some("dsl.execution"));
        assert_eq!(series.attribute("obs.realm"), Some("acme"));
        assert_eq!(series.attribute("obs.strategy.type"), Some("DSL_FULL"));
        let histogram = series.value.histogram().unwrap();
        assert_eq!((histogram.count, histogram.counts.iter().sum::<u64>()), (1, 1));
        assert_eq!(histogram.counts.len(), histogram.bounds.len() + 1);
        assert!(histogram.bounds.contains(&0.18), "the SLO is a bound: {:?}", histogram.bounds);
        assert_eq!((histogram.min, histogram.max), (Some(histogram.sum), Some(histogram.sum)));
    }
    assert_eq!(total(&snapshot, "obs.run.active", &[]), 0.0);
    assert_eq!(total(&snapshot, "obs.run.errors", &[]), 1.0);
    assert_eq!(total(&snapshot, "obs.record.imbalance", &[]), 0.0);
}

#[test]
fn a_snapshot_can_still_be_taken_after_shutdown() {
    let telemetry = metrics_only().snapshots(true).init().unwrap();
    two_runs(&telemetry);
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    assert_eq!(total(&telemetry.snapshot().unwrap(), "obs.run.started", &[]), 2.0);
}

#[test]
fn nothing_is_exported_after_shutdown() {
    let collector = FakeCollector::start();
    let telemetry = metrics_only().endpoint(collector.url()).init().unwrap();
    let report = telemetry.shutdown_blocking(PATIENCE);
    assert_eq!(report.export, Ok(Exported::Done));
    assert_eq!(telemetry.shutdown_blocking(PATIENCE), report);
    assert_eq!(telemetry.flush_blocking(PATIENCE).export, Err(obs::ExportError::Stopped));
    assert_eq!(collector.requests().len(), 1);
}

#[test]
fn what_we_do_on_our_own_threads_is_not_observed() {
    use obs::otel::opentelemetry::{Context, metrics::MeterProvider as _};
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };
    let collector = FakeCollector::start();
    let telemetry = metrics_only().endpoint(collector.url()).init().unwrap();
    let suppressed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&suppressed);
    let _gauge = obs::otel::meter_provider(&telemetry)
        .meter("application")
        .u64_observable_gauge("watch")
        .with_callback(move |_| {
            seen.store(Context::is_current_telemetry_suppressed(), Ordering::SeqCst);
        })
        .build();
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    assert!(suppressed.load(Ordering::SeqCst));
}

#[test]
fn what_the_spool_holds_is_in_the_export() {
    let collector = FakeCollector::start();
    let folder = tempfile::tempdir().unwrap();
    let telemetry = metrics_only()
        .rows(true)
        .store(format!("postgres://app@127.0.0.1:{}/obs", crate::ports::free_port()))
        .spool_dir(folder.path().join("spool"))
        .endpoint(collector.url())
        .snapshots(true)
        .init()
        .unwrap();
    two_runs(&telemetry);
    until("the next segment is made", || {
        let size = total(&telemetry.snapshot().unwrap(), "obs.spool.size", &[]);
        (size >= f64::from(2 * (4 << 20))).then_some(())
    });
    let snapshot = telemetry.snapshot().unwrap();
    assert_eq!(total(&snapshot, "obs.spool.limit", &[]), f64::from(256 << 20));
    assert!(total(&snapshot, "obs.spool.oldest.age", &[]) > 0.0);
    let _ = telemetry.flush_blocking(Duration::from_millis(500));
    let body = collector.requests().pop().unwrap().body;
    let body = String::from_utf8_lossy(&body);
    for name in ["obs.spool.size", "obs.spool.limit", "obs.spool.oldest.age"] {
        assert!(body.contains(name), "{name}");
    }
}

#[test]
fn a_snapshot_has_quantiles_of_durations_that_are_finer_than_the_buckets() {
    let telemetry = metrics_only().snapshots(true).init().unwrap();
    let strategy = telemetry.kind("dsl.execution").lookup("bonus", "1");
    for millis in 1..=1_000 {
        let duration = Duration::from_millis(millis);
        strategy.record(FinishedRun { duration, ..FinishedRun::default() });
    }
    let durations = telemetry.snapshot().unwrap().durations;
    let [ok] = &durations[..] else { panic!("one series with one status: {durations:?}") };
    assert_eq!(
        (ok.count, &*ok.status, &*ok.attributes["obs.kind"]),
        (1_000, "ok", "dsl.execution")
    );
    for (found, exact) in [(ok.p50, 0.5), (ok.p90, 0.9), (ok.p99, 0.99), (ok.p99_9, 0.999)] {
        assert!((found - exact).abs() <= 0.01 * exact, "{found} and {exact}");
    }
}
