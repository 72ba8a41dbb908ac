//! The ledger as observable instruments, all read from one snapshot per collection.
//!
//! Paired synchronous counters balance in few exports; a snapshot balances in all of them. The
//! callbacks of one collection run one after another on one thread, so the first of them takes the
//! snapshot, the others of the same thread reuse it, and a callback that comes round again starts
//! the next collection. Two readers that collect at the same time do so on two threads.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use opentelemetry::{KeyValue, metrics::Meter};

use super::{
    Watched,
    registry::{Drains, SeriesKey},
};
use crate::{
    in_flight::{InFlight, Untracked},
    label::Label,
    ledger::{Book, ClassLedger, Ledger, SeriesDrops},
    mapping::Instrument,
    policy::Standing,
    registry::{Metric, attribute, metric},
    sink::Sink,
    status::{Class, DropReason},
};

/// The series of lost records, by the name of their instrument.
#[derive(Default)]
pub(super) struct Drops {
    series: Arc<Mutex<Vec<DropSeries>>>,
    watched: OnceLock<Arc<Watch>>,
    exported: Mutex<HashSet<String>>,
}

struct DropSeries {
    key: SeriesKey,
    drops: Arc<SeriesDrops>,
}

/// Attributes of one point, in the order of their keys; points that a mapping's omissions make
/// equal are added up.
type Point = Vec<(String, String)>;

/// What one collection sees.
struct Collection {
    ledger: Ledger,
    dropped: HashMap<String, BTreeMap<Point, u64>>,
}

/// Takes the snapshots of one ledger.
struct Watch {
    uid: u64,
    book: Arc<Book>,
    series: Arc<Mutex<Vec<DropSeries>>>,
    drains: Drains,
    in_flight: Option<Arc<InFlight>>,
}

/// The collection that a thread is in: its ledger, the instruments it has served, what it saw.
struct Current {
    uid: u64,
    served: Vec<String>,
    seen: Rc<Collection>,
}

thread_local! {
    static CURRENT: RefCell<Vec<Current>> = const { RefCell::new(Vec::new()) };
}

/// A thread remembers the collections of at most this many ledgers; only tests have several.
const CURRENT_MAX: usize = 16;

impl Drops {
    /// Adds a series of lost records.
    pub(super) fn add(&self, key: &SeriesKey, drops: &Arc<SeriesDrops>) {
        let series = DropSeries { key: key.clone(), drops: Arc::clone(drops) };
        self.series.lock().unwrap_or_else(PoisonError::into_inner).push(series);
    }

    /// Exports the lost records whose instrument has this name, once.
    pub(super) fn export(&self, meter: &Meter, name: &str) {
        let Some(watch) = self.watched.get().cloned() else { return };
        let mut exported = self.exported.lock().unwrap_or_else(PoisonError::into_inner);
        if !exported.insert(name.to_owned()) {
            return;
        }
        drop(exported);
        let own_name = name.to_owned();
        meter
            .u64_observable_counter(name.to_owned())
            .with_unit(metric::OBS_RECORD_DROPPED.unit)
            .with_description(metric::OBS_RECORD_DROPPED.brief)
            .with_callback(move |observer| {
                let seen = watch.collection(&own_name);
                for (point, count) in seen.dropped.get(&own_name).into_iter().flatten() {
                    let attributes: Vec<_> = point
                        .iter()
                        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()))
                        .collect();
                    observer.observe(*count, &attributes);
                }
            })
            .build();
    }
}

/// Exports the ledger; called once, before the first series.
pub(super) fn watch(meter: &Meter, watched: &Watched<'_>, drops: &Drops, drains: &Drains) {
    static NEXT_UID: AtomicU64 = AtomicU64::new(0);
    let watch = Arc::new(Watch {
        uid: NEXT_UID.fetch_add(1, Ordering::Relaxed),
        book: Arc::clone(watched.book),
        series: Arc::clone(&drops.series),
        drains: drains.clone(),
        in_flight: watched.in_flight.map(Arc::clone),
    });
    if drops.watched.set(Arc::clone(&watch)).is_err() {
        return;
    }
    export_flows(meter, &watch);
    export_levels(meter, &watch, watched.sink);
    export_policy(meter, watched.policy);
    if let Some(in_flight) = watched.in_flight {
        export_untracked(meter, in_flight);
    }
}

fn export_policy(meter: &Meter, policy: &Arc<Standing>) {
    let at = Arc::clone(policy);
    meter
        .u64_observable_counter(metric::OBS_POLICY_CHANGES.name)
        .with_unit(metric::OBS_POLICY_CHANGES.unit)
        .with_description(metric::OBS_POLICY_CHANGES.brief)
        .with_callback(move |observer| observer.observe(at.now().changes, &[]))
        .build();
    let at = Arc::clone(policy);
    meter
        .u64_observable_gauge(metric::OBS_POLICY_REFUSED.name)
        .with_unit(metric::OBS_POLICY_REFUSED.unit)
        .with_description(metric::OBS_POLICY_REFUSED.brief)
        .with_callback(move |observer| {
            observer.observe(u64::from(at.now().problem.is_some()), &[]);
        })
        .build();
}

fn export_untracked(meter: &Meter, in_flight: &Arc<InFlight>) {
    let at = Arc::clone(in_flight);
    meter
        .u64_observable_counter(metric::OBS_RUN_UNTRACKED.name)
        .with_unit(metric::OBS_RUN_UNTRACKED.unit)
        .with_description(metric::OBS_RUN_UNTRACKED.brief)
        .with_callback(move |observer| {
            let Untracked { runs, strategies } = at.untracked();
            observer.observe(runs, &[KeyValue::new(attribute::WHICH, "run")]);
            observer.observe(strategies, &[KeyValue::new(attribute::WHICH, "strategy")]);
        })
        .build();
}

fn export_flows(meter: &Meter, watch: &Arc<Watch>) {
    type Entry = fn(&ClassLedger) -> u64;
    let entries: [(Metric, Entry); 2] = [
        (metric::OBS_RECORD_RECORDED, |books| books.recorded),
        (metric::OBS_RECORD_ADOPTED, |books| books.adopted),
    ];
    for (Metric { name, unit, brief, .. }, entry) in entries {
        let at = Arc::clone(watch);
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(brief)
            .with_callback(move |observer| {
                let seen = at.collection(name);
                for class in Class::ALL {
                    observer.observe(entry(seen.ledger.class(class)), &[of(class)]);
                }
            })
            .build();
    }
    let outcomes = metric::OBS_RECORD_OUTCOMES.name;
    let at = Arc::clone(watch);
    meter
        .u64_observable_counter(outcomes)
        .with_unit(metric::OBS_RECORD_OUTCOMES.unit)
        .with_description(metric::OBS_RECORD_OUTCOMES.brief)
        .with_callback(move |observer| {
            let seen = at.collection(outcomes);
            for class in Class::ALL {
                let books = seen.ledger.class(class);
                let outcome = |outcome| KeyValue::new(attribute::OUTCOME, outcome);
                observer.observe(books.sampled_out, &[of(class), outcome("sampled_out")]);
                observer.observe(books.persisted, &[of(class), outcome("persisted")]);
                observer.observe(books.quarantined, &[of(class), outcome("quarantined")]);
                for reason in DropReason::ALL {
                    let reason_only = KeyValue::new(Label::Reason.key(), reason.as_str());
                    let dropped = books.dropped.of(reason);
                    observer.observe(dropped, &[of(class), outcome("dropped"), reason_only]);
                }
            }
        })
        .build();
}

fn export_levels(meter: &Meter, watch: &Arc<Watch>, sink: &Arc<dyn Sink>) {
    let pending = metric::OBS_RECORD_PENDING.name;
    let at = Arc::clone(watch);
    let stage = |stage| KeyValue::new(attribute::STAGE, stage);
    meter
        .i64_observable_up_down_counter(pending)
        .with_unit(metric::OBS_RECORD_PENDING.unit)
        .with_description(metric::OBS_RECORD_PENDING.brief)
        .with_callback(move |observer| {
            let seen = at.collection(pending);
            for class in Class::ALL {
                let books = seen.ledger.class(class);
                observer.observe(books.in_queue.cast_signed(), &[of(class), stage("queue")]);
                observer.observe(books.spooled.cast_signed(), &[of(class), stage("spool")]);
            }
        })
        .build();
    let sink = Arc::clone(sink);
    meter
        .u64_observable_gauge(metric::OBS_RECORD_CAPACITY.name)
        .with_unit(metric::OBS_RECORD_CAPACITY.unit)
        .with_description(metric::OBS_RECORD_CAPACITY.brief)
        .with_callback(move |observer| {
            for class in Class::ALL {
                observer.observe(sink.capacity(class), &[of(class), stage("queue")]);
            }
        })
        .build();
    let imbalance = metric::OBS_RECORD_IMBALANCE.name;
    let at = Arc::clone(watch);
    meter
        .i64_observable_gauge(imbalance)
        .with_unit(metric::OBS_RECORD_IMBALANCE.unit)
        .with_description(metric::OBS_RECORD_IMBALANCE.brief)
        .with_callback(move |observer| {
            observer.observe(at.collection(imbalance).ledger.imbalance(), &[]);
        })
        .build();
}

fn of(class: Class) -> KeyValue {
    KeyValue::new(Label::Class.key(), class.as_str())
}

impl Watch {
    /// What this collection sees: taken by its first callback, reused by the others.
    fn collection(&self, instrument: &str) -> Rc<Collection> {
        CURRENT.with_borrow_mut(|currents| {
            let found = currents.iter_mut().find(|current| current.uid == self.uid);
            if let Some(current) = found {
                if current.served.iter().any(|served| served == instrument) {
                    current.served.clear();
                    current.seen = Rc::new(self.take());
                }
                current.served.push(instrument.to_owned());
                return Rc::clone(&current.seen);
            }
            if currents.len() == CURRENT_MAX {
                currents.remove(0);
            }
            let seen = Rc::new(self.take());
            let served = vec![instrument.to_owned()];
            currents.push(Current { uid: self.uid, served, seen: Rc::clone(&seen) });
            seen
        })
    }

    /// Brings the instruments up to date, then freezes the ledger: OpenTelemetry reads the instruments
    /// after all callbacks of a collection have run.
    fn take(&self) -> Collection {
        self.drains.drain();
        if let Some(in_flight) = &self.in_flight {
            in_flight.measure();
        }
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        self.book.frozen(|ledger| {
            let mut dropped: HashMap<String, BTreeMap<Point, u64>> = HashMap::new();
            for one in series.iter() {
                let points =
                    dropped.entry(one.key.names.of(Instrument::Dropped).to_owned()).or_default();
                for class in Class::ALL {
                    for reason in DropReason::ALL {
                        let count = one.drops.of(class, reason);
                        // The commonest loss is zeroed; the rest appears with its first record, and
                        // from the start in `obs.record.outcomes`.
                        if count > 0 || reason == DropReason::QueueFull {
                            *points.entry(point(&one.key, class, reason)).or_default() += count;
                        }
                    }
                }
            }
            Collection { ledger: ledger.clone(), dropped }
        })
    }
}

fn point(key: &SeriesKey, class: Class, reason: DropReason) -> Point {
    let labels = [(Label::Class, class.as_str()), (Label::Reason, reason.as_str())];
    let attributes = key.attributes(&labels);
    attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}
