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
//!
//! A forked child has the counts as its parent left them, at whatever moment, and none of its threads. So it
//! has locks of its own, which nobody held, and what it has in the queue is what is in no other term.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use super::{
    ByStatus, Ledger, RunLedger,
    page::{self, FORMAT, Lies, Move, PAGE_WORDS, Row, SHARDS, Term},
    ticket::{SeriesDrops, Ticket},
};
use crate::{
    page::{HeapPage, Page, PageError, PageOwner},
    per_thread::{Local, Own, PerThread, Slots, Whose, thread_index},
    status::{Class, DropReason, Status},
    sync::{AtomicU64, LocalKey, Mutex, MutexGuard, Ordering, forks, per_thread_slots},
};

/// How many processes, each of them forked from the one before, have locks of their own. Later ones share
/// those of the last.
const GENERATIONS: usize = 4;

/// The counts behind the ledger of one [`Obs`](crate::Obs).
pub(crate) struct Book {
    locks: Box<[Locks]>,
    /// Where the counts of the shards are.
    page: Arc<dyn Page>,
    runs: PerThread<Runs>,
    /// What threads counted that have ended; written by snapshots.
    retired: Runs,
    /// The process that counts, and how often it had been forked; a child is another one.
    pid: u32,
    forks: u64,
}

/// Counts that end with the process.
impl Default for Book {
    fn default() -> Self {
        Self::of(Arc::new(HeapPage::new(PAGE_WORDS)))
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
    #[expect(clippy::indexing_slicing, reason = "each status has a word")]
    pub(crate) fn not_kept(&self, status: Status) {
        count(&self.unkept[status.index()]);
    }

    /// Adds what another thread counted, which has ended; one caller at a time.
    fn take_in(&self, other: &Self) {
        let add = |word: &AtomicU64, other: &AtomicU64| {
            let sum = word.load(Ordering::Relaxed) + other.load(Ordering::Acquire);
            word.store(sum, Ordering::Release);
        };
        add(&self.started, &other.started);
        for (word, other) in self.unkept.iter().zip(&other.unkept) {
            add(word, other);
        }
    }
}

impl Local for Runs {
    fn own() -> &'static LocalKey<Slots<Self>> {
        per_thread_slots!(OWN, Runs);
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

/// The shard in which this thread counts.
fn own_shard() -> usize {
    thread_index() % SHARDS
}

/// The locks of one process.
#[derive(Debug, Default)]
struct Locks {
    /// The first lock of a snapshot.
    snapshot: Mutex<()>,
    shards: [Shard; SHARDS],
}

/// A shard's lock, aligned so that no two threads write to one pair of cache lines. Its counts are on
/// the page.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<()>);

/// A shard that nobody else changes meanwhile.
pub(super) struct Locked<'a> {
    row: Row<'a>,
    _lock: MutexGuard<'a, ()>,
}

impl Locked<'_> {
    /// Moves a record, in one critical section.
    #[inline(always)]
    pub(super) fn apply(&self, moved: Move) {
        self.row.apply(moved);
    }
}

impl Book {
    /// Counts on a page that may outlive the process.
    pub(crate) fn on(page: Arc<dyn Page>, owner: &PageOwner) -> Result<Self, PageError> {
        FORMAT.check_blank(page.words())?;
        FORMAT.begin(page.words(), owner);
        Ok(Self::of(page))
    }

    fn of(page: Arc<dyn Page>) -> Self {
        Self {
            locks: (0..GENERATIONS).map(|_| Locks::default()).collect(),
            page,
            runs: PerThread::new(|_| Runs::default()),
            retired: Runs::default(),
            pid: std::process::id(),
            forks: forks(),
        }
    }

    /// Counts a run that started.
    pub(crate) fn started(&self) {
        self.runs.with(Runs::started);
    }

    /// Counts a run that ended and is not kept: one word, no lock.
    pub(crate) fn not_kept(&self, status: Status) {
        self.runs.with(|own| own.not_kept(status));
    }

    /// This thread's words, for a holder that only this thread counts through.
    pub(crate) fn runs_of(&self, whose: Whose) -> Option<Own<Runs>> {
        match whose {
            Whose::ThisThread => self.runs.own(),
            Whose::EndingThreads => None,
        }
    }

    /// Counts a run that ended and is kept, and hands out the ticket that its record carries.
    pub(crate) fn kept(self: &Arc<Self>, status: Status, drops: &Arc<SeriesDrops>) -> Ticket {
        self.enter((status.class(), Lies::InMemory), drops, page::keep(status))
    }

    /// Counts an audit entry, and hands out the ticket that its record carries.
    pub(crate) fn audited(self: &Arc<Self>, drops: &Arc<SeriesDrops>) -> Ticket {
        self.enter((Class::Error, Lies::InMemory), drops, page::audit())
    }

    /// Counts a record that was found in the spool of a dead process, and stays there.
    pub(crate) fn adopted(self: &Arc<Self>, class: Class, drops: &Arc<SeriesDrops>) -> Ticket {
        self.enter((class, Lies::Elsewhere), drops, page::adopt(class, Lies::Elsewhere))
    }

    /// Counts a record of a dead process that is in our own spool.
    pub(crate) fn adopted_here(self: &Arc<Self>, class: Class, drops: &Arc<SeriesDrops>) -> Ticket {
        self.enter((class, Lies::Spooled), drops, page::adopt(class, Lies::Spooled))
    }

    #[inline(always)]
    fn enter(
        self: &Arc<Self>,
        (class, lies): (Class, Lies),
        drops: &Arc<SeriesDrops>,
        moved: Move,
    ) -> Ticket {
        let shard = own_shard();
        self.shard(shard).apply(moved);
        Ticket::of(Arc::clone(self), Arc::clone(drops), shard, class, lies)
    }

    /// Counts records that died in the memory of a dead process: adopted and dropped at once.
    pub(crate) fn crashed(&self, class: Class, records: u64, drops: &SeriesDrops) {
        let shard = self.shard(own_shard());
        let counted = shard.row.add(Term::Crashed(class), records);
        drops.add(class, DropReason::Crash, counted);
    }

    /// Locks a shard. Counting cannot leave it half-written, so a poisoned lock is as good as any.
    #[expect(
        clippy::indexing_slicing,
        reason = "each generation has locks, and each shard has one of them"
    )]
    pub(super) fn shard(&self, shard: usize) -> Locked<'_> {
        let locks = &self.locks[self.generation()];
        let lock = locks.shards[shard].0.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { row: Row::of(self.page.words(), shard), _lock: lock }
    }

    /// How often this process was forked since the book was made, as far as there are locks for it. Only
    /// where somebody says that there was a fork is the system asked.
    fn generation(&self) -> usize {
        let forks = forks();
        if forks == self.forks || std::process::id() == self.pid {
            return 0;
        }
        usize::try_from(forks.wrapping_sub(self.forks)).unwrap_or(GENERATIONS).min(GENERATIONS - 1)
    }

    /// The runs that started. A forked child has its copy of a mapped page from a later moment than its
    /// copy of the threads' words: runs that its parent's threads ended in between count as started, too.
    fn all_started(&self, seen: u64, finished: u64) -> u64 {
        if std::process::id() == self.pid { seen } else { seen.max(finished) }
    }

    /// An exact snapshot.
    pub(crate) fn snapshot(&self) -> Ledger {
        self.frozen(Clone::clone)
    }

    /// Takes a snapshot and shows it to `read` while no term of a kept record can change.
    #[expect(clippy::indexing_slicing, reason = "each generation has locks")]
    pub(crate) fn frozen<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        let generation = self.generation();
        let first = self.locks[generation].snapshot.lock();
        let locked: [Locked<'_>; SHARDS] = std::array::from_fn(|shard| self.shard(shard));
        let (ended, living) = self.runs.take_ended_and_see_living();
        ended.iter().for_each(|runs| self.retired.take_in(runs));
        let mut runs = Counted::default();
        runs.add_ended(&self.retired);
        runs.add_started(&self.retired);
        living.iter().for_each(|own| runs.add_ended(own));
        let mut ledger = Ledger::default();
        page::add_unkept(&mut ledger, &runs.unkept);
        for shard in &locked {
            page::add_shard(&mut ledger, |term| shard.row.read(term));
        }
        if generation > 0 {
            page::queue_the_rest(&mut ledger);
        }
        self.runs.living().iter().for_each(|own| runs.add_started(own));
        let finished = ledger.runs.finished;
        let started = self.all_started(runs.started, finished);
        ledger.runs = RunLedger { started, finished, active: started - finished };
        page::publish(self.page.words(), &runs.unkept, started);
        let answer = read(&ledger);
        drop((locked, first));
        answer
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("page", &self.page).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
