//! How the next batch leaves the lanes for the worker.

use std::vec::Drain;

use obs_core::{Class, DropReason, RunRecord};

use super::{CHUNK, Content, Queued, Shared, State, Taken};
use crate::{batch::BatchLimits, spool::Spool, store, waiters::Fate};

/// The batch that is being put together.
struct Taking {
    records: Vec<RunRecord>,
    /// What was taken and is no record yet; their tickets are in flight, behind those of `records`.
    contents: Vec<Content>,
    bytes: usize,
}

impl Shared {
    /// Moves the next batch out of the lanes: the records to the caller, their tickets in flight.
    pub(crate) fn take_batch(&self) -> Vec<RunRecord> {
        let mut state = self.lock();
        debug_assert!(state.in_flight.iter().all(Option::is_none), "a batch is still in flight");
        state.in_flight.clear();
        drop(state);
        self.bring_back();
        let waiting = self.lock().lanes.waiting().records;
        let mut taking = Taking {
            records: Vec::with_capacity(waiting.min(self.batch.records)),
            contents: Vec::with_capacity(CHUNK),
            bytes: 0,
        };
        loop {
            let goes_on = self.lock().take_chunk(&self.batch, &mut taking);
            let Taking { records, contents, .. } = &mut taking;
            self.unpack(contents.drain(..), records);
            if !goes_on {
                return taking.records;
            }
        }
    }

    /// Outside of the lock: this takes a microsecond or more each.
    fn unpack(&self, contents: Drain<'_, Content>, records: &mut Vec<RunRecord>) {
        for content in contents {
            let unpacked = match content {
                Content::Record(record) => Ok(*record),
                Content::Frame(written) => Spool::unpack(&written),
            };
            match unpacked {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::error!(error = %store::chain(&error), "a record is not what was written to the spool");
                    self.lose(records.len());
                }
            }
        }
    }

    /// What is in flight at this place has no record, so those behind it move up.
    fn lose(&self, at: usize) {
        let mut state = self.lock();
        // The end may have settled all of them meanwhile.
        if at < state.in_flight.len()
            && let Some(taken) = state.in_flight.remove(at)
        {
            self.settle_one(&mut state, taken, Fate::Lost(DropReason::SpoolIo));
            self.room.notify_all();
        }
        super::release(state);
    }
}

impl State {
    /// Takes some under one hold of the lock. Whether there may be more for this batch.
    fn take_chunk(&mut self, limits: &BatchLimits, taking: &mut Taking) -> bool {
        for _ in 0..CHUNK {
            let taken = taking.records.len() + taking.contents.len();
            if taken >= limits.records {
                return false;
            }
            let is_suspect = self.is_suspect_next();
            // A record that is larger than a batch is a batch of its own.
            let room =
                if taken == 0 { usize::MAX } else { limits.bytes.saturating_sub(taking.bytes) };
            // A suspect is a batch of its own: the batch that has begun goes on without it.
            let goes_on_without = is_suspect && taken > 0;
            let item = if goes_on_without {
                self.lanes.take_of(Class::Ok, room)
            } else {
                self.lanes.take(room)
            };
            let Some(item) = item else {
                if self.waiting().records == 0 {
                    self.waiting_since = None;
                }
                return false;
            };
            taking.bytes += item.place.bytes;
            let Queued { content, ticket, slot } = item.value;
            let mark = match &content {
                Content::Record(record) if slot.is_none() => {
                    self.under_way.note(record.run_id, ticket.class())
                }
                _ => None,
            };
            self.in_flight.push(Some(Taken { ticket, place: item.place, slot, mark }));
            taking.contents.push(content);
            if is_suspect && !goes_on_without {
                return false;
            }
        }
        true
    }
}
