//! Nothing that a run is told changes the run, or keeps its row from being written.

use std::{borrow::Cow, time::Duration};

use obs_core::{
    FinishedRun, Obs, RunError, RunFailure, Status, Timestamp,
    otel::{Metrics, MetricsOptions},
    testing::TestObs,
};
use opentelemetry::metrics::{MeterProvider as _, NoopMeterProvider};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

use super::{end_in_every_way, strategy};
use crate::support::{both_ways, measured, poll_once};

/// An error of which every part panics.
#[derive(Debug, PartialEq)]
struct Treacherous;

impl RunError for Treacherous {
    fn error_type(&self) -> Cow<'_, str> {
        std::panic::resume_unwind(Box::new("error_type"))
    }
    fn message(&self) -> Option<Cow<'_, str>> {
        std::panic::resume_unwind(Box::new("message"))
    }
}

/// An error whose `Display` fails, which makes `to_string` panic.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Err(std::fmt::Error)
    }
}

impl std::error::Error for Unspeakable {}

struct PanicsWhenEncoded;

impl serde::Serialize for PanicsWhenEncoded {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        std::panic::resume_unwind(Box::new("serialize"))
    }
}

#[test]
fn an_error_that_cannot_be_described_still_comes_back_and_is_an_error() {
    let test = TestObs::new();
    let bonus = strategy(test.obs());
    let result: Result<(), Treacherous> = bonus.observe(&(), |_run| Err(Treacherous));
    assert_eq!(result, Err(Treacherous));
    let boxed: Result<(), Box<dyn std::error::Error>> =
        bonus.observe(&(), |_run| Err(Unspeakable.into()));
    assert!(boxed.unwrap_err().is::<Unspeakable>());
    let described = bonus.start().finish_with(Err::<(), _>(7), |_| -> RunFailure {
        std::panic::resume_unwind(Box::new("describe"))
    });
    assert_eq!(described, Err(7));
    let polled = poll_once(bonus.observe_async(&(), async |_run| Err::<(), _>(Treacherous)));
    assert_eq!(polled, std::task::Poll::Ready(Err(Treacherous)));
    for record in test.records() {
        assert_eq!((record.status, record.error_type.as_deref()), (Status::Error, Some("_OTHER")));
    }
    assert_eq!(test.records().len(), 4);
    test.assert_balanced();
}

#[test]
fn values_that_cannot_be_encoded_leave_a_row_that_says_so() {
    let measured = measured(false, |builder| builder).unwrap();
    let bonus = strategy(measured.test.obs());
    let result: Result<u8, String> = bonus.observe(&PanicsWhenEncoded, |run| {
        run.node("n1").value(&PanicsWhenEncoded);
        run.node("n2").value(&f64::NAN);
        Ok(1)
    });
    assert_eq!(result, Ok(1));
    let record = &measured.test.records()[0];
    let marker = r#"{"$unencodable":{"reason":"serialize"}}"#;
    assert_eq!(record.input.as_ref().unwrap().as_str(), marker);
    let trace = record.trace.as_ref().unwrap().as_str();
    assert!(trace.contains(marker) && trace.contains(r#""value":null"#), "{trace}");
    let export = measured.export();
    assert_eq!(export.at("obs.record.sanitized", &[("reason", "encode")]), Some(2.0));
    assert_eq!(export.at("obs.record.sanitized", &[("reason", "non_finite")]), Some(1.0));
}

#[test]
fn the_message_of_a_failure_is_kept_up_to_four_kibibytes() {
    let measured = measured(false, |builder| builder).unwrap();
    let bonus = strategy(measured.test.obs());
    for length in [4_096, 4_097] {
        let _: Result<(), String> = bonus.observe(&(), |_run| Err("x".repeat(length)));
        assert_eq!(measured.test.records().pop().unwrap().error_message.unwrap().len(), 4_096);
    }
    assert_eq!(measured.export().at("obs.record.sanitized", &[("reason", "size")]), Some(1.0));
}

#[test]
fn a_run_from_elsewhere_that_took_impossibly_long_gets_times_that_a_store_can_hold() {
    const CENTURY_US: i64 = 100 * 366 * 24 * 3_600 * 1_000_000;
    let measured = measured(false, |builder| builder).unwrap();
    let bonus = strategy(measured.test.obs());
    let now = Timestamp::from_micros(1_767_225_600_000_000);
    for started_at in [None, Some(now)] {
        let duration = Duration::MAX;
        bonus.record(FinishedRun { duration, started_at, keep: true, ..FinishedRun::default() });
        let record = measured.test.records().pop().unwrap();
        for time in [record.started_at, record.finished_at] {
            assert!(time.as_micros().abs_diff(now.as_micros()) < CENTURY_US as u64, "{time:?}");
        }
        assert!(record.finished_at >= record.started_at);
        assert!(i64::try_from(record.duration.as_nanos()).is_ok());
    }
    assert_eq!(measured.export().at("obs.record.sanitized", &[("reason", "clock")]), Some(2.0));
}

#[test]
fn a_noop_provider_measures_nothing_and_breaks_nothing() {
    for bound in [false, true] {
        let options = MetricsOptions { bound, ..MetricsOptions::default() };
        let metrics = Metrics::new(&NoopMeterProvider::new().meter("obs"), options).unwrap();
        let test = TestObs::with(|builder| builder.metrics(metrics)).unwrap();
        let runs = end_in_every_way(&strategy(test.obs()));
        assert_eq!(test.obs().ledger().runs.finished, runs);
        test.assert_balanced();
    }
}

#[test]
fn the_global_provider_gets_nothing() {
    let exporter = InMemoryMetricExporter::default();
    let global = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    opentelemetry::global::set_meter_provider(global.clone());
    both_ways(|measured| {
        end_in_every_way(&strategy(measured.test.obs()));
        assert!(measured.export().total("obs.run.started") > 0.0);
    });
    let plain = Obs::builder().build().unwrap();
    end_in_every_way(&strategy(&plain));
    global.force_flush().unwrap();
    let collected = exporter.get_finished_metrics().unwrap();
    assert!(collected.iter().all(|one| one.scope_metrics().count() == 0), "{collected:?}");
}
