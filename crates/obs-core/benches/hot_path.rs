//! What a run costs: not kept, kept and failed, against the same five instruments called by hand.
//!
//! All variants run in one process, in short windows that take turns, so that whatever else the
//! machine does hits all of them. Printed are medians over the windows with the middle half of the
//! spread, and ratios between medians; absolute numbers mean little on a shared machine. At the end
//! the totals of every variant are checked against what it exported.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the real clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop when something is wrong")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use obs_core::{
    Ack, Class, KeepPolicy, Kept, Obs, Rate, Sink, Strategy,
    otel::{Metrics, MetricsOptions},
};
use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, BoundHistogram, BoundUpDownCounter, Meter, MeterProvider as _},
    metrics::{Counter, Histogram, UpDownCounter},
};
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData},
};

/// Runs per window.
const WINDOW: u32 = 20_000;
/// Windows per variant; one more at first warms up and is not counted.
const ROUNDS: usize = 61;
/// Nodes per run; counted, and with a trace where the name says so.
const NODES: u64 = 20;

const DURATION_BOUNDS: [f64; 21] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3,
    0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];
const NODE_BOUNDS: [f64; 13] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0];

fn main() {
    let mut variants = vec![
        by_hand_prebuilt(),
        by_hand_bound(),
        observed("obs, not kept, prebuilt attributes", false, 0.0, plain_ok),
        observed("obs, not kept, bound", true, 0.0, plain_ok),
        in_flight("obs, not kept, bound, with slots", plain_ok),
        observed("obs, not kept, bound, 20-node trace", true, 0.0, traced_ok),
        observed("obs, kept, bound", true, 1.0, plain_ok),
        observed("obs, kept, bound, 20-node trace", true, 1.0, traced_ok),
        observed("obs, failed, bound, 20-node trace", true, 0.0, traced_failure),
        clock_floor(),
    ];
    for round in 0..=ROUNDS {
        for variant in &mut variants {
            let before = Instant::now();
            for _ in 0..WINDOW {
                (variant.run)();
            }
            let nanos = before.elapsed().as_secs_f64() * 1e9 / f64::from(WINDOW);
            if round > 0 {
                variant.nanos.push(nanos);
            }
        }
    }
    report(&mut variants);
    for variant in &variants {
        variant.check();
    }
    report_two_threads();
    println!("\nEvery variant exported as many runs as it made.");
}

struct Variant {
    name: &'static str,
    run: Box<dyn FnMut()>,
    nanos: Vec<f64>,
    exported: Option<(SdkMeterProvider, InMemoryMetricExporter)>,
}

impl Variant {
    /// A wrong fast number is a failed benchmark.
    fn check(&self) {
        let Some((provider, exporter)) = &self.exported else { return };
        provider.force_flush().unwrap();
        let expected = u64::from(WINDOW) * (ROUNDS as u64 + 1);
        let mut counted = 0;
        for resource in exporter.get_finished_metrics().unwrap().iter().rev().take(1) {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                if let (
                    "obs.run.duration",
                    AggregatedMetrics::F64(MetricData::Histogram(histogram)),
                ) = (metric.name(), metric.data())
                {
                    counted += histogram.data_points().map(|point| point.count()).sum::<u64>();
                }
            }
        }
        assert_eq!(counted, expected, "{}", self.name);
    }
}

fn report(variants: &mut [Variant]) {
    println!(
        "{WINDOW} runs a window, {ROUNDS} windows a variant, taking turns; {NODES} nodes a run\n"
    );
    println!(
        "{:<40} {:>9} {:>19} {:>12} {:>9}",
        "variant", "ns/run", "middle half", "vs prebuilt", "vs bound"
    );
    let medians: Vec<[f64; 3]> =
        variants.iter_mut().map(|variant| quartiles(&mut variant.nanos)).collect();
    let (prebuilt, bound) = (medians[0][1], medians[1][1]);
    for (variant, [low, median, high]) in variants.iter().zip(medians) {
        println!(
            "{:<40} {median:>9.1} {:>19} {:>11.2}x {:>8.2}x",
            variant.name,
            format!("{low:.1} to {high:.1}"),
            prebuilt / median,
            bound / median
        );
    }
    println!(
        "\nA ratio above 1 is faster than the instruments by hand; the last line is no run, only its two clock reads."
    );
}

/// The same strategy on one thread and on two: what a run costs more when another core runs it too.
fn report_two_threads() {
    let (strategy, _exported) = strategy(true, 0.0, false);
    let (bound, _provider) = bound_instruments();
    println!(
        "\n{:<40} {:>9} {:>12} {:>9}",
        "one strategy, one set of attributes", "1 thread", "2 threads", "ratio"
    );
    let mut lines = [
        Shared::new("by hand, bound", move || bound.one_run()),
        Shared::new("obs, not kept, bound", move || plain_ok(&strategy)),
    ];
    for round in 0..=ROUNDS {
        for line in &mut lines {
            for (threads, nanos) in (1..).zip(&mut line.nanos) {
                let window = window_on(threads, line.run.as_ref());
                if round > 0 {
                    nanos.push(window);
                }
            }
        }
    }
    for Shared { name, nanos: [one, two], .. } in &mut lines {
        let (one, two) = (quartiles(one)[1], quartiles(two)[1]);
        println!("{name:<40} {one:>9.1} {two:>12.1} {:>8.2}x", two / one);
    }
}

/// A variant that several threads run at once.
struct Shared {
    name: &'static str,
    run: Box<dyn Fn() + Sync>,
    /// Of windows on one thread, and on two.
    nanos: [Vec<f64>; 2],
}

impl Shared {
    fn new(name: &'static str, run: impl Fn() + Sync + 'static) -> Self {
        Self { name, run: Box::new(run), nanos: [Vec::new(), Vec::new()] }
    }
}

/// Nanoseconds a run when every thread runs a window at the same time.
fn window_on(threads: usize, run: &(dyn Fn() + Sync)) -> f64 {
    let barrier = std::sync::Barrier::new(threads);
    let nanos: Vec<f64> = std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    run();
                    barrier.wait();
                    let before = Instant::now();
                    (0..WINDOW).for_each(|_| run());
                    before.elapsed().as_secs_f64() * 1e9 / f64::from(WINDOW)
                })
            })
            .collect();
        spawned.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    nanos.iter().sum::<f64>() / nanos.len() as f64
}

fn quartiles(nanos: &mut [f64]) -> [f64; 3] {
    nanos.sort_by(f64::total_cmp);
    [nanos.len() / 4, nanos.len() / 2, nanos.len() * 3 / 4].map(|at| nanos[at])
}

fn provider() -> (SdkMeterProvider, InMemoryMetricExporter) {
    let exporter = InMemoryMetricExporter::default();
    (SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build(), exporter)
}

/// What a careful user writes: the five instruments, made once, with prebuilt attributes.
struct ByHand {
    started: Counter<u64>,
    active: UpDownCounter<i64>,
    duration: Histogram<f64>,
    nodes: Histogram<u64>,
    errors: Counter<u64>,
}

impl ByHand {
    fn new(meter: &Meter) -> Self {
        Self {
            started: meter.u64_counter("obs.run.started").build(),
            active: meter.i64_up_down_counter("obs.run.active").build(),
            duration: meter
                .f64_histogram("obs.run.duration")
                .with_boundaries(DURATION_BOUNDS.to_vec())
                .build(),
            nodes: meter
                .u64_histogram("obs.run.nodes")
                .with_boundaries(NODE_BOUNDS.to_vec())
                .build(),
            errors: meter.u64_counter("obs.run.errors").build(),
        }
    }
}

fn labels() -> Vec<KeyValue> {
    vec![
        KeyValue::new("obs.kind", "dsl"),
        KeyValue::new("obs.realm", "acme"),
        KeyValue::new("obs.strategy.type", "chain"),
    ]
}

fn labels_with(key: &'static str, value: &'static str) -> Vec<KeyValue> {
    let mut labels = labels();
    labels.push(KeyValue::new(key, value));
    labels
}

fn by_hand_prebuilt() -> Variant {
    let (provider, exporter) = provider();
    let by_hand = ByHand::new(&provider.meter("by-hand"));
    let (own, ok) = (labels(), labels_with("obs.run.status", "ok"));
    by_hand.errors.add(0, &labels_with("error.type", "_OTHER"));
    let run = Box::new(move || {
        by_hand.started.add(1, &own);
        by_hand.active.add(1, &own);
        let start = Instant::now();
        let failed = black_box(false);
        by_hand.duration.record(start.elapsed().as_secs_f64(), &ok);
        by_hand.nodes.record(black_box(NODES), &own);
        if failed {
            by_hand.errors.add(1, &own);
        }
        by_hand.active.add(-1, &own);
    });
    Variant {
        name: "by hand, prebuilt attributes",
        run,
        nanos: Vec::new(),
        exported: Some((provider, exporter)),
    }
}

struct BoundByHand {
    started: BoundCounter<u64>,
    active: BoundUpDownCounter<i64>,
    duration: BoundHistogram<f64>,
    nodes: BoundHistogram<u64>,
    errors: BoundCounter<u64>,
}

impl BoundByHand {
    fn one_run(&self) {
        self.started.add(1);
        self.active.add(1);
        let start = Instant::now();
        let failed = black_box(false);
        self.duration.record(start.elapsed().as_secs_f64());
        self.nodes.record(black_box(NODES));
        if failed {
            self.errors.add(1);
        }
        self.active.add(-1);
    }
}

fn bound_instruments() -> (BoundByHand, (SdkMeterProvider, InMemoryMetricExporter)) {
    let exported = provider();
    let by_hand = ByHand::new(&exported.0.meter("by-hand"));
    let bound = BoundByHand {
        started: by_hand.started.bind(&labels()),
        active: by_hand.active.bind(&labels()),
        duration: by_hand.duration.bind(&labels_with("obs.run.status", "ok")),
        nodes: by_hand.nodes.bind(&labels()),
        errors: by_hand.errors.bind(&labels_with("error.type", "_OTHER")),
    };
    (bound, exported)
}

fn by_hand_bound() -> Variant {
    let (bound, exported) = bound_instruments();
    let run = Box::new(move || bound.one_run());
    Variant { name: "by hand, bound", run, nanos: Vec::new(), exported: Some(exported) }
}

/// Two readings of the clock that a run cannot do without.
fn clock_floor() -> Variant {
    let run = Box::new(|| {
        let start = Instant::now();
        black_box(start.elapsed());
    });
    Variant { name: "two clock reads", run, nanos: Vec::new(), exported: None }
}

/// Lets go of every record, as a store that is infinitely fast would.
#[derive(Debug)]
struct Persisted;

impl Sink for Persisted {
    fn submit(&self, kept: Kept) -> Ack {
        kept.ticket.persisted();
        Ack::Memory
    }

    fn capacity(&self, _class: Class) -> u64 {
        u64::MAX
    }
}

fn observed(name: &'static str, bound: bool, ok_rate: f64, run: fn(&Strategy)) -> Variant {
    of_strategy(name, strategy(bound, ok_rate, false), run)
}

/// Not kept, with a slot for each run in flight.
fn in_flight(name: &'static str, run: fn(&Strategy)) -> Variant {
    of_strategy(name, strategy(true, 0.0, true), run)
}

type Exported = (SdkMeterProvider, InMemoryMetricExporter);

fn of_strategy(
    name: &'static str,
    (strategy, exported): (Strategy, Exported),
    run: fn(&Strategy),
) -> Variant {
    let run = Box::new(move || run(&strategy));
    Variant { name, run, nanos: Vec::new(), exported: Some(exported) }
}

fn strategy(bound: bool, ok_rate: f64, in_flight: bool) -> (Strategy, Exported) {
    let exported = provider();
    let options = MetricsOptions { bound, ..MetricsOptions::default() };
    let metrics = Metrics::new(&exported.0.meter("obs"), options).unwrap();
    // Slow runs are kept by default; a window in which the machine stalls must not count as kept.
    let slow = Some(Duration::from_secs(3600));
    let policy = KeepPolicy {
        ok_rate: Rate::new(ok_rate).unwrap(),
        first: 0,
        slow,
        ..KeepPolicy::default()
    };
    let builder = Obs::builder().metrics(metrics).policy(policy).sink(Arc::new(Persisted));
    let obs = builder.in_flight(in_flight).build().unwrap();
    let kind = obs.kind("dsl");
    (kind.strategy("bonus").version("3").realm("acme").type_("chain").build().unwrap(), exported)
}

fn plain_ok(strategy: &Strategy) {
    let result: Result<(), String> = strategy.observe(&(), |run| {
        run.add_nodes(black_box(NODES));
        Ok(())
    });
    black_box(result).unwrap();
}

fn traced_ok(strategy: &Strategy) {
    let result: Result<(), String> = strategy.observe(&(), |run| {
        for _ in 0..black_box(NODES) {
            run.node("n-compare-1").kind("compare").branch("match");
        }
        Ok(())
    });
    black_box(result).unwrap();
}

fn traced_failure(strategy: &Strategy) {
    let result: Result<(), &str> = strategy.observe(&(), |run| {
        for _ in 0..black_box(NODES) {
            run.node("n-compare-1").kind("compare").branch("match");
        }
        Err("division by zero")
    });
    black_box(result).unwrap_err();
}
