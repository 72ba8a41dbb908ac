//! How long the runs of this process took, as quantiles.

use std::time::Duration;

use crate::status::Status;

/// The durations of the runs of one series that ended with one status, since the process started.
///
/// ```
/// # use obs_core::{Obs, Status, otel::{Metrics, MetricsOptions}};
/// # use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
/// # let meter = NoopMeterProvider::new().meter("service");
/// let obs = Obs::builder().metrics(Metrics::new(&meter, MetricsOptions::default())?).build()?;
/// let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
/// bonus.observe(&(), |_run| Ok::<_, String>(12.5))?;
/// let durations = obs.durations();
/// assert_eq!((durations[0].status, durations[0].count()), (Status::Ok, 1));
/// assert!(durations[0].quantile(0.99).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durations {
    /// The labels of the series, under the names that its metrics have.
    pub labels: Vec<(String, String)>,
    /// How the runs ended.
    pub status: Status,
    // From, to (both inside) in nanoseconds, and how many; in order, none empty.
    ranges: Vec<(u64, u64, u64)>,
}

impl Durations {
    pub(crate) const fn new(
        labels: Vec<(String, String)>,
        status: Status,
        ranges: Vec<(u64, u64, u64)>,
    ) -> Self {
        Self { labels, status, ranges }
    }

    /// How many runs there were.
    ///
    /// ```
    /// # fn show(durations: &obs_core::Durations) {
    /// println!("{}: {}", durations.status, durations.count());
    /// # }
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(_, _, count)| count).sum()
    }

    /// The duration that this share of the runs did not exceed, to 1 % or 8 ns: 0.5 is the median. What
    /// took longer than 18 minutes counts as 18 minutes. `None` outside of 0 to 1.
    ///
    /// ```
    /// # fn show(durations: &obs_core::Durations) {
    /// println!("p99.9: {:?}", durations.quantile(0.999));
    /// # }
    /// ```
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        if !(0.0..=1.0).contains(&share) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "which run it is, of so many"
        )]
        let rank = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (low, high, count) in &self.ranges {
            below += count;
            if below >= rank {
                let middle = if *high == u64::MAX { *low } else { low + (high - low) / 2 };
                return Some(Duration::from_nanos(middle));
            }
        }
        None
    }
}
