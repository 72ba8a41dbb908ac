//! The errors whose records are only in the spool, by the segment that each was written to.
//!
//! A file that cannot be opened or read now may be fine in a moment: the process is out of descriptors, a
//! disk hiccups, a volume comes back. So its records are *held*, and tried again after a pause that grows
//! ([`retry`]); those of other files are read meanwhile. Pure: no lock, no clock, no I/O.

use std::{collections::VecDeque, time::Duration};

use obs_core::{Tick, Ticket};

use crate::{lanes::Place, retry, spool::Slot};

/// An error whose record is only in the spool.
pub(super) struct Spilled {
    pub(super) ticket: Ticket,
    pub(super) slot: Slot,
    pub(super) place: Place,
}

/// When a place cannot be read: what is done about the others of its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// The file cannot be opened, so there is nothing to be had of it.
    Wait,
    /// They are tried before this one: it may be the only one that cannot be read.
    First,
}

/// All of them.
#[derive(Default)]
pub(super) struct SpilledErrors {
    /// Oldest first. There are as many as there are segments in the spool, at most.
    ready: VecDeque<Group>,
    /// How many records there are in all of those.
    ready_records: usize,
    held: Vec<Held>,
    /// Segments that could not be read when it was tried last.
    failing: usize,
}

/// Those of one segment.
struct Group {
    segment: u64,
    /// The number of the first that came: segments are not numbered in the order in which they are used.
    since: u64,
    records: VecDeque<Spilled>,
    /// How often in a row its file could not be read.
    failures: u32,
}

/// A segment that is not tried before its time.
struct Held {
    group: Group,
    since: Tick,
    pause: Duration,
}

impl SpilledErrors {
    pub(super) fn push(&mut self, spilled: Spilled) {
        let segment = spilled.slot.segment();
        let held = self.held.iter_mut().find(|held| held.group.segment == segment);
        if let Some(held) = held {
            held.group.records.push_back(spilled);
            return;
        }
        self.ready_records += 1;
        // Nearly always the last one.
        if let Some(group) = self.ready.iter_mut().rev().find(|group| group.segment == segment) {
            group.records.push_back(spilled);
            return;
        }
        self.ready.push_back(Group {
            segment,
            since: spilled.place.number,
            records: VecDeque::from([spilled]),
            failures: 0,
        });
    }

    /// How many wait for nothing but room.
    pub(super) const fn ready(&self) -> usize {
        self.ready_records
    }

    /// Where the next one to be read is.
    pub(super) fn next(&self) -> Option<Slot> {
        Some(self.ready.front()?.records.front()?.slot)
    }

    /// Takes the one at this place, if it is still the first of its segment, because its file was read; and
    /// whether that was the last of those that could not be.
    pub(super) fn take(&mut self, slot: Slot) -> Option<(Spilled, bool)> {
        let at = self.find(slot)?;
        let group = self.ready.get_mut(at)?;
        let spilled = group.records.pop_front_if(|first| first.slot == slot)?;
        self.ready_records -= 1;
        let had_failed = std::mem::take(&mut group.failures) > 0;
        self.failing -= usize::from(had_failed);
        if group.records.is_empty() {
            self.ready.remove(at);
        }
        Some((spilled, had_failed && self.failing == 0))
    }

    /// Puts back what was just taken.
    pub(super) fn put_back(&mut self, spilled: Spilled) {
        self.ready_records += 1;
        match self.find(spilled.slot).and_then(|at| self.ready.get_mut(at)) {
            Some(group) => group.records.push_front(spilled),
            None => self.ready.push_front(Group {
                segment: spilled.slot.segment(),
                since: spilled.place.number,
                records: VecDeque::from([spilled]),
                failures: 0,
            }),
        }
    }

    /// Among those that may be read; nearly always the first one.
    fn find(&self, slot: Slot) -> Option<usize> {
        self.ready.iter().position(|group| group.segment == slot.segment())
    }

    /// This place cannot be read: its segment is tried again later. Whether it is the only one that cannot be.
    pub(super) fn hold(&mut self, slot: Slot, now: Tick, others: Others) -> bool {
        let Some(mut group) = self.find(slot).and_then(|at| self.ready.remove(at)) else {
            return false;
        };
        self.ready_records -= group.records.len();
        if others == Others::First {
            group.records.rotate_left(1);
        }
        let is_new = group.failures == 0;
        // No jitter: nobody else is after this file.
        let pause = retry::after(group.failures, 0);
        group.failures = group.failures.saturating_add(1);
        self.held.push(Held { group, since: now, pause });
        self.failing += usize::from(is_new);
        is_new && self.failing == 1
    }

    /// Those that were held for long enough may be tried again. Whether there are any.
    pub(super) fn release_due(&mut self, now: Tick) -> bool {
        self.release(|held| now.since(held.since) >= held.pause)
    }

    /// Somebody waits: all are tried at once, and often at first. Whether there are any.
    pub(super) fn hurry(&mut self) -> bool {
        for group in &mut self.ready {
            group.failures = group.failures.min(1);
        }
        self.release(|held| {
            held.group.failures = 1;
            true
        })
    }

    fn release(&mut self, may_be: impl FnMut(&mut Held) -> bool) -> bool {
        let mut any = false;
        for Held { group, .. } in self.held.extract_if(.., may_be) {
            let at = self.ready.partition_point(|other| other.since < group.since);
            self.ready_records += group.records.len();
            self.ready.insert(at, group);
            any = true;
        }
        any
    }

    /// When one that is held may be tried again.
    pub(super) fn until_due(&self, now: Tick) -> Option<Duration> {
        let rest = |held: &Held| held.pause.saturating_sub(now.since(held.since));
        self.held.iter().map(rest).min()
    }

    /// All of them, held or not.
    pub(super) fn into_all(self) -> impl Iterator<Item = Spilled> {
        let held = self.held.into_iter().map(|held| held.group);
        self.ready.into_iter().chain(held).flat_map(|group| group.records)
    }
}
