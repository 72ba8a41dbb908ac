//! A record as OpenTelemetry's spans.

use std::{borrow::Cow, time::Duration};

use obs_core::{RunRecord, registry::attribute, span_id_of};
use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::{config::model::SpanLimits, logs::time};

/// The kind of requests, as the HTTP layer names it.
const REQUESTS: &str = "http.server";

/// An entry of a record's trace.
#[derive(Deserialize)]
struct Node<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    phase: Option<Cow<'a, str>>,
    #[serde(default)]
    branch: Option<Cow<'a, str>>,
    #[serde(default)]
    value: Option<Json>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    offset_us: u64,
}

/// The run, and after it its nodes.
pub(crate) fn spans_of(record: &RunRecord, limits: &SpanLimits) -> Vec<SpanData> {
    let own = SpanId::from_bytes(span_id_of(record.run_id).to_be_bytes());
    let id = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
    let trace = TraceId::from_hex(&id(&record.trace_id)).unwrap_or(TraceId::INVALID);
    let parent = SpanId::from_hex(&id(&record.span_id)).unwrap_or(SpanId::INVALID);
    let attributes = attributes_of(record);
    let mut spans = vec![SpanData {
        span_context: context(trace, own),
        // A run that is a trace of its own is its root.
        parent_span_id: if parent == own { SpanId::INVALID } else { parent },
        parent_span_is_remote: false,
        span_kind: if &*record.kind == REQUESTS { SpanKind::Server } else { SpanKind::Internal },
        name: name_of(record, &attributes).into(),
        start_time: time(record.started_at),
        end_time: time(record.started_at) + record.duration,
        dropped_attributes_count: left_out(attributes.len(), limits),
        attributes: limited(attributes, limits),
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status_of(record),
        instrumentation_scope: scope(),
    }];
    let nodes: Vec<Node<'_>> = record
        .trace
        .as_ref()
        .and_then(|trace| serde_json::from_str(trace.as_str()).ok())
        .unwrap_or_default();
    let ends = nodes.iter().skip(1).map(|next| Duration::from_micros(next.offset_us));
    let ends: Vec<Duration> = ends.chain([record.duration]).collect();
    spans.extend(nodes.into_iter().zip(ends).map(|(node, end)| {
        let start = Duration::from_micros(node.offset_us);
        let attributes = node_attributes(&node);
        SpanData {
            span_context: context(trace, node_id(record.run_id, node.seq)),
            parent_span_id: own,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: node.node.into_owned().into(),
            start_time: time(record.started_at) + start,
            // A node says when it began. The next one began when it ended, or later.
            end_time: time(record.started_at) + end.max(start),
            dropped_attributes_count: left_out(attributes.len(), limits),
            attributes: limited(attributes, limits),
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope(),
        }
    }));
    spans
}

fn context(trace: TraceId, span: SpanId) -> SpanContext {
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default())
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("obs").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// As the row of the run has it, wherever it is sent again.
fn node_id(run_id: Uuid, seq: u64) -> SpanId {
    let nth = u128::from(seq.wrapping_add(1)) << 64;
    SpanId::from_bytes(span_id_of(Uuid::from_u128(run_id.as_u128() ^ nth)).to_be_bytes())
}

/// `kind strategy`; a request is its method and its route, as OpenTelemetry's conventions want it.
fn name_of(record: &RunRecord, attributes: &[KeyValue]) -> String {
    let method = (attributes.iter())
        .find(|pair| pair.key.as_str() == attribute::HTTP_REQUEST_METHOD)
        .map(|pair| pair.value.to_string());
    match method {
        Some(method) if &*record.kind == REQUESTS => format!("{method} {}", record.strategy_id),
        _ => format!("{} {}", record.kind, record.strategy_id),
    }
}

fn status_of(record: &RunRecord) -> Status {
    if !record.status.is_failure() {
        return Status::Unset;
    }
    let message = record.error_message.as_deref().or(record.error_type.as_deref());
    Status::error(message.unwrap_or_default().to_owned())
}

fn attributes_of(record: &RunRecord) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(attribute::OBS_RUN_ID, record.run_id.to_string()),
        KeyValue::new(attribute::OBS_KIND, record.kind.to_string()),
        KeyValue::new(attribute::OBS_STRATEGY_ID, record.strategy_id.to_string()),
        KeyValue::new(attribute::OBS_STRATEGY_VERSION, record.strategy_version.to_string()),
        KeyValue::new(attribute::OBS_RUN_STATUS, record.status.as_str()),
        KeyValue::new(attribute::OBS_RUN_NODES, i64::try_from(record.nodes).unwrap_or(i64::MAX)),
        KeyValue::new(attribute::OBS_RUN_KEEP_REASON, record.keep_reason.as_str()),
        KeyValue::new(attribute::OBS_RUN_INCLUSION_PROBABILITY, record.inclusion_probability),
    ];
    let texts = [
        (attribute::OBS_REALM, record.realm.as_deref()),
        (attribute::OBS_STRATEGY_TYPE, record.strategy_type.as_deref()),
        (attribute::OBS_RUN_CORRELATION_ID, record.correlation_id.as_deref()),
        (attribute::OBS_RUN_CASE_NAME, record.case_name.as_deref()),
        (attribute::ERROR_TYPE, record.error_type.as_deref()),
        (attribute::OBS_RUN_ERROR_NODE, record.error_node.as_deref()),
    ];
    for (key, text) in texts {
        attributes.extend(text.map(|text| KeyValue::new(key, text.to_owned())));
    }
    attributes.extend(record.value.map(|value| KeyValue::new(attribute::OBS_RUN_VALUE, value)));
    let own: Map<String, Json> = record
        .attributes
        .as_ref()
        .and_then(|own| serde_json::from_str(own.as_str()).ok())
        .unwrap_or_default();
    let known: Vec<String> = attributes.iter().map(|pair| pair.key.to_string()).collect();
    let own = own.into_iter().filter(|(key, _)| !known.contains(key));
    attributes.extend(own.map(|(key, value)| KeyValue::new(key, any(&value))));
    attributes
}

fn node_attributes(node: &Node<'_>) -> Vec<KeyValue> {
    let mut attributes =
        vec![KeyValue::new(attribute::OBS_NODE_SEQ, i64::try_from(node.seq).unwrap_or(i64::MAX))];
    let texts = [
        (attribute::OBS_NODE_TYPE, &node.kind),
        (attribute::OBS_NODE_PHASE, &node.phase),
        (attribute::OBS_NODE_BRANCH, &node.branch),
    ];
    for (key, text) in texts {
        attributes.extend(text.as_ref().map(|text| KeyValue::new(key, text.to_string())));
    }
    attributes.extend(
        node.value.as_ref().map(|value| KeyValue::new(attribute::OBS_NODE_VALUE, any(value))),
    );
    attributes
}

/// What is neither a text, a number nor a truth is its JSON.
fn any(value: &Json) -> Value {
    match value {
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.to_string().into(),
        },
        Json::String(text) => text.clone().into(),
        other => other.to_string().into(),
    }
}

fn left_out(count: usize, limits: &SpanLimits) -> u32 {
    u32::try_from(count.saturating_sub(limits.attributes.count)).unwrap_or(u32::MAX)
}

fn limited(mut attributes: Vec<KeyValue>, limits: &SpanLimits) -> Vec<KeyValue> {
    attributes.truncate(limits.attributes.count);
    if let Some(chars) = limits.attributes.value_length {
        for pair in &mut attributes {
            if let Value::String(text) = &pair.value {
                pair.value = text.as_str().chars().take(chars).collect::<String>().into();
            }
        }
    }
    attributes
}

/// One JSON object, for a console.
pub(super) fn line_of(span: &SpanData) -> String {
    let attributes: Map<String, Json> = (span.attributes.iter())
        .map(|pair| (pair.key.to_string(), Json::String(pair.value.to_string())))
        .collect();
    serde_json::json!({
        "name": span.name,
        "trace_id": span.span_context.trace_id().to_string(),
        "span_id": span.span_context.span_id().to_string(),
        "parent_span_id": span.parent_span_id.to_string(),
        "attributes": attributes,
    })
    .to_string()
}
