//! One series' points on the synchronous instruments. Measuring each run through them is the
//! simplest recorder, and the oracle of the other.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use opentelemetry::KeyValue;

use super::{
    RunEnd,
    exemplars::{BucketExemplars, KeptRun},
    instruments::{Calls, Count, Level, Spread},
    registry::{Family, LabelValues, SeriesKey},
};
use crate::{
    exemplar::Exemplars,
    kind::KindShared,
    label::{Label, OTHER, clean},
    ledger::SeriesDrops,
    mapping::Instrument,
    run_error::fallback_code,
    status::Status,
};

pub(super) struct DirectSeries {
    key: SeriesKey,
    family: Arc<Family>,
    calls: Calls,
    values: Arc<LabelValues>,
    pub(super) started: Count,
    pub(super) active: Level,
    pub(super) durations: [Spread<f64>; Status::ALL.len()],
    pub(super) nodes: Spread<u64>,
    queue_duration: Spread<f64>,
    pub(super) nodes_total: Option<Count>,
    /// Failures by the error type as it stands on the metric; only failing runs look here.
    errors: RwLock<HashMap<Arc<str>, Arc<Count>>>,
    drops: Arc<SeriesDrops>,
    exemplars: Option<BucketExemplars>,
    own: Arc<[KeyValue]>,
}

impl DirectSeries {
    pub(super) fn new(
        family: Arc<Family>,
        key: &SeriesKey,
        kind: &KindShared,
        values: &Arc<LabelValues>,
        calls: Calls,
    ) -> Self {
        let own: Arc<[KeyValue]> = key.attributes(&[]);
        if let Some(limit) = kind.time_limit {
            family.time_limit.record(limit.as_secs_f64(), &own);
        }
        let series = Self {
            own: Arc::clone(&own),
            started: Count::zeroed(&family.started, Arc::clone(&own), calls),
            active: Level::zeroed(&family.active, Arc::clone(&own), calls),
            durations: Status::ALL.map(|status| {
                let attributes = key.attributes(&[(Label::Status, status.as_str())]);
                Spread::new(&family.duration, attributes, calls)
            }),
            nodes: Spread::new(&family.nodes, Arc::clone(&own), calls),
            queue_duration: Spread::new(&family.queue_duration, Arc::clone(&own), calls),
            nodes_total: family.nodes_total.as_ref().map(|total| Count::zeroed(total, own, calls)),
            errors: RwLock::default(),
            drops: Arc::default(),
            exemplars: family.exemplars.clone().map(BucketExemplars::new),
            key: key.clone(),
            family,
            calls,
            values: Arc::clone(values),
        };
        // An alert on the first failure needs a zero before it.
        series.errors_of(OTHER);
        for status in [Status::Timeout, Status::Limit, Status::Panicked] {
            series.errors_of(fallback_code(status));
        }
        for code in &kind.error_types {
            series.errors_of(code);
        }
        series
    }

    /// What few runs have is measured at once: a wait for the start, and failures by their code.
    #[inline]
    pub(super) fn measure_rare(&self, end: &RunEnd<'_>) {
        if let Some(queued) = end.queued_nanos {
            self.queue_duration.record(Duration::from_nanos(queued).as_secs_f64());
        }
        if end.status.is_failure() {
            let code = end.error_type.unwrap_or_else(|| fallback_code(end.status));
            self.errors_of(code).add(1);
        }
    }

    /// The point of an error type, made and zeroed at its first use.
    fn errors_of(&self, error_type: &str) -> Arc<Count> {
        let error_type = clean(error_type);
        let known = self.errors.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(&*error_type) {
            return Arc::clone(count);
        }
        drop(known);
        let mut errors = self.errors.write().unwrap_or_else(PoisonError::into_inner);
        let mut admitted: Arc<str> = if *error_type == *OTHER {
            OTHER.into()
        } else {
            self.values.admit(Label::ErrorType, &error_type)
        };
        // Only a series that is new takes room: a code that folds again and again takes none.
        let is_new = *admitted != *OTHER && !errors.contains_key(&admitted);
        if is_new && !self.values.room_for_error() {
            admitted = self.values.fold(Label::ErrorType);
        }
        let made = errors.entry(admitted).or_insert_with_key(|admitted| {
            let attributes = self.key.attributes(&[(Label::ErrorType, admitted)]);
            Arc::new(Count::zeroed(&self.family.errors, attributes, self.calls))
        });
        Arc::clone(made)
    }
}

impl DirectSeries {
    pub(super) fn started(&self) {
        self.started.add(1);
        self.active.add(1);
    }

    #[expect(clippy::indexing_slicing, reason = "each status has an instrument")]
    pub(super) fn ended(&self, end: &RunEnd<'_>) {
        self.active.add(-1);
        self.durations[end.status.index()]
            .record(Duration::from_nanos(end.figures.nanos).as_secs_f64());
        self.nodes.record(end.figures.nodes);
        if let Some(total) = &self.nodes_total {
            total.add(end.figures.nodes);
        }
        self.measure_rare(end);
    }

    #[inline]
    pub(super) fn kept(&self, run: &KeptRun) {
        if let Some(exemplars) = &self.exemplars {
            exemplars.kept(run);
        }
    }

    /// What it has of each status that had kept runs.
    pub(super) fn exemplars(&self) -> Vec<Exemplars> {
        let Some(exemplars) = &self.exemplars else { return Vec::new() };
        let of = |status: Status| {
            let exemplars = exemplars.of(status);
            let labels = self.key.attributes(&[(Label::Status, status.as_str())]);
            (!exemplars.is_empty()).then(|| Exemplars {
                metric: self.key.names.of(Instrument::Duration).to_owned(),
                labels: texts(&labels),
                exemplars,
            })
        };
        Status::ALL.into_iter().filter_map(of).collect()
    }

    /// The labels of the series, under the names that its metrics have.
    pub(super) fn labels(&self) -> Vec<(String, String)> {
        texts(&self.own)
    }

    pub(super) fn drops(&self) -> &Arc<SeriesDrops> {
        &self.drops
    }

    pub(super) fn oldest(&self, age: Duration) {
        if let Some(oldest) = &self.family.oldest {
            oldest.record(age.as_secs_f64(), &self.own);
        }
    }
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}

impl fmt::Debug for DirectSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.key.values).finish()
    }
}
