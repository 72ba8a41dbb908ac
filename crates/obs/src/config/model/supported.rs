//! What the model can say and nothing consumes yet. Whoever consumes it deletes its entry here.

use super::{CardinalityLimits, ExemplarFilter, HistogramAggregation, Model, Reader};

/// A setting that nothing consumes yet: where it is in a file, and the variables that say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported {
    pub(crate) path: &'static str,
    pub(crate) variables: &'static [&'static str],
}

/// The first setting of the model that nothing consumes yet.
pub(crate) fn unsupported(model: &Model) -> Option<Unsupported> {
    of_metrics(model).map(|(path, variables)| Unsupported { path, variables })
}

type Entry = (&'static str, &'static [&'static str]);

fn of_metrics(model: &Model) -> Option<Entry> {
    let metrics = &model.meter_provider;
    let limited = |reader: &Reader| {
        *match reader {
            Reader::Periodic(periodic) => &periodic.cardinality_limits,
            Reader::Pull(pull) => &pull.cardinality_limits,
        } != CardinalityLimits::default()
    };
    let pulls = |reader: &Reader| matches!(reader, Reader::Pull(_));
    let exponential = metrics
        .periodic()
        .any(|reader| reader.exporter.histogram_aggregation != HistogramAggregation::default());
    let entries: [(bool, Entry); 6] = [
        (
            metrics.readers.iter().any(pulls),
            ("meter_provider.readers.pull", &["OTEL_METRICS_EXPORTER"]),
        ),
        (metrics.readers.len() > 1, ("meter_provider.readers", &["OTEL_METRICS_EXPORTER"])),
        (metrics.readers.iter().any(limited), ("meter_provider.readers.cardinality_limits", &[])),
        (
            exponential,
            (
                "meter_provider.readers.periodic.exporter.default_histogram_aggregation",
                &["OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"],
            ),
        ),
        (!metrics.views.is_empty(), ("meter_provider.views", &[])),
        (
            metrics.exemplar_filter == ExemplarFilter::AlwaysOn,
            ("meter_provider.exemplar_filter", &["OTEL_METRICS_EXEMPLAR_FILTER"]),
        ),
    ];
    first(entries)
}

fn first<const N: usize>(entries: [(bool, Entry); N]) -> Option<Entry> {
    entries.into_iter().find_map(|(used, entry)| used.then_some(entry))
}
