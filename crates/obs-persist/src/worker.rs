//! The worker: one task that writes batches, and tries for as long as there is something to write.

mod dead;
mod deliver;
mod forget;
mod retried;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use obs_core::{Clock, RunRecord, Tick, Timestamp};
use tokio::sync::Mutex;

use self::deliver::{Batch, Setback};
use crate::{
    batch::Step,
    believed::Believed,
    maintenance::{self, Said},
    quarantine::Quarantine,
    retry::{self, Jitter},
    said::SetAside,
    shared::{Abandoned, Shared},
    store::{Maintained, Retention, Store, StoreError},
    sync::{sleep, spawn, spawn_blocking, timeout},
};

/// How long a store may take to close; whoever shuts down has a deadline of their own.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest time between two connections: a store that closes each of them at once is not
/// stormed.
const CONNECT_GAP: Duration = Duration::from_millis(100);

/// The worker's deadlines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) prepare: Duration,
    pub(crate) write: Duration,
}

/// What a worker has to do, and in what time.
#[derive(Clone, Debug)]
pub(crate) struct Duties {
    pub(crate) timeouts: Timeouts,
    pub(crate) retention: Retention,
    /// Where records go that the store does not take.
    pub(crate) quarantine: Option<Arc<Quarantine>>,
    /// Decides what day it is.
    pub(crate) calendar: Clock,
    /// Decides what is old, and outlives a worker that panics: that is no reason to believe a clock.
    pub(crate) believed: Arc<std::sync::Mutex<Believed>>,
}

impl Duties {
    /// The time by which it may be said what is old.
    pub(crate) fn believed(&self) -> Timestamp {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner).now(&self.calendar)
    }
}

/// The store, which outlives a worker that panics.
pub(crate) type SharedStore = Arc<Mutex<Box<dyn Store>>>;

/// Runs workers until one comes to its end. A panic costs what is in memory only of the batch that it met, which is
/// counted as abandoned; the next worker goes on with the rest.
pub(crate) async fn supervise(shared: Arc<Shared>, store: SharedStore, duties: Duties) {
    let mut panics = 0_u64;
    let mut restarts = Restarts::default();
    let mut jitter = Jitter::from_system();
    loop {
        let worker = Worker::new(Arc::clone(&shared), Arc::clone(&store), duties.clone());
        if spawn(worker.work()).await.is_ok() {
            break;
        }
        let became = shared.abandon();
        let Abandoned { lost, tried_again, left, .. } = became;
        panics = panics.saturating_add(1);
        tracing::error!(
            panics,
            lost,
            tried_again,
            left,
            "the store's worker panicked, and starts again; what it had in memory only is lost and counted, what is \
             in the spool is tried again, or left there for the next process at the second panic"
        );
        sleep(retry::after(restarts.after(&became), jitter.next())).await;
    }
    let last = Arc::clone(&shared);
    // It may wait for a disk.
    let _ = spawn_blocking(move || last.close_spool()).await;
    shared.worker_ended();
}

/// How often in a row a worker panicked to no avail.
#[derive(Debug, Default)]
struct Restarts(u32);

impl Restarts {
    /// Which pause comes after this panic. One that told a bad record from the others ends by itself, and says nothing
    /// of the store; nor do those from before it wrote something.
    const fn after(&mut self, became: &Abandoned) -> u32 {
        if became.has_written {
            self.0 = 0;
        }
        if became.has_found_one() {
            return 0;
        }
        let pause = self.0;
        self.0 = pause.saturating_add(1);
        pause
    }
}

struct Worker {
    shared: Arc<Shared>,
    store: SharedStore,
    duties: Duties,
    jitter: Jitter,
    /// The store is connected, and nothing has gone wrong since.
    prepared: bool,
    /// The records of the batch before: while the store writes the next one, there is time to free them.
    spent: Option<Arc<[RunRecord]>>,
    /// When it last began to connect.
    connected_at: Option<Tick>,
    /// When it last looked for records of the quarantine.
    looked_at: Option<Tick>,
    /// When it last looked for those that are too old.
    swept_at: Option<Tick>,
    /// When it last asked about dead processes.
    asked_at: Option<Tick>,
    /// What was last said in the log, if anything: up or down.
    said_up: Option<bool>,
    said: Said,
    set_aside: SetAside,
    name: String,
}

impl Worker {
    fn new(shared: Arc<Shared>, store: SharedStore, duties: Duties) -> Self {
        let name = String::new();
        Self {
            shared,
            store,
            duties,
            jitter: Jitter::from_system(),
            prepared: false,
            spent: None,
            connected_at: None,
            looked_at: None,
            swept_at: None,
            asked_at: None,
            said_up: None,
            said: Said::default(),
            set_aside: SetAside::default(),
            name,
        }
    }

    async fn work(mut self) {
        self.name = self.store.lock().await.name();
        self.insist(None).await;
        loop {
            self.maintain_if_due().await;
            self.shared.adopt_some(self.duties.calendar.wall());
            self.ask_about_dead().await;
            self.deliver_retried().await;
            self.forget_old().await;
            match self.shared.next_step() {
                Step::Write => {
                    let mut batch = Batch::new(self.shared.take_batch());
                    self.insist(Some(&mut batch)).await;
                    self.spent = Some(batch.into_records());
                }
                Step::Linger(rest) => {
                    self.spent = None;
                    let rest = self.shared.until_tried_again(rest);
                    // Whichever comes first: the time, or news.
                    let _ = timeout(rest, self.shared.work.notified()).await;
                }
                Step::Idle => {
                    self.spent = None;
                    let rest = self.shared.maintenance.rest(self.duties.calendar.wall());
                    let rest = self.rest_of_dead(self.rest(rest));
                    let rest = self.shared.until_tried_again(rest);
                    let _ = timeout(rest, self.shared.work.notified()).await;
                }
                Step::Stop => break,
            }
        }
        self.ask_at_end().await;
        let mut store = self.store.lock().await;
        let _ = timeout(CLOSE_TIMEOUT, store.close()).await;
    }

    /// Connects if need be and delivers the batch if there is one, until that works or makes no
    /// sense any more.
    async fn insist(&mut self, mut batch: Option<&mut Batch>) {
        let mut failures = 0;
        while self.shared.needs_store() {
            let shared = Arc::clone(&self.shared);
            let was_connected = self.prepared;
            let left = batch.as_ref().map_or(0, |batch| batch.left());
            let done = tokio::select! {
                done = self.attempt(batch.as_deref_mut()) => done,
                // E.g. a server that does not answer, and nothing to tell it.
                () = shared.no_need() => return,
            };
            let Err(setback) = done else {
                self.up();
                return;
            };
            self.prepared = false;
            self.spent = None;
            if let Some(batch) = &mut batch {
                batch.store_failed();
                if batch.left() < left {
                    failures = 0;
                }
            }
            if was_connected && failures == 0 && !setback.is_slow() {
                // The connection may have been cut, which is no news if the next one works.
                failures = 1;
                continue;
            }
            self.down(setback.error());
            let pause = retry::after(failures, self.jitter.next());
            failures = failures.saturating_add(1);
            if timeout(pause, self.shared.hurry.notified()).await.is_ok() {
                // Somebody waits for an answer: try soon, and often at first.
                failures = 0;
            }
        }
    }

    async fn attempt(&mut self, batch: Option<&mut Batch>) -> Result<(), Setback> {
        self.prepare().await.map_err(Setback::Failed)?;
        match batch {
            Some(batch) => self.deliver(batch).await,
            None => Ok(()),
        }
    }

    async fn prepare(&mut self) -> Result<(), StoreError> {
        if self.prepared {
            return Ok(());
        }
        if let Some(last) = self.connected_at {
            sleep(CONNECT_GAP.saturating_sub(self.shared.clock.now().since(last))).await;
        }
        self.connected_at = Some(self.shared.clock.now());
        let limit = self.duties.timeouts.prepare;
        let mut store = self.store.lock().await;
        match timeout(limit, store.prepare()).await {
            Ok(result) => result?,
            Err(_) => return Err(StoreError::late("preparing the store", limit)),
        }
        self.shared.writes_through(store.session());
        self.prepared = true;
        Ok(())
    }

    /// Days ahead and retention, when it is time. What goes wrong here is said and tried again,
    /// and no batch hears of it: at worst, the next one needs a new connection.
    async fn maintain_if_due(&mut self) {
        let now = self.duties.calendar.wall();
        if !self.shared.is_open() || !self.shared.maintenance.take(now) {
            return;
        }
        if !self.prepared {
            self.insist(None).await;
        }
        let shared = Arc::clone(&self.shared);
        let done = tokio::select! {
            done = self.maintain() => done,
            () = shared.closing() => {
                // The store was interrupted, in whatever it was doing.
                self.prepared = false;
                return;
            }
        };
        match done {
            Ok(done) => {
                self.shared.maintenance.set(now, &done);
                self.shared.metrics.set_kept(done.kept(now));
                self.said.done(&self.name, &done);
            }
            Err(error) => {
                self.prepared = false;
                self.said.problem(&self.name, Some(&error.chain()));
            }
        }
    }

    async fn maintain(&self) -> Result<Maintained, StoreError> {
        let limit = maintenance::TIMEOUT;
        let mut store = self.store.lock().await;
        let now = self.duties.calendar.wall();
        match timeout(limit, store.maintain(now, self.duties.retention)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::late("maintaining the store", limit)),
        }
    }

    fn up(&mut self) {
        self.shared.set_store(None);
        if self.said_up != Some(true) {
            tracing::info!(store = %self.name, "the store is up");
            self.said_up = Some(true);
        }
    }

    fn down(&mut self, error: &StoreError) {
        let reason = error.chain();
        if self.said_up != Some(false) {
            tracing::warn!(
                store = %self.name,
                %reason,
                "the store is down; records wait in memory, the worker tries again"
            );
            self.said_up = Some(false);
        }
        self.shared.set_store(Some(reason));
    }
}

#[cfg(test)]
mod tests;
