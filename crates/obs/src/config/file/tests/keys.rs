//! Every key that is documented: it exists, it is read, and its variable is the one that is named.

use super::*;
use crate::config::file::reference::rows;

#[test]
fn every_key_of_ours_has_the_variable_that_the_documentation_names_and_the_other_way_round() {
    let mut documented: Vec<_> = rows()
        .into_iter()
        .filter(|row| row.path.starts_with("obs."))
        .filter_map(|row| Some((row.variable?, row.path)))
        .collect();
    let mut known: Vec<_> = KEYS
        .into_iter()
        .map(|(variable, key)| (variable.to_owned(), format!("obs.{key}")))
        .collect();
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
}

#[test]
fn every_key_has_a_meaning() {
    for row in rows() {
        let mut text = String::new();
        row.write(&mut text);
        assert!(!text.trim_end().ends_with("| – |"), "{text}");
    }
}

/// A value that each key of ours takes, and the one of the default.
const OURS: [(&str, &str); 36] = [
    ("obs.log.level", "debug"),
    ("obs.log.format", "json"),
    ("obs.enabled", "false"),
    ("obs.heartbeat", "60"),
    ("obs.policy.sample_by", "trace"),
    ("obs.policy.sample_rate", "0.5"),
    ("obs.policy.slo", "250ms"),
    ("obs.policy.trace_entries", "7"),
    ("obs.store.url", "\"sqlite:./x.sqlite\""),
    ("obs.store.url_file", "/dev/null"),
    ("obs.store.migrate", "external"),
    ("obs.store.required", "true"),
    ("obs.queue.records", "5"),
    ("obs.retention.ok", "off"),
    ("obs.retention.error", "7"),
    ("obs.spool.mode", "off"),
    ("obs.spool.dir", "/spool"),
    ("obs.spool.bytes_max", "8388608"),
    ("obs.spool.fsync", "always"),
    ("obs.lost_runs", "off"),
    ("obs.capture_input", "shape"),
    ("obs.redact.keys", "[+salary]"),
    ("obs.redact.allow", "[amount]"),
    ("obs.redact.patterns", "false"),
    ("obs.subject.key", "a key of more than 16 bytes"),
    ("obs.subject.key_file", "/dev/null"),
    ("obs.otlp.headers_file", "/dev/null"),
    ("obs.prometheus.token", "0123456789abcdef0123"),
    ("obs.prometheus.token_file", "/dev/null"),
    ("obs.sentry.dsn", "https://abc@o1.example/42"),
    ("obs.sentry.dsn_file", "/dev/null"),
    ("obs.sentry.certificate", "/dev/null"),
    ("obs.sentry.environment", "staging"),
    ("obs.sentry.release", "\"1.4\""),
    ("obs.sentry.trace_rate", "0.5"),
    ("obs.sentry.personal_data", "true"),
];

/// `obs.a.b: value` as a file.
fn file_of(path: &str, value: &str) -> String {
    let mut text = "file_format: \"1.0\"\n".to_owned();
    let keys: Vec<_> = path.split('.').collect();
    for (depth, key) in keys.iter().enumerate() {
        let value = if depth + 1 == keys.len() { value } else { "" };
        text.push_str(&format!("{}{key}: {value}\n", "  ".repeat(depth)));
    }
    text
}

#[test]
fn every_key_of_ours_takes_a_value_and_refuses_one_of_another_kind_by_its_name_and_line() {
    for (path, value) in OURS {
        let of_file = path.ends_with("_file");
        let outcome = checked(&file_of(path, value));
        // An empty file holds no secret, and says so by the name of the key.
        assert_eq!(outcome.is_err(), of_file, "{path}: {outcome:?}");
        let bad = message(&file_of(path, "{ a: b }"));
        let line = path.split('.').count() + 1;
        assert!(bad.starts_with(&format!("obs.yaml:{line}: {path}: not ")), "{bad}");
    }
    let mut paths: Vec<_> = OURS.iter().map(|(path, _)| (*path).to_owned()).collect();
    let mut known: Vec<_> = KEYS.iter().map(|(_, key)| format!("obs.{key}")).collect();
    paths.sort();
    known.sort();
    assert_eq!(paths, known, "the table is complete");
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Compares what is generated with what is in the repository; `OBS_TEST_REGENERATE=1` writes it.
#[expect(clippy::disallowed_methods, reason = "how `just configuration` asks for new files")]
fn same_or_written(name: &str, generated: &str) {
    let path = repository().join(name);
    if std::env::var("OBS_TEST_REGENERATE").is_ok_and(|value| value == "1") {
        std::fs::write(&path, generated).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == generated, "{name} is not what the types say: run `just configuration`");
}

#[test]
fn the_schema_in_the_repository_is_that_of_the_types() {
    same_or_written("docs/obs.schema.json", &crate::Configuration::schema());
}

#[test]
fn the_table_in_the_documentation_is_that_of_the_types() {
    let head = include_str!("head.md");
    let text = format!("{head}{}", crate::Configuration::reference());
    same_or_written("docs/configuration.md", &text);
}
