//! The numbers that are printed agree with one another.

use serde_json::Value;

use crate::{Quickstart, sum, whole};

const RUNS: u64 = 4_000;

fn runs(report: &Value) -> &Vec<Value> {
    report["runs"].as_array().unwrap()
}

/// The law of the ledger for one class, checked here from the terms as they are printed.
fn assert_balanced(class: &Value) {
    let term = |name: &str| whole(&class[name]);
    let dropped = sum(class["dropped"].as_object().unwrap().values().map(whole));
    let right = ["sampled_out", "persisted", "quarantined", "in_queue", "spooled"].map(term);
    assert_eq!(term("recorded") + term("adopted"), sum(right) + dropped, "{class}");
    assert_eq!(class["imbalance"], 0);
}

#[test]
fn without_any_configuration_every_run_is_measured_and_every_kept_row_is_stored() {
    let quickstart = Quickstart::new();
    let report = quickstart.json(&format!("--runs {RUNS} --seed 7"), &[]);

    assert_eq!(sum(runs(&report).iter().map(|line| whole(&line["count"]))), RUNS);
    assert_eq!(report["active"], 0);
    let ledger = &report["ledger"];
    assert_balanced(&ledger["ok"]);
    assert_balanced(&ledger["error"]);
    assert_eq!(ledger["imbalance"], 0);
    assert_eq!(whole(&ledger["ok"]["recorded"]) + whole(&ledger["error"]["recorded"]), RUNS);

    let persisted = whole(&ledger["ok"]["persisted"]) + whole(&ledger["error"]["persisted"]);
    assert_eq!(whole(&report["store"]["rows"]), persisted);
    assert_eq!(sum(report["kept"].as_object().unwrap().values().map(whole)), persisted);
    assert_eq!(report["store"]["url"], "sqlite:./obs.sqlite");
    assert!(quickstart.dir.path().join("obs.sqlite").exists());
}

#[test]
fn a_short_queue_makes_the_program_wait_and_no_row_is_lost() {
    let variables = [("OBS_QUEUE_RECORDS", "64"), ("OBS_SAMPLE_RATE", "1")];
    let report = Quickstart::new().json("--runs 1000 --seed 7 --threads 4", &variables);
    assert_eq!(whole(&report["store"]["rows"]), 1_000);
    assert_eq!(whole(&report["ledger"]["ok"]["dropped"]["queue_full"]), 0);
}

#[test]
fn a_failure_is_counted_the_same_in_runs_errors_ledger_and_rows() {
    let report = Quickstart::new().json(&format!("--runs {RUNS} --seed 7"), &[]);
    let failed = runs(&report).iter().filter(|line| line["status"] != "ok");
    let failures = sum(failed.map(|line| whole(&line["count"])));
    assert!(failures > 0);
    assert_eq!(sum(report["errors"].as_object().unwrap().values().map(whole)), failures);
    assert_eq!(whole(&report["ledger"]["error"]["recorded"]), failures);
    assert_eq!(whole(&report["kept"]["failure"]), failures);
    let codes: Vec<_> = report["errors"].as_object().unwrap().keys().collect();
    assert_eq!(codes, ["MISSING_FIELD", "NODE_LIMIT", "NOT_A_NUMBER"]);
}

#[test]
fn every_strategy_ran_and_ended_in_the_ways_that_its_rule_has() {
    let report = Quickstart::new().json(&format!("--runs {RUNS} --seed 7"), &[]);
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let key = |line| (text(line, "strategy"), text(line, "version"), text(line, "status"));
    let lines: Vec<_> = runs(&report).iter().map(key).collect();
    let expected = [
        ("aftershock-scan", "3", "limit"),
        ("aftershock-scan", "3", "ok"),
        ("alert-triage", "7", "ok"),
        ("depth-quality", "1", "error"),
        ("depth-quality", "1", "ok"),
        ("felt-correlation", "1", "ok"),
        ("magnitude-score", "1", "ok"),
        ("magnitude-score", "2", "ok"),
    ]
    .map(|(strategy, version, status)| (strategy.into(), version.into(), status.into()));
    assert_eq!(lines, expected);
}

#[test]
fn a_line_of_runs_is_one_histogram() {
    let report = Quickstart::new().json(&format!("--runs {RUNS} --seed 7"), &[]);
    for line in runs(&report) {
        let (p50, p95) = (line["p50_s"].as_f64().unwrap(), line["p95_s"].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p95, "{line}");
        assert!(line["duration_sum_s"].as_f64().unwrap() > 0.0, "{line}");
        assert!(whole(&line["nodes_sum"]) > 0, "{line}");
        let buckets = line["buckets"].as_array().unwrap();
        let counts: Vec<_> = buckets.iter().map(|bucket| whole(&bucket["count"])).collect();
        assert!(counts.is_sorted(), "{line}");
        assert_eq!(counts.last().copied(), Some(whole(&line["count"])), "{line}");
        assert_eq!(buckets.last().unwrap()["le"], "+Inf");
        assert!(buckets.iter().any(|bucket| bucket["le"] == "0.25"), "the SLO is a bound: {line}");
    }
    // Known from the rules: 2 nodes in each run, and the limit of 80.
    let line = |strategy, version, status| {
        let is_it = |line: &&Value| {
            line["strategy"] == strategy && line["version"] == version && line["status"] == status
        };
        runs(&report).iter().find(is_it).unwrap()
    };
    let score = line("magnitude-score", "1", "ok");
    assert_eq!(whole(&score["nodes_sum"]), 2 * whole(&score["count"]));
    let scan = line("aftershock-scan", "3", "limit");
    assert_eq!(whole(&scan["nodes_sum"]), 80 * whole(&scan["count"]));
}

#[test]
fn the_page_for_people_shows_runs_reasons_ledger_rows_and_what_to_type_next() {
    let output = Quickstart::new().run("--runs 500 --seed 7", &[]);
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for part in [
        "500 runs over 1707 earthquakes",
        "aftershock-scan   3        limit",
        "Failures by error.type: ",
        "Kept rows by reason:    failure ",
        "imbalance 0",
        "of this run in sqlite:./obs.sqlite",
        "FROM run_stats WHERE kind = 'quake.rule'",
        "sqlite3 ./obs.sqlite ",
        "OBS_STORE=postgres://",
        "OTEL_EXPORTER_OTLP_ENDPOINT=",
    ] {
        assert!(page.contains(part), "`{part}` is missing from\n{page}");
    }
}

#[test]
fn a_store_that_is_down_costs_rows_and_nothing_else() {
    let variables = [("OBS_STORE", "postgres://nobody:hunter2@127.0.0.1:9/nothing")];
    let output = Quickstart::new().run("--runs 400 --seed 7 --json", &variables);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let page = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(sum(runs(&report).iter().map(|line| whole(&line["count"]))), 400);
    assert_eq!(report["ledger"]["imbalance"], 0);
    assert_balanced(&report["ledger"]["error"]);
    assert!(whole(&report["ledger"]["error"]["in_queue"]) > 0);
    assert_eq!(report["store"]["rows"], Value::Null);
    assert_eq!(report["store"]["url"], "postgres://nobody@127.0.0.1:9/nothing");
    assert!(!format!("{page}{errors}").contains("hunter2"));
}

#[test]
fn with_rows_off_runs_are_measured_all_the_same() {
    let report = Quickstart::new().json("--runs 400", &[("OBS_ENABLED", "false")]);
    assert_eq!(sum(runs(&report).iter().map(|line| whole(&line["count"]))), 400);
    assert_eq!(report["store"]["url"], Value::Null);
    assert_eq!(report["ledger"]["imbalance"], 0);
}
