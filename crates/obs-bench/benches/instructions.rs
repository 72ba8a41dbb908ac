//! What `scripts/instructions` counts of runs that fail and are spooled: as in obs-core's program of this
//! name, one case per process, in a function that callgrind can be told to count alone.
//!
//! Counted are the instructions of the run's thread in this process: not those of the system that writes,
//! of the worker, or of the spool's keeper. The store does not answer, so that the worker waits, too. At
//! the end the ledger must show that each run's record is in the spool.

#![expect(clippy::print_stdout, reason = "it tells the script what it ran")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop when something is wrong")]

use std::{env, future::ready, hint::black_box, time::Duration};

use obs_core::{
    Clock, KeepPolicy, ManualClock, Obs, Strategy,
    otel::{Metrics, MetricsOptions},
};
use obs_persist::{PersistConfig, Persister, SpoolDir, testing::MemoryStore};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{SdkMeterProvider, Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs that are counted, and runs before in which buffers grow.
const RUNS: u32 = 3_200;
const WARM_UP: u32 = 320;
/// What a run takes on the clock that the program moves: so few a minute that each is stored in full.
const TAKES: Duration = Duration::from_secs(1);

struct Case {
    name: &'static str,
    /// Lines of the input's order; a record of 18 has one kibibyte.
    lines: Option<u32>,
}

const CASES: [Case; 3] = [
    Case { name: "failed-spooled", lines: Some(18) },
    Case { name: "failed-spooled-4-kib", lines: Some(79) },
    Case { name: "failed-spooled-bare", lines: None },
];

fn main() {
    let wanted = env::args().nth(1).unwrap_or_default();
    let Some(case) = CASES.iter().find(|case| case.name == wanted) else {
        println!("Counts nothing by itself; `just instructions` does. Its cases:");
        CASES.iter().for_each(|case| println!("{}", case.name));
        return;
    };
    let setting = Setting::new(case.lines);
    (0..WARM_UP).for_each(|_| failed(&setting));
    measured(RUNS, failed, &setting);
    let spooled = setting.obs.ledger().error.spooled;
    assert_eq!(spooled, u64::from(WARM_UP + RUNS), "runs of `{}` in the ledger", case.name);
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
    strategy: Strategy,
    input: Option<Value>,
    obs: Obs,
    _persister: Persister,
    _folder: TempDir,
    /// Never collects while runs are counted: its interval is a minute.
    _provider: SdkMeterProvider,
}

impl Setting {
    fn new(lines: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = SdkMeterProvider::builder().with_periodic_exporter(Nowhere).build();
        let options = MetricsOptions { bound: true, ..MetricsOptions::default() };
        let metrics = Metrics::new(&provider.meter("obs"), options).unwrap();
        let mut config = PersistConfig::default();
        config.spool_dir = Some(SpoolDir::Given(folder.path().to_owned()));
        (config.error_records, config.error_bytes) = (10_000, 256 << 20);
        let store = MemoryStore::new();
        store.set_stalled(true);
        let persister = Persister::start(config, Box::new(store), metrics.store()).unwrap();
        let clock = ManualClock::new();
        let obs = Obs::builder()
            .metrics(metrics)
            .policy(KeepPolicy { first: 0, ..KeepPolicy::default() })
            .sink(persister.sink())
            .clock(Clock::from(&clock))
            .build()
            .unwrap();
        let kind = obs.kind("dsl").realm("acme").type_("chain");
        let strategy = kind.strategy("tenant-rule-99").version("3").build().unwrap();
        let input = lines.map(order);
        let (_persister, _folder, _provider) = (persister, folder, provider);
        Self { clock, strategy, input, obs, _persister, _folder, _provider }
    }
}

/// Exports nothing.
#[derive(Debug)]
struct Nowhere;

impl PushMetricExporter for Nowhere {
    fn export(&self, _metrics: &ResourceMetrics) -> impl Future<Output = OTelSdkResult> + Send {
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

fn failed(setting: &Setting) {
    let error: Result<(), &str> = Err("division by zero");
    let result = setting.strategy.observe(&setting.input, |run| {
        run.add_nodes(black_box(20)).subject("user-7").case("big-spender");
        setting.clock.advance(TAKES);
        error
    });
    black_box(result).unwrap_err();
}

fn order(lines: u32) -> Value {
    let lines: Vec<Value> = (0..lines)
        .map(|line| json!({ "article": format!("book-{line}"), "amount": line, "price": 12.5 }))
        .collect();
    json!({ "event": "order", "channel": "web", "lines": lines })
}
