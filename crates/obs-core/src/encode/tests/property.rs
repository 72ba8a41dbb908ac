//! What holds for every value, however hostile.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, value::RawValue};

use super::{
    hostile::{PanicKind, Tree},
    *,
};
use crate::encode::raw::rewrite;

/// Characters that something has to be done about are as likely as all others together.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        Just('\0'),
        Just('"'),
        Just('\\'),
        Just('\u{1}'),
        Just('\u{FFFF}'),
        Just('😀'),
        "[ -~]".prop_map(|one| one.chars().next().unwrap()),
        any::<char>(),
    ];
    vec(character, 0..60).prop_map(String::from_iter)
}

/// JSON text with what only text can hold.
fn raw_text() -> impl Strategy<Value = String> {
    let string = vec(
        prop_oneof![
            Just(r"\u0000".to_owned()),
            Just(r"\/\b\f".to_owned()),
            (0xD700_u16..=0xE100).prop_map(|unit| format!("\\u{unit:04x}")),
            any::<u16>().prop_map(|unit| format!("\\u{unit:04X}")),
            "[ !#-\\[\\]-~é😀]{0,5}",
        ],
        0..10,
    );
    let string = string.prop_map(|parts| format!("\"{}\"", parts.concat()));
    let number = prop_oneof![
        r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,6})?",
        "[1-9][0-9]{290,320}",
        r"[1-9]\.[0-9]{1,20}e30[78]",
    ];
    let leaf =
        prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number, string.clone()];
    leaf.prop_recursive(12, 60, 6, move |inner| {
        let entry = (string.clone(), inner.clone()).prop_map(|(key, value)| key + "\t: " + &value);
        prop_oneof![
            vec(inner, 0..6).prop_map(|parts| format!("[ {} ]", parts.join(" ,"))),
            vec(entry, 0..6).prop_map(|parts| format!("{{\n{} }}", parts.join(" ,\r"))),
        ]
    })
}

fn raw_value() -> impl Strategy<Value = Box<RawValue>> {
    raw_text().prop_map(|text| RawValue::from_string(text).unwrap())
}

fn leaf() -> impl Strategy<Value = Tree> {
    prop_oneof![
        2 => Just(Tree::Null),
        2 => any::<bool>().prop_map(Tree::Bool),
        2 => any::<i128>().prop_map(Tree::Signed),
        2 => any::<u128>().prop_map(Tree::Unsigned),
        8 => proptest::num::f64::ANY.prop_map(Tree::Double),
        4 => proptest::num::f32::ANY.prop_map(Tree::Single),
        8 => text().prop_map(Tree::Text),
        4 => text().prop_map(Tree::Shown),
        2 => vec(any::<u8>(), 0..20).prop_map(Tree::Bytes),
    ]
}

fn grow(
    leaf: impl Strategy<Value = Tree> + 'static,
    key: impl Strategy<Value = Tree> + Clone + 'static,
) -> impl Strategy<Value = Tree> {
    leaf.prop_recursive(12, 80, 8, move |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 0..8).prop_map(Tree::Array),
            3 => vec((key.clone(), inner.clone()), 0..8).prop_map(Tree::Map),
            1 => inner.clone().prop_map(|tree| Tree::Variant(Box::new(tree))),
            1 => inner.prop_map(|tree| Tree::Some(Box::new(tree))),
        ]
    })
}

/// Trees in which nothing fails, except where a float that is not finite is a key.
fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![40 => leaf(), 10 => raw_value().prop_map(Tree::Raw)];
    let key = prop_oneof![text().prop_map(Tree::Text), any::<i128>().prop_map(Tree::Signed)];
    grow(leaf, key)
}

/// Trees in which anything may fail.
fn failing_tree() -> impl Strategy<Value = Tree> {
    let failing = prop_oneof![
        Just(Tree::Fails),
        Just(Tree::Panics(PanicKind::Text)),
        Just(Tree::Panics(PanicKind::InDisplay)),
        Just(Tree::Panics(PanicKind::PayloadPanicsWhenDropped)),
    ];
    grow(prop_oneof![20 => leaf(), 1 => failing], leaf().boxed())
}

fn limits() -> impl Strategy<Value = EncodeLimits> {
    (0_usize..2_000, 0_usize..80, 0_usize..12).prop_map(
        |(bytes_max, string_bytes_max, depth_max)| EncodeLimits {
            bytes_max,
            string_bytes_max,
            depth_max,
            walk_bytes_max: WALK_BYTES_MAX,
        },
    )
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(parts) => 1 + parts.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().flat_map(texts).collect(),
        Value::Object(entries) => {
            entries.iter().flat_map(|(key, value)| [vec![&**key], texts(value)].concat()).collect()
        }
        _ => vec![],
    }
}

/// Parsing is what finds lone surrogates, numbers out of range and bad syntax.
fn assert_valid(outcome: &Outcome, limits: EncodeLimits) -> Result<(), TestCaseError> {
    let value: Value = serde_json::from_str(&outcome.text)
        .map_err(|error| TestCaseError::fail(format!("{error}: {}", outcome.text)))?;
    prop_assert!(outcome.text.len() <= limits.bytes_max.max(BYTES_FLOOR));
    prop_assert!(depth(&value) <= limits.depth_max + 2, "with two levels for a marker");
    for text in texts(&value) {
        prop_assert!(!text.contains('\0'));
        let is_ours = text.starts_with('$') || value.get("$head").is_some();
        prop_assert!(is_ours || text.len() <= limits.string_bytes_max.max(40), "{text}");
    }
    let incomplete = outcome.changed.size + outcome.changed.depth + outcome.changed.encode > 0;
    prop_assert_eq!(outcome.encoded.truncated, incomplete, "what is missing is counted");
    if !incomplete {
        prop_assert_eq!(outcome.encoded.bytes_total, outcome.text.len() as u64);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tree_becomes_valid_json_within_the_limits(tree in tree(), limits in limits()) {
        let outcome = encode_with(&tree, limits);
        assert_valid(&outcome, limits)?;
        prop_assert_eq!(outcome.changed.encode, 0);
    }

    #[test]
    fn every_tree_that_may_fail_becomes_valid_json_within_the_limits(
        tree in failing_tree(),
        limits in limits(),
    ) {
        assert_valid(&encode_with(&tree, limits), limits)?;
    }

    #[test]
    fn a_tree_that_needs_no_repair_is_what_serde_json_writes(tree in grow(leaf(), leaf().boxed())) {
        let outcome = encode(&tree);
        match serde_json::to_string(&tree) {
            Ok(expected) if outcome.changed == CLEAN => prop_assert_eq!(outcome.text, expected),
            Ok(expected) => {
                prop_assert!(expected.contains("null") || expected.contains("\\u0000"));
            }
            Err(_) => prop_assert_eq!(outcome.text, UNENCODABLE),
        }
    }

    #[test]
    fn raw_json_keeps_its_meaning(raw in raw_value()) {
        let outcome = encode(&raw);
        assert_valid(&outcome, LIMITS)?;
        if outcome.changed == CLEAN {
            let expected: Value = serde_json::from_str(raw.get()).unwrap();
            let found: Value = serde_json::from_str(&outcome.text).unwrap();
            prop_assert_eq!(found, expected);
        } else {
            let parsed = serde_json::from_str::<Value>(raw.get());
            let has_nul = parsed.is_ok_and(|value| texts(&value).iter().any(|t| t.contains('\0')));
            let exponent = raw.get().contains(['e', 'E']);
            prop_assert!(has_nul || exponent || serde_json::from_str::<Value>(raw.get()).is_err());
        }
    }

    #[test]
    fn text_that_was_not_checked_does_no_harm(text in "[\\[\\]{}\",:\\\\u0d8ce+. é\0-]{0,40}|.{0,40}") {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, &EncodeLimits { depth_max: 3, ..LIMITS });
        prop_assert!(rewrite(&mut encoder, &text).is_ok());
        drop(encoder);
        prop_assert!(out.iter().all(|byte| *byte >= 0x20), "{:?}", out);
    }

    #[test]
    fn every_text_is_cleaned_within_the_limit(text in text(), bytes_max in 0_usize..100) {
        let mut changed = Sanitized::default();
        let clean = clean_text(&text, bytes_max, &mut changed);
        prop_assert!(clean.len() <= bytes_max && !clean.contains('\0'));
        let whole = text.replace('\0', "\u{FFFD}");
        prop_assert!(whole.starts_with(&*clean));
        prop_assert_eq!(changed.size > 0, clean.len() < whole.len());
        let mut out = Vec::new();
        write_json_str(&mut out, &text, bytes_max, &mut changed);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), clean);
    }
}
