//! What the settings make of each instrument: which streams it has, how they are summed up, how many series.

use opentelemetry::Key;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, Stream, StreamBuilder};

use super::{SCOPE, series_max};
use crate::config::model::{
    CardinalityLimits, MeterProvider,
    view::{
        Aggregation as Wanted, InstrumentType, Matching, Selector, Stream as WantedStream, View,
    },
};

/// OpenTelemetry's defaults of an exponential histogram.
const EXPONENTIAL: Aggregation =
    Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true };

/// What becomes of instruments, whatever view they match.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    exponential: bool,
    limits: CardinalityLimits,
}

impl Base {
    pub(super) fn of(settings: &MeterProvider) -> Self {
        let limits = settings.cardinality_limits();
        Self { exponential: settings.is_exponential(), limits }
    }

    /// The stream of an instrument that no view matches; `None` is the SDK's own.
    pub(super) fn stream(self, instrument: &Instrument) -> Option<Stream> {
        self.builder(instrument).build().ok()
    }

    fn builder(self, instrument: &Instrument) -> StreamBuilder {
        let kind = instrument.kind();
        let ours = instrument.scope().name() == SCOPE;
        let mut stream = Stream::builder();
        let limit = limit(&self.limits, kind);
        if let Some(limit) = limit.or_else(|| ours.then(|| series_max(instrument.name()))) {
            stream = stream.with_cardinality_limit(limit);
        }
        if self.exponential && kind == InstrumentKind::Histogram {
            stream = stream.with_aggregation(EXPONENTIAL);
        }
        stream
    }

    /// The stream that a view makes of an instrument that it matches.
    pub(super) fn seen_through(self, view: &View, instrument: &Instrument) -> Option<Stream> {
        matches(&view.selector, instrument)
            .then(|| changed(self.builder(instrument), &view.stream).build().ok())
            .flatten()
    }
}

/// Why the SDK would leave a view out without a word.
pub(crate) fn problem(settings: &MeterProvider) -> Option<String> {
    settings.views.iter().find_map(|view| {
        if view.stream.attribute_keys.as_ref().is_some_and(|keys| !is_a_list(keys)) {
            let rule = "attribute_keys are a list of those to include here, without patterns: OpenTelemetry's SDK \
                        has no other way";
            return Some(rule.to_owned());
        }
        let built = changed(Stream::builder(), &view.stream).build();
        built.err().map(|error| error.to_string())
    })
}

fn is_a_list(keys: &Matching) -> bool {
    let is_name = |key: &String| !key.contains(['*', '?']);
    keys.excluded.is_empty() && keys.included.as_ref().is_some_and(|keys| keys.iter().all(is_name))
}

fn changed(mut stream: StreamBuilder, wanted: &WantedStream) -> StreamBuilder {
    if let Some(name) = &wanted.name {
        stream = stream.with_name(name.clone());
    }
    if let Some(description) = &wanted.description {
        stream = stream.with_description(description.clone());
    }
    if let Some(limit) = wanted.aggregation_cardinality_limit {
        stream = stream.with_cardinality_limit(limit);
    }
    if let Some(Matching { included: Some(included), .. }) = &wanted.attribute_keys {
        stream = stream.with_allowed_attribute_keys(included.iter().cloned().map(Key::from));
    }
    match &wanted.aggregation {
        None => stream,
        Some(aggregation) => stream.with_aggregation(aggregation_of(aggregation)),
    }
}

fn aggregation_of(wanted: &Wanted) -> Aggregation {
    match wanted {
        Wanted::Default | Wanted::ExplicitBuckets { boundaries: None, .. } => Aggregation::Default,
        Wanted::Drop => Aggregation::Drop,
        Wanted::LastValue => Aggregation::LastValue,
        Wanted::Sum => Aggregation::Sum,
        Wanted::ExplicitBuckets { boundaries: Some(boundaries), record_min_max } => {
            Aggregation::ExplicitBucketHistogram {
                boundaries: boundaries.clone(),
                record_min_max: *record_min_max,
            }
        }
        &Wanted::Base2Exponential { max_scale, max_size, record_min_max } => {
            Aggregation::Base2ExponentialHistogram { max_size, max_scale, record_min_max }
        }
    }
}

/// Whether all that the selector says is true of the instrument.
pub(super) fn matches(selector: &Selector, instrument: &Instrument) -> bool {
    let scope = instrument.scope();
    let is = |wanted: &Option<String>, has: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
    };
    selector.instrument_name.as_deref().is_none_or(|name| fits(name, instrument.name()))
        && selector.instrument_type.is_none_or(|kind| kind_of(kind) == instrument.kind())
        && is(&selector.unit, Some(instrument.unit()))
        && is(&selector.meter_name, Some(scope.name()))
        && is(&selector.meter_version, scope.version())
        && is(&selector.meter_schema_url, scope.schema_url())
}

const fn kind_of(kind: InstrumentType) -> InstrumentKind {
    match kind {
        InstrumentType::Counter => InstrumentKind::Counter,
        InstrumentType::Gauge => InstrumentKind::Gauge,
        InstrumentType::Histogram => InstrumentKind::Histogram,
        InstrumentType::ObservableCounter => InstrumentKind::ObservableCounter,
        InstrumentType::ObservableGauge => InstrumentKind::ObservableGauge,
        InstrumentType::ObservableUpDownCounter => InstrumentKind::ObservableUpDownCounter,
        InstrumentType::UpDownCounter => InstrumentKind::UpDownCounter,
    }
}

const fn limit(limits: &CardinalityLimits, kind: InstrumentKind) -> Option<usize> {
    let own = match kind {
        InstrumentKind::Counter => limits.counter,
        InstrumentKind::Gauge => limits.gauge,
        InstrumentKind::Histogram => limits.histogram,
        InstrumentKind::ObservableCounter => limits.observable_counter,
        InstrumentKind::ObservableGauge => limits.observable_gauge,
        InstrumentKind::ObservableUpDownCounter => limits.observable_up_down_counter,
        InstrumentKind::UpDownCounter => limits.up_down_counter,
    };
    if own.is_some() { own } else { limits.default }
}

/// `*` is any number of characters, `?` is one; instruments' names are the same in any case.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where the last star is, and up to where it stands for something.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(byte) if byte.eq_ignore_ascii_case(&name[n]) => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use opentelemetry::{InstrumentationScope, KeyValue, metrics::MeterProvider as _};
    use opentelemetry_sdk::Resource;

    use super::*;
    use crate::{
        config::model::{
            Exporter, HistogramAggregation, MetricExporter, Periodic, Reader as ReaderSettings,
            Temporality,
        },
        export::Reader,
        snapshot::MetricsSnapshot,
    };

    fn view(selector: Selector, stream: WantedStream) -> View {
        View { selector, stream }
    }

    fn named(name: &str) -> Selector {
        Selector { instrument_name: Some(name.to_owned()), ..Selector::default() }
    }

    /// What is seen of a counter and a histogram of one meter.
    fn seen(settings: &MeterProvider, scope: &'static str) -> MetricsSnapshot {
        let reader = Reader::new(Temporality::Cumulative);
        let resource = Resource::builder_empty().build();
        let provider = super::super::provider(resource, settings, [reader.clone()]);
        let meter = provider
            .meter_with_scope(InstrumentationScope::builder(scope).with_version("1").build());
        let sales = meter.u64_counter("shop.sales").with_unit("{sale}").build();
        for country in 0..20 {
            let attributes =
                [KeyValue::new("country", country), KeyValue::new("secret", country * 2)];
            sales.add(1, &attributes);
        }
        let took = meter.f64_histogram("shop.took").with_boundaries(vec![1.0]).build();
        for seconds in [0.5, 1.5, 2.5] {
            took.record(seconds, &[]);
        }
        MetricsSnapshot::from(&reader.read().unwrap())
    }

    fn with(views: Vec<View>) -> MeterProvider {
        MeterProvider { views, ..MeterProvider::default() }
    }

    #[test]
    fn patterns_are_matched_as_a_whole_and_in_any_case() {
        for (pattern, name) in [
            ("*", "a"),
            ("shop.*", "shop.sales"),
            ("*.sales", "shop.sales"),
            ("s*p.s?les", "shop.sales"),
            ("Shop.Sales", "shop.sales"),
            ("*a*a*", "banana"),
            ("**", ""),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("shop", "shop.sales"), ("?", ""), ("a*b", "abc"), ("", "a"), ("*aa", "banana")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_view_renames_drops_filters_limits_and_sums_up_otherwise() {
        let stream = WantedStream {
            name: Some("shop.sold".to_owned()),
            description: Some("Sold".to_owned()),
            attribute_keys: Some(Matching {
                included: Some(vec!["country".to_owned()]),
                excluded: Vec::new(),
            }),
            aggregation_cardinality_limit: Some(5),
            ..WantedStream::default()
        };
        let buckets =
            Wanted::ExplicitBuckets { boundaries: Some(vec![1.0, 2.0]), record_min_max: false };
        let took = WantedStream { aggregation: Some(buckets), ..WantedStream::default() };
        let settings = with(vec![view(named("*.sales"), stream), view(named("shop.took"), took)]);
        let seen = seen(&settings, "shop");
        assert!(seen.metric("shop.sales").is_none());
        let sold = seen.metric("shop.sold").unwrap();
        assert_eq!((&*sold.description, &*sold.unit, sold.series.len()), ("Sold", "{sale}", 6));
        assert!(sold.series.iter().all(|series| series.attribute("secret").is_none()));
        let took = seen.metric("shop.took").unwrap().series[0].value.histogram().unwrap().clone();
        assert_eq!((took.bounds, took.counts, took.max), (vec![1.0, 2.0], vec![1, 1, 1], None));

        let drop = WantedStream { aggregation: Some(Wanted::Drop), ..WantedStream::default() };
        let dropped = self::seen(&with(vec![view(named("shop.*"), drop)]), "shop");
        assert!(dropped.metrics.is_empty(), "{dropped:?}");
    }

    #[test]
    fn a_view_matches_only_where_all_that_it_says_is_true() {
        let rename = || WantedStream { name: Some("x".to_owned()), ..WantedStream::default() };
        let text = |text: &str| Some(text.to_owned());
        let selects = |selector: Selector| {
            let settings = with(vec![view(selector, rename())]);
            seen(&settings, "shop").metric("x").map(|metric| metric.unit.clone())
        };
        let counter = Some(InstrumentType::Counter);
        let all = Selector {
            instrument_name: text("shop.*"),
            instrument_type: counter,
            unit: text("{sale}"),
            meter_name: text("shop"),
            meter_version: text("1"),
            meter_schema_url: None,
        };
        assert_eq!(selects(all.clone()), text("{sale}"));
        for none in [
            Selector { instrument_type: Some(InstrumentType::Gauge), ..all.clone() },
            Selector { unit: text("s"), ..all.clone() },
            Selector { meter_name: text("other"), ..all.clone() },
            Selector { meter_version: text("2"), ..all.clone() },
            Selector { meter_schema_url: text("https://example.com"), ..all },
        ] {
            assert_eq!(selects(none.clone()), None, "{none:?}");
        }
    }

    #[test]
    fn limits_of_readers_are_those_of_every_instrument_of_that_type() {
        let limits = CardinalityLimits {
            counter: Some(3),
            default: Some(7),
            ..CardinalityLimits::default()
        };
        let periodic = Periodic {
            interval: std::time::Duration::from_secs(60),
            timeout: std::time::Duration::from_secs(30),
            exporter: MetricExporter {
                exporter: Exporter::Console,
                temporality: Temporality::default(),
                histogram_aggregation: HistogramAggregation::default(),
            },
            cardinality_limits: limits,
        };
        let settings = MeterProvider {
            readers: vec![ReaderSettings::Periodic(Box::new(periodic))],
            ..MeterProvider::default()
        };
        for scope in ["shop", SCOPE] {
            assert_eq!(seen(&settings, scope).metric("shop.sales").unwrap().series.len(), 4);
        }
    }

    #[test]
    fn what_the_sdk_would_leave_out_without_a_word_is_a_problem() {
        let of = |stream| problem(&with(vec![view(named("a"), stream)]));
        assert_eq!(of(WantedStream::default()), None);
        for (included, excluded) in [(None, vec![]), (Some("a*"), vec![]), (Some("a"), vec!["b"])] {
            let keys = Matching {
                included: included.map(|key| vec![key.to_owned()]),
                excluded: excluded.into_iter().map(str::to_owned).collect(),
            };
            assert!(
                of(WantedStream { attribute_keys: Some(keys), ..Default::default() }).is_some()
            );
        }
        let none = WantedStream { aggregation_cardinality_limit: Some(0), ..Default::default() };
        assert!(of(none).is_some());
        let unordered =
            Wanted::ExplicitBuckets { boundaries: Some(vec![2.0, 1.0]), record_min_max: true };
        assert!(of(WantedStream { aggregation: Some(unordered), ..Default::default() }).is_some());
    }
}
