//! What the runs' threads, the worker, the clerk and waiting callers share: one mutex.
//!
//! Why a `std` mutex: it is held for a push, a pop, or a chunk of [`CHUNK`] of them, never across
//! an await or I/O, and `submit` must work on any thread. Who wakes whom:
//!
//! * `work` wakes the worker: a first record or error while it does not look by itself, a full batch, a flush, the end;
//! * `hurry` wakes it out of the wait before its next attempt: somebody waits for an answer;
//! * `end` wakes it out of an attempt that may have become pointless;
//! * `clerk` wakes the clerk's thread, which keeps the deadlines and does the last things;
//! * `room` wakes threads in `wait_for_room`;
//! * a waiting flush or shutdown is woken by the waker that it left.
//!
//! Tickets stay here while their records are being written. So whatever happens to the worker,
//! somebody can settle them.

mod asking;
mod set_back;
mod spilled;
mod spilling;
mod taking;

use std::{
    fmt,
    ops::Range,
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Duration,
};

use obs_core::{
    Ack, Adopter, Class, Clock, DropReason, Durable, Kept, RunRecord, StoreMetrics, StoreState,
    Tick, Ticket,
};

use crate::{
    batch::{self, BatchLimits, Facts, Pace, Step},
    config::PersistConfig,
    lanes::{Lanes, Limit, Place},
    maintenance::Due,
    platform::Process,
    spool::{Mark, Slot, Spool, UnderWay, Written},
    sync::{Condvar, Mutex, MutexGuard, Notify},
    waiters::{Answer, Fate, Waiters},
};

pub(crate) use self::set_back::Abandoned;
use self::{
    set_back::SetBack,
    spilled::{Spilled, SpilledErrors},
    spilling::Adoption,
};

/// How many records are moved under one hold of the lock: a run that ends meanwhile waits for a
/// few microseconds at most.
const CHUNK: usize = 32;

pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) work: Notify,
    pub(crate) hurry: Notify,
    end: Notify,
    clerk: Condvar,
    room: Condvar,
    pub(crate) clock: Clock,
    pub(crate) metrics: StoreMetrics,
    /// When the store is to be maintained next. Here, because it outlives a worker that panics.
    pub(crate) maintenance: Due,
    batch: BatchLimits,
    /// Where errors are written before `submit` returns.
    spool: Option<Spool>,
    /// What dead processes left; the worker takes it over.
    adoption: Mutex<Adoption>,
    /// A forked child has none of our threads.
    process: Process,
}

struct State {
    lanes: Lanes<Queued>,
    /// Errors that are only in the spool: they come back when the lanes have room.
    spilled: SpilledErrors,
    /// Errors that the worker could neither write nor set aside.
    set_back: SetBack,
    /// When the oldest waiting record came; `None` while none waits. It may be too early (never
    /// too late) while what is left of it waits.
    waiting_since: Option<Tick>,
    pace: Pace,
    /// The batch that is being written, record by record: `None` is settled. The records are with
    /// the worker.
    in_flight: Vec<Option<Taken>>,
    /// What of it is in memory only, on a page that outlives the process.
    under_way: UnderWay,
    waiters: Waiters,
    /// Threads that wait for room: as good a reason as a flush to write at once.
    room_waiters: usize,
    worker: Worker,
    last_error: Option<String>,
}

/// A record that waits in memory, and its place in the spool, if it is there as well.
struct Queued {
    content: Content,
    ticket: Ticket,
    slot: Option<Slot>,
}

/// A record on its way to the worker; small, because it is moved some times under the lock.
enum Content {
    Record(Box<RunRecord>),
    /// As it was written to the spool: the run's thread frees what it allocated for the record, and the worker what it
    /// allocates to read this.
    Frame(Written),
}

/// What is left here of a record that the worker has.
struct Taken {
    ticket: Ticket,
    place: Place,
    slot: Option<Slot>,
    mark: Option<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worker {
    Running,
    /// It has written everything, or cannot go on.
    Ended,
    /// Its end is reported: nothing is accepted and nothing is left.
    Closed,
}

/// How [`Persister::wait_for_room`](crate::Persister::wait_for_room) ended.
///
/// ```
/// # use obs_persist::{PersistConfig, Persister, Room, testing::MemoryStore};
/// use std::time::Duration;
///
/// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
/// assert_eq!(persister.wait_for_room(Duration::from_secs(1)), Room::Free);
/// # Ok::<(), obs_persist::StartError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Room {
    /// At least half of the ok lane is free.
    Free,
    /// The store is down: waiting would not help, the next records may be refused.
    StoreDown,
    /// The persister is shut down.
    Closed,
    /// There was no room by the deadline.
    Deadline,
}

impl Shared {
    pub(crate) fn new(
        config: &PersistConfig,
        metrics: StoreMetrics,
        spool: Option<Spool>,
        clock: Clock,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                lanes: Lanes::new(config.lanes()),
                spilled: SpilledErrors::default(),
                set_back: SetBack::default(),
                waiting_since: None,
                pace: Pace::default(),
                in_flight: Vec::with_capacity(config.batch_records),
                under_way: spool.as_ref().map_or_else(|| UnderWay::on(None), Spool::under_way),
                waiters: Waiters::default(),
                room_waiters: 0,
                worker: Worker::Running,
                last_error: None,
            }),
            work: Notify::new(),
            hurry: Notify::new(),
            end: Notify::new(),
            clerk: Condvar::new(),
            room: Condvar::new(),
            clock,
            metrics,
            maintenance: Due::default(),
            batch: config.batch(),
            spool,
            adoption: Mutex::default(),
            process: Process::current(),
        }
    }

    /// Whether this is a child of the process that it was made in.
    pub(crate) fn is_forked(&self) -> bool {
        self.process.is_forked()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section leaves the state half changed where it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- the runs' threads ----

    /// Takes a record, or counts why not. Of an error, it has been written to the spool when this
    /// returns. Never waits but for the lock (and for a sync, if that is the policy), and allocates once, outside
    /// of it, for what waits, and for the spool's buffers.
    pub(crate) fn submit(&self, kept: Kept) -> Ack {
        if self.process.is_forked() {
            // Before the lock: a thread of the parent may have held it.
            kept.ticket.dropped(DropReason::Forked);
            return Ack::Refused(DropReason::Forked);
        }
        let class = kept.ticket.class();
        let mut bytes = kept.record.bytes();
        let spool = self.spool.as_ref().filter(|_| class == Class::Error);
        let written = spool.map(|spool| spool.write(&kept.record));
        let mut ticket = kept.ticket;
        let (content, slot, refusal) = match written {
            Some(Ok((slot, frame))) => {
                // Here, because the promise may be waited for below.
                drop(kept.record);
                // The names of its strategy are in the frame, and elsewhere for a record.
                bytes = bytes.max(slot.bytes());
                ticket.spooled();
                (Content::Frame(frame), Some(slot), None)
            }
            other => {
                let refusal = other.and_then(Result::err);
                (Content::Record(Box::new(kept.record)), None, refusal)
            }
        };
        match self.enqueue(Queued { content, ticket, slot }, class, bytes) {
            Ok(()) if slot.is_some() => self.spool.as_ref().map_or(Ack::Os, Spool::promise),
            Ok(()) => Ack::Memory,
            Err((ticket, reason)) => {
                // Neither the spool nor the lanes have room: the spool's reason says more.
                let reason = match refusal {
                    Some(refusal) if reason != DropReason::Closed => refusal.into(),
                    _ => reason,
                };
                ticket.dropped(reason);
                Ack::Refused(reason)
            }
        }
    }

    /// Waits until half of the ok lane is free, the store is down, all is over, or `deadline` has
    /// passed.
    pub(crate) fn wait_for_room(&self, deadline: Duration) -> Room {
        let start = self.clock.now();
        let mut state = self.lock();
        loop {
            if !state.lanes.is_open() {
                return Room::Closed;
            }
            if state.lanes.has_room() {
                return Room::Free;
            }
            if self.metrics.state() == StoreState::Down {
                return Room::StoreDown;
            }
            let Some(rest) = deadline.checked_sub(self.clock.now().since(start)) else {
                return Room::Deadline;
            };
            if rest.is_zero() {
                return Room::Deadline;
            }
            state.room_waiters += 1;
            self.work.notify_one();
            state = match self.room.wait_timeout(state, rest) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            state.room_waiters -= 1;
        }
    }

    // ---- callers that wait ----

    /// Begins a flush of everything that was offered before.
    pub(crate) fn begin_flush(&self, deadline: Duration) -> u64 {
        let mut state = self.lock();
        let (until, left) = (state.lanes.next_number(), state.lanes.unsettled());
        let now = self.clock.now();
        let id = state.waiters.add_flush(until, left, (now, deadline));
        state.hurry(now);
        drop(state);
        self.rush();
        id
    }

    /// Closes the lanes; what is in them has until `deadline`.
    pub(crate) fn begin_shutdown(&self, deadline: Duration) -> u64 {
        let mut state = self.lock();
        state.lanes.close();
        let (until, left) = (state.lanes.next_number(), state.lanes.unsettled());
        let now = self.clock.now();
        let id = state.waiters.add_shutdown(until, left, (now, deadline));
        state.hurry(now);
        drop(state);
        self.room.notify_all();
        self.end.notify_one();
        self.rush();
        id
    }

    fn rush(&self) {
        self.work.notify_one();
        self.hurry.notify_one();
        self.clerk.notify_one();
    }

    /// Whether the answer is there. It is at the deadline at the latest, even if no other thread
    /// moves any more.
    pub(crate) fn poll_answer(&self, id: u64, cx: &Context<'_>) -> Poll<Answer> {
        let mut state = self.lock();
        self.expire(&mut state, self.clock.now());
        let answer = state.waiters.poll(id, cx);
        let over = state.worker == Worker::Closed;
        release(state);
        if over {
            self.announce_end();
        }
        answer
    }

    pub(crate) fn forget(&self, id: u64) {
        self.lock().waiters.forget(id);
    }

    /// What is left of a waiter's time.
    pub(crate) fn patience(&self, id: u64) -> Duration {
        self.lock().waiters.patience(id, self.clock.now())
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    // ---- the worker ----

    /// What the worker should do now.
    pub(crate) fn next_step(&self) -> Step {
        let mut state = self.lock();
        if state.worker != Worker::Running {
            return Step::Stop;
        }
        let now = self.clock.now();
        state.try_held(now);
        let Limit { records, bytes } = state.waiting();
        let facts = Facts {
            records,
            bytes,
            age: state.waiting_since.map_or(Duration::ZERO, |since| now.since(since)),
            errors: state.has_errors(),
            flushing: state.waiters.any_flush() || state.room_waiters > 0,
            closing: !state.lanes.is_open(),
        };
        batch::next(&self.batch, &mut state.pace, &facts)
    }

    /// Whether attempts make sense: something may still come, or something waits.
    pub(crate) fn needs_store(&self) -> bool {
        let state = self.lock();
        state.worker == Worker::Running && (state.lanes.is_open() || state.lanes.unsettled() > 0)
    }

    /// Returns when attempts make no sense any more.
    pub(crate) async fn no_need(&self) {
        while self.needs_store() {
            self.end.notified().await;
        }
    }

    /// Whether new records are still accepted.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        state.worker == Worker::Running && state.lanes.is_open()
    }

    /// Returns when no new records are accepted any more.
    pub(crate) async fn closing(&self) {
        while self.is_open() {
            self.end.notified().await;
        }
    }

    /// What became of a part of the batch in flight, for those of it that are not settled yet.
    pub(crate) fn settle(&self, part: Range<usize>, fate: Fate) {
        self.for_each_in_flight(part, |state, taken| self.settle_one(state, taken, fate));
    }

    fn for_each_in_flight(&self, part: Range<usize>, mut end: impl FnMut(&mut State, Taken)) {
        let mut rest = part;
        while !rest.is_empty() {
            let mut state = self.lock();
            for at in rest.by_ref().take(CHUNK) {
                let Some(taken) = state.in_flight.get_mut(at).and_then(Option::take) else {
                    continue;
                };
                end(&mut state, taken);
            }
            release(state);
        }
        self.room.notify_all();
    }

    /// The store's state, for threads that wait for room.
    pub(crate) fn set_store(&self, error: Option<String>) {
        let mut state = self.lock();
        if state.worker == Worker::Closed {
            return;
        }
        self.metrics.set_state(if error.is_some() { StoreState::Down } else { StoreState::Up });
        state.last_error = error;
        drop(state);
        self.room.notify_all();
    }

    /// One attempt to write a batch.
    pub(crate) fn wrote(&self, records: Result<u64, u64>, took: Duration) {
        // A worker that is late must not bring a closed store back to life.
        let mut state = self.lock();
        if state.worker != Worker::Closed {
            if records.is_ok() {
                state.set_back.wrote();
            }
            self.metrics.wrote(records, took);
        }
    }

    /// The worker's last word.
    pub(crate) fn worker_ended(&self) {
        let mut state = self.lock();
        if state.worker == Worker::Running {
            state.worker = Worker::Ended;
        }
        drop(state);
        self.clerk.notify_one();
    }

    // ---- the clerk ----

    /// Keeps the deadlines until all is over; for a thread of its own, which nothing else can
    /// hold up.
    pub(crate) fn keep_deadlines(&self) {
        /// How long the clerk sleeps when nobody waits; any news wakes it.
        const NOTHING_TO_DO: Duration = Duration::from_secs(3_600);
        let mut state = self.lock();
        loop {
            let now = self.clock.now();
            self.expire(&mut state, now);
            let woken = state.waiters.take_woken();
            if state.worker == Worker::Closed {
                drop(state);
                self.announce_end();
                woken.into_iter().for_each(Waker::wake);
                return;
            }
            if !woken.is_empty() {
                drop(state);
                woken.into_iter().for_each(Waker::wake);
                state = self.lock();
                continue;
            }
            let pause =
                state.waiters.next_deadline(now).unwrap_or(NOTHING_TO_DO).min(NOTHING_TO_DO);
            state = match self.clerk.wait_timeout(state, pause) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn announce_end(&self) {
        self.metrics.set_state(StoreState::Stopped);
        self.end.notify_one();
        self.work.notify_one();
        self.hurry.notify_one();
        self.clerk.notify_one();
        self.room.notify_all();
    }
}

impl Shared {
    /// Answers those whose time is over; a shutdown's deadline, or the worker's end, is the end.
    fn expire(&self, state: &mut State, now: Tick) {
        let late = state.waiters.shutdown_expired(now);
        if state.worker == Worker::Ended || (late && state.worker == Worker::Running) {
            let complete = state.worker == Worker::Ended && state.lanes.unsettled() == 0;
            let reason = if late { DropReason::ShutdownDeadline } else { DropReason::Abandoned };
            self.end(state, reason, complete);
        }
        state.waiters.expire_flushes(now);
    }

    /// Settles whatever is left and answers everybody. What is in the spool stays there.
    fn end(&self, state: &mut State, reason: DropReason, complete: bool) {
        state.lanes.close();
        for taken in std::mem::take(&mut state.in_flight).into_iter().flatten() {
            self.settle_one(state, taken, Fate::Lost(reason));
        }
        while let Some(item) = state.lanes.take(usize::MAX) {
            let Queued { ticket, slot, .. } = item.value;
            let taken = Taken { ticket, place: item.place, slot, mark: None };
            self.settle_one(state, taken, Fate::Lost(reason));
        }
        let set_back = std::mem::take(&mut state.set_back).into_waiting();
        for spilled in std::mem::take(&mut state.spilled).into_all().chain(set_back) {
            let Spilled { ticket, slot, place } = spilled;
            let taken = Taken { ticket, place, slot: Some(slot), mark: None };
            self.settle_one(state, taken, Fate::Lost(reason));
        }
        state.worker = Worker::Closed;
        state.waiters.close(complete);
    }

    fn settle_one(&self, state: &mut State, taken: Taken, fate: Fate) {
        let Taken { ticket, place, slot, mark } = taken;
        // What is in the spool is not lost with the memory.
        let fate = if slot.is_some() && fate.is_of_memory() { Fate::Spooled } else { fate };
        if let Some(mark) = mark.filter(|_| fate != Fate::Persisted) {
            state.under_way.take_back(mark);
        }
        match fate {
            Fate::Persisted if slot.is_none() => {
                let class = ticket.class();
                state.under_way.persist(mark, class, || ticket.persisted());
            }
            Fate::Persisted => ticket.persisted(),
            Fate::Quarantined => ticket.quarantined(),
            Fate::Spooled => ticket.stays(),
            Fate::Lost(reason) => ticket.dropped(reason),
        }
        if let (Some(spool), Some(slot)) = (&self.spool, slot) {
            let others = state.set_back.settled(slot, fate);
            state.try_again(others, self.clock.now());
            if fate != Fate::Spooled {
                spool.settle(slot);
            }
        }
        state.lanes.release(place);
        state.waiters.settled(place.number, fate);
    }
}

/// Unlocks, then wakes whoever was answered meanwhile.
fn release(mut state: MutexGuard<'_, State>) {
    let woken = state.waiters.take_woken();
    drop(state);
    woken.into_iter().for_each(Waker::wake);
}

const fn pair(limit: Limit) -> (usize, usize) {
    (limit.records, limit.bytes)
}

/// Numbers only: what waits may be private.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unsettled, worker) = {
            let state = self.lock();
            (state.lanes.unsettled(), state.worker)
        };
        f.debug_struct("Shared")
            .field("unsettled", &unsettled)
            .field("worker", &worker)
            .field("store", &self.metrics)
            .finish_non_exhaustive()
    }
}

impl obs_core::Sink for Shared {
    fn submit(&self, kept: Kept) -> Ack {
        Self::submit(self, kept)
    }

    fn capacity(&self, class: Class) -> u64 {
        let capacity = self.lock().lanes.capacity(class);
        u64::try_from(capacity).unwrap_or(u64::MAX)
    }

    fn attach(&self, books: Adopter) {
        self.adopt_for(books);
    }

    fn durable(&self, ack: Ack) -> Durable {
        match (&self.spool, ack) {
            (Some(spool), Ack::Os) if !self.process.is_forked() => spool.durable(),
            _ => Box::pin(std::future::ready(ack)),
        }
    }
}

#[cfg(test)]
mod tests;
