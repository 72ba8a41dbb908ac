//! What the fuzzers call, on whatever compiler is there: a short walk over the same ground.

use obs_core::testing::fuzz;
use proptest::prelude::*;

/// Where fuzzers would begin.
const SEEDS: [&str; 15] = [
    "",
    "null",
    r#"{"password":"x","a":[1,{"b":"\ud83c\udf0b\u0000"}]}"#,
    r#"{"$head":"{\"token\":\"abc","$truncated":{"bytes":1}}"#,
    r#"[[[[[[[[[[[[{"card":4111111111111111}]]]]]]]]]]]]"#,
    "[1e999999,-0,1E-9999,123456789012345678901234567890]",
    "\"\\uD800 \\uDC00\"",
    "postgres://app:hunter2@db/obs?password=hunter2",
    "://[redacted]@db",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY",
    "Authorization: Bearer x\r\nbob@example.com 4111 1111 1111 1111",
    "\u{0}\u{1b}[31m\u{202E}\u{FEFF} \u{85}",
    "{\"a\":\"\\\\\\\"\\u0000\"}",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx  yy",
];

fn walk(text: &str) {
    let _ = (fuzz::redact(text), fuzz::sanitise(text), fuzz::label(text));
}

#[test]
fn the_seeds_of_the_fuzzers_hold() {
    SEEDS.into_iter().for_each(walk);
}

proptest! {
    #[test]
    fn any_text_holds(text: String) {
        walk(&text);
    }

    #[test]
    fn any_mixture_of_the_seeds_holds(
        parts in proptest::collection::vec((proptest::sample::select(&SEEDS[..]), 0_usize..60, 0_usize..60), 1..6),
    ) {
        let part = |(seed, from, to): &(&str, usize, usize)| -> String {
            seed.chars().skip(*from).take(*to).collect()
        };
        walk(&parts.iter().map(part).collect::<String>());
    }

    #[test]
    fn any_document_holds(
        keys in proptest::collection::vec("[a-zA-Z_$\\-\"\\\\]{0,12}", 1..5),
        values in proptest::collection::vec("\\PC{0,20}", 1..5),
    ) {
        let document: serde_json::Map<_, _> =
            keys.into_iter().zip(values.iter().map(|value| serde_json::json!([value, {"token": value}]))).collect();
        walk(&serde_json::Value::Object(document).to_string());
    }
}
