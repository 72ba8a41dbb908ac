//! Our own meter provider: readers, resource, and how many series an instrument may have.

pub(crate) mod views;

use opentelemetry::{
    InstrumentationScope,
    metrics::{Meter, MeterProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    metrics::{Instrument, SdkMeterProvider},
};

use crate::{config::model::MeterProvider, export::Reader};
use views::Base;

/// The scope of our instruments.
const SCOPE: &str = "obs";
/// Series of an instrument about runs, which carries kind, realm, strategy type and more. It is
/// also OpenTelemetry's default.
const RUN_SERIES_MAX: usize = 2_000;
/// Series of any other instrument of ours. The SDK sets memory aside for all of them at once,
/// 135 KB an instrument and reader at 2,000.
const OTHER_SERIES_MAX: usize = 200;

pub(crate) fn provider(
    resource: Resource,
    settings: &MeterProvider,
    readers: impl IntoIterator<Item = Reader>,
) -> SdkMeterProvider {
    let base = Base::of(settings);
    let mut builder = SdkMeterProvider::builder().with_resource(resource);
    for view in settings.views.clone() {
        builder =
            builder.with_view(move |instrument: &Instrument| base.seen_through(&view, instrument));
    }
    let views = settings.views.clone();
    builder = builder.with_view(move |instrument: &Instrument| {
        let is_seen = views.iter().any(|view| views::matches(&view.selector, instrument));
        if is_seen { None } else { base.stream(instrument) }
    });
    readers.into_iter().fold(builder, |builder, reader| builder.with_reader(reader)).build()
}

pub(crate) fn meter(provider: &SdkMeterProvider) -> Meter {
    let scope = InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION"));
    provider.meter_with_scope(scope.build())
}

fn series_max(name: &str) -> usize {
    // A name of ours that does not begin with `obs.` is one that a kind's mapping gave to an
    // instrument about runs.
    let about_runs =
        name.starts_with("obs.run.") || name == "obs.record.dropped" || !name.starts_with("obs.");
    if about_runs { RUN_SERIES_MAX } else { OTHER_SERIES_MAX }
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;

    use super::*;
    use crate::{config::model::Temporality, snapshot::MetricsSnapshot};

    fn series_of(name: &'static str, sets: u64) -> usize {
        let reader = Reader::new(Temporality::Cumulative);
        let settings = MeterProvider::default();
        let provider = provider(Resource::builder_empty().build(), &settings, [reader.clone()]);
        let counter = meter(&provider).u64_counter(name).build();
        for set in 0..sets {
            counter.add(1, &[KeyValue::new("set", set.to_string())]);
        }
        let snapshot = MetricsSnapshot::from(&reader.read().unwrap());
        snapshot.metric(name).unwrap().series.len()
    }

    #[test]
    fn an_instrument_about_runs_holds_2000_series_and_one_for_the_rest() {
        assert_eq!(series_of("obs.run.errors", 2_000), 2_000);
        assert_eq!(series_of("obs.run.errors", 2_500), 2_001);
        assert_eq!(series_of("dsl.execution.errors", 2_500), 2_001);
        assert_eq!(series_of("obs.record.dropped", 2_500), 2_001);
    }

    #[test]
    fn any_other_instrument_of_ours_holds_200_series_and_one_for_the_rest() {
        assert_eq!(series_of("obs.label.folded", 200), 200);
        assert_eq!(series_of("obs.label.folded", 300), 201);
    }
}
