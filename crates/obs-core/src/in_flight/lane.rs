//! What a thread has for itself: its blocks of slots, and what its runs' ids are made of.

use std::{
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    thread::LocalKey,
};

use uuid::Uuid;

use crate::{
    clock::{Clock, Tick},
    ids::{self, Free},
    per_thread::{Local, Slots},
    record::Timestamp,
    sync::{AtomicU64, Ordering},
};

/// The wall clock is read once in this time: in between, a run's start is reckoned from the monotonic
/// clock, so a jump of the wall clock shows so much later.
const ANCHOR_NANOS: u64 = 10_000_000;

/// Written by its thread only.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Lane {
    /// The slot that was taken last: the first one to try.
    last: AtomicUsize,
    /// What the clocks said when they were read together.
    anchor_tick: AtomicU64,
    anchor_wall: AtomicU64,
    free_high: AtomicU64,
    free_low: AtomicU64,
    process: AtomicU64,
    missed: AtomicU64,
    blocks: Mutex<Vec<u16>>,
}

/// As `anchor_tick`: far from every reading.
const NEVER: u64 = 1 << 63;
/// As `last`: there is no slot yet.
const NOWHERE: usize = usize::MAX;

impl Default for Lane {
    fn default() -> Self {
        Self {
            last: AtomicUsize::new(NOWHERE),
            anchor_tick: AtomicU64::new(NEVER),
            anchor_wall: AtomicU64::new(0),
            free_high: AtomicU64::new(0),
            free_low: AtomicU64::new(0),
            process: AtomicU64::new(0),
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

    /// Whether this is one of every `n` starts.
    pub(super) fn is_nth_start(&self, n: u64) -> bool {
        self.free_low.load(Ordering::Relaxed).is_multiple_of(n)
    }

    /// The id of a run that starts now, and its start.
    #[inline]
    pub(super) fn identity(&self, clock: &Clock, now: Tick) -> (Uuid, Timestamp) {
        let mut since = now.as_nanos().wrapping_sub(self.anchor_tick.load(Ordering::Relaxed));
        if since >= ANCHOR_NANOS || ids::forks() != self.process.load(Ordering::Relaxed) >> 32 {
            self.anchor(clock, now);
            since = 0;
        }
        let micros = self.anchor_wall.load(Ordering::Relaxed) + since / 1_000;
        let low = self.free_low.load(Ordering::Relaxed);
        self.free_low.store(low.wrapping_add(1), Ordering::Relaxed);
        let free = Free { high: self.free_high.load(Ordering::Relaxed), low };
        (ids::of(micros / 1_000, free), Timestamp::from_micros(micros.cast_signed()))
    }

    /// Reads the clocks together. A forked child begins ids of its own.
    #[cold]
    fn anchor(&self, clock: &Clock, now: Tick) {
        let process = ids::forks() << 32 | u64::from(std::process::id());
        if self.process.load(Ordering::Relaxed) != process {
            let free = Free::random();
            self.free_high.store(free.high, Ordering::Relaxed);
            self.free_low.store(free.low, Ordering::Relaxed);
            self.process.store(process, Ordering::Relaxed);
        }
        let wall = clock.wall().as_micros().max(0).cast_unsigned();
        self.anchor_tick.store(now.as_nanos(), Ordering::Relaxed);
        self.anchor_wall.store(wall, Ordering::Relaxed);
    }
}
