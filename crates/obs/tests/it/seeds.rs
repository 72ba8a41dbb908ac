//! What the systems before obs did at start and at the end, pinned as behaviour, and repaired.
//!
//! `docs/seeds.md` says which line each test holds.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use diesel::{Connection as _, connection::SimpleConnection as _, sqlite::SqliteConnection};
use obs::{
    Builder, DropReason, Environment, RunFailure, Strategy, Telemetry,
    otel::opentelemetry::{
        InstrumentationScope, global,
        metrics::{Meter, MeterProvider, noop::NoopMeterProvider},
    },
};

use crate::{
    ports::free_port,
    support::{FakeCollector, PATIENCE, metrics_only, total, two_runs, until},
};

/// Settings of the environment, and rows in a folder of the test's own.
fn with(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Builder {
    let url = format!("sqlite:{}/runs.sqlite", folder.path().display());
    obs::builder().environment(variables.iter().copied().collect()).store(url).snapshots(true)
}

fn bonus(telemetry: &Telemetry) -> Strategy {
    telemetry.kind("dsl").strategy("bonus").version("3").build().unwrap()
}

/// Counts the meters that are asked of the global provider.
#[derive(Debug, Default)]
struct Watched(Arc<AtomicU64>);

impl MeterProvider for Watched {
    fn meter_with_scope(&self, scope: InstrumentationScope) -> Meter {
        self.0.fetch_add(1, Ordering::SeqCst);
        NoopMeterProvider::new().meter_with_scope(scope)
    }
}

#[test]
fn the_global_provider_of_a_program_is_neither_asked_nor_replaced() {
    let asked = Arc::new(AtomicU64::new(0));
    global::set_meter_provider(Watched(Arc::clone(&asked)));
    let folder = tempfile::tempdir().unwrap();
    let telemetry = with(&folder, &[]).init().unwrap();
    two_runs(&telemetry);
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let _meter = global::meter("application");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "the program's provider is still the global one");
}

#[test]
fn each_life_of_a_process_exports_under_an_instance_id_of_its_own() {
    let collector = FakeCollector::start();
    let lives: Vec<String> = (0..3)
        .map(|_| {
            let telemetry = metrics_only().endpoint(collector.url()).init().unwrap();
            two_runs(&telemetry);
            assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
            telemetry.obs().epoch().to_string()
        })
        .collect();
    let requests = collector.requests();
    assert_eq!(requests.len(), 3);
    for (at, request) in requests.iter().enumerate() {
        let body = String::from_utf8_lossy(&request.body);
        for (of, epoch) in lives.iter().enumerate() {
            assert_eq!(body.contains(epoch), at == of, "life {of} in export {at}");
        }
    }
}

#[test]
fn an_slo_of_the_environment_is_a_bound_beside_the_usual_ones() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = with(&folder, &[("OBS_SLO", "180ms")]).init().unwrap();
    two_runs(&telemetry);
    let snapshot = telemetry.snapshot().unwrap();
    let series = &snapshot.metric("obs.run.duration").unwrap().series[0];
    let bounds = &series.value.histogram().unwrap().bounds;
    assert_eq!(bounds.len(), 22);
    assert!(bounds.contains(&0.18) && bounds.contains(&0.25), "{bounds:?}");
}

#[test]
fn with_rows_off_by_environment_no_failure_is_stored_and_every_one_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = with(&folder, &[("OBS_ENABLED", "false")]).init().unwrap();
    let _ = bonus(&telemetry).start().finish(Err::<(), _>(RunFailure::timeout("DSL_TIMEOUT")));
    let snapshot = telemetry.snapshot().unwrap();
    assert_eq!(total(&snapshot, "obs.run.errors", &[("error.type", "DSL_TIMEOUT")]), 1.0);
    let disabled = [("class", "error"), ("reason", "disabled")];
    assert_eq!(total(&snapshot, "obs.record.dropped", &disabled), 1.0);
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "not even a file is made");
}

#[test]
fn a_rate_of_zero_or_one_is_exact_and_a_timeout_is_stored_at_either() {
    const RUNS: u64 = 1_000;
    for (rate, stored) in [("0", 1), ("1", RUNS)] {
        let folder = tempfile::tempdir().unwrap();
        let variables = [("OBS_SAMPLE_RATE", rate), ("OBS_QUEUE_RECORDS", "2000")];
        let telemetry = with(&folder, &variables).init().unwrap();
        let bonus = bonus(&telemetry);
        for _ in 0..RUNS {
            bonus.start().finish(Ok::<_, String>(())).unwrap();
        }
        let _ = bonus.start().finish(Err::<(), _>(RunFailure::timeout("DSL_TIMEOUT")));
        assert!(telemetry.flush_blocking(PATIENCE).is_complete());
        let ledger = telemetry.ledger();
        // The first run of a version is kept at every rate.
        let ok = (ledger.ok.persisted, ledger.ok.sampled_out, ledger.ok.dropped.total());
        assert_eq!(ok, (stored, RUNS - stored, 0), "rate {rate}: {ledger}");
        assert_eq!(ledger.error.persisted, 1, "rate {rate}: {ledger}");
    }
}

#[test]
fn a_batch_is_measured_by_its_rows_its_seconds_and_its_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = with(&folder, &[("OBS_SAMPLE_RATE", "1")]).init().unwrap();
    for _ in 0..10 {
        two_runs(&telemetry);
    }
    assert!(telemetry.flush_blocking(PATIENCE).is_complete());
    let snapshot = telemetry.snapshot().unwrap();
    let size = snapshot.metric("obs.store.batch.size").unwrap();
    assert_eq!((size.unit.as_str(), size.series.len()), ("{record}", 1));
    assert_eq!(size.series[0].value.histogram().unwrap().sum, 20.0);
    assert_eq!(size.series[0].attributes.keys().collect::<Vec<_>>(), ["outcome"]);
    let duration = snapshot.metric("obs.store.write.duration").unwrap();
    assert_eq!(duration.unit, "s");
    let took = duration.series[0].value.histogram().unwrap();
    assert!(took.sum > 0.0 && took.bounds.contains(&0.25), "{took:?}");
    assert_eq!(duration.series[0].attributes, size.series[0].attributes);
}

#[test]
fn a_row_that_comes_after_the_end_is_a_loss_with_its_reason_on_the_metric() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = with(&folder, &[]).init().unwrap();
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete(), "a second end is harmless");
    let result: Result<u8, RunFailure> =
        bonus(&telemetry).observe(&(), |_run| Err(RunFailure::error("E")));
    assert!(result.is_err());
    assert_eq!(telemetry.ledger().error.dropped.of(DropReason::Closed), 1);
    let closed = [("class", "error"), ("reason", "closed")];
    assert_eq!(total(&telemetry.snapshot().unwrap(), "obs.record.dropped", &closed), 1.0);
}

#[test]
fn errors_that_were_put_by_are_counted_and_their_number_is_a_level() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let fail = |telemetry: &Telemetry| {
        let _ = bonus(telemetry).start().finish(Err::<(), _>(RunFailure::error("E")));
    };
    let level = |telemetry: &Telemetry| {
        let stage = [("class", "error"), ("stage", "spool")];
        total(&telemetry.snapshot().unwrap(), "obs.record.pending", &stage)
    };
    let refused = format!("postgres://app@127.0.0.1:{}/obs", free_port());
    let first = with(&folder, &[]).store(refused).spool_dir(&spool).init().unwrap();
    (0..3).for_each(|_| fail(&first));
    let report = first.shutdown_blocking(Duration::from_millis(100));
    assert_eq!((report.rows.unwrap().spooled, level(&first)), (3, 3.0));
    drop(first);

    let next = with(&folder, &[]).spool_dir(&spool).init().unwrap();
    let count = |name: &str, labels: &[(&str, &str)]| {
        let labels = [&[("class", "error")], labels].concat();
        total(&next.snapshot().unwrap(), name, &labels)
    };
    let persisted = [("outcome", "persisted")];
    until("the next process has written them", || {
        (count("obs.record.outcomes", &persisted) == 3.0).then_some(())
    });
    assert_eq!((count("obs.record.adopted", &[]), level(&next)), (3.0, 0.0));
    // From now on the file takes no error any more.
    let mut file =
        SqliteConnection::establish(folder.path().join("runs.sqlite").to_str().unwrap()).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON run WHEN new.error_type = 'E' \
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    file.batch_execute(refuse).unwrap();
    fail(&next);
    assert!(next.flush_blocking(PATIENCE).is_complete());
    assert_eq!(count("obs.record.outcomes", &[("outcome", "quarantined")]), 1.0);
}

#[test]
fn bad_values_of_the_environment_are_errors_and_no_defaults() {
    for (name, value) in [
        ("OBS_SAMPLE_RATE", "1.01"),
        ("OBS_SAMPLE_RATE", "NaN"),
        ("OBS_QUEUE_RECORDS", "0"),
        ("OBS_SLO", "-1"),
    ] {
        let error = obs::builder()
            .environment(Environment::from_iter([(name, value)]))
            .init()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("{name}={value:?}: ")), "{error}");
    }
}

#[test]
fn every_test_that_a_page_names_exists() {
    for (page, least) in [("seeds", 100), ("reliability", 40)] {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let page = std::fs::read_to_string(crates.join(format!("../docs/{page}.md"))).unwrap();
        let named: Vec<(&str, &str)> =
            page.split('`').filter_map(|text| text.split_once(".rs::")).collect();
        assert!(named.len() > least, "{}", named.len());
        for (file, test) in named {
            let path = crates.join(format!("{file}.rs"));
            let source = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(source.contains(&format!("fn {test}(")), "{} has no {test}", path.display());
        }
    }
}
