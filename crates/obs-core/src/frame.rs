//! A run whose strategy is borrowed: what `observe` keeps on the stack while the body runs.
//!
//! Holding the strategy takes a reference count at the start and one at the end, on a cache line that
//! other threads may count on too. A frame ends before the borrow of its strategy does, so it needs none.

use std::{
    any::Any,
    mem::{self, ManuallyDrop},
};

use serde::Serialize;

use crate::{
    clock::Reading,
    current::{Current, Made},
    in_flight::Taken,
    outcome::{OK, Outcome, Owned},
    recording::Recording,
    run::Run,
    run_error::RunError,
    strategy::StrategyShared,
};

/// A run in flight and what it was started with. It ends exactly once: with a result, a panic, or when
/// it is dropped.
pub(crate) struct Frame<'a, I: Serialize + ?Sized> {
    strategy: &'a StrategyShared,
    input: &'a I,
    started: Reading,
    slot: Option<Taken<'a>>,
    recording: Recording,
    /// Its end leaves nothing behind that would have to be dropped.
    pub(crate) run: ManuallyDrop<Run>,
    /// The id that a log line asked for.
    pub(crate) made: Option<Made>,
    ended: bool,
}

/// A run whose body knows it.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    strategy: &'a StrategyShared,
    run: usize,
    started: Reading,
}

impl Here<'_> {
    /// Runs the body, or a part of it, which must not panic; then `made` is the id that somebody asked for.
    #[inline(never)]
    pub(crate) fn within<T>(self, made: &mut Option<Made>, body: impl FnOnce() -> T) -> T {
        let clock = &self.strategy.core.clock;
        let outer = Current::new(self.run, clock, self.started, *made).enter();
        let output = body();
        *made = Current::leave(outer);
        output
    }
}

impl<'a, I: Serialize + ?Sized> Frame<'a, I> {
    #[inline(always)]
    pub(crate) fn new(strategy: &'a StrategyShared, recording: Recording, input: &'a I) -> Self {
        let started = Run::count_start(strategy, recording);
        let run = ManuallyDrop::new(Run::begun(strategy, started, recording));
        Self { strategy, input, started, slot: None, recording, run, made: None, ended: false }
    }

    /// Lets others know of the run, if anybody asks: takes a slot among the runs in flight, and says where the run
    /// is while its body runs, if log lines may ask for it. A step of its own, so that a frame is made where it
    /// stays.
    #[inline(always)]
    pub(crate) fn enter(&mut self) -> Option<Here<'a>> {
        if self.strategy.core.is_watched { self.enter_watched() } else { None }
    }

    #[inline(always)]
    fn enter_watched(&mut self) -> Option<Here<'a>> {
        self.run.take_slot(self.strategy, &mut self.slot);
        self.strategy.core.current_run.then(|| {
            self.made = self.run.known_id();
            Here { strategy: self.strategy, run: self.run.address(), started: self.started }
        })
    }

    #[inline(always)]
    pub(crate) fn finish<T, E: RunError>(&mut self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.end_ok(),
            Err(error) => self.end(&Outcome::of_error(error)),
        }
    }

    #[cold]
    pub(crate) fn panicked(&mut self, payload: &(dyn Any + Send)) {
        self.end(&Outcome::panicked(payload));
    }

    #[inline(always)]
    fn end_ok(&mut self) {
        self.begin_end();
        self.run.end_inlined(self.strategy, &OK, Some(&Owned(&self.input)));
        self.end_end();
    }

    #[inline(always)]
    fn end_end(&mut self) {
        self.run.let_go_of_clock();
        // The last step, so that a process that is killed before leaves a trace of the run: a lost row at worst,
        // which the run's own row wins over.
        if let Some(slot) = self.slot {
            slot.leave();
        }
    }

    #[inline(always)]
    fn begin_end(&mut self) {
        self.ended = true;
        if let Some(made) = self.made {
            self.run.take_id(made);
        }
        if !self.run.may_end_in_frame(self.recording) {
            self.expel();
        }
    }

    fn end(&mut self, outcome: &Outcome<'_>) {
        self.begin_end();
        self.run.end(self.strategy, outcome, Some(&Owned(&self.input)));
        self.end_end();
    }

    #[cold]
    fn let_go(&mut self) {
        let outcome = self.run.bare_end();
        self.end(&outcome);
    }

    /// The body put another run in the place of ours. That one ends as it would anywhere else; ours is
    /// wherever the body moved it and cannot end there, so one like it ends here.
    #[cold]
    fn expel(&mut self) {
        let ours = Run::begun(self.strategy, self.started, self.recording);
        drop(mem::replace(&mut *self.run, ours));
    }
}

impl<I: Serialize + ?Sized> Drop for Frame<'_, I> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.let_go();
        }
    }
}
