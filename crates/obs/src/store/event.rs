//! A kept run as a log event: `obs.run`, with all that its row says.

use obs_core::{RunRecord, Status, Timestamp};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, SeverityNumber},
};

/// The event's name.
pub(super) const NAME: &str = "obs.run";

/// The event of a row.
pub(super) fn of(record: &RunRecord) -> LogRecord {
    let severity = match record.status {
        Status::Ok => SeverityNumber::Info,
        Status::Cancelled => SeverityNumber::Warn,
        _ => SeverityNumber::Error,
    };
    let ended = nanos(record.finished_at);
    LogRecord {
        time_unix_nano: ended,
        observed_time_unix_nano: ended,
        severity_number: severity.into(),
        severity_text: severity_text(severity).to_owned(),
        event_name: NAME.to_owned(),
        trace_id: record.trace_id.as_deref().map(bytes).unwrap_or_default(),
        span_id: record.span_id.as_deref().map(bytes).unwrap_or_default(),
        attributes: attributes(record),
        ..LogRecord::default()
    }
}

const fn severity_text(severity: SeverityNumber) -> &'static str {
    match severity {
        SeverityNumber::Info => "INFO",
        SeverityNumber::Warn => "WARN",
        _ => "ERROR",
    }
}

/// What the row says, but for the ids of trace and span, which events have a place for.
fn attributes(record: &RunRecord) -> Vec<KeyValue> {
    let id = |id: &uuid::Uuid| id.to_string();
    let mut attributes = vec![
        text("obs.run.id", &id(&record.run_id)),
        text("obs.run.epoch", &id(&record.epoch)),
        text("obs.kind", &record.kind),
        text("obs.strategy.id", &record.strategy_id),
        text("obs.strategy.version", &record.strategy_version),
        text("obs.run.status", record.status.as_str()),
        whole("obs.run.started_at_us", record.started_at.as_micros()),
        whole("obs.run.finished_at_us", record.finished_at.as_micros()),
        count("obs.run.duration_ns", u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX)),
        count("obs.run.nodes", record.nodes),
        switch("obs.run.slow", record.slow),
        text("obs.run.keep_reason", record.keep_reason.as_str()),
        number("obs.run.inclusion_probability", record.inclusion_probability),
        number("obs.run.sample_rate", record.sample_rate),
        switch("obs.run.slim", record.slim),
        count("obs.run.input_bytes", record.input_bytes),
        switch("obs.run.input_truncated", record.input_truncated),
        count("obs.run.trace_total", record.trace_total),
        count("obs.run.trace_kept", record.trace_kept),
        count("obs.run.trace_bytes", record.trace_bytes),
    ];
    let texts = [
        ("obs.realm", record.realm.as_deref()),
        ("obs.strategy.type", record.strategy_type.as_deref()),
        ("obs.strategy.hash", record.strategy_hash.as_deref()),
        ("obs.run.subject", record.subject.as_deref()),
        ("obs.run.correlation_id", record.correlation_id.as_deref()),
        ("error.type", record.error_type.as_deref()),
        ("obs.run.error_message", record.error_message.as_deref()),
        ("obs.run.error_node", record.error_node.as_deref()),
        ("obs.run.case_name", record.case_name.as_deref()),
        ("obs.run.input", record.input.as_ref().map(obs_core::Json::as_str)),
        ("obs.run.attributes", record.attributes.as_ref().map(obs_core::Json::as_str)),
        ("obs.run.trace", record.trace.as_ref().map(obs_core::Json::as_str)),
    ];
    attributes.extend(texts.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
    attributes.extend(record.parent_run_id.as_ref().map(|it| text("obs.run.parent_id", &id(it))));
    attributes.extend(record.value.map(|value| number("obs.run.value", value)));
    attributes
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    pair(key, Value::StringValue(value.to_owned()))
}

fn whole(key: &str, value: i64) -> KeyValue {
    pair(key, Value::IntValue(value))
}

fn count(key: &str, value: u64) -> KeyValue {
    whole(key, i64::try_from(value).unwrap_or(i64::MAX))
}

fn number(key: &str, value: f64) -> KeyValue {
    pair(key, Value::DoubleValue(value))
}

fn switch(key: &str, value: bool) -> KeyValue {
    pair(key, Value::BoolValue(value))
}

fn pair(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(0).saturating_mul(1_000)
}

/// The bytes of an id in hexadecimal digits; none where it is no such id.
fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(pair).collect::<Option<Vec<u8>>>().unwrap_or_default()
}
