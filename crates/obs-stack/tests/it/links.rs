//! Links from dashboards and exemplars lead to dashboards that there are, with variables that those have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use obs_stack::{OUTPUTS, root};
use serde_json::Value;

const DATA_SOURCES: &str = "grafana/provisioning/datasources/obs.yaml";

/// The address of each dashboard, and its variables.
fn dashboards() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for dashboard in documents() {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let variables = variables.iter().map(|variable| text(&variable["name"])).collect();
        found.insert(text(&dashboard["uid"]), variables);
    }
    found
}

fn documents() -> Vec<Value> {
    let paths = OUTPUTS.iter().filter(|(_, path)| path.ends_with(".json"));
    let read = |(_, path): &(&str, &str)| {
        serde_json::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
    };
    paths.map(read).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn a_point_leads_to_the_rows_of_its_strategy_or_realm_around_its_time() {
    let dashboards = dashboards();
    let mut linked = BTreeSet::new();
    for dashboard in documents() {
        for panel in dashboard["panels"].as_array().unwrap() {
            let links = panel["fieldConfig"]["defaults"]["links"].as_array().into_iter().flatten();
            for link in links {
                let url = text(&link["url"]);
                let variable = leads_somewhere(&url, &dashboards);
                assert!(url.contains("time=${__value.time}&time.window="), "{url}");
                // A label that the panel's query sums away would be empty in the link.
                let label = url.split("${__field.labels.").nth(1).unwrap();
                let label = label.split('}').next().unwrap();
                for target in panel["targets"].as_array().unwrap() {
                    let query = text(&target["expr"]);
                    let by =
                        query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
                    let keeps = |list: &str| list.split(", ").any(|one| one == label);
                    assert!(by.clone().count() > 0 && by.clone().all(keeps), "{label}: {query}");
                }
                linked.insert(variable);
            }
        }
    }
    assert_eq!(linked.into_iter().collect::<Vec<_>>(), ["realm", "strategy"]);
}

#[test]
fn an_exemplar_leads_to_the_row_of_its_run() {
    let sources: Value =
        serde_saphyr::from_str(&fs::read_to_string(root().join(DATA_SOURCES)).unwrap()).unwrap();
    let prometheus = &sources["datasources"][0];
    let links = prometheus["jsonData"]["exemplarTraceIdDestinations"].as_array().unwrap();
    let run = links.iter().find(|link| link["name"] == "run_id").unwrap();
    assert_eq!(leads_somewhere(&text(&run["url"]), &dashboards()), "run");
    // What our own page calls the id on an exemplar.
    let folder = tempfile::tempdir().unwrap();
    let telemetry = obs::builder()
        .environment(obs::Environment::empty())
        .store(format!("sqlite:{}/runs.sqlite", folder.path().display()))
        .snapshots(true)
        .init()
        .unwrap();
    let bonus = telemetry.kind("dsl").lookup("bonus", "1");
    let _: Result<(), String> = bonus.observe(&(), |_| Err("no points".to_owned()));
    let page = telemetry.metrics_text(obs::http::MetricsFormat::OpenMetrics).unwrap();
    let exemplars = page.lines().filter(|line| line.contains(" # {") && line.contains("run_id=\""));
    assert!(exemplars.count() > 0, "{page}");
}

/// The first variable that a link sets.
fn leads_somewhere(url: &str, dashboards: &BTreeMap<String, BTreeSet<String>>) -> String {
    let (path, parameters) = url.split_once('?').unwrap();
    let variables = &dashboards[path.strip_prefix("/d/").unwrap()];
    let set: Vec<&str> = parameters
        .split('&')
        .filter_map(|parameter| parameter.strip_prefix("var-")?.split('=').next())
        .collect();
    assert!(!set.is_empty() && set.iter().all(|one| variables.contains(*one)), "{url}");
    set[0].to_owned()
}
