//! One execution of a strategy, from its start to its end.

use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use opentelemetry::{
    Context,
    trace::{SpanId, TraceContextExt, TraceId},
};
use uuid::Uuid;

use crate::{
    clock::Tick,
    correlation::CorrelationId,
    encode::discard,
    ids,
    in_flight::Slot,
    keep::{Facts, Keep, decide},
    limits::NODES_MAX,
    obs::Recording,
    outcome::{EncodeInput, OK, Outcome, described},
    record::Timestamp,
    recorder::RunEnd,
    run_error::{RunError, RunFailure},
    scratch::{AttributeValue, Node, Scratch},
    sink::{Ack, Kept},
    status::{DropReason, Status},
    strategy::Handle,
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
    pub(crate) strategy: Arc<Handle>,
    recording: Recording,
    started: Tick,
    pub(crate) nodes: u64,
    pub(crate) value: Option<f64>,
    pub(crate) parent: Option<Uuid>,
    pub(crate) span: (TraceId, SpanId),
    pub(crate) scratch: Option<Box<Scratch>>,
    id: Option<(Uuid, Timestamp)>,
    slot: Slot,
    queued_nanos: Option<u64>,
    forced: bool,
    /// The thread was unwinding already when the run started: then a drop is no panic of the run.
    started_in_unwind: bool,
    /// False once the run has ended, and from the start in a dry run.
    open: bool,
}

impl Run {
    pub(crate) fn start(strategy: Arc<Handle>, recording: Recording) -> Self {
        let mut run = Self::replay(strategy, recording);
        if let Some(in_flight) = &run.strategy.core.in_flight
            && run.open
        {
            let has_row = recording == Recording::All;
            let (slot, id) = in_flight.enter(run.strategy.mark, has_row, run.started);
            (run.slot, run.id) = (slot, Some(id));
        }
        run
    }

    /// Starts a run that is over already: it has no slot.
    pub(crate) fn replay(strategy: Arc<Handle>, recording: Recording) -> Self {
        let open = recording != Recording::Nothing;
        if open {
            strategy.core.book.started();
            strategy.series.started();
        }
        let started = strategy.core.clock.now();
        let (span, scratch) = if open { surroundings(recording) } else { OUTSIDE };
        Self {
            span,
            strategy,
            recording,
            started,
            nodes: 0,
            value: None,
            parent: None,
            scratch,
            id: None,
            slot: Slot::NONE,
            queued_nanos: None,
            forced: false,
            started_in_unwind: thread::panicking(),
            open,
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
        if self.is_traced() {
            let offset = self.strategy.core.clock.now().since(self.started);
            self.node_at(id, offset)
        } else {
            self.node_at(id, Duration::ZERO)
        }
    }

    /// Counts a node that began at `offset`.
    pub(crate) fn node_at(&mut self, id: &str, offset: Duration) -> Node<'_> {
        self.nodes = self.nodes.saturating_add(1);
        if !self.is_traced() {
            return Node::untraced();
        }
        let entries_max = self.strategy.core.limits.trace_entries;
        Node::traced(self.scratch(), id, offset, entries_max)
    }

    fn is_traced(&self) -> bool {
        self.recording == Recording::All && self.strategy.core.limits.trace_entries > 0
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
    pub fn add_nodes(&mut self, count: u64) -> &mut Self {
        self.nodes = self.nodes.saturating_add(count);
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
        self.parent = Some(run_id);
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
        self.queued_nanos = Some(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
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
        let clock = &self.strategy.core.clock;
        let (id, _) = *self.id.get_or_insert_with(|| {
            let started_at = clock.wall().before(clock.now().since(self.started));
            (ids::run_id(started_at), started_at)
        });
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

    pub(crate) fn end_as<T, E: RunError>(
        &mut self,
        result: &Result<T, E>,
        input: Option<&dyn EncodeInput>,
    ) -> Option<Ack> {
        match result {
            Ok(_) => self.end(&OK, input),
            Err(error) => self.end(&Outcome::of_error(error), input),
        }
    }

    pub(crate) fn end_described<T, E>(
        &mut self,
        result: &Result<T, E>,
        describe: impl FnOnce(&E) -> RunFailure,
        input: Option<&dyn EncodeInput>,
    ) {
        let described = result.as_ref().map_err(|error| described(error, describe));
        self.end_as(&described, input);
    }

    /// Waits for what its sink has promised of an ended run.
    pub(crate) fn durable<T, E>(
        &self,
        result: Result<T, E>,
        ack: Option<Ack>,
    ) -> impl Future<Output = (Result<T, E>, Option<Ack>)> + use<T, E> {
        let sink = &self.strategy.core.sink;
        // A sink that panics promises nothing more.
        let durable = ack.and_then(|ack| {
            catch_unwind(AssertUnwindSafe(|| sink.durable(ack))).map_err(discard).ok()
        });
        async move {
            match durable {
                Some(durable) => (result, Some(durable.await)),
                None => (result, ack),
            }
        }
    }

    /// What happens when a run ends, in order; the diagram of the whole system is this function.
    pub(crate) fn end(
        &mut self,
        outcome: &Outcome<'_>,
        input: Option<&dyn EncodeInput>,
    ) -> Option<Ack> {
        if !std::mem::take(&mut self.open) {
            return None;
        }
        // 1 The time, before anything else costs some.
        let nanos = match outcome.took_nanos {
            Some(took) => took,
            None => self.strategy.core.clock.now().nanos_since(self.started),
        };
        self.nodes = self.nodes.min(NODES_MAX);
        //   What must not be a label is none; a run that is ok has no error type to look at.
        let safe = self.strategy.core.rules.outcome(outcome);
        let outcome = safe.as_ref().unwrap_or(outcome);
        // 2 Every run is measured: one fewer in flight, duration, nodes, error.
        self.measure(outcome, nanos);
        // 3 The decision: pure, from the policy and the facts.
        let keep = self.decide(outcome.status, nanos);
        // 4 A run that is not kept is one word in the ledger; one that is kept becomes a record,
        //   and the record goes to the sink.
        let ack = match keep {
            None => {
                self.strategy.core.book.not_kept(outcome.status);
                None
            }
            Some(keep) => Some(self.hand_off(outcome, Duration::from_nanos(nanos), &keep, input)),
        };
        // 5 The next run of this thread takes the buffer over.
        if let Some(scratch) = self.scratch.take() {
            scratch.give_back();
        }
        // 6 Last, so that a process that is killed before leaves a trace of the run: a lost row at
        //   worst, which the run's own row wins over.
        if let Some(in_flight) = &self.strategy.core.in_flight {
            in_flight.leave(self.slot);
        }
        ack
    }

    fn measure(&self, outcome: &Outcome<'_>, nanos: u64) {
        self.strategy.series.ended(&RunEnd {
            status: outcome.status,
            nanos,
            nodes: self.nodes,
            queued_nanos: self.queued_nanos,
            error_type: outcome.error_type.as_deref(),
        });
    }

    fn decide(&self, status: Status, nanos: u64) -> Option<Keep> {
        let shared = &self.strategy;
        let facts = Facts {
            status,
            nanos,
            forced: self.forced,
            first: shared.takes_first(),
            // Always drawn, so that one slow run does not shift the choice of all later ones.
            draw: shared.core.sampler.draw(),
        };
        decide(&shared.policy, &facts)
    }

    fn hand_off(
        &mut self,
        outcome: &Outcome<'_>,
        duration: Duration,
        keep: &Keep,
        input: Option<&dyn EncodeInput>,
    ) -> Ack {
        let shared = Arc::clone(&self.strategy);
        let core = &shared.core;
        let ticket = core.book.kept(outcome.status, shared.series.drops());
        if self.recording == Recording::MetricsOnly {
            ticket.dropped(DropReason::Disabled);
            return Ack::Refused(DropReason::Disabled);
        }
        // A run may end while its thread unwinds, where a second panic would end the process. If a
        // sink panics, the ticket it held counts the record as abandoned.
        let handed = catch_unwind(AssertUnwindSafe(|| {
            let record = self.assemble(outcome, duration, keep, input);
            core.sink.submit(Kept { record, ticket })
        }));
        handed.unwrap_or_else(|payload| {
            discard(payload);
            Ack::Refused(DropReason::Abandoned)
        })
    }

    /// Id and start, from the id that was asked for, the time that was given, or the clock.
    pub(crate) fn identity(
        &mut self,
        outcome: &Outcome<'_>,
        duration: Duration,
    ) -> (Uuid, Timestamp) {
        let clock = &self.strategy.core.clock;
        *self.id.get_or_insert_with(|| {
            let started_at = outcome.started_at.unwrap_or_else(|| clock.wall().before(duration));
            (ids::run_id(started_at), started_at)
        })
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

    /// Ends a run that nobody finished.
    pub(crate) fn let_go(&mut self, input: Option<&dyn EncodeInput>) {
        if !self.open {
            return;
        }
        let panicked = thread::panicking() && !self.started_in_unwind;
        self.end(
            &Outcome::bare(if panicked { Status::Panicked } else { Status::Cancelled }),
            input,
        );
    }
}

/// A little more than any of the noted texts may have, so that cutting one can still be counted.
const NOTE_BYTES_MAX: usize = 2 * crate::limits::SUBJECT_BYTES_MAX;

impl Drop for Run {
    fn drop(&mut self) {
        self.let_go(None);
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("strategy", &self.strategy.id)
            .field("nodes", &self.nodes)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// What is going on where a run starts: the W3C ids of the span, and a scratch with the correlation id
/// if there is one.
type Surroundings = ((TraceId, SpanId), Option<Box<Scratch>>);

const OUTSIDE: Surroundings = ((TraceId::INVALID, SpanId::INVALID), None);

fn surroundings(recording: Recording) -> Surroundings {
    Context::map_current(|context| {
        let span = context.span();
        let ids = span.span_context();
        let scratch = match context.get::<CorrelationId>() {
            Some(id) if recording == Recording::All => Some(correlated(id)),
            _ => None,
        };
        ((ids.trace_id(), ids.span_id()), scratch)
    })
}

/// Out of the way of runs that have none.
#[cold]
fn correlated(id: &CorrelationId) -> Box<Scratch> {
    let mut scratch = Scratch::take();
    scratch.correlation_id.push_str(crate::label::cut(id.as_str(), NOTE_BYTES_MAX));
    scratch
}
