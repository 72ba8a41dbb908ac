//! What `scripts/instructions` counts: one case of the hot path per process, in a function that
//! callgrind can be told to count alone.
//!
//! The clock is one that the program moves, because what a real one costs depends on the processor
//! and is another thing under valgrind. So the figures leave out the readings of the clock, two a run
//! and two a traced node; `hot_path` measures time with them in. At the end the ledger must show
//! that every run went the way that its case names.

#![expect(clippy::print_stdout, reason = "it tells the script what it ran")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop when something is wrong")]

use std::{env, hint::black_box, sync::Arc, time::Duration};

use obs_core::{
    Ack, Class, Clock, KeepPolicy, Kept, Kind, Ledger, ManualClock, Obs, Rate, Run, Sink, Strategy,
    otel::{Metrics, MetricsOptions},
};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use serde::Serialize;

/// Runs that are counted.
const RUNS: u32 = 3_200;
/// Runs before, in which buffers grow and each thread makes its cells.
const WARM_UP: u32 = 320;
/// Nodes per run; counted, and with a trace where the case says so.
const NODES: u32 = 20;
/// What a run takes on the clock that the program moves: a bucket in the middle of the histogram.
const TAKES: Duration = Duration::from_millis(30);
/// The same with slots, where a thread reads the wall clock each 10 ms: not for each run, as a busy one does not.
const TAKES_WITH_SLOTS: Duration = Duration::from_micros(30);

/// The share of ok runs that a case keeps.
/// None of these few, but each run draws; at 0 none would.
const NONE: f64 = 1e-12;
const ALL: f64 = 1.0;

struct Case {
    name: &'static str,
    ok_rate: f64,
    run: fn(&Setting),
    /// Where the ledger counts its runs.
    counted: fn(&Ledger) -> u64,
}

const CASES: [Case; 8] = [
    Case { name: "not-kept", ok_rate: NONE, run: observed, counted: not_kept },
    Case { name: "not-kept-by-hand", ok_rate: NONE, run: by_hand, counted: not_kept },
    Case { name: "not-kept-lookup", ok_rate: NONE, run: looked_up, counted: not_kept },
    Case { name: "not-kept-slots", ok_rate: NONE, run: observed_with_slot, counted: not_kept },
    Case { name: "not-kept-20-nodes", ok_rate: NONE, run: traced, counted: not_kept },
    Case { name: "kept-input-20-nodes", ok_rate: ALL, run: traced, counted: |it| it.ok.persisted },
    Case { name: "failed", ok_rate: NONE, run: failed, counted: |it| it.error.persisted },
    Case {
        name: "failed-in-a-storm",
        ok_rate: NONE,
        run: failed_in_a_storm,
        counted: |it| it.error.persisted,
    },
];

fn main() {
    let wanted = env::args().nth(1).unwrap_or_default();
    let Some(case) = CASES.iter().find(|case| case.name == wanted) else {
        println!("Counts nothing by itself; `just instructions` does. Its cases:");
        CASES.iter().for_each(|case| println!("{}", case.name));
        return;
    };
    let setting = Setting::new(case.ok_rate, case.name.ends_with("-slots"));
    (0..WARM_UP).for_each(|_| (case.run)(&setting));
    measured(RUNS, case.run, &setting);
    let counted = (case.counted)(&setting.obs.ledger());
    assert_eq!(counted, u64::from(WARM_UP + RUNS), "runs of `{}` in the ledger", case.name);
    println!("runs {RUNS}");
}

/// callgrind knows it by its name.
#[inline(never)]
fn measured(runs: u32, run: fn(&Setting), setting: &Setting) {
    for _ in 0..black_box(runs) {
        black_box(run)(setting);
    }
}

struct Setting {
    clock: ManualClock,
    kind: Kind,
    strategy: Strategy,
    input: Purchase,
    obs: Obs,
    /// Never collects while runs are counted: its interval is a minute.
    _provider: SdkMeterProvider,
}

/// A small input, as an event may be.
#[derive(Serialize)]
struct Purchase {
    player: &'static str,
    amount: f64,
    items: [u32; 3],
}

impl Setting {
    fn new(ok_rate: f64, slots: bool) -> Self {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
        let options = MetricsOptions { bound: true, ..MetricsOptions::default() };
        let policy = KeepPolicy {
            ok_rate: Rate::new(ok_rate).unwrap(),
            first: 0,
            slow: None,
            ..KeepPolicy::default()
        };
        let clock = ManualClock::new();
        let obs = Obs::builder()
            .metrics(Metrics::new(&provider.meter("obs"), options).unwrap())
            .policy(policy)
            .sink(Arc::new(Persisted))
            .clock(Clock::from(&clock))
            .in_flight(slots)
            .build()
            .unwrap();
        let kind = obs.kind("dsl").realm("acme").type_("chain");
        let strategy = kind.strategy("bonus").version("3").build().unwrap();
        let input = Purchase { player: "user-7", amount: 12.5, items: [3, 14, 159] };
        Self { clock, kind, strategy, input, obs, _provider: provider }
    }

    fn body<E>(&self, run: &mut Run, result: Result<(), E>) -> Result<(), E> {
        self.long_body(run, result, TAKES)
    }

    #[inline(always)]
    fn long_body<E>(&self, run: &mut Run, result: Result<(), E>, takes: Duration) -> Result<(), E> {
        run.add_nodes(black_box(u64::from(NODES)));
        self.clock.advance(takes);
        result
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

const fn not_kept(ledger: &Ledger) -> u64 {
    ledger.ok.sampled_out
}

fn observed(setting: &Setting) {
    let ok: Result<(), String> = Ok(());
    let result = setting.strategy.observe(&setting.input, |run| setting.body(run, ok));
    black_box(result).unwrap();
}

fn observed_with_slot(setting: &Setting) {
    let ok: Result<(), String> = Ok(());
    let body = |run: &mut Run| setting.long_body(run, ok, TAKES_WITH_SLOTS);
    black_box(setting.strategy.observe(&setting.input, body)).unwrap();
}

fn by_hand(setting: &Setting) {
    let ok: Result<(), String> = Ok(());
    let mut run = setting.strategy.start();
    let result = setting.body(&mut run, ok);
    black_box(run.finish(result)).unwrap();
}

fn looked_up(setting: &Setting) {
    let ok: Result<(), String> = Ok(());
    let strategy = setting.kind.lookup(black_box("tenant-rule-99"), black_box("4"));
    let result = strategy.observe(&setting.input, |run| setting.body(run, ok));
    black_box(result).unwrap();
}

fn traced(setting: &Setting) {
    let result: Result<(), String> = setting.strategy.observe(&setting.input, |run| {
        for _ in 0..black_box(NODES) {
            run.node("n-compare-1").kind("compare").branch("match");
        }
        setting.clock.advance(TAKES);
        Ok(())
    });
    black_box(result).unwrap();
}

/// Few enough a minute that each is stored in full.
fn failed(setting: &Setting) {
    setting.clock.advance(Duration::from_secs(1));
    failed_in_a_storm(setting);
}

/// More than a hundred a minute: the rows are slim.
fn failed_in_a_storm(setting: &Setting) {
    let error: Result<(), &str> = Err("division by zero");
    let result = setting.strategy.observe(&setting.input, |run| setting.body(run, error));
    black_box(result).unwrap_err();
}
