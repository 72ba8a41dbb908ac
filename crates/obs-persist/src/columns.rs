//! The columns of a row, once for all stores: name, type, and where its value is in a record.

use obs_core::RunRecord;
use uuid::Uuid;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Id,
    Text,
    /// JSON text.
    Json,
    Integer,
    Float,
    Boolean,
    /// Microseconds since the Unix epoch.
    Time,
}

/// The value of a column in one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Id(&'a Uuid),
    Text(&'a str),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Time(i64),
    Null,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) type_: Type,
    pub(crate) read: fn(&RunRecord) -> Value<'_>,
}

/// The run itself.
pub(crate) const RUN: [Column; 28] = [
    column("run_id", Type::Id, |r| Value::Id(&r.run_id)),
    column("epoch", Type::Id, |r| Value::Id(&r.epoch)),
    column("kind", Type::Text, |r| Value::Text(&r.kind)),
    column("realm", Type::Text, |r| text(r.realm.as_deref())),
    column("strategy_id", Type::Text, |r| Value::Text(&r.strategy_id)),
    column("strategy_version", Type::Text, |r| Value::Text(&r.strategy_version)),
    column("strategy_type", Type::Text, |r| text(r.strategy_type.as_deref())),
    column("strategy_hash", Type::Text, |r| text(r.strategy_hash.as_deref())),
    column("subject", Type::Text, |r| text(r.subject.as_deref())),
    column("correlation_id", Type::Text, |r| text(r.correlation_id.as_deref())),
    column("parent_run_id", Type::Id, |r| r.parent_run_id.as_ref().map_or(Value::Null, Value::Id)),
    column("status", Type::Text, |r| Value::Text(r.status.as_str())),
    column("error_type", Type::Text, |r| text(r.error_type.as_deref())),
    column("error_message", Type::Text, |r| text(r.error_message.as_deref())),
    column("error_node", Type::Text, |r| text(r.error_node.as_deref())),
    column("value", Type::Float, |r| r.value.map_or(Value::Null, Value::Float)),
    column("case_name", Type::Text, |r| text(r.case_name.as_deref())),
    column("started_at", Type::Time, |r| Value::Time(r.started_at.as_micros())),
    column("finished_at", Type::Time, |r| Value::Time(r.finished_at.as_micros())),
    column("duration_ns", Type::Integer, |r| {
        Value::Integer(i64::try_from(r.duration.as_nanos()).unwrap_or(i64::MAX))
    }),
    column("nodes", Type::Integer, |r| count(r.nodes)),
    column("slow", Type::Boolean, |r| Value::Boolean(r.slow)),
    column("keep_reason", Type::Text, |r| Value::Text(r.keep_reason.as_str())),
    column("inclusion_probability", Type::Float, |r| Value::Float(r.inclusion_probability)),
    column("sample_rate", Type::Float, |r| Value::Float(r.sample_rate)),
    column("trace_id", Type::Text, |r| text(r.trace_id.as_deref())),
    column("span_id", Type::Text, |r| text(r.span_id.as_deref())),
    column("slim", Type::Boolean, |r| Value::Boolean(r.slim)),
];

/// Its input, attributes and trace, in a table of their own, so that figures about runs never read
/// them. The first column is the run's again.
pub(crate) const PAYLOAD: [Column; 9] = [
    RUN[0],
    column("input", Type::Json, |r| text(r.input.as_ref().map(obs_core::Json::as_str))),
    column("input_bytes", Type::Integer, |r| count(r.input_bytes)),
    column("input_truncated", Type::Boolean, |r| Value::Boolean(r.input_truncated)),
    column("attributes", Type::Json, |r| text(r.attributes.as_ref().map(obs_core::Json::as_str))),
    column("trace", Type::Json, |r| text(r.trace.as_ref().map(obs_core::Json::as_str))),
    column("trace_total", Type::Integer, |r| count(r.trace_total)),
    column("trace_kept", Type::Integer, |r| count(r.trace_kept)),
    column("trace_bytes", Type::Integer, |r| count(r.trace_bytes)),
];

/// An entry of the audit trail, which travels in a record of a run.
pub(crate) const AUDIT: [Column; 12] = [
    column("audit_id", Type::Id, |r| Value::Id(&r.run_id)),
    RUN[1],
    column("module", Type::Text, |r| Value::Text(&r.strategy_id)),
    column("level", Type::Text, |r| {
        r.audit.map_or(Value::Null, |level| Value::Text(level.as_str()))
    }),
    column("message", Type::Text, |r| Value::Text(r.error_message.as_deref().unwrap_or_default())),
    column("details", Type::Json, |r| text(r.attributes.as_ref().map(obs_core::Json::as_str))),
    column("actor", Type::Text, |r| text(r.subject.as_deref())),
    column("correlation_id", Type::Text, |r| text(r.correlation_id.as_deref())),
    column("run_id", Type::Id, |r| r.parent_run_id.as_ref().map_or(Value::Null, Value::Id)),
    column("trace_id", Type::Text, |r| text(r.trace_id.as_deref())),
    column("span_id", Type::Text, |r| text(r.span_id.as_deref())),
    column("occurred_at", Type::Time, |r| Value::Time(r.started_at.as_micros())),
];

const fn column(name: &'static str, type_: Type, read: fn(&RunRecord) -> Value<'_>) -> Column {
    Column { name, type_, read }
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, Value::Text)
}

fn count(count: u64) -> Value<'static> {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}
