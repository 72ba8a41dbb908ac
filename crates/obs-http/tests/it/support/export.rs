//! An export as numbers.

use std::collections::BTreeMap;

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};

/// Attributes as text, in the order of their keys.
pub(crate) type Attributes = BTreeMap<String, String>;

/// A point of an exported histogram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) bounds: Vec<f64>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

/// One export: every sum and gauge, and every histogram, by name and attributes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Export {
    pub(crate) numbers: BTreeMap<String, BTreeMap<Attributes, f64>>,
    pub(crate) histograms: BTreeMap<String, BTreeMap<Attributes, Histogram>>,
    pub(crate) units: BTreeMap<String, String>,
    /// Sums that only grow.
    pub(crate) monotonic: Vec<String>,
}

/// Reads the points of every number type alike.
macro_rules! points {
    ($export:expr, $name:expr, $data:expr, $as:expr) => {
        match $data {
            MetricData::Sum(sum) => {
                if sum.is_monotonic() {
                    $export.monotonic.push($name.to_owned());
                }
                for point in sum.data_points() {
                    $export.number($name, attributes(point.attributes()), $as(point.value()));
                }
            }
            MetricData::Gauge(gauge) => {
                for point in gauge.data_points() {
                    $export.number($name, attributes(point.attributes()), $as(point.value()));
                }
            }
            MetricData::Histogram(histogram) => {
                for point in histogram.data_points() {
                    let read = Histogram {
                        bounds: point.bounds().collect(),
                        count: point.count(),
                        sum: $as(point.sum()),
                    };
                    let by_attributes = $export.histograms.entry($name.to_owned()).or_default();
                    by_attributes.insert(attributes(point.attributes()), read);
                }
            }
            MetricData::ExponentialHistogram(_) => panic!("no such instrument: {}", $name),
        }
    };
}

impl Export {
    pub(crate) fn of(collected: &[ResourceMetrics]) -> Self {
        let mut export = Self::default();
        for metric in collected
            .iter()
            .flat_map(ResourceMetrics::scope_metrics)
            .flat_map(|scope| scope.metrics())
        {
            export.units.insert(metric.name().to_owned(), metric.unit().to_owned());
            export.add(metric.name(), metric.data());
        }
        export
    }

    fn add(&mut self, name: &str, data: &AggregatedMetrics) {
        #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
        match data {
            AggregatedMetrics::F64(data) => points!(self, name, data, |value: f64| value),
            AggregatedMetrics::U64(data) => points!(self, name, data, |value: u64| value as f64),
            AggregatedMetrics::I64(data) => points!(self, name, data, |value: i64| value as f64),
        }
    }

    fn number(&mut self, name: &str, attributes: Attributes, value: f64) {
        self.numbers.entry(name.to_owned()).or_default().insert(attributes, value);
    }

    /// One number; the attributes must be exactly these.
    pub(crate) fn at(&self, name: &str, attributes: &[(&str, &str)]) -> Option<f64> {
        self.numbers.get(name)?.get(&texts(attributes)).copied()
    }

    /// One histogram; the attributes must be exactly these.
    pub(crate) fn histogram(&self, name: &str, attributes: &[(&str, &str)]) -> Option<&Histogram> {
        self.histograms.get(name)?.get(&texts(attributes))
    }

    /// The sum of an instrument's numbers over all attributes.
    pub(crate) fn total(&self, name: &str) -> f64 {
        self.numbers.get(name).map_or(0.0, |points| points.values().sum())
    }
}

fn attributes<'a>(pairs: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> Attributes {
    pairs.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}

fn texts(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
