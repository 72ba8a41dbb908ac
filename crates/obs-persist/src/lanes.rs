//! The two bounded lanes: what is taken, what is refused, and in which order records leave.
//!
//! Pure: no clock, no lock, no I/O. The one [`Lanes`] value lives behind the mutex of
//! [`Shared`](crate::shared::Shared). Data and control meet there: whoever flushes under that lock
//! covers precisely the records that were offered before.
//!
//! A record occupies its place until it is *settled*, not until it is taken into a batch. So the
//! limits bound everything that the process holds, whatever the store does.

use std::collections::VecDeque;

use obs_core::{Class, DropReason};

/// Of five records in a row, at most this many are errors while ok records wait.
const ERRORS_IN_A_ROW: u8 = 4;

/// How much a room holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// The limits of both rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Ok records, and errors that find no place in the reserve.
    pub(crate) ok: Limit,
    /// Errors only.
    pub(crate) reserve: Limit,
}

/// Two queues of waiting items over two rooms of bounded size.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    ok: VecDeque<Item<T>>,
    error: VecDeque<Item<T>>,
    ok_room: Room,
    reserve: Room,
    /// The number of the next item; each accepted item gets one, over both queues.
    next: u64,
    /// Bytes of the items that wait, i.e. are not taken yet.
    waiting_bytes: usize,
    /// How many errors were taken since the last ok record; it outlives a batch, so that large
    /// errors that fill batch after batch cannot starve ok records.
    errors_in_a_row: u8,
    /// Items that are accepted, not settled, and only in the spool.
    spilled: usize,
    open: bool,
}

/// An accepted item.
#[derive(Debug)]
pub(crate) struct Item<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// The place that an item occupies until [`Lanes::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The item's number.
    pub(crate) number: u64,
    room: Which,
    pub(crate) bytes: usize,
}

/// An item that was not accepted, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused<T> {
    pub(crate) value: T,
    pub(crate) reason: DropReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Ok,
    Reserve,
    /// In neither: the item is in the spool, and takes up no memory worth bounding here.
    Spool,
}

#[derive(Debug)]
struct Room {
    limit: Limit,
    /// What is held: at most `limit`, in both dimensions.
    held: Limit,
}

impl Place {
    /// That of an item which is only in the spool.
    pub(crate) const fn in_spool(number: u64) -> Self {
        Self { number, room: Which::Spool, bytes: 0 }
    }
}

impl<T> Lanes<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        let errors_max = limits.ok.records.saturating_add(limits.reserve.records);
        Self {
            // Nothing may allocate later: both queues get all the places they can ever use.
            ok: VecDeque::with_capacity(limits.ok.records),
            error: VecDeque::with_capacity(errors_max),
            ok_room: Room::new(limits.ok),
            reserve: Room::new(limits.reserve),
            next: 0,
            waiting_bytes: 0,
            errors_in_a_row: 0,
            spilled: 0,
            open: true,
        }
    }

    /// Takes an item, or gives it back with the reason.
    pub(crate) fn offer(&mut self, value: T, class: Class, bytes: usize) -> Result<(), Refused<T>> {
        let room = match self.room_for(class, bytes) {
            Ok(room) => room,
            Err(reason) => return Err(Refused { value, reason }),
        };
        if let Some(room) = self.room(room) {
            room.take(bytes);
        }
        self.waiting_bytes += bytes;
        let place = Place { number: self.next, room, bytes };
        self.next += 1;
        self.queue(class).push_back(Item { value, place });
        Ok(())
    }

    /// Where an item goes. An error uses its reserve first, then free room of the ok lane.
    fn room_for(&self, class: Class, bytes: usize) -> Result<Which, DropReason> {
        if !self.open {
            return Err(DropReason::Closed);
        }
        let largest = match class {
            Class::Ok => self.ok_room.limit.bytes,
            Class::Error => self.ok_room.limit.bytes.max(self.reserve.limit.bytes),
        };
        if bytes > largest {
            return Err(DropReason::TooLarge);
        }
        if class == Class::Error && self.reserve.fits(bytes) {
            return Ok(Which::Reserve);
        }
        if self.ok_room.fits(bytes) {
            return Ok(Which::Ok);
        }
        Err(DropReason::QueueFull)
    }

    /// Takes the next item, unless it is larger than `bytes_max`: errors first, but after four
    /// errors in a row an ok record, if one waits.
    pub(crate) fn take(&mut self, bytes_max: usize) -> Option<Item<T>> {
        let class = self.turn()?;
        self.take_of(class, bytes_max)
    }

    /// Takes the next item of a class, whoever's turn it is.
    pub(crate) fn take_of(&mut self, class: Class, bytes_max: usize) -> Option<Item<T>> {
        if self.queue(class).front()?.place.bytes > bytes_max {
            return None;
        }
        self.errors_in_a_row = match class {
            Class::Ok => 0,
            Class::Error => self.errors_in_a_row.saturating_add(1),
        };
        let queue = self.queue(class);
        let item = queue.pop_front()?;
        if queue.is_empty() {
            // The next one goes to the first place again, whose memory is there and warm: a queue that wandered
            // through all of its places would touch each of their pages.
            queue.clear();
        }
        self.waiting_bytes -= item.place.bytes;
        Some(item)
    }

    /// The next item, if one waits.
    pub(crate) fn peek(&self) -> Option<&T> {
        let queue = match self.turn()? {
            Class::Ok => &self.ok,
            Class::Error => &self.error,
        };
        Some(&queue.front()?.value)
    }

    /// Whose turn it is, if anything waits.
    fn turn(&self) -> Option<Class> {
        match (self.error.is_empty(), self.ok.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Class::Ok),
            (false, true) => Some(Class::Error),
            (false, false) if self.errors_in_a_row >= ERRORS_IN_A_ROW => Some(Class::Ok),
            (false, false) => Some(Class::Error),
        }
    }

    /// A place outside of the lanes, for an item that is in the spool.
    pub(crate) fn spill(&mut self) -> Place {
        let place = Place::in_spool(self.next);
        self.next += 1;
        self.spilled += 1;
        place
    }

    /// The same for an item that was taken: it gives up its room, and keeps its number.
    pub(crate) fn take_back(&mut self, place: Place) -> Place {
        self.release(place);
        self.spilled += 1;
        Place::in_spool(place.number)
    }

    /// Whether an error of this size has room in the lanes.
    pub(crate) fn has_room_for_error(&self, bytes: usize) -> bool {
        // One that is larger than both rooms passes alone.
        let alone = self.error.is_empty() && self.reserve.held.records == 0;
        self.reserve.fits(bytes) || self.ok_room.fits(bytes) || alone
    }

    /// Puts an error that was spilled into the lanes, in its old place among those that wait for it;
    /// gives it back when there is no room.
    pub(crate) fn bring_back(&mut self, value: T, bytes: usize, place: Place) -> Result<(), T> {
        let room = match (self.reserve.fits(bytes), self.ok_room.fits(bytes)) {
            (true, _) => Which::Reserve,
            (false, true) => Which::Ok,
            (false, false) if self.has_room_for_error(bytes) => Which::Spool,
            (false, false) => return Err(value),
        };
        if let Some(taken) = self.room(room) {
            taken.take(bytes);
            self.release(place);
        }
        self.waiting_bytes += bytes;
        self.error.push_back(Item { value, place: Place { number: place.number, room, bytes } });
        Ok(())
    }

    /// Frees the place of an item that was taken and is settled.
    pub(crate) fn release(&mut self, place: Place) {
        match self.room(place.room) {
            Some(room) => room.free(place.bytes),
            None => self.spilled -= 1,
        }
    }

    /// From now on everything is refused; what waits stays.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    /// The number that the next accepted item will get: whatever has a smaller one was offered
    /// before now.
    pub(crate) const fn next_number(&self) -> u64 {
        self.next
    }

    /// Items that wait to be taken.
    pub(crate) fn waiting(&self) -> Limit {
        Limit { records: self.ok.len() + self.error.len(), bytes: self.waiting_bytes }
    }

    /// Whether errors wait to be taken.
    pub(crate) fn has_errors(&self) -> bool {
        !self.error.is_empty()
    }

    /// Items that are accepted and not settled yet, waiting or taken.
    pub(crate) const fn unsettled(&self) -> usize {
        self.ok_room.held.records + self.reserve.held.records + self.spilled
    }

    /// Whether at least half of the ok lane is free: room for a whole team of threads that each
    /// submit one record after asking.
    pub(crate) fn has_room(&self) -> bool {
        let Room { limit, held } = &self.ok_room;
        held.records <= limit.records / 2 && held.bytes <= limit.bytes / 2
    }

    /// How many records of a class can be unsettled at most.
    pub(crate) const fn capacity(&self, class: Class) -> usize {
        match class {
            Class::Ok => self.ok_room.limit.records,
            Class::Error => self.ok_room.limit.records.saturating_add(self.reserve.limit.records),
        }
    }

    fn queue(&mut self, class: Class) -> &mut VecDeque<Item<T>> {
        match class {
            Class::Ok => &mut self.ok,
            Class::Error => &mut self.error,
        }
    }

    const fn room(&mut self, which: Which) -> Option<&mut Room> {
        match which {
            Which::Ok => Some(&mut self.ok_room),
            Which::Reserve => Some(&mut self.reserve),
            Which::Spool => None,
        }
    }
}

impl Room {
    const fn new(limit: Limit) -> Self {
        Self { limit, held: Limit { records: 0, bytes: 0 } }
    }

    const fn fits(&self, bytes: usize) -> bool {
        self.held.records < self.limit.records && bytes <= self.limit.bytes - self.held.bytes
    }

    fn take(&mut self, bytes: usize) {
        self.held.records += 1;
        self.held.bytes += bytes;
        debug_assert!(
            self.held.records <= self.limit.records && self.held.bytes <= self.limit.bytes
        );
    }

    fn free(&mut self, bytes: usize) {
        self.held.records -= 1;
        self.held.bytes -= bytes;
    }
}

#[cfg(test)]
mod tests;
