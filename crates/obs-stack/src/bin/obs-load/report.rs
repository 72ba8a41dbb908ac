//! What the users saw, against what they may see at worst.

use std::{collections::BTreeMap, fmt, thread, time::Duration};

use serde_json::Value;

use crate::{args::Class, client::Client};

/// Above this many users failures may be three times as many, and the limit of all requests does not hold.
const MANY: usize = 1000;
const FEW: usize = 100;
/// Shares of failed requests, and of failed writes.
const FAILED_MAX: f64 = 0.01;
const FAILED_MAX_MANY: f64 = 0.03;
const WRITES_FAILED_MAX: f64 = 0.01;
/// Seconds.
const WRITES_P95_MAX: f64 = 0.8;
const WRITES_P99_MAX: f64 = 1.5;
const ALL_P95_MAX: f64 = 0.8;
/// How often Prometheus is asked whether it has everything, with a second between.
const ASKED_MAX: u32 = 60;

/// Writes that failed, of which the first are shown with their ids, and how much of each.
const FAILURES_MAX: usize = 20;
const FAILURE_CHARS_MAX: usize = 200;

/// What a service with obs answers about itself, which its metrics of requests leave out.
const UNMEASURED: [&str; 5] = ["/healthz", "/readyz", "/runtime", "/ledger", "/metrics"];

/// How a request ended, after its last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed(u16),
    Lost,
}

/// What was seen; of the measured phase, but for `answers`, which has every answer to a request that the service measures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) users: usize,
    pub(crate) broken_connections: u64,
    hold: Duration,
    answers: BTreeMap<u16, u64>,
    classes: BTreeMap<Class, Seen>,
    failures: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    failed: u64,
    /// Seconds of each request, in no order.
    took: Vec<f32>,
}

impl Report {
    pub(crate) fn new(hold: Duration) -> Self {
        Self { hold, ..Self::default() }
    }

    /// An answer that the service's own metrics have, too.
    pub(crate) fn count_answer(&mut self, path: &str, status: u16) {
        if UNMEASURED.contains(&path) {
            return;
        }
        *self.answers.entry(status).or_default() += 1;
    }

    pub(crate) fn measure(&mut self, class: Class, outcome: Outcome, took: Duration) {
        let seen = self.classes.entry(class).or_default();
        seen.took.push(took.as_secs_f32());
        seen.failed += u64::from(outcome != Outcome::Done);
    }

    /// A write that failed, whose id leads to the service's lines and rows.
    pub(crate) fn keep_failure(&mut self, failure: fmt::Arguments<'_>) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure.to_string().chars().take(FAILURE_CHARS_MAX).collect());
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_MAX);
        self.broken_connections += other.broken_connections;
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
        for (class, seen) in other.classes {
            let own = self.classes.entry(class).or_default();
            own.failed += seen.failed;
            own.took.extend(seen.took);
        }
    }

    fn all(&self) -> Seen {
        let mut all = Seen::default();
        for seen in self.classes.values() {
            all.failed += seen.failed;
            all.took.extend(&seen.took);
        }
        all
    }

    /// Each threshold that does not hold, in words.
    pub(crate) fn broken_thresholds(&self, users: usize) -> Vec<String> {
        let mut broken = Vec::new();
        let mut at_most = |what: &str, value: f64, limit: f64| {
            if value > limit {
                broken.push(format!("{what}: {value:.4}, at most {limit}"));
            }
        };
        let all = self.all();
        let failed_max = if users >= MANY { FAILED_MAX_MANY } else { FAILED_MAX };
        at_most("share of failed requests", all.failed_share(), failed_max);
        if users <= FEW {
            at_most("p95 of all requests, s", all.quantile(0.95), ALL_P95_MAX);
        }
        if let Some(writes) = self.classes.get(&Class::Write) {
            at_most("share of failed writes", writes.failed_share(), WRITES_FAILED_MAX);
            at_most("p95 of writes, s", writes.quantile(0.95), WRITES_P95_MAX);
            at_most("p99 of writes, s", writes.quantile(0.99), WRITES_P99_MAX);
        }
        if all.took.is_empty() {
            broken.push("not one request was measured".to_owned());
        }
        broken
    }
}

impl Seen {
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
    fn failed_share(&self) -> f64 {
        self.failed as f64 / self.took.len().max(1) as f64
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let mut sorted = self.took.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank"
        )]
        let rank = (quantile * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().map_or(0.0, f64::from)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.hold.as_secs_f64().max(f64::MIN_POSITIVE);
        let all = self.all();
        #[expect(clippy::cast_precision_loss, reason = "far below 2⁵³")]
        let rate = all.took.len() as f64 / seconds;
        writeln!(
            f,
            "{} users, {} requests measured, {rate:.0} a second",
            self.users,
            all.took.len()
        )?;
        for (class, seen) in &self.classes {
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| 1e3 * seen.quantile(quantile));
            let class = format!("{class:?}").to_lowercase();
            let failed = seen.failed;
            writeln!(
                f,
                "  {class:9} {:8} p50 {p50:.1} ms  p95 {p95:.1} ms  p99 {p99:.1} ms  {failed} failed",
                seen.took.len()
            )?;
        }
        for failure in &self.failures {
            writeln!(f, "  failed {failure}")?;
        }
        writeln!(f, "  answers {:?}, {} connections broke", self.answers, self.broken_connections)
    }
}

/// What is wrong with a ledger that a service shows.
pub(crate) fn balance_of(status: u16, body: &str) -> Option<String> {
    let ledger: Option<Value> = serde_json::from_str(body).ok();
    let imbalance = ledger.as_ref().and_then(|ledger| ledger["imbalance"].as_i64());
    match imbalance {
        Some(0) => None,
        Some(other) => Some(format!("the ledger is off by {other}")),
        None => Some(format!("no ledger was shown: status {status}")),
    }
}

/// What Prometheus has otherwise than we, once it has had time to get everything.
pub(crate) fn totals_of(address: &str, job: &str, report: &Report) -> Option<String> {
    let mut last = String::new();
    for _ in 0..ASKED_MAX {
        let shown = totals(address, job);
        if shown.as_ref() == Some(&report.answers) {
            return None;
        }
        last = format!(
            "Prometheus has {shown:?} requests of {job}, we had answers {:?}",
            report.answers
        );
        thread::sleep(Duration::from_secs(1));
    }
    Some(last)
}

fn totals(address: &str, job: &str) -> Option<BTreeMap<u16, u64>> {
    let query = format!(
        "sum%20by%20(http_response_status_code)%20(http_server_request_duration_seconds_count%7Bjob%3D%22{job}%22%7D)"
    );
    let path = format!("/api/v1/query?query={query}");
    let (_, body) = Client::new(address).get(&path).ok()?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    let total = |sample: &Value| {
        let status = sample["metric"]["http_response_status_code"].as_str()?.parse().ok()?;
        Some((status, sample["value"][1].as_str()?.parse().ok()?))
    };
    answer["data"]["result"].as_array()?.iter().map(total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(took: &[u64], failed: usize) -> Report {
        let mut report = Report::new(Duration::from_secs(1));
        for (at, millis) in took.iter().enumerate() {
            let outcome = if at < failed { Outcome::Failed(500) } else { Outcome::Done };
            report.measure(Class::Write, outcome, Duration::from_millis(*millis));
        }
        report
    }

    #[test]
    fn thresholds_are_those_of_few_and_of_many_users() {
        assert!(report(&[10; 1000], 10).broken_thresholds(100).is_empty());
        assert_eq!(report(&[10; 1000], 11).broken_thresholds(100).len(), 2);
        assert_eq!(report(&[10; 1000], 11).broken_thresholds(1000).len(), 1, "writes only");
        assert_eq!(report(&[900; 1000], 0).broken_thresholds(100).len(), 2);
        assert_eq!(report(&[900; 1000], 0).broken_thresholds(101).len(), 1, "writes only");
        assert_eq!(report(&[1600; 1000], 0).broken_thresholds(100).len(), 3);
        assert_eq!(report(&[], 0).broken_thresholds(100), ["not one request was measured"]);
    }

    #[test]
    fn the_first_failures_of_all_users_are_kept_and_no_more() {
        let mut all = report(&[1], 0);
        for user in 0..3 {
            let mut one = report(&[1], 0);
            for nth in 0..15 {
                one.keep_failure(format_args!("load-{user}-{nth}: {}", "x".repeat(500)));
            }
            all.add(one);
        }
        let text = all.to_string();
        let shown: Vec<_> = text.lines().filter(|line| line.contains("failed load-")).collect();
        assert_eq!(shown.len(), FAILURES_MAX);
        assert!(shown[0].contains("load-0-0: xxx") && shown[19].contains("load-1-4: "), "{text}");
        assert!(shown.iter().all(|line| line.len() < 300), "{text}");
    }

    #[test]
    fn a_ledger_that_is_off_or_missing_is_a_fault() {
        assert_eq!(balance_of(200, r#"{"imbalance": 0}"#), None);
        assert!(balance_of(200, r#"{"imbalance": -2}"#).is_some_and(|said| said.contains("-2")));
        assert!(balance_of(404, "nothing here").is_some_and(|said| said.contains("404")));
    }
}
