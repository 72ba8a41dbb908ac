//! The columns of a row, once for all stores: name, type, and where its value is in a record.

use obs_core::{AuditLevel, Json, RunRecord};
use uuid::Uuid;

/// What a column holds, and where it is in a record; `None` is NULL. By type, so that a store can go through
/// hundreds of values without asking of each what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read {
    Id(fn(&RunRecord) -> Option<&Uuid>),
    Text(fn(&RunRecord) -> Option<&str>),
    /// JSON text.
    Json(fn(&RunRecord) -> Option<&Json>),
    Integer(fn(&RunRecord) -> i64),
    Float(fn(&RunRecord) -> Option<&f64>),
    Boolean(fn(&RunRecord) -> &bool),
    /// Microseconds since the Unix epoch.
    Time(fn(&RunRecord) -> i64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) read: Read,
}

/// The run itself.
pub(crate) const RUN: [Column; 28] = [
    column("run_id", Read::Id(|r| Some(&r.run_id))),
    column("epoch", Read::Id(|r| Some(&r.epoch))),
    column("kind", Read::Text(|r| Some(&r.kind))),
    column("realm", Read::Text(|r| r.realm.as_deref())),
    column("strategy_id", Read::Text(|r| Some(&r.strategy_id))),
    column("strategy_version", Read::Text(|r| Some(&r.strategy_version))),
    column("strategy_type", Read::Text(|r| r.strategy_type.as_deref())),
    column("strategy_hash", Read::Text(|r| r.strategy_hash.as_deref())),
    column("subject", Read::Text(|r| r.subject.as_deref())),
    column("correlation_id", Read::Text(|r| r.correlation_id.as_deref())),
    column("parent_run_id", Read::Id(|r| r.parent_run_id.as_ref())),
    column("status", Read::Text(|r| Some(r.status.as_str()))),
    column("error_type", Read::Text(|r| r.error_type.as_deref())),
    column("error_message", Read::Text(|r| r.error_message.as_deref())),
    column("error_node", Read::Text(|r| r.error_node.as_deref())),
    column("value", Read::Float(|r| r.value.as_ref())),
    column("case_name", Read::Text(|r| r.case_name.as_deref())),
    column("started_at", Read::Time(|r| r.started_at.as_micros())),
    column("finished_at", Read::Time(|r| r.finished_at.as_micros())),
    column(
        "duration_ns",
        Read::Integer(|r| i64::try_from(r.duration.as_nanos()).unwrap_or(i64::MAX)),
    ),
    column("nodes", Read::Integer(|r| count(r.nodes))),
    column("slow", Read::Boolean(|r| &r.slow)),
    column("keep_reason", Read::Text(|r| Some(r.keep_reason.as_str()))),
    column("inclusion_probability", Read::Float(|r| Some(&r.inclusion_probability))),
    column("sample_rate", Read::Float(|r| Some(&r.sample_rate))),
    column("trace_id", Read::Text(|r| r.trace_id.as_deref())),
    column("span_id", Read::Text(|r| r.span_id.as_deref())),
    column("slim", Read::Boolean(|r| &r.slim)),
];

/// Its input, attributes and trace, in a table of their own, so that figures about runs never read
/// them. The first column is the run's again.
pub(crate) const PAYLOAD: [Column; 9] = [
    RUN[0],
    column("input", Read::Json(|r| r.input.as_ref())),
    column("input_bytes", Read::Integer(|r| count(r.input_bytes))),
    column("input_truncated", Read::Boolean(|r| &r.input_truncated)),
    column("attributes", Read::Json(|r| r.attributes.as_ref())),
    column("trace", Read::Json(|r| r.trace.as_ref())),
    column("trace_total", Read::Integer(|r| count(r.trace_total))),
    column("trace_kept", Read::Integer(|r| count(r.trace_kept))),
    column("trace_bytes", Read::Integer(|r| count(r.trace_bytes))),
];

/// An entry of the audit trail, which travels in a record of a run.
pub(crate) const AUDIT: [Column; 12] = [
    column("audit_id", Read::Id(|r| Some(&r.run_id))),
    RUN[1],
    column("module", Read::Text(|r| Some(&r.strategy_id))),
    column("level", Read::Text(|r| r.audit.map(AuditLevel::as_str))),
    column("message", Read::Text(|r| Some(r.error_message.as_deref().unwrap_or_default()))),
    column("details", Read::Json(|r| r.attributes.as_ref())),
    column("actor", Read::Text(|r| r.subject.as_deref())),
    column("correlation_id", Read::Text(|r| r.correlation_id.as_deref())),
    column("run_id", Read::Id(|r| r.parent_run_id.as_ref())),
    column("trace_id", Read::Text(|r| r.trace_id.as_deref())),
    column("span_id", Read::Text(|r| r.span_id.as_deref())),
    column("occurred_at", Read::Time(|r| r.started_at.as_micros())),
];

const fn column(name: &'static str, read: Read) -> Column {
    Column { name, read }
}

fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
