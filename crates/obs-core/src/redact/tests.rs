//! What is found, what is left alone.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::encode::{EncodeLimits, Redact, encode_redacted, redact_trace};

#[cfg(target_os = "linux")]
mod linear;

fn rules() -> Rules {
    Redaction::default().check().unwrap()
}

fn looked_at(text: &str) -> (String, u64) {
    let mut changed = Sanitized::default();
    let safe = rules().by_looks(text, &mut changed).into_owned();
    (safe, changed.redacted)
}

/// A text with a secret, and what is left of it.
#[track_caller]
fn becomes(text: &str, safe: &str) {
    let (seen, redacted) = looked_at(text);
    assert_eq!(seen, safe, "{text}");
    assert!(redacted > 0, "counted: {text}");
}

#[track_caller]
fn stays(text: &str) {
    assert_eq!(looked_at(text), (text.to_owned(), 0));
}

const JWT: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";

#[test]
fn tokens_are_found_wherever_they_stand() {
    for secret in [
        JWT,
        // Cut before its signature, encrypted.
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "ya29.a0AfH6SMBx1234567890",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "github_pat_11ABCDEFG0123456789_abcdef",
        "glpat-12345678901234567890",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "rk_test_4eC39HqLyjWDarjtT1zdp7dc",
        "whsec_4eC39HqLyjWDarjtT1zdp7dc",
        "xoxb-123456789012-abcdefghijkl",
        "sk-proj-abcdefghijklmnopqrstuv",
        "GOCSPX-abcdefghijklmnopqrstu",
        "4111 1111 1111 1111",
        "bob.oneil@example.com",
        "bob+tag@mail.example.co.uk",
        "bob@büro.example",
    ] {
        becomes(secret, "[redacted]");
        becomes(&format!("before {secret} after"), "before [redacted] after");
        becomes(&format!("({secret}, \"{secret}\")"), "([redacted], \"[redacted]\")");
        becomes(&format!("{secret}."), "[redacted].");
    }
}

#[test]
fn passwords_are_found_in_urls_also_where_a_cut_took_the_end() {
    becomes("postgres://app:hunter2@db.internal/obs", "postgres://[redacted]@db.internal/obs");
    becomes("see https://token@host/x and go", "see https://[redacted]@host/x and go");
    becomes("amqp://u:p/ss?w#rd@mq:5672/v", "amqp://[redacted]@mq:5672/v");
    becomes("amqp://u:p@ss@mq:5672/v", "amqp://[redacted]@mq:5672/v");
    becomes("postgres://app:hunt", "postgres://[redacted]");
    for plain in [
        "http://localhost:4318/v1/metrics",
        "https://example.com/a?b=c#d",
        "http://[::1]:80/",
        "file:///etc/hosts",
        "postgres://db.internal:5432/obs",
        "a://b",
        "://",
        "http://x/:y",
        "//",
        "std::path::Path",
    ] {
        stays(plain);
    }
}

#[test]
fn assignments_headers_and_json_inside_of_texts_are_found() {
    becomes("host=db password=hunter2 user=app", "host=db password=[redacted] user=app");
    becomes("password='two words' next", "password='[redacted]' next");
    becomes("/login?user=7&access_token=abc&x=1", "/login?user=7&access_token=[redacted]&x=1");
    becomes(r#"{"user":7,"password":"hunter2"}"#, r#"{"user":7,"password":"[redacted]"}"#);
    becomes(r#"{\"apiKey\": \"hunter2\"}"#, r#"{\"apiKey\": \"[redacted]\"}"#);
    becomes(
        "GET /\nAuthorization: Bearer abc.def\nHost: x",
        "GET /\nAuthorization: [redacted]\nHost: x",
    );
    becomes("set-cookie: id=7; Secure", "set-cookie: [redacted]");
    for plain in [
        "user=7",
        "a = b",
        "=",
        "unexpected token: `,`",
        "password is wrong",
        "token =",
        "x==y",
        ": :",
    ] {
        stays(plain);
    }
}

#[test]
fn pem_blocks_are_found_whole_or_cut() {
    let block = "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----";
    becomes(&format!("a {block} b"), "a [redacted] b");
    becomes(&format!("{block}\n{block}"), "[redacted]\n[redacted]");
    becomes("a -----BEGIN RSA PRIVATE KEY-----\nMIIEvQ", "a [redacted]");
    stays("----- BEGIN -----");
    stays("--------------------");
}

#[test]
fn ordinary_texts_stay_as_they_are() {
    for plain in [
        "",
        "no field `dmin` at node n7",
        "2026-11-21T12:00:00.123456Z",
        "550e8400-e29b-41d4-a716-446655440000",
        "hmac-sha256:60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        "1763726400000",
        "v1.2.3-rc.1",
        "a@b",
        "@",
        "@example.com",
        "user@host",
        "user@10.0.0.1",
        "key_id",
        "eyJ",
        "eyJhbGciOi",
        "AKIA",
        "ghp_short",
        "risk_live_data_of_everyone",
        "disk-usage-of-all-volumes-here",
        "café ünïcödé 日本",
        "ratio=0.5, mag=5.1",
    ] {
        stays(plain);
    }
}

#[test]
fn what_was_redacted_is_not_redacted_again() {
    for text in ["password=hunter2", "a bob@example.com b", "postgres://app:hunter2@db/obs", JWT] {
        let (once, _) = looked_at(text);
        if once.contains("://") {
            // A user that is called like this is not told apart from one that was redacted.
            continue;
        }
        stays(&once);
    }
}

#[test]
fn an_error_type_that_holds_a_secret_is_no_label() {
    let rules = rules();
    assert_eq!(rules.error_type("NODE_LIMIT"), None);
    assert_eq!(
        rules.error_type("no such user bob@example.com").as_deref(),
        Some("no such user [redacted]")
    );
    let late = format!("{}bob@example.com", " ".repeat(5_000));
    assert_eq!(rules.error_type(&late).as_deref(), Some("[redacted]"), "however late it comes");
    assert_eq!(rules.error_type("bob\0@example.com").as_deref(), Some("[redacted]"));
}

#[test]
fn what_is_encoded_and_what_was_traced_goes_through_the_rules() {
    let (rules, mut changed, mut out) = (rules(), Sanitized::default(), Vec::new());
    let limits = EncodeLimits {
        bytes_max: 1_024,
        string_bytes_max: 1_024,
        depth_max: 8,
        walk_bytes_max: 1_024,
    };
    let redact = Redact { rules: &rules, place: Place::Input, shapes: None };
    let input = json!([{ "password": { "old": 1 }, "note": "bob@example.com", "mag": 5.1 }]);
    encode_redacted(&input, (&limits, redact), &mut out, &mut changed);
    let written: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(written, json!([{ "password": "[redacted]", "note": "[redacted]", "mag": 5.1 }]));
    let trace = r#"[{"id":"n1","value":{"password":"x"}}]"#;
    let trace: Value = serde_json::from_str(&redact_trace(trace, &rules, &mut changed)).unwrap();
    assert_eq!(trace[0]["value"]["password"], "[redacted]");
    assert_eq!(changed.redacted, 3);
}

#[test]
fn card_numbers_that_are_numbers_are_found() {
    let mut changed = Sanitized::default();
    let mut number = |text: &str| rules().number(Place::Input, None, text, &mut changed);
    assert_eq!(number("4111111111111111").as_deref(), Some("[redacted]"));
    for plain in ["4111111111111112", "1763726400000", "-4111111111111111", "4.5", "1e300", "0"] {
        assert_eq!(number(plain), None, "{plain}");
    }
}

#[test]
fn too_many_names_are_refused() {
    let names =
        |count: usize| Redaction::default().keys((0..count).map(|name| format!("name{name}")));
    assert!(names(256).check().is_ok());
    let error = names(257).check().unwrap_err();
    assert!(
        error.to_string().starts_with("257 names of fields to redact or allow are more than 256"),
        "{error}"
    );
    let error = names(200).allow_only((0..57).map(|name| format!("x{name}"))).check().unwrap_err();
    assert!(error.to_string().starts_with("257 names"), "{error}");
    let error = Redaction::default().also(["--"]).check().unwrap_err();
    assert!(error.to_string().starts_with("name \"--\" of a field to redact"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn secrets_between_any_texts_are_gone(before in "[a-z ,;(«]{0,20}", after in "[ ,;)»!?]{0,20}") {
        for secret in [JWT, "AKIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"] {
            let separator = if before.ends_with(|last: char| last.is_ascii_alphanumeric()) { " " } else { "" };
            let (safe, redacted) = looked_at(&format!("{before}{separator}{secret}{after}"));
            prop_assert_eq!(safe, format!("{before}{separator}[redacted]{after}"));
            prop_assert_eq!(redacted, 1);
        }
    }

    #[test]
    fn names_of_any_bytes_are_looked_at_without_a_panic(name: Vec<u8>) {
        let _ = rules().named(&name);
    }
}
