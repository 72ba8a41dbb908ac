//! Starting with and without a store, and ending in every way.

use std::{fs, time::Duration};

use obs::{Builder, DropReason, Environment, Exported, InitError, Room, StoreState, Telemetry};

use crate::{
    ports::free_port,
    support::{
        FakeCollector, PATIENCE, Stalled, metrics_only, runs, timed, total, two_runs, until,
    },
};

/// Far below any timeout of a network, and enough for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);
const PASSWORD: &str = "hunter2";

fn postgres(port: u16) -> Builder {
    let url = format!("postgres://app:{PASSWORD}@127.0.0.1:{port}/obs");
    metrics_only().rows(true).sample_rate(1.0).store(url)
}

fn sqlite(folder: &tempfile::TempDir) -> Builder {
    let url = format!("sqlite:{}/runs.sqlite", folder.path().display());
    metrics_only().rows(true).sample_rate(1.0).store(url)
}

/// Every row that was ever written. A report has only those that were written while it was waited for.
fn written(telemetry: &Telemetry) -> u64 {
    let ledger = telemetry.ledger();
    ledger.ok.persisted + ledger.error.persisted
}

fn settled(telemetry: &Telemetry) {
    let ledger = telemetry.ledger();
    assert_eq!((ledger.runs.active, ledger.imbalance()), (0, 0), "{ledger}");
    assert_eq!((ledger.ok.in_queue, ledger.error.in_queue), (0, 0), "{ledger}");
}

#[test]
fn a_postgres_that_refuses_or_stalls_degrades_the_start_and_nothing_else() {
    let stalled = Stalled::start();
    for (port, goes_down) in [(free_port(), true), (stalled.port(), false)] {
        let (telemetry, took) = timed(|| postgres(port).init().unwrap());
        assert!(took < AT_ONCE, "{took:?}");
        two_runs(&telemetry);
        if goes_down {
            until("the store is down", || {
                (telemetry.store_state() == Some(StoreState::Down)).then_some(())
            });
            let error = telemetry.store_error().unwrap();
            assert!(!error.contains(PASSWORD), "{error}");
            assert_eq!(telemetry.wait_for_room(PATIENCE), Room::Free);
        }
        assert_eq!(
            telemetry.store_url(),
            Some(format!("postgres://app@127.0.0.1:{port}/obs").as_str())
        );
        let (report, took) = timed(|| telemetry.shutdown_blocking(Duration::from_millis(300)));
        assert!(took < AT_ONCE, "{took:?}");
        let rows = report.rows.as_ref().unwrap();
        assert_eq!((rows.persisted, rows.dropped.total(), rows.left), (0, 2, 0));
        assert_eq!(
            report.to_string(),
            "0 rows persisted, 2 (2 shutdown_deadline) dropped, 0 left; metrics not exported (no exporter)"
        );
        settled(&telemetry);
        assert!(!format!("{telemetry:?}").contains(PASSWORD));
    }
}

#[test]
fn the_environment_decides_who_migrates_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}/runs.sqlite", folder.path().display());
    let with = |who: &'static str| {
        let variables = [("OBS_STORE_MIGRATE", who), ("OBS_SAMPLE_RATE", "1")];
        let builder = obs::builder().environment(Environment::from_iter(variables));
        builder.store(&file).init().unwrap()
    };
    let external = with("external");
    two_runs(&external);
    until("the store is down", || (external.store_state() == Some(StoreState::Down)).then_some(()));
    let error = external.store_error().unwrap();
    assert!(error.contains("obs migrate"), "{error}");
    let _ = external.shutdown_blocking(Duration::from_millis(100));

    let start = with("start");
    two_runs(&start);
    let report = start.shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    assert!(written(&start) >= 2);
}

#[test]
fn a_required_store_that_refuses_or_stalls_is_an_error_without_its_password() {
    let stalled = Stalled::start();
    for (port, bound) in [(free_port(), AT_ONCE), (stalled.port(), obs::STORE_WAIT + AT_ONCE)] {
        let (error, took) = timed(|| postgres(port).store_required(true).init().unwrap_err());
        assert!(took < bound, "{took:?}");
        assert!(matches!(error, InitError::Store { .. }), "{error:?}");
        let message = error.to_string();
        assert!(
            message
                .starts_with(&format!("the store postgres://app@127.0.0.1:{port}/obs is required")),
            "{message}"
        );
        assert!(
            message.ends_with("check it, or unset OBS_STORE_REQUIRED to start without it"),
            "{message}"
        );
        assert!(!format!("{message} {error:?}").contains(PASSWORD), "{error:?}");
    }
}

#[test]
fn a_required_store_that_works_is_up_when_init_returns() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = sqlite(&folder).store_required(true).init().unwrap();
    assert_eq!(telemetry.store_state(), Some(StoreState::Up));
    assert_eq!(telemetry.store_error(), None);
}

#[test]
fn a_store_that_cannot_be_written_at_the_start_is_used_as_soon_as_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later");
    let url = format!("sqlite:{}/runs.sqlite", later.display());
    let telemetry = metrics_only().rows(true).sample_rate(1.0).store(url).init().unwrap();
    two_runs(&telemetry);
    until("the store is down", || {
        (telemetry.store_state() == Some(StoreState::Down)).then_some(())
    });
    fs::create_dir(&later).unwrap();
    let report = telemetry.flush_blocking(PATIENCE);
    assert!(report.rows.as_ref().unwrap().complete, "{report}");
    assert_eq!(written(&telemetry), 2);
    assert_eq!(telemetry.store_state(), Some(StoreState::Up));
}

#[test]
fn a_malformed_store_url_is_an_error_without_its_password() {
    for url in [
        format!("postgres://app:{PASSWORD}@db:port/obs"),
        format!("mysql://app:{PASSWORD}@db/obs"),
        format!("app:{PASSWORD}@db"),
        "sqlite:".to_owned(),
    ] {
        let environment = Environment::from_iter([("OBS_STORE", &url)]);
        let error = obs::builder().environment(environment).init().unwrap_err();
        let message = format!("{error} {error:?}");
        assert!(error.to_string().starts_with("OBS_STORE: "), "{message}");
        assert!(!message.contains(PASSWORD), "{message}");
    }
}

#[test]
fn two_inits_in_one_process_know_nothing_of_each_other() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] =
        folders.each_ref().map(|folder| sqlite(folder).snapshots(true).init().unwrap());
    runs(&one.kind("dsl.execution"), 3);
    runs(&two.kind("dsl.execution"), 5);
    for (telemetry, count) in [(&one, 3), (&two, 5)] {
        assert_eq!(telemetry.ledger().runs.finished, count);
        assert_eq!(total(&telemetry.snapshot().unwrap(), "obs.run.started", &[]), count as f64);
        let report = telemetry.shutdown_blocking(PATIENCE);
        assert!(report.is_complete(), "{report}");
        assert_eq!(written(telemetry), count);
        settled(telemetry);
    }
    assert_ne!(one.obs().epoch(), two.obs().epoch());
}

#[test]
fn dropping_telemetry_without_a_shutdown_writes_rows_and_exports_metrics() {
    let (folder, collector) = (tempfile::tempdir().unwrap(), FakeCollector::start());
    let telemetry = sqlite(&folder).endpoint(collector.url()).init().unwrap();
    two_runs(&telemetry);
    let obs = telemetry.obs().clone();
    drop(telemetry);
    let ledger = obs.ledger();
    assert_eq!(
        (ledger.ok.persisted, ledger.error.persisted, ledger.imbalance()),
        (1, 1, 0),
        "{ledger}"
    );
    assert_eq!(collector.requests().len(), 1);
}

#[test]
fn dropping_telemetry_is_bounded_and_does_not_panic_inside_a_runtime() {
    let stalled = Stalled::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let telemetry = postgres(stalled.port())
            .endpoint(format!("http://127.0.0.1:{}", stalled.port()))
            .init()
            .unwrap();
        two_runs(&telemetry);
        let obs = telemetry.obs().clone();
        let ((), took) = timed(|| drop(telemetry));
        assert!(took < obs::DROP_DEADLINE + AT_ONCE, "{took:?}");
        assert_eq!(obs.ledger().imbalance(), 0);
    });
}

#[test]
fn a_store_that_stalls_leaves_time_for_the_last_export() {
    let (stalled, collector) = (Stalled::start(), FakeCollector::start());
    let telemetry = postgres(stalled.port()).endpoint(collector.url()).init().unwrap();
    two_runs(&telemetry);
    let (report, took) = timed(|| telemetry.flush_blocking(Duration::from_secs(1)));
    assert!(took < 2 * AT_ONCE, "{took:?}");
    assert_eq!(
        (report.rows.as_ref().unwrap().left, report.export.clone()),
        (2, Ok(Exported::Done)),
        "{report}"
    );
    let (report, took) = timed(|| telemetry.shutdown_blocking(Duration::from_secs(1)));
    assert!(took < 2 * AT_ONCE, "{took:?}");
    assert_eq!(
        (report.rows.as_ref().unwrap().dropped.total(), report.export),
        (2, Ok(Exported::Done))
    );
    settled(&telemetry);
}

#[test]
fn runs_after_shutdown_work_and_their_rows_are_counted_as_closed() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = sqlite(&folder).init().unwrap();
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    two_runs(&telemetry);
    let ledger = telemetry.ledger();
    assert_eq!(ledger.ok.dropped.of(DropReason::Closed), 1, "{ledger}");
    assert_eq!(ledger.error.dropped.of(DropReason::Closed), 1, "{ledger}");
    assert_eq!(telemetry.wait_for_room(PATIENCE), Room::Closed);
    settled(&telemetry);
}

#[test]
fn with_rows_off_metrics_go_on() {
    let environment = Environment::from_iter([("OBS_ENABLED", "false")]);
    let telemetry = obs::builder().environment(environment).snapshots(true).init().unwrap();
    two_runs(&telemetry);
    assert_eq!(total(&telemetry.snapshot().unwrap(), "obs.run.started", &[]), 2.0);
    assert_eq!((telemetry.store_url(), telemetry.store_state()), (None, None));
    // Each of them would have been kept: one as the first of its version, one as a failure.
    let ledger = telemetry.ledger();
    let disabled = [&ledger.ok, &ledger.error].map(|class| class.dropped.of(DropReason::Disabled));
    assert_eq!(disabled, [1, 1], "{ledger}");
    assert_eq!(telemetry.wait_for_room(PATIENCE), Room::Free);
    settled(&telemetry);
}
