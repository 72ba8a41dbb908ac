//! Metrics: who reads them, how often, and where they go.

use std::time::Duration;

use super::{CardinalityLimits, Exporter, HistogramAggregation, Temporality, View};

/// The default of `OTEL_METRIC_EXPORT_INTERVAL`.
pub(crate) const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
/// The default of `OTEL_METRIC_EXPORT_TIMEOUT`: how long one collection and its export may take.
pub(crate) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The default of `OTEL_EXPORTER_PROMETHEUS_HOST`.
pub(crate) const PROMETHEUS_HOST_DEFAULT: &str = "localhost";
/// The default of `OTEL_EXPORTER_PROMETHEUS_PORT`.
pub(crate) const PROMETHEUS_PORT_DEFAULT: u16 = 9464;

/// Every reader sees every metric. None of them: nothing is exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MeterProvider {
    pub(crate) readers: Vec<Reader>,
    pub(crate) views: Vec<View>,
    pub(crate) exemplar_filter: ExemplarFilter,
}

/// Who asks for metrics: a clock of ours, or somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Periodic(Box<Periodic>),
    Pull(Pull),
}

/// Exports at an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Periodic {
    pub(crate) interval: Duration,
    /// How long one collection and its export may take.
    pub(crate) timeout: Duration,
    pub(crate) exporter: MetricExporter,
    pub(crate) cardinality_limits: CardinalityLimits,
}

/// Where metrics go, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricExporter {
    pub(crate) exporter: Exporter,
    pub(crate) temporality: Temporality,
    pub(crate) histogram_aggregation: HistogramAggregation,
}

/// Answers whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) prometheus: Prometheus,
    pub(crate) cardinality_limits: CardinalityLimits,
}

/// A page for Prometheus to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prometheus {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Which measurements may become examples of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ExemplarFilter {
    AlwaysOn,
    AlwaysOff,
    #[default]
    TraceBased,
}

impl MeterProvider {
    /// The readers that export at an interval.
    pub(crate) fn periodic(&self) -> impl Iterator<Item = &Periodic> {
        self.readers.iter().filter_map(|reader| match reader {
            Reader::Periodic(periodic) => Some(&**periodic),
            Reader::Pull(_) => None,
        })
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { host: PROMETHEUS_HOST_DEFAULT.to_owned(), port: PROMETHEUS_PORT_DEFAULT }
    }
}
