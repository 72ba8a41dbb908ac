//! Kinds that were watched before obs have their series, names and labels, in Prometheus.

use std::{collections::BTreeSet, time::Duration};

use obs::{Environment, Instrument, KindSpec, Label, MetricsMapping};

use crate::stack::{PATIENCE, Stack, until};

const JOB: &str = "seeds";

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn the_series_of_the_seeds_come_out_exactly() {
    let Some(stack) = Stack::start() else { return };
    let telemetry = obs::builder()
        .environment(Environment::empty())
        // A row that nobody wants counts as lost.
        .store(format!("sqlite:{}/runs.sqlite", stack.folder.display()))
        .spool_dir(stack.folder.join("spool"))
        .service_name(JOB)
        .endpoint(stack.http())
        .init()
        .unwrap();
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
    let kind = telemetry.define_kind(KindSpec::new("dsl").metrics(dsl)).unwrap();
    let bonus =
        kind.strategy("bonus").version("1").realm("acme").type_("DSL_FULL").build().unwrap();
    for run in 0..10 {
        let _: Result<(), String> = bonus.observe(&(), |at| {
            at.node("first");
            if run % 5 == 0 { Err("no points".to_owned()) } else { Ok(()) }
        });
    }
    let conserver = MetricsMapping::default()
        .prefix("conserver.vcons")
        .name(Instrument::Active, "conserver.vcons.inflight")
        .label(Label::StrategyType, "chain.name")
        .omit(Label::Kind)
        .omit(Label::Realm);
    let kind = telemetry.define_kind(KindSpec::new("conserver.vcons").metrics(conserver)).unwrap();
    let chain = kind.strategy("transcribe").version("1").type_("transcribe").build().unwrap();
    let in_flight = chain.start();
    assert!(telemetry.flush_blocking(Duration::from_secs(20)).is_complete());

    let of = format!("job=\"{JOB}\",realm=\"acme\",strategy_type=\"DSL_FULL\"");
    for (series, number) in [
        (format!("sum(dsl_execution_duration_seconds_count{{{of},status=\"ok\"}})"), 8.0),
        (format!("sum(dsl_execution_duration_seconds_count{{{of},status=\"error\"}})"), 2.0),
        (format!("sum(dsl_execution_nodes_total{{{of}}})"), 10.0),
        (format!("sum(dsl_execution_errors_total{{{of}}})"), 2.0),
        (format!("sum(dsl_execution_log_dropped_total{{{of}}})"), 0.0),
        (format!("sum(conserver_vcons_inflight{{job=\"{JOB}\",chain_name=\"transcribe\"}})"), 1.0),
    ] {
        stack.prometheus.comes_to(&series, number);
    }
    for (name, labels) in [
        ("dsl_execution_duration_seconds_count", &["realm", "strategy_type", "status"][..]),
        ("dsl_execution_duration_seconds_sum", &["realm", "strategy_type", "status"]),
        ("dsl_execution_duration_seconds_bucket", &["le", "realm", "strategy_type", "status"]),
        ("dsl_execution_nodes_total", &["realm", "strategy_type"]),
        ("dsl_execution_errors_total", &["realm", "strategy_type", "code"]),
        ("dsl_execution_log_dropped_total", &["realm", "strategy_type"]),
        ("conserver_vcons_inflight", &["chain_name"]),
    ] {
        has_exactly_the_labels(&stack, name, labels);
    }
    let _ = in_flight.finish(Ok::<_, String>(()));
    assert!(telemetry.shutdown_blocking(PATIENCE).export.is_ok());
    let over = format!("sum(conserver_vcons_inflight{{job=\"{JOB}\"}})");
    stack.prometheus.comes_to(&over, 0.0);
}

/// Beside the two that Prometheus gives every series.
fn has_exactly_the_labels(stack: &Stack, name: &str, labels: &[&str]) {
    let samples = until(
        || name,
        || {
            let found = stack.prometheus.ask(&format!("{name}{{job=\"{JOB}\"}}")).unwrap();
            (!found.is_empty()).then_some(found)
        },
    );
    let expected: BTreeSet<_> = labels
        .iter()
        .chain(&["__name__", "job", "instance"])
        .map(|label| (*label).to_owned())
        .collect();
    for (found, _) in samples {
        assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), expected, "{name}");
    }
}
