//! Labels: few, clean, bounded; and the names that a kind gives them.

use obs_core::{Instrument, KindSpec, Label, MetricsMapping, RunFailure, Strategy};

use crate::support::{both_ways, measured};

fn fail(strategy: &Strategy, code: &str) {
    let code = code.to_owned();
    let _ = strategy.start().finish_with(Err::<(), _>(()), |()| RunFailure::error(code));
}

#[test]
fn labels_are_trimmed_and_empty_ones_are_unknown() {
    both_ways(|measured| {
        let kind = measured.test.obs().kind(" dsl ");
        let blank = kind.strategy("s").version("1").realm("  ").build().unwrap();
        blank.start().finish(Ok::<_, String>(())).unwrap();
        let labels =
            [("obs.kind", "dsl"), ("obs.realm", "unknown"), ("obs.strategy.type", "unknown")];
        assert_eq!(measured.export().at("obs.run.started", &labels), Some(1.0));
    });
}

#[test]
fn the_65th_realm_folds_to_other_and_is_counted() {
    both_ways(|measured| {
        let kind = measured.test.obs().kind("dsl");
        for number in 0..66 {
            let strategy = kind.realm(&format!("realm-{number}")).lookup("s", "1");
            strategy.start().finish(Ok::<_, String>(())).unwrap();
        }
        let export = measured.export();
        let started = &export.numbers["obs.run.started"];
        assert_eq!(started.len(), 65);
        let other =
            [("obs.kind", "dsl"), ("obs.realm", "_OTHER"), ("obs.strategy.type", "unknown")];
        assert_eq!(export.at("obs.run.started", &other), Some(2.0));
        assert_eq!(export.at("obs.label.folded", &[("which", "obs.realm")]), Some(2.0));
        let records = measured.test.records();
        assert_eq!(records[65].realm.as_deref(), Some("realm-65"), "the row keeps the real one");
    });
}

#[test]
fn error_types_fold_after_64_and_long_ones_are_cut() {
    both_ways(|measured| {
        let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        for number in 0..70 {
            fail(&strategy, &format!("CODE_{number}"));
        }
        let export = measured.export();
        assert_eq!(export.numbers["obs.run.errors"].len(), 65);
        assert_eq!(export.total("obs.run.errors"), 70.0);
        // `timeout`, `limit` and `panicked` are three of the 64.
        assert_eq!(export.at("obs.label.folded", &[("which", "error.type")]), Some(9.0));
    });
}

#[test]
fn series_are_bounded_even_where_each_label_has_room() {
    let measured = measured(true, |builder| builder).unwrap();
    let kind = measured.test.obs().kind("dsl");
    for realm in 0..60 {
        for strategy_type in 0..10 {
            let scoped = kind.realm(&format!("r{realm}")).type_(&format!("t{strategy_type}"));
            scoped.lookup("s", "1").start().finish(Ok::<_, String>(())).unwrap();
        }
    }
    let export = measured.export();
    assert_eq!(export.numbers["obs.run.started"].len(), 257);
    assert_eq!(export.total("obs.run.started"), 600.0, "nothing is lost by folding");
    assert_eq!(export.at("obs.label.folded", &[("which", "obs.realm")]), Some(344.0));
}

#[test]
fn ids_are_no_labels_unless_a_kind_asks_for_the_strategys() {
    both_ways(|measured| {
        let obs = measured.test.obs();
        let quiet = obs.kind("quiet").lookup("secret-id", "9");
        let _: Result<(), String> = quiet.observe(&(), |run| {
            run.subject("user-7").correlation_id("corr-1").case("case-1");
            Ok(())
        });
        let told = obs.define_kind(KindSpec::new("told").label_strategy(true)).unwrap();
        told.lookup("bonus", "3").start().finish(Ok::<_, String>(())).unwrap();
        let export = measured.export();
        let text = format!("{export:?}");
        for id in ["secret-id", "user-7", "corr-1", "case-1"] {
            assert!(!text.contains(id), "{id} is on a metric");
        }
        let labels = [
            ("obs.kind", "told"),
            ("obs.realm", "unknown"),
            ("obs.strategy.type", "unknown"),
            ("obs.strategy.id", "bonus"),
            ("obs.strategy.version", "3"),
        ];
        assert_eq!(export.at("obs.run.started", &labels), Some(1.0));
    });
}

#[test]
fn the_65th_strategy_of_an_opted_in_kind_folds_with_its_version() {
    let measured = measured(false, |builder| builder).unwrap();
    let told = measured.test.obs().define_kind(KindSpec::new("told").label_strategy(true)).unwrap();
    for number in 0..70 {
        told.lookup(&format!("rule-{number}"), &format!("v{number}"))
            .start()
            .finish(Ok::<_, String>(()))
            .unwrap();
    }
    let export = measured.export();
    let folded = [
        ("obs.kind", "told"),
        ("obs.realm", "unknown"),
        ("obs.strategy.type", "unknown"),
        ("obs.strategy.id", "_OTHER"),
        ("obs.strategy.version", "_OTHER"),
    ];
    assert_eq!(export.at("obs.run.started", &folded), Some(6.0));
}

/// The mapping under which an engine that was watched before obs keeps its series.
fn dsl_mapping() -> MetricsMapping {
    MetricsMapping::default()
        .prefix("dsl.execution")
        .name(Instrument::Nodes, "dsl.execution.nodes_per_run")
        .name(Instrument::Dropped, "dsl.execution.log.dropped")
        .nodes_total("dsl.execution.nodes")
        .label(Label::Realm, "realm")
        .label(Label::StrategyType, "strategy_type")
        .label(Label::Status, "status")
        .label(Label::ErrorType, "code")
        .omit(Label::Kind)
        .omit(Label::Class)
        .omit(Label::Reason)
}

#[test]
fn a_mapping_gives_the_seed_series_their_names_and_exactly_their_labels() {
    both_ways(|measured| {
        let kind = measured
            .test
            .obs()
            .define_kind(KindSpec::new("dsl").metrics(dsl_mapping()).error_types(["DSL_TIMEOUT"]))
            .unwrap();
        let strategy = kind.realm("acme").type_("DSL_FULL").lookup("bonus", "3");
        let _: Result<(), String> = strategy.observe(&(), |run| {
            run.add_nodes(5);
            Ok(())
        });
        fail(&strategy, "DSL_ARITH_DIV_BY_ZERO");
        let export = measured.export();
        let own = [("realm", "acme"), ("strategy_type", "DSL_FULL")];
        let with = |key, value| vec![own[0], own[1], (key, value)];
        let duration = export.histogram("dsl.execution.duration", &with("status", "ok")).unwrap();
        assert_eq!(duration.count, 1);
        assert_eq!(export.units["dsl.execution.duration"], "s");
        assert_eq!(export.at("dsl.execution.nodes", &own), Some(5.0));
        assert_eq!(
            export.at("dsl.execution.errors", &with("code", "DSL_ARITH_DIV_BY_ZERO")),
            Some(1.0)
        );
        assert_eq!(export.at("dsl.execution.errors", &with("code", "DSL_TIMEOUT")), Some(0.0));
        assert_eq!(export.at("dsl.execution.log.dropped", &own), Some(0.0));
        assert!(!export.numbers.contains_key("obs.run.started"), "no series under the old names");
    });
}

#[test]
fn the_in_flight_series_of_a_conserver_has_the_chain_name_and_no_other_label() {
    both_ways(|measured| {
        let mapping = MetricsMapping::default()
            .name(Instrument::Active, "conserver.vcons.inflight")
            .label(Label::StrategyType, "chain.name")
            .omit(Label::Kind)
            .omit(Label::Realm);
        let kind = measured
            .test
            .obs()
            .define_kind(KindSpec::new("conserver.vcons").metrics(mapping))
            .unwrap();
        let run = kind.type_("transcribe").lookup("vcon", "1").start();
        let name = "conserver.vcons.inflight";
        assert_eq!(measured.export().at(name, &[("chain.name", "transcribe")]), Some(1.0));
        drop(run);
        assert_eq!(measured.export().at(name, &[("chain.name", "transcribe")]), Some(0.0));
    });
}

#[test]
fn series_that_omitted_labels_made_equal_are_added_up() {
    let measured = measured(false, |builder| builder.sink(std::sync::Arc::new(Full))).unwrap();
    let mapping = dsl_mapping().omit(Label::Realm);
    let kind = measured.test.obs().define_kind(KindSpec::new("dsl").metrics(mapping)).unwrap();
    for realm in ["a", "b", "c"] {
        fail(&kind.realm(realm).type_("T").lookup("s", "1"), "E");
    }
    let export = measured.export();
    assert_eq!(export.at("dsl.execution.log.dropped", &[("strategy_type", "T")]), Some(3.0));
    assert_eq!(
        export.at("dsl.execution.errors", &[("strategy_type", "T"), ("code", "E")]),
        Some(3.0)
    );
}

#[derive(Debug)]
struct Full;

impl obs_core::Sink for Full {
    fn submit(&self, kept: obs_core::Kept) -> obs_core::Ack {
        kept.ticket.dropped(obs_core::DropReason::QueueFull);
        obs_core::Ack::Refused(obs_core::DropReason::QueueFull)
    }
    fn capacity(&self, _class: obs_core::Class) -> u64 {
        0
    }
}
