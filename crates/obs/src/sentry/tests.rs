use obs_core::{Json, Status, testing::record};
use serde_json::Value;

use super::*;

fn failed() -> RunRecord {
    let mut record = record("bonus", "3");
    record.status = Status::Timeout;
    record.error_type = Some("db.timeout".into());
    record.error_message = Some("no answer".into());
    record.error_node = Some("load".into());
    record.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
    record.trace =
        Some(Json::parse(r#"[{"node":"first","type":"if","branch":"yes","value":7},{"node":"load","seq":1,"offset_us":3}]"#).unwrap());
    record
}

#[test]
fn tags_have_the_names_that_spans_and_events_have() {
    let mut record = failed();
    record.correlation_id = Some("4b0c1f".into());
    let [_, _, event] = lines(&Item::Event(Arc::new(record)), &event::Service::default());
    for (name, value) in [("obs.run.correlation_id", "4b0c1f"), ("obs.run.error_node", "load")] {
        assert_eq!(event["tags"][name], value);
    }
}

/// The three lines of an envelope.
fn lines(item: &Item, service: &event::Service) -> [Value; 3] {
    let envelope = item.envelope(service, obs_core::Timestamp::from_micros(0));
    let text = String::from_utf8(envelope).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let item: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(item["length"], lines[2].len(), "the length is that of the payload");
    assert!(text.ends_with('\n') && lines.len() == 3);
    [0, 1, 2].map(|line| serde_json::from_str(lines[line]).unwrap())
}

#[test]
fn a_failure_is_an_event_with_its_fingerprint_its_way_and_nothing_that_nodes_computed() {
    let service =
        event::Service { environment: Some("eu".to_owned()), release: Some("orders@1".to_owned()) };
    let record = failed();
    let [head, item, event] = lines(&Item::Event(Arc::new(record.clone())), &service);
    assert_eq!(head["event_id"], record.run_id.simple().to_string());
    assert_eq!(head["sent_at"], "1970-01-01T00:00:00.000Z");
    assert_eq!(item["type"], "event");
    assert_eq!(event["fingerprint"], serde_json::json!(["bonus", "3", "db.timeout", "load"]));
    assert_eq!((&event["environment"], &event["release"]), (&"eu".into(), &"orders@1".into()));
    let exception = &event["exception"]["values"][0];
    assert_eq!(
        (&exception["type"], &exception["value"]),
        (&"db.timeout".into(), &"no answer".into())
    );
    assert_eq!(exception["mechanism"]["type"], "timeout");
    assert_eq!(event["level"], "error");
    let crumbs = event["breadcrumbs"]["values"].as_array().unwrap();
    assert_eq!(
        (crumbs.len(), &crumbs[0]["message"], &crumbs[0]["data"]["branch"]),
        (2, &"first".into(), &"yes".into())
    );
    assert!(
        crumbs
            .iter()
            .all(|crumb| crumb.get("value").is_none() && crumb["data"].get("value").is_none())
    );
    assert_eq!(event["contexts"]["trace"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[test]
fn a_panic_is_fatal_and_not_handled() {
    let mut record = failed();
    record.status = Status::Panicked;
    let [_, _, event] = lines(&Item::Event(Arc::new(record)), &event::Service::default());
    assert_eq!(event["level"], "fatal");
    assert_eq!(event["exception"]["values"][0]["mechanism"]["handled"], false);
    assert!(event.get("environment").is_none() && event.get("user").is_none());
}

#[test]
fn a_transaction_has_the_nodes_as_spans_and_an_id_of_its_own() {
    let record = Arc::new(failed());
    let service = event::Service::default();
    let [_, item, transaction] = lines(&Item::Transaction(Arc::clone(&record)), &service);
    let [_, _, event] = lines(&Item::Event(record), &service);
    assert_eq!(
        (&item["type"], &transaction["type"]),
        (&"transaction".into(), &"transaction".into())
    );
    assert_ne!(transaction["event_id"], event["event_id"]);
    let spans = transaction["spans"].as_array().unwrap();
    assert_eq!((spans.len(), &spans[1]["description"]), (2, &"load".into()));
    assert_eq!(spans[0]["parent_span_id"], transaction["contexts"]["trace"]["span_id"]);
}

#[test]
fn a_transaction_is_of_a_share_of_traces_the_same_ones_everywhere() {
    let of = |trace_rate, trace: u128| {
        let mut record = record("bonus", "3");
        record.trace_id = Some(format!("{trace:032x}").into());
        Taste { trace_rate, personal_data: false }.is_traced(&record)
    };
    assert!(!of(0.0, u128::MAX) && of(1.0, 0));
    let traced =
        (0..1_000_u128).filter(|nth| of(0.25, nth.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c)));
    let traced = traced.count();
    assert!((150..350).contains(&traced), "{traced}");
    let mut outside = record("bonus", "3");
    outside.trace_id = None;
    assert!(!Taste { trace_rate: 1.0, personal_data: false }.is_traced(&outside));
}
