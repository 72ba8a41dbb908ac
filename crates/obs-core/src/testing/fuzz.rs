//! What a fuzzer calls: code that takes text from anywhere, with what must hold of its result.

use serde_json::value::RawValue;

use crate::{
    capture::Shapes,
    encode::{
        BYTES_FLOOR, EncodeLimits, Redact, Sanitized, clean_text, encode_into, encode_redacted,
        redact_trace,
    },
    label::clean,
    limits::{LABEL_BYTES_MAX, MESSAGE_BYTES_MAX},
    redact::{Place, REDACTED, Redaction, Rules},
};

/// Room for every marker, and small enough that most inputs meet the limits.
const LIMITS: EncodeLimits = EncodeLimits {
    bytes_max: 4 * BYTES_FLOOR,
    string_bytes_max: 64,
    depth_max: 8,
    walk_bytes_max: 4_096,
};

/// A text without what looks like a secret.
///
/// # Panics
/// When the result is longer than it may be, or other than what is counted.
///
/// ```
/// assert_eq!(obs_core::testing::fuzz::redact("mail bob@example.com"), "mail [redacted]");
/// ```
#[must_use]
pub fn redact(text: &str) -> String {
    let mut changed = Sanitized::default();
    let safe = rules().by_looks(text, &mut changed).into_owned();
    // What was redacted before is a secret once more, and becomes the same.
    let may_stay = changed.redacted == 0 || text.contains(REDACTED);
    assert!(safe != text || may_stay, "{text:?}");
    assert!(safe == text || changed.redacted > 0, "{text:?}");
    let longer =
        usize::try_from(changed.redacted).unwrap_or(usize::MAX).saturating_mul(REDACTED.len());
    assert!(safe.len() <= text.len().saturating_add(longer), "{text:?}");
    safe
}

/// A text, and if it is JSON the document that it is, as rows would hold them: limited, redacted, as
/// shapes, and as part of a trace.
///
/// # Panics
/// When a result is no JSON, longer than its limit, or holds what no store takes.
///
/// ```
/// assert_eq!(obs_core::testing::fuzz::sanitise(r#"{"password":1}"#), r#"{"password":"[redacted]"}"#);
/// ```
#[must_use]
pub fn sanitise(text: &str) -> String {
    let rules = rules();
    let shapes = Shapes::new(None);
    let raw = serde_json::from_str::<&RawValue>(text);
    let mut last = String::new();
    for shapes in [Some(&shapes), None] {
        let redact = Redact { rules: &rules, place: Place::Input, shapes };
        last = encoded(|out, changed| match &raw {
            Ok(raw) => drop(encode_redacted(raw, (&LIMITS, redact), out, changed)),
            Err(_) => drop(encode_redacted(text, (&LIMITS, redact), out, changed)),
        });
    }
    let plain = encoded(|out, changed| match &raw {
        Ok(raw) => drop(encode_into(raw, &LIMITS, out, changed)),
        Err(_) => drop(encode_into(text, &LIMITS, out, changed)),
    });
    let entry = format!(r#"[{{"node":"n1","value":{plain},"seq":0}}]"#);
    let trace = redact_trace(&entry, &rules, &mut Sanitized::default());
    check(&trace, usize::MAX);
    let message = clean_text(text, MESSAGE_BYTES_MAX, &mut Sanitized::default());
    assert!(message.len() <= MESSAGE_BYTES_MAX && !message.contains('\0'), "{text:?}");
    last
}

/// A label value as it stands on metrics.
///
/// # Panics
/// When it is empty, too long, has other than plain characters, or would be cleaned once more.
///
/// ```
/// assert_eq!(obs_core::testing::fuzz::label(" acme\n"), "acme");
/// ```
#[must_use]
pub fn label(text: &str) -> String {
    let label = clean(text).into_owned();
    assert!(!label.is_empty() && label.len() <= LABEL_BYTES_MAX, "{text:?}");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    assert!(label.chars().all(is_plain), "{text:?}");
    assert_eq!(clean(&label), label, "{text:?}");
    label
}

#[expect(clippy::expect_used, reason = "the defaults are valid; for tests only")]
fn rules() -> Rules {
    Redaction::default().check().expect("the defaults are valid")
}

#[expect(clippy::expect_used, reason = "for tests only")]
fn encoded(encode: impl FnOnce(&mut Vec<u8>, &mut Sanitized)) -> String {
    let mut out = Vec::new();
    encode(&mut out, &mut Sanitized::default());
    let json = String::from_utf8(out).expect("an encoder writes text");
    check(&json, LIMITS.bytes_max);
    json
}

fn check(json: &str, bytes_max: usize) {
    assert!(json.len() <= bytes_max, "{} bytes: {json}", json.len());
    assert!(serde_json::from_str::<&RawValue>(json).is_ok(), "not JSON: {json}");
    // A backslash of the text's own is two in JSON.
    let escapes = json.replace(r"\\", "");
    assert!(!json.contains('\0') && !escapes.contains(r"\u0000"), "{json}");
}
