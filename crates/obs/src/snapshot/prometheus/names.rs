//! Names and labels by OpenTelemetry's rules for Prometheus.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::snapshot::Metric;

/// The name without a counter's ending, and the unit that it ends in.
pub(super) fn name(metric: &Metric, kind: &str) -> (String, &'static str) {
    let mut name = word(&metric.name, true);
    let unit = match &*metric.unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "min" => "minutes",
        "h" => "hours",
        "d" => "days",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "1" if kind == "gauge" => "ratio",
        "%" => "percent",
        _ => "",
    };
    let has = |name: &str, end: &str| name == end || name.ends_with(&format!("_{end}"));
    if kind == "counter" && has(&name, "total") {
        name.truncate(name.len().saturating_sub("_total".len()));
    }
    if !unit.is_empty() && !has(&name, unit) {
        name = format!("{name}_{unit}");
    }
    let ends_in_it = name.ends_with(&format!("_{unit}"));
    (name, if ends_in_it { unit } else { "" })
}

/// Letters, digits and underscores, and in a metric's name colons, not beginning with a digit.
fn word(text: &str, colons: bool) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let mut word: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if word.starts_with(|c: char| c.is_ascii_digit()) || word.is_empty() {
        word.insert(0, '_');
    }
    word
}

/// `key="value"` pairs. Keys that become the same share their values, as OpenTelemetry's rules say.
pub(super) fn labels(attributes: &BTreeMap<String, String>) -> Vec<String> {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in attributes {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        match labels.entry(word(key, false)) {
            Entry::Vacant(free) => {
                free.insert(value);
            }
            Entry::Occupied(mut same) => {
                let same = same.get_mut();
                same.push(';');
                same.push_str(&value);
            }
        }
    }
    labels.into_iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect()
}
