//! The rules as Prometheus reads them, and what they do in a healthy hour, under each fault, and when nothing is wrong
//! although it looks odd.

mod faults;
mod world;

use std::{fs, process::Command};

use obs_stack::root;
use serde_json::{Value, json};

use crate::programs::{PROMTOOL, run};
use world::World;

const RULES: [&str; 2] = ["recording", "alerts"];

#[test]
fn promtool_finds_nothing_wrong_with_the_rules() {
    let Some(promtool) = PROMTOOL.find() else { return };
    let rules = RULES.map(|name| root().join(format!("prometheus/rules/{name}.yaml")));
    let mut check = Command::new(promtool);
    run(check.args(["check", "rules", "--lint=all", "--lint-fatal"]).args(rules)).unwrap();
}

#[test]
fn a_healthy_hour_is_silent() {
    test_rules(&[World::healthy().case("a healthy hour", &[])]);
}

#[test]
fn each_fault_fires_its_alert_with_its_labels_within_its_window() {
    let faults = faults::all();
    let alerts: std::collections::BTreeSet<_> =
        faults.iter().flat_map(|(_, _, expected)| expected.iter().map(|one| one.alert)).collect();
    let untested: Vec<_> =
        alert_names().into_iter().filter(|name| !alerts.contains(&**name)).collect();
    assert!(untested.is_empty(), "no fault fires {untested:?}");
    let cases: Vec<_> =
        faults.iter().map(|(name, world, expected)| world.case(name, expected)).collect();
    test_rules(&cases);
}

/// Half of the runs fail and are slow, but there are only twelve an hour.
#[test]
fn low_traffic_is_silent_however_bad_its_ratios_are() {
    test_rules(&[faults::low_traffic().case("low traffic", &[])]);
}

#[test]
fn a_restart_is_silent_under_the_old_instance_id_and_under_a_new_one() {
    test_rules(&[
        faults::restart_in_place().case("restart in place", &[]),
        faults::restart_as_another().case("restart as another instance", &[]),
    ]);
}

#[test]
fn a_series_that_is_absent_pages_nobody() {
    let healthy = World::healthy();
    let cases: Vec<_> = healthy
        .names()
        .iter()
        .map(|name| healthy.without(name).case(&format!("without {name}"), &[]))
        .collect();
    assert!(cases.len() > 10, "{}", cases.len());
    test_rules(&cases);
}

#[test]
fn every_alert_has_a_severity_a_summary_and_a_link_to_its_page() {
    for rule in alerts() {
        let name = rule["alert"].as_str().unwrap();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["warning", "critical"].contains(&severity), "{name}: {severity}");
        assert!(
            rule["annotations"]["summary"].as_str().is_some_and(|text| text.len() > 10),
            "{name}"
        );
        let page = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(root().join(page).is_file(), "{name}: no page {page}");
    }
}

/// The alerting rules.
pub(crate) fn alerts() -> Vec<Value> {
    let text = fs::read_to_string(root().join("prometheus/rules/alerts.yaml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

pub(crate) fn alert_names() -> Vec<String> {
    alerts().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

/// Lets promtool play the cases.
fn test_rules(cases: &[Value]) {
    let Some(promtool) = PROMTOOL.find() else { return };
    let rules = RULES.map(|name| root().join(format!("prometheus/rules/{name}.yaml")));
    let tests = json!({
        "rule_files": rules,
        "evaluation_interval": "30s",
        "group_eval_order": ["obs-runs", "obs-kept", "obs-service-level", "obs-records", "obs-exports"],
        "tests": cases,
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tests.yaml");
    fs::write(&file, tests.to_string()).unwrap();
    let said = run(Command::new(promtool).args(["test", "rules"]).arg(file));
    if let Err(said) = said {
        let short: Vec<_> = said.lines().take(60).collect();
        panic!("{}", short.join("\n"));
    }
}
