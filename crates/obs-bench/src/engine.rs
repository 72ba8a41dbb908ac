//! A handler with a millisecond of real work: how much more processor time a request takes with metrics
//! and rows.
//!
//! Ten requests with obs and ten without take turns, so that whatever slows the processor down slows both
//! down. Time is what the kernel gave the thread, not what passed meanwhile; what all other threads took,
//! i.e. the writer of the rows and the metrics, is added to the requests with obs.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use obs_core::{
    Obs, Strategy,
    otel::{Metrics, MetricsOptions},
};
use obs_persist::{PersistConfig, Persister, StoreUrl};
use opentelemetry::metrics::MeterProvider as _;
use rustix::time::{ClockId, clock_gettime};
use tempfile::tempdir;

use crate::{
    Effort,
    hot::{Exported, NODES},
    report::{Aim, Report},
};

/// Requests of one side until it is the other's turn, and how often: a pair takes a second, in which the writer of the
/// rows has its turn as well.
const TURN: u32 = 10;
const TURNS: u32 = 48;
const WORK: Duration = Duration::from_millis(1);
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn run(effort: Effort, report: &mut Report) {
    let folder = tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("bench.sqlite").display());
    let exported = Exported::new();
    let options = MetricsOptions { bound: true, ..MetricsOptions::default() };
    let metrics = Metrics::new(&exported.provider.meter("obs"), options).unwrap();
    let store = StoreUrl::parse(&url).unwrap().store();
    let persister = Persister::start(PersistConfig::default(), store, metrics.store()).unwrap();
    let obs = Obs::builder().metrics(metrics).sink(persister.sink()).build().unwrap();
    let strategy = obs.kind("http").lookup("score", "1");
    let steps = steps_of(WORK);
    let (mut more, mut others) = (Vec::new(), Vec::new());
    for pair in 0..=effort.pairs {
        let (percent, of_others) = pair_of(&|| observed(&strategy, steps), &|| bare(steps));
        if pair > 0 {
            more.push(percent);
            others.push(of_others);
        }
    }
    let flushed = persister.flush_blocking(DEADLINE);
    assert!(flushed.complete, "{flushed}");
    assert_eq!(exported.runs(), u64::from(TURN * TURNS) * (effort.pairs as u64 + 1), "requests");
    let (mean, half) = interval(&more);
    report.title("a request with 1 ms of work, metrics and rows on: processor time, per cent more");
    let others = interval(&others).0;
    report.line(&format!(
        "mean {mean:.3}, 95 % interval {:.3} to {:.3}; {others:.3} of it on other threads",
        mean - half,
        mean + half
    ));
    let spread = Some([mean - half, mean + half]);
    report.value("request_1ms_cpu_percent_more_upper_95", mean + half, spread, Aim::AtMost(1.0));
}

/// Work that a processor cannot leave out.
fn work(steps: u64) -> u64 {
    (0..steps).fold(7, |hash, step| black_box((hash ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// How many steps take so long here.
fn steps_of(long: Duration) -> u64 {
    const PROBE: u64 = 2_000_000;
    black_box(work(PROBE));
    let before = Instant::now();
    black_box(work(PROBE));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some number of steps near it"
    )]
    let steps = (PROBE as f64 * long.as_secs_f64() / before.elapsed().as_secs_f64()) as u64;
    steps.max(1)
}

fn bare(steps: u64) {
    black_box(work(steps));
}

fn observed(strategy: &Strategy, steps: u64) {
    let result: Result<u64, String> = strategy.observe(&"event", |run| {
        for _ in 0..NODES {
            run.node("n-compare-1").kind("compare").branch("match");
        }
        Ok(work(steps))
    });
    black_box(result).unwrap();
}

/// Per cent that requests take more with obs than without, and how much of that other threads take.
fn pair_of(observed: &dyn Fn(), bare: &dyn Fn()) -> (f64, f64) {
    let [mut with, mut without] = [0, 0];
    let (own, all) = (nanos_of(ClockId::ThreadCPUTime), nanos_of(ClockId::ProcessCPUTime));
    for turn in 0..TURNS {
        // Which comes first changes, so that following the other favours neither.
        if turn % 2 == 0 {
            with += turn_of(observed);
            without += turn_of(bare);
        } else {
            without += turn_of(bare);
            with += turn_of(observed);
        }
    }
    let all = nanos_of(ClockId::ProcessCPUTime) - all;
    let others = all.saturating_sub(nanos_of(ClockId::ThreadCPUTime) - own);
    let percent = |nanos: u64| nanos as f64 / without as f64 * 100.0;
    (percent(with + others) - 100.0, percent(others))
}

fn turn_of(request: &dyn Fn()) -> u64 {
    let before = nanos_of(ClockId::ThreadCPUTime);
    (0..TURN).for_each(|_| request());
    nanos_of(ClockId::ThreadCPUTime) - before
}

fn nanos_of(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Mean, and half the width of its 95 % interval (Student's t; 2.2 fits 11 degrees of freedom and more).
fn interval(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, 2.2 * (variance / count).sqrt())
}
