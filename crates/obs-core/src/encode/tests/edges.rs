//! Short ways end where a limit is: whatever is a byte below it, at it or past it comes out as on the long
//! way.

use super::{super::encoder::Encoder, *};
use crate::redact::{Redaction, Rules};

/// Longer than what is written by one store, with its quotes and colon.
const LONGEST: usize = 18;

/// What one store writes, and a little.
const AT_ONCE_AND_MORE: usize = 20;

/// What came out, what was changed, and how it went.
type Written = (String, Sanitized, Encoded);

fn written<T: Serialize>(
    value: &T,
    limits: EncodeLimits,
    rules: &Rules,
    short_ways: bool,
) -> Written {
    let (mut out, mut changed) = (Vec::new(), Sanitized::default());
    let redact = Redact { rules, place: Place::Input, shapes: None };
    let mut encoder = Encoder::guarded(&mut out, &limits, redact);
    if !short_ways {
        encoder.look_at_everything();
    }
    let encoded = walk(value, &mut encoder, &mut changed);
    drop(encoder);
    (String::from_utf8(out).unwrap(), changed, encoded)
}

/// A document whose last field ends so many bytes behind the filler.
fn document(filler: usize, name: usize, text: usize) -> Value {
    json!([" ".repeat(filler), {"n".repeat(name): "t".repeat(text)}])
}

#[test]
fn names_and_texts_at_the_limit_come_out_whole_and_past_it_as_on_the_long_way() {
    let rules = Redaction::default().check().unwrap();
    for (name, text) in (0..=LONGEST).flat_map(|name| (0..=LONGEST).map(move |text| (name, text))) {
        let whole = document(60, name, text).to_string();
        for bytes_max in whole.len() - 40..whole.len() + AT_ONCE_AND_MORE {
            let limits = EncodeLimits { bytes_max: bytes_max.max(BYTES_FLOOR), ..LIMITS };
            let value = document(60, name, text);
            let short = written(&value, limits, &rules, true);
            assert_eq!(short, written(&value, limits, &rules, false), "{bytes_max} of {whole}");
            assert_eq!(short.2.bytes_total, whole.len() as u64, "{bytes_max} of {whole}");
            assert_eq!(short.0 == whole, whole.len() <= limits.bytes_max, "{bytes_max} of {whole}");
        }
    }
}

#[test]
fn the_walk_ends_at_the_same_place_on_both_ways() {
    let rules = Redaction::default().check().unwrap();
    for (name, text) in [(0, 0), (1, 3), (5, 5), (13, 14), (14, 13), (15, 16), (17, 18)] {
        let value = document(10, name, text);
        let whole = value.to_string().len() as u64;
        for walk_bytes_max in 0..whole + 4 {
            let limits = EncodeLimits { walk_bytes_max, ..LIMITS };
            let short = written(&value, limits, &rules, true);
            assert_eq!(short, written(&value, limits, &rules, false), "{walk_bytes_max}");
            assert_eq!(short.2.truncated, walk_bytes_max < whole, "{walk_bytes_max} of {whole}");
        }
    }
}

/// The same document with numbers, words and an empty object behind the text.
fn mixed(filler: usize, name: usize, text: usize) -> Value {
    let fields = json!({"n".repeat(name): "t".repeat(text), "x": 12.5, "y": [1_234_567, null, true], "z": {}});
    json!([" ".repeat(filler), fields, {"n".repeat(name): 123_456.75}])
}

#[test]
fn a_walk_ends_where_it_does_on_the_long_way() {
    let rules = Redaction::default().check().unwrap();
    for (name, text) in [(0, 0), (1, 4), (3, 8), (4, 9), (8, 12), (9, 16), (16, 17), (17, 3)] {
        let value = mixed(30, name, text);
        let whole = value.to_string().len();
        for walk_bytes_max in 0..=whole + 2 {
            for bytes_max in [BYTES_FLOOR, whole - 7, whole, LIMITS.bytes_max] {
                let bytes_max = bytes_max.max(BYTES_FLOOR);
                let limits =
                    EncodeLimits { bytes_max, walk_bytes_max: walk_bytes_max as u64, ..LIMITS };
                // The first time names are met, the second they are known.
                let short = [(); 2].map(|()| written(&value, limits, &rules, true));
                let long = written(&value, limits, &rules, false);
                assert_eq!(short[0], long, "{name}, {text}, {limits:?}");
                assert_eq!(short[1], long, "{name}, {text}, {limits:?}");
            }
        }
    }
}

/// Goes on where it was told to stop, and says that all went well.
struct Stubborn(u32);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for _ in 0..self.0 {
            let _ = map.serialize_entry("a", &[1, 2]);
            let _ = map.serialize_entry("name", "web");
            let _ = map.serialize_entry("deep", &vec![json!([[[1, 2, 3], 4], 5]); 3]);
            let _ = map.serialize_entry("price", &12.5);
        }
        map.end()
    }
}

#[test]
fn what_goes_on_behind_the_end_of_a_walk_comes_out_as_on_the_long_way() {
    let rules = Redaction::default().check().unwrap();
    for walk_bytes_max in 0..400 {
        for (bytes_max, depth_max) in
            [(BYTES_FLOOR, 64), (150, 2), (150, 64), (LIMITS.bytes_max, 3)]
        {
            let limits = EncodeLimits { bytes_max, depth_max, walk_bytes_max, ..LIMITS };
            let written = |short_ways: bool| written(&Stubborn(4), limits, &rules, short_ways);
            assert_eq!(written(true), written(false), "{limits:?}");
        }
    }
}

/// JSON text, with the rules for it and without.
fn rewritten(text: &str, rules: Option<&Rules>) -> (String, Sanitized) {
    let (mut out, limits) = (Vec::new(), LIMITS);
    let mut encoder = match rules {
        Some(rules) => {
            let redact = Redact { rules, place: Place::Trace, shapes: None };
            Encoder::guarded(&mut out, &limits, redact)
        }
        None => Encoder::new(&mut out, &limits),
    };
    super::super::raw::rewrite(&mut encoder, text).unwrap();
    let changed = encoder.changed;
    drop(encoder);
    (String::from_utf8(out).unwrap(), changed)
}

#[test]
fn text_that_no_rule_concerns_is_rewritten_as_without_rules() {
    let rules = Redaction::default().check().unwrap();
    let texts = [
        r#"[]"#,
        r#"[{"name":"","value":{}}]"#,
        r#"[ "" , "a" , "plain text" ]"#,
        r#"["\n","a\n","\na","a\nb\tc","\"quoted\"","back\\slash","\/"]"#,
        r#"["\u0041\u00e9","\ud83d\ude00","x\u0000y"]"#,
        r#"["\ud800","\udc00 x","\ude00\ud83d","a\ud800b\ud800"]"#,
        r#"{"a\nb":1,"a b" : "c" , "é":{"":[true,false,null,-1.5e3]}}"#,
        r#"[1e999,12345678,"12345678"]"#,
        r#"["unfinished"#,
        r#"["unfinished\"#,
        r#"["unfinished\n"#,
    ];
    for text in texts {
        assert_eq!(rewritten(text, Some(&rules)), rewritten(text, None), "{text}");
    }
    assert_eq!(rewritten(r#"["a\nb","c"]"#, Some(&rules)).0, r#"["a\nb","c"]"#);
}

#[test]
fn a_redactor_that_panicked_counts_also_where_the_value_then_fails() {
    let rules = Redaction::default().hook(|_| panic!("no")).check().unwrap();
    let redact = Redact { rules: &rules, place: Place::Input, shapes: None };
    let (mut out, mut changed) = (Vec::new(), Sanitized::default());
    walk(&("text", Fails), &mut Encoder::guarded(&mut out, &LIMITS, redact), &mut changed);
    assert_eq!(out, UNENCODABLE.as_bytes());
    assert_eq!(changed, Sanitized { encode: 1, redactor: 1, ..CLEAN });
}

/// Shows itself as this text, and then fails if it shall.
struct Shown(&'static str, fmt::Result);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        self.1
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[test]
fn under_rules_a_displayed_value_is_cut_like_a_text_and_fails_by_itself_only() {
    let rules = Redaction::default().check().unwrap();
    let redact = Redact { rules: &rules, place: Place::Input, shapes: None };
    let limits = EncodeLimits { string_bytes_max: 4, ..LIMITS };
    let cases = [
        (Shown("abcd", Ok(())), r#""abcd""#, CLEAN),
        (Shown("abcde", Ok(())), r#""abcd""#, Sanitized { size: 1, ..CLEAN }),
        (Shown("abcdefghijklmnop", Ok(())), r#""abcd""#, Sanitized { size: 1, ..CLEAN }),
        (Shown("ab", Err(fmt::Error)), UNENCODABLE, Sanitized { encode: 1, ..CLEAN }),
        (Shown("abcd", Err(fmt::Error)), UNENCODABLE, Sanitized { encode: 1, ..CLEAN }),
    ];
    for (shown, expected, sanitized) in cases {
        let (mut out, mut changed) = (Vec::new(), Sanitized::default());
        walk(&shown, &mut Encoder::guarded(&mut out, &limits, redact), &mut changed);
        assert_eq!((str::from_utf8(&out).unwrap(), changed), (expected, sanitized), "{}", shown.0);
    }
}

#[test]
fn a_value_is_never_written_behind_a_name_that_failed_however_the_failure_is_swallowed() {
    struct Key(Option<&'static str>);
    impl Serialize for Key {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.map(|name| serializer.serialize_str(name)).transpose()?;
            Err(S::Error::custom("no name"))
        }
    }
    struct Map(Option<&'static str>);
    impl Serialize for Map {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            assert!(map.serialize_key(&Key(self.0)).is_err());
            let _ = map.serialize_value("hunter2");
            map.end()
        }
    }
    for name in [None, Some("password"), Some("article")] {
        assert_unencodable(&Map(name));
        let (rules, mut out) = (Redaction::default().check().unwrap(), Vec::new());
        let redact = Redact { rules: &rules, place: Place::Input, shapes: None };
        encode_redacted(&Map(name), (&LIMITS, redact), &mut out, &mut Sanitized::default());
        assert_eq!(String::from_utf8(out).unwrap(), UNENCODABLE);
    }
}
