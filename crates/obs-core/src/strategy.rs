//! What is executed: resolved once, kept by the caller, cheap to clone.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
};

use serde::Serialize;

use crate::{
    capture::Capture,
    error::BuildError,
    finished::FinishedRun,
    frame::Frame,
    in_flight::{Mark, Slot},
    input_run::InputRun,
    keep::KeepPolicy,
    kind::{Kind, KindShared, checked, word},
    limits::{HASH_BYTES_MAX, STRATEGY_ID_BYTES_MAX, VERSION_BYTES_MAX},
    obs::Core,
    per_thread::thread_index,
    policy::{Cached, Who},
    recorder::{Figures, RunEnd, Series, SeriesLabels, Short},
    recording::Recording,
    run::Run,
    run_error::RunError,
    status::Status,
    strategies::StrategyKey,
};

/// How many handles the runs of a strategy spread over: 2 KiB a strategy that ran on as many threads.
const STRIPES: usize = 16;

/// Begins a strategy; made by [`Kind::strategy`].
///
/// ```
/// # let obs = obs_core::Obs::builder().build()?;
/// let strategy = obs.kind("dsl.execution")
///     .strategy("welcome-bonus").version("3").type_("DSL_FULL").realm("acme").hash("sha256:9f2c")
///     .build()?;
/// assert_eq!(strategy.version(), "3");
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a strategy is made by `build`"]
pub struct StrategyBuilder {
    kind: Kind,
    id: String,
    version: Option<String>,
    strategy_type: Option<Arc<str>>,
    realm: Option<Arc<str>>,
    hash: Option<String>,
}

impl StrategyBuilder {
    pub(crate) fn new(kind: Kind, id: String) -> Self {
        let (realm, strategy_type) = kind.defaults();
        Self { kind, id, version: None, strategy_type, realm, hash: None }
    }

    /// The version, as text. Required.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let _builder = obs.kind("dsl").strategy("bonus").version("2026-11-21");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The type, e.g. `chain`, `workflow` or `DSL_FULL`; a label.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let _builder = obs.kind("dsl").strategy("bonus").type_("DSL_FULL");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn type_(mut self, strategy_type: &str) -> Self {
        self.strategy_type = Some(word(strategy_type));
        self
    }

    /// The tenant; a label.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let _builder = obs.kind("dsl").strategy("bonus").realm("acme");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn realm(mut self, realm: &str) -> Self {
        self.realm = Some(word(realm));
        self
    }

    /// A hash of the strategy's content; row only.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let _builder = obs.kind("dsl").strategy("bonus").hash("sha256:9f2c");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn hash(mut self, hash: impl Into<String>) -> Self {
        self.hash = Some(hash.into());
        self
    }

    /// Makes the strategy, or finds the one with the same facts.
    ///
    /// # Errors
    /// When id or version are empty, or id, version or hash are too long (200, 128 and 160 bytes).
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let error = obs.kind("dsl").strategy("bonus").build().unwrap_err();
    /// assert!(error.to_string().starts_with("strategy version is empty"));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn build(self) -> Result<Strategy, BuildError> {
        let id = checked(
            "strategy id",
            "name what is executed, e.g. \"welcome-bonus\"",
            &self.id,
            STRATEGY_ID_BYTES_MAX,
        )?;
        let version = checked(
            "strategy version",
            "say which one is executed, e.g. `.version(\"1\")`",
            self.version.as_deref().unwrap_or_default(),
            VERSION_BYTES_MAX,
        )?;
        let hash = match self.hash.as_deref() {
            Some(hash) => Some(checked(
                "strategy hash",
                "leave it out, or give a digest of the content",
                hash,
                HASH_BYTES_MAX,
            )?),
            None => None,
        };
        Ok(self.kind.intern(&StrategyKey {
            id: id.into(),
            version: version.into(),
            realm: self.realm.as_deref(),
            strategy_type: self.strategy_type.as_deref(),
            hash: hash.as_deref(),
        }))
    }
}

/// What is executed. Cheap to clone; keep it and run it many times.
///
/// ```
/// # let obs = obs_core::Obs::builder().build()?;
/// let bonus = obs.kind("dsl").strategy("welcome-bonus").version("3").build()?;
/// let points: Result<i64, String> = bonus.observe(&[1, 2, 3], |run| {
///     run.subject("user-7");
///     run.node("sum").kind("arith");
///     Ok(6)
/// });
/// assert_eq!(points, Ok(6));
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Strategy {
    outer: Arc<Outer>,
    recording: Recording,
}

/// A strategy and the handles that its runs hold.
struct Outer {
    shared: Arc<StrategyShared>,
    handles: Arc<[OnceLock<Arc<Handle>>; STRIPES]>,
}

/// What a run holds of its strategy. Threads spread over several handles, so that starting and ending
/// a run counts references on a cache line that no other thread counts on, up to [`STRIPES`] threads.
#[repr(align(128))]
pub(crate) struct Handle {
    shared: Arc<StrategyShared>,
}

impl std::ops::Deref for Handle {
    type Target = StrategyShared;

    fn deref(&self) -> &StrategyShared {
        &self.shared
    }
}

/// What is known about a strategy when it is made, so that a run does not look it up. What every run needs
/// comes first and fits into one cache line.
#[repr(C, align(64))]
pub(crate) struct StrategyShared {
    pub(crate) core: Arc<Core>,
    short: Short,
    /// What its runs write into their slots.
    pub(crate) mark: Mark,
    /// How many of its first runs are still to be kept.
    first_left: AtomicU32,
    /// Which runs are kept: its copy of what the policy in force says.
    pub(crate) keep: Cached,
    pub(crate) kind: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) strategy_type: Option<Arc<str>>,
    pub(crate) realm: Option<Arc<str>>,
    pub(crate) hash: Option<Arc<str>>,
    pub(crate) series: Arc<Series>,
    pub(crate) capture: Capture,
    /// The policy of its kind, where that has one of its own.
    pub(crate) own_policy: Option<KeepPolicy>,
}

const _: () = assert!(mem::offset_of!(StrategyShared, keep) + Cached::HOT_BYTES <= 64);

impl StrategyShared {
    /// One more in flight.
    #[inline(always)]
    pub(crate) fn count_start(&self) {
        let book = &self.core.book;
        if !self.short.started(book) {
            self.series.started(book);
        }
    }

    /// One fewer in flight, and measured, of a run that has nothing which few runs have. For one that is not kept
    /// this counts its word in the ledger too. False where it must be counted the long way.
    #[inline(always)]
    pub(crate) fn count_end(&self, status: Status, kept: bool, figures: Figures) -> bool {
        self.short.ended(status, kept, figures)
    }

    /// The same for any run.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_any_end(&self, end: &RunEnd<'_>) {
        self.series.ended(&self.core.book, end);
    }

    /// The last step of a run's end, so that a process that is killed before leaves a trace of the run: a
    /// lost row at worst, which the run's own row wins over.
    #[inline]
    pub(crate) fn leave(&self, slot: Slot) {
        if let Some(in_flight) = &self.core.in_flight {
            in_flight.leave(slot);
        }
    }

    /// Whether a run that ends now is one of the first. Once they are over, this is one read of a
    /// word that nobody writes any more.
    #[inline]
    pub(crate) fn takes_first(&self) -> bool {
        self.first_left.load(Ordering::Relaxed) > 0 && self.takes_one_of_the_first()
    }

    #[cold]
    fn takes_one_of_the_first(&self) -> bool {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.first_left.fetch_update(set, fetch, |left| left.checked_sub(1)).is_ok()
    }
}

impl Strategy {
    pub(crate) fn make(kind: &KindShared, key: &StrategyKey<'_>) -> Self {
        let core = &kind.core;
        let series = core.recorder.series(&SeriesLabels {
            kind,
            realm: key.realm,
            strategy_type: key.strategy_type,
            id: &key.id,
            version: &key.version,
        });
        let mark =
            core.in_flight.as_ref().map(|it| it.mark(&kind.name, key, Series::shared(&series)));
        let (keep, first) = core.policy.first_copy(&Who {
            kind: &kind.name,
            id: &key.id,
            version: &key.version,
            realm: key.realm,
            own: kind.policy.as_ref(),
        });
        let shared = StrategyShared {
            core: Arc::clone(core),
            short: series.short(),
            mark: mark.unwrap_or_default(),
            first_left: AtomicU32::new(first),
            keep,
            kind: Arc::clone(&kind.name),
            id: (*key.id).into(),
            version: (*key.version).into(),
            strategy_type: key.strategy_type.map(Into::into),
            realm: key.realm.map(Into::into),
            hash: key.hash.map(Into::into),
            series,
            capture: kind.capture.unwrap_or(core.capture),
            own_policy: kind.policy,
        };
        let outer = Outer { shared: Arc::new(shared), handles: Default::default() };
        Self { outer: Arc::new(outer), recording: core.recording }
    }

    /// The id.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.kind("dsl").lookup("bonus", "3").id(), "bonus");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> &str {
        &self.outer.shared.id
    }

    /// The version.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.kind("dsl").lookup("bonus", "3").version(), "3");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn version(&self) -> &str {
        &self.outer.shared.version
    }

    /// The tenant, if one was given.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.kind("dsl").lookup("bonus", "3").realm(), None);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn realm(&self) -> Option<&str> {
        self.outer.shared.realm.as_deref()
    }

    /// The type, if one was given.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.kind("dsl").type_("chain").lookup("bonus", "3").strategy_type(), Some("chain"));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn strategy_type(&self) -> Option<&str> {
        self.outer.shared.strategy_type.as_deref()
    }

    /// The content hash, if one was given.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.kind("dsl").lookup("bonus", "3").hash(), None);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn hash(&self) -> Option<&str> {
        self.outer.shared.hash.as_deref()
    }

    /// The same strategy, recorded differently: `Recording::Nothing` for a dry run that must leave
    /// no mark, neither in metrics nor in rows.
    ///
    /// ```
    /// # use obs_core::{Recording, testing::TestObs};
    /// let test = TestObs::new();
    /// let bonus = test.obs().kind("dsl").strategy("bonus").version("3").build()?;
    /// let simulated: Result<u32, String> =
    ///     bonus.with_recording(Recording::Nothing).observe(&(), |_run| Ok(1));
    /// assert_eq!(simulated, Ok(1));
    /// assert_eq!(test.obs().ledger().runs.started, 0);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn with_recording(&self, recording: Recording) -> Self {
        Self { outer: Arc::clone(&self.outer), recording: self.recording.at_most(recording) }
    }

    /// Runs `body` as one run; returns what it returns.
    ///
    /// `?` and early returns inside end the run as what they are; a panic ends it as `panicked` and
    /// goes on. The input is encoded only if the run is kept; give `&()` for none.
    ///
    /// # Errors
    /// Whatever `body` returns, unchanged.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// let points: Result<f64, String> = bonus.observe(&"event", |run| {
    ///     run.value(12.5).case("big-spender");
    ///     Ok(12.5)
    /// });
    /// assert_eq!(points, Ok(12.5));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn observe<I, T, E>(
        &self,
        input: &I,
        body: impl FnOnce(&mut Run) -> Result<T, E>,
    ) -> Result<T, E>
    where
        I: Serialize + ?Sized,
        E: RunError,
    {
        let mut frame = Frame::new(&self.outer.shared, self.recording, input);
        let here = frame.enter();
        let (run, made) = (&mut frame.run, &mut frame.made);
        let body = || catch_unwind(AssertUnwindSafe(|| body(run)));
        let caught = match here {
            None => body(),
            Some(here) => here.within(made, body),
        };
        match caught {
            Ok(result) => {
                frame.finish(&result);
                result
            }
            Err(payload) => {
                frame.panicked(&*payload);
                resume_unwind(payload)
            }
        }
    }

    /// Runs an async `body` as one run; returns what it returns. A future that is dropped before
    /// its end ends the run as `cancelled`, with its input.
    ///
    /// # Errors
    /// Whatever `body` returns, unchanged.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// # async fn answer() -> Result<u32, String> { Ok(42) }
    /// # let future =
    /// bonus.observe_async("event", async |run| {
    ///     run.subject("user-7");
    ///     answer().await
    /// });
    /// # drop(future);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub async fn observe_async<I, T, E>(
        &self,
        input: &I,
        body: impl AsyncFnOnce(&mut Run) -> Result<T, E>,
    ) -> Result<T, E>
    where
        I: Serialize + ?Sized,
        E: RunError,
    {
        let mut frame = Frame::new(&self.outer.shared, self.recording, input);
        let here = frame.enter();
        // Its end may come on another thread, and in another span.
        frame.run.remember_thread();
        let caught = {
            let (run, made) = (&mut frame.run, &mut frame.made);
            let mut body = pin!(body(run));
            std::future::poll_fn(|context| {
                let mut poll = || catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(context)));
                let caught = match here {
                    None => poll(),
                    Some(here) => here.within(made, poll),
                };
                match caught {
                    Ok(poll) => poll.map(Ok),
                    Err(payload) => Poll::Ready(Err(payload)),
                }
            })
            .await
        };
        match caught {
            Ok(result) => {
                frame.finish(&result);
                result
            }
            Err(payload) => {
                frame.panicked(&*payload);
                resume_unwind(payload)
            }
        }
    }

    /// Starts a run by hand, where a closure does not fit.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// let mut run = bonus.start();
    /// run.node("n1").kind("compare");
    /// let result: Result<u32, String> = run.finish(Ok(7));
    /// assert_eq!(result, Ok(7));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn start(&self) -> Run {
        Run::start(self.handle(), self.recording)
    }

    /// Starts a run by hand that owns its input, which is encoded only if the run is kept.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// let mut run = bonus.start_with(vec![1, 2, 3]);
    /// run.subject("user-7");
    /// let _: Result<(), String> = run.finish(Ok(()));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn start_with<I: Serialize>(&self, input: I) -> InputRun<I> {
        InputRun::new(self.start(), input)
    }

    /// Records a run that happened elsewhere: in another language, or in a log that is replayed.
    ///
    /// ```
    /// # use obs_core::{FinishedRun, Status};
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// bonus.record(FinishedRun {
    ///     status: Status::Timeout,
    ///     duration: std::time::Duration::from_millis(501),
    ///     nodes: 12,
    ///     ..FinishedRun::default()
    /// });
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn record(&self, finished: FinishedRun) {
        finished.record(self);
    }

    /// A run that is over already.
    pub(crate) fn replay(&self) -> Run {
        Run::replay(self.handle(), self.recording)
    }

    /// This thread's handle.
    #[expect(clippy::indexing_slicing, reason = "the stripe is taken modulo how many there are")]
    fn handle(&self) -> Arc<Handle> {
        let handle = &self.outer.handles[thread_index() % STRIPES];
        Arc::clone(
            handle.get_or_init(|| Arc::new(Handle { shared: Arc::clone(&self.outer.shared) })),
        )
    }

    /// The same strategy, for whoever clones it again and again on one thread: references are counted on
    /// a cache line that other threads do not count on.
    pub(crate) fn for_this_thread(&self) -> Self {
        let shared = Arc::clone(&self.outer.shared);
        let outer = Outer { shared, handles: Arc::clone(&self.outer.handles) };
        Self { outer: Arc::new(outer), recording: self.recording }
    }

    #[cfg(test)]
    pub(crate) fn series(&self) -> Arc<Series> {
        Arc::clone(&self.outer.shared.series)
    }

    #[cfg(test)]
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.outer.shared, &other.outer.shared)
    }
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strategy")
            .field("kind", &self.outer.shared.kind)
            .field("id", &self.outer.shared.id)
            .field("version", &self.outer.shared.version)
            .field("recording", &self.recording)
            .finish_non_exhaustive()
    }
}
