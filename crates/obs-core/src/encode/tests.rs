//! Each rule of the encoder, at its limit and one past it.

mod edges;
mod glance;
mod hostile;
mod property;
mod raw;

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
};

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap as _, SerializeSeq as _},
};
use serde_json::{Value, json};

use super::{encoder::Encoder, *};
use crate::limits::WALK_BYTES_MAX;
use hostile::{Fails, PanicKind, Panics};

const LIMITS: EncodeLimits = EncodeLimits {
    bytes_max: 64 * 1024,
    string_bytes_max: 16 * 1024,
    depth_max: 64,
    walk_bytes_max: WALK_BYTES_MAX,
};

const CLEAN: Sanitized = Sanitized {
    non_finite: 0,
    nul: 0,
    surrogate: 0,
    size: 0,
    depth: 0,
    encode: 0,
    clock: 0,
    redacted: 0,
    redactor: 0,
    slim: 0,
};

const UNENCODABLE: &str = r#"{"$unencodable":{"reason":"serialize"}}"#;

struct Outcome {
    text: String,
    encoded: Encoded,
    changed: Sanitized,
}

fn encode_with<T: Serialize + ?Sized>(value: &T, limits: EncodeLimits) -> Outcome {
    let mut out = b"kept before ".to_vec();
    let mut changed = Sanitized::default();
    let encoded = encode_into(value, &limits, &mut out, &mut changed);
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_prefix("kept before ").unwrap().to_owned();
    Outcome { text, encoded, changed }
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Outcome {
    encode_with(value, LIMITS)
}

#[track_caller]
fn assert_unencodable<T: Serialize + ?Sized>(value: &T) {
    let outcome = encode(value);
    assert_eq!(outcome.text, UNENCODABLE);
    assert_eq!(outcome.changed, Sanitized { encode: 1, ..CLEAN });
    assert!(outcome.encoded.truncated);
}

/// Arrays inside each other.
fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
}

#[derive(Serialize)]
enum Shape {
    Unit,
    Newtype(u8),
    Tuple(u8, u8),
    Struct { a: u8 },
    EmptyTuple(),
    EmptyStruct {},
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Newtype(Option<f32>);

#[derive(Serialize)]
struct Pair(i128, u128);

#[derive(Serialize)]
struct Everything<'a> {
    shapes: [Shape; 6],
    unit: Unit,
    nothing: (),
    newtypes: (Newtype, Newtype),
    pair: Pair,
    integers: (i8, i16, i32, i64, u8, u16, u32, u64),
    beyond_doubles: (i64, u64),
    floats: (f32, f64, f64, f64, f64),
    truth: bool,
    character: char,
    text: &'a str,
    empty: (Vec<u8>, BTreeMap<u8, u8>),
    keys: BTreeMap<i16, BTreeMap<bool, BTreeMap<char, u8>>>,
    variants_as_keys: BTreeMap<Kind, u8>,
    displayed: std::net::Ipv4Addr,
    tree: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<u8>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    First,
}

#[test]
fn what_needs_no_repair_comes_out_as_serde_json_writes_it() {
    let value = Everything {
        shapes: [
            Shape::Unit,
            Shape::Newtype(1),
            Shape::Tuple(1, 2),
            Shape::Struct { a: 1 },
            Shape::EmptyTuple(),
            Shape::EmptyStruct {},
        ],
        unit: Unit,
        nothing: (),
        newtypes: (Newtype(Some(0.1)), Newtype(None)),
        pair: Pair(i128::MIN, u128::MAX),
        integers: (i8::MIN, i16::MIN, i32::MIN, i64::MIN, u8::MAX, u16::MAX, u32::MAX, u64::MAX),
        beyond_doubles: (-(1 << 53) - 1, (1 << 53) + 1),
        floats: (f32::MIN_POSITIVE, f64::MAX, -0.0, 5e-324, 1e21),
        truth: true,
        character: '\u{1F600}',
        text: "\u{1}\u{8}\t\n\u{B}\u{C}\r\u{1F} \"\\/ \u{7F}\u{2028}\u{FFFF} é \u{10FFFF}",
        empty: (vec![], BTreeMap::new()),
        keys: [(-7, [(true, [('\n', 1)].into()), (false, [].into())].into())].into(),
        variants_as_keys: [(Kind::First, 1)].into(),
        displayed: [127, 0, 0, 1].into(),
        tree: json!({"a": [1, 2.5, "x", null, {"b": {}}], "": []}),
        absent: None,
    };
    let outcome = encode(&value);
    let expected = serde_json::to_string(&value).unwrap();
    assert_eq!(outcome.text, expected);
    assert_eq!(outcome.changed, CLEAN);
    let bytes_total = expected.len() as u64;
    assert_eq!(outcome.encoded, Encoded { bytes_total, truncated: false });
}

#[test]
fn bytes_are_an_array_of_numbers() {
    struct Bytes;
    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&[0, 255])
        }
    }
    assert_eq!(encode(&Bytes).text, "[0,255]");
}

#[test]
fn numbers_that_are_not_finite_become_null() {
    let value = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f32::NAN, f32::INFINITY, 0.5);
    let outcome = encode(&value);
    assert_eq!(outcome.text, "[null,null,null,null,null,0.5]");
    assert_eq!(outcome.changed, Sanitized { non_finite: 5, ..CLEAN });
    assert!(!outcome.encoded.truncated, "a repaired value is still whole");
}

#[test]
fn nul_is_replaced_in_texts_characters_keys_and_displayed_values() {
    struct Shown;
    impl Serialize for Shown {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str("a\0b")
        }
    }
    let value = ("\0a\0\0b\0", '\0', BTreeMap::from([("k\0", Shown)]));
    let outcome = encode(&value);
    let expected = r#"["�a��b�","�",{"k�":"a�b"}]"#;
    assert_eq!(outcome.text, expected);
    assert_eq!(outcome.changed, Sanitized { nul: 7, ..CLEAN });
}

#[test]
fn a_text_at_the_limit_is_whole_and_one_byte_more_is_cut_and_counted() {
    let limits = EncodeLimits { string_bytes_max: 4, ..LIMITS };
    let at = encode_with("abcd", limits);
    assert_eq!((at.text.as_str(), at.changed, at.encoded.truncated), (r#""abcd""#, CLEAN, false));
    let past = encode_with("abcde", limits);
    assert_eq!(past.text, r#""abcd""#);
    assert_eq!(past.changed, Sanitized { size: 1, ..CLEAN });
    assert_eq!(past.encoded, Encoded { bytes_total: 7, truncated: true }, "counted as if whole");
}

#[test]
fn a_cut_never_splits_a_character() {
    for (string_bytes_max, expected) in [(3, ""), (4, "😀"), (5, "😀"), (7, "😀"), (8, "😀😀")]
    {
        let limits = EncodeLimits { string_bytes_max, ..LIMITS };
        let outcome = encode_with("😀😀é", limits);
        assert_eq!(outcome.text, format!("\"{expected}\""), "{string_bytes_max}");
        assert_eq!(outcome.changed.size, 1);
    }
}

#[test]
fn a_replaced_nul_counts_with_the_three_bytes_it_takes() {
    let limits = EncodeLimits { string_bytes_max: 4, ..LIMITS };
    assert_eq!(encode_with("a\0", limits).text, "\"a\u{FFFD}\"");
    let past = encode_with("ab\0c", limits);
    assert_eq!(past.text, r#""ab""#, "nothing follows the cut");
    assert_eq!(past.changed, Sanitized { size: 1, ..CLEAN });
}

#[test]
fn keys_have_the_limit_of_texts() {
    let limits = EncodeLimits { string_bytes_max: 2, ..LIMITS };
    let outcome = encode_with(&BTreeMap::from([("abc", 1), ("xy", 2)]), limits);
    assert_eq!(outcome.text, r#"{"ab":1,"xy":2}"#);
    assert_eq!(outcome.changed.size, 1);
}

#[test]
fn a_displayed_value_is_stopped_when_its_text_is_full() {
    struct Endless;
    impl Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("abc")?;
            }
        }
    }
    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
    let limits = EncodeLimits { string_bytes_max: 4, ..LIMITS };
    let outcome = encode_with(&[Endless], limits);
    assert_eq!(outcome.text, r#"["abca"]"#);
    assert_eq!(outcome.changed, Sanitized { size: 1, ..CLEAN });
}

#[test]
fn nesting_at_the_limit_is_whole_and_one_level_more_becomes_a_marker() {
    let at = encode(&nested(64));
    assert_eq!(at.text, serde_json::to_string(&nested(64)).unwrap());
    assert_eq!((at.changed, at.encoded.truncated), (CLEAN, false));
    let past = encode(&nested(65));
    let marker = r#"{"$truncated":{"depth":64}}"#;
    assert_eq!(past.text, format!("{}{marker}{}", "[".repeat(64), "]".repeat(64)));
    assert_eq!(past.changed, Sanitized { depth: 1, ..CLEAN });
    assert!(past.encoded.truncated);
}

#[test]
fn every_kind_of_container_can_be_too_deep() {
    let limits = EncodeLimits { depth_max: 0, ..LIMITS };
    let marker = r#"{"$truncated":{"depth":0}}"#;
    assert_eq!(encode_with(&json!({"a": 1, "b": 2}), limits).text, marker);
    assert_eq!(encode_with(&(1, 2), limits).text, marker);
    assert_eq!(encode_with(&Shape::Newtype(1), limits).text, marker);
    assert_eq!(encode_with(&Shape::Tuple(1, 2), limits).text, marker);
    assert_eq!(encode_with(&Shape::Struct { a: 1 }, limits).text, marker);
    assert_eq!(encode_with(&raw::json("[[1]]"), limits).text, marker);
    let limits = EncodeLimits { depth_max: 1, ..LIMITS };
    let marker = r#"{"$truncated":{"depth":1}}"#;
    let tuple = encode_with(&Shape::Tuple(1, 2), limits);
    assert_eq!(tuple.text, format!(r#"{{"Tuple":{marker}}}"#));
    let structure = encode_with(&Shape::Struct { a: 1 }, limits);
    assert_eq!(structure.text, format!(r#"{{"Struct":{marker}}}"#));
    let after = encode_with(&(json!([[], 1, {}]), 1), EncodeLimits { depth_max: 2, ..LIMITS });
    assert_eq!(after.text, r#"[[{"$truncated":{"depth":2}},1,{"$truncated":{"depth":2}}],1]"#);
    assert_eq!(after.changed.depth, 2);
}

#[test]
fn depth_beyond_what_can_be_read_back_is_not_to_be_had() {
    let limits = EncodeLimits { depth_max: usize::MAX, ..LIMITS };
    let text = raw::json(&format!("{}{}", "[".repeat(1_000), "]".repeat(1_000)));
    let outcome = encode_with(&text, limits);
    assert!(serde_json::from_str::<Value>(&outcome.text).is_ok());
    assert_eq!(outcome.changed.depth, 1);
}

#[test]
fn a_long_chain_of_newtypes_ends_in_a_marker_before_the_stack_ends() {
    #[derive(Serialize)]
    struct Link(Option<Box<Self>>);
    let chain = |links| (1..links).fold(Link(None), |inner, _| Link(Some(Box::new(inner))));
    // Each link but the last is two wrappers, the last is one.
    let at = encode(&chain(128));
    assert_eq!((at.text.as_str(), at.changed), ("null", CLEAN));
    let past = encode(&chain(129));
    assert_eq!(past.text, r#"{"$truncated":{"depth":64}}"#);
    assert_eq!(past.changed, Sanitized { depth: 1, ..CLEAN });
    let beside_each_other = encode(&vec![Some(1); 1_000]);
    assert_eq!(beside_each_other.changed, CLEAN);
}

#[test]
fn a_value_of_the_limit_is_whole_and_one_byte_more_leaves_its_head() {
    let limits = EncodeLimits { bytes_max: 200, ..LIMITS };
    let at = encode_with(&"x".repeat(198), limits);
    assert_eq!(at.text.len(), 200);
    assert_eq!((at.changed, at.encoded.truncated), (CLEAN, false));

    let past = encode_with(&"x".repeat(199), limits);
    assert_eq!(past.text.len(), 200, "the limit is used up");
    assert_eq!(past.changed, Sanitized { size: 1, ..CLEAN });
    assert_eq!(past.encoded, Encoded { bytes_total: 201, truncated: true });
    let head = format!("\"{}", "x".repeat(148));
    let expected = json!({"$truncated": {"bytes": 201, "kept": 149}, "$head": head});
    assert_eq!(serde_json::from_str::<Value>(&past.text).unwrap(), expected);
}

#[test]
fn the_head_is_the_beginning_of_the_whole_text_at_every_limit() {
    let value =
        json!({"quotes": "\"\\\"", "😀": ["é\u{1}", {"ü": "\\u0000"}], "z": "y".repeat(300)});
    let whole = serde_json::to_string(&value).unwrap();
    for bytes_max in BYTES_FLOOR..whole.len() {
        let outcome = encode_with(&value, EncodeLimits { bytes_max, ..LIMITS });
        let marker: Value = serde_json::from_str(&outcome.text).unwrap();
        let head = marker["$head"].as_str().unwrap();
        assert!(whole.starts_with(head), "{head}");
        assert_eq!(marker["$truncated"], json!({"bytes": whole.len(), "kept": head.len()}));
        let unused = bytes_max.checked_sub(outcome.text.len()).unwrap();
        assert!(unused <= 5, "{unused} bytes for a character that did not fit");
        assert!(head.len() > 10, "{head}");
    }
}

#[test]
fn a_limit_below_the_floor_is_the_floor() {
    let limits = EncodeLimits { bytes_max: 0, ..LIMITS };
    assert_eq!(encode_with(&Fails, limits).text, UNENCODABLE);
    let outcome = encode_with(&"x".repeat(100), limits);
    assert_eq!(outcome.text.len(), BYTES_FLOOR);
    assert!(serde_json::from_str::<Value>(&outcome.text).is_ok());
}

#[test]
fn the_buffer_never_reserves_more_than_the_limit() {
    let limits = EncodeLimits { bytes_max: 1_000, ..LIMITS };
    for value in [&json!(vec![1; 400]), &json!(vec![1; 5_000]), &json!("\"".repeat(9_000))] {
        let mut out = Vec::with_capacity(10);
        out.extend_from_slice(b"0123456789");
        encode_into(value, &limits, &mut out, &mut Sanitized::default());
        assert!(out.capacity() <= 1_010, "{}", out.capacity());
    }
}

#[test]
fn a_value_without_end_is_given_up_and_its_head_is_kept() {
    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(std::iter::repeat("abcdefgh"))
        }
    }
    let outcome = encode(&Endless);
    let marker: Value = serde_json::from_str(&outcome.text).unwrap();
    assert!(marker["$head"].as_str().unwrap().starts_with(r#"["abcdefgh","abcdefgh""#));
    assert!(outcome.encoded.bytes_total > WALK_BYTES_MAX);
    assert!(outcome.encoded.bytes_total < WALK_BYTES_MAX + 100);
    assert_eq!(outcome.changed, Sanitized { size: 1, ..CLEAN });

    let too_deep = encode_with(&Endless, EncodeLimits { depth_max: 0, ..LIMITS });
    let head = &serde_json::from_str::<Value>(&too_deep.text).unwrap()["$head"];
    assert_eq!(head, r#"{"$truncated":{"depth":0}}"#);
    assert_eq!(too_deep.changed, Sanitized { size: 1, depth: 1, ..CLEAN });
}

#[test]
fn one_huge_text_costs_its_field_and_not_the_whole_value() {
    let huge = "x".repeat(32 << 20);
    let outcome = encode(&(1, &huge, 2));
    assert_eq!(outcome.text, format!("[1,\"{}\",2]", &huge[..16 * 1024]));
    assert_eq!(outcome.encoded.bytes_total, (32 << 20) + 8);
}

#[test]
fn keys_that_are_not_scalars_make_the_value_unencodable() {
    assert_unencodable(&BTreeMap::from([(vec![1], 1)]));
    assert_unencodable(&BTreeMap::from([((), 1)]));
    assert_unencodable(&BTreeMap::from([(None::<u8>, 1)]));
    assert_unencodable(&(1, "\0", BTreeMap::from([((1, 2), 1)])));
    let allowed = BTreeMap::from([(Some(1_u64), 1)]);
    assert_eq!(encode(&allowed).text, serde_json::to_string(&allowed).unwrap());
}

#[test]
fn keys_that_are_numbers_follow_serde_json() {
    struct Keyed(f64);
    impl Serialize for Keyed {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry(&self.0, &1)?;
            map.serialize_entry(&u128::MAX, &1)?;
            map.end()
        }
    }
    assert_eq!(encode(&Keyed(1.5)).text, serde_json::to_string(&Keyed(1.5)).unwrap());
    assert_unencodable(&Keyed(f64::NAN));
}

#[test]
fn a_value_that_fails_is_replaced_and_its_message_is_not_shown() {
    assert_unencodable(&Fails);
    assert_unencodable(&[(1, Fails)]);
    assert_unencodable(&BTreeMap::from([("a", Some(Fails))]));
    struct ShowsError;
    impl Display for ShowsError {
        fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    impl Serialize for ShowsError {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
    assert_unencodable(&ShowsError);
    let overflows_first = vec!["x".repeat(10_000); 20];
    assert_unencodable(&(overflows_first, Fails));
}

#[test]
fn a_value_that_panics_is_replaced_and_the_next_one_is_fine() {
    for kind in [PanicKind::Text, PanicKind::InDisplay, PanicKind::PayloadPanicsWhenDropped] {
        assert_unencodable(&Panics(kind));
        assert_unencodable(&("before", vec![Some(Panics(kind))], "after"));
    }
    assert_eq!(encode("fine").text, r#""fine""#);
}

#[test]
fn a_value_may_panic_while_another_panic_unwinds() {
    struct EncodesWhenDropped<'a>(&'a mut Vec<u8>);
    impl Drop for EncodesWhenDropped<'_> {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            let mut changed = Sanitized::default();
            for kind in [PanicKind::Text, PanicKind::PayloadPanicsWhenDropped] {
                encode_into(&[Panics(kind)], &LIMITS, self.0, &mut changed);
            }
            encode_into(&{ changed.encode }, &LIMITS, self.0, &mut changed);
        }
    }
    let mut out = Vec::new();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _guard = EncodesWhenDropped(&mut out);
        panic_any("the first panic");
    }));
    assert_eq!(*unwound.unwrap_err().downcast::<&str>().unwrap(), "the first panic");
    assert_eq!(String::from_utf8(out).unwrap(), format!("{UNENCODABLE}{UNENCODABLE}2"));
}

#[test]
fn a_part_whose_failure_is_swallowed_still_makes_the_whole_unencodable() {
    struct Swallows<T>(T);
    impl<T: Serialize> Serialize for Swallows<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut array = serializer.serialize_seq(None)?;
            array.serialize_element(&1)?;
            let caught = catch_unwind(AssertUnwindSafe(|| array.serialize_element(&self.0)));
            assert!(!matches!(caught, Ok(Ok(()))), "it failed or panicked");
            array.serialize_element(&2)?;
            array.end()
        }
    }
    struct HalfDone;
    impl Serialize for HalfDone {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_seq(None)?.serialize_element(&1)?;
            Err(S::Error::custom("stopped in the middle"))
        }
    }
    assert_unencodable(&Swallows(HalfDone));
    assert_unencodable(&Swallows(Fails));
    assert_unencodable(&Swallows(Panics(PanicKind::Text)));
    assert_unencodable(&Swallows(BTreeMap::from([((), ())])));
}

#[test]
fn a_map_that_breaks_the_protocol_never_breaks_the_text() {
    struct Map(&'static [&'static str]);
    impl Serialize for Map {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(0))?;
            for step in self.0 {
                match *step {
                    "key" => map.serialize_key("k")?,
                    _ => map.serialize_value(&1)?,
                }
            }
            map.end()
        }
    }
    assert_unencodable(&Map(&["key"]));
    assert_unencodable(&Map(&["value"]));
    assert_unencodable(&Map(&["key", "key", "value"]));
    assert_unencodable(&Map(&["key", "value", "value"]));
    assert_eq!(encode(&Map(&["key", "value"])).text, r#"{"k":1}"#, "a wrong length is no harm");
}

#[test]
fn clean_text_borrows_what_needs_no_nul_replaced() {
    let mut changed = Sanitized::default();
    assert!(matches!(clean_text("abé", 4, &mut changed), Cow::Borrowed("abé")));
    assert_eq!(changed, CLEAN);
    assert!(matches!(clean_text("abé", 3, &mut changed), Cow::Borrowed("ab")));
    assert_eq!(changed, Sanitized { size: 1, ..CLEAN });
}

#[test]
fn clean_text_replaces_nul_within_the_limit() {
    let mut changed = Sanitized::default();
    assert_eq!(clean_text("a\0b", 5, &mut changed), "a\u{FFFD}b");
    assert_eq!(changed, Sanitized { nul: 1, ..CLEAN });
    assert_eq!(clean_text("a\0b", 4, &mut changed), "a\u{FFFD}");
    assert_eq!(clean_text("a\0b", 3, &mut changed), "a");
    assert_eq!(changed, Sanitized { nul: 2, size: 2, ..CLEAN });
}

#[test]
fn write_json_str_appends_one_string_within_the_limit() {
    let mut changed = Sanitized::default();
    let mut out = b"[".to_vec();
    write_json_str(&mut out, "a\"\n\0é", 8, &mut changed);
    assert_eq!(String::from_utf8(out).unwrap(), "[\"a\\\"\\n\u{FFFD}é\"");
    assert_eq!(changed, Sanitized { nul: 1, ..CLEAN });
    let mut out = Vec::new();
    write_json_str(&mut out, "\u{1}\u{1}\u{1}", 2, &mut changed);
    assert_eq!(String::from_utf8(out).unwrap(), r#""\u0001\u0001""#);
    assert_eq!(changed, Sanitized { nul: 1, size: 1, ..CLEAN });
}

#[test]
fn counts_add_up_under_their_names() {
    let one = Sanitized {
        non_finite: 1,
        nul: 2,
        surrogate: 3,
        size: 4,
        depth: 5,
        encode: 6,
        clock: 7,
        redacted: 8,
        redactor: 9,
        slim: 10,
    };
    let mut sum = one;
    sum += one;
    let expected = [
        ("non_finite", 2),
        ("nul", 4),
        ("surrogate", 6),
        ("size", 8),
        ("depth", 10),
        ("encode", 12),
        ("clock", 14),
        ("redacted", 16),
        ("redactor", 18),
        ("slim", 20),
    ];
    assert_eq!(sum.reasons(), expected);
}
