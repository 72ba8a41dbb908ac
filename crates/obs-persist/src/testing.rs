//! A store in memory that can stall, fail, be slow and panic, for tests of applications.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use obs_core::RunRecord;
use tokio::sync::Notify;
use uuid::Uuid;

pub use crate::spool::fuzz;
use crate::{
    store::{Store, StoreError, StoreFuture},
    stored::{Stored, StoredFuture, Unsettled},
};

/// A store in memory. Clones share their rows and their behaviour, so keep one to look at and to
/// steer the other.
///
/// ```
/// use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
/// # use obs_core::testing::TestObs;
/// use std::time::Duration;
///
/// let store = MemoryStore::new();
/// let persister =
///     Persister::start(PersistConfig::default(), Box::new(store.clone()), Default::default())?;
/// # let test = TestObs::new();
/// persister.sink().submit(test.kept("bonus", "3"));
/// assert!(persister.flush_blocking(Duration::from_secs(5)).complete);
/// assert_eq!(&*store.rows()[0].strategy_id, "bonus");
/// # Ok::<(), obs_persist::StartError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    rows: Vec<RunRecord>,
    ids: HashSet<Uuid>,
    writes: u64,
    canaries: u64,
    prepares: u64,
    closed: bool,
    // What goes wrong next.
    down: bool,
    poison: Option<String>,
    failures: u64,
    failures_after_commit: u64,
    hangs_after_commit: u64,
    busy: u64,
    silent: u64,
    panics: u64,
    unreachable: bool,
    stalled: bool,
    let_through: u64,
    blocked: Option<Duration>,
    delay: Duration,
}

/// What the next write does.
enum Fate {
    Write,
    Fail,
    CommitAndFail,
    CommitAndHang,
    Panic,
}

impl MemoryStore {
    /// A store that works.
    ///
    /// ```
    /// assert!(obs_persist::testing::MemoryStore::new().rows().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The rows, in the order in which they were written; each run once.
    ///
    /// ```
    /// assert!(obs_persist::testing::MemoryStore::new().rows().is_empty());
    /// ```
    #[must_use]
    pub fn rows(&self) -> Vec<RunRecord> {
        self.lock().rows.clone()
    }

    /// How many writes were begun.
    ///
    /// ```
    /// assert_eq!(obs_persist::testing::MemoryStore::new().writes(), 0);
    /// ```
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// How often a worker connected, or tried to.
    ///
    /// ```
    /// assert_eq!(obs_persist::testing::MemoryStore::new().prepares(), 0);
    /// ```
    #[must_use]
    pub fn prepares(&self) -> u64 {
        self.lock().prepares
    }

    /// How many canaries were begun.
    ///
    /// ```
    /// assert_eq!(obs_persist::testing::MemoryStore::new().canaries(), 0);
    /// ```
    #[must_use]
    pub fn canaries(&self) -> u64 {
        self.lock().canaries
    }

    /// Whether the worker closed the store.
    ///
    /// ```
    /// assert!(!obs_persist::testing::MemoryStore::new().is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// While down, neither connecting nor writing works.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().set_down(true);
    /// ```
    pub fn set_down(&self, down: bool) {
        self.change(|state| state.down = down);
    }

    /// Refuses every batch that has a record of this strategy, from now on; `None` takes all.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().set_poison(Some("bonus"));
    /// ```
    pub fn set_poison(&self, strategy_id: Option<&str>) {
        self.change(|state| state.poison = strategy_id.map(str::to_owned));
    }

    /// While unreachable, connecting never ends: nobody answers.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().set_unreachable(true);
    /// ```
    pub fn set_unreachable(&self, unreachable: bool) {
        self.change(|state| state.unreachable = unreachable);
    }

    /// While stalled, a write never ends (its future waits, and can be dropped).
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().set_stalled(true);
    /// ```
    pub fn set_stalled(&self, stalled: bool) {
        self.change(|state| state.stalled = stalled);
    }

    /// While stalled, lets so many writes through.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().let_through(1);
    /// ```
    pub fn let_through(&self, writes: u64) {
        self.change(|state| state.let_through = writes);
    }

    /// The next write blocks its thread for so long: the whole runtime of the worker stands still.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().block_once(std::time::Duration::from_millis(1));
    /// ```
    pub fn block_once(&self, time: Duration) {
        self.change(|state| state.blocked = Some(time));
    }

    /// Every write takes so long.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().set_delay(std::time::Duration::from_millis(1));
    /// ```
    pub fn set_delay(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// The next `writes` writes (and canaries) fail and write nothing.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().fail(2);
    /// ```
    pub fn fail(&self, writes: u64) {
        self.change(|state| state.failures = writes);
    }

    /// The next `writes` writes are committed, but the worker hears of an error: what a lost
    /// connection looks like.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().fail_after_commit(1);
    /// ```
    pub fn fail_after_commit(&self, writes: u64) {
        self.change(|state| state.failures_after_commit = writes);
    }

    /// The next `writes` writes are committed, and the worker never hears of it: what a process that is
    /// killed at that moment leaves.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().hang_after_commit(1);
    /// ```
    pub fn hang_after_commit(&self, writes: u64) {
        self.change(|state| state.hangs_after_commit = writes);
    }

    /// So many times it says that a dead process's connection is still at work.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().be_busy(1);
    /// ```
    pub fn be_busy(&self, times: u64) {
        self.change(|state| state.busy = times);
    }

    /// The next `times` questions about rows fail.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().say_nothing(1);
    /// ```
    pub fn say_nothing(&self, times: u64) {
        self.change(|state| state.silent = times);
    }

    /// The next `writes` writes panic.
    ///
    /// ```
    /// obs_persist::testing::MemoryStore::new().panic(1);
    /// ```
    pub fn panic(&self, writes: u64) {
        self.change(|state| state.panics = writes);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `over` is true of the state.
    async fn wait_until(&self, mut over: impl FnMut(&mut State) -> bool) {
        loop {
            // From here on no change is missed.
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if over(&mut self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn fate(&self) -> Fate {
        fn spend(count: &mut u64) -> bool {
            let some = *count > 0;
            *count = count.saturating_sub(1);
            some
        }
        let mut state = self.lock();
        if spend(&mut state.panics) {
            Fate::Panic
        } else if state.down || spend(&mut state.failures) {
            Fate::Fail
        } else if spend(&mut state.failures_after_commit) {
            Fate::CommitAndFail
        } else if spend(&mut state.hangs_after_commit) {
            Fate::CommitAndHang
        } else {
            Fate::Write
        }
    }

    fn is_poisoned(&self, batch: &[RunRecord]) -> bool {
        let state = self.lock();
        let poison = state.poison.as_deref();
        batch.iter().any(|record| Some(&*record.strategy_id) == poison)
    }

    fn commit(&self, batch: &[RunRecord]) {
        let mut state = self.lock();
        for record in batch {
            if state.ids.insert(record.run_id) {
                state.rows.push(record.clone());
            }
        }
    }

    async fn write_batch(&self, batch: Arc<[RunRecord]>) -> Result<(), StoreError> {
        self.lock().writes += 1;
        self.statement(&batch, |batch| self.commit(batch)).await
    }

    async fn try_canary(&self, row: Box<RunRecord>) -> Result<(), StoreError> {
        self.lock().canaries += 1;
        self.statement(&[*row], |_| {}).await
    }

    /// What a write does, and a canary too: whatever is wrong with the store is wrong for both.
    async fn statement(
        &self,
        batch: &[RunRecord],
        commit: impl Fn(&[RunRecord]),
    ) -> Result<(), StoreError> {
        let (delay, blocked) = {
            let mut state = self.lock();
            (state.delay, state.blocked.take())
        };
        if let Some(time) = blocked {
            std::thread::sleep(time);
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.wait_until(|state| {
            let passes = !state.stalled || state.let_through > 0;
            state.let_through = state.let_through.saturating_sub(1);
            passes
        })
        .await;
        match self.fate() {
            Fate::Write if self.is_poisoned(batch) => {
                return Err(StoreError::transient("cannot write", "told to refuse this record"));
            }
            Fate::Write => commit(batch),
            Fate::Fail => return Err(StoreError::transient("cannot write", "told to fail")),
            Fate::CommitAndFail => {
                commit(batch);
                return Err(StoreError::transient("cannot write", "the connection is lost"));
            }
            Fate::CommitAndHang => {
                commit(batch);
                std::future::pending::<()>().await;
            }
            Fate::Panic => std::panic::resume_unwind(Box::new("told to panic")),
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn prepare(&mut self) -> StoreFuture<'_> {
        Box::pin(async {
            self.lock().prepares += 1;
            self.wait_until(|state| !state.unreachable).await;
            if self.lock().down {
                return Err(StoreError::transient("cannot connect", "told to be down"));
            }
            Ok(())
        })
    }

    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        Box::pin(self.write_batch(batch))
    }

    fn canary(&mut self, row: Box<RunRecord>) -> StoreFuture<'_> {
        Box::pin(self.try_canary(row))
    }

    fn stored<'a>(&'a mut self, unsettled: &'a Unsettled) -> StoredFuture<'a> {
        Box::pin(async {
            let mut state = self.lock();
            if state.down {
                return Err(StoreError::transient("cannot read", "told to be down"));
            }
            if state.silent > 0 {
                state.silent -= 1;
                return Err(StoreError::transient("cannot read", "told to say nothing"));
            }
            if state.busy > 0 && !unsettled.sessions().is_empty() {
                state.busy -= 1;
                return Ok(Stored::Busy);
            }
            let rows = unsettled.run_ids().filter(|id| state.ids.contains(id)).collect();
            Ok(Stored::Rows(rows))
        })
    }

    /// So that it can be busy.
    fn session(&self) -> Option<u64> {
        Some(1)
    }

    fn close(&mut self) -> StoreFuture<'_> {
        Box::pin(async {
            self.lock().closed = true;
            Ok(())
        })
    }
}
