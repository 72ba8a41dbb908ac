//! Exemplars: from a bucket of the duration histogram to a row that really exists.

use std::{sync::Arc, time::Duration};

use obs_core::{
    Ack, Class, DropReason, KeepPolicy, Kept, Obs, Rate, Recording, Sink,
    otel::{Measure, Metrics, MetricsOptions},
    testing::TestObs,
};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry_sdk::metrics::SdkMeterProvider;

fn metrics(measure: Measure, exemplars: bool) -> Metrics {
    let provider = SdkMeterProvider::builder().build();
    let options = MetricsOptions { measure, exemplars, ..MetricsOptions::default() };
    Metrics::new(&provider.meter("obs"), options).unwrap()
}

fn policy(ok_rate: f64) -> KeepPolicy {
    KeepPolicy { ok_rate: Rate::new(ok_rate).unwrap(), first: 0, ..KeepPolicy::default() }
}

fn test(measure: Measure, ok_rate: f64) -> TestObs {
    let metrics = metrics(measure, true);
    TestObs::with(|builder| builder.policy(policy(ok_rate)).metrics(metrics)).unwrap()
}

#[test]
fn each_bucket_names_its_last_kept_run_and_no_run_that_has_no_row() {
    for measure in [Measure::EachRun, Measure::InCells] {
        let test = test(measure, 0.0);
        let strategy =
            test.obs().kind("dsl").strategy("s").version("1").realm("acme").build().unwrap();
        for (millis, keep, ok) in
            [(2, true, true), (2, false, true), (3, true, true), (60, true, true), (2, true, false)]
        {
            let mut run = strategy.start();
            if keep {
                run.keep();
            }
            test.clock().advance(Duration::from_millis(millis));
            let _ = run.finish(if ok { Ok(()) } else { Err("no".to_owned()) });
        }
        let records = test.records();
        let exemplars = test.obs().exemplars();
        let (ok, error) = match &exemplars[..] {
            [ok, error] => (ok, error),
            other => panic!("two series expected: {other:?}"),
        };
        assert_eq!((&*ok.metric, ok.exemplars.len()), ("obs.run.duration", 3), "{ok:?}");
        assert!(ok.labels.contains(&("obs.run.status".to_owned(), "ok".to_owned())));
        assert!(ok.labels.contains(&("obs.realm".to_owned(), "acme".to_owned())));
        assert!(error.labels.contains(&("obs.run.status".to_owned(), "error".to_owned())));
        for exemplar in ok.exemplars.iter().chain(&error.exemplars) {
            let row = records.iter().find(|record| record.run_id == exemplar.run_id).unwrap();
            assert_eq!(row.duration.as_secs_f64(), exemplar.seconds);
            assert_eq!((row.finished_at, &row.trace_id), (exemplar.at, &exemplar.trace_id));
            assert_eq!(row.span_id, exemplar.span_id);
        }
        let seconds: Vec<f64> = ok.exemplars.iter().map(|exemplar| exemplar.seconds).collect();
        assert_eq!(seconds, [0.002, 0.003, 0.06]);
    }
}

#[test]
fn a_run_inside_a_span_carries_its_ids() {
    let test = test(Measure::InCells, 1.0);
    let ids = SpanContext::new(
        TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
        SpanId::from_hex("00f067aa0ba902b7").unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    let inside = opentelemetry::Context::new().with_remote_span_context(ids).attach();
    test.obs().kind("dsl").lookup("s", "1").start().finish(Ok::<_, String>(())).unwrap();
    drop(inside);
    let exemplar = &test.obs().exemplars()[0].exemplars[0];
    assert_eq!(exemplar.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(exemplar.span_id.as_deref(), Some("00f067aa0ba902b7"));
}

/// A lane without room.
#[derive(Debug)]
struct Full;

impl Sink for Full {
    fn submit(&self, kept: Kept) -> Ack {
        kept.ticket.dropped(DropReason::QueueFull);
        Ack::Refused(DropReason::QueueFull)
    }

    fn capacity(&self, _class: Class) -> u64 {
        1
    }
}

#[test]
fn a_run_whose_record_was_refused_is_no_exemplar_nor_one_without_rows_nor_where_none_are_wanted() {
    let one_run = |obs: &Obs| {
        obs.kind("dsl").lookup("s", "1").start().finish(Ok::<_, String>(())).unwrap();
    };
    let builder = || Obs::builder().policy(policy(1.0));
    let full =
        builder().metrics(metrics(Measure::InCells, true)).sink(Arc::new(Full)).build().unwrap();
    one_run(&full);
    assert!(full.exemplars().is_empty());
    let rows_off = builder()
        .metrics(metrics(Measure::InCells, true))
        .recording(Recording::MetricsOnly)
        .build()
        .unwrap();
    one_run(&rows_off);
    assert!(rows_off.exemplars().is_empty());
    let metrics = metrics(Measure::InCells, false);
    let unwanted = TestObs::with(|builder| builder.policy(policy(1.0)).metrics(metrics)).unwrap();
    one_run(unwanted.obs());
    assert_eq!(unwanted.records().len(), 1);
    assert!(unwanted.obs().exemplars().is_empty());
}
