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
    /// They are tried before this one, and before those of its page, at least so many in a row: it may be the only one
    /// that cannot be read.
    First(usize),
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
    blocks: VecDeque<Block>,
    records: usize,
    /// How often in a row its file could not be read.
    failures: u32,
    /// How many of the last ones could not be, since it was tried, or are beside one that could not.
    turned: usize,
    /// How many of those were tried.
    in_vain: usize,
}

/// Some of a segment, in little memory: they are all that a long outage leaves in it, and their number is
/// bounded by the bytes of the spool alone.
struct Block {
    /// The number of the first.
    base: u64,
    packed: VecDeque<Packed>,
}

struct Packed {
    ticket: Ticket,
    offset: u32,
    units: u16,
    /// How much later than the block's first it came.
    later: u16,
}

/// What an error costs in memory while its record is only in the spool.
const _: () = assert!(size_of::<Packed>() <= 32);

/// More do not move when there are more.
const BLOCK_MAX: usize = 256;

/// What cannot be read of a disk is at least this much of it, in bytes, and each attempt may take seconds.
const PAGE: u32 = 4 << 10;

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
            held.group.push(spilled);
            return;
        }
        self.ready_records += 1;
        // Nearly always the last one.
        if let Some(group) = self.ready.iter_mut().rev().find(|group| group.segment == segment) {
            group.push(spilled);
            return;
        }
        self.ready.push_back(Group::of(spilled));
    }

    /// How many wait for nothing but room.
    pub(super) const fn ready(&self) -> usize {
        self.ready_records
    }

    /// Where the next one to be read is.
    pub(super) fn next(&self) -> Option<Slot> {
        self.ready.front()?.next()
    }

    /// Takes the one at this place, if it is still the first of its segment, because its file was read; and
    /// whether that was the last of those that could not be.
    pub(super) fn take(&mut self, slot: Slot) -> Option<(Spilled, bool)> {
        let at = self.find(slot)?;
        let group = self.ready.get_mut(at)?;
        let spilled = group.take(slot)?;
        self.ready_records -= 1;
        let recovers = group.failures > 0 && (group.turned == 0 || group.records == 0);
        if recovers {
            group.failures = 0;
            self.failing -= 1;
        }
        if group.records == 0 {
            self.ready.remove(at);
        }
        Some((spilled, recovers && self.failing == 0))
    }

    /// Puts back what was just taken.
    pub(super) fn put_back(&mut self, spilled: Spilled) {
        self.ready_records += 1;
        match self.find(spilled.slot).and_then(|at| self.ready.get_mut(at)) {
            Some(group) => group.put_back(spilled),
            None => self.ready.push_front(Group::of(spilled)),
        }
    }

    /// Among those that may be read; nearly always the first one.
    fn find(&self, slot: Slot) -> Option<usize> {
        self.ready.iter().position(|group| group.segment == slot.segment())
    }

    /// This place cannot be read: its segment is tried again later. Whether it is the only one that cannot be.
    #[expect(clippy::indexing_slicing, reason = "the group was found there")]
    pub(super) fn hold(&mut self, slot: Slot, now: Tick, others: Others) -> bool {
        let Some(at) = self.find(slot) else { return false };
        let group = &mut self.ready[at];
        let is_new = group.failures == 0;
        if let Others::First(most) = others {
            group.turn();
            if group.turned < group.records && group.in_vain < most {
                group.failures = group.failures.max(1);
                self.failing += usize::from(is_new);
                return is_new && self.failing == 1;
            }
        }
        let Some(mut group) = self.ready.remove(at) else { return false };
        self.ready_records -= group.records;
        (group.turned, group.in_vain) = (0, 0);
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
            self.ready_records += group.records;
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
        self.ready.into_iter().chain(held).flat_map(Group::into_all)
    }
}

impl Group {
    fn of(first: Spilled) -> Self {
        let (segment, since) = (first.slot.segment(), first.place.number);
        let blocks = VecDeque::from([Block::of(first)]);
        Self { segment, since, blocks, records: 1, failures: 0, turned: 0, in_vain: 0 }
    }

    fn push(&mut self, spilled: Spilled) {
        self.records += 1;
        let refused = match self.blocks.back_mut() {
            Some(last) => last.push(spilled),
            None => Some(spilled),
        };
        self.blocks.extend(refused.map(Block::of));
    }

    fn put_back(&mut self, spilled: Spilled) {
        self.records += 1;
        self.blocks.push_front(Block::of(spilled));
    }

    fn next(&self) -> Option<Slot> {
        let Packed { offset, units, .. } = *self.blocks.front()?.packed.front()?;
        Some(Slot::from_within(self.segment, (offset, units)))
    }

    /// Takes the first one, if it is at this place.
    fn take(&mut self, slot: Slot) -> Option<Spilled> {
        if self.next() != Some(slot) {
            return None;
        }
        let block = self.blocks.front_mut()?;
        let packed = block.packed.pop_front()?;
        let spilled = packed.unpack(self.segment, block.base);
        if block.packed.is_empty() {
            self.blocks.pop_front();
        }
        self.records -= 1;
        Some(spilled)
    }

    /// The first becomes the last, and so do those that are behind it on its page.
    fn turn(&mut self) {
        let page_of = |slot: Slot| slot.within().0 / PAGE;
        let bad = self.next().map(page_of);
        self.in_vain += 1;
        while self.turned < self.records
            && let Some(first) = self.next().filter(|next| bad == Some(page_of(*next)))
            && let Some(first) = self.take(first)
        {
            self.push(first);
            self.turned += 1;
        }
    }

    fn into_all(self) -> impl Iterator<Item = Spilled> {
        let segment = self.segment;
        let of_block = move |Block { base, packed }: Block| {
            packed.into_iter().map(move |packed| packed.unpack(segment, base))
        };
        self.blocks.into_iter().flat_map(of_block)
    }
}

impl Block {
    fn of(first: Spilled) -> Self {
        let base = first.place.number;
        Self { base, packed: VecDeque::from([Packed::of(first, 0)]) }
    }

    /// Gives back what has no room, or came before the first or too long after it.
    fn push(&mut self, spilled: Spilled) -> Option<Spilled> {
        let later = spilled.place.number.checked_sub(self.base);
        match later.and_then(|later| u16::try_from(later).ok()) {
            Some(later) if self.packed.len() < BLOCK_MAX => {
                self.packed.push_back(Packed::of(spilled, later));
                None
            }
            _ => Some(spilled),
        }
    }
}

impl Packed {
    fn of(spilled: Spilled, later: u16) -> Self {
        let (offset, units) = spilled.slot.within();
        Self { ticket: spilled.ticket, offset, units, later }
    }

    fn unpack(self, segment: u64, base: u64) -> Spilled {
        Spilled {
            ticket: self.ticket,
            slot: Slot::from_within(segment, (self.offset, self.units)),
            place: Place::in_spool(base + u64::from(self.later)),
        }
    }
}
