//! Errors that are only in the spool: how they leave the lanes out, and how they come back.

use std::{
    io,
    sync::{PoisonError, TryLockError},
    time::Duration,
};

use obs_core::{Ack, Adopter, Class, DropReason, RunRecord, Tick, Ticket, Timestamp};

use super::{Content, Queued, Shared, Spilled, State, Taken, Worker, spilled::Others};
use crate::{
    lanes::Limit,
    spool::{Orphans, ReadError, Slot, Spool},
    sync::MutexGuard,
    waiters::Fate,
};

/// How many records of dead processes are taken over ahead of what is written: their tickets and
/// places are in memory.
const ADOPTED_AHEAD: usize = 10_000;

/// How many places of a segment that cannot be read are tried one after the other, before others have their turn: each
/// may keep the worker for seconds. At the end nothing comes after them.
const UNREAD_IN_A_ROW: usize = 16;

/// How often a process looks for spools of dead ones, so that those of a fleet find a living heir. By the
/// calendar.
const LOOK_EVERY_MICROS: i64 = 60_000_000;

/// How far the records of dead processes are taken over.
#[derive(Default)]
pub(super) enum Adoption {
    /// Nobody has given us books.
    #[default]
    Unknown,
    /// The spool is to be searched.
    Begun(Adopter),
    Running(Adopter, Orphans),
    /// All was taken over that was there at that time.
    Done(Adopter, Timestamp),
}

impl State {
    /// What waits: in the lanes, or only in the spool, but for what cannot be read back now.
    pub(super) fn waiting(&self) -> Limit {
        let Limit { records, bytes } = self.lanes.waiting();
        Limit { records: records + self.spilled.ready(), bytes }
    }

    /// Whether errors wait, in the lanes or only in the spool.
    pub(super) fn has_errors(&self) -> bool {
        self.lanes.has_errors() || self.spilled.ready() > 0
    }

    /// Lets those be tried again that could not be read back or set aside, if it is time.
    pub(super) fn try_held(&mut self, now: Tick) {
        if self.spilled.release_due(now) {
            self.waiting_since.get_or_insert(now);
        }
        self.try_quarantine(now);
    }

    /// Lets all of them be tried again, because somebody waits.
    pub(super) fn hurry(&mut self, now: Tick) {
        self.set_back.hurry();
        if self.spilled.hurry() {
            self.waiting_since.get_or_insert(now);
        }
    }

    /// What becomes of an error that finds no room: in the spool it waits, or stays for the next
    /// process. Gives back what is lost.
    pub(super) fn spill(
        &mut self,
        queued: Queued,
        reason: DropReason,
    ) -> Option<(Ticket, DropReason)> {
        let Queued { ticket, slot, .. } = queued;
        let Some(slot) = slot else { return Some((ticket, reason)) };
        if reason == DropReason::Closed {
            ticket.stays();
        } else {
            let place = self.lanes.spill();
            self.spilled.push(Spilled { ticket, slot, place });
        }
        None
    }
}

impl Shared {
    /// Puts a record into the lanes; one that is in the spool always finds a place.
    pub(super) fn enqueue(
        &self,
        queued: Queued,
        class: Class,
        bytes: usize,
    ) -> Result<(), (Ticket, DropReason)> {
        let mut state = self.lock();
        let before = state.waiting();
        let first_error = class == Class::Error && !state.has_errors();
        // What came before is only in the spool: so is this, or it would overtake.
        let refused = if queued.slot.is_some() && state.spilled.ready() > 0 {
            Some((queued, DropReason::QueueFull))
        } else {
            let refused = state.lanes.offer(queued, class, bytes).err();
            refused.map(|refused| (refused.value, refused.reason))
        };
        let lost = refused.and_then(|(queued, reason)| state.spill(queued, reason));
        let after = state.waiting();
        if state.waiting_since.is_none() && after.records > 0 {
            state.waiting_since = Some(self.clock.now());
        }
        let (before, after) = (super::pair(before), super::pair(after));
        let wakes = crate::batch::wakes(&self.batch, &state.pace, before, after, first_error);
        drop(state);
        if wakes {
            self.work.notify_one();
        }
        lost.map_or(Ok(()), Err)
    }

    /// Reads spilled errors back for as long as the lanes have room, one batch at most. Only the
    /// worker does this, so those of a segment keep their order. What cannot be read now stays where it is.
    pub(super) fn bring_back(&self) {
        let Some(spool) = &self.spool else { return };
        let mut buffer = Vec::new();
        for _ in 0..self.batch.records {
            let state = self.lock();
            let Some(slot) = state.spilled.next() else { return };
            // The record takes up no more than itself and what its frame holds.
            if !state.lanes.has_room_for_error(size_of::<RunRecord>() + slot.bytes()) {
                return;
            }
            drop(state);
            // It stays the first meanwhile, or a new error would go straight into the lanes and overtake.
            let read = spool.read(slot, &mut buffer).map(Box::new);
            let goes_on = match read {
                Err(ReadError::Io(error)) => self.hold(slot, &error, |_| Others::Wait),
                Err(ReadError::Place(error)) => self.hold(slot, &error, |is_open| {
                    Others::First(if is_open { UNREAD_IN_A_ROW } else { usize::MAX })
                }),
                read => self.put_into_lanes(slot, read.ok()),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// This place cannot be read now, which says nothing about what is there, and what is done about its others may
    /// depend on whether this is the end. Always `true`: there may be more in other files.
    fn hold(&self, slot: Slot, error: &io::Error, others: impl FnOnce(bool) -> Others) -> bool {
        let mut state = self.lock();
        let others = others(state.lanes.is_open());
        let is_first = state.spilled.hold(slot, self.clock.now(), others);
        drop(state);
        if is_first {
            tracing::warn!(%error, "errors cannot be read back from the spool; they stay there and are tried again");
        }
        true
    }

    /// Takes a spilled error into the lanes, or counts it as lost: its file was read, and this is no frame.
    /// Whether there is room for more.
    fn put_into_lanes(&self, slot: Slot, record: Option<Box<RunRecord>>) -> bool {
        let mut state = self.lock();
        // The end may have settled it meanwhile.
        let Some((spilled, all_can_be_read)) = state.spilled.take(slot) else { return false };
        let Spilled { ticket, slot, place } = spilled;
        let goes_on = if let Some(record) = record {
            let bytes = record.bytes();
            let content = Content::Record(record);
            let queued = Queued { content, ticket, slot: Some(slot) };
            let refused = state.lanes.bring_back(queued, bytes, place).err();
            let goes_on = refused.is_none();
            if let Some(Queued { ticket, .. }) = refused {
                state.spilled.put_back(Spilled { ticket, slot, place });
            }
            goes_on
        } else {
            let taken = Taken { ticket, place, slot: Some(slot), mark: None };
            self.settle_one(&mut state, taken, Fate::Lost(DropReason::SpoolIo));
            true
        };
        super::release(state);
        if all_can_be_read {
            tracing::info!("errors can be read back from the spool again");
        }
        goes_on
    }

    /// How long the worker may rest before it should try again to read or set aside what it could not.
    pub(crate) fn until_tried_again(&self, rest: Duration) -> Duration {
        let (state, now) = (self.lock(), self.clock.now());
        let due = [state.spilled.until_due(now), state.set_back.until_due(now)];
        due.into_iter().flatten().fold(rest, Duration::min)
    }

    /// Somebody keeps the books from now on: what dead processes left can be entered.
    pub(super) fn adopt_for(&self, books: Adopter) {
        if self.spool.is_some() {
            *self.adoption() = Adoption::Begun(books);
            self.work.notify_one();
        }
    }

    pub(super) fn adoption(&self) -> MutexGuard<'_, Adoption> {
        self.adoption.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether some of what dead processes left is not entered yet. Never waits: somebody who is at it now
    /// has not come to its end.
    pub(crate) fn is_adopting(&self) -> bool {
        match self.adoption.try_lock() {
            Ok(adoption) => matches!(*adoption, Adoption::Begun(_) | Adoption::Running(..)),
            Err(TryLockError::Poisoned(_)) => false,
            Err(TryLockError::WouldBlock) => true,
        }
    }

    /// How long the worker may rest before it should look for dead processes again.
    pub(crate) fn until_look(&self, now: Timestamp) -> Option<Duration> {
        let Adoption::Done(_, then) = &*self.adoption() else { return None };
        let passed = now.as_micros().saturating_sub(then.as_micros());
        let rest = LOOK_EVERY_MICROS.saturating_sub(passed).clamp(1_000, LOOK_EVERY_MICROS);
        Some(Duration::from_micros(rest.unsigned_abs()))
    }

    /// Takes over records of dead processes, as many as may wait; for the worker.
    pub(crate) fn adopt_some(&self, now: Timestamp) {
        let (Some(spool), true) = (&self.spool, self.is_open()) else { return };
        let mut adoption = self.adoption();
        *adoption = match std::mem::take(&mut *adoption) {
            Adoption::Begun(books) => {
                let orphans = spool.orphans(&books);
                Adoption::Running(books, orphans)
            }
            Adoption::Done(books, then) if is_due(then, now) => {
                let orphans = spool.orphans(&books);
                Adoption::Running(books, orphans)
            }
            other => other,
        };
        let Adoption::Running(books, orphans) = &mut *adoption else { return };
        while !orphans.is_empty()
            && orphans.has_room()
            && self.lock().spilled.ready() < ADOPTED_AHEAD
        {
            let adopted = orphans.adopt_next(books);
            let mut state = self.lock();
            if state.worker == Worker::Closed {
                // The end came meanwhile: the next process may have them.
                adopted.into_iter().for_each(|(ticket, _)| ticket.stays());
                return;
            }
            for (ticket, slot) in adopted {
                let place = state.lanes.spill();
                state.spilled.push(Spilled { ticket, slot, place });
            }
            if state.waiting_since.is_none() && state.spilled.ready() > 0 {
                state.waiting_since = Some(self.clock.now());
            }
        }
        if orphans.is_done()
            && let Adoption::Running(books, _) = std::mem::take(&mut *adoption)
        {
            *adoption = Adoption::Done(books, now);
        }
    }

    /// What is promised of an error now.
    pub(crate) fn error_ack(&self) -> Ack {
        self.spool.as_ref().map_or(Ack::Memory, Spool::outlook)
    }

    /// Nobody will settle anything any more: the next process may have what is left.
    pub(crate) fn leave_spool(&self) {
        if let Some(spool) = &self.spool {
            // The worker may be at it, on a disk that takes its time to fail.
            spool.stop_looks();
            *self.adoption() = Adoption::Unknown;
            spool.leave();
        }
    }

    /// The worker's last act: what the spool holds is synced, and what it does not need goes.
    pub(crate) fn close_spool(&self) {
        if let Some(spool) = &self.spool {
            spool.close();
        }
    }
}

/// Whether it is time for another look; a calendar that went back is no reason to wait.
const fn is_due(then: Timestamp, now: Timestamp) -> bool {
    let passed = now.as_micros().saturating_sub(then.as_micros());
    passed < 0 || passed >= LOOK_EVERY_MICROS
}

#[cfg(test)]
mod tests;
