//! A process snapshot as observable instruments: counters for what only grows, so that rates and
//! restarts show.
//!
//! The callbacks of one collection run one after another on one thread: the first takes the snapshot,
//! the others of that thread reuse it, and one that comes round again begins the next collection.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, ThreadId},
};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use obs_core::registry::{attribute, metric};

use crate::runtime::{DeliveryTotals, Runtime, RuntimeSnapshot};

/// Collections of one thread each that are remembered; the oldest is forgotten.
const COLLECTIONS_MAX: usize = 16;

/// Exports a process snapshot: `process.uptime`, `obs.runtime.requests` by how they ended, and
/// `obs.runtime.deliveries` and `obs.runtime.values` by kind, endpoint and target. Callers and names
/// stay in the snapshot, because they may be many.
///
/// Call it once for a runtime and a meter.
///
/// ```
/// use obs_http::{Runtime, otel::watch_runtime};
/// use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
/// watch_runtime(&NoopMeterProvider::new().meter("my-service"), &Runtime::new());
/// ```
pub fn watch_runtime(meter: &Meter, runtime: &Runtime) {
    let watch = Arc::new(Watch { runtime: runtime.clone(), collections: Mutex::default() });
    let at = Arc::clone(&watch);
    meter
        .f64_observable_gauge(metric::PROCESS_UPTIME.name)
        .with_unit(metric::PROCESS_UPTIME.unit)
        .with_description(metric::PROCESS_UPTIME.brief)
        .with_callback(move |observer| {
            observer.observe(at.collection(Read::Uptime).process.uptime_seconds, &[]);
        })
        .build();
    let at = Arc::clone(&watch);
    meter
        .u64_observable_counter(metric::OBS_RUNTIME_REQUESTS.name)
        .with_unit(metric::OBS_RUNTIME_REQUESTS.unit)
        .with_description(metric::OBS_RUNTIME_REQUESTS.brief)
        .with_callback(move |observer| {
            for (class, count) in at.collection(Read::Requests).requests.classes().each() {
                observer.observe(count, &[KeyValue::new(attribute::CLASS, class)]);
            }
        })
        .build();
    let at = Arc::clone(&watch);
    meter
        .u64_observable_counter(metric::OBS_RUNTIME_DELIVERIES.name)
        .with_unit(metric::OBS_RUNTIME_DELIVERIES.unit)
        .with_description(metric::OBS_RUNTIME_DELIVERIES.brief)
        .with_callback(move |observer| {
            each_pair(&at.collection(Read::Deliveries), |labels, totals| {
                let outcomes = [("delivered", totals.responses), ("refused", totals.refused)];
                for (outcome, count) in outcomes {
                    observe(observer, count, labels, Some(outcome));
                }
            });
        })
        .build();
    meter
        .u64_observable_counter(metric::OBS_RUNTIME_VALUES.name)
        .with_unit(metric::OBS_RUNTIME_VALUES.unit)
        .with_description(metric::OBS_RUNTIME_VALUES.brief)
        .with_callback(move |observer| {
            each_pair(&watch.collection(Read::Values), |labels, totals| {
                observe(observer, totals.values, labels, None);
            });
        })
        .build();
}

/// Which instrument reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Uptime,
    Requests,
    Deliveries,
    Values,
}

struct Watch {
    runtime: Runtime,
    collections: Mutex<VecDeque<Collection>>,
}

struct Collection {
    thread: ThreadId,
    served: Vec<Read>,
    seen: Arc<RuntimeSnapshot>,
}

impl Watch {
    /// The snapshot of this collection.
    fn collection(&self, read: Read) -> Arc<RuntimeSnapshot> {
        let thread = thread::current().id();
        let mut collections = self.collections.lock().unwrap_or_else(PoisonError::into_inner);
        let of_thread = collections.iter().position(|collection| collection.thread == thread);
        if let Some(current) = of_thread.and_then(|at| collections.get_mut(at)) {
            if !current.served.contains(&read) {
                current.served.push(read);
                return Arc::clone(&current.seen);
            }
            *current = Collection::new(thread, read, &self.runtime);
            return Arc::clone(&current.seen);
        }
        if collections.len() >= COLLECTIONS_MAX {
            collections.pop_front();
        }
        let collection = Collection::new(thread, read, &self.runtime);
        let seen = Arc::clone(&collection.seen);
        collections.push_back(collection);
        seen
    }
}

impl Collection {
    fn new(thread: ThreadId, read: Read, runtime: &Runtime) -> Self {
        Self { thread, served: vec![read], seen: Arc::new(runtime.snapshot()) }
    }
}

/// Kind, endpoint and target.
type Labels<'a> = [&'a str; 3];

fn each_pair(snapshot: &RuntimeSnapshot, mut with: impl FnMut(Labels<'_>, &DeliveryTotals)) {
    for (kind, deliveries) in &snapshot.deliveries {
        for ((endpoint, target), totals) in &deliveries.pairs {
            with([kind, endpoint, target], totals);
        }
    }
}

fn observe(
    observer: &dyn AsyncInstrument<u64>,
    count: u64,
    [kind, endpoint, target]: Labels<'_>,
    outcome: Option<&'static str>,
) {
    let text = |key, value: &str| KeyValue::new(key, value.to_owned());
    let mut attributes = vec![
        text(attribute::KIND, kind),
        text(attribute::ENDPOINT, endpoint),
        text(attribute::TARGET, target),
    ];
    attributes.extend(outcome.map(|outcome| KeyValue::new(attribute::OUTCOME, outcome)));
    observer.observe(count, &attributes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instruments_of_one_collection_read_one_snapshot_and_the_next_collection_another() {
        let runtime = Runtime::new();
        let config = runtime.deliveries("config").unwrap();
        let watch = Watch { runtime, collections: Mutex::default() };
        let refused = |read| watch.collection(read).deliveries["config"].totals.refused;
        assert_eq!(refused(Read::Uptime), 0);
        config.refused("run-time", "website");
        assert_eq!((refused(Read::Deliveries), refused(Read::Values)), (0, 0));
        assert_eq!((refused(Read::Uptime), refused(Read::Deliveries)), (1, 1));
        config.refused("run-time", "website");
        assert_eq!(refused(Read::Values), 1);
        assert_eq!(refused(Read::Values), 2, "one instrument that is read again is the next one");
    }

    #[test]
    fn collections_on_two_threads_do_not_share_a_snapshot_and_few_are_remembered() {
        let runtime = Runtime::new();
        let config = runtime.deliveries("config").unwrap();
        let watch = Watch { runtime, collections: Mutex::default() };
        let refused = |read| watch.collection(read).deliveries["config"].totals.refused;
        assert_eq!(refused(Read::Deliveries), 0);
        config.refused("run-time", "website");
        for _ in 0..2 * COLLECTIONS_MAX {
            let elsewhere = thread::scope(|scope| scope.spawn(|| refused(Read::Values)).join());
            assert_eq!(elsewhere.unwrap(), 1);
        }
        assert_eq!(watch.collections.lock().unwrap().len(), COLLECTIONS_MAX);
    }
}
