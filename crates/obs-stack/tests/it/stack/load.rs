//! A program under steady load, whose runs are counted.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use obs::Telemetry;
use uuid::Uuid;

use super::{PATIENCE, until_within};

/// Between two runs of a thread: some hundred runs a second.
const PAUSE: Duration = Duration::from_millis(5);
const THREADS: u64 = 2;

/// Threads that make runs, every tenth of which fails.
pub(crate) struct Load {
    telemetry: Telemetry,
    made: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Vec<Uuid>>>,
}

/// What was made.
pub(crate) struct Made {
    pub(crate) runs: u64,
    /// The id of each.
    pub(crate) ids: Vec<Uuid>,
}

impl Load {
    pub(crate) fn start(telemetry: Telemetry) -> Self {
        let (made, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let kind = telemetry.kind("load");
        let strategy = kind.strategy("bonus").version("1").realm("acme").build().unwrap();
        let threads = (0..THREADS).map(|_| {
            let (strategy, made, over) = (strategy.clone(), Arc::clone(&made), Arc::clone(&over));
            thread::spawn(move || {
                let mut ids = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    // The number first: each is made by one thread, and every tenth fails, whoever makes it.
                    let number = made.fetch_add(1, Ordering::SeqCst) + 1;
                    let fails = number.is_multiple_of(10);
                    let _: Result<(), String> = strategy.observe(&number, |run| {
                        ids.push(run.id());
                        if fails { Err("no points".to_owned()) } else { Ok(()) }
                    });
                    thread::sleep(PAUSE);
                }
                ids
            })
        });
        let threads = threads.collect();
        Self { telemetry, made, over, threads }
    }

    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Stops, flushes until an export arrives, and says what there was.
    pub(crate) fn end(mut self) -> Made {
        self.over.store(true, Ordering::SeqCst);
        let ids: Vec<_> =
            self.threads.drain(..).flat_map(|thread| thread.join().unwrap()).collect();
        let last = RefCell::new(String::new());
        until_within(
            PATIENCE,
            || format!("an export that arrives, last {}", last.borrow()),
            || {
                let report = self.telemetry.flush_blocking(Duration::from_secs(10));
                last.replace(report.to_string());
                report.is_complete().then_some(())
            },
        );
        assert_eq!(self.telemetry.ledger().imbalance(), 0);
        let runs = self.made();
        assert!(self.telemetry.shutdown_blocking(PATIENCE).is_complete());
        Made { runs, ids }
    }
}
