use obs_core::{KeepPolicy, Rate, RunFailure, Status, testing::TestObs};
use opentelemetry::trace::{SpanId, SpanKind, Status as SpanStatus, TraceId};

use super::*;
use crate::config::model::AttributeLimits;

fn records(act: impl FnOnce(&TestObs)) -> Vec<RunRecord> {
    let policy = KeepPolicy { ok_rate: Rate::new(1.0).unwrap(), ..KeepPolicy::default() };
    let test = TestObs::with(|builder| builder.policy(policy)).unwrap();
    act(&test);
    test.records()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let pair = span.attributes.iter().find(|pair| pair.key.as_str() == key)?;
    Some(pair.value.to_string())
}

#[test]
fn a_failed_run_is_a_span_with_its_ids_its_error_and_its_nodes_as_children() {
    let records = records(|test| {
        let bonus = test.obs().kind("dsl").strategy("bonus").version("3").realm("acme");
        let bonus = bonus.build().unwrap();
        let _: Result<(), _> = bonus.observe(&"the input", |run| {
            run.correlation_id("4b0c1f").attribute("attempt", 2).value(12.5);
            test.clock().advance(std::time::Duration::from_millis(1));
            run.node("n1").kind("compare").branch("match").value(&true);
            test.clock().advance(std::time::Duration::from_millis(2));
            run.node("n2");
            Err(RunFailure::error("DSL_DIVISION").message("by zero").node("n2"))
        });
    });
    let record = &records[0];
    let spans = spans_of(record, &SpanLimits::default());
    let [run, first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(run.name, "dsl bonus");
    assert_eq!(run.span_kind, SpanKind::Internal);
    assert_eq!(run.status, SpanStatus::error("by zero"));
    assert_eq!(Some(run.span_context.trace_id().to_string().into()), record.trace_id);
    assert_eq!(Some(run.span_context.span_id().to_string().into()), record.span_id);
    assert_eq!(run.parent_span_id, SpanId::INVALID, "it is the root of its trace");
    let id = record.run_id.to_string();
    for (key, value) in [
        ("obs.run.id", id.as_str()),
        ("obs.run.correlation_id", "4b0c1f"),
        ("obs.realm", "acme"),
        ("obs.run.status", "error"),
        ("error.type", "DSL_DIVISION"),
        ("obs.run.error_node", "n2"),
        ("attempt", "2"),
        ("obs.run.value", "12.5"),
        ("obs.run.keep_reason", "failure"),
    ] {
        assert_eq!(attribute(run, key).as_deref(), Some(value), "{key}");
    }
    for (node, name, start, took) in [(first, "n1", 1, 2), (second, "n2", 3, 0)] {
        assert_eq!((&*node.name, node.parent_span_id), (name, run.span_context.span_id()));
        assert_eq!(node.span_context.trace_id(), run.span_context.trace_id());
        let since = |at: std::time::SystemTime| at.duration_since(run.start_time).unwrap();
        assert_eq!(since(node.start_time).as_millis(), start);
        assert_eq!(since(node.end_time).as_millis(), start + took);
    }
    assert_ne!(first.span_context.span_id(), second.span_context.span_id());
    assert_eq!(attribute(first, "obs.node.branch").as_deref(), Some("match"));
    assert_eq!(attribute(first, "obs.node.value").as_deref(), Some("true"));
    let text = format!("{spans:?}");
    assert!(!text.contains("the input"), "{text}");
}

#[test]
fn a_span_sees_what_a_row_sees_after_redaction() {
    let records = records(|test| {
        let bonus = test.obs().kind("dsl").lookup("bonus", "3");
        let _: Result<(), _> = bonus.observe(&(), |run| {
            run.attribute("password", "hunter2");
            run.node("n1").value(&serde_json::json!({"token": "hunter2"}));
            Err(RunFailure::error("AUTH").message("password=hunter2 is wrong"))
        });
    });
    let spans = spans_of(&records[0], &SpanLimits::default());
    assert_eq!(spans.len(), 2);
    let text = format!("{spans:?}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn attributes_beyond_their_limits_are_cut_and_counted() {
    let records = records(|test| {
        let bonus = test.obs().kind("dsl").lookup("bonus", "3");
        let _ = bonus.observe(&(), |run| {
            run.case(&"x".repeat(50));
            Ok::<_, String>(())
        });
    });
    let whole = spans_of(&records[0], &SpanLimits::default());
    let attributes = AttributeLimits { value_length: Some(5), count: 4 };
    let limits = SpanLimits { attributes, ..SpanLimits::default() };
    let cut = spans_of(&records[0], &limits);
    assert_eq!(cut[0].attributes.len(), 4);
    assert_eq!(cut[0].dropped_attributes_count as usize, whole[0].attributes.len() - 4);
    assert_eq!(attribute(&cut[0], "obs.run.id").unwrap().len(), 5);
}

#[test]
fn a_sampler_thins_out_what_a_rate_kept_and_never_failures() {
    let records = records(|test| {
        let bonus = test.obs().kind("dsl").lookup("bonus", "3");
        for nth in 0..400 {
            let result = if nth % 2 == 0 { Ok(()) } else { Err("no".to_owned()) };
            let _ = bonus.observe(&(), |_| result);
        }
    });
    let exported = |sampler: &Sampler, status: Status| {
        let of_status = records.iter().filter(|record| record.status == status);
        of_status.filter(|record| is_exported(sampler, record)).count()
    };
    let quarter = Sampler::TraceIdRatio(0.25);
    let ok = exported(&quarter, Status::Ok);
    assert!((20..90).contains(&ok), "{ok} of 200");
    assert_eq!(exported(&quarter, Status::Error), 200);
    assert_eq!(exported(&Sampler::parent_based(quarter), Status::Ok), ok);
    assert_eq!(exported(&Sampler::default(), Status::Ok), 200);
    assert_eq!(exported(&Sampler::AlwaysOff, Status::Error), 0);
}

#[test]
fn a_request_is_a_server_span_below_its_callers() {
    let records = records(|test| {
        let requests = test.obs().kind("http.server").lookup("/bonus/{user}", "1");
        requests.record(obs_core::FinishedRun {
            trace_id: Some(0xab),
            span_id: Some(0xcd),
            attributes: vec![("http.request.method".to_owned(), "GET".into())],
            ..obs_core::FinishedRun::default()
        });
    });
    let spans = spans_of(&records[0], &SpanLimits::default());
    let request = &spans[0];
    assert_eq!((&*request.name, &request.span_kind), ("GET /bonus/{user}", &SpanKind::Server));
    assert_eq!(request.span_context.trace_id(), TraceId::from(0xab_u128));
    assert_eq!(request.parent_span_id, SpanId::from(0xcd_u64));
    let own = SpanId::from(obs_core::span_id_of(records[0].run_id));
    assert_eq!(request.span_context.span_id(), own);
}
