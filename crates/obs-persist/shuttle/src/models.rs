//! What the schedules are of, and what must hold in each.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use obs_core::{
    Ack, Class, ClassLedger, Clock, DropReason, Ledger, RunRecord, Sink, Status, StoreMetrics,
    testing::{TestObs, record},
};
use shuttle::{future, rand::Rng, thread};
use uuid::Uuid;

use crate::{
    believed::Believed,
    config::{PersistConfig, RETENTION},
    quarantine::Quarantine,
    shared::{Room, Shared},
    spool::Spool,
    store::{Store, StoreError, StoreFuture},
    stored::{Stored, StoredFuture, Unsettled},
    sync,
    waiters::Answer,
    worker::{self, Duties, Timeouts},
};

pub(crate) const ALL: [(&str, fn()); 10] = [
    ("well", well),
    ("troubled", troubled),
    ("panicked", panicked),
    ("spooled", spooled),
    ("unread", unread),
    ("asked", asked),
    ("doubted", doubted),
    ("idle", idle),
    ("room", room),
    ("impatient", impatient),
];

/// How long callers wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than time ever jumps: whoever waits so long is woken by somebody, or never.
const FOR_EVER: Duration = Duration::from_secs(1_000);

/// What a store may do to a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// It writes, refuses, commits and fails, hangs, or panics, as chance will have it.
    Troubled,
    Down,
    /// Its first write panics.
    Panics,
}

#[derive(Clone, Debug)]
struct Memory {
    rows: Arc<std::sync::Mutex<HashSet<Uuid>>>,
    mood: Mood,
    panicked: Arc<AtomicBool>,
    /// How often a connection of a dead process will still be at work.
    busy: Arc<AtomicU32>,
}

impl std::fmt::Debug for Mood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a mood")
    }
}

impl Memory {
    fn new(mood: Mood) -> Self {
        Self { rows: Arc::default(), mood, panicked: Arc::default(), busy: Arc::default() }
    }

    fn rows(&self) -> u64 {
        self.rows.lock().unwrap().len() as u64
    }

    fn commit(&self, batch: &[RunRecord]) {
        self.rows.lock().unwrap().extend(batch.iter().map(|record| record.run_id));
    }

    async fn statement(self, batch: &[RunRecord]) -> Result<(), StoreError> {
        let refused = |what: &'static str| Err(StoreError::permanent(what));
        match self.mood {
            Mood::Down => return refused("down"),
            Mood::Panics if !batch.is_empty() && !self.panicked.swap(true, Ordering::Relaxed) => {
                std::panic::resume_unwind(Box::new("told to panic"));
            }
            Mood::Panics => self.commit(batch),
            Mood::Well => self.commit(batch),
            Mood::Troubled => match shuttle::rand::thread_rng().gen_range(0..10) {
                0..5 => self.commit(batch),
                5 => return refused("refused"),
                6 => {
                    self.commit(batch);
                    return refused("the connection is lost");
                }
                7 => std::future::pending().await,
                8 => std::panic::resume_unwind(Box::new("told to panic")),
                _ => {
                    sync::sleep(Duration::from_millis(300)).await;
                    self.commit(batch);
                }
            },
        }
        Ok(())
    }
}

impl Store for Memory {
    fn name(&self) -> String {
        "a model's".to_owned()
    }

    fn prepare(&mut self) -> StoreFuture<'_> {
        Box::pin(self.clone().statement(&[]))
    }

    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        let store = self.clone();
        Box::pin(async move { store.statement(&batch).await })
    }

    fn canary(&mut self, _: Box<RunRecord>) -> StoreFuture<'_> {
        Box::pin(self.clone().statement(&[]))
    }

    fn session(&self) -> Option<u64> {
        Some(1)
    }

    fn stored<'a>(&'a mut self, unsettled: &'a Unsettled) -> StoredFuture<'a> {
        let store = self.clone();
        Box::pin(async move {
            store.clone().statement(&[]).await?;
            let next = |busy: u32| busy.checked_sub(1);
            if store.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok() {
                return Ok(Stored::Busy);
            }
            let rows = store.rows.lock().unwrap();
            Ok(Stored::Rows(unsettled.run_ids().filter(|id| rows.contains(id)).collect()))
        })
    }

    fn close(&mut self) -> StoreFuture<'_> {
        Box::pin(async { Ok(()) })
    }
}

/// A persister of a model: its clerk, its worker, and time if it has any.
struct Rig {
    test: Arc<TestObs>,
    shared: Arc<Shared>,
    store: Memory,
    ended: Arc<AtomicBool>,
    clerk: thread::JoinHandle<()>,
    worker: future::JoinHandle<()>,
    time: Option<thread::JoinHandle<()>>,
}

impl Rig {
    fn new(mood: Mood, spool: Option<Spool>) -> Self {
        Self::with(mood, spool, Duration::from_secs(1))
    }

    /// One whose worker gives every statement so long.
    fn with(mood: Mood, spool: Option<Spool>, limit: Duration) -> Self {
        let clock = sync::new_time();
        let config = PersistConfig {
            queue_records: 2,
            error_records: 1,
            batch_records: 2,
            linger: Duration::from_millis(100),
        };
        let metrics = StoreMetrics::default();
        let shared = Arc::new(Shared::new(&config, metrics, spool, clock.clone()));
        let store = Memory::new(mood);
        let boxed: Box<dyn Store> = Box::new(store.clone());
        let duties = Duties {
            timeouts: Timeouts { prepare: limit, write: limit },
            retention: RETENTION,
            // With a folder the worker looks there now and then, which could hide a lost wake-up.
            quarantine: (mood == Mood::Troubled).then(|| Arc::new(Quarantine::default())),
            believed: Arc::new(std::sync::Mutex::new(Believed::from(&clock))),
            calendar: clock,
        };
        let kept = Arc::clone(&shared);
        let clerk = thread::spawn(move || kept.keep_deadlines());
        let store_of_worker = Arc::new(tokio::sync::Mutex::new(boxed));
        let worker = future::spawn(worker::supervise(Arc::clone(&shared), store_of_worker, duties));
        let (test, ended) = (Arc::new(TestObs::new()), Arc::default());
        Self { test, shared, store, ended, clerk, worker, time: None }
    }

    /// From now on time passes. Without it, nobody is woken but by somebody.
    fn with_time(mut self) -> Self {
        let ended = Arc::clone(&self.ended);
        self.time = Some(thread::spawn(move || sync::flow(|| ended.load(Ordering::Acquire))));
        self
    }

    /// A thread that submits records of these classes; how many of them the spool has taken.
    fn submits(&self, classes: &'static [Class]) -> thread::JoinHandle<u64> {
        let (test, shared) = (Arc::clone(&self.test), Arc::clone(&self.shared));
        thread::spawn(move || {
            let acks = classes.iter().map(|class| {
                let mut record = record("bonus", "1");
                if *class == Class::Error {
                    record.status = Status::Error;
                }
                shared.submit(test.kept_record(record))
            });
            acks.filter(|ack| *ack == Ack::Os).count() as u64
        })
    }

    /// A thread that flushes, and must be answered.
    fn flushes(&self) -> thread::JoinHandle<Answer> {
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || answer(&shared, shared.begin_flush(PATIENCE)))
    }

    fn shuts_down(&self) -> Answer {
        answer(&self.shared, self.shared.begin_shutdown(PATIENCE))
    }

    /// Everything has come to its end; the books, balanced and closed.
    fn end(self) -> (Ledger, Memory) {
        let Self { test, shared, store, ended, clerk, worker, time } = self;
        clerk.join().unwrap();
        future::block_on(worker).unwrap();
        ended.store(true, Ordering::Release);
        if let Some(time) = time {
            time.join().unwrap();
        }
        // A ticket that it still holds would be counted as abandoned now.
        drop(Arc::into_inner(shared).expect("nobody holds it any more"));
        let ledger = test.obs().ledger();
        assert_eq!(ledger.imbalance(), 0, "{ledger}");
        assert_eq!(ledger.ok.in_queue + ledger.error.in_queue, 0, "{ledger}");
        assert_eq!(ledger.ok.spooled, 0, "{ledger}");
        (ledger, store)
    }
}

fn answer(shared: &Shared, id: u64) -> Answer {
    let answer = future::block_on(std::future::poll_fn(|cx| shared.poll_answer(id, cx)));
    shared.forget(id);
    answer
}

fn dropped(class: &ClassLedger, reason: DropReason) -> u64 {
    class.dropped.of(reason)
}

fn both(ledger: &Ledger, of: impl Fn(&ClassLedger) -> u64) -> u64 {
    of(&ledger.ok) + of(&ledger.error)
}

/// A store that works, and no time: every flush and shutdown completes because somebody wakes somebody.
fn well() {
    let rig = Rig::new(Mood::Well, None);
    let threads =
        [rig.submits(&[Class::Ok, Class::Error, Class::Ok]), rig.submits(&[Class::Error])];
    let flush = rig.flushes();
    let early = thread::spawn({
        let shared = Arc::clone(&rig.shared);
        move || answer(&shared, shared.begin_flush(PATIENCE)).complete
    });
    for thread in threads {
        thread.join().unwrap();
    }
    // What was submitted before is written when this returns.
    let after = answer(&rig.shared, rig.shared.begin_flush(PATIENCE));
    assert!(after.complete && after.left == 0, "{after:?}");
    assert_eq!(rig.test.obs().ledger().ok.in_queue, 0);
    let late = rig.submits(&[Class::Ok]);
    let report = rig.shuts_down();
    assert!(report.complete && report.left == 0, "{report:?}");
    late.join().unwrap();
    assert!(flush.join().unwrap().complete && early.join().unwrap());
    let (ledger, store) = rig.end();
    let lost = |class: &ClassLedger| {
        dropped(class, DropReason::Closed) + dropped(class, DropReason::QueueFull)
    };
    assert_eq!(both(&ledger, |class| class.persisted) + both(&ledger, lost), 5, "{ledger}");
    assert_eq!(store.rows(), both(&ledger, |class| class.persisted));
}

/// A store that does what it likes: everybody is answered, everything is counted once.
fn troubled() {
    let rig = Rig::new(Mood::Troubled, None).with_time();
    let threads =
        [rig.submits(&[Class::Ok, Class::Error, Class::Ok]), rig.submits(&[Class::Error])];
    let flush = rig.flushes();
    for thread in threads {
        thread.join().unwrap();
    }
    let report = rig.shuts_down();
    assert_eq!(report.left, 0, "{report:?}");
    let _ = flush.join().unwrap();
    let (ledger, store) = rig.end();
    let settled = |class: &ClassLedger| class.persisted + class.quarantined + class.dropped.total();
    assert_eq!(both(&ledger, settled), 4, "{ledger}");
    assert!(store.rows() >= both(&ledger, |class| class.persisted), "{ledger}");
}

/// A worker that panics: its batch is counted as abandoned at once, and the next one writes the rest.
fn panicked() {
    let rig = Rig::new(Mood::Panics, None).with_time();
    rig.submits(&[Class::Ok, Class::Error]).join().unwrap();
    let first = answer(&rig.shared, rig.shared.begin_flush(FOR_EVER));
    assert!(first.complete && first.left == 0, "{first:?}");
    rig.submits(&[Class::Ok]).join().unwrap();
    let report = answer(&rig.shared, rig.shared.begin_shutdown(FOR_EVER));
    assert!(report.complete, "{report:?}");
    let (ledger, store) = rig.end();
    let lost = both(&ledger, |class| dropped(class, DropReason::Abandoned));
    assert!(lost >= 1, "{ledger}");
    assert_eq!(both(&ledger, |class| class.persisted) + lost, 3, "{ledger}");
    assert_eq!(store.rows() + lost, 3, "{ledger}");
}

/// With a spool: an error that it has taken ends in the store, in the quarantine, or stays in it.
fn spooled() {
    const ERRORS: u64 = 5;
    let down = shuttle::rand::thread_rng().gen_range(0..3) == 0;
    let spool = Spool::new(true);
    let left = spool.left();
    let rig = Rig::new(if down { Mood::Down } else { Mood::Troubled }, Some(spool)).with_time();
    Sink::attach(&*rig.shared, rig.test.adopter());
    let threads = [
        rig.submits(&[Class::Error, Class::Error, Class::Error]),
        rig.submits(&[Class::Ok, Class::Error]),
    ];
    let flush = rig.flushes();
    let safe: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let late = rig.submits(&[Class::Error]);
    let report = rig.shuts_down();
    assert_eq!(report.left, 0, "{report:?}");
    let safe = safe + late.join().unwrap();
    let _ = flush.join().unwrap();
    let (ledger, store) = rig.end();
    let error = &ledger.error;
    assert_eq!(error.spooled, left() as u64, "{ledger}");
    let unsafe_ones = ERRORS - safe;
    assert!(
        error.dropped.total() <= unsafe_ones,
        "of {safe} in the spool, some are lost: {ledger}"
    );
    assert!(store.rows() >= error.persisted, "{ledger}");
}

/// The spool's files cannot be read now and then: what is in them is written all the same, at once when somebody
/// waits for it, and none of it is lost. The end does not wait for what is left there.
fn unread() {
    const ERRORS: u64 = 6;
    let spool = Spool::failing();
    let left = spool.left();
    let rig = Rig::with(Mood::Well, Some(spool), FOR_EVER).with_time();
    let errors: &[Class] = &[Class::Error, Class::Error, Class::Error];
    let threads = [rig.submits(errors), rig.submits(errors)];
    let safe: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let flush = answer(&rig.shared, rig.shared.begin_flush(FOR_EVER));
    assert!(flush.complete && flush.left == 0, "{flush:?}");
    let error = rig.test.obs().ledger().error;
    assert_eq!((error.persisted, error.spooled, error.dropped.total()), (ERRORS, 0, 0));
    let late = rig.submits(errors);
    let report = answer(&rig.shared, rig.shared.begin_shutdown(FOR_EVER));
    assert_eq!(report.left, 0, "{report:?}");
    let late = late.join().unwrap();
    let (ledger, store) = rig.end();
    let error = &ledger.error;
    assert_eq!(error.spooled, left() as u64, "{ledger}");
    assert_eq!(error.persisted + error.spooled, safe + late, "{ledger}");
    assert_eq!(store.rows(), error.persisted, "{ledger}");
}

/// A process died with three records under way, of which one is a row: the store is asked until it says so,
/// however often the dead connection is still at work, and whatever else there is to do.
fn asked() {
    let [row, lost, other] = [1, 2, 3].map(Uuid::from_u128);
    let spool = Spool::doubted(vec![row, lost, other]);
    let under_way = spool.under_way_now();
    let rig = Rig::with(Mood::Well, Some(spool), FOR_EVER).with_time();
    rig.store.busy.store(shuttle::rand::thread_rng().gen_range(0..4), Ordering::Relaxed);
    rig.store.rows.lock().unwrap().insert(row);
    Sink::attach(&*rig.shared, rig.test.adopter());
    let submits = rig.submits(&[Class::Ok, Class::Error]);
    submits.join().unwrap();
    let report = answer(&rig.shared, rig.shared.begin_shutdown(FOR_EVER));
    assert!(report.complete, "{report:?}");
    let (ledger, store) = rig.end();
    let ok = &ledger.ok;
    if ok.adopted > 0 {
        assert_eq!((ok.adopted, dropped(ok, DropReason::Crash)), (3, 2), "{ledger}");
        assert_eq!(store.busy.load(Ordering::Relaxed), 0, "it was busy");
    } else {
        assert_eq!(ledger.error.adopted, 0, "what was found is asked about: {ledger}");
    }
    assert_eq!(store.rows(), 1 + both(&ledger, |class| class.persisted) - ok.adopted.min(1));
    assert_eq!(under_way(), 0, "the page is blank at the end");
}

/// The same with a store that does what it likes: the question counts once, or stays for the next process,
/// and nothing stays on the page of what is under way.
fn doubted() {
    let spool = Spool::doubted(vec![Uuid::from_u128(1), Uuid::from_u128(2)]);
    let under_way = spool.under_way_now();
    let rig = Rig::new(Mood::Troubled, Some(spool)).with_time();
    rig.store.rows.lock().unwrap().insert(Uuid::from_u128(1));
    Sink::attach(&*rig.shared, rig.test.adopter());
    let threads = [rig.submits(&[Class::Ok, Class::Ok]), rig.submits(&[Class::Error, Class::Ok])];
    for thread in threads {
        thread.join().unwrap();
    }
    let report = rig.shuts_down();
    assert_eq!(report.left, 0, "{report:?}");
    let (ledger, _) = rig.end();
    let ok = &ledger.ok;
    assert!(
        matches!((ok.adopted, dropped(ok, DropReason::Crash)), (0, 0) | (2, 1 | 2)),
        "{ledger}"
    );
    assert_eq!(under_way(), 0, "the page is blank at the end");
}

/// A process dies beside one that has nothing to do, and nobody wakes it: it takes over what is left all the
/// same. Its own wakes would hide that, so there is no quarantine.
fn idle() {
    let spool = Spool::new(false);
    let dies_beside = spool.dies_beside();
    let rig = Rig::with(Mood::Well, Some(spool), FOR_EVER).with_time();
    Sink::attach(&*rig.shared, rig.test.adopter());
    let watch = Arc::clone(&rig.shared);
    let until = |what: &dyn Fn() -> bool| {
        for _ in 0..10_000 {
            if what() {
                return;
            }
            thread::yield_now();
        }
        panic!("an idle worker does not look for processes that died");
    };
    until(&|| !watch.is_adopting());
    dies_beside();
    until(&|| rig.test.obs().ledger().error.persisted == 2);
    assert!(answer(&rig.shared, rig.shared.begin_shutdown(FOR_EVER)).complete);
    drop(watch);
    rig.end();
}

/// Threads that wait for room are told when there is some, or why there will be none.
fn room() {
    let rig = Rig::new(Mood::Troubled, None).with_time();
    rig.submits(&[Class::Ok, Class::Ok, Class::Error]).join().unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let shared = Arc::clone(&rig.shared);
            thread::spawn(move || shared.wait_for_room(PATIENCE))
        })
        .collect();
    let more = rig.submits(&[Class::Ok]);
    let _ = rig.shuts_down();
    for waiter in waiting {
        let told = waiter.join().unwrap();
        assert!(matches!(told, Room::Free | Room::StoreDown | Room::Closed | Room::Deadline));
    }
    more.join().unwrap();
    rig.end();
}

/// Callers that go away, and two that shut down at once.
fn impatient() {
    let rig = Rig::new(Mood::Troubled, None).with_time();
    let submits = rig.submits(&[Class::Error, Class::Ok]);
    let away = Arc::clone(&rig.shared);
    let away = thread::spawn(move || {
        let flush = away.begin_flush(PATIENCE);
        away.forget(flush);
        let shutdown = away.begin_shutdown(Duration::from_secs(1));
        away.forget(shutdown);
    });
    let second = Arc::clone(&rig.shared);
    let second = thread::spawn(move || answer(&second, second.begin_shutdown(PATIENCE)));
    let first = rig.shuts_down();
    let second = second.join().unwrap();
    assert_eq!((first.left, second.left), (0, 0));
    submits.join().unwrap();
    away.join().unwrap();
    let late = answer(&rig.shared, rig.shared.begin_flush(PATIENCE));
    assert!(late.complete, "after the end nothing waits: {late:?}");
    rig.end();
}
