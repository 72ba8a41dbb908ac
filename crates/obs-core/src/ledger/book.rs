//! Where the counting happens: shards that a record stays with from its ticket to its end.
//!
//! B1 A kept run's `recorded` and `in_queue` are counted together, under its shard's lock, before
//!    the record is handed over.
//! B2 Every later move of that record is one critical section of the same shard.
//! B3 A run that is not kept adds to one word only, which its thread has for itself; the snapshot
//!    reads that word once and uses it as `recorded` and as `sampled_out`.
//! B4 A snapshot holds every shard's lock, reads the ended runs, and only then the started ones, of all
//!    threads that there are by then.
//!
//! So every snapshot is balanced (B1 to B3) and never shows more ended runs than started ones (B4).

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::LocalKey,
};

use super::{ByStatus, ClassLedger, Dropped, Ledger, RunLedger};
use crate::{
    per_thread::{Local, PerThread, Slots, Whose, thread_index},
    status::{Class, DropReason, Status},
};

/// Threads spread over this many shards; with more threads than shards, some share one.
const SHARDS: usize = 16;

/// The counts behind the ledger of one [`Obs`](crate::Obs).
#[derive(Debug)]
pub(crate) struct Book {
    shards: [Shard; SHARDS],
    runs: PerThread<Runs>,
    /// What threads counted that have ended; the first lock of a snapshot.
    retired: Mutex<Counted>,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            runs: PerThread::new(|_| Runs::default()),
            retired: Mutex::default(),
        }
    }
}

/// What a thread counts of runs, alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Runs {
    started: AtomicU64,
    /// Runs that ended and were not kept, by status.
    unkept: [AtomicU64; Status::ALL.len()],
}

impl Runs {
    /// Counts a run that started.
    #[inline]
    pub(crate) fn started(&self) {
        count(&self.started);
    }

    /// Counts a run that ended and is not kept.
    #[inline]
    pub(crate) fn not_kept(&self, status: Status) {
        count(&self.unkept[status.index()]);
    }
}

impl Local for Runs {
    fn own() -> &'static LocalKey<Slots<Self>> {
        thread_local! {
            static OWN: Slots<Runs> = const { Slots::new() };
        }
        &OWN
    }
}

/// What was read of threads' counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    started: u64,
    unkept: ByStatus,
}

impl Counted {
    fn add_ended(&mut self, runs: &Runs) {
        for (total, count) in self.unkept.iter_mut().zip(&runs.unkept) {
            *total += count.load(Ordering::Acquire);
        }
    }

    fn add_started(&mut self, runs: &Runs) {
        self.started += runs.started.load(Ordering::Acquire);
    }
}

/// One more, by the only thread that writes. Release, so that whoever sees a run's end sees its
/// start too.
fn count(word: &AtomicU64) {
    word.store(word.load(Ordering::Relaxed) + 1, Ordering::Release);
}

/// Aligned so that no two threads write to one pair of cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    entries: Mutex<Entries>,
}

/// What is counted under the shard's lock.
#[derive(Clone, Debug, Default)]
struct Entries {
    kept: ByStatus,
    classes: [ClassEntries; 2],
}

#[derive(Clone, Debug, Default)]
struct ClassEntries {
    recorded: u64,
    persisted: u64,
    quarantined: u64,
    dropped: [u64; DropReason::ALL.len()],
    in_queue: u64,
}

/// Lost records of one series of `obs.record.dropped`; written under a shard's lock only.
#[derive(Debug, Default)]
pub(crate) struct SeriesDrops {
    counts: [[AtomicU64; DropReason::ALL.len()]; 2],
}

impl SeriesDrops {
    pub(crate) fn of(&self, class: Class, reason: DropReason) -> u64 {
        self.counts[class.index()][reason.index()].load(Ordering::Relaxed)
    }
}

impl Book {
    /// Counts a run that started.
    pub(crate) fn started(&self) {
        self.runs.with(Runs::started);
    }

    /// Counts a run that ended and is not kept: one word, no lock.
    pub(crate) fn not_kept(&self, status: Status) {
        self.runs.with(|own| own.not_kept(status));
    }

    /// This thread's words, for a holder that only this thread counts through.
    pub(crate) fn runs_of(&self, whose: Whose) -> Option<Arc<Runs>> {
        match whose {
            Whose::ThisThread => self.runs.own(),
            Whose::EndingThreads => None,
        }
    }

    /// Counts a run that ended and is kept, and hands out the ticket that its record carries.
    pub(crate) fn kept(self: &Arc<Self>, status: Status, drops: &Arc<SeriesDrops>) -> Ticket {
        let shard = thread_index() % SHARDS;
        let class = status.class();
        let mut entries = self.shards[shard].lock();
        entries.kept[status.index()] += 1;
        entries.classes[class.index()].recorded += 1;
        entries.classes[class.index()].in_queue += 1;
        drop(entries);
        Ticket {
            place: Some(Place { book: Arc::clone(self), drops: Arc::clone(drops), shard }),
            class,
        }
    }

    /// An exact snapshot.
    pub(crate) fn snapshot(&self) -> Ledger {
        self.frozen(Clone::clone)
    }

    /// Takes a snapshot and shows it to `read` while no term of a kept record can change.
    pub(crate) fn frozen<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let locked: [MutexGuard<'_, Entries>; SHARDS] =
            std::array::from_fn(|shard| self.shards[shard].lock());
        let (ended, living) = self.runs.take_ended_and_see_living();
        for runs in &ended {
            retired.add_ended(runs);
            retired.add_started(runs);
        }
        let mut runs = *retired;
        living.iter().for_each(|own| runs.add_ended(own));
        let mut ledger = Ledger::default();
        let mut finished = 0;
        for status in Status::ALL {
            let unkept = runs.unkept[status.index()];
            let class = ledger.class_mut(status.class());
            class.recorded += unkept;
            class.sampled_out += unkept;
            let kept: u64 = locked.iter().map(|entries| entries.kept[status.index()]).sum();
            finished += unkept + kept;
        }
        for entries in &locked {
            for class in Class::ALL {
                ledger.class_mut(class).add(&entries.classes[class.index()]);
            }
        }
        self.runs.living().iter().for_each(|own| runs.add_started(own));
        let started = runs.started;
        ledger.runs = RunLedger { started, finished, active: started - finished };
        let answer = read(&ledger);
        drop(locked);
        answer
    }
}

impl Shard {
    /// Counting cannot leave a shard half-written, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    const fn class_mut(&mut self, class: Class) -> &mut ClassLedger {
        match class {
            Class::Ok => &mut self.ok,
            Class::Error => &mut self.error,
        }
    }
}

impl ClassLedger {
    fn add(&mut self, entries: &ClassEntries) {
        self.recorded += entries.recorded;
        self.persisted += entries.persisted;
        self.quarantined += entries.quarantined;
        self.in_queue += entries.in_queue;
        let Dropped(dropped) = &mut self.dropped;
        for (total, count) in dropped.iter_mut().zip(entries.dropped) {
            *total += count;
        }
    }
}

/// A record's place in the ledger: whoever holds it decides, exactly once, what became of the
/// record. Dropping it without a word counts the record as `abandoned`.
///
/// ```
/// use obs_core::{DropReason, Kept, Sink, Class};
///
/// /// A sink that has no room for anything.
/// #[derive(Debug)]
/// struct Full;
///
/// impl Sink for Full {
///     fn submit(&self, kept: Kept) {
///         kept.ticket.dropped(DropReason::QueueFull);
///     }
///     fn capacity(&self, _class: Class) -> u64 {
///         0
///     }
/// }
/// ```
#[must_use = "dropping a ticket counts its record as abandoned"]
pub struct Ticket {
    // `None` once the record's end is counted.
    place: Option<Place>,
    class: Class,
}

struct Place {
    book: Arc<Book>,
    drops: Arc<SeriesDrops>,
    shard: usize,
}

impl Ticket {
    /// The class of the record.
    ///
    /// ```
    /// # use obs_core::{Class, testing::TestObs};
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// assert_eq!(ticket.class(), Class::Ok);
    /// ```
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The store has committed the record.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.persisted();
    /// assert_eq!(test.obs().ledger().ok.persisted, 1);
    /// ```
    pub fn persisted(mut self) {
        self.settle(|entries, _| entries.persisted += 1);
    }

    /// The record was set aside as poison.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.quarantined();
    /// assert_eq!(test.obs().ledger().ok.quarantined, 1);
    /// ```
    pub fn quarantined(mut self) {
        self.settle(|entries, _| entries.quarantined += 1);
    }

    /// The record is lost.
    ///
    /// ```
    /// # use obs_core::{DropReason, testing::TestObs};
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.dropped(DropReason::QueueFull);
    /// assert_eq!(test.obs().ledger().ok.dropped.of(DropReason::QueueFull), 1);
    /// ```
    pub fn dropped(mut self, reason: DropReason) {
        self.lose(reason);
    }

    fn lose(&mut self, reason: DropReason) {
        let class = self.class;
        self.settle(|entries, drops| {
            entries.dropped[reason.index()] += 1;
            drops.counts[class.index()][reason.index()].fetch_add(1, Ordering::Relaxed);
        });
    }

    /// One critical section: out of the queue, into the term that `count` names.
    fn settle(&mut self, count: impl FnOnce(&mut ClassEntries, &SeriesDrops)) {
        let Some(place) = self.place.take() else { return };
        let mut entries = place.book.shards[place.shard].lock();
        let entries = &mut entries.classes[self.class.index()];
        entries.in_queue -= 1;
        count(entries, &place.drops);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lose(DropReason::Abandoned);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("class", &self.class).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
