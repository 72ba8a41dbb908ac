//! Envelopes: a record as Sentry's event or transaction.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use obs_core::{Json, RunRecord, Status, Timestamp, registry::attribute, span_id_of};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{config::model::SpanLimits, spans::spans_of};

/// The nodes before the failure that an event shows.
const BREADCRUMBS_MAX: usize = 20;
/// The nodes that a transaction shows; more are not taken.
const SPANS_MAX: usize = 1_000;

/// What leaves: an event, or a transaction.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Event(Arc<RunRecord>),
    Transaction(Arc<RunRecord>),
}

/// Who reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    pub(super) environment: Option<String>,
    pub(super) release: Option<String>,
}

impl Item {
    /// The item as it is posted.
    pub(super) fn envelope(&self, service: &Service, now: Timestamp) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Event(record) => ("event", event(record, service)),
            Self::Transaction(record) => ("transaction", transaction(record, service)),
        };
        let head = json!({ "event_id": payload["event_id"], "sent_at": now.to_rfc3339_millis() });
        let payload = Value::Object(payload).to_string();
        let item =
            json!({ "type": kind, "length": payload.len(), "content_type": "application/json" });
        format!("{head}\n{item}\n{payload}\n").into_bytes()
    }
}

/// A failed run. What has the same fingerprint is the same problem: strategy, version, type of error, node.
fn event(record: &RunRecord, service: &Service) -> Map<String, Value> {
    let error_type = record.error_type.as_deref().unwrap_or("_OTHER");
    let node = record.error_node.as_deref().unwrap_or_default();
    let panicked = record.status == Status::Panicked;
    let exception = json!({
        "type": error_type,
        "value": record.error_message,
        "mechanism": { "type": record.status.as_str(), "handled": !panicked },
    });
    let fingerprint = json!([record.strategy_id, record.strategy_version, error_type, node]);
    let mut event = common(record, service, record.run_id);
    event.extend([
        pair("level", if panicked { "fatal" } else { "error" }),
        pair("logger", &*record.kind),
        ("fingerprint".to_owned(), fingerprint),
        ("exception".to_owned(), json!({ "values": [exception] })),
        ("breadcrumbs".to_owned(), json!({ "values": breadcrumbs(record) })),
        ("timestamp".to_owned(), seconds(record.finished_at)),
    ]);
    event
}

/// A kept run with its nodes. A failed one may be an event, too, under its own id: each has one of its own.
fn transaction(record: &RunRecord, service: &Service) -> Map<String, Value> {
    let spans = spans_of(record, &SpanLimits::default());
    let children: Vec<Value> = (spans.iter().skip(1).take(SPANS_MAX))
        .map(|span| {
            json!({
                "trace_id": span.span_context.trace_id().to_string(),
                "span_id": span.span_context.span_id().to_string(),
                "parent_span_id": span.parent_span_id.to_string(),
                "op": "node",
                "description": span.name,
                "start_timestamp": unix(span.start_time),
                "timestamp": unix(span.end_time),
            })
        })
        .collect();
    let mut event = common(record, service, Uuid::from_u128(!record.run_id.as_u128()));
    event.extend([
        pair("type", "transaction"),
        ("start_timestamp".to_owned(), seconds(record.started_at)),
        ("timestamp".to_owned(), seconds(record.finished_at)),
        ("spans".to_owned(), children.into()),
    ]);
    event
}

/// `id` is the same wherever the record is sent again, so that nothing counts twice.
fn common(record: &RunRecord, service: &Service, id: Uuid) -> Map<String, Value> {
    let mut event = Map::from_iter([
        pair("event_id", id.simple().to_string()),
        pair("platform", "other"),
        pair("transaction", format!("{} {}", record.kind, record.strategy_id)),
        ("tags".to_owned(), tags(record).into()),
        ("contexts".to_owned(), contexts(record)),
        ("sdk".to_owned(), json!({ "name": "obs", "version": env!("CARGO_PKG_VERSION") })),
    ]);
    let names = [("environment", &service.environment), ("release", &service.release)];
    event.extend(names.into_iter().filter_map(|(key, name)| Some(pair(key, name.as_deref()?))));
    // Only where it was asked for: otherwise the record has none by now.
    if let Some(subject) = record.subject.as_deref() {
        event.extend([("user".to_owned(), json!({ "id": subject }))]);
    }
    event
}

fn tags(record: &RunRecord) -> Map<String, Value> {
    let texts = [
        (attribute::OBS_KIND, Some(&*record.kind)),
        (attribute::OBS_STRATEGY_ID, Some(&*record.strategy_id)),
        (attribute::OBS_STRATEGY_VERSION, Some(&*record.strategy_version)),
        (attribute::OBS_STRATEGY_TYPE, record.strategy_type.as_deref()),
        (attribute::OBS_REALM, record.realm.as_deref()),
        (attribute::OBS_RUN_STATUS, Some(record.status.as_str())),
        (attribute::OBS_RUN_CORRELATION_ID, record.correlation_id.as_deref()),
        (attribute::OBS_RUN_ERROR_NODE, record.error_node.as_deref()),
    ];
    texts.into_iter().filter_map(|(key, text)| Some(pair(key, text?))).collect()
}

fn contexts(record: &RunRecord) -> Value {
    let own = format!("{:016x}", span_id_of(record.run_id));
    let parent = record.span_id.as_deref().filter(|parent| *parent != own);
    let mut contexts = json!({
        "trace": {
            "trace_id": record.trace_id,
            "span_id": own,
            "parent_span_id": parent,
            "op": record.kind,
            "status": if record.status.is_failure() { "internal_error" } else { "ok" },
        },
        "run": {
            "run_id": record.run_id.to_string(),
            "nodes": record.nodes,
            "duration_s": record.duration.as_secs_f64(),
            "case": record.case_name,
            "value": record.value,
        },
    });
    if let Some(attributes) = value_of(&record.attributes) {
        contexts["attributes"] = attributes;
    }
    // As with the subject.
    if let Some(input) = value_of(&record.input) {
        contexts["input"] = json!({ "input": input });
    }
    contexts
}

fn value_of(json: &Option<Json>) -> Option<Value> {
    serde_json::from_str(json.as_ref()?.as_str()).ok()
}

/// The way to the failure, without what the nodes computed.
fn breadcrumbs(record: &RunRecord) -> Vec<Value> {
    let nodes = value_of(&record.trace).unwrap_or_default();
    let nodes = nodes.as_array().map_or(&[][..], Vec::as_slice);
    let last = nodes.len().saturating_sub(BREADCRUMBS_MAX);
    let crumb = |node: &Value| {
        json!({
            "category": node["type"],
            "message": node["node"],
            "data": { "branch": node["branch"] },
        })
    };
    nodes[last..].iter().map(crumb).collect()
}

fn unix(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of this century are exact")]
fn seconds(at: Timestamp) -> Value {
    (at.as_micros() as f64 / 1e6).into()
}

fn pair(key: &str, text: impl Into<String>) -> (String, Value) {
    (key.to_owned(), Value::String(text.into()))
}
