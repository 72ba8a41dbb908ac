//! An hour in which the store is down, in simulated time.

use std::{
    fs,
    process::Command,
    sync::{Arc, Mutex as StdMutex},
    time::Duration,
};

use obs_core::{Ack, Clock, ManualClock, RunRecord, Status, StoreMetrics, testing};
use tokio::sync::Mutex;

use super::{Duties, Restarts, Timeouts, supervise};
use crate::{
    believed::Believed,
    config::{PersistConfig, SpoolDir},
    shared::{Abandoned, Shared},
    spool::{self, Spool},
    store::{Store, StoreError, StoreFuture},
};

const SECONDS: usize = 3_600;
const ERRORS_A_SECOND: usize = 36;
const ERRORS: usize = SECONDS * ERRORS_A_SECOND;

/// An error has a message of so many bytes: were the records of the hour in memory, they would be four times what is
/// allowed.
const MESSAGE: usize = 1_200;
/// From when the store is back, at two thousand rows a second.
const DRAINED_WITHIN: usize = 64;

/// What the process may need besides what it was configured to.
const MEMORY_BESIDES: usize = 32 << 20;

/// Remembers which records it got, and no more of them.
#[derive(Clone, Debug)]
struct Tally(Arc<StdMutex<Counts>>);

#[derive(Debug)]
struct Counts {
    down: bool,
    attempts: usize,
    seen: Vec<u8>,
}

impl Store for Tally {
    fn name(&self) -> String {
        "a tally".to_owned()
    }

    fn prepare(&mut self) -> StoreFuture<'_> {
        let mut counts = self.0.lock().unwrap();
        counts.attempts += 1;
        let down = counts.down;
        Box::pin(async move {
            if down {
                return Err(StoreError::transient("cannot connect", "told to be down"));
            }
            Ok(())
        })
    }

    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        let mut counts = self.0.lock().unwrap();
        assert!(!counts.down, "nothing is written without a connection");
        for record in &*batch {
            counts.seen[usize::try_from(record.nodes).unwrap()] += 1;
        }
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
fn the_pause_after_a_panic_grows_while_nothing_is_written_and_no_culprit_is_found() {
    let in_vain = Abandoned { tried_again: 3, ..Abandoned::default() };
    let found = Abandoned { left: 1, ..Abandoned::default() };
    let lossy = Abandoned { lost: 1, ..found };
    let mut restarts = Restarts::default();
    let mut after = |became: Abandoned| restarts.after(&became);
    assert_eq!([in_vain; 3].map(&mut after), [0, 1, 2]);
    assert_eq!([found; 3].map(&mut after), [0; 3]);
    assert_eq!([lossy, in_vain, found, in_vain].map(&mut after), [3, 4, 0, 5]);
    assert_eq!(after(Abandoned { has_written: true, ..in_vain }), 0);
    assert_eq!([in_vain, lossy].map(&mut after), [1, 2]);
    assert_eq!(after(Abandoned { has_written: true, ..found }), 0);
    assert_eq!(after(in_vain), 0);
}

/// In a process of its own, because it is about the memory of a process.
#[test]
fn an_hour_without_the_store_costs_no_error_and_little_memory_and_few_attempts() {
    let name = "worker::tests::an_hour";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let why = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}\n{why}");
}

#[tokio::test(start_paused = true)]
#[ignore = "the test above runs it"]
async fn an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let spool_dir = Some(SpoolDir::Given(folder.path().join("spool")));
    let config = PersistConfig { spool_dir, ..PersistConfig::default() };
    let spool = Spool::open(&config.spool().unwrap(), spool::random_epoch()).unwrap();
    let hands = ManualClock::new();
    let clock = Clock::from(&hands);
    let metrics = StoreMetrics::default();
    let shared = Arc::new(Shared::new(&config, metrics, Some(spool), clock.clone()));
    let counts = Counts { down: true, attempts: 0, seen: vec![0; ERRORS] };
    let store = Tally(Arc::new(StdMutex::new(counts)));
    let boxed: Box<dyn Store> = Box::new(store.clone());
    let timeouts = Timeouts { prepare: config.prepare_timeout, write: config.write_timeout };
    let (retention, quarantine) = (config.retention(), None);
    let believed = Arc::new(StdMutex::new(Believed::from(&clock)));
    let duties = Duties { timeouts, retention, quarantine, calendar: clock, believed };
    let worker = tokio::spawn(supervise(Arc::clone(&shared), Arc::new(Mutex::new(boxed)), duties));
    let test = testing::TestObs::new();
    let second = async || {
        hands.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ledger = test.obs().ledger();
        assert_eq!(ledger.imbalance(), 0, "{ledger}");
        ledger.error
    };

    second().await;
    let before = memory();
    for at in 0..ERRORS {
        assert_eq!(shared.submit(test.kept_record(error(at))), Ack::Os);
        if (at + 1) % ERRORS_A_SECOND == 0 {
            let _ = second().await;
        }
    }
    let attempts = store.0.lock().unwrap().attempts;
    assert!((120..=250).contains(&attempts), "{attempts} attempts in an hour");
    assert_eq!(second().await.spooled, ERRORS as u64);

    store.0.lock().unwrap().down = false;
    let mut seconds = 0;
    while second().await.persisted < ERRORS as u64 {
        seconds += 1;
        assert!(seconds <= DRAINED_WITHIN, "all is written soon after the store is back");
    }
    assert!(store.0.lock().unwrap().seen.iter().all(|seen| *seen == 1), "each row once");
    let error = second().await;
    assert_eq!((error.recorded, error.dropped.total(), error.spooled), (ERRORS as u64, 0, 0));

    let most = config.queue_bytes + config.error_bytes + config.batch_bytes + MEMORY_BESIDES;
    let used = memory().saturating_sub(before);
    println!("{attempts} attempts, {} MiB more, drained in {seconds} s", used >> 20);
    assert!(used <= most, "{used} bytes more than before the outage, at most");

    let _ = shared.begin_shutdown(Duration::from_secs(5));
    worker.await.unwrap();
}

fn error(at: usize) -> RunRecord {
    let mut error = testing::record("bonus", "1");
    error.status = Status::Error;
    error.error_type = Some("no_such_field".into());
    error.error_message = Some("m".repeat(MESSAGE).into());
    error.nodes = at.try_into().unwrap();
    error
}

/// The most that this process has ever had in memory; nothing where that is not known.
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kibibytes.unwrap_or(0) << 10
}
