//! One execution of a strategy, from its start to its end.

pub(crate) mod end;

use std::{borrow::Cow, fmt, sync::Arc, thread, time::Duration};

use opentelemetry::{
    Context,
    trace::{SpanId, TraceContextExt, TraceId},
};
use uuid::Uuid;

use crate::{
    clock::{Clock, Reading},
    correlation::CorrelationId,
    ids::Id,
    in_flight::{Slot, Taken},
    limits::NODES_MAX,
    recording::Recording,
    run_error::{RunError, RunFailure},
    scratch::{AttributeValue, Node, Scratch},
    sink::Ack,
    strategy::{Handle, StrategyShared},
};

/// A run in flight. It ends exactly once: through `finish`, or when it is dropped. One that is leaked,
/// e.g. by `mem::forget`, never ends, and stays in flight as long as the process.
///
/// ```
/// # use obs_core::{Status, testing::TestObs};
/// # let test = TestObs::new();
/// # let bonus = test.obs().kind("dsl").strategy("bonus").version("3").build()?;
/// let mut run = bonus.start();
/// run.subject("user-7").value(12.5).case("big-spender");
/// drop(run);
/// assert_eq!(test.records()[0].status, Status::Cancelled);
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[must_use = "dropping a run without finishing it records it as `cancelled`"]
pub struct Run {
    /// `None` where a frame borrows the strategy and ends the run; so starting it counts no reference.
    handle: Option<Arc<Handle>>,
    pub(crate) scratch: Option<Box<Scratch>>,
    clock: Clock,
    started: Reading,
    pub(crate) nodes: u64,
    pub(crate) value: Option<f64>,
    /// `None` until somebody needs it, where the run starts and ends in one span anyway.
    pub(crate) span: Option<(TraceId, SpanId)>,
    id: Id,
    /// Where the run holds its strategy; else its frame has it.
    slot: Slot,
    /// [`NOT_QUEUED`] where nobody said.
    queued_nanos: u64,
    /// How many entries its trace may have; 0 where none is wanted.
    entries_max: u32,
    recording: Recording,
    /// How a frame records that began the run, and ends it. `None` where the run holds its strategy.
    in_frame: Option<Recording>,
    forced: bool,
    /// The thread was unwinding already when the run started: then a drop is no panic of the run.
    started_in_unwind: bool,
    /// False once the run has ended, and from the start in a dry run.
    open: bool,
}

/// No run waits 585 years. Not an `Option`, whose halves would be written apart and read together: that
/// stalls a processor.
const NOT_QUEUED: u64 = u64::MAX;

impl Run {
    /// Starts a run that holds its strategy.
    #[inline]
    pub(crate) fn start(handle: Arc<Handle>, recording: Recording) -> Self {
        let started = Self::count_start(&handle, recording);
        let mut run = Self::begun(&handle, started, recording);
        run.in_frame = None;
        run.remember_thread();
        let mut taken = None;
        run.take_slot(&handle, &mut taken);
        run.slot = taken.map_or(Slot::NONE, |taken| taken.slot);
        run.handle = Some(handle);
        run
    }

    /// Starts a run that is over already: it has no slot.
    pub(crate) fn replay(handle: Arc<Handle>, recording: Recording) -> Self {
        let started = Self::count_start(&handle, recording);
        let mut run = Self::begun(&handle, started, recording);
        run.in_frame = None;
        run.remember_thread();
        run.handle = Some(handle);
        run
    }

    /// A slot among the runs in flight, where those have slots; and what makes the id that stands there.
    #[inline(always)]
    pub(crate) fn take_slot<'a>(
        &mut self,
        strategy: &'a StrategyShared,
        taken: &mut Option<Taken<'a>>,
    ) {
        if let Some(in_flight) = &strategy.core.in_flight
            && self.open
        {
            let has_row = self.recording == Recording::All;
            in_flight.enter((strategy.mark, has_row), self.started, (&mut self.id, taken));
        }
    }

    /// One more in flight, from now on.
    #[inline]
    pub(crate) fn count_start(strategy: &StrategyShared, recording: Recording) -> Reading {
        if recording != Recording::Nothing {
            strategy.count_start();
        }
        strategy.core.clock.read()
    }

    /// A run that started, of a strategy that somebody holds for it, who also ends it.
    #[inline(always)]
    pub(crate) fn begun(strategy: &StrategyShared, started: Reading, recording: Recording) -> Self {
        let core = &*strategy.core;
        Self {
            handle: None,
            scratch: None,
            clock: core.clock.clone(),
            started,
            nodes: 0,
            value: None,
            span: None,
            id: Id::Unknown,
            slot: Slot::NONE,
            queued_nanos: NOT_QUEUED,
            entries_max: if recording == Recording::All { core.policy.entries_max() } else { 0 },
            recording,
            in_frame: Some(recording),
            forced: false,
            started_in_unwind: false,
            open: recording != Recording::Nothing,
        }
    }

    /// Notes what belongs to the thread that starts the run, for one that another thread may end.
    pub(crate) fn remember_thread(&mut self) {
        if self.open {
            self.look_around();
        } else {
            self.span = Some(NO_SPAN);
        }
        self.started_in_unwind = thread::panicking();
    }

    /// Notes the W3C ids of the span that the thread is in, and the correlation id, if there is one and
    /// the run was told no other.
    pub(crate) fn look_around(&mut self) {
        Context::map_current(|context| {
            let span = context.span();
            let ids = span.span_context();
            self.span = Some((ids.trace_id(), ids.span_id()));
            if self.recording == Recording::All
                && let Some(id) = context.get::<CorrelationId>()
            {
                self.correlate(id);
            }
        });
    }

    /// The span that the run started in. Where nobody noted it, the thread is in it still.
    pub(crate) fn started_in(&mut self) -> (TraceId, SpanId) {
        if self.span.is_none() {
            self.look_around();
        }
        self.span.unwrap_or(NO_SPAN)
    }

    /// Out of the way of runs that have none.
    #[cold]
    fn correlate(&mut self, id: &CorrelationId) {
        let known = &mut self.scratch().correlation_id;
        if known.is_empty() {
            known.push_str(crate::label::cut(id.as_str(), NOTE_BYTES_MAX));
        }
    }

    /// Counts a node and begins its trace entry, which ends when the [`Node`] is dropped.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.node("n1").kind("compare").branch("match").value(&true);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn node(&mut self, id: &str) -> Node<'_> {
        if self.entries_max > 0 {
            let offset_micros = self.clock.nanos_since(self.started) / 1_000;
            self.node_at(id, offset_micros)
        } else {
            self.node_at(id, 0)
        }
    }

    /// Counts a node that began so long after the run.
    #[inline]
    pub(crate) fn node_at(&mut self, id: &str, offset_micros: u64) -> Node<'_> {
        self.add_nodes(1);
        if self.entries_max == 0 {
            return Node::untraced();
        }
        let entries_max = self.entries_max;
        Node::traced(self.scratch(), id, offset_micros, entries_max)
    }

    /// Counts nodes that have no trace entry of their own. A run has at most 4,294,967,295 nodes in
    /// all; more count as so many.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.add_nodes(120);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[inline]
    pub fn add_nodes(&mut self, count: u64) -> &mut Self {
        self.nodes = self.nodes.saturating_add(count).min(NODES_MAX);
        self
    }

    /// The number that the run produced, e.g. points. One that is not finite is left out of the
    /// row, and counted.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.value(12.5);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn value(&mut self, value: f64) -> &mut Self {
        self.value = Some(value);
        self
    }

    /// The case that the run chose; at most 128 bytes.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.case("big-spender");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn case(&mut self, name: &str) -> &mut Self {
        self.note(|scratch| &mut scratch.case, name)
    }

    /// Whose run it is: row only, the key for erasure; at most 256 bytes. It is stored as a
    /// [keyed hash](crate::SubjectKey::hash) where a key is configured.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.subject("user-7");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn subject(&mut self, subject: &str) -> &mut Self {
        self.note(|scratch| &mut scratch.subject, subject)
    }

    /// The caller's correlation id; at most 256 bytes. A run that starts in a context with a
    /// [`CorrelationId`] has that one until it is told another.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.correlation_id("4b0c1f");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn correlation_id(&mut self, id: &str) -> &mut Self {
        self.note(|scratch| &mut scratch.correlation_id, id)
    }

    /// The run that started this one.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let strategy = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// let mut parent = strategy.start();
    /// let mut child = strategy.start();
    /// child.parent(parent.id());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn parent(&mut self, run_id: Uuid) -> &mut Self {
        self.scratch().parent = Some(run_id);
        self
    }

    /// Anything else about the run: row only, at most 32 keys, 16 KiB in all when encoded, which
    /// happens only if the run is kept.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.attribute("game.id", "chess").attribute("attempt", 2);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn attribute(
        &mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl Into<AttributeValue>,
    ) -> &mut Self {
        if self.recording == Recording::All {
            self.scratch().attribute(key.into(), value.into());
        }
        self
    }

    /// How long the run waited between the moment it was meant to start and its start; measured as
    /// `obs.run.queue.duration`. Without it a stalled worker does not show: durations begin when a
    /// run starts, however late that is.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.queued(Duration::from_millis(40));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn queued(&mut self, waited: Duration) -> &mut Self {
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.queued_nanos = nanos.min(NOT_QUEUED - 1);
        self
    }

    /// Keeps this run, whatever the rates say.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// run.keep();
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn keep(&mut self) -> &mut Self {
        self.forced = true;
        self
    }

    /// The run's id: a UUIDv7 whose time is the start of the run. It is put together at the first
    /// call, or at the start where runs in flight have slots.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let mut run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// assert_eq!(run.id(), run.id());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn id(&mut self) -> Uuid {
        let age = Duration::from_nanos(self.clock.nanos_since(self.started));
        let (id, _) = self.identity(None, age);
        id
    }

    /// Ends the run with its result, and returns the result unchanged.
    ///
    /// # Errors
    /// Whatever `result` holds.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// let result: Result<u32, String> = run.finish(Err("no such rule".to_owned()));
    /// assert_eq!(result, Err("no such rule".to_owned()));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn finish<T, E: RunError>(mut self, result: Result<T, E>) -> Result<T, E> {
        self.end_as(&result, None);
        result
    }

    /// As [`finish`](Self::finish), and says what is promised of the run's record; `None` when the run is
    /// not kept, and so has none.
    ///
    /// ```
    /// # use obs_core::{Ack, DropReason};
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// let (result, ack) = run.finish_ack(Err::<(), _>("no such rule".to_owned()));
    /// assert!(result.is_err());
    /// assert_eq!(ack, Some(Ack::Refused(DropReason::Disabled)), "this `Obs` has no store");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn finish_ack<T, E: RunError>(
        mut self,
        result: Result<T, E>,
    ) -> (Result<T, E>, Option<Ack>) {
        let ack = self.end_as(&result, None);
        (result, ack)
    }

    /// As [`finish_ack`](Self::finish_ack), and waits until the record is on the disk, where the sink
    /// can do that: then the answer is [`Ack::Disk`]. The run ends now, not when the future is polled; the
    /// future needs no runtime.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// # let bonus = test.obs().kind("dsl").strategy("bonus").version("3").build()?;
    /// let durable = bonus.start().finish_durable(Err::<(), _>("no such rule".to_owned()));
    /// # let answer =
    /// async {
    ///     let (result, ack) = durable.await;
    /// };
    /// assert_eq!(test.obs().ledger().runs.active, 0);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn finish_durable<T, E: RunError>(
        mut self,
        result: Result<T, E>,
    ) -> impl Future<Output = (Result<T, E>, Option<Ack>)> + use<T, E> {
        let ack = self.end_as(&result, None);
        self.durable(result, ack)
    }

    /// Ends the run with a result whose error cannot implement [`RunError`]; `describe` says what
    /// the error means.
    ///
    /// # Errors
    /// Whatever `result` holds.
    ///
    /// ```
    /// # use obs_core::RunFailure;
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let run = obs.kind("dsl").strategy("bonus").version("3").build()?.start();
    /// let parsed = run.finish_with("x".parse::<u32>(), |error| {
    ///     RunFailure::error("NOT_A_NUMBER").message(error.to_string())
    /// });
    /// assert!(parsed.is_err());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn finish_with<T, E>(
        mut self,
        result: Result<T, E>,
        describe: impl FnOnce(&E) -> RunFailure,
    ) -> Result<T, E> {
        self.end_described(&result, describe, None);
        result
    }

    pub(crate) fn scratch(&mut self) -> &mut Scratch {
        self.scratch.get_or_insert_with(Scratch::take)
    }

    pub(crate) fn force(&mut self, forced: bool) {
        self.forced = forced;
    }

    fn note(&mut self, field: impl FnOnce(&mut Scratch) -> &mut String, text: &str) -> &mut Self {
        if self.recording == Recording::All {
            let field = field(self.scratch());
            field.clear();
            field.push_str(crate::label::cut(text, NOTE_BYTES_MAX));
        }
        self
    }
}

/// A little more than any of the noted texts may have, so that cutting one can still be counted.
const NOTE_BYTES_MAX: usize = 2 * crate::limits::SUBJECT_BYTES_MAX;

impl Drop for Run {
    #[inline]
    fn drop(&mut self) {
        if self.open {
            self.let_go(None);
        }
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("strategy", &self.handle.as_ref().map(|handle| &handle.id))
            .field("nodes", &self.nodes)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

const NO_SPAN: (TraceId, SpanId) = (TraceId::INVALID, SpanId::INVALID);
