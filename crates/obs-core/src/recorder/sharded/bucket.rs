//! Values that one thread counts and another reads, without a lock.
//!
//! A sequence number guards them: odd while they are written, and two more for each value, so its half is the
//! count. The reader reads it before and after, and what it read in between counts only if both are the same and
//! even. `crates/obs-core/loom` has every interleaving of the two.

use crate::sync::{AtomicU64, Ordering, fence};

/// Values that fell into one bucket: half a cache line, and never in two.
#[derive(Debug)]
#[repr(align(32))]
pub(crate) struct Bucket {
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
pub(crate) struct Counted {
    pub(crate) count: u64,
    /// Wide, so that not even sums of the largest values overflow.
    pub(crate) sum: u128,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Counted {
    pub(crate) fn add(&mut self, other: &Self) {
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
    pub(crate) fn add(&self, value: u64) {
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
    pub(crate) fn read(&self) -> Option<Counted> {
        for attempt in 0..TRIES {
            if let Some(counted) = self.try_read() {
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

    /// The same, asked once.
    pub(crate) fn try_read(&self) -> Option<Counted> {
        let before = self.sequence.load(Ordering::Acquire);
        let counted = Counted {
            count: before / 2,
            sum: self.sum.load(Ordering::Relaxed).into(),
            min: self.min.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let still = before == self.sequence.load(Ordering::Relaxed);
        (before.is_multiple_of(2) && still).then_some(counted)
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
