//! A handler with a millisecond of real work: how much more processor time a request takes with metrics
//! and rows. Pairs of windows, one with obs and one without, take turns; the time is that of all threads.

use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use obs_core::{
    Obs, Strategy,
    otel::{Metrics, MetricsOptions},
};
use obs_persist::{PersistConfig, Persister, StoreUrl};
use opentelemetry::metrics::MeterProvider as _;
use tempfile::tempdir;

use crate::{
    Effort,
    hot::{Exported, NODES},
    report::{Aim, Report},
};

const REQUESTS: u32 = 150;
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
    let mut more = Vec::new();
    for pair in 0..=effort.pairs {
        // Which comes first changes, so that warming up favours neither.
        let (with, without) = if pair % 2 == 0 {
            let with = cpu_of(|| observed(&strategy, steps));
            (with, cpu_of(|| bare(steps)))
        } else {
            let without = cpu_of(|| bare(steps));
            (cpu_of(|| observed(&strategy, steps)), without)
        };
        if pair > 0 {
            more.push((with / without - 1.0) * 100.0);
        }
    }
    let flushed = persister.flush_blocking(DEADLINE);
    assert!(flushed.complete, "{flushed}");
    assert_eq!(exported.runs(), u64::from(REQUESTS) * (effort.pairs as u64 + 1), "requests");
    let (mean, half) = interval(&more);
    report.title("a request with 1 ms of work, metrics and rows on: processor time, per cent more");
    report.line(&format!("mean {mean:.3}, 95 % interval {:.3} to {:.3}", mean - half, mean + half));
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

fn cpu_of(request: impl Fn()) -> f64 {
    let before = cpu_nanos();
    (0..REQUESTS).for_each(|_| request());
    (cpu_nanos() - before) as f64 / f64::from(REQUESTS)
}

/// The processor time of all threads that there are.
fn cpu_nanos() -> u64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Mean, and half the width of its 95 % interval (Student's t; 2.2 fits 11 degrees of freedom and more).
fn interval(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, 2.2 * (variance / count).sqrt())
}
