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
        MetricData::ExponentialHistogram(histogram) => {
            let points = histogram.data_points();
            points.map(|p| one(p.attributes(), Value::Histogram(exponential(p)))).collect()
        }
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

/// The same measurements in explicit buckets, whose bounds are powers of the base. Negative ones are one
/// bucket: nothing that is measured here is below zero.
fn exponential<T: Number>(point: &data::ExponentialHistogramDataPoint<T>) -> Histogram {
    let base = 2_f64.powf(2_f64.powi(-i32::from(point.scale())));
    let positive = point.positive_bucket();
    let negative: u64 = point.negative_bucket().counts().sum();
    let mut bounds = vec![0.0];
    let mut counts = vec![negative + point.zero_count()];
    for (at, count) in (positive.offset()..).zip(positive.counts()) {
        if counts.len() == 1 && at > i32::MIN {
            // Up to where the first bucket begins there is nothing.
            bounds.push(base.powi(at));
            counts.push(0);
        }
        bounds.push(base.powi(at + 1));
        counts.push(count);
    }
    counts.push(0);
    Histogram {
        bounds,
        counts,
        sum: point.sum().as_f64(),
        count: u64::try_from(point.count()).unwrap_or(u64::MAX),
        min: point.min().map(Number::as_f64),
        max: point.max().map(Number::as_f64),
        exemplars: Vec::new(),
    }
}

fn one<'a>(attributes: impl Iterator<Item = &'a KeyValue>, value: Value) -> Series {
    let pair = |attribute: &KeyValue| (attribute.key.to_string(), attribute.value.to_string());
    Series { attributes: attributes.map(pair).collect::<BTreeMap<_, _>>(), value }
}
