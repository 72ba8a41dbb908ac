//! Every query of every dashboard, asked of a Prometheus and a Postgres that have data.

use std::{cell::RefCell, fs};

use obs_stack::{OUTPUTS, root};
use serde_json::Value;

use super::quickstart::program;
use crate::stack::{Stack, until};

/// What a program without HTTP, a time limit, gauges of its own and exported spans and log records, to which
/// nothing happens, has nothing for.
const EMPTY: [&str; 7] = [
    "http_server_",
    "obs_export_dropped_",
    "obs_run_time_limit_",
    "obs_run_oldest_age_",
    "obs_instrument_failures_",
    "obs_run_untracked_",
    // Known once an hour.
    "obs_store_oldest_age_",
];

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn every_query_of_every_dashboard_is_answered_with_data() {
    let Some(stack) = Stack::start() else { return };
    let folder = stack.folder.clone();
    let mut running = program(&stack, "shop", "http/protobuf", &stack.http(), &folder)
        .args(["--runs", "100000000", "--threads", "1"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until(
        || "runs a minute",
        || {
            let rate = stack.prometheus.number("sum(rate(obs_run_errors_total{job=\"shop\"}[1m]))");
            rate.filter(|rate| *rate > 0.0)
        },
    );
    until(
        || "rows",
        || {
            let rows =
                stack.postgres.ask("SELECT count(*) FROM obs.run WHERE status <> 'ok'").ok()?;
            (rows != ["0"]).then_some(())
        },
    );
    let targets = targets();
    assert!(targets.len() > 40, "only {} queries", targets.len());
    let empty = RefCell::new(Vec::new());
    let what = || format!("data in every panel; without: {:#?}", empty.borrow());
    // A rate needs two exports, a quantile of writes two writes.
    until(what, || {
        let mut without = Vec::new();
        for (place, target) in &targets {
            let found = answers(&stack, target).unwrap_or_else(|error| panic!("{place}: {error}"));
            let may_be_empty = EMPTY.iter().any(|metric| target.to_string().contains(metric));
            if found == 0 && !may_be_empty {
                without.push(format!("{place}: {target}"));
            }
        }
        let none = without.is_empty();
        *empty.borrow_mut() = without;
        none.then_some(())
    });
    running.kill().unwrap();
    running.wait().unwrap();
}

/// Every query, and where it stands.
fn targets() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (_, path) in OUTPUTS.iter().filter(|(_, path)| path.ends_with(".json")) {
        let dashboard: Value =
            serde_json::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                found.push((format!("{path}: {title}"), target.clone()));
            }
        }
    }
    found
}

/// How many series or rows a panel's query gives, with Grafana's variables as a person would choose them first.
fn answers(stack: &Stack, target: &Value) -> Result<usize, String> {
    if let Some(query) = target["expr"].as_str() {
        let mut query = query.replace("$__rate_interval", "1m").replace("$__range", "5m");
        for variable in ["job", "kind", "realm", "strategy"] {
            query = query.replace(&format!("\"${variable}\""), "\".*\"");
        }
        assert!(!query.contains('$'), "{query}");
        return stack.prometheus.ask(&query).map(|samples| samples.len());
    }
    let query = target["rawSql"].as_str().unwrap();
    let mut query =
        query.replace("$__timeFrom()", "now() - interval '1 hour'").replace("$__timeTo()", "now()");
    for variable in ["strategy", "realm", "run"] {
        query = query.replace(&format!("'${variable}'"), "'%'");
    }
    assert!(!query.contains('$'), "{query}");
    stack.postgres.ask(&query).map(|rows| rows.len())
}
