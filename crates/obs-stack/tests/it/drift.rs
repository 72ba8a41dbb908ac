//! What a running program exports is what the registry says, in both directions.

mod spans;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{Router, body::Body, http::Request, routing::get};
use http_body_util::BodyExt as _;
use obs::{
    Environment, KindSpec, Metric as Exported, Telemetry, Value,
    http::{HttpLayer, Runtime, otel::HttpMetrics},
    instruments::Gauge,
    otel::opentelemetry::metrics::MeterProvider as _,
};
use obs_stack::{Instrument, Metric, Registry, Requirement, root};
use tower::ServiceExt as _;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_program_exports_exactly_the_metrics_attributes_units_and_bounds_of_the_registry() {
    let registry = Registry::read(&root()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (telemetry, _gauge) = program(folder.path());
    let snapshot = telemetry.snapshot().unwrap();
    let mut differences = Vec::new();
    for exported in &snapshot.metrics {
        match registry.metric(&exported.name) {
            None => differences.push(format!("{}: not in the registry", exported.name)),
            Some(metric) => compare(metric, exported, &registry, &mut differences),
        }
    }
    for metric in &registry.metrics {
        // The program has an SQLite file.
        if snapshot.metric(&metric.name).is_none() && metric.needs != "Postgres" {
            differences.push(format!("{}: in the registry, but not exported", metric.name));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let _ = telemetry.shutdown_blocking(PATIENCE);
}

/// A program that has everything: rows, a spool, slots, an exporter that fails, a watched runtime, the HTTP layer.
fn program(folder: &std::path::Path) -> (Telemetry, Gauge) {
    let builder = || {
        let file = format!("sqlite:{}/runs.sqlite", folder.display());
        obs::builder()
            .environment(Environment::from_iter([("OTEL_TRACES_EXPORTER", "otlp")]))
            .store(file)
    };
    // Rows of both classes from an earlier life, whose age the maintenance at the start finds.
    let earlier = builder().init().unwrap();
    let bonus = earlier.kind("dsl").strategy("bonus").version("0").build().unwrap();
    let _: Result<(), String> = bonus.observe(&(), |_| Ok(()));
    let _: Result<(), String> = bonus.observe(&(), |_| Err("no points".to_owned()));
    let _ = earlier.shutdown_blocking(PATIENCE);
    let telemetry = builder()
        .spool_dir(folder.join("spool"))
        // Nobody listens there.
        .endpoint("http://127.0.0.1:9")
        .snapshots(true)
        .init()
        .unwrap();
    let spec = KindSpec::new("dsl").label_strategy(true).time_limit(Duration::from_secs(5));
    let strategies = [telemetry.define_kind(spec).unwrap(), telemetry.kind("plain")]
        .map(|kind| kind.strategy("bonus").version("1").realm("acme").type_("A").build().unwrap());
    for strategy in &strategies {
        let _: Result<(), String> = strategy.observe(&(), |run| {
            run.queued(Duration::from_millis(1));
            run.node("first");
            Ok(())
        });
        let _: Result<(), String> = strategy.observe(&(), |_| Err("no points".to_owned()));
    }
    let unreadable = |_: &mut obs::instruments::Readings| Err("not today");
    let gauge = telemetry.instruments("shop").gauge("shop.load", "1", "Load", unreadable).unwrap();
    requests(&telemetry);
    let _ = telemetry.flush_blocking(PATIENCE);
    (telemetry, gauge)
}

fn requests(telemetry: &Telemetry) {
    let meter = obs::otel::meter_provider(telemetry).meter("service");
    let runtime = Runtime::new();
    obs::http::otel::watch_runtime(&meter, &runtime);
    let themes = runtime.deliveries("config").unwrap();
    themes.refused("run-time", "website");
    let layer = HttpLayer::builder().metrics(HttpMetrics::new(&meter)).runtime(&runtime).build();
    let router = Router::new()
        .route("/orders/{id}", get(async || "one"))
        .route("/broken", get(async || axum::http::StatusCode::INTERNAL_SERVER_ERROR))
        .layer(layer);
    ask(&router, &["/orders/7", "/broken", "/nowhere"]);
}

fn ask(router: &Router, paths: &[&str]) {
    let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for path in paths {
        let request = Request::get(*path).body(Body::empty()).unwrap();
        executor.block_on(async {
            let answer = router.clone().oneshot(request).await.unwrap();
            answer.into_body().collect().await.unwrap();
        });
    }
}

fn compare(metric: &Metric, exported: &Exported, registry: &Registry, found: &mut Vec<String>) {
    let name = &metric.name;
    if exported.unit != metric.unit {
        found.push(format!("{name}: unit {:?}, in the registry {:?}", exported.unit, metric.unit));
    }
    if exported.description != metric.brief {
        found.push(format!("{name}: says {:?}, not {:?}", exported.description, metric.brief));
    }
    let mut seen = BTreeSet::new();
    for series in &exported.series {
        let instrument = match &series.value {
            Value::Counter(_) => Instrument::Counter,
            Value::UpDownCounter(_) => Instrument::UpDownCounter,
            Value::Gauge(_) => Instrument::Gauge,
            Value::Histogram(_) => Instrument::Histogram,
            other => panic!("unknown: {other:?}"),
        };
        if instrument != metric.instrument {
            found.push(format!("{name}: {instrument:?}, in the registry {:?}", metric.instrument));
        }
        if let Some(histogram) = series.value.histogram()
            && histogram.bounds != metric.bounds
        {
            found.push(format!("{name}: bounds {:?}, not {:?}", histogram.bounds, metric.bounds));
        }
        attributes(metric, &series.attributes, registry, found);
        seen.extend(series.attributes.keys().map(String::as_str));
    }
    for attribute in &metric.attributes {
        if !seen.contains(attribute.name.as_str()) {
            found.push(format!("{name}: {} was on no series", attribute.name));
        }
    }
}

fn attributes(
    metric: &Metric,
    seen: &BTreeMap<String, String>,
    registry: &Registry,
    found: &mut Vec<String>,
) {
    let name = &metric.name;
    for attribute in &metric.attributes {
        let required = attribute.requirement == Requirement::Required;
        if required && !seen.contains_key(&attribute.name) {
            found.push(format!("{name}: {} is missing on {seen:?}", attribute.name));
        }
    }
    for (key, value) in seen {
        if !metric.attributes.iter().any(|attribute| attribute.name == *key) {
            found.push(format!("{name}: {key} is not an attribute of it in the registry"));
            continue;
        }
        let members = &registry.attribute(key).unwrap().members;
        // Request classes have the key of record classes, with values of their own.
        let own_values = name == "obs.runtime.requests";
        if !members.is_empty() && !members.contains(value) && !own_values {
            found.push(format!("{name}: {key} has the value {value:?}, not one of {members:?}"));
        }
    }
}

#[test]
fn every_value_of_a_status_and_a_reason_is_in_the_registry() {
    let registry = Registry::read(&root()).unwrap();
    let status: Vec<_> = obs::Status::ALL.iter().map(|status| status.as_str()).collect();
    assert_eq!(registry.attribute("obs.run.status").unwrap().members, status);
    let note = &registry.attribute("reason").unwrap().note;
    for reason in obs::DropReason::ALL {
        assert!(note.contains(&format!("`{}`", reason.as_str())), "{reason:?}: {note}");
    }
}
