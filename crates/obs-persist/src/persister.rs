//! The handle: starts the worker, hands out its sink, flushes and shuts down.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use obs_core::{Clock, Page, Sink, StoreMetrics, StoreState};
use tokio::{runtime, sync::Mutex};

use crate::{
    believed::Believed,
    config::{ConfigError, PersistConfig},
    platform,
    report::{FlushReport, ShutdownReport},
    shared::{Room, Shared},
    spool::{self, Spool},
    store::{Store, StoreError},
    waiters::Answer,
    watch::StoreWatch,
    worker::{self, Duties, SharedStore, Timeouts},
};

/// How long dropping a [`Persister`] waits for its worker to write what is queued.
pub const DROP_DEADLINE: Duration = Duration::from_secs(3);

/// How long dropping a [`Persister`] then waits for its threads to be gone.
const CLERK_PATIENCE: Duration = Duration::from_millis(500);

/// A store with its worker, on threads of their own.
///
/// Runs end at [`sink`](Self::sink) and never wait. The worker writes batches, and tries for ever
/// while the store is down. Dropping the handle is a shutdown with [`DROP_DEADLINE`].
///
/// ```
/// use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
/// use std::time::Duration;
///
/// let persister =
///     Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
/// let sink = persister.sink();
/// // … `Obs::builder().sink(sink)`, and runs …
/// # drop(sink);
/// let report = persister.shutdown_blocking(Duration::from_secs(5));
/// assert!(report.complete);
/// # Ok::<(), obs_persist::StartError>(())
/// ```
#[must_use = "dropping a persister shuts it down"]
pub struct Persister {
    shared: Arc<Shared>,
    ledger_page: Option<Arc<dyn Page>>,
    runs_page: Option<Arc<dyn Page>>,
    /// Holds the spool for as long as it runs.
    clerk: JoinHandle<()>,
}

/// Why a persister did not start. A store that cannot be reached is no reason: the worker waits
/// for it.
///
/// ```
/// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
/// let mut config = PersistConfig::default();
/// config.queue_records = 0;
/// let error = Persister::start(config, Box::new(MemoryStore::new()), Default::default()).unwrap_err();
/// assert!(error.to_string().contains("queue_records is 0"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A limit makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gave no thread.
    #[error(
        "cannot start a thread for the store's worker: raise the limit of threads of this process"
    )]
    Thread(#[source] io::Error),
    /// The system gave no I/O runtime.
    #[error(
        "cannot start the runtime of the store's worker: raise the limits of threads and open files of this process"
    )]
    Runtime(#[source] io::Error),
}

impl Persister {
    /// Starts the worker. Returns without waiting for the store.
    ///
    /// # Errors
    /// When `config` has a value that makes no sense, or the system gives no thread.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// let store = Box::new(MemoryStore::new());
    /// let persister = Persister::start(PersistConfig::default(), store, Default::default())?;
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    pub fn start(
        config: PersistConfig,
        store: Box<dyn Store>,
        metrics: StoreMetrics,
    ) -> Result<Self, StartError> {
        Self::start_with_calendar(config, store, metrics, Clock::default())
    }

    /// [`start`](Self::start) with a calendar of your own, for tests in which days pass: the wall
    /// clock of `calendar` decides when the store is maintained and what is old there (in a file of SQLite only
    /// as far as the machine's own clocks agree). Deadlines stay with the time of the system.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// let manual = obs_core::ManualClock::new();
    /// let (config, store) = (PersistConfig::default(), Box::new(MemoryStore::new()));
    /// let calendar = obs_core::Clock::from(&manual);
    /// let persister =
    ///     Persister::start_with_calendar(config, store, Default::default(), calendar)?;
    /// manual.advance(std::time::Duration::from_secs(86_400));
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    pub fn start_with_calendar(
        mut config: PersistConfig,
        store: Box<dyn Store>,
        metrics: StoreMetrics,
        calendar: Clock,
    ) -> Result<Self, StartError> {
        config.check()?;
        let spool = open_spool(&config);
        if let Some(spool) = &spool {
            metrics.watch_spool(spool.gauge());
            config.quarantine_dir.get_or_insert_with(|| spool.quarantine());
        }
        let ledger_page = spool.as_ref().and_then(Spool::ledger_page);
        let runs_page = spool.as_ref().and_then(Spool::runs_page);
        let shared = Arc::new(Shared::new(&config, metrics, spool, Clock::default()));
        let (started, start) = mpsc::sync_channel(1);
        let timeouts = Timeouts { prepare: config.prepare_timeout, write: config.write_timeout };
        let (retention, quarantine) = (config.retention(), config.quarantine().map(Arc::new));
        let believed = Arc::new(std::sync::Mutex::new(Believed::from(&calendar)));
        let duties = Duties { timeouts, retention, quarantine, calendar, believed };
        let clerk =
            Clerk { shared: Arc::clone(&shared), store: Arc::new(Mutex::new(store)), duties };
        let clerk = thread::Builder::new()
            .name("obs-persist".to_owned())
            .spawn(move || clerk.run(&started))
            .map_err(StartError::Thread)?;
        match start.recv() {
            Ok(Ok(())) => Ok(Self { shared, ledger_page, runs_page, clerk }),
            Ok(Err(error)) => Err(StartError::Runtime(error)),
            Err(_) => Err(StartError::Runtime(io::Error::other("its thread ended early"))),
        }
    }

    /// Where the records of this store go: for `Obs::builder().sink(…)`.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// assert_eq!(persister.sink().capacity(obs_core::Class::Ok), 1_000);
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    #[must_use]
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.shared) as Arc<dyn Sink>
    }

    /// Memory for the ledger that outlives the process, for `Obs::builder().ledger_page(…)`: the next
    /// process then counts what died in the memory of this one. `None` without a spool.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// assert!(persister.ledger_page().is_none());
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    #[must_use]
    pub fn ledger_page(&self) -> Option<Arc<dyn Page>> {
        self.ledger_page.clone()
    }

    /// Memory for the runs in flight, for `Obs::builder().in_flight_page(…)`: the next process then
    /// writes a row `lost` for each run that died inside of this one. `None` without a spool.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// assert!(persister.runs_page().is_none());
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    #[must_use]
    pub fn runs_page(&self) -> Option<Arc<dyn Page>> {
        self.runs_page.clone()
    }

    /// Waits until every record that was submitted before this call is settled, at most for
    /// `deadline`. Works on any runtime, and needs none.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # use std::time::Duration;
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// # futures_executor::block_on(async {
    /// let report = persister.flush(Duration::from_secs(1)).await;
    /// assert!(report.complete);
    /// # });
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    pub fn flush(&self, deadline: Duration) -> impl Future<Output = FlushReport> + Send + use<> {
        let waiting = self.if_ours(|shared| shared.begin_flush(deadline));
        async {
            match waiting {
                Some(waiting) => waiting.await.into(),
                None => FlushReport { complete: true, ..FlushReport::default() },
            }
        }
    }

    /// [`flush`](Self::flush) for a thread that may wait, inside or outside of a runtime.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # use std::time::Duration;
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// assert!(persister.flush_blocking(Duration::from_secs(1)).complete);
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    pub fn flush_blocking(&self, deadline: Duration) -> FlushReport {
        match self.if_ours(|shared| shared.begin_flush(deadline)) {
            Some(waiting) => waiting.block().into(),
            None => FlushReport { complete: true, ..FlushReport::default() },
        }
    }

    /// Refuses new records from now on, writes what is queued, closes the store and stops the
    /// worker; what is left at the deadline is dropped and counted as `shutdown_deadline`.
    ///
    /// Works on any runtime, and needs none. Calling it again gives the first one's report. A
    /// future that is dropped leaves the shutdown going on, with its deadline.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # use std::time::Duration;
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// # futures_executor::block_on(async {
    /// let report = persister.shutdown(Duration::from_secs(5)).await;
    /// assert!(report.complete);
    /// assert_eq!(persister.shutdown(Duration::from_secs(5)).await, report);
    /// # });
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    pub fn shutdown(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = ShutdownReport> + Send + use<> {
        let waiting = self.if_ours(|shared| shared.begin_shutdown(deadline));
        async {
            match waiting {
                Some(waiting) => waiting.await.into(),
                None => ShutdownReport { complete: true, ..ShutdownReport::default() },
            }
        }
    }

    /// [`shutdown`](Self::shutdown) for a thread that may wait, inside or outside of a runtime.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # use std::time::Duration;
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// assert!(persister.shutdown_blocking(Duration::from_secs(5)).complete);
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    pub fn shutdown_blocking(&self, deadline: Duration) -> ShutdownReport {
        match self.if_ours(|shared| shared.begin_shutdown(deadline)) {
            Some(waiting) => waiting.block().into(),
            None => ShutdownReport { complete: true, ..ShutdownReport::default() },
        }
    }

    /// For batch programs, between two runs: waits until half of the ok lane is free, so that the
    /// next records are not refused. Returns at once while the store is down, or after shutdown.
    ///
    /// Half, because other threads may ask at the same time. Never call it inside a run.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, Room, testing::MemoryStore};
    /// # use std::time::Duration;
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// assert_eq!(persister.wait_for_room(Duration::from_secs(10)), Room::Free);
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    pub fn wait_for_room(&self, deadline: Duration) -> Room {
        if self.shared.is_forked() {
            // There never will be any.
            return Room::Closed;
        }
        self.shared.wait_for_room(deadline)
    }

    /// What the worker knows about its store.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// println!("{}", persister.state());
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    #[must_use]
    pub fn state(&self) -> StoreState {
        self.shared.metrics.state()
    }

    /// Why the store is down, while it is; without a password.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// assert_eq!(persister.last_error(), None);
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.shared.last_error()
    }

    /// How the store is doing, to keep beside the persister.
    ///
    /// ```
    /// # use obs_core::StoreMetrics;
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # let store = Box::new(MemoryStore::new());
    /// let persister = Persister::start(PersistConfig::default(), store, StoreMetrics::default())?;
    /// assert_eq!(persister.watch().last_error(), None);
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    #[must_use]
    pub fn watch(&self) -> StoreWatch {
        StoreWatch::new(Arc::clone(&self.shared))
    }

    /// What to wait for. In a forked child nothing: every record of its own was refused when it came, the
    /// others are its parent's, and the threads that would answer are not here.
    fn if_ours(&self, begin: impl FnOnce(&Arc<Shared>) -> u64) -> Option<Waiting> {
        if self.shared.is_forked() {
            return None;
        }
        let id = begin(&self.shared);
        Some(Waiting { shared: Arc::clone(&self.shared), id })
    }
}

/// The spool, unless there is to be none, or there can be none: that is said, and never stops
/// anybody.
fn open_spool(config: &PersistConfig) -> Option<Spool> {
    let place = config.spool()?;
    let epoch = config.epoch.unwrap_or_else(spool::random_epoch);
    match Spool::open(&place, epoch) {
        Ok(spool) => Some(spool),
        Err(error) => {
            let error = StoreError::permanent_because("there is no spool", error).chain();
            tracing::warn!(
                directory = %place.root.display(),
                %error,
                "error records are kept in memory only, and lost with this process"
            );
            None
        }
    }
}

impl Drop for Persister {
    fn drop(&mut self) {
        if self.shared.is_forked() {
            // Its threads are not here.
            return;
        }
        self.shutdown_blocking(DROP_DEADLINE);
        // Whoever starts next, maybe in this process, takes over what is left. The thread does nothing
        // any more but end.
        let clock = Clock::default();
        let start = clock.now();
        while !self.clerk.is_finished() && clock.now().since(start) < CLERK_PATIENCE {
            thread::park_timeout(Duration::from_millis(1));
        }
        self.shared.leave_spool();
    }
}

impl fmt::Debug for Persister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persister").field("store", &self.shared.metrics).finish_non_exhaustive()
    }
}

/// The thread `obs-persist`: owns the runtime, keeps the deadlines of those who wait, and does
/// nothing that could hold it up, so that a store which blocks the runtime's thread delays nobody.
struct Clerk {
    shared: Arc<Shared>,
    store: SharedStore,
    duties: Duties,
}

impl Clerk {
    fn run(self, started: &mpsc::SyncSender<io::Result<()>>) {
        // Before the runtime's threads, which have the mask of this one.
        platform::take_no_signal();
        // Multi-thread flavour with one worker: migrations and dropped SQLite futures panic on a
        // current-thread runtime.
        let built = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("obs-persist-io")
            .enable_all()
            .build();
        let runtime = match built {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        runtime.spawn(worker::supervise(Arc::clone(&self.shared), self.store, self.duties));
        let _ = started.send(Ok(()));
        self.shared.keep_deadlines();
        // Whatever still runs there is not worth waiting for.
        runtime.shutdown_background();
    }
}

/// Somebody's wait for an answer.
struct Waiting {
    shared: Arc<Shared>,
    id: u64,
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.shared.poll_answer(self.id, cx)
    }
}

impl Waiting {
    fn block(self) -> Answer {
        /// Wakes a parked thread.
        struct Unpark(Thread);

        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }

        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(answer) = self.shared.poll_answer(self.id, &cx) {
                return answer;
            }
            thread::park_timeout(self.shared.patience(self.id));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}
