//! The rules: JSONLogic in files, each with the name, version and limits of its strategy.

use std::collections::HashMap;

use datalogic_rs::{Error as EngineError, Logic};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::nearby::Window;

/// Every rule file, and how many of twenty runs are its.
const FILES: [(&str, &str, usize); 6] = [
    ("magnitude-score.v1.json", include_str!("../rules/magnitude-score.v1.json"), 2),
    ("magnitude-score.v2.json", include_str!("../rules/magnitude-score.v2.json"), 6),
    ("alert-triage.v7.json", include_str!("../rules/alert-triage.v7.json"), 5),
    ("depth-quality.v1.json", include_str!("../rules/depth-quality.v1.json"), 3),
    ("aftershock-scan.v3.json", include_str!("../rules/aftershock-scan.v3.json"), 3),
    ("felt-correlation.v1.json", include_str!("../rules/felt-correlation.v1.json"), 1),
];

/// A rule file as it was written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleFile {
    pub(crate) strategy: String,
    pub(crate) version: String,
    #[serde(rename = "type")]
    pub(crate) type_: String,
    /// A run that visits more nodes ends with `NODE_LIMIT`.
    pub(crate) node_limit: u64,
    /// Which neighbours the rule finds under `nearby`; none without it.
    #[serde(default)]
    pub(crate) nearby: Option<Window>,
    /// What a score means: the first case whose floor it reaches, from the highest down.
    pub(crate) cases: Vec<Case>,
    pub(crate) rule: Box<RawValue>,
}

/// A name for the scores from `from` up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) from: f64,
}

/// A rule that is ready to run.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) strategy: String,
    pub(crate) version: String,
    pub(crate) type_: String,
    pub(crate) node_limit: u64,
    pub(crate) nearby: Option<Window>,
    pub(crate) logic: Logic,
    cases: Vec<Case>,
    /// Node id → the operator inside.
    kinds: HashMap<String, String>,
    /// What the engine calls a node → our id of it.
    compiled: HashMap<u32, String>,
}

/// A rule file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("rule `{rule}` cannot be used: correct the file and build again")]
pub(crate) struct RuleError {
    rule: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The embedded rule files with their share of the runs.
///
/// # Errors
/// When a file is not what [`RuleFile`] says.
pub(crate) fn files() -> Result<Vec<(RuleFile, usize)>, RuleError> {
    FILES
        .iter()
        .map(|&(name, text, share)| match serde_json::from_str(text) {
            Ok(file) => Ok((file, share)),
            Err(source) => Err(RuleError { rule: name.to_owned(), source: source.into() }),
        })
        .collect()
}

impl Rule {
    pub(crate) fn new(
        file: RuleFile,
        logic: Result<Logic, EngineError>,
    ) -> Result<Self, RuleError> {
        let fail =
            |source| RuleError { rule: format!("{} v{}", file.strategy, file.version), source };
        let logic = logic.map_err(|error| fail(error.into()))?;
        let tree: Value =
            serde_json::from_str(file.rule.get()).map_err(|error| fail(error.into()))?;
        let mut nodes = Vec::new();
        find_nodes(&tree, "", &mut nodes);
        let compiled = compiled_nodes(&logic, &nodes);
        Ok(Self {
            strategy: file.strategy,
            version: file.version,
            type_: file.type_,
            node_limit: file.node_limit,
            nearby: file.nearby,
            logic,
            cases: file.cases,
            kinds: nodes.into_iter().map(|node| (node.id, node.kind)).collect(),
            compiled,
        })
    }

    /// What a score means.
    pub(crate) fn case(&self, score: f64) -> Option<&str> {
        self.cases.iter().find(|case| score >= case.from).map(|case| case.name.as_str())
    }

    /// The operator inside a node.
    pub(crate) fn node_kind(&self, id: &str) -> &str {
        self.kinds.get(id).map_or("unknown", String::as_str)
    }

    /// The innermost node that was open when the engine gave up.
    pub(crate) fn failing_node(&self, error: &EngineError) -> &str {
        let open = error.node_ids().iter().find_map(|id| self.compiled.get(id));
        open.map_or("rule", String::as_str)
    }
}

/// A `node` in the text of a rule.
struct FoundNode {
    id: String,
    kind: String,
    /// Where it stands, in the engine's way of counting.
    pointer: String,
}

/// Collects every `{"node": [id, expression]}` below `tree`.
fn find_nodes(tree: &Value, pointer: &str, found: &mut Vec<FoundNode>) {
    match tree {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                find_nodes(item, &format!("{pointer}/{at}"), found);
            }
        }
        Value::Object(fields) => {
            for (operator, args) in fields {
                if let ("node", [Value::String(id), inner]) = (operator.as_str(), as_slice(args)) {
                    let kind = operator_of(inner).to_owned();
                    found.push(FoundNode { id: id.clone(), kind, pointer: pointer.to_owned() });
                }
                for (at, arg) in as_slice(args).iter().enumerate() {
                    find_nodes(arg, &format!("{pointer}/{operator}/{at}"), found);
                }
            }
        }
        _ => {}
    }
}

/// JSONLogic lets a single argument stand without its list.
fn as_slice(args: &Value) -> &[Value] {
    match args {
        Value::Array(items) => items,
        single => std::slice::from_ref(single),
    }
}

fn operator_of(expression: &Value) -> &str {
    let operator = expression.as_object().and_then(|fields| fields.keys().next());
    operator.map_or("constant", String::as_str)
}

/// Asks the engine where each of its nodes stands, so that an error can be given our name for it.
fn compiled_nodes(logic: &Logic, nodes: &[FoundNode]) -> HashMap<u32, String> {
    let every_id: Vec<u32> = (0..NODE_IDS_MAX).collect();
    let steps = logic.resolve_node_ids(&every_id);
    let ids =
        steps.iter().filter(|step| step.operator.as_deref() == Some("node")).filter_map(|step| {
            let node = nodes.iter().find(|node| node.pointer == step.json_pointer)?;
            Some((step.node_id, node.id.clone()))
        });
    ids.collect()
}

/// More than the engine gives to any of our rules; a test holds that every node is found below it.
const NODE_IDS_MAX: u32 = 4_096;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::engine::Engine;

    #[test]
    fn every_node_of_every_rule_can_be_named_as_the_failing_one() {
        let engine = Engine::new(Vec::new()).unwrap();
        for (file, _) in files().unwrap() {
            let rule = engine.compile(file).unwrap();
            let named: HashSet<_> = rule.compiled.values().collect();
            let written: HashSet<_> = rule.kinds.keys().collect();
            assert_eq!(named, written, "{}", rule.strategy);
        }
    }

    #[test]
    fn the_triage_is_a_deep_rule_set() {
        let engine = Engine::new(Vec::new()).unwrap();
        let (file, _) = files().unwrap().swap_remove(2);
        let rule = engine.compile(file).unwrap();
        assert!(rule.kinds.len() >= 50, "{} nodes", rule.kinds.len());
    }

    #[test]
    fn the_shares_are_of_twenty_runs() {
        let shares: usize = files().unwrap().iter().map(|(_, share)| share).sum();
        assert_eq!(shares, 20);
    }

    #[test]
    fn cases_are_written_from_the_highest_down() {
        for (file, _) in files().unwrap() {
            assert!(file.cases.is_sorted_by(|high, low| high.from > low.from), "{}", file.strategy);
        }
    }

    #[test]
    fn a_rule_that_is_no_json_logic_names_itself() {
        let engine = Engine::new(Vec::new()).unwrap();
        let text = r#"{"strategy": "broken", "version": "1", "type": "RULE", "node_limit": 1,
            "cases": [], "rule": {"node": ["a", {"+": [1, 2]}], "if": []}}"#;
        let error = engine.compile(serde_json::from_str(text).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "rule `broken v1` cannot be used: correct the file and build again"
        );
    }
}
