//! What the worker says about its store: in the log, and through its metrics.

use std::{
    fmt::Write,
    sync::{Arc, Mutex, OnceLock, Weak},
};

use obs_core::{
    RunRecord, StoreMetrics, StoreState,
    otel::{Metrics, MetricsOptions},
    testing::TestObs,
};
use obs_persist::{PersistConfig, Persister, Store, StoreFuture, testing::MemoryStore};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::{LONG, until};

/// Collects the log lines of this process.
struct Lines;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("obs_persist")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut text = Text(format!("{} ", event.metadata().level()));
        event.record(&mut text);
        LINES.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// From now on, log lines are kept.
pub(crate) fn listen() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| tracing::subscriber::set_global_default(Lines).unwrap());
}

/// The lines that mention `what`, e.g. the name of a store.
pub(crate) fn lines(what: &str) -> Vec<String> {
    LINES.lock().unwrap().iter().filter(|line| line.contains(what)).cloned().collect()
}

/// A store in memory with a name of its own, to find its log lines.
#[derive(Debug)]
struct Named(&'static str, MemoryStore);

impl Store for Named {
    fn name(&self) -> String {
        self.0.to_owned()
    }
    fn prepare(&mut self) -> StoreFuture<'_> {
        self.1.prepare()
    }
    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        self.1.write(batch)
    }
    fn canary(&mut self, row: Box<RunRecord>) -> StoreFuture<'_> {
        self.1.canary(row)
    }
    fn close(&mut self) -> StoreFuture<'_> {
        self.1.close()
    }
}

#[test]
fn each_change_of_state_is_one_log_line_and_nothing_else_is() {
    listen();
    let store = MemoryStore::new();
    let named = Box::new(Named("talkative", store.clone()));
    let persister =
        Persister::start(PersistConfig::default(), named, StoreMetrics::default()).unwrap();
    let test = TestObs::new();
    let submit = |count| {
        (0..count).for_each(|_| {
            persister.sink().submit(test.kept("bonus", "1"));
        });
    };

    submit(300);
    assert!(persister.flush_blocking(LONG).complete);
    assert_eq!(lines("talkative").len(), 1, "{:?}", lines("talkative"));

    store.set_down(true);
    submit(300);
    until("it failed a few times", || store.prepares() >= 4);
    assert_eq!(lines("talkative").len(), 2, "{:?}", lines("talkative"));

    store.set_down(false);
    assert!(persister.flush_blocking(LONG).complete);
    let said = lines("talkative");
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("INFO") && said[0].contains("the store is up"), "{said:?}");
    assert!(said[1].starts_with("WARN") && said[1].contains("told to"), "{said:?}");
    assert!(said[2].starts_with("INFO") && said[2].contains("the store is up"), "{said:?}");
}

#[test]
fn the_state_of_the_store_and_the_time_of_the_last_write_are_reported() {
    let metrics = StoreMetrics::default();
    let store = MemoryStore::new();
    store.set_down(true);
    let persister =
        Persister::start(PersistConfig::default(), Box::new(store.clone()), metrics.clone())
            .unwrap();
    until("the store is down", || metrics.state() == StoreState::Down);
    store.set_down(false);
    until("the store is up", || metrics.state() == StoreState::Up);
    assert_eq!(metrics.last_write_age(), None, "connecting is not writing");
    let test = TestObs::new();
    persister.sink().submit(test.kept("bonus", "1"));
    assert!(persister.flush_blocking(LONG).complete);
    assert!(metrics.last_write_age().is_some());
    assert!(persister.shutdown_blocking(LONG).complete);
    assert_eq!(metrics.state(), StoreState::Stopped);
    test.assert_balanced();
}

#[test]
fn each_attempt_to_write_is_measured_with_its_size_and_outcome() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let metrics = Metrics::new(&provider.meter("test"), MetricsOptions::default()).unwrap();
    let store = MemoryStore::new();
    store.fail(2);
    let persister =
        Persister::start(PersistConfig::default(), Box::new(store.clone()), metrics.store())
            .unwrap();
    let test = TestObs::new();
    store.set_stalled(true);
    (0..10).for_each(|_| {
        persister.sink().submit(test.kept("bonus", "1"));
    });
    let flush = persister.flush(LONG);
    store.set_stalled(false);
    assert!(futures_executor::block_on(flush).complete);
    provider.force_flush().unwrap();

    let measured = |instrument: &str| {
        let exports = exporter.get_finished_metrics().unwrap();
        let metric = exports.last().unwrap().scope_metrics().flat_map(|scope| scope.metrics());
        let metric = metric.into_iter().find(|metric| metric.name() == instrument).unwrap().data();
        match metric {
            AggregatedMetrics::F64(MetricData::Histogram(seconds)) => {
                let points = seconds.data_points();
                points
                    .map(|point| (outcome(point.attributes()), point.count(), 0))
                    .collect::<Vec<_>>()
            }
            AggregatedMetrics::U64(MetricData::Histogram(records)) => {
                let points = records.data_points();
                points
                    .map(|point| (outcome(point.attributes()), point.count(), point.sum()))
                    .collect()
            }
            other => panic!("{other:?}"),
        }
    };
    let sorted = |mut points: Vec<(String, u64, u64)>| {
        points.retain(|point| point.1 > 0);
        points.sort();
        points
    };
    // The whole batch fails, then the canary; its halves are written on a new connection.
    let sizes = [("failure".to_owned(), 1, 10), ("success".to_owned(), 2, 10)];
    assert_eq!(sorted(measured("obs.store.batch.size")), sizes);
    let writes = [("failure".to_owned(), 1, 0), ("success".to_owned(), 2, 0)];
    assert_eq!(sorted(measured("obs.store.write.duration")), writes);
}

fn outcome<'a>(attributes: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> String {
    attributes.map(|attribute| attribute.value.to_string()).collect()
}

/// Remembers the batches for as long as somebody else has them, and how many there were at most when another came.
#[derive(Clone, Debug, Default)]
struct Witness(Arc<Mutex<Batches>>);

#[derive(Debug, Default)]
struct Batches {
    seen: Vec<Weak<[RunRecord]>>,
    most: usize,
}

impl Batches {
    fn alive(&self) -> usize {
        self.seen.iter().filter(|batch| batch.strong_count() > 0).count()
    }
}

impl Store for Witness {
    fn name(&self) -> String {
        "a witness".to_owned()
    }

    fn prepare(&mut self) -> StoreFuture<'_> {
        Box::pin(async { Ok(()) })
    }

    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        let mut batches = self.0.lock().unwrap();
        batches.most = batches.most.max(batches.alive());
        batches.seen.push(Arc::downgrade(&batch));
        Box::pin(async { Ok(()) })
    }

    fn canary(&mut self, _: Box<RunRecord>) -> StoreFuture<'_> {
        Box::pin(async { Ok(()) })
    }

    fn close(&mut self) -> StoreFuture<'_> {
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn written_records_are_freed_while_the_next_ones_are_written_or_when_nothing_waits() {
    let (store, test) = (Witness::default(), TestObs::new());
    let mut config = PersistConfig::default();
    config.batch_records = 8;
    let persister =
        Persister::start(config, Box::new(store.clone()), StoreMetrics::default()).unwrap();
    for _ in 0..80 {
        persister.sink().submit(test.kept("bonus", "1"));
    }
    assert!(persister.flush_blocking(LONG).complete);
    until("an idle worker has freed them", || store.0.lock().unwrap().alive() == 0);
    let batches = store.0.lock().unwrap();
    assert!(batches.seen.len() >= 10 && batches.most <= 1, "{batches:?}");
    test.assert_balanced();
}
