//! A glance decides nothing else than a look: with it and without, documents come out the same.

use std::collections::BTreeMap;

use proptest::{collection, prelude::*, sample};
use serde::Serializer;

use super::{super::encoder::Encoder, *};
use crate::redact::{Redaction, Rules};

/// Names and parts of them, beginnings and ends of secrets, and what needs an escape.
const PIECES: [&str; 44] = [
    "password",
    "pass",
    "word",
    "=pan",
    "pan",
    "Pan",
    "el",
    "api",
    "_",
    "key",
    "-",
    "token",
    "amount",
    "article",
    "größe",
    "eyJ",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi",
    ".",
    "AKIAIOSFODNN7EXAMPLE",
    "AKIA",
    "4111111111111111",
    "4111 1111 1111 1111",
    "411111",
    "7",
    "bob",
    "@",
    "example.com",
    "://",
    ":",
    "=",
    "/",
    "-----BEGIN ",
    "-----END ",
    "sk_live_",
    "sk-",
    "ghp_",
    "xoxb-",
    "4eC39HqLyjWDarjtT1zdp7dc",
    "Authorization: ",
    "\"",
    "\\",
    "\0",
    "\u{1}",
    " ",
];

fn text() -> impl Strategy<Value = String> {
    collection::vec(sample::select(&PIECES[..]), 0..5).prop_map(|pieces| pieces.concat())
}

/// What a document can be made of, with keys in their order and as often as they come.
#[derive(Clone, Debug)]
enum Part {
    Null,
    Truth(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    Shown(String),
    Some(Box<Self>),
    Items(Vec<Self>),
    Object(Vec<(String, Self)>),
    Numbered(BTreeMap<u64, Self>),
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Truth(truth) => serializer.serialize_bool(*truth),
            Self::Whole(number) => serializer.serialize_i64(*number),
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Shown(text) => serializer.collect_str(text),
            Self::Some(part) => serializer.serialize_some(part),
            Self::Items(items) => serializer.collect_seq(items),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(k, v)| (k, v))),
            Self::Numbered(fields) => serializer.collect_map(fields),
        }
    }
}

fn part() -> impl Strategy<Value = Part> {
    let leaf = prop_oneof![
        Just(Part::Null),
        any::<bool>().prop_map(Part::Truth),
        prop_oneof![any::<i64>(), -9..99_i64, Just(4_111_111_111_111_111), Just(4_222_222_222_222)]
            .prop_map(Part::Whole),
        prop_oneof![any::<f64>(), Just(4_111_111_111_111_111.0), Just(12.5)].prop_map(Part::Number),
        text().prop_map(Part::Text),
        text().prop_map(Part::Text),
        text().prop_map(Part::Shown),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            inner.clone().prop_map(|part| Part::Some(Box::new(part))),
            collection::vec(inner.clone(), 0..6).prop_map(Part::Items),
            collection::vec((text(), inner.clone()), 0..6).prop_map(Part::Object),
            collection::btree_map(any::<u64>(), inner, 0..3).prop_map(Part::Numbered),
        ]
    })
}

fn limits() -> impl Strategy<Value = EncodeLimits> {
    prop_oneof![
        Just(LIMITS),
        (BYTES_FLOOR..400, 1..40_usize, 0..5_usize, 100..900_u64).prop_map(
            |(bytes_max, string_bytes_max, depth_max, walk_bytes_max)| EncodeLimits {
                bytes_max,
                string_bytes_max,
                depth_max,
                walk_bytes_max,
            }
        ),
    ]
}

fn outcome(value: &Part, limits: &EncodeLimits, redact: Redact<'_>, glances: bool) -> Outcome {
    let (mut out, mut changed) = (Vec::new(), Sanitized::default());
    let mut encoder = Encoder::guarded(&mut out, limits, redact);
    if !glances {
        encoder.look_at_everything();
    }
    let encoded = walk(value, &mut encoder, &mut changed);
    drop(encoder);
    Outcome { text: String::from_utf8(out).unwrap(), encoded, changed }
}

fn rules() -> [Rules; 3] {
    [
        Redaction::default(),
        Redaction::default().patterns(false),
        Redaction::default().keys(["amount", "=el", "7"]),
    ]
    .map(|redaction| redaction.check().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_document_comes_out_as_if_every_text_and_name_were_looked_at(
        value in part(), limits in limits(),
    ) {
        for rules in &rules() {
            for place in [Place::Input, Place::Attributes, Place::Trace] {
                let redact = Redact { rules, place, shapes: None };
                let looked_at = outcome(&value, &limits, redact, false);
                // Names that were met are remembered.
                for round in ["first", "second"] {
                    let seen = outcome(&value, &limits, redact, true);
                    prop_assert_eq!(&seen.text, &looked_at.text, "{}", round);
                    prop_assert_eq!(seen.changed, looked_at.changed);
                    prop_assert_eq!(seen.encoded, looked_at.encoded);
                }
            }
        }
    }

    #[test]
    fn a_document_comes_out_over_another_as_it_does_by_itself(
        values in collection::vec(part(), 2..5), limits in limits(), bytes_max in BYTES_FLOOR..400,
    ) {
        let limits = EncodeLimits { bytes_max, ..limits };
        let rules = Redaction::default().check().unwrap();
        let redact = Redact { rules: &rules, place: Place::Input, shapes: None };
        // Longer than any of the limits.
        let mut over = vec![b'?'; 1_000];
        for value in &values {
            let mut changed = Sanitized::default();
            let (encoded, len) = encode_over(value, (&limits, redact), &mut over, &mut changed);
            let alone = outcome(value, &limits, redact, true);
            prop_assert_eq!(str::from_utf8(&over[..len]).unwrap(), alone.text);
            prop_assert_eq!((encoded, changed), (alone.encoded, alone.changed));
        }
    }

    #[test]
    fn the_text_of_a_trace_comes_out_so_too(value in part()) {
        let text = serde_json::to_string(&value).unwrap();
        for rules in &rules() {
            let redact = Redact { rules, place: Place::Trace, shapes: None };
            let rewritten = |glances: bool| {
                let (mut out, limits) = (Vec::new(), EncodeLimits { depth_max: 120, ..LIMITS });
                let mut encoder = Encoder::guarded(&mut out, &limits, redact);
                if !glances {
                    encoder.look_at_everything();
                }
                super::super::raw::rewrite(&mut encoder, &text).unwrap();
                let changed = encoder.changed;
                drop(encoder);
                (String::from_utf8(out).unwrap(), changed)
            };
            prop_assert_eq!(rewritten(true), rewritten(false));
        }
    }
}
