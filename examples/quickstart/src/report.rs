//! What the run of this program was, in numbers: all of them measured by obs, or counted in its store.

use std::collections::BTreeMap;

use obs::{ClassLedger, Histogram, Ledger, MetricsSnapshot, Series};
use serde::Serialize;

use crate::{rows::Kept, scoring::Scoring};

/// What `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// By strategy, version and status.
    pub(crate) runs: Vec<RunLine>,
    /// Failures by `error.type`.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Rows of this process by the reason for which they were kept.
    pub(crate) kept: BTreeMap<String, u64>,
    /// Runs that have not ended: 0.
    pub(crate) active: i64,
    pub(crate) ledger: LedgerLine,
    pub(crate) store: StoreLine,
}

/// The runs of one strategy version that ended in one way.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunLine {
    pub(crate) strategy: String,
    pub(crate) version: String,
    pub(crate) status: String,
    pub(crate) count: u64,
    pub(crate) p50_s: Option<f64>,
    pub(crate) p95_s: Option<f64>,
    pub(crate) nodes_sum: u64,
    pub(crate) duration_sum_s: f64,
    pub(crate) buckets: Vec<Bucket>,
}

/// How many runs took at most `le` seconds, as Prometheus counts them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Bucket {
    /// The bound as Prometheus writes it; the last is `+Inf`.
    pub(crate) le: String,
    pub(crate) count: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct LedgerLine {
    ok: ClassLine,
    error: ClassLine,
    imbalance: i64,
    #[serde(skip)]
    pub(crate) text: String,
}

#[derive(Clone, Debug, Serialize)]
struct ClassLine {
    #[serde(flatten)]
    terms: ClassLedger,
    imbalance: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoreLine {
    /// Without a password.
    pub(crate) url: Option<String>,
    /// Rows of this process in the store; `None` where it cannot be read.
    pub(crate) rows: Option<u64>,
}

impl Report {
    pub(crate) fn new(
        metrics: &MetricsSnapshot,
        ledger: &Ledger,
        scoring: &Scoring,
        url: Option<&str>,
        kept: Option<&Kept>,
    ) -> Self {
        let durations = series(metrics, "obs.run.duration");
        let mut runs: Vec<_> =
            durations.filter_map(|series| RunLine::new(series, scoring)).collect();
        runs.sort_by(|left, right| left.key().cmp(&right.key()));
        let errors = by_attribute(series(metrics, "obs.run.errors"), "error.type");
        let kept = kept.map(|kept| kept.by_reason.clone());
        Self {
            runs,
            errors: errors.into_iter().filter(|(_, count)| *count > 0).collect(),
            active: series(metrics, "obs.run.active").map(signed).sum(),
            ledger: LedgerLine::new(ledger),
            store: StoreLine {
                url: url.map(str::to_owned),
                rows: kept.as_ref().map(|kept| kept.values().sum()),
            },
            kept: kept.unwrap_or_default(),
        }
    }

    /// What does not add up; nothing, unless obs or this program has a bug.
    pub(crate) fn contradictions(&self, runs: u64, nodes: u64) -> Vec<String> {
        let counted: u64 = self.runs.iter().map(|line| line.count).sum();
        let mut found = Vec::new();
        if counted != runs {
            found.push(format!("{runs} runs were made, and {counted} were measured"));
        }
        let seen: u64 = self.runs.iter().map(|line| line.nodes_sum).sum();
        if seen != nodes {
            found.push(format!("{seen} nodes were seen, and {nodes} were measured"));
        }
        if self.active != 0 {
            found.push(format!("{} runs are still in flight", self.active));
        }
        if self.ledger.imbalance != 0 {
            found.push(format!("the ledger is off by {}", self.ledger.imbalance));
        }
        found
    }
}

/// The nodes that obs has measured, over all strategies.
pub(crate) fn measured_nodes(metrics: &MetricsSnapshot) -> u64 {
    series(metrics, "obs.run.nodes").map(whole).sum()
}

impl RunLine {
    fn new(series: &Series, scoring: &Scoring) -> Option<Self> {
        let histogram = series.value.histogram().filter(|histogram| histogram.count > 0)?;
        let label = |key| series.attribute(key).unwrap_or_default().to_owned();
        let (strategy, version) = (label("obs.strategy.id"), label("obs.strategy.version"));
        let status = label("obs.run.status");
        Some(Self {
            count: histogram.count,
            p50_s: histogram.quantile(0.5),
            p95_s: histogram.quantile(0.95),
            nodes_sum: scoring.nodes(&strategy, &version, &status),
            duration_sum_s: histogram.sum,
            buckets: buckets(histogram),
            strategy,
            version,
            status,
        })
    }

    fn key(&self) -> (&str, &str, &str) {
        (&self.strategy, &self.version, &self.status)
    }
}

impl LedgerLine {
    fn new(ledger: &Ledger) -> Self {
        let class =
            |terms: &ClassLedger| ClassLine { terms: terms.clone(), imbalance: terms.imbalance() };
        Self {
            ok: class(&ledger.ok),
            error: class(&ledger.error),
            imbalance: ledger.imbalance(),
            text: ledger.to_string(),
        }
    }
}

fn series<'a>(metrics: &'a MetricsSnapshot, name: &str) -> impl Iterator<Item = &'a Series> {
    metrics.metric(name).into_iter().flat_map(|metric| &metric.series)
}

fn by_attribute<'a>(series: impl Iterator<Item = &'a Series>, key: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for series in series {
        let value = series.attribute(key).unwrap_or_default().to_owned();
        *sums.entry(value).or_default() += whole(series);
    }
    sums
}

fn whole(series: &Series) -> u64 {
    u64::try_from(signed(series)).unwrap_or(0)
}

/// A count, or the sum of what a histogram counted: whole, and far below 2⁵³.
#[expect(clippy::cast_possible_truncation, reason = "whole numbers of runs and nodes")]
fn signed(series: &Series) -> i64 {
    let sum = series.value.histogram().map(|histogram| histogram.sum);
    series.value.number().or(sum).unwrap_or(0.0) as i64
}

/// Each bucket counts everything below it too.
fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    let les = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    let mut below = 0;
    les.zip(&histogram.counts)
        .map(|(le, count)| {
            below += count;
            Bucket { le, count: below }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(counts: [u64; 2]) -> Report {
        let line = |count| RunLine {
            strategy: "s".to_owned(),
            version: "1".to_owned(),
            status: "ok".to_owned(),
            count,
            p50_s: None,
            p95_s: None,
            nodes_sum: 2 * count,
            duration_sum_s: 0.5,
            buckets: Vec::new(),
        };
        Report {
            runs: counts.map(line).into(),
            errors: BTreeMap::new(),
            kept: BTreeMap::new(),
            active: 0,
            ledger: LedgerLine::new(&Ledger::default()),
            store: StoreLine { url: None, rows: None },
        }
    }

    #[test]
    fn numbers_that_agree_are_no_contradiction() {
        assert_eq!(report([3, 4]).contradictions(7, 14), Vec::<String>::new());
    }

    #[test]
    fn each_number_that_disagrees_is_named() {
        let mut report = report([3, 4]);
        report.active = -1;
        report.ledger.imbalance = 5;
        assert_eq!(
            report.contradictions(8, 15),
            [
                "8 runs were made, and 7 were measured",
                "14 nodes were seen, and 15 were measured",
                "-1 runs are still in flight",
                "the ledger is off by 5",
            ]
        );
    }

    #[test]
    fn buckets_count_everything_below_their_bound() {
        let mut histogram = Histogram::default();
        histogram.bounds = vec![0.0001, 0.25, 1.0];
        histogram.counts = vec![4, 0, 2, 1];
        let lines: Vec<_> =
            buckets(&histogram).into_iter().map(|bucket| (bucket.le, bucket.count)).collect();
        let expected = [("0.0001", 4), ("0.25", 4), ("1", 6), ("+Inf", 7)];
        assert_eq!(lines, expected.map(|(le, count)| (le.to_owned(), count)));
    }

    #[test]
    fn the_ledger_has_the_terms_of_each_class_by_name_and_its_imbalance() {
        let json = serde_json::to_value(LedgerLine::new(&Ledger::default())).unwrap();
        for class in ["ok", "error"] {
            let terms: Vec<_> =
                json[class].as_object().unwrap().keys().map(String::as_str).collect();
            let mut expected = [
                "recorded",
                "adopted",
                "sampled_out",
                "persisted",
                "quarantined",
                "dropped",
                "in_queue",
                "spooled",
                "imbalance",
            ];
            expected.sort_unstable();
            let mut terms = terms;
            terms.sort_unstable();
            assert_eq!(terms, expected);
            assert_eq!(json[class]["dropped"]["queue_full"], 0);
        }
        assert_eq!(json["imbalance"], 0);
    }
}
