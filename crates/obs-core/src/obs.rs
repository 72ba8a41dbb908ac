//! The handle: what a process decides once, and the kinds that come from it.

mod needs;
mod read;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

pub(crate) use needs::Core;

use crate::{
    adopter::Adopter,
    audit::Audit,
    capture::{Capture, Shapes},
    clock::Clock,
    error::BuildError,
    ids,
    in_flight::{self, InFlight, InFlightRun},
    keep::KeepPolicy,
    kind::{Kind, KindSpec},
    label::clean,
    ledger::{Book, Ledger},
    limits::{KINDS_MAX, Limits, TRACE_ENTRIES_MAX},
    page::{HeapPage, Page, PageOwner},
    policy::{InForce, KeepRule, LivePolicy, Policy},
    recorder::{Drained, RolledUp, Silent, Watched, otel::Metrics},
    recording::Recording,
    redact::Redaction,
    rollup::RollupSink,
    sampler::Sampler,
    sink::{NoSink, Sink},
    storm::Storms,
    subject::SubjectKey,
};

/// The handle that instrumented code starts from. Cheap to clone.
///
/// ```
/// use obs_core::Obs;
///
/// let obs = Obs::builder().build()?;
/// let bonus = obs.kind("dsl.execution").strategy("welcome-bonus").version("3").build()?;
/// let points: Result<f64, String> = bonus.observe(&"event", |_run| Ok(1.0));
/// assert_eq!(obs.ledger().runs.finished, 1);
/// # let _ = points;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Obs(Arc<Shared>);

struct Shared {
    core: Arc<Core>,
    /// Kinds by name. Locked only where kinds are resolved, never by a run.
    kinds: Mutex<HashMap<String, Kind>>,
}

impl Obs {
    /// Begins an `Obs`; without anything else it measures nothing and keeps no row.
    ///
    /// ```
    /// let obs = obs_core::Obs::builder().build()?;
    /// # let _ = obs;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The kind with this name; one that was not defined before has the fixed names. Keep it: the
    /// look-up takes a lock.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.kind("dsl.execution").name(), "dsl.execution");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn kind(&self, name: &str) -> Kind {
        // By the name that stands on metrics and in rows: what looks the same is the same.
        let name = &*clean(name);
        let mut kinds = self.kinds();
        if let Some(kind) = kinds.get(name) {
            return kind.clone();
        }
        let kind = Kind::plain(&self.0.core, name);
        if kinds.len() < KINDS_MAX {
            kinds.insert(name.to_owned(), kind.clone());
        }
        kind
    }

    /// Defines a kind with names, labels or limits of its own, before its first use.
    ///
    /// # Errors
    /// When its name is empty or in use already, or a name or key of its metrics cannot be used.
    ///
    /// ```
    /// # use obs_core::{Instrument, KindSpec, MetricsMapping};
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let mapping = MetricsMapping::default().name(Instrument::Duration, "no spaces, please");
    /// let error = obs.define_kind(KindSpec::new("dsl").metrics(mapping)).unwrap_err();
    /// assert!(error.to_string().starts_with("metric name \"no spaces, please\""));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn define_kind(&self, spec: KindSpec) -> Result<Kind, BuildError> {
        if spec.name().trim().is_empty() {
            return Err(BuildError::empty(
                "kind name",
                "name the family of runs, e.g. \"dsl.execution\"",
            ));
        }
        let mut kinds = self.kinds();
        let name = clean(spec.name()).into_owned();
        if kinds.contains_key(&name) {
            return Err(BuildError::kind_exists(&name));
        }
        let kind = Kind::new(&self.0.core, spec)?;
        kinds.insert(name, kind.clone());
        Ok(kind)
    }

    /// The audit trail of a module: entries that no rate thins out, kept as errors are. Keep it: the look-up
    /// takes a lock.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// obs.audit("points").actor("key-7f3a").success("points assigned", &());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn audit(&self, module: &str) -> Audit {
        Audit::new(&self.0.core, module)
    }

    /// An exact snapshot of the ledger.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.ledger().imbalance(), 0);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.0.core.book.snapshot()
    }

    /// The runs in flight, the oldest first, at most `runs_max`. None where [`Builder::in_flight`] is
    /// off; of those that found no slot there is no telling.
    ///
    /// ```
    /// let obs = obs_core::Obs::builder().in_flight(true).build()?;
    /// let run = obs.kind("dsl").lookup("bonus", "3").start();
    /// assert_eq!(obs.in_flight(10).len(), 1);
    /// drop(run);
    /// assert_eq!(obs.in_flight(10).len(), 0);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn in_flight(&self, runs_max: usize) -> Vec<InFlightRun> {
        self.0.core.in_flight.as_ref().map(|it| it.list(runs_max)).unwrap_or_default()
    }

    /// Brings the instruments up to date with the runs that have ended, so that a collection finds little
    /// to do: for a thread of the owner, every second or so. Collections drain, too, so it may be left
    /// out. One call stops after the series in which it has seen a million runs.
    ///
    /// ```
    /// use obs_core::Drained;
    /// # let obs = obs_core::Obs::builder().build()?;
    /// for _ in 0..100 {
    ///     if obs.drain() == Drained::Done {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn drain(&self) -> Drained {
        self.0.core.recorder.drain()
    }

    /// Hands out the rollups of the open minute as they are, after a drain: for the end of a program.
    /// Where nothing is rolled up, it does nothing.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// obs.roll_up();
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn roll_up(&self) {
        self.0.core.recorder.roll_up();
    }

    /// How many strategies so far found no room in the rollups, whose runs count as `_OTHER`.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.rollups_folded(), 0);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn rollups_folded(&self) -> u64 {
        self.0.core.recorder.strategies_folded()
    }

    /// The id of this process lifetime.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// assert_eq!(obs.epoch(), obs.epoch());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn epoch(&self) -> Uuid {
        self.0.core.epoch
    }

    /// The policy in force, which may change while the process runs.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let mut policy = obs.policy().current();
    /// policy.limits.trace_entries = 0;
    /// obs.policy().set(policy)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn policy(&self) -> LivePolicy {
        LivePolicy(Arc::clone(&self.0.core))
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    fn kinds(&self) -> std::sync::MutexGuard<'_, HashMap<String, Kind>> {
        self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Obs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Obs")
            .field("epoch", &self.0.core.epoch)
            .field("recording", &self.0.core.recording)
            .finish_non_exhaustive()
    }
}

/// Begins an [`Obs`].
///
/// ```
/// use obs_core::{KeepPolicy, Limits, Obs};
///
/// let obs = Obs::builder()
///     .policy(KeepPolicy { first: 3, ..KeepPolicy::default() })
///     .limits(Limits { trace_entries: 50 })
///     .build()?;
/// # let _ = obs;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "an `Obs` is made by `build`"]
pub struct Builder {
    metrics: Option<Metrics>,
    sink: Option<Arc<dyn Sink>>,
    rollups: Option<Arc<dyn RollupSink>>,
    policy: KeepPolicy,
    limits: Limits,
    rules: Vec<KeepRule>,
    recording: Recording,
    clock: Clock,
    seed: Option<u64>,
    epoch: Option<Uuid>,
    ledger_page: Option<Arc<dyn Page>>,
    in_flight_page: Option<Arc<dyn Page>>,
    current_run: bool,
    subject_key: Option<SubjectKey>,
    redaction: Redaction,
    capture: Capture,
}

impl Builder {
    /// Where metrics go. Without it nothing is measured but the ledger.
    ///
    /// ```
    /// # use obs_core::{Obs, otel::{Metrics, MetricsOptions}};
    /// # use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    /// let meter = NoopMeterProvider::new().meter("service");
    /// let metrics = Metrics::new(&meter, MetricsOptions::default())?;
    /// let obs = Obs::builder().metrics(metrics).build()?;
    /// # let _ = obs;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Where records go. Without it every record is counted as dropped, `disabled`.
    ///
    /// ```
    /// # use obs_core::{Ack, Class, Kept, Obs, Sink};
    /// # #[derive(Debug)] struct Print;
    /// # impl Sink for Print {
    /// #     fn submit(&self, kept: Kept) -> Ack { kept.ticket.persisted(); Ack::Memory }
    /// #     fn capacity(&self, _: Class) -> u64 { 1 }
    /// # }
    /// let obs = Obs::builder().sink(std::sync::Arc::new(Print)).build()?;
    /// # let _ = obs;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Where runs go that are added up by the minute. Off by default: it costs each run some nanoseconds.
    /// Who sets it calls [`Obs::drain`] every second or so, and [`Obs::roll_up`] at the end. At most 4,096
    /// strategies count apart; further ones count as `_OTHER`.
    ///
    /// ```
    /// # #[derive(Debug)] struct Nowhere;
    /// # impl obs_core::RollupSink for Nowhere { fn take(&self, _: Vec<obs_core::Rollup>) {} }
    /// let _builder = obs_core::Obs::builder().rollups(std::sync::Arc::new(Nowhere));
    /// ```
    pub fn rollups(mut self, sink: Arc<dyn RollupSink>) -> Self {
        self.rollups = Some(sink);
        self
    }

    /// Which runs are kept.
    ///
    /// ```
    /// # use obs_core::{KeepPolicy, Obs};
    /// let _builder = Obs::builder().policy(KeepPolicy { slow: None, ..KeepPolicy::default() });
    /// ```
    pub const fn policy(mut self, policy: KeepPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How much a row holds.
    ///
    /// ```
    /// # use obs_core::{Limits, Obs};
    /// let _builder = Obs::builder().limits(Limits { trace_entries: 20 });
    /// ```
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Exceptions from the policy, of which the first decides that matches. All three can be
    /// [changed](Obs::policy) while the process runs.
    ///
    /// ```
    /// # use obs_core::{KeepRule, Obs};
    /// let all = KeepRule { kind: Some("dsl".into()), keep_all: true, ..KeepRule::default() };
    /// let _builder = Obs::builder().rules(vec![all]);
    /// ```
    pub fn rules(mut self, rules: Vec<KeepRule>) -> Self {
        self.rules = rules;
        self
    }

    /// The master switch: everything, metrics only, or nothing.
    ///
    /// ```
    /// # use obs_core::{Obs, Recording};
    /// let _builder = Obs::builder().recording(Recording::MetricsOnly);
    /// ```
    pub const fn recording(mut self, recording: Recording) -> Self {
        self.recording = recording;
        self
    }

    /// Where time is read; a [`ManualClock`](crate::ManualClock) in tests.
    ///
    /// ```
    /// # use obs_core::{Clock, ManualClock, Obs};
    /// let _builder = Obs::builder().clock(Clock::from(&ManualClock::new()));
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// A seed for the sampler, so that a test on one thread keeps the same runs each time. Without
    /// it each thread is seeded by the operating system.
    ///
    /// ```
    /// let _builder = obs_core::Obs::builder().seed(7);
    /// ```
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The id of this process lifetime; random by default.
    ///
    /// ```
    /// let _builder = obs_core::Obs::builder().epoch(uuid::Uuid::nil());
    /// ```
    pub const fn epoch(mut self, epoch: Uuid) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Where the ledger counts kept records: a blank page of [`PAGE_WORDS`](crate::ledger::PAGE_WORDS)
    /// words, of memory that may outlive the process. By default it does not.
    ///
    /// ```
    /// use obs_core::{Obs, Page, ledger};
    /// use std::sync::{Arc, atomic::AtomicU64};
    ///
    /// #[derive(Debug)]
    /// struct Words(Vec<AtomicU64>);
    /// impl Page for Words {
    ///     fn words(&self) -> &[AtomicU64] {
    ///         &self.0
    ///     }
    /// }
    /// let words = (0..ledger::PAGE_WORDS).map(|_| AtomicU64::new(0)).collect();
    /// let obs = Obs::builder().ledger_page(Arc::new(Words(words))).build()?;
    /// # let _ = obs;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn ledger_page(mut self, page: Arc<dyn Page>) -> Self {
        self.ledger_page = Some(page);
        self
    }

    /// Stores subjects as keyed hashes. Without it they are stored as they are given.
    ///
    /// ```
    /// # use obs_core::{Obs, SubjectKey};
    /// let key = SubjectKey::new(b"a secret of at least 16 bytes")?;
    /// let _builder = Obs::builder().subject_key(key);
    /// # Ok::<(), obs_core::SubjectKeyError>(())
    /// ```
    pub fn subject_key(mut self, key: SubjectKey) -> Self {
        self.subject_key = Some(key);
        self
    }

    /// Whether each run in flight has a slot, in memory that ends with the process: the source of
    /// [`Obs::in_flight`] and `obs.run.oldest.age`. Off by default, because it costs every run some
    /// nanoseconds.
    ///
    /// ```
    /// let _builder = obs_core::Obs::builder().in_flight(true);
    /// ```
    pub fn in_flight(mut self, on: bool) -> Self {
        self.in_flight_page =
            on.then(|| Arc::new(HeapPage::new(in_flight::PAGE_WORDS)) as Arc<dyn Page>);
        self
    }

    /// As [`in_flight`](Self::in_flight), with the slots on a blank page of
    /// [`PAGE_WORDS`](crate::in_flight::PAGE_WORDS) words, of memory that may outlive the process:
    /// [`read_page`](crate::in_flight::read_page) then says with which runs it died.
    ///
    /// ```
    /// use obs_core::{Obs, Page, in_flight};
    /// use std::sync::{Arc, atomic::AtomicU64};
    ///
    /// #[derive(Debug)]
    /// struct Words(Vec<AtomicU64>);
    /// impl Page for Words {
    ///     fn words(&self) -> &[AtomicU64] {
    ///         &self.0
    ///     }
    /// }
    /// let words = (0..in_flight::PAGE_WORDS).map(|_| AtomicU64::new(0)).collect();
    /// let obs = Obs::builder().in_flight_page(Arc::new(Words(words))).build()?;
    /// # let _ = obs;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn in_flight_page(mut self, page: Arc<dyn Page>) -> Self {
        self.in_flight_page = Some(page);
        self
    }

    /// Whether [`current_run_id`](crate::current_run_id) knows the run in whose body a thread is, for log lines.
    /// Off by default, because it costs every run some nanoseconds.
    ///
    /// ```
    /// let _builder = obs_core::Obs::builder().current_run(true);
    /// ```
    pub const fn current_run(mut self, on: bool) -> Self {
        self.current_run = on;
        self
    }

    /// What is not stored, besides or instead of the default.
    ///
    /// ```
    /// # use obs_core::{Obs, Redaction};
    /// let _builder = Obs::builder().redaction(Redaction::default().also(["salary"]));
    /// ```
    pub fn redaction(mut self, redaction: Redaction) -> Self {
        self.redaction = redaction;
        self
    }

    /// How much of inputs is stored, where a kind says nothing else.
    ///
    /// ```
    /// # use obs_core::{Capture, Obs};
    /// let _builder = Obs::builder().capture_input(Capture::Shape);
    /// ```
    pub const fn capture_input(mut self, capture: Capture) -> Self {
        self.capture = capture;
        self
    }

    /// Makes the `Obs`.
    ///
    /// # Errors
    /// When a limit is out of its range, a rule cannot be used, or a page is too short or not blank.
    ///
    /// ```
    /// # use obs_core::{Limits, Obs};
    /// let error = Obs::builder().limits(Limits { trace_entries: 1_000_000 }).build().unwrap_err();
    /// assert!(error.to_string().starts_with("trace entries 1000000 is more than 10000"));
    /// ```
    pub fn build(self) -> Result<Obs, BuildError> {
        let entries = self.limits.trace_entries;
        if entries > TRACE_ENTRIES_MAX {
            return Err(BuildError::trace_entries(entries, TRACE_ENTRIES_MAX));
        }
        let policy = Policy { keep: self.policy, limits: self.limits, rules: self.rules };
        let policy = InForce::new(policy.checked().map_err(BuildError::policy)?, self.clock.wall());
        let rules = self.redaction.check()?;
        let epoch = self.epoch.unwrap_or_else(ids::epoch);
        let owner = PageOwner::this_process(epoch, self.clock.wall());
        let book = self.ledger_page.map_or_else(|| Ok(Book::default()), |it| Book::on(it, &owner));
        let book = Arc::new(book.map_err(|error| BuildError::page("ledger", error))?);
        let in_flight = self.in_flight_page.map(|it| InFlight::on(it, &owner, &self.clock));
        let in_flight =
            in_flight.transpose().map_err(|error| BuildError::page("in-flight", error))?;
        let in_flight = in_flight.map(Arc::new);
        let sink = self.sink.unwrap_or_else(|| Arc::new(NoSink));
        let recorder = match self.metrics {
            Some(metrics) => metrics.into_recorder(),
            None => Arc::new(Silent::default()),
        };
        let recorder = match self.rollups {
            Some(sink) => Arc::new(RolledUp::new(recorder, sink, epoch, &self.clock)),
            None => recorder,
        };
        recorder.watch(&Watched {
            book: &book,
            sink: &sink,
            in_flight: in_flight.as_ref(),
            policy: policy.standing(),
        });
        sink.attach(Adopter::new(&book, &recorder));
        let core = Core {
            book,
            sink,
            recorder,
            policy,
            recording: self.recording,
            clock: self.clock,
            is_watched: in_flight.is_some() || self.current_run,
            in_flight,
            current_run: self.current_run,
            sampler: Sampler::new(self.seed),
            epoch,
            storms: Storms::default(),
            shapes: Shapes::new(self.subject_key.as_ref()),
            subject_key: self.subject_key,
            rules,
            capture: self.capture,
        };
        Ok(Obs(Arc::new(Shared { core: Arc::new(core), kinds: Mutex::default() })))
    }
}
