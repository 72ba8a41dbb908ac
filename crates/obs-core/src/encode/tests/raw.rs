//! The rules for JSON text inside a value.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::{Value, value::RawValue};

use super::{CLEAN, assert_unencodable, encode, encode_with};
use crate::{
    encode::{EncodeLimits, Sanitized},
    limits::WALK_BYTES_MAX,
};

pub(super) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[test]
fn raw_json_comes_out_compact_and_otherwise_as_it_is() {
    let text = r#" { "a" : [ 1 , -2.50 , 3E+7, 18446744073709551616 , true,false , null ] ,
        "b\n\"\\\/\b\f\r\t" : "Aé😀" , "c": { } , "": [ [ ] ] } "#;
    let outcome = encode(&(json(text), 1));
    let expected = r#"[{"a":[1,-2.50,3E+7,18446744073709551616,true,false,null],"b\n\"\\/\b\f\r\t":"Aé😀","c":{},"":[[]]},1]"#;
    assert_eq!(outcome.text, expected);
    assert_eq!((outcome.changed, outcome.encoded.truncated), (CLEAN, false));
}

#[test]
fn raw_json_has_its_escapes_made_valid() {
    let cases = [
        (r#""\u0000""#, "�", Sanitized { nul: 1, ..CLEAN }),
        (r#""\u0041\u00e9\uFFFF""#, "Aé\u{FFFF}", CLEAN),
        (r#""\ud83d\ude00""#, "😀", CLEAN),
        (r#""\ud800""#, "�", Sanitized { surrogate: 1, ..CLEAN }),
        (r#""\udc00x""#, "�x", Sanitized { surrogate: 1, ..CLEAN }),
        (r#""\ude00\ud83d""#, "��", Sanitized { surrogate: 2, ..CLEAN }),
        (r#""\ud800\ud83d\ude00""#, "�😀", Sanitized { surrogate: 1, ..CLEAN }),
        (r#""\ud800\u0000""#, "��", Sanitized { surrogate: 1, nul: 1, ..CLEAN }),
        (r#""\ud800\\u""#, "�\\u", Sanitized { surrogate: 1, ..CLEAN }),
        (r#""\\u0000\\ud800""#, "\\u0000\\ud800", CLEAN),
    ];
    for (text, expected, changed) in cases {
        let outcome = encode(&json(text));
        let found: String = serde_json::from_str(&outcome.text).unwrap();
        assert_eq!((found.as_str(), outcome.changed), (expected, changed), "{text}");
        let key = encode(&json(&format!("{{{text}:1}}")));
        let found: BTreeMap<String, u8> = serde_json::from_str(&key.text).unwrap();
        assert_eq!((&*found.keys().next().unwrap().clone(), key.changed), (expected, changed));
    }
}

#[test]
fn raw_json_has_the_limits_of_everything_else() {
    let limits = EncodeLimits {
        string_bytes_max: 4,
        depth_max: 2,
        bytes_max: 200,
        walk_bytes_max: WALK_BYTES_MAX,
    };
    assert_eq!(encode_with(&json(r#""ab\u00e9""#), limits).text, r#""abé""#);
    let cut = encode_with(&json(r#"{"abc\u00e9x":"\n\n\n\n\nab"}"#), limits);
    assert_eq!(cut.text, r#"{"abc":"\n\n\n\n"}"#, "nothing follows a cut");
    assert_eq!(cut.changed, Sanitized { size: 2, ..CLEAN });

    let surrogate = encode_with(&json(r#""ab\ud800""#), limits);
    assert_eq!((&*surrogate.text, surrogate.changed), (r#""ab""#, Sanitized { size: 1, ..CLEAN }));

    let deep = encode_with(&json(r#"[[[["]\"]"]], 1], 2]"#), limits);
    assert_eq!(deep.text, r#"[[{"$truncated":{"depth":2}},1],2]"#);
    assert_eq!(deep.changed, Sanitized { depth: 1, ..CLEAN });
    let deeper_from_inside = encode_with(&(json("[[1]]"), 1), limits);
    assert_eq!(deeper_from_inside.text, r#"[[{"$truncated":{"depth":2}}],1]"#);

    let long = encode_with(&json(&format!("[{}1]", "1,".repeat(500))), limits);
    let marker: Value = serde_json::from_str(&long.text).unwrap();
    assert_eq!(marker["$truncated"]["bytes"], 1_003);
    assert_eq!((long.text.len(), long.changed), (200, Sanitized { size: 1, ..CLEAN }));
}

#[test]
fn raw_json_may_be_nested_a_million_times() {
    let text = json(&format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000)));
    let outcome = encode(&text);
    assert_eq!(outcome.changed, Sanitized { depth: 1, ..CLEAN });
    assert!(serde_json::from_str::<Value>(&outcome.text).is_ok());
}

#[test]
fn raw_numbers_are_kept_only_if_they_can_be_stored_and_read_back() {
    let digits = |count: usize| "9".repeat(count);
    let kept = [
        "0",
        "-0",
        "1e308",
        "1.7976931348623157e308",
        "1e-1100",
        "0e1100",
        "1E+0000001",
        "5e-324",
        "340282366920938463463374607431768211456",
        &digits(300),
        &digits(308),
        &format!("0.{}", digits(1_098)),
    ];
    for number in kept {
        let outcome = encode(&json(number));
        assert_eq!((outcome.text.as_str(), outcome.changed), (number, CLEAN));
    }
    let dropped = [
        "1e309",
        "-1e400",
        "1e200000",
        "1e-1101",
        "0e1101",
        "1e99999999999999999999",
        &digits(310),
        &digits(200_000),
        &format!("0.{}", digits(1_099)),
    ];
    for number in dropped {
        let outcome = encode(&json(number));
        assert_eq!(outcome.text, "null", "{number}");
        assert_eq!(outcome.changed, Sanitized { non_finite: 1, ..CLEAN }, "{number}");
    }
}

#[test]
fn raw_json_that_is_too_long_to_check_leaves_its_head() {
    let walk_bytes_max = usize::try_from(WALK_BYTES_MAX).unwrap();
    let text = json(&format!(r#"["a\u0000",{}1]"#, " ".repeat(walk_bytes_max)));
    let not_looked_at = "[7,".len() + text.get().len() - walk_bytes_max;
    let outcome = encode(&(7, text));
    let marker: Value = serde_json::from_str(&outcome.text).unwrap();
    let head = "[7,[\"a\u{FFFD}\",";
    assert_eq!(marker["$head"], head);
    assert_eq!(outcome.encoded.bytes_total, (head.len() + not_looked_at) as u64);
    assert_eq!(outcome.changed, Sanitized { size: 1, nul: 1, ..CLEAN });
}

#[test]
fn white_space_in_raw_json_is_work_that_ends() {
    let spaces = json(&format!("[{}]", " ".repeat(1 << 20)));
    let outcome = encode(&vec![&spaces; 20]);
    let marker: Value = serde_json::from_str(&outcome.text).unwrap();
    let head = marker["$head"].as_str().unwrap();
    assert_eq!(head.matches("[]").count(), 15, "16 MiB and the brackets are too much");
}

#[test]
fn a_struct_that_pretends_to_be_raw_json_is_checked() {
    struct Pretender<T>(Vec<T>);
    impl<T: Serialize> Serialize for Pretender<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut raw = serializer.serialize_struct("$serde_json::private::RawValue", 1)?;
            for text in &self.0 {
                raw.serialize_field("$serde_json::private::RawValue", text)?;
            }
            raw.end()
        }
    }
    assert_eq!(encode(&Pretender(vec![" [1] "])).text, "[1]");
    for texts in [vec![], vec!["1", "2"], vec!["[1"], vec!["1]"], vec!["\"\n\""], vec![""]] {
        assert_unencodable(&Pretender(texts.clone()));
        assert_unencodable(&[Pretender(texts)]);
    }
    assert_unencodable(&Pretender(vec![1]));
    assert_unencodable(&Pretender(vec![[1]]));
    assert_unencodable(&Pretender(vec![()]));
    assert_unencodable(&Pretender(vec![format_args!("1")]));
}

#[test]
fn a_number_of_arbitrary_precision_is_a_number() {
    struct Number(&'static str);
    impl Serialize for Number {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut number = serializer.serialize_struct("$serde_json::private::Number", 1)?;
            number.serialize_field("$serde_json::private::Number", self.0)?;
            number.end()
        }
    }
    assert_eq!(encode(&[Number("1.10"), Number("1e999")]).text, "[1.10,null]");
}
