//! What a record holds, and how it stays valid and bounded.

use std::time::Duration;

use obs_core::{
    CorrelationId, KeepPolicy, Limits, Rate, RunRecord, Strategy, otel, span_id_of,
    testing::TestObs, trace_id_of,
};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};

use crate::support::measured;

fn keep_all() -> KeepPolicy {
    KeepPolicy { ok_rate: Rate::new(1.0).unwrap(), ..KeepPolicy::default() }
}

fn test() -> (TestObs, Strategy) {
    let test = TestObs::with(|builder| builder.policy(keep_all())).unwrap();
    let strategy = test.obs().kind("dsl").strategy("bonus").version("3").build().unwrap();
    (test, strategy)
}

fn trace_of(record: &RunRecord) -> Vec<serde_json::Value> {
    serde_json::from_str(record.trace.as_ref().unwrap().as_str()).unwrap()
}

#[test]
fn a_record_says_everything_that_the_run_was_told() {
    let test = TestObs::with(|builder| builder.policy(keep_all())).unwrap();
    let strategy = test
        .obs()
        .kind("dsl")
        .strategy("bonus")
        .version("3")
        .type_("DSL_FULL")
        .realm("acme")
        .hash("sha256:9f2c")
        .build()
        .unwrap();
    let mut parent = strategy.start();
    let parent_id = parent.id();
    let result: Result<(), String> = strategy.observe(&serde_json::json!({"total": 12}), |run| {
        run.subject("user-7").correlation_id("4b0c").parent(parent_id).value(12.5).case("big");
        run.attribute("game.id", "chess").attribute("attempt", 2).attribute("attempt", 3);
        run.node("n1").kind("compare").phase("pre").branch("match").value(&12);
        test.clock().advance(Duration::from_micros(70));
        run.node("n2");
        run.add_nodes(10);
        Ok(())
    });
    result.unwrap();
    let record = &test.records()[0];
    assert_eq!((&*record.kind, record.realm.as_deref()), ("dsl", Some("acme")));
    assert_eq!(record.strategy_type.as_deref(), Some("DSL_FULL"));
    assert_eq!(record.strategy_hash.as_deref(), Some("sha256:9f2c"));
    assert_eq!(record.subject.as_deref(), Some("user-7"));
    assert_eq!(record.correlation_id.as_deref(), Some("4b0c"));
    assert_eq!(record.parent_run_id, Some(parent_id));
    assert_eq!((record.value, record.case_name.as_deref()), (Some(12.5), Some("big")));
    assert_eq!(record.nodes, 12);
    assert_eq!(record.input.as_ref().unwrap().as_str(), r#"{"total":12}"#);
    assert_eq!((record.input_bytes, record.input_truncated), (12, false));
    assert_eq!(record.attributes.as_ref().unwrap().as_str(), r#"{"game.id":"chess","attempt":3}"#);
    assert_eq!(
        record.trace.as_ref().unwrap().as_str(),
        r#"[{"node":"n1","type":"compare","phase":"pre","branch":"match","value":12,"seq":0,"offset_us":0},{"node":"n2","seq":1,"offset_us":70}]"#
    );
    assert_eq!((record.trace_total, record.trace_kept), (2, 2));
    assert_eq!(record.epoch, test.obs().epoch());
    assert_eq!(record.run_id.get_version_num(), 7);
    drop(parent);
}

#[test]
fn the_id_that_a_run_was_asked_for_is_the_id_of_its_record() {
    let (test, strategy) = test();
    let mut run = strategy.start();
    test.clock().advance(Duration::from_millis(3));
    let id = run.id();
    test.clock().advance(Duration::from_millis(4));
    run.finish(Ok::<_, String>(())).unwrap();
    let record = &test.records()[0];
    assert_eq!(record.run_id, id);
    assert_eq!(record.started_at.as_micros(), 1_767_225_600_000_000);
    assert_eq!(record.finished_at.as_micros(), 1_767_225_600_007_000);
}

#[test]
fn a_wall_clock_that_jumps_changes_neither_durations_nor_ids() {
    let (test, strategy) = test();
    let mut run = strategy.start();
    let id = run.id();
    test.clock().jump_wall(-3_600_000_000);
    test.clock().advance(Duration::from_millis(5));
    run.finish(Ok::<_, String>(())).unwrap();
    let _: Result<(), String> = strategy.observe(&(), |_run| Ok(()));
    let records = test.records();
    assert_eq!((records[0].run_id, records[0].duration), (id, Duration::from_millis(5)));
    assert!(records[0].finished_at > records[0].started_at);
    assert_ne!(records[1].run_id, id);
}

#[test]
fn the_w3c_ids_of_the_current_span_go_into_the_record() {
    let (test, strategy) = test();
    let span = SpanContext::new(
        TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
        SpanId::from_hex("00f067aa0ba902b7").unwrap(),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let attached = Context::new().with_remote_span_context(span).attach();
    let run = strategy.start();
    drop(attached);
    run.finish(Ok::<_, String>(())).unwrap();
    strategy.start().finish(Ok::<_, String>(())).unwrap();
    let records = test.records();
    assert_eq!(records[0].trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(records[0].span_id.as_deref(), Some("00f067aa0ba902b7"));
    // Outside of every span, a run is a trace of its own.
    let run_id = records[1].run_id;
    let own = (format!("{:032x}", trace_id_of(run_id)), format!("{:016x}", span_id_of(run_id)));
    assert_eq!(records[1].trace_id.as_deref(), Some(own.0.as_str()));
    assert_eq!(records[1].span_id.as_deref(), Some(own.1.as_str()));
}

#[test]
fn a_run_carries_the_correlation_id_of_where_it_starts_unless_it_is_told_another() {
    let (test, strategy) = test();
    let context = otel::with_correlation_id(&Context::new(), CorrelationId::new("4b0c1f"));
    let attached = context.attach();
    let inside = strategy.start();
    let mut other = strategy.start();
    other.correlation_id("of its own");
    drop(attached);
    let outside = strategy.start();
    for run in [inside, other, outside] {
        run.finish(Ok::<_, String>(())).unwrap();
    }
    let ids: Vec<_> = test.records().into_iter().map(|record| record.correlation_id).collect();
    assert_eq!(ids, [Some("4b0c1f".into()), Some("of its own".into()), None]);
}

#[test]
fn the_trace_of_an_ok_run_keeps_its_head_and_says_what_is_missing() {
    let (test, strategy) = test();
    let _: Result<(), String> = strategy.observe(&(), |run| {
        for node in 0..250 {
            run.node(&format!("n{node}"));
        }
        Ok(())
    });
    let record = &test.records()[0];
    let trace = trace_of(record);
    assert_eq!((record.trace_total, record.trace_kept, trace.len()), (250, 200, 200));
    assert_eq!((&trace[0]["node"], &trace[199]["node"]), (&"n0".into(), &"n199".into()));
    assert_eq!(record.nodes, 250);
}

#[test]
fn the_trace_of_a_failure_keeps_its_head_and_its_failing_end() {
    let (test, strategy) = test();
    let _: Result<(), String> = strategy.observe(&(), |run| {
        for node in 0..1_000 {
            run.node(&format!("n{node}"));
        }
        Err("at the end".to_owned())
    });
    let record = &test.records()[0];
    let trace = trace_of(record);
    assert_eq!(trace.len(), 200);
    assert_eq!(trace[99]["node"], "n99");
    assert_eq!(trace[100]["node"], "n900");
    assert_eq!(trace[199]["node"], "n999");
    assert_eq!(record.nodes, 1_000, "the cost of the failing run is known");
}

#[test]
fn one_entry_has_at_most_two_kibibytes_whatever_its_parts_are() {
    let (test, strategy) = test();
    let _: Result<(), String> = strategy.observe(&(), |run| {
        let hostile = "\u{1}".repeat(5_000);
        run.node(&hostile).kind(&hostile).phase(&hostile).branch(&hostile).value(&hostile);
        run.node("big").value(&"x".repeat(100_000));
        run.node("fits").value(&1);
        Ok(())
    });
    let record = &test.records()[0];
    assert!(record.trace.as_ref().unwrap().as_str().len() < 3 * 2_048);
    let trace = trace_of(record);
    assert!(trace[1]["value"]["$truncated"]["bytes"].as_u64().unwrap() > 100_000);
    assert_eq!(trace[2]["value"], 1);
}

#[test]
fn traces_can_be_switched_off_and_nodes_are_still_counted() {
    let test =
        TestObs::with(|builder| builder.policy(keep_all()).limits(Limits { trace_entries: 0 }))
            .unwrap();
    let strategy = test.obs().kind("dsl").lookup("bonus", "3");
    let _: Result<(), String> = strategy.observe(&(), |run| {
        run.node("n1").value(&1);
        Ok(())
    });
    let record = &test.records()[0];
    assert_eq!((record.nodes, &record.trace, record.trace_total), (1, &None, 0));
}

#[test]
fn an_input_at_the_limit_is_whole_and_one_byte_more_is_truncated_with_its_size() {
    let (test, strategy) = test();
    const LIMIT: usize = 64 * 1024;
    // Five texts, so that none is above the limit of one text: `["…","…","…","…","…"]`.
    let text = |total: usize| {
        let mut parts = vec!["x".repeat(13_000); 4];
        parts.push("x".repeat(total - 4 * 13_000 - 16));
        parts
    };
    for total in [LIMIT, LIMIT + 1] {
        let _: Result<(), String> = strategy.observe(&text(total), |_run| Ok(()));
    }
    let records = test.records();
    assert_eq!((records[0].input_truncated, records[0].input_bytes), (false, LIMIT as u64));
    assert_eq!((records[1].input_truncated, records[1].input_bytes), (true, LIMIT as u64 + 1));
    assert!(records[1].input.as_ref().unwrap().as_str().len() <= LIMIT);
}

#[test]
fn hostile_values_become_valid_and_each_change_is_counted() {
    let measured = measured(false, |builder| builder.policy(keep_all())).unwrap();
    let strategy = measured.test.obs().kind("dsl").lookup("bonus", "3");
    let hostile = vec![f64::NAN, f64::INFINITY, 1.0];
    let _: Result<(), String> = strategy.observe(&hostile, |run| {
        run.value(f64::NEG_INFINITY).subject("user\0seven").case(&"c".repeat(500));
        run.attribute("nul", "a\0b");
        for number in 0..40 {
            run.attribute(format!("key-{number}"), number);
        }
        Err("message with \0".to_owned())
    });
    let record = &measured.test.records()[0];
    assert_eq!(record.input.as_ref().unwrap().as_str(), "[null,null,1.0]");
    assert_eq!(record.value, None);
    assert_eq!(record.subject.as_deref(), Some("user\u{fffd}seven"));
    assert_eq!(record.case_name.as_ref().unwrap().len(), 128);
    assert_eq!(record.error_message.as_deref(), Some("message with \u{fffd}"));
    let attributes: serde_json::Value =
        serde_json::from_str(record.attributes.as_ref().unwrap().as_str()).unwrap();
    assert_eq!(attributes.as_object().unwrap().len(), 32);
    let export = measured.export();
    assert_eq!(export.at("obs.record.sanitized", &[("reason", "non_finite")]), Some(3.0));
    assert_eq!(export.at("obs.record.sanitized", &[("reason", "nul")]), Some(3.0));
    assert_eq!(export.at("obs.record.sanitized", &[("reason", "size")]), Some(10.0));
}

#[test]
fn a_record_survives_the_way_through_json() {
    let (test, strategy) = test();
    let _: Result<(), String> = strategy.observe(&serde_json::json!({"a": [1, null]}), |run| {
        run.node("n1").value(&"x");
        Err("no".to_owned())
    });
    let record = &test.records()[0];
    let json = serde_json::to_string(record).unwrap();
    assert_eq!(&serde_json::from_str::<RunRecord>(&json).unwrap(), record);
}

#[test]
fn a_buffer_that_served_one_run_holds_nothing_of_it_for_the_next() {
    let (test, strategy) = test();
    let _: Result<(), String> = strategy.observe(&(), |run| {
        run.subject("user-7").case("c").correlation_id("x").attribute("k", 1);
        run.node("n1");
        Ok(())
    });
    strategy.start().finish(Ok::<_, String>(())).unwrap();
    let second = &test.records()[1];
    assert_eq!((&second.subject, &second.case_name, &second.correlation_id), (&None, &None, &None));
    assert_eq!((&second.attributes, &second.trace), (&None, &None));
}

#[test]
fn a_huge_value_of_a_node_is_looked_at_only_so_far() {
    use std::cell::Cell;

    struct Endless<'a>(&'a Cell<u64>);
    impl serde::Serialize for Endless<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut sequence = serializer.serialize_seq(None)?;
            for number in 0..1_000_000_u64 {
                self.0.set(number);
                sequence.serialize_element(&number)?;
            }
            sequence.end()
        }
    }
    let looked_at = Cell::new(0);
    let (test, strategy) = test();
    let _: Result<(), String> = strategy.observe(&(), |run| {
        run.node("n1").value(&Endless(&looked_at));
        Ok(())
    });
    assert!(looked_at.get() < 20_000, "{} elements", looked_at.get());
    assert!(trace_of(&test.records()[0])[0]["value"]["$truncated"]["bytes"].is_u64());
}

#[test]
fn a_run_from_elsewhere_has_the_span_it_was_given_and_not_the_current_one() {
    use obs_core::FinishedRun;

    let (test, strategy) = test();
    let current = SpanContext::new(
        TraceId::from(1_u128),
        SpanId::from(1_u64),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    let attached = Context::new().with_remote_span_context(current).attach();
    strategy.record(FinishedRun::default());
    strategy.record(FinishedRun {
        trace_id: Some(0xab),
        span_id: Some(0xcd),
        ..FinishedRun::default()
    });
    drop(attached);
    let records = test.records();
    let own = format!("{:032x}", trace_id_of(records[0].run_id));
    assert_eq!(records[0].trace_id.as_deref(), Some(own.as_str()), "one of its own");
    assert_eq!(records[1].trace_id.as_deref(), Some("000000000000000000000000000000ab"));
    assert_eq!(records[1].span_id.as_deref(), Some("00000000000000cd"));
}
