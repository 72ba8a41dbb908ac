//! The hot path: a run that is not kept, kept, failed, against the same five instruments by hand.

use std::{
    future::{Future, ready},
    hint::{self, black_box},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use obs_core::{
    Ack, Class, KeepPolicy, Kept, Kind, Obs, Rate, Sink, Strategy,
    otel::{Metrics, MetricsOptions},
};
use opentelemetry::{
    KeyValue,
    metrics::{
        BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Histogram, Meter,
        MeterProvider as _, UpDownCounter,
    },
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        SdkMeterProvider, Temporality,
        data::{AggregatedMetrics, MetricData, ResourceMetrics},
        exporter::PushMetricExporter,
    },
};

use crate::{
    Effort,
    report::{Aim, Report},
    windows::{Variant, median, quantile, take_turns},
};

const WINDOW: u32 = 10_000;
/// Of those that stay in the first cache.
const INSTANCES: usize = 5;
pub(crate) const NODES: u64 = 20;
const REALM: &str = "acme";
const DURATION_BOUNDS: [f64; 21] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3,
    0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];
const NODE_BOUNDS: [f64; 13] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0];

/// A metrics pipeline whose exporter only counts the runs in what it is given.
#[derive(Clone)]
pub(crate) struct Exported {
    pub(crate) provider: SdkMeterProvider,
    runs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountsRuns(Arc<AtomicU64>);

impl PushMetricExporter for CountsRuns {
    fn export(&self, metrics: &ResourceMetrics) -> impl Future<Output = OTelSdkResult> + Send {
        let mut runs = 0;
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            if let ("obs.run.duration", AggregatedMetrics::F64(MetricData::Histogram(points))) =
                (metric.name(), metric.data())
            {
                runs += points.data_points().map(|point| point.count()).sum::<u64>();
            }
        }
        self.0.store(runs, Ordering::Relaxed);
        ready(Ok(()))
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

impl Exported {
    pub(crate) fn new() -> Self {
        let runs = Arc::new(AtomicU64::new(0));
        let exporter = CountsRuns(Arc::clone(&runs));
        Self {
            provider: SdkMeterProvider::builder().with_periodic_exporter(exporter).build(),
            runs,
        }
    }

    pub(crate) fn runs(&self) -> u64 {
        self.provider.force_flush().unwrap();
        self.runs.load(Ordering::Relaxed)
    }
}

/// What a careful user writes: the five instruments, made once.
struct ByHand {
    started: Counter<u64>,
    active: UpDownCounter<i64>,
    duration: Histogram<f64>,
    nodes: Histogram<u64>,
    errors: Counter<u64>,
}

impl ByHand {
    fn new(meter: &Meter) -> Self {
        let duration = meter.f64_histogram("obs.run.duration");
        let nodes = meter.u64_histogram("obs.run.nodes");
        Self {
            started: meter.u64_counter("obs.run.started").build(),
            active: meter.i64_up_down_counter("obs.run.active").build(),
            duration: duration.with_boundaries(DURATION_BOUNDS.to_vec()).build(),
            nodes: nodes.with_boundaries(NODE_BOUNDS.to_vec()).build(),
            errors: meter.u64_counter("obs.run.errors").build(),
        }
    }

    fn one_run(&self, own: &[KeyValue], ok: &[KeyValue]) {
        self.started.add(1, own);
        self.active.add(1, own);
        let start = Instant::now();
        let failed = black_box(false);
        self.duration.record(start.elapsed().as_secs_f64(), ok);
        self.nodes.record(black_box(NODES), own);
        if failed {
            self.errors.add(1, own);
        }
        self.active.add(-1, own);
    }
}

fn labels(realm: &str, status: Option<&str>) -> Vec<KeyValue> {
    // Owned texts, as labels that come from a request are.
    let mut labels = vec![
        KeyValue::new("obs.kind", "dsl".to_owned()),
        KeyValue::new("obs.realm", realm.to_owned()),
        KeyValue::new("obs.strategy.type", "chain".to_owned()),
    ];
    labels.extend(status.map(|status| KeyValue::new("obs.run.status", status.to_owned())));
    labels
}

pub(crate) struct Bound {
    started: BoundCounter<u64>,
    active: BoundUpDownCounter<i64>,
    duration: BoundHistogram<f64>,
    nodes: BoundHistogram<u64>,
    errors: BoundCounter<u64>,
}

impl Bound {
    pub(crate) fn new(exported: &Exported, realm: &str) -> Self {
        let by_hand = ByHand::new(&exported.provider.meter("bound"));
        let own = labels(realm, None);
        Self {
            started: by_hand.started.bind(&own),
            active: by_hand.active.bind(&own),
            duration: by_hand.duration.bind(&labels(realm, Some("ok"))),
            nodes: by_hand.nodes.bind(&own),
            errors: by_hand.errors.bind(&own),
        }
    }

    pub(crate) fn one_run(&self) {
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

/// A share of runs that none of a benchmark's is in, and for which each run still draws. At 0 none would.
pub(crate) const NEVER: f64 = 1e-12;

pub(crate) fn kind(exported: &Exported, ok_rate: f64, slots: bool) -> Kind {
    let options = MetricsOptions { bound: true, ..MetricsOptions::default() };
    let metrics = Metrics::new(&exported.provider.meter("obs"), options).unwrap();
    // Runs are not kept for being slow: a window in which the machine stalls must not differ.
    let ok_rate = Rate::new(ok_rate).unwrap();
    let policy = KeepPolicy { ok_rate, first: 0, slow: None, ..KeepPolicy::default() };
    let obs = Obs::builder().metrics(metrics).policy(policy).sink(Arc::new(Persisted));
    obs.in_flight(slots).build().unwrap().kind("dsl").realm(REALM).type_("chain")
}

pub(crate) fn strategy(exported: &Exported, ok_rate: f64, slots: bool) -> Strategy {
    kind(exported, ok_rate, slots).strategy("bonus").version("3").build().unwrap()
}

pub(crate) fn plain_ok(strategy: &Strategy) {
    let result: Result<(), String> = strategy.observe(&(), |run| {
        run.add_nodes(black_box(NODES));
        Ok(())
    });
    black_box(result).unwrap();
}

pub(crate) fn traced_ok(strategy: &Strategy) {
    let result: Result<(), String> = strategy.observe(&(), |run| {
        for _ in 0..black_box(NODES) {
            run.node("n-compare-1").kind("compare").branch("match");
        }
        Ok(())
    });
    black_box(result).unwrap();
}

fn failed(strategy: &Strategy) {
    let result: Result<(), &str> = strategy.observe(&(), |run| {
        run.add_nodes(black_box(NODES));
        Err("division by zero")
    });
    black_box(result).unwrap_err();
}

/// Several of those.
fn instances(one: impl Fn() -> Variant) -> Variant {
    Variant::of_instances((0..INSTANCES).map(|_| one()).collect())
}

fn obs(
    name: &'static str,
    window: u32,
    (ok_rate, slots): (f64, bool),
    run: fn(&Strategy),
) -> Variant {
    let exported = Exported::new();
    let strategy = strategy(&exported, ok_rate, slots);
    Variant::new(name, window, move || run(&strategy), move || Some(exported.runs()))
}

fn bound() -> Variant {
    let exported = Exported::new();
    let bound = Bound::new(&exported, REALM);
    Variant::new("by hand, bound", WINDOW, move || bound.one_run(), move || Some(exported.runs()))
}

fn by_hand() -> [Variant; 2] {
    let exported = [Exported::new(), Exported::new()];
    let [per_call, prebuilt] = &exported;
    let per_call = ByHand::new(&per_call.provider.meter("by-hand"));
    let prebuilt = ByHand::new(&prebuilt.provider.meter("by-hand"));
    let (own, ok) = (labels(REALM, None), labels(REALM, Some("ok")));
    let [first, second] = exported;
    [
        Variant::new(
            "by hand, labels at each call",
            WINDOW,
            move || per_call.one_run(&labels(REALM, None), &labels(REALM, Some("ok"))),
            move || Some(first.runs()),
        ),
        Variant::new(
            "by hand, prebuilt labels",
            WINDOW,
            move || prebuilt.one_run(&own, &ok),
            move || Some(second.runs()),
        ),
    ]
}

/// Two readings of the clock that obs has, and one cell that no other thread touches: count and sum.
fn floor() -> Variant {
    let clock = quanta::Clock::new();
    let cell = [AtomicU64::new(0), AtomicU64::new(0)];
    let run = move || {
        let start = clock.raw();
        let nanos = clock.delta_as_nanos(start, clock.raw());
        for (word, more) in cell.iter().zip([1, nanos]) {
            word.store(word.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        }
        black_box(&cell);
    };
    Variant::new("floor: two clock reads and a private cell", WINDOW, run, || None)
}

fn looked_up() -> Variant {
    let exported = Exported::new();
    let kind = kind(&exported, NEVER, false);
    let run = move || plain_ok(&kind.lookup(black_box("tenant-rule-99"), black_box("4")));
    Variant::new("obs, not kept, by lookup", WINDOW, run, move || Some(exported.runs()))
}

pub(crate) fn run(effort: Effort, report: &mut Report) {
    const KEPT_WINDOW: u32 = 1_000;
    let mut variants: Vec<Variant> = by_hand().into();
    variants.extend([
        instances(bound),
        instances(floor),
        instances(|| obs("obs, not kept", WINDOW, (NEVER, false), plain_ok)),
        instances(|| obs("obs, not kept, with slots", WINDOW, (NEVER, true), plain_ok)),
        instances(looked_up),
        obs("obs, not kept, 20-node trace", KEPT_WINDOW, (NEVER, false), traced_ok),
        obs("obs, kept", KEPT_WINDOW, (1.0, false), plain_ok),
        obs("obs, kept, 20-node trace", KEPT_WINDOW, (1.0, false), traced_ok),
        obs("obs, failed", KEPT_WINDOW, (NEVER, false), failed),
    ]);
    #[cfg(feature = "peers")]
    variants.extend(crate::peers::variants());
    take_turns(&mut variants, effort.rounds);
    report.title("nanoseconds a run, on one thread");
    report.variants(&variants);
    let nanos = |name: &str| &variants.iter().find(|variant| variant.name == name).unwrap().nanos;
    let (not_kept, bound) = (nanos("obs, not kept"), nanos("by hand, bound"));
    let prebuilt = nanos("by hand, prebuilt labels");
    report.ratio("not_kept_vs_prebuilt", prebuilt, not_kept, Aim::AtLeast(6.0));
    report.ratio("not_kept_vs_bound", bound, not_kept, Aim::AtLeast(2.5));
    let floor = nanos("floor: two clock reads and a private cell");
    report.ratio("not_kept_vs_floor", not_kept, floor, Aim::AtMost(2.0));
    let slots = nanos("obs, not kept, with slots");
    report.ratio("not_kept_with_slots_vs_bound", bound, slots, Aim::AtLeast(2.0));
    let lookup = nanos("obs, not kept, by lookup");
    let more = median(lookup) - median(not_kept);
    let mores: Vec<f64> = lookup.iter().zip(not_kept).map(|(one, other)| one - other).collect();
    let spread = [0.25, 0.75].map(|at| quantile(&mores, at));
    report.value("lookup_more_ns", more, Some(spread), Aim::AtMost(25.0));
    kept_vs_span(report, &variants);
    two_threads(effort, report);
}

fn kept_vs_span(report: &mut Report, variants: &[Variant]) {
    let nanos = |name: &str| Some(&variants.iter().find(|variant| variant.name == name)?.nanos);
    let kept = nanos("obs, kept, 20-node trace").unwrap();
    let (name, aim) = ("kept_20_nodes_vs_tracing_span", Aim::AtLeast(2.0));
    match nanos("tracing span with 20 events, exported by OpenTelemetry") {
        Some(span) => report.ratio(name, span, kept, aim),
        None => report.not_measured(name, aim, "built without the peers"),
    }
}

/// One strategy on one thread and on two, and two strategies on two threads.
fn two_threads(effort: Effort, report: &mut Report) {
    let exported = [Exported::new(), Exported::new()];
    let kind = kind(&exported[0], NEVER, false);
    let realms = [REALM, "umbrella"];
    let strategies = realms.map(|realm| kind.realm(realm).lookup("bonus", "3"));
    let bound = realms.map(|realm| Bound::new(&exported[1], realm));
    let runs: [(&str, &(dyn Fn(usize) + Sync)); 2] = [
        ("obs, not kept", &|which| plain_ok(&strategies[which])),
        ("by hand, bound", &|which| bound[which].one_run()),
    ];
    let ways = ["1 thread", "2 threads, the same", "2 threads, each its own"];
    let mut nanos = [const { [const { Vec::new() }; 3] }; 2];
    let mut made = [0; 2];
    let rounds = effort.rounds.min(61);
    for round in 0..=rounds {
        for (((_, run), nanos), made) in runs.iter().zip(&mut nanos).zip(&mut made) {
            for (own, nanos) in [&[0][..], &[0, 0], &[0, 1]].into_iter().zip(nanos) {
                let (window, runs) = window_on(own, *run);
                *made += runs;
                if round > 0 {
                    nanos.push(window);
                }
            }
        }
    }
    assert_eq!(exported.each_ref().map(Exported::runs), made, "two threads");
    report.title("nanoseconds a run, on one thread and on two");
    for ((name, _), nanos) in runs.iter().zip(&nanos) {
        for (way, nanos) in ways.iter().zip(nanos) {
            report.nanos(&format!("{name}, {way}"), median(nanos));
        }
    }
    let [one, same, own] = &nanos[0];
    report.ratio("two_threads_vs_one", same, one, Aim::AtMost(1.1));
    report.ratio("two_threads_two_strategies_vs_one", own, one, Aim::AtMost(1.1));
}

/// A thread for each strategy that is named: nanoseconds a run, and how many runs were made. A thread whose
/// window is over goes on until those of the others are, so that each runs beside the others all the time.
fn window_on(strategies: &[usize], run: &(dyn Fn(usize) + Sync)) -> (f64, u64) {
    // Long beside what it takes until a thread that waits is running.
    const RUNS: u32 = 5 * WINDOW;
    let (away, busy) = (AtomicUsize::new(strategies.len()), AtomicUsize::new(strategies.len()));
    let (away, busy) = (&away, &busy);
    let windows: Vec<(f64, u64)> = thread::scope(|scope| {
        let windows = strategies.iter().map(|strategy| {
            scope.spawn(move || {
                run(*strategy);
                away.fetch_sub(1, Ordering::AcqRel);
                while away.load(Ordering::Acquire) > 0 {
                    hint::spin_loop();
                }
                let before = Instant::now();
                (0..RUNS).for_each(|_| run(*strategy));
                let nanos = before.elapsed().as_secs_f64() * 1e9 / f64::from(RUNS);
                busy.fetch_sub(1, Ordering::AcqRel);
                let mut runs = u64::from(RUNS) + 1;
                while busy.load(Ordering::Acquire) > 0 {
                    run(*strategy);
                    runs += 1;
                }
                (nanos, runs)
            })
        });
        let windows: Vec<_> = windows.collect();
        windows.into_iter().map(|window| window.join().unwrap()).collect()
    });
    let nanos = windows.iter().map(|(nanos, _)| nanos).sum::<f64>() / windows.len() as f64;
    (nanos, windows.iter().map(|(_, runs)| runs).sum())
}
