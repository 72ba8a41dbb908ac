//! What the model can say and nothing consumes yet. Whoever consumes it deletes its entry here.

use super::{ExemplarFilter, Model};

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
    let entries: [(bool, Entry); 1] = [(
        metrics.exemplar_filter == ExemplarFilter::AlwaysOn,
        ("meter_provider.exemplar_filter", &["OTEL_METRICS_EXEMPLAR_FILTER"]),
    )];
    first(entries)
}

fn first<const N: usize>(entries: [(bool, Entry); N]) -> Option<Entry> {
    entries.into_iter().find_map(|(used, entry)| used.then_some(entry))
}
