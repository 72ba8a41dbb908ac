//! A Collector that is killed under load costs no number: a program under steady load goes on, and the totals are exact
//! afterwards.

use std::{thread, time::Duration};

use obs::{Environment, Protocol, Telemetry};

use crate::stack::{Load, Made, Stack, until};

/// How long the Collector is away.
const OUTAGE: Duration = Duration::from_secs(30);

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn an_agent_that_is_killed_for_half_a_minute_under_load_leaves_the_totals_exact() {
    let Some(mut stack) = Stack::start() else { return };
    let load = Load::start(telemetry(&stack, "load-agent"));
    stack.prometheus_sees_more_than("load-agent", 100.0);
    stack.agent.kill();
    let before = load.made();
    thread::sleep(OUTAGE);
    assert!(load.made() > before + 100, "the program went on");
    stack.agent.start_again();
    let Made { runs: made, .. } = load.end();
    stack.has_exactly("load-agent", made);
}

#[test]
#[ignore = "starts the whole stack: just e2e"]
fn a_gateway_of_two_that_is_killed_under_load_leaves_the_totals_exact_while_it_is_away() {
    let Some(mut stack) = Stack::start() else { return };
    let load = Load::start(telemetry(&stack, "load-gateway"));
    stack.prometheus_sees_more_than("load-gateway", 100.0);
    for gateway in 0..2 {
        stack.gateways[gateway].kill();
        let before = load.made();
        // The other one takes over, and what it brings is newer than the kill.
        stack.prometheus_sees_more_than("load-gateway", before as f64 + 100.0);
        stack.gateways[gateway].start_again();
        let port = stack.telemetry_of_gateways[gateway];
        until(
            || "the gateway again",
            || crate::stack::get_at(&format!("127.0.0.{}", gateway + 1), port, "/metrics"),
        );
    }
    stack.gateways[1].kill();
    let Made { runs: made, .. } = load.end();
    stack.has_exactly("load-gateway", made);
}

impl Stack {
    pub(super) fn prometheus_sees_more_than(&self, job: &str, runs: f64) {
        let query = format!("sum(obs_run_duration_seconds_count{{job=\"{job}\"}})");
        until(
            || format!("more than {runs} runs of {job}"),
            || self.prometheus.number(&query).filter(|seen| *seen > runs),
        );
    }

    /// Runs, errors and ledger, to the last one.
    pub(super) fn has_exactly(&self, job: &str, made: u64) {
        let of = |name: &str, matchers: &str| format!("sum({name}{{job=\"{job}\"{matchers}}})");
        let made_f64 = made as f64;
        super::quickstart::wait_for_total(self, job, made_f64);
        self.prometheus.comes_to(&of("obs_run_started_total", ""), made_f64);
        self.prometheus.comes_to(&of("obs_run_active", ""), 0.0);
        self.prometheus.comes_to(&of("obs_run_errors_total", ""), (made / 10) as f64);
        self.prometheus.comes_to(&of("obs_record_recorded_total", ""), made_f64);
        self.prometheus.comes_to(&of("obs_record_imbalance", ""), 0.0);
        // Not one sample was refused for its age.
        let refused =
            self.prometheus.number("sum(increase(prometheus_tsdb_too_old_samples_total[10m]))");
        assert!(refused.is_none_or(|refused| refused == 0.0), "{refused:?}");
    }
}

fn telemetry(stack: &Stack, job: &str) -> Telemetry {
    obs::builder()
        .environment(Environment::from_iter([("OTEL_METRIC_EXPORT_INTERVAL", "500")]))
        .service_name(job)
        .endpoint(stack.grpc())
        .protocol(Protocol::Grpc)
        .store(&stack.postgres.url)
        .spool_dir(stack.folder.join("spool-of-the-test"))
        .init()
        .unwrap()
}
