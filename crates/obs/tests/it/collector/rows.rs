//! The store `otlp` and the real Collector: each kept run is an event behind it, whatever happens to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use obs::{Environment, Telemetry};
use serde_json::Value;

use super::process::Collector;
use crate::{
    grpc::serve,
    support::{FakeCollector, PATIENCE, runs, until},
};

/// What the Collector writes of events into a file, one line a batch; each line as it comes.
fn into_file(file: &Path) -> [String; 4] {
    [
        format!("exporters::file::path: {}", file.display()),
        // Written before it is acknowledged: the exporter has no buffer where files rotate, and a Collector
        // that gathers batches in memory acknowledges what dies with it, which is not our matter.
        "exporters::file::rotation::max_megabytes: 100".to_owned(),
        "service::pipelines::logs::processors: [memory_limiter]".to_owned(),
        "service::pipelines::logs::exporters: [file]".to_owned(),
    ]
}

/// The events in the file, by run id: how often, and what they say.
fn events(file: &Path) -> BTreeMap<String, (usize, BTreeMap<String, String>)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut events = BTreeMap::new();
    let each = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    for batch in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        for record in each(&batch, "resourceLogs")
            .iter()
            .flat_map(|resource| each(resource, "scopeLogs"))
            .flat_map(|scope| each(&scope, "logRecords"))
        {
            assert_eq!(record["eventName"], "obs.run", "{record}");
            let attributes: BTreeMap<String, String> = each(&record, "attributes")
                .iter()
                .map(|pair| {
                    let value = pair["value"].as_object().unwrap().values().next().unwrap();
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    (pair["key"].as_str().unwrap().to_owned(), text)
                })
                .collect();
            let event = events.entry(attributes["obs.run.id"].clone()).or_insert((0, attributes));
            event.0 += 1;
        }
    }
    events
}

fn start(url: &str, protocol: &str, spool: &Path) -> Telemetry {
    let environment = Environment::from_iter([
        ("OBS_STORE", "otlp"),
        ("OBS_SAMPLE_RATE", "1"),
        ("OBS_SPOOL_DIR", spool.to_str().unwrap()),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_SERVICE_NAME", "orders"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ]);
    obs::builder().environment(environment).queue_records(100_000).snapshots(true).init().unwrap()
}

fn persisted(telemetry: &Telemetry) -> u64 {
    let ledger = telemetry.ledger();
    ledger.ok.persisted + ledger.error.persisted
}

#[test]
fn every_kept_run_is_an_event_behind_the_collector_over_both_protocols() {
    for protocol in ["grpc", "http/protobuf"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.json");
        let Some(collector) = Collector::start_with(None, &into_file(&file)) else { return };
        let url = if protocol == "grpc" { collector.grpc() } else { collector.http() };
        let telemetry = start(&url, protocol, &folder.path().join("spool"));
        assert!(telemetry.store_url().unwrap().starts_with("otlp http://127.0.0.1:"));
        runs(&telemetry.kind("dsl.execution"), 1_000);
        let report = telemetry.flush_blocking(PATIENCE);
        assert!(report.is_complete(), "{protocol}: {report}");
        assert_eq!(persisted(&telemetry), 1_000, "{protocol}: {}", telemetry.ledger());
        assert_eq!(telemetry.ledger().imbalance(), 0);

        let events = until("all events in the file", || {
            let events = events(&file);
            (events.len() == 1_000).then_some(events)
        });
        let failed = events.values().filter(|(_, says)| says["obs.run.status"] == "error");
        assert_eq!(failed.count(), 500);
        let (times, says) = events.values().next().unwrap();
        assert_eq!((*times, &*says["obs.kind"], &*says["obs.realm"]), (1, "dsl.execution", "acme"));
        assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    }
}

#[test]
fn a_collector_that_is_killed_for_a_while_costs_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.json");
    let Some(mut collector) = Collector::start_with(None, &into_file(&file)) else { return };
    let telemetry = start(&collector.grpc(), "grpc", &folder.path().join("spool"));
    let kind = telemetry.kind("dsl.execution");
    let mut ids = BTreeSet::new();
    for round in 0..40 {
        if round == 10 {
            collector.kill();
        }
        if round == 20 {
            until("the store is known to be down", || {
                (telemetry.store_state() == Some(obs::StoreState::Down)).then_some(())
            });
        }
        if round == 30 {
            collector.start_again();
        }
        for _ in 0..50 {
            let strategy = kind.lookup("bonus", "1");
            let mut run = strategy.start();
            let id = run.id();
            ids.insert(id.to_string());
            let _ = run.finish(if round % 2 == 0 { Ok(()) } else { Err("no points".to_owned()) });
        }
    }
    let report = telemetry.flush_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    assert_eq!(persisted(&telemetry), 2_000, "{}", telemetry.ledger());
    assert_eq!(telemetry.ledger().imbalance(), 0);
    let events = until("all events in the file", || {
        let events = events(&file);
        (events.len() >= 2_000).then_some(events)
    });
    assert_eq!(events.keys().cloned().collect::<BTreeSet<_>>(), ids);
    let twice: usize = events.values().map(|(times, _)| times - 1).sum();
    println!("events: {}, of which arrived again: {twice}", events.len());
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
}

/// `ExportLogsServiceResponse { partial_success: { rejected_log_records: 1, error_message: "bad" } }`.
const ONE_REJECTED: [u8; 9] = [0x0a, 7, 0x08, 1, 0x12, 3, b'b', b'a', b'd'];

#[test]
fn what_a_collector_rejects_is_no_row_but_in_the_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve();
    let url = format!("http://127.0.0.1:{}", server.port);
    // The canary has no records, and a rejection of none is none; whatever has some is rejected.
    server.answer(ONE_REJECTED.to_vec());
    let telemetry = start(&url, "grpc", &folder.path().join("spool"));
    runs(&telemetry.kind("dsl.execution"), 3);
    let _ = telemetry.flush_blocking(PATIENCE);
    let ledger = telemetry.ledger();
    assert_eq!(ledger.ok.quarantined + ledger.error.quarantined, 3, "{ledger}");
    assert_eq!((persisted(&telemetry), ledger.imbalance()), (0, 0), "{ledger}");
}

#[test]
fn a_collector_that_is_busy_takes_no_record_for_bad() {
    let folder = tempfile::tempdir().unwrap();
    let collector = FakeCollector::start();
    let telemetry = start(&collector.url(), "http/protobuf", &folder.path().join("spool"));
    until("the store is up", || {
        (telemetry.store_state() == Some(obs::StoreState::Up)).then_some(())
    });
    // As a Collector answers whose queue is full: requests without records get through.
    collector.refuse_larger_than(100);
    runs(&telemetry.kind("dsl.execution"), 20);
    let before = collector.requests().len();
    until("ten attempts", || (collector.requests().len() >= before + 10).then_some(()));
    let ledger = telemetry.ledger();
    assert_eq!(ledger.ok.quarantined + ledger.error.quarantined, 0, "{ledger}");
    assert_eq!(persisted(&telemetry), 0, "{ledger}");
    collector.refuse_larger_than(usize::MAX);
    let report = telemetry.flush_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    assert_eq!(persisted(&telemetry), 20, "{}", telemetry.ledger());
}
