//! A kept run as a log event, `obs.run`, and an entry of the audit trail as `obs.audit`, with all that the row
//! says.

use obs_core::{
    AuditLevel, RunRecord, Status, Timestamp,
    registry::{attribute, event},
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, SeverityNumber},
};

/// The event of a row.
pub(super) fn of(record: &RunRecord) -> LogRecord {
    let severity = match (record.audit, record.status) {
        (Some(AuditLevel::Error), _) => SeverityNumber::Error,
        (Some(AuditLevel::Warn), _) | (None, Status::Cancelled) => SeverityNumber::Warn,
        (Some(_), _) | (None, Status::Ok) => SeverityNumber::Info,
        (None, _) => SeverityNumber::Error,
    };
    let (name, attributes) = match record.audit {
        Some(level) => (event::OBS_AUDIT, of_entry(record, level)),
        None => (event::OBS_RUN, attributes(record)),
    };
    let ended = nanos(record.finished_at);
    LogRecord {
        time_unix_nano: ended,
        observed_time_unix_nano: ended,
        severity_number: severity.into(),
        severity_text: severity_text(severity).to_owned(),
        event_name: name.to_owned(),
        trace_id: record.trace_id.as_deref().map(bytes).unwrap_or_default(),
        span_id: record.span_id.as_deref().map(bytes).unwrap_or_default(),
        attributes,
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
        text(attribute::OBS_RUN_ID, &id(&record.run_id)),
        text(attribute::OBS_RUN_EPOCH, &id(&record.epoch)),
        text(attribute::OBS_KIND, &record.kind),
        text(attribute::OBS_STRATEGY_ID, &record.strategy_id),
        text(attribute::OBS_STRATEGY_VERSION, &record.strategy_version),
        text(attribute::OBS_RUN_STATUS, record.status.as_str()),
        whole(attribute::OBS_RUN_STARTED_AT_US, record.started_at.as_micros()),
        whole(attribute::OBS_RUN_FINISHED_AT_US, record.finished_at.as_micros()),
        count(
            attribute::OBS_RUN_DURATION_NS,
            u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX),
        ),
        count(attribute::OBS_RUN_NODES, record.nodes),
        switch(attribute::OBS_RUN_SLOW, record.slow),
        text(attribute::OBS_RUN_KEEP_REASON, record.keep_reason.as_str()),
        number(attribute::OBS_RUN_INCLUSION_PROBABILITY, record.inclusion_probability),
        number(attribute::OBS_RUN_SAMPLE_RATE, record.sample_rate),
        switch(attribute::OBS_RUN_SLIM, record.slim),
        count(attribute::OBS_RUN_INPUT_BYTES, record.input_bytes),
        switch(attribute::OBS_RUN_INPUT_TRUNCATED, record.input_truncated),
        count(attribute::OBS_RUN_TRACE_TOTAL, record.trace_total),
        count(attribute::OBS_RUN_TRACE_KEPT, record.trace_kept),
        count(attribute::OBS_RUN_TRACE_BYTES, record.trace_bytes),
    ];
    let texts = [
        (attribute::OBS_REALM, record.realm.as_deref()),
        (attribute::OBS_STRATEGY_TYPE, record.strategy_type.as_deref()),
        (attribute::OBS_STRATEGY_HASH, record.strategy_hash.as_deref()),
        (attribute::OBS_RUN_SUBJECT, record.subject.as_deref()),
        (attribute::OBS_RUN_CORRELATION_ID, record.correlation_id.as_deref()),
        (attribute::ERROR_TYPE, record.error_type.as_deref()),
        (attribute::OBS_RUN_ERROR_MESSAGE, record.error_message.as_deref()),
        (attribute::OBS_RUN_ERROR_NODE, record.error_node.as_deref()),
        (attribute::OBS_RUN_CASE_NAME, record.case_name.as_deref()),
        (attribute::OBS_RUN_INPUT, record.input.as_ref().map(obs_core::Json::as_str)),
        (attribute::OBS_RUN_ATTRIBUTES, record.attributes.as_ref().map(obs_core::Json::as_str)),
        (attribute::OBS_RUN_TRACE, record.trace.as_ref().map(obs_core::Json::as_str)),
    ];
    attributes.extend(texts.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
    attributes.extend(
        record.parent_run_id.as_ref().map(|it| text(attribute::OBS_RUN_PARENT_ID, &id(it))),
    );
    attributes.extend(record.value.map(|value| number(attribute::OBS_RUN_VALUE, value)));
    attributes
}

/// What the row of an entry says, but for its time and the ids of trace and span.
fn of_entry(record: &RunRecord, level: AuditLevel) -> Vec<KeyValue> {
    let id = |id: &uuid::Uuid| id.to_string();
    let mut attributes = vec![
        text(attribute::OBS_AUDIT_ID, &id(&record.run_id)),
        text(attribute::OBS_AUDIT_MODULE, &record.strategy_id),
        text(attribute::OBS_AUDIT_LEVEL, level.as_str()),
        text(attribute::OBS_AUDIT_MESSAGE, record.error_message.as_deref().unwrap_or_default()),
        text(attribute::OBS_RUN_EPOCH, &id(&record.epoch)),
    ];
    let texts = [
        (attribute::OBS_AUDIT_ACTOR, record.subject.as_deref()),
        (attribute::OBS_AUDIT_DETAILS, record.attributes.as_ref().map(obs_core::Json::as_str)),
        (attribute::OBS_RUN_CORRELATION_ID, record.correlation_id.as_deref()),
    ];
    attributes.extend(texts.into_iter().filter_map(|(key, value)| Some(text(key, value?))));
    attributes.extend(record.parent_run_id.as_ref().map(|it| text(attribute::OBS_RUN_ID, &id(it))));
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
