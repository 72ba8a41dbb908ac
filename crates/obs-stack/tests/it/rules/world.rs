//! What Prometheus has of a program that is well: an hour in steps of 30 s.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Steps before a fault.
pub(super) const BEFORE: u32 = 60;
/// Steps in all.
pub(super) const STEPS: u32 = 120;
/// The labels of a process, and those of its runs.
pub(super) const PROCESS: &str = r#"job="orders",instance="a""#;
pub(super) const RUN: &str =
    r#"job="orders",instance="a",obs_kind="dsl",obs_realm="acme",obs_strategy_type="A""#;
pub(super) const COUNT: &str = "obs_run_duration_seconds_count";
pub(super) const BUCKET: &str = "obs_run_duration_seconds_bucket";
pub(super) const OUTCOMES: &str = "obs_record_outcomes_total";

/// The bounds that rules look at, and those around them.
const BOUNDS: [&str; 6] = ["0.1", "0.25", "0.5", "5.0", "10.0", "+Inf"];

/// Series and their samples, as promtool writes them.
#[derive(Clone, Debug, Default)]
pub(super) struct World(BTreeMap<String, String>);

/// An alert that must fire, and nothing else at that time.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) alert: &'static str,
    severity: &'static str,
    labels: &'static str,
    /// Minutes after the beginning.
    at: u32,
}

pub(super) const fn fires(
    at: u32,
    alert: &'static str,
    severity: &'static str,
    labels: &'static str,
) -> Expected {
    Expected { alert, severity, labels, at }
}

/// How fast ok runs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// All within 0.1 s.
    Fast,
    /// All between 0.25 and 0.5 s.
    Slow,
    /// Between 5 and 10 s.
    Stuck,
}

impl World {
    /// Two runs a second; one in 200 fails; one in ten is kept.
    pub(super) fn healthy() -> Self {
        let mut world = Self::default();
        world.runs("ok", Pace::Fast, [60.0, 60.0]);
        world.runs("error", Pace::Fast, [0.3, 0.3]);
        world.set("obs_run_time_limit_seconds", RUN, level(5.0));
        world.set("obs_run_oldest_age_seconds", RUN, level(0.2));
        for (status, rate) in [("200", 60.0), ("500", 0.1)] {
            let labels = format!(
                r#"job="orders",instance="a",http_request_method="GET",http_response_status_code="{status}""#
            );
            world.set("http_server_request_duration_seconds_count", &labels, grows(rate, rate));
        }
        for (class, kept, sampled_out) in [("ok", 6.0, 54.0), ("error", 0.3, 0.0)] {
            world.class(class, kept, sampled_out);
        }
        world.set("obs_record_imbalance", PROCESS, level(0.0));
        world.set("obs_policy_refused", PROCESS, level(0.0));
        world.set("obs_store_state", PROCESS, level(1.0));
        world.set("obs_store_days_ahead", PROCESS, level(7.0));
        world.set("obs_spool_size_bytes", PROCESS, level(4e6));
        world.set("obs_spool_limit_bytes", PROCESS, level(268e6));
        for which in ["obs.realm", "error.type"] {
            let labels = format!(r#"{PROCESS},which="{which}""#);
            world.set("obs_label_folded_total", &labels, level(0.0));
        }
        world.set(
            "obs_export_failures_total",
            &format!(r#"{PROCESS},signal="metrics""#),
            level(0.0),
        );
        world.set("up", r#"job="otel-collector",instance="agent:8888""#, level(1.0));
        let queue = r#"job="otel-collector",instance="agent:8888",exporter="otlp/gateway""#;
        world.set("otelcol_exporter_queue_size", queue, level(3.0));
        world.set("otelcol_exporter_queue_capacity", queue, level(1000.0));
        world
    }

    fn class(&mut self, class: &str, kept: f64, sampled_out: f64) {
        let own = |more: &str| format!(r#"{PROCESS},class="{class}"{more}"#);
        let all = kept + sampled_out;
        self.set("obs_record_recorded_total", &own(""), grows(all, all));
        self.set("obs_record_adopted_total", &own(""), level(0.0));
        for (outcome, rate) in [("persisted", kept), ("sampled_out", sampled_out)] {
            let labels = own(&format!(r#",outcome="{outcome}""#));
            self.set(OUTCOMES, &labels, grows(rate, rate));
        }
        for reason in ["queue_full", "spool_full", "crash"] {
            let labels = own(&format!(r#",outcome="dropped",reason="{reason}""#));
            self.set(OUTCOMES, &labels, level(0.0));
        }
        self.set("obs_record_pending", &own(r#",stage="queue""#), level(5.0));
        self.set("obs_record_capacity", &own(r#",stage="queue""#), level(1000.0));
    }

    /// Runs of one status: how many a step, before and after.
    pub(super) fn runs(&mut self, status: &str, pace: Pace, rates: [f64; 2]) {
        let labels = format!(r#"{RUN},obs_run_status="{status}""#);
        self.set(COUNT, &labels, grows(rates[0], rates[1]));
        for bound in BOUNDS {
            let below = match pace {
                Pace::Fast => true,
                Pace::Slow => !["0.1", "0.25"].contains(&bound),
                Pace::Stuck => ["10.0", "+Inf"].contains(&bound),
            };
            let after = if below { rates[1] } else { 0.0 };
            let labels = format!(r#"{labels},le="{bound}""#);
            self.set(BUCKET, &labels, grows(rates[0], after));
        }
    }

    pub(super) fn set(&mut self, name: &str, labels: &str, samples: String) {
        self.0.insert(format!("{name}{{{labels}}}"), samples);
    }

    pub(super) fn with(mut self, name: &str, labels: &str, samples: String) -> Self {
        self.set(name, labels, samples);
        self
    }

    /// The same with other samples in every series of these that has this text in its labels.
    pub(super) fn change(mut self, name: &str, with: &str, samples: &str) -> Self {
        let mut found = false;
        for (series, old) in &mut self.0 {
            if series.starts_with(&format!("{name}{{")) && series.contains(with) {
                samples.clone_into(old);
                found = true;
            }
        }
        assert!(found, "no {name} with {with}");
        self
    }

    /// The same with every series' samples and labels changed.
    pub(super) fn map(&self, change: impl Fn(&str, &str) -> Vec<(String, String)>) -> Self {
        Self(self.0.iter().flat_map(|(series, samples)| change(series, samples)).collect())
    }

    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.0.keys().filter_map(|series| series.split('{').next()).collect()
    }

    pub(super) fn without(&self, name: &str) -> Self {
        let mut world = self.clone();
        world.0.retain(|series, _| series.split('{').next() != Some(name));
        world
    }

    /// A case for promtool: silent until the fault begins, and in all when nothing is expected.
    pub(super) fn case(&self, name: &str, expected: &[Expected]) -> Value {
        let series: Vec<_> = self
            .0
            .iter()
            .map(|(series, samples)| json!({"series": series, "values": samples}))
            .collect();
        let mut looks: Vec<_> = [5, 15, 29].map(|at| look(at, &[])).into();
        if expected.is_empty() {
            looks.extend([35, 40, 45, 50, 55, 59].map(|at| look(at, &[])));
        }
        let times: BTreeSet<_> = expected.iter().map(|one| one.at).collect();
        for at in times {
            let then: Vec<_> = expected.iter().filter(|one| one.at == at).collect();
            looks.push(look(at, &then));
        }
        json!({"name": name, "interval": "30s", "input_series": series, "promql_expr_test": looks})
    }
}

/// Exactly these alerts fire at that minute.
fn look(at: u32, expected: &[&Expected]) -> Value {
    let samples: Vec<_> = expected
        .iter()
        .map(|Expected { alert, severity, labels, .. }| {
            let labels = format!(
                r#"ALERTS{{alertname="{alert}",alertstate="firing",severity="{severity}",{labels}}}"#
            );
            json!({"labels": labels, "value": 1})
        })
        .collect();
    json!({"expr": r#"ALERTS{alertstate="firing"}"#, "eval_time": format!("{at}m"), "exp_samples": samples})
}

/// The same value all the time.
pub(super) fn level(value: f64) -> String {
    format!("{value}x{STEPS}")
}

/// One value before the fault, another one with it.
pub(super) fn changes(before: f64, after: f64) -> String {
    format!("{before}x{BEFORE} {after}x{}", STEPS - BEFORE)
}

/// A counter that grows by so much a step, before and after.
pub(super) fn grows(before: f64, after: f64) -> String {
    let at = before * f64::from(BEFORE);
    format!("0+{before}x{BEFORE} {}+{after}x{}", at + after, STEPS - BEFORE)
}
