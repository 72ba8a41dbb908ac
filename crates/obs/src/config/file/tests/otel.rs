//! Every key of OpenTelemetry's part that is documented: it takes a value, the value has an effect, and one of
//! another kind is refused by its name and line.

use super::*;
use crate::config::file::reference::{Row, rows};

/// What a group needs beside the key that is looked at: the end of its path, the key, a line.
const NEEDS: [(&str, &str, &str); 14] = [
    ("meter_provider", "readers", "readers: [{ periodic: { exporter: { console: } } }]"),
    ("tracer_provider", "processors", "processors: [{ simple: { exporter: { console: } } }]"),
    ("logger_provider", "processors", "processors: [{ simple: { exporter: { console: } } }]"),
    (".periodic", "exporter", "exporter: { console: }"),
    (".pull", "exporter", "exporter: { prometheus/development: }"),
    (".batch", "exporter", "exporter: { console: }"),
    (".simple", "exporter", "exporter: { console: }"),
    (".views[]", "selector", "selector: { instrument_name: x }"),
    (".views[]", "stream", "stream: { description: y }"),
    (".headers[]", "name", "name: x-key"),
    (".headers[]", "value", "value: v"),
    (".tls", "cert_file", "cert_file: /x.pem"),
    (".tls", "key_file", "key_file: /x.key"),
    ("resource.attributes[]", "name", "name: replicas"),
];

/// Values of keys that others of their type would not take, or would not change.
const VALUES: [(&str, &str); 21] = [
    ("file_format", "\"1.5\""),
    ("disabled", "true"),
    ("log_level", "debug"),
    (".compression", "gzip"),
    (".encoding", "protobuf"),
    (".endpoint", "http://collector:1"),
    (".default_histogram_aggregation", "base2_exponential_bucket_histogram"),
    (".temporality_preference", "delta"),
    (".exemplar_filter", "always_off"),
    (".instrument_type", "histogram"),
    (".host", "127.0.0.1"),
    (".boundaries", "[1, 2]"),
    (".included", "[a]"),
    (".excluded", "[a]"),
    (".composite_list", "baggage"),
    (".attributes_list", "a=b"),
    (".headers_list", "a=b"),
    ("resource.attributes[].type", "int"),
    ("resource.attributes[].value", "7"),
    (".ratio", "0.5"),
    (".instrument_name", "z"),
];

/// Keys whose one value is what is shown without them, too.
const WITHOUT_A_TRACE: [&str; 2] = ["file_format", ".encoding"];
/// What the format has, and OpenTelemetry's SDK does not: refused for a reason of its own.
const REFUSED: [&str; 1] = [".attribute_keys.excluded"];
/// Lists that may be empty.
const MAY_BE_EMPTY: [&str; 2] = [".boundaries", "obs.policy.rules"];

fn is_one_of(path: &str, ends: &[&str]) -> bool {
    ends.iter().any(|end| path.ends_with(end))
}

/// A file with the key and all that it needs beside it; without a value, the same without the key.
fn file_of(path: &str, value: Option<&str>) -> String {
    let mut text = "file_format: \"1.0\"\n".to_owned();
    let (mut group, mut indent) = (String::new(), 0);
    let parts: Vec<&str> = path.split('.').collect();
    for (at, part) in parts.iter().enumerate() {
        let key = part.trim_end_matches("[]");
        if key == "file_format" {
            return value.map_or(text, |value| format!("file_format: {value}\n"));
        }
        let spaces = "  ".repeat(indent);
        for (of, needed, line) in NEEDS {
            if group.ends_with(of) && needed != key {
                text.push_str(&format!("{spaces}{line}\n"));
            }
        }
        if group == "resource.attributes[]" && key != "value" {
            let other = if key == "type" { "7" } else { "seven" };
            text.push_str(&format!("{spaces}value: {other}\n"));
        }
        if group == "resource.attributes[]" && key == "value" {
            text.push_str(&format!("{spaces}type: int\n"));
        }
        group = if group.is_empty() { (*part).to_owned() } else { format!("{group}.{part}") };
        let is_last = at + 1 == parts.len();
        match value {
            Some(value) if is_last => text.push_str(&format!("{spaces}{key}: {value}\n")),
            None if is_last => {}
            // A group that would be empty is one all the same.
            None if at + 2 == parts.len() && !has_needs(&group, parts[at + 1]) => {
                let empty = if part.ends_with("[]") { "[{}]" } else { "{}" };
                text.push_str(&format!("{spaces}{key}: {empty}\n"));
            }
            _ => text.push_str(&format!("{spaces}{key}:\n")),
        }
        indent += 1;
        if part.ends_with("[]") && !is_last {
            text.push_str(&format!("{}-\n", "  ".repeat(indent)));
            indent += 1;
        }
    }
    text
}

fn has_needs(group: &str, key: &str) -> bool {
    group == "resource.attributes[]"
        || NEEDS.iter().any(|(of, needed, _)| group.ends_with(of) && *needed != key)
}

/// A value that the key takes; `None` for a group, which its own keys try out.
fn value_of(row: &Row) -> Option<&'static str> {
    if let Some((_, value)) = VALUES.iter().find(|(end, _)| row.path.ends_with(end)) {
        return Some(value);
    }
    match &*row.kind {
        "group" | "one of the keys below" => None,
        "list" if row.path.ends_with("[]") => None,
        "switch" => Some("false"),
        "whole number" => Some("7"),
        "text" | "secret" => Some("xyz"),
        kind => panic!("{}: no value for the type {kind}", row.path),
    }
}

fn of_opentelemetry() -> impl Iterator<Item = Row> {
    rows().into_iter().filter(|row| row.path != "obs" && !row.path.starts_with("obs."))
}

fn shown(text: &str) -> Result<String, String> {
    let environment = environment();
    let read = crate::Configuration::parse("obs.yaml", text, &environment);
    read.map(|read| read.show()).map_err(|error| error.to_string())
}

#[test]
fn every_documented_key_of_opentelemetry_takes_a_value_that_has_an_effect() {
    let mut tried = 0;
    for row in of_opentelemetry() {
        let Some(value) = value_of(&row) else { continue };
        let (with, without) = (file_of(&row.path, Some(value)), file_of(&row.path, None));
        let outcome = shown(&with);
        if is_one_of(&row.path, &REFUSED) {
            assert!(outcome.unwrap_err().contains("OpenTelemetry's SDK"), "{}", row.path);
            continue;
        }
        assert!(outcome.is_ok(), "{}: {outcome:?}\n{with}", row.path);
        let has_effect = outcome != shown(&without);
        let expected = !is_one_of(&row.path, &WITHOUT_A_TRACE);
        assert_eq!(has_effect, expected, "{}\n{with}\nwithout:\n{without}", row.path);
        tried += 1;
    }
    assert!(tried > 80, "{tried} keys");
}

#[test]
fn every_documented_key_of_opentelemetry_refuses_another_kind_by_its_name_and_line() {
    for row in of_opentelemetry() {
        let bad = if value_of(&row).is_some() { "{ zz: { zz: 1 } }" } else { "7" };
        let text = file_of(&row.path, Some(bad));
        let line = text.lines().position(|line| line.ends_with(&format!(": {bad}"))).unwrap() + 1;
        let said = shown(&text).expect_err(&text);
        let path = row.path.strip_suffix("[]").unwrap_or(&row.path).replace("[]", "[0]");
        assert!(said.starts_with(&format!("obs.yaml:{line}: {path}")), "{said}\n{text}");
    }
}

#[test]
fn a_list_has_entries_in_every_place_where_opentelemetrys_schema_wants_some() {
    let mut tried = 0;
    for row in rows().into_iter().filter(|row| row.kind == "list") {
        let path = row.path.strip_suffix("[]").unwrap_or(&row.path);
        let text = file_of(path, Some("[]"));
        if is_one_of(path, &MAY_BE_EMPTY) {
            assert!(shown(&text).is_ok(), "{text}");
            continue;
        }
        let said = shown(&text).expect_err(&text);
        let path = path.replace("[]", "[0]");
        assert!(said.contains(&format!(": {path} is an empty list: write an entry")), "{said}");
        tried += 1;
    }
    assert!(tried > 12, "{tried} lists");
}
