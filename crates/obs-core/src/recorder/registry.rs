//! The recorder on OpenTelemetry instruments: makes instruments and series, within their limits.
//!
//! How a series measures is its own business: [`direct`](super::direct) calls the instruments for
//! each run, [`sharded`](super::sharded) counts in private cells that are drained before a collection.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter},
};

use super::{
    Drained, Recorder, Series, SeriesLabels, Watched, Way,
    direct::DirectSeries,
    instruments::{Calls, Count},
    ledger_metrics::{self, Drops},
    otel::{Measure, MetricsOptions},
    sharded::{DurationTable, ShardedSeries},
};
use crate::{
    adopter::RecordLabels,
    durations::Durations,
    encode::Sanitized,
    exemplar::Exemplars,
    label::{Label, LabelBook, OTHER},
    ledger::SeriesDrops,
    limits::{DRAIN_RUNS_MAX, ERROR_SERIES_MAX, SERIES_MAX},
    mapping::{Instrument, Names},
    registry::{attribute, metric},
};

/// The labels whose values come from callers.
const FOLDABLE: [Label; 6] = [
    Label::Kind,
    Label::Realm,
    Label::StrategyType,
    Label::StrategyId,
    Label::StrategyVersion,
    Label::ErrorType,
];

/// Bounds of the histogram of nodes per run.
pub(super) const NODE_BOUNDS: &[f64] = metric::OBS_RUN_NODES.bounds;

pub(super) struct Registry {
    meter: Meter,
    calls: Calls,
    measure: Measure,
    durations: Arc<DurationTable>,
    /// Whether series remember kept runs.
    exemplars: bool,
    values: Arc<LabelValues>,
    families: Mutex<HashMap<Names, Arc<Family>>>,
    series: Mutex<HashMap<SeriesKey, Arc<Series>>>,
    sanitized: HashMap<&'static str, Count>,
    drops: Drops,
    /// Losses of records that were not made by this process, which measures nothing else of them.
    adopted: Mutex<HashMap<SeriesKey, Arc<SeriesDrops>>>,
    drains: Drains,
    /// Runs in flight have slots.
    tracked: AtomicBool,
}

/// The series whose cells are drained before a collection. A lock of its own: whoever makes a series
/// holds the registry's while it creates instruments, and a collection holds the instruments' while
/// it drains.
#[derive(Clone, Default)]
pub(super) struct Drains {
    series: Arc<Mutex<Vec<Arc<Series>>>>,
    /// Where the next drain between collections begins; whoever drains has it.
    next: Arc<Mutex<usize>>,
}

impl Drains {
    fn add(&self, series: &Arc<Series>) {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(series));
    }

    /// Brings every instrument up to date with its cells.
    pub(super) fn drain(&self) {
        for series in self.all() {
            series.drain();
        }
    }

    /// Goes on with the series after the last one, once round at most, until so many runs were replayed.
    #[expect(clippy::indexing_slicing, reason = "the next is taken modulo how many there are")]
    fn drain_some(&self, runs_max: u64) -> Drained {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.all();
        let mut replayed = 0;
        for _ in 0..all.len() {
            if replayed >= runs_max {
                return Drained::More;
            }
            *next %= all.len();
            replayed += all[*next].drain();
            *next += 1;
        }
        Drained::Done
    }

    fn all(&self) -> Vec<Arc<Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A strategy's attributes, after cleaning and folding, under the names of its kind.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct SeriesKey {
    pub(super) names: Names,
    pub(super) values: Vec<(Label, Arc<str>)>,
}

impl SeriesKey {
    /// The attributes of this series, and those that `more` adds, under the names of the kind.
    pub(super) fn attributes(&self, more: &[(Label, &str)]) -> Arc<[KeyValue]> {
        let own = self.values.iter().map(|(label, value)| (*label, &**value));
        own.chain(more.iter().copied())
            .filter_map(|(label, value)| {
                Some(KeyValue::new(self.names.key(label)?.to_owned(), value.to_owned()))
            })
            .collect()
    }
}

/// The label values so far, and the count of those that found no room.
pub(super) struct LabelValues {
    book: LabelBook,
    folded: HashMap<Label, Count>,
    /// How many more series the error counters may have.
    error_series_left: Mutex<usize>,
}

impl LabelValues {
    /// Asks for room for one more series of an error counter.
    pub(super) fn room_for_error(&self) -> bool {
        let mut left = self.error_series_left.lock().unwrap_or_else(PoisonError::into_inner);
        let room = *left > 0;
        *left = left.saturating_sub(1);
        room
    }

    /// The cleaned value, or `_OTHER`.
    pub(super) fn admit(&self, label: Label, raw: &str) -> Arc<str> {
        self.book.admit(label, raw).unwrap_or_else(|| self.fold(label))
    }

    pub(super) fn fold(&self, label: Label) -> Arc<str> {
        if let Some(count) = self.folded.get(&label) {
            count.add(1);
        }
        OTHER.into()
    }
}

/// The instruments under one set of names: created once, never looked up on the hot path.
pub(super) struct Family {
    pub(super) started: Counter<u64>,
    pub(super) active: UpDownCounter<i64>,
    pub(super) duration: Histogram<f64>,
    pub(super) queue_duration: Histogram<f64>,
    pub(super) nodes: Histogram<u64>,
    pub(super) nodes_total: Option<Counter<u64>>,
    pub(super) errors: Counter<u64>,
    pub(super) time_limit: Gauge<f64>,
    /// Only where runs in flight have slots: an instrument has its cost.
    pub(super) oldest: Option<Gauge<f64>>,
    /// Where series remember kept runs: the buckets by which they do.
    pub(super) exemplars: Option<Arc<DurationTable>>,
}

impl Registry {
    pub(super) fn new(
        meter: Meter,
        calls: Calls,
        options: &MetricsOptions,
        duration_bounds: Vec<f64>,
    ) -> Self {
        let folded = meter
            .u64_counter(metric::OBS_LABEL_FOLDED.name)
            .with_unit(metric::OBS_LABEL_FOLDED.unit)
            .with_description(metric::OBS_LABEL_FOLDED.brief)
            .build();
        let folded = FOLDABLE
            .map(|label| {
                let which: Arc<[KeyValue]> = [KeyValue::new(attribute::WHICH, label.key())].into();
                (label, Count::zeroed(&folded, which, calls))
            })
            .into();
        let sanitized = meter
            .u64_counter(metric::OBS_RECORD_SANITIZED.name)
            .with_unit(metric::OBS_RECORD_SANITIZED.unit)
            .with_description(metric::OBS_RECORD_SANITIZED.brief)
            .build();
        let sanitized = Sanitized::default()
            .reasons()
            .map(|(reason, _)| {
                let reason_only: Arc<[KeyValue]> =
                    [KeyValue::new(attribute::REASON, reason)].into();
                (reason, Count::zeroed(&sanitized, reason_only, calls))
            })
            .into();
        Self {
            calls,
            measure: options.measure,
            exemplars: options.exemplars,
            durations: Arc::new(DurationTable::new(duration_bounds)),
            values: Arc::new(LabelValues {
                book: LabelBook::default(),
                folded,
                error_series_left: Mutex::new(ERROR_SERIES_MAX),
            }),
            families: Mutex::default(),
            series: Mutex::default(),
            sanitized,
            drops: Drops::default(),
            adopted: Mutex::default(),
            drains: Drains::default(),
            tracked: AtomicBool::new(false),
            meter,
        }
    }

    fn family(&self, names: &Names) -> Arc<Family> {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = families.get(names) {
            return Arc::clone(family);
        }
        let tracked = self.tracked.load(Ordering::Acquire);
        let family = Family::new(&self.meter, names, self.durations.bounds(), tracked);
        let exemplars = self.exemplars.then(|| Arc::clone(&self.durations));
        let family = Arc::new(Family { exemplars, ..family });
        self.drops.export(&self.meter, names.of(Instrument::Dropped));
        families.insert(names.clone(), Arc::clone(&family));
        family
    }

    /// The attributes that tell a strategy's series apart, each one admitted or folded.
    fn admitted(&self, labels: &SeriesLabels<'_>) -> Vec<(Label, Arc<str>)> {
        let mut raw = vec![
            (Label::Kind, &*labels.kind.name),
            (Label::Realm, labels.realm.unwrap_or_default()),
            (Label::StrategyType, labels.strategy_type.unwrap_or_default()),
        ];
        if labels.kind.label_strategy {
            raw.push((Label::StrategyId, labels.id));
            raw.push((Label::StrategyVersion, labels.version));
        }
        let mut values: Vec<(Label, Arc<str>)> = Vec::with_capacity(raw.len());
        for (label, raw) in raw {
            // Versions of strategies that are not told apart mean nothing.
            let id_folded =
                matches!(values.last(), Some((Label::StrategyId, id)) if **id == *OTHER);
            let value = if label == Label::StrategyVersion && id_folded {
                self.values.fold(label)
            } else {
                self.values.admit(label, raw)
            };
            values.push((label, value));
        }
        values
    }
}

impl Recorder for Registry {
    fn series(&self, labels: &SeriesLabels<'_>) -> Arc<Series> {
        let names = labels.kind.names.clone();
        let mut key = SeriesKey { values: self.admitted(labels), names };
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if !series.contains_key(&key) && series.len() >= SERIES_MAX {
            for (label, value) in &mut key.values {
                if *label != Label::Kind {
                    *value = self.values.fold(*label);
                }
            }
        }
        if let Some(known) = series.get(&key) {
            return Arc::clone(known);
        }
        let family = self.family(&key.names);
        let direct = DirectSeries::new(family, &key, labels.kind, &self.values, self.calls);
        let made = Arc::new(Series(match self.measure {
            Measure::EachRun => Way::EachRun(Box::new(direct)),
            Measure::InCells => {
                let durations = Arc::clone(&self.durations);
                let book = &labels.kind.core.book;
                Way::InCells(Box::new(ShardedSeries::new(direct, durations, book)))
            }
        }));
        self.drains.add(&made);
        self.drops.add(&key, made.drops());
        series.insert(key, Arc::clone(&made));
        made
    }

    fn drops(&self, labels: &RecordLabels<'_>) -> Arc<SeriesDrops> {
        let raw = [
            (Label::Kind, labels.kind),
            (Label::Realm, labels.realm.unwrap_or_default()),
            (Label::StrategyType, labels.strategy_type.unwrap_or_default()),
        ];
        let values = raw.map(|(label, raw)| (label, self.values.admit(label, raw))).into();
        let mut key = SeriesKey { names: Names::default(), values };
        let mut adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        if !adopted.contains_key(&key) && adopted.len() >= SERIES_MAX {
            for (label, value) in &mut key.values {
                *value = self.values.fold(*label);
            }
        }
        if let Some(known) = adopted.get(&key) {
            return Arc::clone(known);
        }
        self.drops.export(&self.meter, key.names.of(Instrument::Dropped));
        let made = Arc::default();
        self.drops.add(&key, &made);
        adopted.insert(key, Arc::clone(&made));
        made
    }

    fn watch(&self, watched: &Watched<'_>) {
        self.tracked.store(watched.in_flight.is_some(), Ordering::Release);
        ledger_metrics::watch(&self.meter, watched, &self.drops, &self.drains);
    }

    fn drain(&self) -> Drained {
        self.drains.drain_some(DRAIN_RUNS_MAX)
    }

    fn duration_table(&self) -> Arc<DurationTable> {
        Arc::clone(&self.durations)
    }

    fn durations(&self) -> Vec<Durations> {
        self.drains.all().iter().flat_map(|series| series.durations()).collect()
    }

    fn exemplars(&self) -> Vec<Exemplars> {
        self.drains.all().iter().flat_map(|series| series.exemplars()).collect()
    }

    fn sanitized(&self, changed: &Sanitized) {
        for (reason, count) in changed.reasons().into_iter().filter(|(_, count)| *count > 0) {
            if let Some(counter) = self.sanitized.get(reason) {
                counter.add(count);
            }
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Family {
    fn new(meter: &Meter, names: &Names, duration_bounds: &[f64], tracked: bool) -> Self {
        let name = |instrument| names.of(instrument).to_owned();
        Self {
            started: meter
                .u64_counter(name(Instrument::Started))
                .with_unit(metric::OBS_RUN_STARTED.unit)
                .with_description(metric::OBS_RUN_STARTED.brief)
                .build(),
            active: meter
                .i64_up_down_counter(name(Instrument::Active))
                .with_unit(metric::OBS_RUN_ACTIVE.unit)
                .with_description(metric::OBS_RUN_ACTIVE.brief)
                .build(),
            duration: meter
                .f64_histogram(name(Instrument::Duration))
                .with_unit(metric::OBS_RUN_DURATION.unit)
                .with_description(metric::OBS_RUN_DURATION.brief)
                .with_boundaries(duration_bounds.to_vec())
                .build(),
            queue_duration: meter
                .f64_histogram(name(Instrument::QueueDuration))
                .with_unit(metric::OBS_RUN_QUEUE_DURATION.unit)
                .with_description(metric::OBS_RUN_QUEUE_DURATION.brief)
                .with_boundaries(duration_bounds.to_vec())
                .build(),
            nodes: meter
                .u64_histogram(name(Instrument::Nodes))
                .with_unit(metric::OBS_RUN_NODES.unit)
                .with_description(metric::OBS_RUN_NODES.brief)
                .with_boundaries(NODE_BOUNDS.to_vec())
                .build(),
            nodes_total: names.nodes_total.clone().map(|name| {
                meter
                    .u64_counter(name)
                    .with_unit("{node}")
                    .with_description("Nodes that runs executed")
                    .build()
            }),
            errors: meter
                .u64_counter(name(Instrument::Errors))
                .with_unit(metric::OBS_RUN_ERRORS.unit)
                .with_description(metric::OBS_RUN_ERRORS.brief)
                .build(),
            time_limit: meter
                .f64_gauge(name(Instrument::TimeLimit))
                .with_unit(metric::OBS_RUN_TIME_LIMIT.unit)
                .with_description(metric::OBS_RUN_TIME_LIMIT.brief)
                .build(),
            oldest: tracked.then(|| {
                meter
                    .f64_gauge(name(Instrument::OldestAge))
                    .with_unit(metric::OBS_RUN_OLDEST_AGE.unit)
                    .with_description(metric::OBS_RUN_OLDEST_AGE.brief)
                    .build()
            }),
            exemplars: None,
        }
    }
}
