//! What a thread has for itself: its blocks of slots, and what its runs' ids are made of.

use std::{
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    thread::LocalKey,
};

use crate::{
    clock::{Clock, Reading},
    ids::{self, Seed},
    per_thread::{Local, Slots},
    sync::{AtomicU64, Ordering},
};

/// The wall clock is read once in this time: in between, a run's start is reckoned from the monotonic
/// clock, so a jump of the wall clock shows so much later.
pub(super) const ANCHOR_NANOS: u64 = 10_000_000;

/// Written by its thread only.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Lane {
    /// The slot that was taken last: the first one to try.
    last: AtomicUsize,
    /// What the monotonic clock said when the wall clock was read.
    anchor: AtomicU64,
    /// What the next run's id is made of.
    base: AtomicU64,
    low: AtomicU64,
    /// How many forks there were when the process was asked for, and which it was.
    forks: AtomicU64,
    process: AtomicU64,
    searches: AtomicU64,
    missed: AtomicU64,
    blocks: Mutex<Vec<u16>>,
}

/// As `anchor`: far from every reading.
const NEVER: u64 = 1 << 63;
/// As `last`: there is no slot yet. Beyond every page, and something can be added to it.
const NOWHERE: usize = usize::MAX >> 1;

impl Default for Lane {
    fn default() -> Self {
        Self {
            last: AtomicUsize::new(NOWHERE),
            anchor: AtomicU64::new(NEVER),
            base: AtomicU64::new(0),
            low: AtomicU64::new(0),
            forks: AtomicU64::new(0),
            process: AtomicU64::new(0),
            searches: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            blocks: Mutex::default(),
        }
    }
}

impl Local for Lane {
    fn own() -> &'static LocalKey<Slots<Self>> {
        thread_local! {
            static OWN: Slots<Lane> = const { Slots::new() };
        }
        &OWN
    }
}

impl Lane {
    #[inline]
    pub(super) fn last(&self) -> usize {
        self.last.load(Ordering::Relaxed)
    }

    pub(super) fn set_last(&self, slot: usize) {
        self.last.store(slot, Ordering::Relaxed);
    }

    /// The blocks of this thread; nobody else asks while it lives.
    pub(super) fn blocks(&self) -> MutexGuard<'_, Vec<u16>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn miss(&self) {
        self.missed.store(self.missed() + 1, Ordering::Relaxed);
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Whether this is one of every `n` searches.
    pub(super) fn is_nth_search(&self, n: u64) -> bool {
        let searches = self.searches.load(Ordering::Relaxed);
        self.searches.store(searches.wrapping_add(1), Ordering::Relaxed);
        searches.is_multiple_of(n)
    }

    /// Whether the clocks must be read together again, because that was so many counts ago, or the process was
    /// forked since.
    #[inline(always)]
    fn is_adrift(&self, now: Reading, counts: u64) -> bool {
        let since = now.word().wrapping_sub(self.anchor.load(Ordering::Relaxed));
        since >= counts || ids::forks() != self.forks.load(Ordering::Relaxed)
    }

    /// What the id of a run that starts now is made of.
    #[inline(always)]
    pub(super) fn seed(&self) -> Seed {
        let low = self.low.load(Ordering::Relaxed);
        self.low.store(low.wrapping_add(1), Ordering::Relaxed);
        Seed::from_words([self.base.load(Ordering::Relaxed), low])
    }

    /// The same, and the slot to try first; `None` where the clocks must be read together before.
    #[inline(always)]
    pub(super) fn seed_and_last(&self, now: Reading, counts: u64) -> Option<(Seed, usize)> {
        (!self.is_adrift(now, counts)).then(|| (self.seed(), self.last()))
    }

    /// Reads the clocks together. A forked child begins ids of its own.
    pub(super) fn anchor(&self, clock: &Clock, now: Reading) {
        let process = u64::from(std::process::id());
        let forks = ids::forks();
        let is_same = self.process.load(Ordering::Relaxed) == process
            && self.forks.load(Ordering::Relaxed) == forks;
        let seed = if is_same {
            let words = [&self.base, &self.low].map(|word| word.load(Ordering::Relaxed));
            Seed::from_words(words)
        } else {
            Seed::random()
        };
        let [base, low] = seed.anchored(clock.wall(), clock.rate().nanos(now)).words();
        self.base.store(base, Ordering::Relaxed);
        self.low.store(low, Ordering::Relaxed);
        self.forks.store(forks, Ordering::Relaxed);
        self.process.store(process, Ordering::Relaxed);
        self.anchor.store(now.word(), Ordering::Relaxed);
    }
}
