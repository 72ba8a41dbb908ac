//! Heartbeats of a whole program.

use diesel::{Connection, RunQueryDsl, dsl::sql, sql_types::Text, sqlite::SqliteConnection};
use obs::{Configuration, Environment};

use crate::support::{FakeCollector, PATIENCE, metrics_only, total, until};

#[test]
fn a_program_beats_into_its_store_until_it_stops_in_order_and_the_books_balance() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.sqlite");
    let store = format!("sqlite:{}", file.display());
    let variables =
        [("OBS_STORE", store.as_str()), ("OBS_HEARTBEAT", "1s"), ("OBS_SAMPLE_RATE", "0")];
    let telemetry = obs::builder()
        .environment(Environment::from_iter(variables))
        .resource_attribute("service.version", "1.4.0")
        .snapshots(true)
        .init()
        .unwrap();
    until("two beats", || (telemetry.ledger().ok.recorded >= 2).then_some(()));
    let report = telemetry.shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    assert_eq!((report.ledger.imbalance(), report.ledger.ok.sampled_out), (0, 0));
    let beats = telemetry
        .snapshot()
        .map(|all| total(&all, "obs.run.started", &[("obs.kind", "obs.heartbeat")]));
    assert_eq!(beats.ok(), Some(report.ledger.ok.persisted as f64));

    let mut rows = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let query = "SELECT strategy_version || ' ' || case_name || ' ' || (value >= 0) || ' ' || keep_reason \
                 FROM run WHERE kind = 'obs.heartbeat' ORDER BY started_at, value";
    let rows: Vec<String> = sql::<Text>(query).load(&mut rows).unwrap();
    assert!(rows.len() >= 3, "{rows:?}");
    assert_eq!(rows.last().map(String::as_str), Some("1.4.0 stopped 1 forced"));
    assert!(rows[..rows.len() - 1].iter().all(|row| !row.contains("stopped")), "{rows:?}");
}

#[test]
fn there_is_none_by_default_and_without_rows_it_is_on_the_metrics_alone() {
    let quiet = metrics_only().init().unwrap();
    assert_eq!(quiet.shutdown_blocking(PATIENCE).ledger.runs.started, 0);
    let telemetry = metrics_only()
        .environment([("OBS_HEARTBEAT", "86400")].into_iter().collect())
        .snapshots(true)
        .init()
        .unwrap();
    let beats = || {
        total(&telemetry.snapshot().unwrap(), "obs.run.started", &[("obs.kind", "obs.heartbeat")])
    };
    until("the first beat", || (beats() == 1.0).then_some(()));
    assert_eq!(telemetry.shutdown_blocking(PATIENCE).ledger.imbalance(), 0);
}

#[test]
fn an_interval_that_is_none_is_refused() {
    for bad in ["0.5", "86401", "often"] {
        let environment = [("OBS_HEARTBEAT", bad)].into_iter().collect();
        let error = metrics_only().environment(environment).init().unwrap_err().to_string();
        assert!(error.starts_with(&format!("OBS_HEARTBEAT=\"{bad}\"")), "{error}");
    }
}

#[test]
fn whoever_asks_whether_metrics_arrive_does_not_beat_in_the_name_of_the_service() {
    let collector = FakeCollector::start();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url()), ("OBS_HEARTBEAT", "1s")];
    let settings = Configuration::read(None, &Environment::from_iter(variables)).unwrap();
    assert_eq!(settings.destinations()[0].try_out(PATIENCE), Ok("a point was sent and taken"));
    let sent = collector.requests().into_iter().map(|request| request.body).collect::<Vec<_>>();
    let sent = String::from_utf8_lossy(&sent.concat()).into_owned();
    let has = |kind: &str| sent.contains(kind);
    assert_eq!((has("obs.doctor"), has("obs.heartbeat")), (true, false));
}
