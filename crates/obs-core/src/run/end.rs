//! How a run ends, step by step.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use opentelemetry::trace::{SpanId, TraceId};
use uuid::Uuid;

use super::{NOT_QUEUED, Run};
use crate::{
    clock::Clock,
    consistent::{SampleBy, draw_of_text, draw_of_trace},
    current::Current,
    encode::discard,
    ids::{self, Id},
    keep::{Bar, Facts, Keep, decide},
    outcome::{EncodeInput, OK, Outcome, described},
    record::Timestamp,
    recorder::{Figures, KeptRun, RunEnd},
    recording::Recording,
    run_error::{RunError, RunFailure},
    sink::{Ack, Kept},
    span_ids,
    status::{DropReason, Status},
    strategy::StrategyShared,
};

/// A run that ended and is kept.
pub(crate) struct Ended<'a> {
    pub(crate) outcome: &'a Outcome<'a>,
    pub(crate) duration: Duration,
    pub(crate) keep: &'a Keep,
    pub(crate) input: Option<&'a dyn EncodeInput>,
}

impl Run {
    pub(crate) fn end_as<T, E: RunError>(
        &mut self,
        result: &Result<T, E>,
        input: Option<&dyn EncodeInput>,
    ) -> Option<Ack> {
        match result {
            Ok(_) => self.end_held(&OK, input),
            Err(error) => self.end_held(&Outcome::of_error(error), input),
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

    /// Ends a run that holds its strategy. One that does not is ended by its frame.
    pub(crate) fn end_held(
        &mut self,
        outcome: &Outcome<'_>,
        input: Option<&dyn EncodeInput>,
    ) -> Option<Ack> {
        let handle = self.handle.take()?;
        let ack = self.end(&handle, outcome, input);
        handle.leave(self.slot);
        self.handle = Some(handle);
        ack
    }

    /// Waits for what its sink has promised of an ended run.
    pub(crate) fn durable<T, E>(
        &self,
        result: Result<T, E>,
        ack: Option<Ack>,
    ) -> impl Future<Output = (Result<T, E>, Option<Ack>)> + use<T, E> {
        // A sink that panics promises nothing more.
        let durable = ack.zip(self.handle.as_ref()).and_then(|(ack, handle)| {
            let sink = &handle.core.sink;
            catch_unwind(AssertUnwindSafe(|| sink.durable(ack))).map_err(discard).ok()
        });
        async move {
            match durable {
                Some(durable) => (result, Some(durable.await)),
                None => (result, ack),
            }
        }
    }

    /// Ends a run as whatever it is.
    #[inline(never)]
    pub(crate) fn end(
        &mut self,
        strategy: &StrategyShared,
        outcome: &Outcome<'_>,
        input: Option<&dyn EncodeInput>,
    ) -> Option<Ack> {
        self.end_inlined(strategy, outcome, input)
    }

    /// What happens when a run ends, in order; the diagram of the whole system is this function. Where the
    /// outcome is [`OK`], the compiler leaves out what only other outcomes need.
    #[inline(always)]
    pub(crate) fn end_inlined(
        &mut self,
        strategy: &StrategyShared,
        outcome: &Outcome<'_>,
        input: Option<&dyn EncodeInput>,
    ) -> Option<Ack> {
        let mut ack = None;
        if std::mem::take(&mut self.open) {
            // 1 The time, before anything else costs some.
            let nanos = match outcome.took_nanos {
                Some(took) => took,
                None => self.clock.nanos_since(self.started),
            };
            ack = match outcome.error_type {
                None => self.end_open(strategy, outcome, nanos, input),
                Some(_) => self.end_failed(strategy, outcome, nanos, input),
            };
        }
        // 5 The next run of this thread takes the buffer over.
        if let Some(scratch) = self.scratch.take() {
            scratch.give_back();
        }
        ack
    }

    /// An error type that must not be a label is none.
    #[cold]
    #[inline(never)]
    fn end_failed(
        &mut self,
        strategy: &StrategyShared,
        outcome: &Outcome<'_>,
        nanos: u64,
        input: Option<&dyn EncodeInput>,
    ) -> Option<Ack> {
        let safe = strategy.core.rules.outcome(outcome);
        self.end_open(strategy, safe.as_ref().unwrap_or(outcome), nanos, input)
    }

    #[inline(always)]
    fn end_open(
        &mut self,
        strategy: &StrategyShared,
        outcome: &Outcome<'_>,
        nanos: u64,
        input: Option<&dyn EncodeInput>,
    ) -> Option<Ack> {
        // 2 The decision: pure, from the policy and the facts.
        let Some(keep) = self.decide(strategy, outcome.status, nanos) else {
            self.count_end(strategy, outcome, (nanos, false));
            return None;
        };
        let duration = Duration::from_nanos(nanos);
        Some(self.end_kept(strategy, nanos, &Ended { outcome, duration, keep: &keep, input }))
    }

    /// 3 Every run is measured: one fewer in flight, duration, nodes, error. For one that is not kept this counts
    ///   its word in the ledger too.
    #[inline(always)]
    fn count_end(
        &self,
        strategy: &StrategyShared,
        outcome: &Outcome<'_>,
        (nanos, kept): (u64, bool),
    ) {
        let status = outcome.status;
        let figures = Figures { nanos, nodes: self.nodes };
        let is_rare = self.queued_nanos != NOT_QUEUED || status.is_failure();
        if is_rare || !strategy.count_end(status, kept, figures) {
            let queued_nanos = (self.queued_nanos != NOT_QUEUED).then_some(self.queued_nanos);
            let error_type = outcome.error_type.as_deref();
            strategy.count_any_end(&RunEnd { status, figures, queued_nanos, error_type, kept });
        }
    }

    /// 4 A run that is kept becomes a record, and the record goes to the sink.
    #[cold]
    #[inline(never)]
    fn end_kept(&mut self, strategy: &StrategyShared, nanos: u64, ended: &Ended<'_>) -> Ack {
        self.count_end(strategy, ended.outcome, (nanos, true));
        self.hand_off(strategy, ended)
    }

    #[inline(always)]
    fn decide(&mut self, strategy: &StrategyShared, status: Status, nanos: u64) -> Option<Keep> {
        match strategy.bar(status) {
            Some(bar) => self.decide_by(strategy, &bar, (status, nanos)),
            None => self.decide_anew(strategy, status, nanos),
        }
    }

    /// The first decision after the policy has changed.
    #[cold]
    #[inline(never)]
    fn decide_anew(
        &mut self,
        strategy: &StrategyShared,
        status: Status,
        nanos: u64,
    ) -> Option<Keep> {
        let bar = strategy.ask(status);
        self.decide_by(strategy, &bar, (status, nanos))
    }

    /// By one reading of the policy, so that the rate in the row is the one that was drawn for.
    #[inline(always)]
    fn decide_by(
        &mut self,
        strategy: &StrategyShared,
        bar: &Bar,
        (status, nanos): (Status, u64),
    ) -> Option<Keep> {
        let matters = bar.how.draws();
        let mut draw = strategy.core.sampler.draw(matters);
        if matters && let Some(by) = bar.how.by_an_id() {
            draw = self.draw_by(by).unwrap_or(draw);
        }
        let facts =
            Facts { status, nanos, forced: self.forced, first: strategy.takes_first(), draw };
        decide(bar, &facts)
    }

    /// What an id says that others know too, if there is one.
    #[inline(never)]
    fn draw_by(&mut self, by: SampleBy) -> Option<f64> {
        let (trace, _) = self.started_in();
        match by {
            SampleBy::Trace if trace != TraceId::INVALID => {
                Some(draw_of_trace(u128::from_be_bytes(trace.to_bytes())))
            }
            // Whom the run called knows its own trace.
            SampleBy::Trace => {
                self.known_id().map(|(id, _)| draw_of_trace(span_ids::trace_id_of(id)))
            }
            _ => {
                let id = &self.scratch.as_ref()?.correlation_id;
                (!id.is_empty()).then(|| draw_of_text(id))
            }
        }
    }

    fn hand_off(&mut self, strategy: &StrategyShared, ended: &Ended<'_>) -> Ack {
        let core = &strategy.core;
        let ticket = core.book.kept(ended.outcome.status, strategy.series.drops());
        if self.recording == Recording::MetricsOnly {
            ticket.dropped(DropReason::Disabled);
            return Ack::Refused(DropReason::Disabled);
        }
        // A run may end while its thread unwinds, where a second panic would end the process. If a
        // sink panics, the ticket it held counts the record as abandoned.
        let handed = catch_unwind(AssertUnwindSafe(|| {
            let id = self.identity(ended.outcome.started_at, ended.duration);
            let span = self.span_of(id.0);
            let kept = self.assemble(strategy, (ended, ticket), id, span);
            let Kept { record, .. } = &kept;
            let run = KeptRun {
                status: record.status,
                duration: record.duration,
                run_id: record.run_id,
                span,
                at: record.finished_at,
            };
            let ack = core.sink.submit(kept);
            if !matches!(ack, Ack::Refused(_)) {
                strategy.series.kept(&run);
            }
            ack
        }));
        handed.unwrap_or_else(|payload| {
            discard(payload);
            Ack::Refused(DropReason::Abandoned)
        })
    }

    /// Id and start, from the id that was asked for, the time that was given, or the clock.
    pub(crate) fn identity(
        &mut self,
        started_at: Option<Timestamp>,
        age: Duration,
    ) -> (Uuid, Timestamp) {
        if let Some(id) = self.known_id() {
            return id;
        }
        let id = Current::made(self.address()).unwrap_or_else(|| {
            let started_at = started_at.unwrap_or_else(|| self.clock.wall().before(age));
            (ids::run_id(started_at), started_at)
        });
        Current::tell(self.address(), id);
        self.id = Id::Known(id.0, id.1);
        id
    }

    /// The span that the run started in, or the one that it is where it started in none.
    pub(crate) fn span_of(&mut self, run_id: Uuid) -> (TraceId, SpanId) {
        match self.started_in() {
            (TraceId::INVALID, _) => span_ids::own(run_id),
            started_in => started_in,
        }
    }

    /// How many entries its trace may have.
    pub(crate) const fn entries_max(&self) -> usize {
        self.entries_max as usize
    }

    /// The id, where it is settled already.
    pub(crate) fn known_id(&self) -> Option<(Uuid, Timestamp)> {
        match self.id {
            Id::Unknown => None,
            Id::Seeded(seed) => Some(seed.id_at(self.clock.rate().nanos(self.started))),
            Id::Known(id, started_at) => Some((id, started_at)),
        }
    }

    /// What tells this run from every other one while nobody moves it.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// A log line of this run named it so.
    #[cold]
    pub(crate) fn take_id(&mut self, made: (Uuid, Timestamp)) {
        if let Id::Unknown = self.id {
            self.id = Id::Known(made.0, made.1);
        }
    }

    /// The system's clock needs no dropping; one for tests does.
    #[inline]
    pub(crate) fn let_go_of_clock(&mut self) {
        self.clock.let_go();
    }

    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether a frame that records so may end this run: it was begun by one that does.
    pub(crate) fn may_end_in_frame(&self, recording: Recording) -> bool {
        self.in_frame == Some(recording)
    }

    /// How a run ends that nobody finished.
    pub(crate) fn bare_end(&self) -> Outcome<'static> {
        let panicked = thread::panicking() && !self.started_in_unwind;
        Outcome::bare(if panicked { Status::Panicked } else { Status::Cancelled })
    }

    /// Ends a run that nobody finished.
    #[cold]
    pub(crate) fn let_go(&mut self, input: Option<&dyn EncodeInput>) {
        if self.open {
            self.end_held(&self.bare_end(), input);
        }
    }
}
