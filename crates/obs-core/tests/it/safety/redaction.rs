//! What was told to be secret, or looks like it, is in no record.

use std::{collections::BTreeMap, fmt};

use obs_core::{
    FinishedRun, KeepPolicy, Place, Rate, Redaction, RunFailure, RunRecord, Verdict,
    testing::TestObs,
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::support::{Measured, measured as measured_with};

const SECRET: &str = "hunter2";
const MAIL: &str = "bob@example.com";

fn redacting(redaction: Redaction) -> TestObs {
    let keep = KeepPolicy { ok_rate: Rate::new(1.0).unwrap(), ..KeepPolicy::default() };
    TestObs::with(|builder| builder.policy(keep).redaction(redaction)).unwrap()
}

fn measured(change: impl FnOnce(obs_core::Builder) -> obs_core::Builder) -> Measured {
    measured_with(false, change).unwrap()
}

/// The record of a run with this input.
fn record_of<I: Serialize>(redaction: Redaction, input: &I) -> RunRecord {
    let test = redacting(redaction);
    let _: Result<(), String> =
        test.obs().kind("dsl").lookup("bonus", "3").observe(input, |_| Ok(()));
    test.records().remove(0)
}

fn input_of<I: Serialize>(redaction: Redaction, input: &I) -> Value {
    serde_json::from_str(record_of(redaction, input).input.unwrap().as_str()).unwrap()
}

#[derive(Serialize)]
struct Login {
    user: u32,
    password: &'static str,
    nested: Nested,
    tags: Vec<&'static str>,
}

#[derive(Serialize)]
struct Nested {
    #[serde(rename = "X-Api-Key")]
    api_key: Option<u64>,
    secret_parts: Vec<u8>,
    safe: bool,
}

#[derive(Serialize)]
enum Shape {
    Token(&'static str),
    Card { number: &'static str },
    Cookies(u8, &'static str),
    Plain { text: &'static str },
}

/// A value that is a `Display`.
struct Shown(&'static str);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| write!(f, "{c}"))
    }
}

impl Serialize for Shown {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[test]
fn values_under_listed_names_are_gone_whatever_they_are() {
    let login = Login {
        user: 7,
        password: SECRET,
        nested: Nested { api_key: Some(1), secret_parts: vec![1, 2], safe: true },
        tags: vec!["a"],
    };
    assert_eq!(
        input_of(Redaction::default(), &login),
        json!({
            "user": 7, "password": "[redacted]",
            "nested": {"X-Api-Key": "[redacted]", "secret_parts": "[redacted]", "safe": true}, "tags": ["a"],
        })
    );
    let shapes = [
        Shape::Token(SECRET),
        Shape::Card { number: SECRET },
        Shape::Cookies(1, SECRET),
        Shape::Plain { text: "x" },
    ];
    assert_eq!(
        input_of(Redaction::default(), &shapes),
        json!([{"Token": "[redacted]"}, {"Card": "[redacted]"}, {"Cookies": "[redacted]"}, {"Plain": {"text": "x"}}])
    );
    assert_eq!(
        input_of(
            Redaction::default(),
            &BTreeMap::from([("userToken", json!({"a": [SECRET]})), ("b", json!(null))])
        ),
        json!({"userToken": "[redacted]", "b": null})
    );
}

#[test]
fn json_text_inside_of_a_value_is_looked_at_too() {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    for (text, safe) in [
        (r#"{"password" : {"a":[1,"}"]}, "b":2}"#, r#"{"password":"[redacted]","b":2}"#),
        (
            r#"{"pass\u0077ord":"hun\"ter2","b":[true,null]}"#,
            r#"{"password":"[redacted]","b":[true,null]}"#,
        ),
        (r#"{"token":-1.5e3,"token2":false}"#, r#"{"token":"[redacted]","token2":"[redacted]"}"#),
        (r#"["bob@exam\u0070le.com",4111111111111111]"#, r#"["[redacted]","[redacted]"]"#),
        (r#"{"bob@example.com":1}"#, r#"{"[redacted]":1}"#),
    ] {
        let record = record_of(Redaction::default(), &json!(null));
        assert_eq!(record.input, None);
        let record = record_of(Redaction::default(), &raw(text));
        assert_eq!(record.input.unwrap().as_str(), safe, "{text}");
    }
}

#[test]
fn what_looks_like_a_secret_is_gone_from_every_text_of_a_row_and_counted() {
    let measured = measured(|builder| builder);
    let bonus = measured.test.obs().kind("dsl").lookup("bonus", "3");
    let mut run = bonus.start_with(json!({"note": MAIL, "n": 4_111_111_111_111_111_u64, MAIL: 1}));
    run.attribute("contact", MAIL).attribute("password", SECRET).case(MAIL);
    run.node("n1").value(&json!({"password": SECRET, "mail": MAIL}));
    run.node(MAIL).kind("k").branch(MAIL).value(&Shown(MAIL));
    let _ = run.finish_with(Err::<(), _>(()), |()| {
        RunFailure::error(format!("unknown user {MAIL}"))
            .message(format!("of {MAIL}: password={SECRET}"))
            .node(MAIL)
    });
    let record = measured.test.records().remove(0);
    let row = serde_json::to_string(&record).unwrap();
    assert!(!row.contains(SECRET) && !row.contains("bob") && !row.contains("4111"), "{row}");
    assert_eq!(record.error_type.as_deref(), Some("unknown_user__redacted_"));
    assert_eq!(record.error_message.as_deref(), Some("of [redacted]: password=[redacted]"));
    assert_eq!(record.error_node.as_deref(), Some("[redacted]"));
    assert_eq!(record.case_name.as_deref(), Some("[redacted]"));
    let trace: Value = serde_json::from_str(record.trace.unwrap().as_str()).unwrap();
    assert_eq!(trace[0]["value"], json!({"password": "[redacted]", "mail": "[redacted]"}));
    assert_eq!(trace[1]["value"], json!("[redacted]"));
    assert_eq!((&trace[1]["seq"], &trace[1]["type"]), (&json!(1), &json!("k")));
    let export = measured.export();
    // Three in the input, two attributes, the case, two and three in the trace, two in the message, the node.
    assert_eq!(export.at("obs.record.sanitized", &[("reason", "redacted")]), Some(14.0));
    let labels = format!("{:?}", export.numbers);
    assert!(labels.contains("unknown_user__redacted_") && !labels.contains(MAIL), "{labels}");
    measured.test.assert_balanced();
}

#[test]
fn panic_messages_and_runs_from_elsewhere_are_looked_at_too() {
    let test = redacting(Redaction::default());
    let bonus = test.obs().kind("dsl").lookup("bonus", "3");
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bonus.observe(&(), |_| -> Result<(), String> {
            panic!("cannot reach postgres://app:{SECRET}@db/obs")
        })
    }));
    bonus.record(FinishedRun {
        input: Some(json!({"password": SECRET})),
        attributes: vec![("cookie".to_owned(), SECRET.into())],
        trace: vec![obs_core::FinishedNode { value: Some(json!([MAIL])), ..Default::default() }],
        keep: true,
        ..FinishedRun::default()
    });
    let records = test.records();
    assert_eq!(
        records[0].error_message.as_deref(),
        Some("cannot reach postgres://[redacted]@db/obs")
    );
    let row = serde_json::to_string(&records[1]).unwrap();
    assert!(!row.contains(SECRET) && !row.contains("bob"), "{row}");
}

#[test]
fn a_value_that_is_cut_is_looked_at_before_the_cut() {
    let long = json!({"user": 7, "password": SECRET, "mail": MAIL, "zpad": "x".repeat(100_000), "token": SECRET});
    let record = record_of(Redaction::default(), &vec![&long; 6]);
    let row = serde_json::to_string(&record).unwrap();
    assert!(record.input_truncated && !row.contains(SECRET) && !row.contains("bob"), "{row:.300}");
    let test = redacting(Redaction::default());
    let mut run = test.obs().kind("dsl").lookup("bonus", "3").start();
    run.node("n1").value(&long);
    // The cut lies inside of the secret.
    for pad in 1_700..2_000 {
        run.node("n2")
            .value(&json!({"a": "y".repeat(pad), "b": {"password": "hunter2-hunter2-hunter2"}}));
    }
    run.finish(Ok::<_, String>(())).unwrap();
    let trace = test.records().remove(0).trace.unwrap();
    let text = trace.as_str();
    assert!(
        text.contains("$head") && text.contains(r#"\"password\":\"[redacted]\""#),
        "{text:.600}"
    );
    assert!(!text.contains("hunter") && !text.contains("bob"));
}

#[test]
fn a_trace_that_gets_longer_still_fits_and_a_failure_keeps_its_end() {
    for failed in [false, true] {
        let test = redacting(Redaction::default().also(["a", "b", "c", "d"]));
        let mut run = test.obs().kind("dsl").lookup("bonus", "3").start();
        for node in 0..190 {
            let entry: Vec<_> = (0..12).map(|_| json!({"a": 1, "b": 2, "c": 3, "d": 4})).collect();
            run.node(&node.to_string()).value(&entry);
        }
        let result = if failed { Err("no".to_owned()) } else { Ok(()) };
        let _ = run.finish(result);
        let record = test.records().remove(0);
        let trace = record.trace.unwrap();
        let entries: Vec<Value> = serde_json::from_str(trace.as_str()).unwrap();
        assert!(trace.as_str().len() <= 64 * 1024, "{}", trace.as_str().len());
        assert!(trace.as_str().len() > 60 * 1024, "{}", trace.as_str().len());
        assert_eq!(record.trace_kept, entries.len() as u64);
        assert_eq!((record.trace_total, &entries[0]["node"]), (190, &json!("0")));
        let last = entries.last().unwrap()["node"].as_str().unwrap();
        assert_eq!(last == "189", failed, "{last}");
    }
}

#[test]
fn lists_are_replaced_extended_and_switched_off() {
    let input = json!({"salary": 1, "password": 2, "mail": MAIL});
    let row = |redaction| input_of(redaction, &input);
    assert_eq!(
        row(Redaction::default().keys(["salary"])),
        json!({"salary": "[redacted]", "password": 2, "mail": "[redacted]"})
    );
    assert_eq!(
        row(Redaction::default().also(["Salary"])),
        json!({"salary": "[redacted]", "password": "[redacted]", "mail": "[redacted]"})
    );
    assert_eq!(row(Redaction::default().keys([""; 0]).patterns(false)), input);
}

#[test]
fn with_an_allow_list_only_what_is_below_its_names_is_stored() {
    let redaction = || Redaction::default().allow_only(["mag", "place", "_flags"]);
    let input = json!({
        "mag": 5.1, "depth": 10, "name": "x", "none": null, "felt": true,
        "place": {"country": "IS", "at": [1, 2], "password": SECRET, "mail": MAIL},
        "after": [1, {"mag": 4.5}, "x"], "flags": [true],
    });
    let expected = json!({
        "mag": 5.1, "depth": "[redacted]", "name": "[redacted]", "none": null, "felt": "[redacted]",
        "place": {"country": "IS", "at": [1, 2], "password": "[redacted]", "mail": "[redacted]"},
        "after": ["[redacted]", {"mag": 4.5}, "[redacted]"], "flags": [true],
    });
    assert_eq!(input_of(redaction(), &input), expected);
    let raw = RawValue::from_string(input.to_string()).unwrap();
    assert_eq!(input_of(redaction(), &raw), expected, "JSON text is treated alike");
    assert_eq!(input_of(redaction(), &"alone"), json!("[redacted]"));

    let test = redacting(redaction());
    let mut run = test.obs().kind("dsl").lookup("bonus", "3").start();
    run.attribute("mag", 5.1).attribute("other", 1);
    run.node("n1").kind("compare").branch("match").value(&json!({"mag": 5.1, "other": 1}));
    run.node("n2").value(&7);
    let _ = run.finish(Err::<(), _>("what happened".to_owned()));
    let record = test.records().remove(0);
    assert_eq!(record.attributes.unwrap().as_str(), r#"{"mag":5.1,"other":"[redacted]"}"#);
    assert_eq!(record.error_message.as_deref(), Some("[redacted]"));
    let trace: Value = serde_json::from_str(record.trace.unwrap().as_str()).unwrap();
    assert_eq!(trace[0]["value"], json!({"mag": 5.1, "other": "[redacted]"}));
    assert_eq!((&trace[0]["type"], &trace[1]["node"]), (&json!("compare"), &json!("n2")));
    assert_eq!(trace[1]["value"], json!("[redacted]"));
}

#[test]
fn a_hook_sees_texts_and_numbers_with_their_names_and_decides() {
    let redaction = Redaction::default().hook(|field| match (field.place, field.key, field.text) {
        (Place::Input, Some("age"), "42") => Verdict::Redact,
        (_, _, text) if text.contains("Ms Jones") => Verdict::Replace("someone".to_owned()),
        (Place::Input, _, "[redacted]") => panic!("what is under a listed name is not asked about"),
        _ => Verdict::Keep,
    });
    let test = redacting(redaction);
    let input = json!({"age": 42, "n": 42, "who": ["Ms Jones", "x"], "password": SECRET});
    let mut run = test.obs().kind("dsl").lookup("bonus", "3").start_with(input);
    run.attribute("who", "Ms Jones");
    run.node("n1").value("Ms Jones");
    let _ = run.finish(Err::<(), _>("Ms Jones is not known".to_owned()));
    let record = test.records().remove(0);
    assert_eq!(
        serde_json::from_str::<Value>(record.input.unwrap().as_str()).unwrap(),
        json!({"age": "[redacted]", "n": 42, "who": ["someone", "x"], "password": "[redacted]"})
    );
    assert_eq!(record.attributes.unwrap().as_str(), r#"{"who":"someone"}"#);
    assert_eq!(record.error_message.as_deref(), Some("someone"));
    assert!(record.trace.unwrap().as_str().contains(r#""value":"someone""#));
}

#[test]
fn a_hook_that_panics_costs_the_payload_and_never_the_row() {
    let measured = measured(|builder| {
        builder.redaction(Redaction::default().hook(|field| {
            assert!(!field.text.contains("boom"), "a hook that panics");
            Verdict::Keep
        }))
    });
    let bonus = measured.test.obs().kind("dsl").lookup("bonus", "3");
    let run_with = |input: &str, value: &str, attribute: &str, message: &str| {
        let mut run = bonus.start_with(json!({"a": input, "b": input}));
        run.subject("user-7").attribute("c", attribute.to_owned()).node("n1").value(value);
        let _ = run.finish(Err::<(), _>(message.to_owned()));
    };
    run_with("boom", "x", "x", "x");
    run_with("x", "boom", "x", "x");
    run_with("x", "x", "boom", "x");
    run_with("x", "x", "x", "boom");
    run_with("x", "x", "x", "x");
    let records = measured.test.records();
    assert_eq!(records.len(), 5, "every row is there");
    for record in &records[..4] {
        let payload = (&record.input, &record.attributes, &record.trace, &record.error_message);
        assert_eq!(payload, (&None, &None, &None, &None));
        assert_eq!((record.nodes, record.trace_total, record.trace_kept), (1, 1, 0));
        assert_eq!(record.subject.as_deref(), Some("user-7"));
    }
    assert!(records[4].input.is_some() && records[4].error_message.is_some());
    let export = measured.export();
    assert_eq!(export.at("obs.record.sanitized", &[("reason", "redactor")]), Some(4.0));
    measured.test.assert_balanced();
}
