//! The quickstart's own numbers, asked of Prometheus.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    programs::built,
    stack::{Prometheus, Stack, until},
};

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn over_grpc_prometheus_has_what_the_quickstart_printed() {
    prometheus_has_what_the_quickstart_printed("grpc");
}

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn over_http_prometheus_has_what_the_quickstart_printed() {
    prometheus_has_what_the_quickstart_printed("http/protobuf");
}

fn prometheus_has_what_the_quickstart_printed(protocol: &str) {
    let Some(stack) = Stack::start() else { return };
    let job = "quickstart";
    let endpoint = if protocol == "grpc" { stack.grpc() } else { stack.http() };
    let output = program(&stack, job, protocol, &endpoint, &stack.folder)
        .args(["--runs", "5000", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let asked = Asked { prometheus: &stack.prometheus, job };
    asked.is("obs_run_started_total", "", 5000.0);
    asked.runs(&printed);
    asked.errors(&printed);
    asked.ledger(&printed);
    asked.is("obs_run_active", "", 0.0);
    asked.is("obs_record_imbalance", "", 0.0);
    let rows = stack.postgres.ask("SELECT count(*) FROM obs.run").unwrap();
    assert_eq!(rows, [printed["store"]["rows"].to_string()]);
    // The other way out of the agent shows the same.
    let scraped = crate::stack::scraped(stack.scrape);
    let started = scraped.lines().filter(|line| line.starts_with("obs_run_started_total{"));
    let started: f64 =
        started.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert_eq!(started, 5000.0);
}

/// The quickstart, built before, with the settings of this stack.
pub(super) fn program(
    stack: &Stack,
    job: &str,
    protocol: &str,
    endpoint: &str,
    folder: &Path,
) -> Command {
    let mut command = Command::new(built("quickstart"));
    command
        .env_clear()
        .env("OTEL_SERVICE_NAME", job)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "500")
        .env("OBS_STORE", &stack.postgres.url)
        .env("OBS_SPOOL_DIR", folder.join(format!("spool-{job}")))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

struct Asked<'a> {
    prometheus: &'a Prometheus,
    job: &'a str,
}

impl Asked<'_> {
    fn sum(&self, name: &str, matchers: &str) -> Option<f64> {
        let job = self.job;
        self.prometheus.number(&format!("sum({name}{{job=\"{job}\"{matchers}}})"))
    }

    /// Waits for it: an export arrives series by series.
    #[track_caller]
    fn is(&self, name: &str, matchers: &str, expected: f64) {
        let job = self.job;
        self.prometheus.comes_to(&format!("sum({name}{{job=\"{job}\"{matchers}}})"), expected);
    }

    fn runs(&self, printed: &Value) {
        let lines = printed["runs"].as_array().unwrap();
        let mut nodes: BTreeMap<String, f64> = BTreeMap::new();
        for line in lines {
            let text = |key: &str| line[key].as_str().unwrap();
            let strategy = format!(
                ",obs_strategy_id=\"{}\",obs_strategy_version=\"{}\"",
                text("strategy"),
                text("version")
            );
            *nodes.entry(strategy.clone()).or_default() += line["nodes_sum"].as_f64().unwrap();
            let series = format!("{strategy},obs_run_status=\"{}\"", text("status"));
            let count = line["count"].as_f64().unwrap();
            self.is("obs_run_duration_seconds_count", &series, count);
            self.is("obs_run_duration_seconds_bucket", &format!("{series},le=\"+Inf\""), count);
            let sum = self.sum("obs_run_duration_seconds_sum", &series).unwrap();
            let said = line["duration_sum_s"].as_f64().unwrap();
            assert!((sum - said).abs() <= 1e-9 * said, "{series}: {sum} {said}");
            self.buckets(&series, &line["buckets"]);
        }
        for (strategy, nodes) in nodes {
            self.is("obs_run_nodes_sum", &strategy, nodes);
        }
        self.is("obs_run_duration_seconds_count", "", 5000.0);
    }

    fn buckets(&self, series: &str, said: &Value) {
        let query = format!(
            "sum by (le) (obs_run_duration_seconds_bucket{{job=\"{}\"{series}}})",
            self.job
        );
        let bound = |text: &str| text.replace("+Inf", "inf").parse::<f64>().unwrap();
        let mut shown: Vec<_> = self.prometheus.ask(&query).unwrap();
        shown.sort_by(|(one, _), (other, _)| bound(&one["le"]).total_cmp(&bound(&other["le"])));
        let shown: Vec<_> =
            shown.iter().map(|(labels, count)| (bound(&labels["le"]), *count)).collect();
        let said = said.as_array().unwrap().iter();
        let said: Vec<_> = said
            .map(|one| (bound(one["le"].as_str().unwrap()), one["count"].as_f64().unwrap()))
            .collect();
        assert_eq!(shown, said, "{series}");
    }

    fn errors(&self, printed: &Value) {
        let errors = printed["errors"].as_object().unwrap();
        assert!(errors.len() > 1, "{errors:?}");
        for (code, count) in errors {
            let matchers = format!(",error_type=\"{code}\"");
            self.is("obs_run_errors_total", &matchers, count.as_f64().unwrap());
        }
        let all: f64 = errors.values().filter_map(Value::as_f64).sum();
        self.is("obs_run_errors_total", "", all);
    }

    fn ledger(&self, printed: &Value) {
        for class in ["ok", "error"] {
            let terms = &printed["ledger"][class];
            let of = format!(",class=\"{class}\"");
            let is = |name: &str, matchers: &str, term: &Value| {
                self.is(name, &format!("{of}{matchers}"), term.as_f64().unwrap());
            };
            is("obs_record_recorded_total", "", &terms["recorded"]);
            is("obs_record_adopted_total", "", &terms["adopted"]);
            for outcome in ["sampled_out", "persisted", "quarantined"] {
                let matchers = format!(",outcome=\"{outcome}\"");
                is("obs_record_outcomes_total", &matchers, &terms[outcome]);
            }
            for (reason, count) in terms["dropped"].as_object().unwrap() {
                let matchers = format!(",outcome=\"dropped\",reason=\"{reason}\"");
                is("obs_record_outcomes_total", &matchers, count);
            }
            is("obs_record_pending", ",stage=\"queue\"", &terms["in_queue"]);
            is("obs_record_pending", ",stage=\"spool\"", &terms["spooled"]);
        }
    }
}

/// Waits until a program's own total is what Prometheus has of it.
pub(super) fn wait_for_total(stack: &Stack, job: &str, total: f64) {
    until(
        || format!("{total} runs of {job}"),
        || {
            let query = format!("sum(obs_run_duration_seconds_count{{job=\"{job}\"}})");
            (stack.prometheus.number(&query) == Some(total)).then_some(())
        },
    );
}
