//! What every rule gives over the whole table, pinned: a change of a rule or of the engine shows here.

use std::collections::BTreeMap;

use super::*;
use crate::{events::load, rules::files};

/// One pass of a rule over every event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pass {
    /// Scores by what they mean.
    cases: BTreeMap<String, u32>,
    /// Failures by code and failing node.
    failures: BTreeMap<String, u32>,
    nodes: u64,
    nodes_max: u64,
}

fn pass(strategy: &str, version: &str) -> Pass {
    let engine = Engine::new(load().unwrap()).unwrap();
    let rule = rule(&engine, strategy, version);
    let mut pass = Pass::default();
    for index in 0..engine.events().len() {
        let mut nodes = 0;
        match engine.score(&rule, index, |_| nodes += 1) {
            Ok(score) => count(&mut pass.cases, rule.case(score).unwrap().to_owned()),
            Err(error) => count(&mut pass.failures, format!("{} {}", error.code, error.node)),
        }
        pass.nodes += nodes;
        pass.nodes_max = pass.nodes_max.max(nodes);
    }
    pass
}

fn rule(engine: &Engine, strategy: &str, version: &str) -> Rule {
    let file = files().unwrap().into_iter().map(|(file, _)| file);
    let mut found = file.filter(|file| file.strategy == strategy && file.version == version);
    engine.compile(found.next().unwrap()).unwrap()
}

fn count(counts: &mut BTreeMap<String, u32>, key: String) {
    *counts.entry(key).or_default() += 1;
}

fn counts<const N: usize>(counts: [(&str, u32); N]) -> BTreeMap<String, u32> {
    counts.into_iter().map(|(key, count)| (key.to_owned(), count)).collect()
}

#[test]
fn magnitude_score_never_fails() {
    assert_eq!(
        pass("magnitude-score", "1"),
        Pass {
            cases: counts([("minor", 1_410), ("light", 258), ("strong", 39)]),
            failures: counts([]),
            nodes: 3_414,
            nodes_max: 2,
        }
    );
    assert_eq!(
        pass("magnitude-score", "2"),
        Pass {
            cases: counts([("minor", 1_436), ("light", 217), ("strong", 54)]),
            failures: counts([]),
            nodes: 6_828,
            nodes_max: 4,
        }
    );
}

#[test]
fn alert_triage_visits_dozens_of_nodes_and_never_fails() {
    assert_eq!(
        pass("alert-triage", "7"),
        Pass {
            cases: counts([("log", 1_487), ("watch", 198), ("page", 22)]),
            failures: counts([]),
            nodes: 125_268,
            nodes_max: 75,
        }
    );
}

#[test]
fn depth_quality_fails_where_a_measurement_is_missing_and_says_which() {
    let pass = pass("depth-quality", "1");
    let failures = [
        ("MISSING_FIELD gap", 303),
        ("MISSING_FIELD distance", 2),
        ("NOT_A_NUMBER stations", 160),
        ("INVALID_ARGUMENTS residual", 5),
    ];
    assert_eq!(pass.failures, counts(failures));
    assert_eq!(pass.failures.values().sum::<u32>(), 470);
    assert_eq!(pass.cases, counts([("good", 808), ("fair", 369), ("poor", 60)]));
}

#[test]
fn aftershock_scan_is_stopped_at_its_node_limit_in_a_swarm() {
    assert_eq!(
        pass("aftershock-scan", "3"),
        Pass {
            cases: counts([("quiet", 736), ("followed", 498), ("swarm", 307)]),
            failures: counts([("NODE_LIMIT activity", 4), ("NODE_LIMIT candidate", 162)]),
            nodes: 37_390,
            nodes_max: 80,
        }
    );
}

#[test]
fn felt_correlation_visits_every_neighbour_of_a_felt_event_and_never_fails() {
    assert_eq!(
        pass("felt-correlation", "1"),
        Pass {
            cases: counts([("alone", 1_641), ("scattered", 38), ("clustered", 28)]),
            failures: counts([]),
            nodes: 17_168,
            nodes_max: 555,
        }
    );
}

#[test]
fn nodes_are_seen_in_the_order_in_which_they_get_their_values() {
    let engine = Engine::new(load().unwrap()).unwrap();
    let rule = rule(&engine, "magnitude-score", "2");
    let mut seen = Vec::new();
    let score = engine.score(&rule, 0, |node| {
        seen.push(format!("{} {} {:?} {}", node.id, node.kind, node.branch, node.value));
    });
    assert_eq!(
        seen,
        [
            "magnitude * None 16",
            "significance / None 3.1",
            "reviewed if None 0",
            "score min None 19.1",
        ]
    );
    assert_eq!(score.unwrap(), 19.1);
}

#[test]
fn an_answer_in_a_word_is_the_branch_of_its_node() {
    let engine = Engine::new(load().unwrap()).unwrap();
    let text = r#"{"strategy": "s", "version": "1", "type": "RULE", "node_limit": 9, "cases": [], "rule": {"if": [
        {"node": ["here", {"==": [{"var": "net"}, "ci"]}]},
        {"if": [{"node": ["felt", {"var": "felt"}]}, 1, {"if": [{"node": ["status", {"var": "status"}]}, 2, 3]}]},
        4
    ]}}"#;
    let rule = engine.compile(serde_json::from_str(text).unwrap()).unwrap();
    let mut branches = Vec::new();
    let score = engine.score(&rule, 0, |node| branches.push(node.branch.map(str::to_owned)));
    assert_eq!(branches, ["yes", "missing", "automatic"].map(|branch| Some(branch.to_owned())));
    assert_eq!(score.unwrap(), 2.0);
}

#[test]
fn a_failed_run_has_shown_the_nodes_before_its_failure() {
    let engine = Engine::new(load().unwrap()).unwrap();
    let rule = rule(&engine, "depth-quality", "1");
    let no_stations = |event: &Event| event.facts.gap.is_some() && event.facts.nst.is_none();
    let index = engine.events().iter().position(no_stations).unwrap();
    let mut seen = Vec::new();
    let error = engine.score(&rule, index, |node| seen.push(node.id.to_owned())).unwrap_err();
    assert_eq!(seen, ["gap", "distance", "shallow-for-its-distance"]);
    assert_eq!(
        error.to_string(),
        "NOT_A_NUMBER at node `stations`: arithmetic on something that is no number; guard the field with `if`"
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_rule_must_end_with_a_finite_number() {
    let engine = Engine::new(load().unwrap()).unwrap();
    for (rule, result) in [(r#"{"var": "place"}"#, "\"4km W"), ("null", "null"), ("[1]", "[1]")] {
        let text = format!(
            r#"{{"strategy": "s", "version": "1", "type": "RULE", "node_limit": 9, "cases": [], "rule": {rule}}}"#
        );
        let rule = engine.compile(serde_json::from_str(&text).unwrap()).unwrap();
        let error = engine.score(&rule, 0, |_| ()).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotAScore);
        assert_eq!(error.node, "rule");
        assert!(
            error.source.to_string().starts_with(&format!("the result is {result}")),
            "{error:?}"
        );
    }
}

#[test]
fn a_panic_in_the_watcher_leaves_no_watcher_behind() {
    let engine = Engine::new(load().unwrap()).unwrap();
    let rule = rule(&engine, "magnitude-score", "1");
    let run = || engine.score(&rule, 0, |_| panic!("a panic on purpose"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
    let mut nodes = 0;
    assert!(engine.score(&rule, 0, |_| nodes += 1).is_ok());
    assert_eq!(nodes, 2);
}
