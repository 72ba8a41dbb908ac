//! Puts exemplars beside the series that they belong to.

use std::collections::BTreeMap;

use obs_core::Exemplars;

use super::{Metric, MetricsSnapshot, Value};

impl MetricsSnapshot {
    /// Adds what was read before the metrics were collected: so each of these runs has been counted.
    pub(crate) fn add_exemplars(&mut self, exemplars: Vec<Exemplars>) {
        for Exemplars { metric, labels, exemplars, .. } in exemplars {
            let attributes: BTreeMap<String, String> = labels.into_iter().collect();
            let of_name = self.metrics.iter_mut().filter(|it| it.name == metric);
            let series = of_name.flat_map(|Metric { series, .. }| series);
            for series in series.filter(|series| series.attributes == attributes) {
                if let Value::Histogram(histogram) = &mut series.value {
                    histogram.exemplars.clone_from(&exemplars);
                }
            }
        }
    }
}
