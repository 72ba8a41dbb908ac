//! The metrics of this process as plain values, for programs.

mod convert;
mod durations;
mod exemplars;
mod prometheus;

use std::collections::BTreeMap;

use obs_core::{Exemplar, Obs};
use serde::Serialize;

use crate::export::Reader;

pub use durations::RunDurations;

/// Every metric of this process at one moment: what an export at that moment says, without
/// OpenTelemetry's types.
///
/// Values are cumulative since the start of the process.
///
/// ```
/// # use obs::Environment;
/// let telemetry = obs::builder().environment(Environment::empty()).rows(false).snapshots(true).init()?;
/// let bonus = telemetry.kind("dsl.execution").strategy("welcome-bonus").version("3").build()?;
/// bonus.observe(&(), |_run| Ok::<_, String>(12.5))?;
///
/// let snapshot = telemetry.snapshot()?;
/// let duration = snapshot.metric("obs.run.duration").ok_or("no runs yet")?;
/// assert_eq!(duration.unit, "s");
/// let ok = duration.series_with(&[("obs.run.status", "ok")]).next().ok_or("no ok run yet")?;
/// assert_eq!(ok.value.histogram().map(|histogram| histogram.count), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// The metrics, in the order of their names.
    pub metrics: Vec<Metric>,
    /// How long runs took, by the labels of their metrics and by status.
    pub durations: Vec<RunDurations>,
    /// What is true of the process as a whole, e.g. `service.name`.
    pub resource: BTreeMap<String, String>,
}

/// One instrument and its series.
///
/// ```
/// assert_eq!(obs::MetricsSnapshot::default().metric("obs.run.started"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metric {
    /// The instrument's name, e.g. `obs.run.duration`.
    pub name: String,
    /// Its unit in UCUM, e.g. `s` or `{run}`.
    pub unit: String,
    /// What it measures.
    pub description: String,
    /// One value per set of attributes.
    pub series: Vec<Series>,
}

/// One set of attributes and its value.
///
/// ```
/// # use obs::{Series, Value};
/// fn runs(series: &Series) -> f64 {
///     series.value.number().unwrap_or(0.0)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Series {
    /// What tells this series apart.
    pub attributes: BTreeMap<String, String>,
    /// Its value.
    pub value: Value,
}

/// The value of a series. Counts are exact up to 2⁵³.
///
/// ```
/// assert_eq!(obs::Value::Counter(3.0).number(), Some(3.0));
/// assert_eq!(obs::Value::Counter(3.0).histogram(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Value {
    /// A sum that only grows.
    Counter(f64),
    /// A sum that goes up and down.
    UpDownCounter(f64),
    /// The last measurement.
    Gauge(f64),
    /// A distribution.
    Histogram(Histogram),
}

/// A distribution in buckets: bucket `i` counts what is above `bounds[i - 1]` and not above
/// `bounds[i]`; the last one counts what is above every bound.
///
/// ```
/// # use obs::{Histogram, Value};
/// fn mean(histogram: &Histogram) -> f64 {
///     histogram.sum / histogram.count as f64
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Histogram {
    /// Upper bounds, ascending.
    pub bounds: Vec<f64>,
    /// Measurements per bucket: one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all measurements.
    pub sum: f64,
    /// How many measurements there are.
    pub count: u64,
    /// The smallest measurement, where it is known.
    pub min: Option<f64>,
    /// The largest measurement, where it is known.
    pub max: Option<f64>,
    /// Kept runs that stand for their bucket, in the order of their durations; at most one a bucket, and
    /// only in histograms of how long runs took.
    pub exemplars: Vec<Exemplar>,
}

/// What there is now.
pub(crate) fn take(reader: &Reader, obs: &Obs) -> Result<MetricsSnapshot, String> {
    // Before collecting: whatever run is among them has been counted by then.
    let exemplars = obs.exemplars();
    let collected = reader.read()?;
    let mut snapshot = MetricsSnapshot::from(&collected);
    snapshot.add_exemplars(exemplars);
    snapshot.durations = durations::durations(&obs.durations());
    Ok(snapshot)
}

impl MetricsSnapshot {
    /// The metric of an instrument, if it has any series.
    ///
    /// ```
    /// assert!(obs::MetricsSnapshot::default().metric("obs.run.duration").is_none());
    /// ```
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

impl Metric {
    /// The series that carry all of these attributes.
    ///
    /// ```
    /// # use obs::Metric;
    /// fn failed(duration: &Metric) -> usize {
    ///     duration.series_with(&[("obs.run.status", "error")]).count()
    /// }
    /// ```
    pub fn series_with(&self, attributes: &[(&str, &str)]) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(move |series| {
            attributes.iter().all(|(key, value)| series.attribute(key) == Some(value))
        })
    }
}

impl Series {
    /// The value of one attribute.
    ///
    /// ```
    /// # use obs::Series;
    /// fn is_ok(series: &Series) -> bool {
    ///     series.attribute("obs.run.status") == Some("ok")
    /// }
    /// ```
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }
}

impl Value {
    /// The number, unless this is a distribution.
    ///
    /// ```
    /// assert_eq!(obs::Value::Gauge(0.5).number(), Some(0.5));
    /// ```
    #[must_use]
    pub const fn number(&self) -> Option<f64> {
        match self {
            Self::Counter(number) | Self::UpDownCounter(number) | Self::Gauge(number) => {
                Some(*number)
            }
            Self::Histogram(_) => None,
        }
    }

    /// The distribution, if this is one.
    ///
    /// ```
    /// assert!(obs::Value::Gauge(0.5).histogram().is_none());
    /// ```
    #[must_use]
    pub const fn histogram(&self) -> Option<&Histogram> {
        match self {
            Self::Histogram(histogram) => Some(histogram),
            _ => None,
        }
    }
}

impl Histogram {
    /// An estimate of a quantile, e.g. 0.95: the place inside its bucket as if measurements were
    /// spread evenly there, which is what Prometheus' `histogram_quantile` says too, but never
    /// outside the smallest and the largest measurement. `None` without measurements, or for a
    /// quantile that is not in [0, 1].
    ///
    /// ```
    /// # let histogram = obs::Histogram::default();
    /// assert_eq!(histogram.quantile(0.5), None);
    /// ```
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate; counts below 2⁵³ are exact anyway"
    )]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        if self.count == 0 || !(0.0..=1.0).contains(&quantile) {
            return None;
        }
        let rank = quantile * self.count as f64;
        let mut below = 0_u64;
        let at = self.counts.iter().position(|count| {
            below += count;
            below as f64 >= rank && *count > 0
        })?;
        let in_bucket = self.counts[at] as f64;
        let into = (rank - (below as f64 - in_bucket)).max(0.0) / in_bucket;
        let first = self.min.unwrap_or(0.0);
        let lower = at.checked_sub(1).map_or(first, |before| self.bounds[before]);
        let upper = self.bounds.get(at).copied().or(self.max).unwrap_or(lower);
        let estimate = lower + (upper - lower) * into;
        Some(estimate.clamp(self.min.unwrap_or(f64::MIN), self.max.unwrap_or(f64::MAX)))
    }
}

#[cfg(test)]
mod tests;
