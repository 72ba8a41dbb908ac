//! An `Obs` on a real SDK whose exports can be read as numbers.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use obs_core::{
    BuildError, Builder,
    otel::{Measure, Metrics, MetricsOptions},
    testing::TestObs,
};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData},
};

/// Attributes as text, in the order of their keys.
pub(crate) type Attributes = BTreeMap<String, String>;

/// A point of an exported histogram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) bounds: Vec<f64>,
    pub(crate) buckets: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
}

/// One export: every sum and gauge, and every histogram, by name and attributes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Export {
    pub(crate) numbers: BTreeMap<String, BTreeMap<Attributes, f64>>,
    pub(crate) histograms: BTreeMap<String, BTreeMap<Attributes, Histogram>>,
    pub(crate) units: BTreeMap<String, String>,
}

pub(crate) struct Measured {
    pub(crate) test: TestObs,
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// Measured at each run and in cells; through prebuilt attributes, as with somebody else's SDK, and
/// through bound instruments.
pub(crate) fn both_ways(check: impl Fn(Measured)) {
    for measure in [Measure::EachRun, Measure::InCells] {
        for bound in [false, true] {
            check(measured_with(measure, bound, |builder| builder).unwrap());
        }
    }
}

pub(crate) fn measured(
    bound: bool,
    change: impl FnOnce(Builder) -> Builder,
) -> Result<Measured, BuildError> {
    measured_with(Measure::default(), bound, change)
}

pub(crate) fn measured_with(
    measure: Measure,
    bound: bool,
    change: impl FnOnce(Builder) -> Builder,
) -> Result<Measured, BuildError> {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let options = MetricsOptions { bound, measure, ..MetricsOptions::default() };
    let metrics = Metrics::new(&provider.meter("obs"), options)?;
    let test = TestObs::with(|builder| change(builder).metrics(metrics))?;
    Ok(Measured { test, provider, exporter })
}

impl Measured {
    /// Collects and reads what was exported.
    pub(crate) fn export(&self) -> Export {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        Export::read(&self.exporter)
    }
}

/// Reads the points of every number type alike.
macro_rules! points {
    ($export:expr, $name:expr, $data:expr, $as:expr) => {
        match $data {
            MetricData::Sum(sum) => {
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
                        buckets: point.bucket_counts().collect(),
                        count: point.count(),
                        sum: $as(point.sum()),
                        min: point.min().map($as),
                        max: point.max().map($as),
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
    pub(crate) fn read(exporter: &InMemoryMetricExporter) -> Self {
        let mut export = Self::default();
        for resource in exporter.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                export.units.insert(metric.name().to_owned(), metric.unit().to_owned());
                export.add(metric.name(), metric.data());
            }
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

/// Polls a future once; it is ready or it is not.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(&idle_waker()))
}

pub(crate) fn idle_waker() -> Waker {
    struct Idle;
    impl Wake for Idle {
        fn wake(self: Arc<Self>) {}
    }
    Waker::from(Arc::new(Idle))
}
