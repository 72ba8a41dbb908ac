//! Runs that stand for a bucket of the duration histogram: from a point of a metric to a row.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::record::Timestamp;

/// A run that was kept, and whose record the sink took.
///
/// ```
/// fn row(exemplar: &obs_core::Exemplar) -> String {
///     format!("select * from obs.run where run_id = '{}'", exemplar.run_id)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exemplar {
    /// How long it took, in seconds: the very number that the histogram counted.
    pub seconds: f64,
    /// Its row.
    pub run_id: Uuid,
    /// W3C trace id, as its row has it.
    pub trace_id: Option<Box<str>>,
    /// W3C span id, as its row has it.
    pub span_id: Option<Box<str>>,
    /// When it ended.
    pub at: Timestamp,
}

/// The exemplars of one series of one duration histogram: at most one for each bucket.
///
/// ```
/// # use obs_core::Obs;
/// # fn show(obs: &Obs) {
/// for series in obs.exemplars() {
///     println!("{} {:?}: {} exemplars", series.metric, series.labels, series.exemplars.len());
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exemplars {
    /// The histogram's name.
    pub metric: String,
    /// The labels of the series, the status among them, under the names that the metric has.
    pub labels: Vec<(String, String)>,
    /// In the order of their durations.
    pub exemplars: Vec<Exemplar>,
}
