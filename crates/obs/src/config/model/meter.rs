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
    /// The page for Prometheus, if there is to be one. One process has one.
    pub(crate) fn pull(&self) -> Option<&Pull> {
        self.readers.iter().find_map(|reader| match reader {
            Reader::Pull(pull) => Some(pull),
            Reader::Periodic(_) => None,
        })
    }

    /// Whether histograms are exponential ones. It is the provider's, and thereby all its readers', so
    /// settings in which readers differ are [refused](Self::clash).
    pub(crate) fn is_exponential(&self) -> bool {
        let exponential = HistogramAggregation::Base2Exponential;
        self.periodic().any(|reader| reader.exporter.histogram_aggregation == exponential)
    }

    /// How many series instruments may have. It is the provider's, so settings in which readers differ are
    /// [refused](Self::clash).
    pub(crate) fn cardinality_limits(&self) -> CardinalityLimits {
        self.readers.first().map(Reader::cardinality_limits).unwrap_or_default()
    }

    /// Whether some histogram is not summed up in the buckets that it was made with.
    pub(crate) fn changes_buckets(&self) -> bool {
        let buckets = |view: &View| {
            use super::view::Aggregation::{Base2Exponential, ExplicitBuckets};
            let wanted = &view.stream.aggregation;
            matches!(wanted, Some(Base2Exponential { .. } | ExplicitBuckets { .. }))
        };
        self.is_exponential() || self.views.iter().any(buckets)
    }

    /// Settings that are right one by one, and impossible together.
    pub(crate) fn clash(&self) -> Option<&'static str> {
        let exponential = HistogramAggregation::Base2Exponential;
        let all = self.periodic().all(|it| it.exporter.histogram_aggregation == exponential);
        let pulls = self.readers.iter().filter(|reader| matches!(reader, Reader::Pull(_))).count();
        let limits = self.cardinality_limits();
        if self.readers.iter().any(|reader| reader.cardinality_limits() != limits) {
            Some(
                "readers have different cardinality_limits: OpenTelemetry's SDK has them for all readers, say the same in each",
            )
        } else if pulls > 1 {
            Some("there are two pages for Prometheus: one process has one")
        } else if self.is_exponential() && (!all || pulls > 0) {
            Some(
                "exponential histograms are for all readers or for none, and Prometheus' page has none: \
                 use explicit_bucket_histogram everywhere, or leave the other readers out",
            )
        } else {
            None
        }
    }

    /// The readers that export at an interval.
    pub(crate) fn periodic(&self) -> impl Iterator<Item = &Periodic> {
        self.readers.iter().filter_map(|reader| match reader {
            Reader::Periodic(periodic) => Some(&**periodic),
            Reader::Pull(_) => None,
        })
    }
}

impl Reader {
    fn cardinality_limits(&self) -> CardinalityLimits {
        match self {
            Self::Periodic(periodic) => periodic.cardinality_limits,
            Self::Pull(pull) => pull.cardinality_limits,
        }
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { host: PROMETHEUS_HOST_DEFAULT.to_owned(), port: PROMETHEUS_PORT_DEFAULT }
    }
}
