//! The same run with what people use today. Handles are made once, as their documentation advises.

use std::{
    future::{Future, ready},
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use metrics_exporter_prometheus::PrometheusBuilder;
use metrique::{
    CloseValue as _, RootMetric,
    emf::Emf,
    timers::Timer,
    unit_of_work,
    writer::{EntrySink as _, FormatExt as _, sink::BackgroundQueueBuilder},
};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter},
};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{hot::NODES, windows::Variant};

const WINDOW: u32 = 10_000;
const SPAN_WINDOW: u32 = 1_000;
const BOUNDS: [f64; 21] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3,
    0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];

pub(crate) fn variants() -> [Variant; 4] {
    [metrics_handles(), prometheus_children(), metrique_line(), span()]
}

fn metrics_handles() -> Variant {
    let recorder = PrometheusBuilder::new().set_buckets(&BOUNDS).unwrap().build_recorder();
    let exporter = recorder.handle();
    let (started, active, duration, nodes) = metrics::with_local_recorder(&recorder, || {
        let labels = [("kind", "dsl"), ("realm", "acme"), ("type", "chain")];
        (
            metrics::counter!("run_started", &labels),
            metrics::gauge!("run_active", &labels),
            metrics::histogram!("run_duration", &labels),
            metrics::histogram!("run_nodes", &labels),
        )
    });
    let upkeep = exporter.clone();
    let run = move || {
        started.increment(1);
        active.increment(1.0);
        let start = Instant::now();
        duration.record(start.elapsed().as_secs_f64());
        nodes.record(black_box(NODES) as f64);
        active.decrement(1.0);
    };
    let exported = move || {
        let text = exporter.render();
        let line = text.lines().find(|line| line.starts_with("run_duration_count"))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    Variant::new("metrics, handles", WINDOW, run, exported).resting(move || upkeep.run_upkeep())
}

fn prometheus_children() -> Variant {
    let names = ["kind", "realm", "type"];
    let own = ["dsl", "acme", "chain"];
    let registry = Registry::new();
    let started = IntCounterVec::new(Opts::new("run_started", "runs"), &names).unwrap();
    let active = IntGaugeVec::new(Opts::new("run_active", "runs"), &names).unwrap();
    let options = |name| HistogramOpts::new(name, "runs").buckets(BOUNDS.to_vec());
    let duration = HistogramVec::new(options("run_duration"), &names).unwrap();
    let nodes = HistogramVec::new(options("run_nodes"), &names).unwrap();
    registry.register(Box::new(started.clone())).unwrap();
    registry.register(Box::new(active.clone())).unwrap();
    registry.register(Box::new(duration.clone())).unwrap();
    registry.register(Box::new(nodes.clone())).unwrap();
    let (started, active) = (started.with_label_values(&own), active.with_label_values(&own));
    let (duration, nodes) = (duration.with_label_values(&own), nodes.with_label_values(&own));
    let run = move || {
        started.inc();
        active.inc();
        let start = Instant::now();
        duration.observe(start.elapsed().as_secs_f64());
        nodes.observe(black_box(NODES) as f64);
        active.dec();
    };
    let exported = move || {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == "run_duration")?;
        Some(family.get_metric().first()?.get_histogram().get_sample_count())
    };
    Variant::new("prometheus, children", WINDOW, run, exported)
}

/// What `metrique` has instead of instruments: a line for each unit of work.
#[unit_of_work::metrics(rename_all = "snake_case")]
struct Unit {
    kind: &'static str,
    realm: &'static str,
    strategy_type: &'static str,
    status: &'static str,
    duration: Timer,
    nodes: u64,
}

/// Counts lines, and lets go of them.
#[derive(Debug)]
struct CountsLines(Arc<AtomicU64>);

impl io::Write for CountsLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.0.fetch_add(lines as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A run as a line that a thread of its own formats. Its queue holds a window, and is emptied between windows.
fn metrique_line() -> Variant {
    let lines = Arc::new(AtomicU64::new(0));
    let stream = Emf::builder("bench".to_owned(), vec![vec!["kind".to_owned()]]).build();
    let (queue, thread) =
        BackgroundQueueBuilder::new()
            .capacity(2 * SPAN_WINDOW as usize)
            .build::<RootMetric<Unit>>(stream.output_to(CountsLines(Arc::clone(&lines))));
    let flush = queue.clone();
    let run = move || {
        let mut unit = Unit {
            kind: "dsl",
            realm: "acme",
            strategy_type: "chain",
            status: "lost",
            duration: Timer::start_now(),
            nodes: 0,
        };
        unit.nodes = black_box(NODES);
        unit.duration.stop();
        unit.status = "ok";
        queue.append(RootMetric::<Unit>::new(unit.close()));
    };
    let exported = move || {
        let _alive = &thread;
        Some(lines.load(Ordering::Relaxed))
    };
    let name = "metrique, a line a run";
    let rest = move || futures_executor::block_on(flush.flush_async());
    Variant::new(name, SPAN_WINDOW, run, exported).resting(rest)
}

#[derive(Debug)]
struct CountsSpans(Arc<AtomicU64>);

impl SpanExporter for CountsSpans {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let whole = batch.iter().filter(|span| span.events.len() as u64 == NODES).count();
        self.0.fetch_add(whole as u64, Ordering::Relaxed);
        ready(Ok(()))
    }
}

/// A run as a span, its nodes as events. The queue holds a window; it is emptied between windows.
fn span() -> Variant {
    let spans = Arc::new(AtomicU64::new(0));
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(2 * SPAN_WINDOW as usize)
        .with_max_export_batch_size(SPAN_WINDOW as usize)
        .build();
    let exporter = CountsSpans(Arc::clone(&spans));
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    let run = move || {
        tracing::dispatcher::with_default(&dispatch, || {
            let span = tracing::info_span!("run", kind = "dsl", realm = "acme", strategy = "bonus");
            let _entered = span.enter();
            for _ in 0..black_box(NODES) {
                tracing::info!(node = "n-compare-1", kind = "compare", branch = "match");
            }
        });
    };
    let flush = provider.clone();
    let exported = move || {
        provider.force_flush().unwrap();
        Some(spans.load(Ordering::Relaxed))
    };
    let name = "tracing span with 20 events, exported by OpenTelemetry";
    Variant::new(name, SPAN_WINDOW, run, exported).resting(move || flush.force_flush().unwrap())
}
