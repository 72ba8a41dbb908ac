//! How much of an input is stored.

use obs_core::{Capture, KindSpec, Obs, SubjectKey, testing::TestObs};
use serde_json::{Value, json, value::RawValue};

fn input() -> Value {
    json!({"age": 42, "other": 42, "name": "Ms Jones", "again": ["Ms Jones", "x"], "ok": true, "none": null, "password": "p"})
}

/// The input of a run, as it is stored.
fn stored(test: &TestObs, kind: &str, input: &impl serde::Serialize) -> Option<Value> {
    let _: Result<(), String> = test.obs().kind(kind).lookup("bonus", "3").observe(input, |run| {
        run.keep();
        Ok(())
    });
    let record = test.records().pop().unwrap();
    record.input.map(|json| serde_json::from_str(json.as_str()).unwrap())
}

fn capturing(capture: Capture) -> TestObs {
    let key = SubjectKey::new(b"0123456789abcdef").unwrap();
    TestObs::with(|builder| builder.capture_input(capture).subject_key(key)).unwrap()
}

#[test]
fn by_default_inputs_are_stored_redacted() {
    let mut expected = input();
    expected["password"] = json!("[redacted]");
    assert_eq!(stored(&TestObs::new(), "dsl", &input()), Some(expected));
}

#[test]
fn the_shape_says_names_types_lengths_and_what_is_equal() {
    let test = capturing(Capture::Shape);
    let shape = stored(&test, "dsl", &input()).unwrap();
    let text = |key: &str| shape[key].as_str().unwrap().to_owned();
    assert!(
        text("age").starts_with("number:") && text("age").len() == "number:".len() + 16,
        "{shape}"
    );
    assert_eq!(shape["age"], shape["other"]);
    assert!(text("name").starts_with("string:8:"), "{shape}");
    assert_eq!(shape["name"], shape["again"][0]);
    assert_ne!(shape["name"], shape["again"][1]);
    let rest = (&shape["ok"], &shape["none"], &shape["password"]);
    assert_eq!(rest, (&json!("boolean"), &json!(null), &json!("[redacted]")));
    let whole = shape.to_string();
    assert!(!whole.contains("Jones") && !whole.contains("42"), "{whole}");
    let raw = RawValue::from_string(input().to_string()).unwrap();
    assert_eq!(stored(&test, "dsl", &raw), Some(shape.clone()), "JSON text has the same shape");
    assert_eq!(
        stored(&capturing(Capture::Shape), "dsl", &input()),
        Some(shape.clone()),
        "one key, one hash"
    );
    let without_key = || TestObs::with(|builder| builder.capture_input(Capture::Shape)).unwrap();
    assert_ne!(stored(&without_key(), "dsl", &input()), stored(&without_key(), "dsl", &input()));
    assert!(
        !whole.contains(&SubjectKey::new(b"0123456789abcdef").unwrap().hash("Ms Jones")[12..28])
    );
}

#[test]
fn a_kind_decides_for_itself_and_off_stores_nothing() {
    let test = capturing(Capture::Off);
    let define = |obs: &Obs, name: &str, capture| {
        obs.define_kind(KindSpec::new(name).capture_input(capture))
    };
    define(test.obs(), "kept", Capture::Redacted).unwrap();
    define(test.obs(), "shaped", Capture::Shape).unwrap();
    assert_eq!(stored(&test, "dsl", &"x"), None);
    assert_eq!(test.records()[0].input_bytes, 0);
    assert_eq!(stored(&test, "kept", &"x"), Some(json!("x")));
    assert!(stored(&test, "shaped", &"x").unwrap().as_str().unwrap().starts_with("string:1:"));
    assert_eq!(stored(&test, "kept", &()), None);
}
