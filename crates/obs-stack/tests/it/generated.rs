//! What is committed is what the registry makes.

use std::{collections::BTreeSet, fs};

use obs_stack::{Instrument, OUTPUTS, Registry, generate, root};
use serde_json::Value;

#[test]
fn what_is_committed_is_what_the_registry_makes() {
    let registry = Registry::read(&root()).unwrap();
    for file in generate(&root(), &registry).unwrap() {
        let committed = fs::read_to_string(root().join(file.path)).unwrap_or_default();
        assert!(
            committed == file.text,
            "{} is not what the registry makes: change registry/ and run `just registry`",
            file.path
        );
    }
}

/// A name typed into a template by hand would pass the generator.
#[test]
fn rules_and_dashboards_ask_for_names_of_the_registry_only() {
    let registry = Registry::read(&root()).unwrap();
    let known = known_words(&registry);
    let mut asked = 0;
    for (path, query) in queries() {
        for word in words(&query) {
            let ours = ["obs_", "http_server_", "process_"].iter().any(|own| word.starts_with(own));
            assert!(!ours || known.contains(word), "{path}: no {word} in the registry: {query}");
            asked += usize::from(ours);
        }
    }
    assert!(asked > 100, "only {asked} names were looked at");
}

#[test]
fn every_metric_of_a_pipeline_is_on_a_dashboard_or_in_a_rule() {
    let registry = Registry::read(&root()).unwrap();
    let queries: Vec<String> = queries().into_iter().map(|(_, query)| query).collect();
    // Seen with the runtime's own snapshot, or as part of another one.
    let elsewhere = |name: &str| {
        let parts =
            ["process.uptime", "obs.runtime.", "http.server.", "obs.run.queue.", "obs.run.errors"];
        parts.iter().any(|part| name.starts_with(part))
    };
    for metric in registry.metrics.iter().filter(|metric| !elsewhere(&metric.name)) {
        let shown = queries.iter().any(|query| query.contains(metric.prometheus_name()));
        assert!(shown, "nobody looks at {}", metric.name);
    }
}

fn known_words(registry: &Registry) -> BTreeSet<String> {
    let mut known: BTreeSet<String> =
        registry.attributes.keys().map(|key| key.replace('.', "_")).collect();
    for metric in &registry.metrics {
        let name = metric.prometheus_name();
        if metric.instrument == Instrument::Histogram {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        } else {
            known.insert(name.to_owned());
        }
    }
    known
}

/// Every query to Prometheus in the rules and on the dashboards, and where it stands.
pub(crate) fn queries() -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (_, path) in OUTPUTS {
        let text = fs::read_to_string(root().join(path)).unwrap();
        if path.ends_with(".json") {
            let dashboard: Value = serde_json::from_str(&text).unwrap();
            collect(&dashboard, &mut |query| found.push((path, query)));
        } else if path.ends_with(".yaml") {
            let rules: Value = serde_saphyr::from_str(&text).unwrap();
            collect(&rules, &mut |query| found.push((path, query)));
        }
    }
    found
}

fn collect(value: &Value, with: &mut impl FnMut(String)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(query) if key == "expr" || key == "query" => with(query.clone()),
                    other => collect(other, with),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, with)),
        _ => {}
    }
}

/// The words of a query that could be names: texts in quotation marks aside, names of recorded series, too.
fn words(query: &str) -> Vec<&str> {
    let outside = query.split('"').step_by(2);
    outside
        .flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':'))
        .filter(|word| !word.contains(':'))
        .collect()
}
