//! Every option of the OTLP exporter against the real Collector, over both protocols.

use std::{ffi::OsString, fs, path::Path};

use obs::{Environment, Protocol};
use serde_json::Value;

use super::process::Collector;
use crate::{
    support::{PATIENCE, metrics_only, runs, until},
    tls::Certificates,
};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

fn address(collector: &Collector, protocol: Protocol) -> String {
    match protocol {
        Protocol::Grpc => collector.grpc(),
        _ => collector.http(),
    }
}

/// What the Collector writes of metrics into a file, one line a batch.
fn into_file(file: &Path) -> [String; 3] {
    [
        format!("exporters::file::path: {}", file.display()),
        "exporters::file::flush_interval: 100ms".to_owned(),
        "service::pipelines::metrics::exporters: [file, prometheus]".to_owned(),
    ]
}

/// The metrics of one process in the file, by name.
fn metric(file: &Path, instance: &str, name: &str) -> Option<Value> {
    let text = fs::read_to_string(file).ok()?;
    let batches = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_instance = batches
        .flat_map(|batch| batch["resourceMetrics"].as_array().cloned().unwrap_or_default())
        .filter(|resource| resource["resource"].to_string().contains(instance));
    let mut metrics = of_instance.flat_map(|resource| {
        let scopes = resource["scopeMetrics"].as_array().cloned().unwrap_or_default();
        scopes
            .into_iter()
            .flat_map(|scope| scope["metrics"].as_array().cloned().unwrap_or_default())
    });
    metrics.rfind(|metric| metric["name"] == name)
}

#[test]
fn mutual_tls_lets_in_who_shows_a_certificate_and_nobody_else() {
    let certificates = Certificates::new();
    let asks = BOTH.map(|protocol| {
        let name = if protocol == Protocol::Grpc { "grpc" } else { "http" };
        let key = format!("receivers::otlp::protocols::{name}::tls::client_ca_file");
        format!("{key}: {}", certificates.authority.display())
    });
    let Some(collector) = Collector::start_with(Some(&certificates), &asks) else { return };
    for protocol in BOTH {
        let https = address(&collector, protocol).replace("http://127.0.0.1", "https://localhost");
        let start = |environment| {
            let builder = metrics_only().environment(environment);
            builder.endpoint(https.clone()).protocol(protocol).init().unwrap()
        };
        let known = start(certificates.mutual());
        let report = known.flush_blocking(PATIENCE);
        assert!(report.is_complete(), "{protocol:?}: {report}");
        let instance = known.obs().epoch().to_string();
        collector.scrape_until(|scrape| scrape.has_instance(&instance));

        let stranger = start(certificates.trusted());
        let error = stranger.flush_blocking(PATIENCE).export.unwrap_err().to_string();
        // Whether the Collector's word arrives or only the end of the connection, see `Nobody` in export/connect.rs.
        let way_out = "asks for a client certificate and was shown none: name one in OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
        assert!(error.contains(way_out), "{protocol:?}: {error}");
    }
}

#[test]
fn gzip_temporality_and_aggregation_arrive_as_they_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics.json");
    let Some(collector) = Collector::start_with(None, &into_file(&file)) else { return };
    let delta = 1;
    let cumulative = 2;
    for protocol in BOTH {
        for (temporality, counters, levels, exponential) in [
            ("cumulative", cumulative, cumulative, false),
            ("delta", delta, cumulative, true),
            ("lowmemory", delta, cumulative, false),
        ] {
            let aggregation = if exponential {
                "base2_exponential_bucket_histogram"
            } else {
                "explicit_bucket_histogram"
            };
            let environment = Environment::from_iter([
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporality),
                ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", aggregation),
            ]);
            let telemetry = metrics_only()
                .environment(environment)
                .endpoint(address(&collector, protocol))
                .protocol(protocol)
                .snapshots(true)
                .init()
                .unwrap();
            let case = format!("{protocol:?} {temporality} {aggregation}");
            runs(&telemetry.kind("dsl"), 10);
            assert!(telemetry.flush_blocking(PATIENCE).is_complete(), "{case}");
            runs(&telemetry.kind("dsl"), 4);
            assert!(telemetry.flush_blocking(PATIENCE).is_complete(), "{case}");

            let instance = telemetry.obs().epoch().to_string();
            let expected = if counters == delta { 4 } else { 14 };
            let started = until(&format!("the second export: {case}"), || {
                let started = metric(&file, &instance, "obs.run.started")?;
                let value = &started["sum"]["dataPoints"][0]["asInt"];
                (value == &expected.to_string()).then_some(started)
            });
            assert_eq!(started["sum"]["aggregationTemporality"], counters, "{case}");
            let active = metric(&file, &instance, "obs.run.active").unwrap();
            assert_eq!(active["sum"]["aggregationTemporality"], levels, "{case}: {active}");
            let duration = metric(&file, &instance, "obs.run.duration").unwrap();
            let kind = if exponential { "exponentialHistogram" } else { "histogram" };
            let points = duration[kind]["dataPoints"].as_array().unwrap();
            let counts =
                points.iter().map(|point| point["count"].as_str().unwrap().parse::<u64>().unwrap());
            assert_eq!(counts.sum::<u64>(), expected, "{case}: {duration}");

            // Snapshots know all of it, in explicit buckets.
            let snapshot = telemetry.snapshot().unwrap();
            let histograms = snapshot.metric("obs.run.duration").unwrap().series.iter();
            let histograms = histograms.map(|series| series.value.histogram().unwrap());
            let counts = histograms.map(|histogram| {
                assert_eq!(histogram.counts.iter().sum::<u64>(), histogram.count, "{case}");
                assert_eq!(histogram.counts.len(), histogram.bounds.len() + 1, "{case}");
                assert!(histogram.bounds.is_sorted(), "{case}: {:?}", histogram.bounds);
                histogram.count
            });
            assert_eq!(counts.sum::<u64>(), 14, "{case}");
        }
    }
}

#[test]
fn headers_are_not_in_a_collectors_way_and_are_never_shown() {
    // The Collector of our build has no authenticator: what it was sent is seen by our own servers, in
    // `exports.rs` and `grpc.rs`. Here a header must not get in the way, nor be seen.
    let Some(collector) = Collector::start(None) else { return };
    for protocol in BOTH {
        let secret = "5ecre7-5ecre7";
        let header = format!("authorization=Bearer%20{secret}");
        let environment: [(&str, OsString); 1] = [("OTEL_EXPORTER_OTLP_HEADERS", header.into())];
        let telemetry = metrics_only()
            .environment(Environment::from_iter(environment))
            .endpoint(address(&collector, protocol))
            .protocol(protocol)
            .init()
            .unwrap();
        let report = telemetry.flush_blocking(PATIENCE);
        assert!(report.is_complete(), "{protocol:?}: {report}");
        let shown = format!("{telemetry:?} {report:?}");
        assert!(!shown.contains(secret), "{shown}");
    }
}
