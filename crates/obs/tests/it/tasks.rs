//! Ten thousand tasks at once that end in every way: each run is in the ledger once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use obs::{Run, Strategy};

use crate::support::{PATIENCE, metrics_only, total};

const TASKS: u64 = 10_000;
/// A task suspends at most this often before its end.
const PAUSES_MAX: u64 = 8;

/// What the tasks themselves saw, to compare the ledger with.
#[derive(Default)]
struct Seen {
    started: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
}

#[test]
fn ten_thousand_tasks_that_end_in_every_way_are_in_the_ledger_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = metrics_only()
        .rows(true)
        .store(format!("sqlite:{}/runs.sqlite", folder.path().display()))
        .snapshots(true)
        .init()
        .unwrap();
    let strategy = telemetry.kind("dsl.execution").strategy("bonus").version("1").build().unwrap();
    let seen = Arc::new(Seen::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let cancelled = runtime.block_on(all(&strategy, &seen));
    drop(runtime);

    let [started, ok, failed, panicked] = [&seen.started, &seen.ok, &seen.failed, &seen.panicked]
        .map(|count| count.load(Ordering::SeqCst));
    assert!(
        cancelled > 0 && ok > 0 && failed > 0 && panicked > 0,
        "{cancelled} {ok} {failed} {panicked}"
    );
    let ledger = telemetry.ledger();
    assert_eq!(
        (ledger.runs.started, ledger.runs.finished, ledger.runs.active),
        (started, started, 0)
    );
    assert_eq!(ledger.error.recorded, failed + panicked, "{ledger}");
    assert_eq!(ledger.ok.recorded, started - failed - panicked, "{ledger}");
    assert_eq!(ledger.imbalance(), 0);

    let report = telemetry.shutdown_blocking(PATIENCE);
    assert!(report.is_complete(), "{report}");
    let ledger = telemetry.ledger();
    assert_eq!(
        (ledger.imbalance(), ledger.ok.in_queue, ledger.error.in_queue),
        (0, 0, 0),
        "{ledger}"
    );
    let snapshot = telemetry.snapshot().unwrap();
    assert_eq!(total(&snapshot, "obs.run.active", &[]), 0.0);
    assert_eq!(total(&snapshot, "obs.run.started", &[]), started as f64);
    assert_eq!(total(&snapshot, "obs.run.errors", &[]), (failed + panicked) as f64);
    let by_status = |status| {
        let duration = snapshot.metric("obs.run.duration").unwrap();
        let attributes = [("obs.run.status", status)];
        let series = duration.series_with(&attributes);
        series.map(|series| series.value.histogram().unwrap().count).sum::<u64>()
    };
    assert_eq!(
        (by_status("ok"), by_status("error"), by_status("panicked")),
        (ok, failed, panicked)
    );
    assert_eq!(by_status("cancelled"), started - ok - failed - panicked);
}

/// Spawns them all, aborts a third at whatever point each has reached, and waits for the rest.
/// Gives the number of those that were cancelled after they had begun.
async fn all(strategy: &Strategy, seen: &Arc<Seen>) -> u64 {
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let (strategy, seen) = (strategy.clone(), Arc::clone(seen));
        tasks.push(tokio::spawn(async move {
            let result =
                strategy.observe_async(&number, async |run| one(run, number, &seen).await).await;
            match result {
                Ok(_) => seen.ok.fetch_add(1, Ordering::SeqCst),
                Err(_) => seen.failed.fetch_add(1, Ordering::SeqCst),
            };
        }));
        if number % 3 == 0 {
            // Somewhere in the middle of its life, and in a task that began long ago.
            tasks[scattered(number) % tasks.len()].abort();
            tokio::task::yield_now().await;
        }
    }
    for task in tasks {
        // A task that panicked or was aborted gives an error: it was meant to.
        let _ = task.await;
    }
    let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
    count(&seen.started) - count(&seen.ok) - count(&seen.failed) - count(&seen.panicked)
}

async fn one(run: &mut Run, number: u64, seen: &Seen) -> Result<u64, String> {
    seen.started.fetch_add(1, Ordering::SeqCst);
    for _ in 0..scattered(number) as u64 % PAUSES_MAX {
        run.node("step").branch("next");
        tokio::task::yield_now().await;
    }
    if number % 50 == 1 {
        seen.panicked.fetch_add(1, Ordering::SeqCst);
        panic!("task {number} was told to");
    }
    if number % 3 == 1 { Err(format!("task {number} fails")) } else { Ok(number) }
}

/// Looks random, and is the same every time: splitmix64's last steps.
fn scattered(number: u64) -> usize {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(mixed >> 33).unwrap()
}
