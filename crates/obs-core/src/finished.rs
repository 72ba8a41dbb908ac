//! A run that happened elsewhere: in another language, or in a log that is replayed.

use std::{borrow::Cow, time::Duration};

use opentelemetry::trace::{SpanId, TraceId};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    ids,
    limits::{FINISHED_AGE_MAX, FINISHED_AHEAD_MAX, NODES_MAX},
    outcome::{Outcome, Owned},
    record::Timestamp,
    run_error::fallback_code,
    scratch::AttributeValue,
    status::Status,
    strategy::Strategy,
};

/// A run that happened elsewhere, for [`Strategy::record`].
///
/// ```
/// use obs_core::{FinishedRun, Status};
/// let run = FinishedRun { status: Status::Limit, error_type: Some("NODE_LIMIT".into()), ..FinishedRun::default() };
/// assert_eq!(run.nodes, 0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedRun {
    /// How it ended. Default: `ok`.
    pub status: Status,
    /// The error's code; only for failures, where it defaults to a fixed one.
    pub error_type: Option<String>,
    /// The error's message.
    pub message: Option<String>,
    /// The node that failed.
    pub error_node: Option<String>,
    /// How long it took. More than ten years count as ten, and that is counted.
    pub duration: Duration,
    /// When it started; by default it ended now. A time more than ten years ago or more than a day
    /// ahead is taken as now, and counted.
    pub started_at: Option<Timestamp>,
    /// How long it waited between the moment it was meant to start and its start, if known.
    pub queued: Option<Duration>,
    /// How many nodes it executed; at least as many as `trace` has.
    pub nodes: u64,
    /// Its trace, if known.
    pub trace: Vec<FinishedNode>,
    /// The number that it produced.
    pub value: Option<f64>,
    /// The case that it chose.
    pub case: Option<String>,
    /// Whose run it was.
    pub subject: Option<String>,
    /// The caller's correlation id.
    pub correlation_id: Option<String>,
    /// Its id, where it has one already: a UUIDv7 of the second in which it started, as
    /// [`new_run_id`](crate::new_run_id) makes them. Any other is replaced.
    pub run_id: Option<Uuid>,
    /// The run that started it.
    pub parent: Option<Uuid>,
    /// The W3C trace id of the span that it ran in, if known.
    pub trace_id: Option<u128>,
    /// The W3C span id of that span.
    pub span_id: Option<u64>,
    /// Its input.
    pub input: Option<Value>,
    /// Further attributes.
    pub attributes: Vec<(String, AttributeValue)>,
    /// Whether to keep it, whatever the rates say.
    pub keep: bool,
}

/// A node of a run that happened elsewhere.
///
/// ```
/// use obs_core::FinishedNode;
/// let node = FinishedNode { id: "n1".into(), kind: Some("compare".into()), ..FinishedNode::default() };
/// assert_eq!(node.branch, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FinishedNode {
    /// The node's id.
    pub id: String,
    /// What the node is.
    pub kind: Option<String>,
    /// The phase of the run that it belongs to.
    pub phase: Option<String>,
    /// The branch that it took.
    pub branch: Option<String>,
    /// What it computed.
    pub value: Option<Value>,
    /// When it began, from the start of the run.
    pub offset: Duration,
}

impl Default for FinishedRun {
    fn default() -> Self {
        Self {
            status: Status::Ok,
            error_type: None,
            message: None,
            error_node: None,
            duration: Duration::ZERO,
            started_at: None,
            queued: None,
            nodes: 0,
            trace: Vec::new(),
            value: None,
            case: None,
            subject: None,
            correlation_id: None,
            run_id: None,
            parent: None,
            trace_id: None,
            span_id: None,
            input: None,
            attributes: Vec::new(),
            keep: false,
        }
    }
}

impl FinishedRun {
    /// Replays the run through the same steps as one that happened here.
    pub(crate) fn record(self, strategy: &Strategy) {
        let mut run = strategy.replay();
        for node in &self.trace {
            run.replay_node(node);
        }
        run.nodes = run.nodes.max(self.nodes.min(NODES_MAX));
        run.value = self.value;
        run.scratch().parent = self.parent;
        // Not those of the span that replays it.
        run.span = Some((
            TraceId::from_bytes(self.trace_id.unwrap_or_default().to_be_bytes()),
            SpanId::from_bytes(self.span_id.unwrap_or_default().to_be_bytes()),
        ));
        run.force(self.keep);
        run.case(self.case.as_deref().unwrap_or_default());
        run.subject(self.subject.as_deref().unwrap_or_default());
        run.correlation_id(self.correlation_id.as_deref().unwrap_or_default());
        if let Some(waited) = self.queued {
            run.queued(waited);
        }
        for (key, value) in self.attributes {
            run.attribute(key, value);
        }
        let took = run.plausible_duration(self.duration);
        let started_at = self.started_at.and_then(|at| run.plausible(at));
        if let Some(run_id) = self.run_id {
            let started_at = started_at.unwrap_or_else(|| run.clock().wall().before(took));
            if ids::is_of(run_id, started_at) {
                run.take_id((run_id, started_at));
            }
        }
        let fallback = Cow::Borrowed(fallback_code(self.status));
        let outcome = Outcome {
            status: self.status,
            error_type: self
                .status
                .is_failure()
                .then(|| self.error_type.map_or(fallback, Cow::Owned)),
            message: self.message.map(Cow::Owned),
            node: self.error_node.map(Cow::Owned),
            took_nanos: u64::try_from(took.as_nanos()).ok(),
            started_at,
        };
        match &self.input {
            Some(input) => run.end_held(&outcome, Some(&Owned(input))),
            None => run.end_held(&outcome, None),
        };
    }
}

impl crate::run::Run {
    fn replay_node(&mut self, node: &FinishedNode) {
        let offset_micros = u64::try_from(node.offset.as_micros()).unwrap_or(u64::MAX);
        let mut entry = self.node_at(&node.id, offset_micros);
        if let Some(kind) = &node.kind {
            entry = entry.kind(kind);
        }
        if let Some(phase) = &node.phase {
            entry = entry.phase(phase);
        }
        if let Some(branch) = &node.branch {
            entry = entry.branch(branch);
        }
        if let Some(value) = &node.value {
            entry.value(value);
        }
    }

    /// A duration whose two ends a store has a place for.
    fn plausible_duration(&mut self, took: Duration) -> Duration {
        if took > FINISHED_AGE_MAX {
            self.scratch().changed.clock += 1;
        }
        took.min(FINISHED_AGE_MAX)
    }

    /// A start that a store has a place for, or `None`, which is counted.
    fn plausible(&mut self, at: Timestamp) -> Option<Timestamp> {
        let now = self.clock().wall();
        let plausible =
            (now.before(FINISHED_AGE_MAX)..=now.after(FINISHED_AHEAD_MAX)).contains(&at);
        if !plausible {
            self.scratch().changed.clock += 1;
        }
        plausible.then_some(at)
    }
}
