//! What one thread counts of one series: written by that thread alone, read by the drain.
//!
//! C1 One thread writes, so a plain load and store count; no other core's cache line is touched.
//! C2 A bucket is guarded by a sequence number: odd while it is written, and two more for each value, so
//!    its half is the count. The drain reads it before and after, and what it read in between counts only
//!    if both are the same and even.
//! C3 A start is written before the run's end can be, and the drain reads ends before starts, so it
//!    never sees more ends than starts.
//! C4 What the drain remembers of a bucket it keeps for itself. It never writes here, so the writer's lines
//!    are shared with it after a drain, and not lost to it.

use std::{
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use super::{
    fine::{Fine, FineTotals},
    table::{DurationTable, NODE_BUCKETS, node_bucket},
};
use crate::{
    ledger::{Book, Runs},
    recorder::RunEnd,
    status::Status,
};

/// Aligned so that no two threads' cells share a pair of cache lines. What a run that ends well needs comes
/// first and fits into one line: beside it such a run touches one for its nodes and two for its duration.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Cells {
    started: AtomicU64,
    /// The thread's words in the ledger, found with its cells; `None` in the cells of ending threads.
    runs: Option<Arc<Runs>>,
    table: Arc<DurationTable>,
    /// By status; made at the first run that ends so.
    durations: [OnceLock<Spreads>; Status::ALL.len()],
    nodes: [Bucket; NODE_BUCKETS],
}

const _: () = assert!(
    Status::Ok.index() == 0
        && mem::offset_of!(Cells, durations) + size_of::<OnceLock<Spreads>>() <= 64
);

/// The durations of runs that ended with one status.
#[derive(Debug)]
pub(super) struct Spreads {
    buckets: Box<[Bucket]>,
    fine: Fine,
}

impl Spreads {
    #[inline(always)]
    pub(super) fn add(&self, nanos: u64, table: &DurationTable) {
        let (bucket, place) = table.find(nanos);
        self.buckets[bucket].add(nanos);
        self.fine.add(place);
    }
}

impl Cells {
    pub(super) fn new(runs: Option<Arc<Runs>>, table: Arc<DurationTable>) -> Self {
        Self {
            started: AtomicU64::new(0),
            runs,
            table,
            durations: Default::default(),
            nodes: Default::default(),
        }
    }

    /// A run started: one more in flight, here and in the ledger.
    #[inline(always)]
    pub(super) fn start(&self, book: &Book) {
        self.started.store(self.started.load(Ordering::Relaxed) + 1, Ordering::Release);
        match &self.runs {
            Some(runs) => runs.started(),
            None => book.started(),
        }
    }

    /// A run ended. One that is not kept is counted in the ledger, too. Not a part of its caller, which looks
    /// this thread's cells up in a closure that the compiler takes apart only while it is small.
    #[inline(never)]
    pub(super) fn end(&self, book: &Book, end: &RunEnd<'_>) {
        let RunEnd { status, nanos, nodes, kept, .. } = *end;
        self.nodes[node_bucket(nodes)].add(nodes);
        self.durations(status.index()).add(nanos, &self.table);
        match &self.runs {
            _ if kept => {}
            Some(runs) => runs.not_kept(status),
            None => book.not_kept(status),
        }
    }

    #[inline(always)]
    fn durations(&self, status: usize) -> &Spreads {
        match self.durations[status].get() {
            Some(known) => known,
            None => self.first_durations(status),
        }
    }

    #[cold]
    #[inline(never)]
    fn first_durations(&self, status: usize) -> &Spreads {
        let table = &self.table;
        self.durations[status].get_or_init(|| Spreads {
            buckets: (0..table.len()).map(|_| Bucket::default()).collect(),
            fine: Fine::new(table),
        })
    }

    pub(super) fn read_started(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    /// Adds what was counted to `nodes`.
    pub(super) fn read_nodes(&self, nodes: &mut [Counted]) -> bool {
        read_all(&self.nodes, nodes)
    }

    /// Adds what was counted to `durations`.
    pub(super) fn read_durations(&self, status: usize, durations: &mut [Counted]) -> bool {
        self.durations[status].get().is_none_or(|known| read_all(&known.buckets, durations))
    }

    /// Adds the fine counts to `totals`.
    pub(super) fn read_fine(&self, status: usize, totals: &mut FineTotals) {
        if let Some(known) = self.durations[status].get() {
            totals.add(&known.fine);
        }
    }
}

fn read_all(buckets: &[Bucket], totals: &mut [Counted]) -> bool {
    buckets.iter().zip(totals).all(|(bucket, total)| match bucket.read() {
        Some(counted) => {
            total.add(&counted);
            true
        }
        None => false,
    })
}

/// Values that fell into one bucket: half a cache line, and never in two.
#[derive(Debug)]
#[repr(align(32))]
struct Bucket {
    sequence: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }
}

/// What was read of a bucket, or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) count: u64,
    /// Wide, so that not even sums of the largest values overflow.
    pub(super) sum: u128,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Counted {
    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// How often the drain tries to read a bucket that is being written; then it leaves it for later.
const TRIES: u32 = 10_000;
/// After this many tries the writer was probably stopped in the middle: each further one first lets
/// other threads run.
const TRIES_IN_A_ROW: u32 = 100;

impl Bucket {
    #[inline(always)]
    fn add(&self, value: u64) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let sum = self.sum.load(Ordering::Relaxed).saturating_add(value);
        self.sum.store(sum, Ordering::Relaxed);
        if value < self.min.load(Ordering::Relaxed) {
            self.min.store(value, Ordering::Relaxed);
        }
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    /// A reading of one moment, or `None` if the writer was stopped in the middle of one.
    fn read(&self) -> Option<Counted> {
        for attempt in 0..TRIES {
            let before = self.sequence.load(Ordering::Acquire);
            let counted = Counted {
                count: before / 2,
                sum: self.sum.load(Ordering::Relaxed).into(),
                min: self.min.load(Ordering::Relaxed),
                max: self.max.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == self.sequence.load(Ordering::Relaxed) {
                return Some(counted);
            }
            if attempt < TRIES_IN_A_ROW {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicBool},
        thread,
    };

    use super::*;

    #[test]
    fn a_reading_is_of_one_moment_while_another_thread_writes() {
        let bucket = Arc::new(Bucket::default());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = thread::spawn({
            let (bucket, stop) = (Arc::clone(&bucket), Arc::clone(&stop));
            move || {
                // Every run adds its number: n runs add up to n (n + 1) / 2, and the largest is n.
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    bucket.add(number);
                }
                number
            }
        });
        for _ in 0..200_000 {
            if let Some(read) = bucket.read() {
                let expected = u128::from(read.count) * u128::from(read.count + 1) / 2;
                assert_eq!((read.sum, read.max), (expected, read.count));
            }
        }
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().unwrap();
        assert_eq!(bucket.read().unwrap().count, written);
    }

    #[test]
    fn a_bucket_whose_writer_stopped_in_the_middle_is_left_for_later() {
        let bucket = Bucket::default();
        bucket.add(5);
        bucket.sequence.store(3, Ordering::Relaxed);
        assert_eq!(bucket.read(), None);
        bucket.sequence.store(4, Ordering::Relaxed);
        assert_eq!(bucket.read().unwrap().count, 2);
    }
}
