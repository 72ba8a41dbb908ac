//! Errors that the worker had and could neither write nor set aside: in the spool they are as before, so they
//! are tried again.
//!
//! * Their batch made the worker panic. From then on each of them is a *suspect*, which is a batch of its own: the
//!   next panic tells which one it was, and that one stays for the next process.
//! * The quarantine cannot be written now. One of them is tried after a pause that grows ([`retry`]); each that is
//!   taken, by the quarantine or by a store that was mended, brings some of the others with it.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
    time::Duration,
};

use obs_core::{DropReason, Tick};

use super::{CHUNK, Shared, Spilled, State, Taken};
use crate::{retry, spool::Slot, waiters::Fate};

/// What is known of them.
#[derive(Default)]
pub(super) struct SetBack {
    /// Unsettled errors that were with a worker when it panicked.
    suspects: HashSet<Slot>,
    /// Those that wait for the quarantine.
    waiting: VecDeque<Spilled>,
    /// How often in a row one was tried in vain.
    failures: u32,
    /// The one that was tried last, and when; `None` when one may be tried at once.
    tried: Option<Slot>,
    tried_at: Option<Tick>,
    /// Something was written since the last panic.
    has_written: bool,
}

/// What became of the batch of a worker that panicked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Abandoned {
    /// Only in memory.
    pub(crate) lost: usize,
    /// In the spool.
    pub(crate) tried_again: usize,
    /// In the spool as well, and with a worker that panicked for the second time.
    pub(crate) left: usize,
    /// Whether something was written since the panic before.
    pub(crate) has_written: bool,
}

impl Abandoned {
    /// The panic told which record it was and cost nothing else: there are at most as many of those as there were
    /// suspects.
    pub(crate) const fn has_found_one(&self) -> bool {
        self.left > 0 && self.tried_again == 0 && self.lost == 0
    }
}

impl SetBack {
    /// It is settled. Those that are tried with it, if the store took the one that waited for the quarantine.
    pub(super) fn settled(&mut self, slot: Slot, fate: Fate) -> Vec<Spilled> {
        if !self.suspects.is_empty() {
            self.suspects.remove(&slot);
        }
        if fate != Fate::Persisted || self.tried != Some(slot) {
            return Vec::new();
        }
        self.tried = None;
        self.take_some()
    }

    fn wait(&mut self, spilled: Spilled, now: Tick) {
        // Others that come meanwhile say nothing new.
        if self.failures == 0 || self.tried == Some(spilled.slot) {
            self.failures = self.failures.saturating_add(1);
        }
        self.tried_at = Some(now);
        self.waiting.push_back(spilled);
    }

    /// The one to be tried now, if any.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<Spilled> {
        if self.until_due(now)? > Duration::ZERO {
            return None;
        }
        let spilled = self.waiting.pop_front()?;
        (self.tried, self.tried_at) = (Some(spilled.slot), Some(now));
        Some(spilled)
    }

    /// When the next one may be tried, if any waits.
    pub(super) fn until_due(&self, now: Tick) -> Option<Duration> {
        self.waiting.front()?;
        // No jitter: nobody else is after this folder.
        let pause = retry::after(self.failures.saturating_sub(1), 0);
        let rest = |at| pause.saturating_sub(now.since(at));
        Some(self.tried_at.map_or(Duration::ZERO, rest))
    }

    /// Somebody waits: one is tried at once, and often at first.
    pub(super) fn hurry(&mut self) {
        self.failures = self.failures.min(1);
        self.tried_at = None;
    }

    /// Some of those that wait, for one was taken: not all under one hold of the lock, and it may be that there
    /// was room for one only.
    fn take_some(&mut self) -> Vec<Spilled> {
        self.failures = 0;
        self.waiting.drain(..self.waiting.len().min(CHUNK)).collect()
    }

    pub(super) const fn wrote(&mut self) {
        self.has_written = true;
    }

    pub(super) fn into_waiting(self) -> impl Iterator<Item = Spilled> {
        self.waiting.into_iter()
    }
}

impl State {
    /// Whether the next record is a suspect.
    pub(super) fn is_suspect_next(&self) -> bool {
        let suspects = &self.set_back.suspects;
        !suspects.is_empty()
            && self
                .lanes
                .peek()
                .and_then(|next| next.slot)
                .is_some_and(|slot| suspects.contains(&slot))
    }

    /// What the worker had is only in the spool again.
    fn take_back(&mut self, taken: Taken, slot: Slot) -> Spilled {
        let place = self.lanes.take_back(taken.place);
        Spilled { ticket: taken.ticket, slot, place }
    }

    pub(super) fn try_again(&mut self, spilled: impl IntoIterator<Item = Spilled>, now: Tick) {
        for spilled in spilled {
            self.spilled.push(spilled);
            self.waiting_since.get_or_insert(now);
        }
    }

    /// Lets one be tried again that waits for the quarantine, if it is time.
    pub(super) fn try_quarantine(&mut self, now: Tick) {
        let due = self.set_back.take_due(now);
        self.try_again(due, now);
    }
}

impl Shared {
    /// The worker panicked: what became of the rest of its batch is not known.
    pub(crate) fn abandon(&self) -> Abandoned {
        let mut state = self.lock();
        let has_written = std::mem::take(&mut state.set_back.has_written);
        let all = Range { start: 0, end: state.in_flight.len() };
        drop(state);
        let mut became = Abandoned { has_written, ..Abandoned::default() };
        self.for_each_in_flight(all, |state, taken| match taken.slot {
            Some(slot) if state.set_back.suspects.insert(slot) => {
                became.tried_again += 1;
                let spilled = state.take_back(taken, slot);
                state.try_again([spilled], self.clock.now());
            }
            slot => {
                let count = if slot.is_some() { &mut became.left } else { &mut became.lost };
                *count += 1;
                self.settle_one(state, taken, Fate::Lost(DropReason::Abandoned));
            }
        });
        became
    }

    /// The quarantine cannot be written now. Whether this record of the batch waits for it in the spool.
    pub(crate) fn waits_for_quarantine(&self, at: usize) -> bool {
        let mut waits = false;
        let now = self.clock.now();
        let mut state = self.lock();
        let is_in_spool = |taken: &mut Taken| taken.slot.is_some();
        let taken = state.in_flight.get_mut(at).and_then(|taken| taken.take_if(is_in_spool));
        if let Some(taken) = taken
            && let Some(slot) = taken.slot
        {
            let spilled = state.take_back(taken, slot);
            state.set_back.wait(spilled, now);
            waits = true;
        }
        drop(state);
        self.room.notify_all();
        waits
    }

    /// The quarantine was written: some of those that wait for it are tried again, and more with each that is taken.
    pub(crate) fn quarantine_works(&self) {
        let mut state = self.lock();
        let some = state.set_back.take_some();
        state.try_again(some, self.clock.now());
    }
}

#[cfg(test)]
mod tests;
