use serde_json::json;

use super::*;
use crate::{
    KeepPolicy, Rate, Redaction, SubjectKey, Verdict,
    limits::MESSAGE_BYTES_MAX,
    sink::Sink,
    status::Class,
    testing::{TestObs, assert_balanced},
};

fn entry(test: &TestObs) -> RunRecord {
    test.records().pop().unwrap()
}

#[test]
fn an_entry_says_who_did_what_where_and_when() {
    let test = TestObs::new();
    let request = Context::new().with_value(CorrelationId::new("4b0c1f")).attach();
    let audit = test.obs().audit("points").actor("key-7f3a");
    assert_eq!(audit.success("points assigned", &json!({"points": 12})), Ack::Memory);
    drop(request);
    let entry = entry(&test);
    assert_eq!(entry.audit, Some(AuditLevel::Success));
    assert_eq!((&*entry.kind, &*entry.strategy_id), ("audit", "points"));
    assert_eq!(entry.error_message.as_deref(), Some("points assigned"));
    assert_eq!(entry.attributes.unwrap().as_str(), r#"{"points":12}"#);
    assert_eq!(entry.subject.as_deref(), Some("key-7f3a"));
    assert_eq!(entry.correlation_id.as_deref(), Some("4b0c1f"));
    assert_eq!(entry.run_id.get_version_num(), 7);
    assert_eq!(entry.started_at, crate::Clock::from(test.clock()).wall());
    assert_eq!((entry.trace_id, entry.parent_run_id), (None, None));
}

#[test]
fn what_is_not_said_stays_empty_and_no_details_are_none() {
    let test = TestObs::new();
    test.obs().audit("").info("", &());
    let entry = entry(&test);
    assert_eq!((entry.subject, entry.correlation_id, entry.attributes), (None, None, None));
    assert_eq!((&*entry.strategy_id, entry.error_message.as_deref()), ("unknown", Some("")));
}

#[test]
fn the_callers_own_correlation_id_comes_before_that_of_the_request() {
    let test = TestObs::new();
    let _request = Context::new().with_value(CorrelationId::new("outer")).attach();
    test.obs().audit("points").correlation_id("own").info("x", &());
    assert_eq!(entry(&test).correlation_id.as_deref(), Some("own"));
}

#[test]
fn an_entry_that_is_written_in_a_run_names_the_run_and_its_trace() {
    let test = TestObs::with(|builder| builder.current_run(true)).unwrap();
    let audit = test.obs().audit("points");
    let strategy = test.obs().kind("dsl").lookup("bonus", "3");
    let done: Result<Uuid, String> = strategy.observe(&(), |run| {
        audit.info("inside", &());
        Ok(run.id())
    });
    let run_id = done.unwrap();
    let entries = test.records();
    let inside = entries.iter().find(|entry| entry.audit.is_some()).unwrap();
    assert_eq!(inside.parent_run_id, Some(run_id));
    let trace = format!("{:032x}", span_ids::trace_id_of(run_id));
    assert_eq!(inside.trace_id.as_deref(), Some(&*trace));
}

#[test]
fn entries_of_every_level_are_kept_whatever_the_rates_are_and_are_no_runs() {
    const ENTRIES: u64 = 500;
    let never = KeepPolicy { ok_rate: Rate::new(0.0).unwrap(), first: 0, ..KeepPolicy::default() };
    let test = TestObs::with(|builder| builder.policy(never)).unwrap();
    let audit = test.obs().audit("points");
    for _ in 0..ENTRIES {
        for level in AuditLevel::ALL {
            assert_eq!(audit.write(level, "the same again", &json!({"n": 1})), Ack::Memory);
        }
    }
    let ledger = test.obs().ledger();
    assert_eq!(test.records().len() as u64, 4 * ENTRIES);
    assert!(test.records().iter().all(|entry| entry.attributes.is_some() && !entry.slim));
    assert_eq!((ledger.audit, ledger.error.recorded), (4 * ENTRIES, 4 * ENTRIES));
    assert_eq!((ledger.error.persisted, ledger.error.sampled_out), (4 * ENTRIES, 0));
    assert_eq!((ledger.ok.recorded, ledger.runs.started, ledger.runs.finished), (0, 0, 0));
    assert_balanced(test.obs());
}

#[test]
fn an_entry_is_of_the_class_of_errors_whatever_its_level() {
    let test = TestObs::new();
    for level in AuditLevel::ALL {
        test.obs().audit("points").write(level, "x", &());
        assert_eq!(entry(&test).class(), Class::Error, "{level}");
    }
}

#[test]
fn a_message_and_details_that_are_too_long_are_cut_and_stay_valid() {
    let test = TestObs::new();
    let message = "é".repeat(MESSAGE_BYTES_MAX);
    let details = json!({"list": vec!["0123456789"; 10_000]});
    let audit =
        test.obs().audit("points").actor(&"a".repeat(1_000)).correlation_id(&"c".repeat(1_000));
    audit.info(&message, &details);
    let entry = entry(&test);
    assert_eq!(entry.error_message.unwrap().len(), MESSAGE_BYTES_MAX);
    let stored = entry.attributes.unwrap();
    assert!(stored.as_str().len() <= AUDIT_DETAILS_BYTES_MAX, "{}", stored.as_str().len());
    let stored: serde_json::Value = serde_json::from_str(stored.as_str()).unwrap();
    assert!(stored.get("$truncated").is_some(), "{stored}");
    assert_eq!(entry.subject.unwrap().len(), SUBJECT_BYTES_MAX);
    assert_eq!(entry.correlation_id.unwrap().len(), SUBJECT_BYTES_MAX);
}

#[test]
fn nul_and_numbers_that_are_none_do_not_reach_a_store() {
    let test = TestObs::new();
    test.obs().audit("points").actor("a\0b").info("x\0y", &json!({"k": "\0"}));
    let entry = entry(&test);
    let texts = [entry.error_message.unwrap(), entry.subject.unwrap()];
    assert!(texts.iter().all(|text| !text.contains('\0')), "{texts:?}");
    assert!(!entry.attributes.unwrap().as_str().contains("\\u0000"));
    test.obs().audit("points").info("x", &f64::NAN);
    assert_eq!(self::entry(&test).attributes, None, "it became null");
}

#[test]
fn secrets_are_taken_out_of_message_details_and_actor() {
    const SECRET: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let test = TestObs::new();
    let audit = test.obs().audit("keys").actor(SECRET);
    audit.warn(&format!("key {SECRET} used"), &json!({"password": "hunter2", "note": SECRET}));
    let entry = entry(&test);
    assert_eq!(entry.subject.as_deref(), Some(REDACTED));
    let all = serde_json::to_string(&entry).unwrap();
    assert!(!all.contains("hunter2") && !all.contains(SECRET), "{all}");
    assert!(entry.error_message.unwrap().starts_with("key [redacted]"));
    // An `@` does not make an address of it.
    for actor in [format!("{SECRET}@ci"), format!("ci@{SECRET}"), format!("a@{SECRET}@b")] {
        test.obs().audit("keys").actor(&actor).info("x", &());
        assert_eq!(self::entry(&test).subject.as_deref(), Some(REDACTED), "{actor}");
    }
}

#[test]
fn an_actor_is_stored_as_subjects_are_so_that_both_are_erased_together() {
    let test = TestObs::new();
    for actor in ["user-7", "ada@example.org"] {
        test.obs().audit("points").actor(actor).info("x", &());
        assert_eq!(entry(&test).subject.as_deref(), Some(actor));
    }
    let key = SubjectKey::new(b"0123456789abcdef").unwrap();
    let hashed = TestObs::with(|builder| builder.subject_key(key.clone())).unwrap();
    hashed.obs().audit("points").actor("user-7").info("x", &());
    assert_eq!(entry(&hashed).subject, Some(key.hash("user-7")));
}

#[test]
fn a_hook_that_panics_costs_what_it_would_have_looked_at_and_never_the_entry() {
    let redaction = Redaction::default().hook(|_| -> Verdict { panic!("broken") });
    let test = TestObs::with(|builder| builder.redaction(redaction)).unwrap();
    test.obs().audit("points").info("who knows", &json!({"a": "b"}));
    let entry = entry(&test);
    assert_eq!((entry.error_message.as_deref(), entry.attributes), (Some(REDACTED), None));
}

#[test]
fn with_rows_off_an_entry_is_refused_and_counted_and_a_dry_run_leaves_no_mark() {
    let off = Ack::Refused(DropReason::Disabled);
    let test = TestObs::with(|builder| builder.recording(Recording::MetricsOnly)).unwrap();
    assert_eq!(test.obs().audit("points").error("x", &()), off);
    let ledger = test.obs().ledger();
    assert_eq!((ledger.audit, ledger.error.dropped.of(DropReason::Disabled)), (1, 1));
    assert_balanced(test.obs());
    let test = TestObs::with(|builder| builder.recording(Recording::Nothing)).unwrap();
    assert_eq!(test.obs().audit("points").error("x", &()), off);
    assert_eq!((test.obs().ledger().audit, test.records().len()), (0, 0));
}

#[test]
fn details_that_panic_and_a_sink_that_panics_do_not_reach_the_caller() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("broken")
        }
    }
    #[derive(Debug)]
    struct Panics;
    impl Sink for Panics {
        fn submit(&self, _kept: Kept) -> Ack {
            panic!("broken")
        }
        fn capacity(&self, _class: Class) -> u64 {
            0
        }
    }
    let test = TestObs::new();
    assert_eq!(test.obs().audit("points").info("x", &Broken), Ack::Memory);
    assert!(entry(&test).attributes.unwrap().as_str().contains("$unencodable"));
    let obs = crate::Obs::builder().sink(Arc::new(Panics)).build().unwrap();
    let ack = obs.audit("points").info("x", &());
    assert_eq!(ack, Ack::Refused(DropReason::Abandoned));
    assert_eq!(obs.ledger().error.dropped.of(DropReason::Abandoned), 1);
    assert_balanced(&obs);
}

#[test]
fn words_and_serde_names_of_levels_are_the_same() {
    for level in AuditLevel::ALL {
        assert_eq!(serde_json::to_string(&level).unwrap(), format!("\"{level}\""));
    }
}
