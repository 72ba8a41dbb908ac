//! What one thread counts for rollups: written by that thread alone, read by the drain.
//!
//! U1 A run's sums are written before the bucket that counts it, and read after it: sums may be ahead of
//!    the count, never behind.
//! U2 Beside each count stands how much of it the drain has seen. A place among the cells can so go from
//!    one strategy to another, and the cells of a thread that has ended are read a last time and let go.
//! U3 Memory is made at first use: 0.7 KB for a strategy and status, 0.5 KB for each power of two that
//!    its durations lie in.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::minute::Sums;
use crate::status::Status;

/// Places of durations that come into being together: a power of two has as many.
const CHUNK: usize = 64;
/// Strategies whose cells come into being together.
const BLOCK: usize = 64;

/// The cells of one thread, by the number of the strategy.
pub(super) struct Cells(Box<[OnceLock<Block>]>);

type Block = Box<[[OnceLock<Box<Ended>>; Status::ALL.len()]]>;

impl Cells {
    pub(super) fn new(strategies: usize) -> Self {
        Self((0..strategies.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect())
    }

    /// Counts a run that ended.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "there is a block for each number, in it a row for each status"
    )]
    pub(super) fn add(&self, strategy: usize, status: Status, run: &Measured) {
        let block = self.0[strategy / BLOCK]
            .get_or_init(|| (0..BLOCK).map(|_| Default::default()).collect());
        block[strategy % BLOCK][status.index()]
            .get_or_init(|| Box::new(Ended::new(run.places)))
            .add(run);
    }

    /// Adds what is new to `sums`. One reader at a time.
    #[expect(
        clippy::indexing_slicing,
        reason = "there is a block for each number, in it a row for each status"
    )]
    pub(super) fn take(&self, strategy: usize, status: Status, sums: &mut Option<Box<Sums>>) {
        let Some(block) = self.0[strategy / BLOCK].get() else { return };
        if let Some(ended) = block[strategy % BLOCK][status.index()].get() {
            ended.take(sums);
        }
    }
}

/// A run as the cells take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) nanos: u64,
    pub(super) nodes: u64,
    /// The place of its duration, of so many.
    pub(super) place: usize,
    pub(super) places: usize,
}

/// The runs of a strategy that ended with one status.
#[derive(Debug)]
struct Ended {
    count: Word,
    nanos: Word,
    nodes: Word,
    chunks: Box<[OnceLock<Box<Chunk>>]>,
}

/// A count and how much of it was seen. Both wrap.
#[derive(Debug, Default)]
struct Word {
    written: AtomicU64,
    seen: AtomicU64,
}

/// The writer's counts and the reader's apart, on cache lines of their own. A thread would have to count
/// 4 billion runs of one place between two drains to confuse them.
#[derive(Debug)]
#[repr(align(128))]
struct Chunk {
    written: [AtomicU32; CHUNK],
    seen: [AtomicU32; CHUNK],
}

impl Ended {
    fn new(places: usize) -> Self {
        Self {
            count: Word::default(),
            nanos: Word::default(),
            nodes: Word::default(),
            chunks: (0..places.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
        }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "there is a chunk for each place")]
    fn add(&self, run: &Measured) {
        self.nanos.add(run.nanos);
        self.nodes.add(run.nodes);
        let chunk = self.chunks[run.place / CHUNK].get_or_init(Box::default);
        let count = &chunk.written[run.place % CHUNK];
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        self.count.add(1);
    }

    fn take(&self, sums: &mut Option<Box<Sums>>) {
        // Written last: while it stands still, so does everything that was seen.
        if self.count.take() == 0 {
            return;
        }
        let mut count = 0;
        for (at, chunk) in self.chunks.iter().enumerate() {
            let Some(chunk) = chunk.get() else { continue };
            for (offset, (written, seen)) in chunk.written.iter().zip(&chunk.seen).enumerate() {
                let now = written.load(Ordering::Acquire);
                let grown = now.wrapping_sub(seen.swap(now, Ordering::Relaxed));
                if grown > 0 {
                    let sums = sums.get_or_insert_default();
                    sums.add_to_place(at * CHUNK + offset, grown.into());
                    count += u64::from(grown);
                }
            }
        }
        // The last reading may have seen a run before it was counted: then its sums are seen as well.
        if count > 0 {
            let sums = sums.get_or_insert_default();
            sums.add(count, self.nanos.take(), self.nodes.take());
        }
    }
}

impl Word {
    #[inline]
    fn add(&self, value: u64) {
        let now = self.written.load(Ordering::Relaxed).wrapping_add(value);
        self.written.store(now, Ordering::Release);
    }

    fn take(&self) -> u64 {
        let now = self.written.load(Ordering::Acquire);
        now.wrapping_sub(self.seen.swap(now, Ordering::Relaxed))
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self {
            written: [const { AtomicU32::new(0) }; CHUNK],
            seen: [const { AtomicU32::new(0) }; CHUNK],
        }
    }
}
