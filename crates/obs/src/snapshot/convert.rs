//! From OpenTelemetry's collected metrics to ours.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{
    self, AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics,
};

use super::{Histogram, Metric, MetricsSnapshot, Series, Value};

/// The number types that instruments measure in.
trait Number: Copy {
    fn as_f64(self) -> f64;
}

impl Number for f64 {
    fn as_f64(self) -> f64 {
        self
    }
}

impl Number for u64 {
    #[expect(clippy::cast_precision_loss, reason = "documented: exact up to 2⁵³")]
    fn as_f64(self) -> f64 {
        self as f64
    }
}

impl Number for i64 {
    #[expect(clippy::cast_precision_loss, reason = "documented: exact up to 2⁵³")]
    fn as_f64(self) -> f64 {
        self as f64
    }
}

impl From<&ResourceMetrics> for MetricsSnapshot {
    fn from(collected: &ResourceMetrics) -> Self {
        let metrics = collected.scope_metrics().flat_map(ScopeMetrics::metrics);
        let mut metrics: Vec<Metric> =
            metrics.map(Metric::from).filter(|m| !m.series.is_empty()).collect();
        metrics.sort_by(|left, right| left.name.cmp(&right.name));
        let resource = collected.resource().iter();
        let resource = resource.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Self { metrics, durations: Vec::new(), resource }
    }
}

impl From<&data::Metric> for Metric {
    fn from(metric: &data::Metric) -> Self {
        let mut series = match metric.data() {
            AggregatedMetrics::F64(data) => series(data),
            AggregatedMetrics::U64(data) => series(data),
            AggregatedMetrics::I64(data) => series(data),
        };
        series.sort_by(|left, right| left.attributes.cmp(&right.attributes));
        Self {
            name: metric.name().to_owned(),
            unit: metric.unit().to_owned(),
            description: metric.description().to_owned(),
            series,
        }
    }
}

fn series<T: Number>(data: &MetricData<T>) -> Vec<Series> {
    match data {
        MetricData::Gauge(gauge) => {
            let points = gauge.data_points();
            points.map(|p| one(p.attributes(), Value::Gauge(p.value().as_f64()))).collect()
        }
        MetricData::Sum(sum) => {
            let value = if sum.is_monotonic() { Value::Counter } else { Value::UpDownCounter };
            sum.data_points().map(|p| one(p.attributes(), value(p.value().as_f64()))).collect()
        }
        MetricData::Histogram(histogram) => {
            let points = histogram.data_points();
            points.map(|p| one(p.attributes(), Value::Histogram(distribution(p)))).collect()
        }
        // Only a view of the application's own makes one of these; it has no explicit buckets.
        MetricData::ExponentialHistogram(_) => Vec::new(),
    }
}

fn distribution<T: Number>(point: &data::HistogramDataPoint<T>) -> Histogram {
    Histogram {
        bounds: point.bounds().collect(),
        counts: point.bucket_counts().collect(),
        sum: point.sum().as_f64(),
        count: point.count(),
        min: point.min().map(Number::as_f64),
        max: point.max().map(Number::as_f64),
        exemplars: Vec::new(),
    }
}

fn one<'a>(attributes: impl Iterator<Item = &'a KeyValue>, value: Value) -> Series {
    let pair = |attribute: &KeyValue| (attribute.key.to_string(), attribute.value.to_string());
    Series { attributes: attributes.map(pair).collect::<BTreeMap<_, _>>(), value }
}
