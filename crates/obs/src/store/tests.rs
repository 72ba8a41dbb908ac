use std::collections::BTreeMap;

use obs_core::{
    AuditLevel, Json, Status,
    testing::{audit_entry, record},
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::*;

/// Where each field of a row is in an event.
const PLACES: [(&str, &str); 36] = [
    ("run_id", "obs.run.id"),
    ("epoch", "obs.run.epoch"),
    ("kind", "obs.kind"),
    ("realm", "obs.realm"),
    ("strategy_id", "obs.strategy.id"),
    ("strategy_version", "obs.strategy.version"),
    ("strategy_type", "obs.strategy.type"),
    ("strategy_hash", "obs.strategy.hash"),
    ("subject", "obs.run.subject"),
    ("correlation_id", "obs.run.correlation_id"),
    ("parent_run_id", "obs.run.parent_id"),
    ("status", "obs.run.status"),
    ("error_type", "error.type"),
    ("error_message", "obs.run.error_message"),
    ("error_node", "obs.run.error_node"),
    ("value", "obs.run.value"),
    ("case_name", "obs.run.case_name"),
    ("started_at", "obs.run.started_at_us"),
    ("finished_at", "obs.run.finished_at_us"),
    ("duration_ns", "obs.run.duration_ns"),
    ("nodes", "obs.run.nodes"),
    ("slow", "obs.run.slow"),
    ("keep_reason", "obs.run.keep_reason"),
    ("inclusion_probability", "obs.run.inclusion_probability"),
    ("sample_rate", "obs.run.sample_rate"),
    ("slim", "obs.run.slim"),
    ("trace_id", ""),
    ("span_id", ""),
    ("input", "obs.run.input"),
    ("input_bytes", "obs.run.input_bytes"),
    ("input_truncated", "obs.run.input_truncated"),
    ("attributes", "obs.run.attributes"),
    ("trace", "obs.run.trace"),
    ("trace_total", "obs.run.trace_total"),
    ("trace_kept", "obs.run.trace_kept"),
    ("trace_bytes", "obs.run.trace_bytes"),
];

/// A record in which every field has a value of its own.
fn full() -> RunRecord {
    let mut full = record("bonus", "3");
    let text = |text: &str| Some(text.into());
    full.realm = Some("acme".into());
    full.strategy_type = Some("chain".into());
    full.strategy_hash = Some("c0ffee".into());
    full.subject = text("user-7");
    full.correlation_id = text("4b0c1f");
    full.parent_run_id = Some(uuid::Uuid::from_u128(7));
    full.status = Status::Error;
    full.error_type = text("E_FULL");
    full.error_message = text("no room");
    full.error_node = text("second");
    full.value = Some(12.5);
    full.case_name = text("big");
    full.trace_id = text("4bf92f3577b34da6a3ce929d0e0e4736");
    full.span_id = text("00f067aa0ba902b7");
    full.input = Some(Json::parse(r#"{"a":1}"#).unwrap());
    full.attributes = Some(Json::parse(r#"{"b":2}"#).unwrap());
    full.trace = Some(Json::parse("[3]").unwrap());
    full
}

fn shown(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(whole) => whole.to_string(),
        Value::DoubleValue(number) => serde_json::json!(number).to_string(),
        Value::BoolValue(switch) => switch.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_says_all_that_a_row_says() {
    let record = full();
    let event = event::of(&record);
    let attributes: BTreeMap<String, String> = event
        .attributes
        .iter()
        .map(|it| {
            let value = it.value.as_ref().unwrap().value.as_ref().unwrap();
            (it.key.clone(), shown(value))
        })
        .collect();
    let serde_json::Value::Object(mut row) = serde_json::to_value(&record).unwrap() else {
        panic!()
    };
    assert_eq!(row.remove("audit"), Some(serde_json::Value::Null), "it is a run");
    for (field, value) in &row {
        let place = PLACES.iter().find(|(name, _)| name == field);
        let (_, key) = place.unwrap_or_else(|| panic!("{field} has no place in an event"));
        if key.is_empty() {
            continue;
        }
        let expected = match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(attributes.get(*key), Some(&expected), "{field}");
    }
    assert_eq!(attributes.len(), PLACES.len() - 2, "{attributes:?}");
    assert_eq!((row.len(), &*event.event_name), (PLACES.len(), "obs.run"));
    assert_eq!(event.trace_id, u128::to_be_bytes(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
    assert_eq!(event.span_id, u64::to_be_bytes(0x00f0_67aa_0ba9_02b7));
    assert_eq!(event.severity_text, "ERROR");
    assert_eq!(i64::try_from(event.time_unix_nano / 1_000), Ok(record.finished_at.as_micros()));
}

#[test]
fn ids_that_are_none_are_left_out() {
    let mut odd = full();
    odd.trace_id = Some("4bf9zz".into());
    odd.span_id = Some("4bf".into());
    let event = event::of(&odd);
    assert!(event.trace_id.is_empty() && event.span_id.is_empty());
}

/// An entry of the audit trail in which every field has a value.
fn entry() -> RunRecord {
    let mut entry = audit_entry("points", "points assigned");
    entry.subject = Some("key-7f3a".into());
    entry
}

#[test]
fn an_event_has_exactly_the_attributes_of_the_registry() {
    let registry = include_str!("../../../../registry/event.yaml");
    for (name, record) in [("obs.run", full()), ("obs.audit", entry())] {
        let event = registry.split(&format!("name: {name}\n")).nth(1).unwrap();
        let event = event.split("  - id: ").next().unwrap();
        let mut stated: Vec<&str> =
            event.lines().filter_map(|line| line.trim().strip_prefix("- ref: ")).collect();
        let event = event::of(&record);
        let mut sent: Vec<&str> = event.attributes.iter().map(|pair| &*pair.key).collect();
        stated.sort_unstable();
        sent.sort_unstable();
        assert_eq!(sent, stated, "{name}");
    }
}

#[test]
fn an_audit_entry_is_an_event_of_its_own_with_the_severity_of_its_level() {
    let severities = AuditLevel::ALL.map(|level| {
        let mut entry = entry();
        entry.audit = Some(level);
        let event = event::of(&entry);
        assert_eq!(event.event_name, "obs.audit");
        let said = |key: &str| {
            let pair = event.attributes.iter().find(|pair| pair.key == key).unwrap();
            shown(pair.value.as_ref().unwrap().value.as_ref().unwrap())
        };
        assert_eq!(
            (said("obs.audit.level"), said("obs.audit.actor")),
            (level.to_string(), "key-7f3a".to_owned())
        );
        assert_eq!(
            (said("obs.audit.message"), said("obs.audit.details")),
            ("points assigned".to_owned(), r#"{"points":12}"#.to_owned())
        );
        assert_eq!(event.trace_id.len(), 16);
        event.severity_text
    });
    assert_eq!(severities, ["INFO", "INFO", "WARN", "ERROR"]);
}
