//! The one model that every source of settings fills: what OpenTelemetry's part of them says.
//!
//! Names and shape are those of OpenTelemetry's declarative configuration; every value is valid,
//! and every default is filled in. What nothing consumes yet is refused by [`supported`], so that
//! no setting is accepted in silence and then ignored.

pub(super) mod exporter;
mod limits;
pub(super) mod meter;
mod resource;
pub(super) mod supported;
pub(super) mod tracer;
pub(crate) mod view;

pub(crate) use exporter::{Exporter, HistogramAggregation, Otlp, Temporality, TlsFiles};
pub(crate) use limits::{AttributeLimits, CardinalityLimits, RecordLimits, SpanLimits};
pub(crate) use meter::{
    ExemplarFilter, MeterProvider, MetricExporter, Periodic, Prometheus, Pull, Reader,
};
pub(crate) use resource::Resource;
pub(crate) use tracer::{
    Batch, LoggerProvider, ParentBased, Processor, Propagator, Sampler, TracerProvider,
};
pub(crate) use view::{Aggregation, InstrumentType, Matching, Selector, Stream, View};

/// Signals, each with a provider of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

/// One way out of several, by its place in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    Reader(usize),
    Spans(usize),
    Logs(usize),
    /// Reports of errors.
    #[cfg(feature = "sentry")]
    Errors,
}

/// OpenTelemetry's part of the settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    /// Nothing is exported; rows go on.
    pub(crate) disabled: bool,
    /// The least severe of our own lines that are logged.
    pub(crate) log_level: Option<tracing::Level>,
    pub(crate) attribute_limits: AttributeLimits,
    pub(crate) resource: Resource,
    pub(crate) meter_provider: MeterProvider,
    pub(crate) tracer_provider: TracerProvider,
    pub(crate) logger_provider: LoggerProvider,
    pub(crate) propagators: Vec<Propagator>,
}

impl Model {
    /// Leaves out every way out but one, which gets everything.
    pub(crate) fn keep_only(&mut self, only: Only) {
        let (reader, spans, logs) = match only {
            Only::Reader(index) => (Some(index), None, None),
            Only::Spans(index) => (None, Some(index), None),
            Only::Logs(index) => (None, None, Some(index)),
            #[cfg(feature = "sentry")]
            Only::Errors => (None, None, None),
        };
        keep(&mut self.meter_provider.readers, reader);
        keep(&mut self.tracer_provider.processors, spans);
        keep(&mut self.logger_provider.processors, logs);
        self.tracer_provider.sampler = Sampler::AlwaysOn;
    }

    /// Every exporter of every signal.
    pub(crate) fn exporters_mut(&mut self) -> impl Iterator<Item = &mut Exporter> {
        let readers = self.meter_provider.readers.iter_mut().filter_map(|reader| match reader {
            Reader::Periodic(reader) => Some(&mut reader.exporter.exporter),
            Reader::Pull(_) => None,
        });
        let spans = self.tracer_provider.processors.iter_mut();
        let records = self.logger_provider.processors.iter_mut();
        readers.chain(spans.chain(records).map(|processor| match processor {
            Processor::Batch(batch) => &mut batch.exporter,
            Processor::Simple(exporter) => exporter,
        }))
    }
}

/// One item of a list, or none.
fn keep<T>(list: &mut Vec<T>, index: Option<usize>) {
    let mut at = 0_usize;
    list.retain(|_| {
        at += 1;
        index.is_some_and(|index| index + 1 == at)
    });
}

impl Signal {
    /// What OTLP over HTTP appends to a base address.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }
}
