//! Metrics in two receivers of Thanos, each of which has everything.

use obs::{Environment, Protocol, Telemetry};

use super::{receivers::Receivers, say};
use crate::stack::{Load, Made, Shape, Stack, until};

const JOB: &str = "scale-thanos";
/// Runs that must have got through before the next thing happens: more than ten seconds of load, so that the copies
/// differ by more than the query overlooks.
const SHARE: f64 = 4000.0;

#[test]
#[ignore = "starts receivers and the whole stack: just scale"]
fn totals_are_exact_while_a_receiver_is_away_and_after_each_of_the_two_was_killed_under_load() {
    let Some(mut receivers) = Receivers::start() else { return };
    let settings = vec![("OBS_COLLECTOR_THANOS_URL", receivers.url())];
    let shape = Shape { gateway: Some("thanos.yaml".into()), settings, ..Shape::default() };
    let Some(stack) = Stack::start_as(shape) else { return };
    let load = Load::start(telemetry(&stack));
    receivers.sees_more_than(SHARE);
    assert_eq!(receivers.copies(), 2.0, "of every series");

    receivers.kill(0);
    let before = load.made() as f64;
    receivers.sees_more_than(before + SHARE);
    receivers.start_again(0);
    receivers.sees_more_than(before + 2.0 * SHARE);
    until(|| "two copies again", || (receivers.copies() == 2.0).then_some(()));

    receivers.kill(1);
    let killed = load.made() as f64;
    receivers.sees_more_than(killed + SHARE);
    let Made { runs, .. } = load.end();
    let exact = |receivers: &Receivers| {
        let made = runs as f64;
        for (query, expected) in [
            ("obs_run_duration_seconds_count", made),
            ("obs_run_started_total", made),
            ("obs_run_errors_total", (runs / 10) as f64),
            ("obs_record_recorded_total", made),
            ("obs_run_active", 0.0),
            ("obs_record_imbalance", 0.0),
        ] {
            receivers.query.comes_to(&format!("sum({query}{{job=\"{JOB}\"}})"), expected);
        }
    };
    exact(&receivers);
    say(&format!(
        "Thanos: {runs} runs, exact with one receiver away; killed after {before} and {killed}"
    ));
    receivers.start_again(1);
    until(|| "both receivers", || (receivers.stores() == 2).then_some(()));
    exact(&receivers);
}

impl Receivers {
    fn sees_more_than(&self, runs: f64) {
        let query = format!("sum(obs_run_duration_seconds_count{{job=\"{JOB}\"}})");
        until(
            || format!("more than {runs} runs, last {:?}", self.query.number(&query)),
            || self.query.number(&query).filter(|seen| *seen > runs),
        );
    }

    /// How often each series is there.
    fn copies(&self) -> f64 {
        let query = format!("count(obs_run_started_total{{job=\"{JOB}\"}})");
        let once = self.query.number(&query).unwrap_or(f64::NAN);
        let all = self.query.ask_with(&query, "&dedup=false").unwrap();
        all.first().map_or(f64::NAN, |(_, count)| count / once)
    }

    /// How many receivers answer a query.
    fn stores(&self) -> usize {
        let query = format!("count by (receive_replica) (obs_run_started_total{{job=\"{JOB}\"}})");
        self.query.ask_with(&query, "&dedup=false").unwrap().len()
    }
}

fn telemetry(stack: &Stack) -> Telemetry {
    obs::builder()
        .environment(Environment::from_iter([("OTEL_METRIC_EXPORT_INTERVAL", "500")]))
        .service_name(JOB)
        .endpoint(stack.grpc())
        .protocol(Protocol::Grpc)
        .store(&stack.postgres.url)
        .spool_dir(stack.folder.join("spool-of-the-test"))
        .init()
        .unwrap()
}
