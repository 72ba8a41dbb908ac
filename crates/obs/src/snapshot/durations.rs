//! Quantiles of how long runs took, from buckets that are finer than the exported ones.

use std::{collections::BTreeMap, time::Duration};

use obs_core::Durations;
use serde::Serialize;

/// How long the runs of one series took that ended with one status: to 1 %, or 8 ns. The histogram
/// `obs.run.duration` has the same runs in wider buckets.
///
/// ```
/// # use obs::Environment;
/// let telemetry = obs::builder().environment(Environment::empty()).rows(false).snapshots(true).init()?;
/// let bonus = telemetry.kind("dsl.execution").lookup("welcome-bonus", "3");
/// for _ in 0..100 {
///     bonus.observe(&(), |_run| Ok::<_, String>(12.5))?;
/// }
/// for run in telemetry.snapshot()?.durations {
///     println!(
///         "{:?} {}: {} runs, p50 {} s, p90 {} s, p99 {} s, p99.9 {} s",
///         run.attributes, run.status, run.count, run.p50, run.p90, run.p99, run.p99_9,
///     );
///     assert!(run.count == 100 && run.p50 <= run.p99);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunDurations {
    /// The labels of the series, under the names that its metrics have.
    pub attributes: BTreeMap<String, String>,
    /// How the runs ended, e.g. `ok`.
    pub status: String,
    /// How many runs there were.
    pub count: u64,
    /// What half of the runs did not exceed, in seconds.
    pub p50: f64,
    /// What nine in ten did not exceed.
    pub p90: f64,
    /// What 99 in 100 did not exceed.
    pub p99: f64,
    /// What 999 in 1,000 did not exceed.
    pub p99_9: f64,
}

/// In the order of attributes and status.
pub(super) fn durations(counted: &[Durations]) -> Vec<RunDurations> {
    let mut durations: Vec<RunDurations> = counted.iter().map(RunDurations::from).collect();
    durations.sort_by(|left, right| {
        (&left.attributes, &left.status).cmp(&(&right.attributes, &right.status))
    });
    durations
}

impl From<&Durations> for RunDurations {
    fn from(durations: &Durations) -> Self {
        // There is no series without a run.
        let at = |share| durations.quantile(share).as_ref().map_or(0.0, Duration::as_secs_f64);
        Self {
            attributes: durations.labels.iter().cloned().collect(),
            status: durations.status.to_string(),
            count: durations.count(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
        }
    }
}
