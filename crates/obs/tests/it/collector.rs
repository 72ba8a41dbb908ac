//! The real Collector: what its Prometheus endpoint shows is what the program says.

mod options;
mod process;
mod rows;
mod scrape;
mod signals;

use std::collections::{BTreeMap, BTreeSet};

use obs::{
    Instrument, KindSpec, Label, MetricsMapping, MetricsSnapshot, Protocol, Series, Telemetry,
    Value,
};

use crate::{
    support::{PATIENCE, metrics_only, runs, until},
    tls::Certificates,
};
use process::Collector;
use scrape::{Labels, Scrape};

#[test]
fn over_grpc_the_collector_shows_what_the_program_says() {
    let Some(collector) = Collector::start(None) else { return };
    the_collector_shows_what_the_program_says(&collector, Protocol::Grpc, collector.grpc());
}

#[test]
fn over_http_the_collector_shows_what_the_program_says() {
    let Some(collector) = Collector::start(None) else { return };
    the_collector_shows_what_the_program_says(&collector, Protocol::HttpProtobuf, collector.http());
}

#[test]
fn over_tls_both_protocols_reach_the_collector() {
    let certificates = Certificates::new();
    let Some(collector) = Collector::start(Some(&certificates)) else { return };
    for (protocol, address) in
        [(Protocol::Grpc, collector.grpc()), (Protocol::HttpProtobuf, collector.http())]
    {
        let telemetry = metrics_only()
            .environment(certificates.trusted())
            .endpoint(address.replace("http://127.0.0.1", "https://localhost"))
            .protocol(protocol)
            .init()
            .unwrap();
        let report = telemetry.flush_blocking(PATIENCE);
        assert!(report.is_complete(), "{protocol:?}: {report}");
        let instance = telemetry.obs().epoch().to_string();
        collector.scrape_until(|scrape| scrape.has_instance(&instance));

        let stranger = metrics_only()
            .endpoint(address.replace("http://127.0.0.1", "https://localhost"))
            .protocol(protocol)
            .init()
            .unwrap();
        let error = stranger.flush_blocking(PATIENCE).export.unwrap_err().to_string();
        assert!(error.contains("UnknownIssuer"), "the authority is not trusted: {error}");
    }
}

fn the_collector_shows_what_the_program_says(
    collector: &Collector,
    protocol: Protocol,
    address: String,
) {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}/runs.sqlite", folder.path().display());
    let telemetry = metrics_only()
        .rows(true)
        .store(store)
        .endpoint(address)
        .protocol(protocol)
        .service_name("orders")
        .snapshots(true)
        .init()
        .unwrap();
    runs(&telemetry.kind("dsl.execution"), 200);
    seeds(&telemetry);
    // Settles every row, so that nothing but ages changes any more.
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let snapshot = telemetry.snapshot().unwrap();
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());

    let instance = telemetry.obs().epoch().to_string();
    let persisted = telemetry.ledger().ok.persisted;
    let scrape = collector.scrape_until(|scrape| {
        let own = [("class", "ok"), ("outcome", "persisted")];
        // The Collector takes an export in metric by metric: a scrape may come in between.
        scrape.value("obs_record_outcomes_total", &labels(&own, &instance))
            == Some(persisted as f64)
            && shows_every_series(&snapshot, scrape, &instance)
    });
    every_series_is_equal(&snapshot, &scrape, &instance);
    the_seeds_have_their_series_and_no_others(&scrape, &instance);
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    assert_eq!(telemetry.ledger().imbalance(), 0);
}

/// Two kinds that were watched before obs, under their old names.
fn seeds(telemetry: &Telemetry) {
    let dsl = MetricsMapping::default()
        .prefix("dsl.execution")
        .name(Instrument::Nodes, "dsl.execution.nodes_per_run")
        .nodes_total("dsl.execution.nodes")
        .name(Instrument::Dropped, "dsl.execution.log.dropped")
        .label(Label::Realm, "realm")
        .label(Label::StrategyType, "strategy_type")
        .label(Label::Status, "status")
        .label(Label::ErrorType, "code")
        .omit(Label::Kind)
        .omit(Label::Class)
        .omit(Label::Reason);
    runs(&telemetry.define_kind(KindSpec::new("dsl").metrics(dsl)).unwrap(), 10);

    let conserver = MetricsMapping::default()
        .prefix("conserver.vcons")
        .name(Instrument::Active, "conserver.vcons.inflight")
        .label(Label::StrategyType, "chain.name")
        .omit(Label::Kind)
        .omit(Label::Realm);
    let kind = telemetry.define_kind(KindSpec::new("conserver.vcons").metrics(conserver)).unwrap();
    let chain = kind.strategy("transcribe").version("1").type_("transcribe").build().unwrap();
    for _ in 0..3 {
        let _: Result<(), String> = chain.observe(&(), |_| Ok(()));
    }
}

fn the_seeds_have_their_series_and_no_others(scrape: &Scrape, instance: &str) {
    let own = [("realm", "acme"), ("strategy_type", "DSL_FULL")];
    let with = |key, value| labels(&[own[0], own[1], (key, value)], instance);
    let keys = |name: &str| scrape.label_keys(name, instance);
    let set = |keys: &[&str]| BTreeSet::from_iter(keys.iter().map(|key| (*key).to_owned()));

    for status in ["ok", "error"] {
        assert_eq!(
            scrape.value("dsl_execution_duration_seconds_count", &with("status", status)),
            Some(5.0)
        );
    }
    assert_eq!(
        keys("dsl_execution_duration_seconds_sum"),
        set(&["realm", "strategy_type", "status"])
    );
    assert_eq!(scrape.value("dsl_execution_nodes_total", &labels(&own, instance)), Some(10.0));
    assert_eq!(keys("dsl_execution_nodes_total"), set(&["realm", "strategy_type"]));
    assert_eq!(keys("dsl_execution_errors_total"), set(&["realm", "strategy_type", "code"]));
    assert_eq!(scrape.total("dsl_execution_errors_total", instance), 5.0);
    assert_eq!(scrape.value("dsl_execution_log_dropped_total", &labels(&own, instance)), Some(0.0));
    assert_eq!(keys("dsl_execution_log_dropped_total"), set(&["realm", "strategy_type"]));
    let chain = labels(&[("chain_name", "transcribe")], instance);
    assert_eq!(scrape.value("conserver_vcons_inflight", &chain), Some(0.0));
    assert_eq!(keys("conserver_vcons_inflight"), set(&["chain_name"]));
}

/// Whether every series of the snapshot is there, whatever its value.
fn shows_every_series(snapshot: &MetricsSnapshot, scrape: &Scrape, instance: &str) -> bool {
    let series = snapshot.metrics.iter().flat_map(|metric| {
        metric
            .series
            .iter()
            .map(|series| (prometheus_name(&metric.name, &metric.unit, &series.value), series))
    });
    series.into_iter().all(|(name, series)| {
        let name = match series.value {
            Value::Histogram(_) => format!("{name}_count"),
            _ => name,
        };
        scrape.value(&name, &labels_of(series, instance)).is_some()
    })
}

/// Every number of the snapshot, under the name and labels that Prometheus gives it.
fn every_series_is_equal(snapshot: &MetricsSnapshot, scrape: &Scrape, instance: &str) {
    let mut compared = BTreeSet::new();
    for metric in &snapshot.metrics {
        // An age is another one a moment later.
        if metric.name.ends_with(".age") {
            continue;
        }
        for series in &metric.series {
            let name = prometheus_name(&metric.name, &metric.unit, &series.value);
            series_is_equal(series, &name, scrape, instance);
            compared.insert(name);
        }
    }
    for name in [
        "obs_run_duration_seconds",
        "obs_run_nodes",
        "obs_run_errors_total",
        "obs_run_started_total",
        "obs_run_active",
        "obs_record_recorded_total",
        "obs_record_adopted_total",
        "obs_record_outcomes_total",
        "obs_record_pending",
        "obs_record_capacity",
        "obs_record_imbalance",
        "obs_store_write_duration_seconds",
        "obs_store_batch_size",
        "obs_store_state",
    ] {
        assert!(compared.contains(name), "{name} is missing; compared: {compared:?}");
    }
}

fn series_is_equal(series: &Series, name: &str, scrape: &Scrape, instance: &str) {
    let labels = labels_of(series, instance);
    let shown = |name: &str, labels: &Labels| {
        scrape.value(name, labels).unwrap_or_else(|| panic!("no {name}{labels:?} in {scrape}"))
    };
    match &series.value {
        Value::Histogram(histogram) => {
            assert_eq!(shown(&format!("{name}_count"), &labels), histogram.count as f64, "{name}");
            assert_eq!(shown(&format!("{name}_sum"), &labels), histogram.sum, "{name}");
            let mut below = 0;
            let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets = scrape.buckets(name, &labels);
            assert_eq!(buckets.len(), histogram.counts.len(), "{name}");
            for (bound, count) in bounds.zip(&histogram.counts) {
                below += count;
                assert!(buckets.contains(&(bound, below as f64)), "{name} le={bound}: {buckets:?}");
            }
        }
        number => assert_eq!(shown(name, &labels), number.number().unwrap(), "{name}{labels:?}"),
    }
}

/// The labels of a series in a scrape.
fn labels_of(series: &Series, instance: &str) -> Labels {
    let own = series.attributes.iter().map(|(key, value)| (key.replace('.', "_"), value.clone()));
    let mut labels: Labels = own.collect();
    labels.insert("job".to_owned(), "orders".to_owned());
    labels.insert("instance".to_owned(), instance.to_owned());
    labels
}

/// As the Collector translates: dots, units and the ending of counters.
fn prometheus_name(name: &str, unit: &str, value: &Value) -> String {
    let unit = match unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    let total = if matches!(value, Value::Counter(_)) { "_total" } else { "" };
    format!("{}{unit}{total}", name.replace('.', "_"))
}

fn labels(own: &[(&str, &str)], instance: &str) -> Labels {
    let of_process = [("job", "orders"), ("instance", instance)];
    let all = own.iter().chain(&of_process);
    all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
}
