//! The engine: JSONLogic made strict, with visible nodes and a limit on their number.

use datalogic_rs::{
    DataValue, Engine as JsonLogic, Error as EngineError, EvaluationConfig,
    bumpalo::Bump,
    datavalue::{NumberValue, OwnedDataValue},
};

use crate::{
    error::{ErrorCode, NodeLimit, NotAScore, ScoreError},
    events::Event,
    nearby::{Neighbour, nearby},
    operators::{Need, Node, Watch, watched},
    rules::{Rule, RuleError, RuleFile},
};

/// Evaluates rules over the events of one table.
#[derive(Debug)]
pub(crate) struct Engine {
    json_logic: JsonLogic,
    events: Vec<Event>,
    /// The events again, as the engine reads them; same order.
    inputs: Vec<OwnedDataValue>,
}

/// A node that has just been given its value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeSeen<'a> {
    pub(crate) id: &'a str,
    /// The operator inside the node, e.g. `if` or `+`.
    pub(crate) kind: &'a str,
    /// The answer in a word, where it is one: `yes`, `no`, `missing` or a text.
    pub(crate) branch: Option<&'a str>,
    pub(crate) value: &'a DataValue<'a>,
}

impl Engine {
    /// # Errors
    /// When an event cannot be read by the engine.
    pub(crate) fn new(events: Vec<Event>) -> Result<Self, EventError> {
        let json_logic = JsonLogic::builder()
            // The default turns null into 0, and so a missing measurement into a wrong score.
            .with_config(EvaluationConfig::strict())
            .add_operator("node", Node)
            .add_operator("need", Need)
            .build();
        let inputs = events.iter().map(input).collect::<Result<_, _>>()?;
        Ok(Self { json_logic, events, inputs })
    }

    pub(crate) fn events(&self) -> &[Event] {
        &self.events
    }

    /// # Errors
    /// When the rule is not JSONLogic.
    pub(crate) fn compile(&self, file: RuleFile) -> Result<Rule, RuleError> {
        let logic = self.json_logic.compile(file.rule.get());
        Rule::new(file, logic)
    }

    /// Runs a rule over the event at `index`; `on_node` sees each node as soon as it has a value.
    ///
    /// # Errors
    /// When the event lacks what the rule needs, or the rule visits too many nodes.
    pub(crate) fn score(
        &self,
        rule: &Rule,
        index: usize,
        on_node: impl FnMut(NodeSeen<'_>),
    ) -> Result<f64, ScoreError> {
        let arena = Bump::new();
        let input = self.input(rule, index, &arena);
        let mut watcher = Watcher { rule, seen: 0, on_node };
        watched(&mut watcher, || self.json_logic.evaluate(&rule.logic, input, &arena))
            .and_then(finite)
            .map_err(|error| explain(rule, error))
    }

    /// The event as the rule sees it, with its neighbours where the rule asks for them.
    fn input<'a>(&self, rule: &Rule, index: usize, arena: &'a Bump) -> &'a DataValue<'a> {
        let event = &*arena.alloc(self.inputs[index].to_arena(arena));
        let (Some(window), DataValue::Object(fields)) = (rule.nearby, event) else {
            return event;
        };
        let neighbours = nearby(&self.events, &self.events[index], window)
            .map(|neighbour| neighbour_value(neighbour, arena))
            .collect::<Vec<_>>();
        let neighbours = DataValue::Array(arena.alloc_slice_copy(&neighbours));
        let fields = fields.iter().copied().chain([("nearby", neighbours)]).collect::<Vec<_>>();
        arena.alloc(DataValue::Object(arena.alloc_slice_copy(&fields)))
    }
}

/// An event that the engine cannot read.
#[derive(Debug, thiserror::Error)]
#[error("event `{id}` cannot be read as JSON by the engine")]
pub(crate) struct EventError {
    id: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn input(event: &Event) -> Result<OwnedDataValue, EventError> {
    let error = |source| EventError { id: event.id.clone(), source };
    let json = serde_json::to_string(event).map_err(|source| error(source.into()))?;
    OwnedDataValue::from_json(&json).map_err(|source| error(source.into()))
}

fn neighbour_value<'a>(neighbour: Neighbour, arena: &'a Bump) -> DataValue<'a> {
    let number = |value| DataValue::Number(NumberValue::from_f64(value));
    DataValue::Object(arena.alloc_slice_copy(&[
        ("east", number(neighbour.east)),
        ("north", number(neighbour.north)),
        ("hours", number(neighbour.hours)),
        ("mag", number(neighbour.mag)),
    ]))
}

/// Counts the nodes of one run, ends it at the limit, and passes them on.
struct Watcher<'r, F> {
    rule: &'r Rule,
    seen: u64,
    on_node: F,
}

impl<F: FnMut(NodeSeen<'_>)> Watch for Watcher<'_, F> {
    fn node(&mut self, id: &str, value: &DataValue<'_>) -> Result<(), EngineError> {
        let limit = self.rule.node_limit;
        if self.seen == limit {
            return Err(EngineError::wrap(NodeLimit { limit }));
        }
        self.seen += 1;
        let kind = self.rule.node_kind(id);
        (self.on_node)(NodeSeen { id, kind, branch: branch(value), value });
        Ok(())
    }
}

fn branch<'a>(value: &DataValue<'a>) -> Option<&'a str> {
    match value {
        DataValue::Bool(true) => Some("yes"),
        DataValue::Bool(false) => Some("no"),
        DataValue::Null => Some("missing"),
        DataValue::String(text) => Some(text),
        _ => None,
    }
}

fn finite(result: &DataValue<'_>) -> Result<f64, EngineError> {
    match result {
        DataValue::Number(number) if number.as_f64().is_finite() => Ok(number.as_f64()),
        _ => Err(EngineError::wrap(NotAScore { result: result.to_string() })),
    }
}

fn explain(rule: &Rule, error: EngineError) -> ScoreError {
    ScoreError {
        code: ErrorCode::from(&error),
        node: rule.failing_node(&error).to_owned(),
        source: error,
    }
}

#[cfg(test)]
mod tests;
