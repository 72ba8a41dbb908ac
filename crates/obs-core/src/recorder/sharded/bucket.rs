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
    /// From the smallest to the largest, so that one comparison tells whether a value lies between them. While there is
    /// no value, none lies there but the largest that there can be, which is where both stand.
    range: AtomicU64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            range: AtomicU64::new(0),
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
    /// The sum with this value, where sum and count are all that it changes; `None` where it is the smallest or the
    /// largest so far, or the sum overflows.
    #[inline(always)]
    pub(crate) fn sum_with(&self, value: u64) -> Option<u64> {
        let above = value.wrapping_sub(self.min.load(Ordering::Relaxed));
        if above > self.range.load(Ordering::Relaxed) {
            return None;
        }
        self.sum.load(Ordering::Relaxed).checked_add(value)
    }

    /// Counts a value with which the sum is this, by [`sum_with`](Self::sum_with).
    #[inline(always)]
    pub(crate) fn add_within(&self, sum: u64) {
        self.change(|| self.sum.store(sum, Ordering::Relaxed));
    }

    /// Counts any value.
    pub(crate) fn add(&self, value: u64) {
        let word = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (sum, min, range) = (word(&self.sum), word(&self.min), word(&self.range));
        let is_first = word(&self.sequence) == 0;
        let max = if is_first { value } else { value.max(min + range) };
        let min = value.min(min);
        self.change(|| {
            self.sum.store(sum.saturating_add(value), Ordering::Relaxed);
            self.min.store(min, Ordering::Relaxed);
            self.range.store(max - min, Ordering::Relaxed);
        });
    }

    /// Writes, in one piece for whoever reads.
    #[inline(always)]
    fn change(&self, write: impl FnOnce()) {
        let one_more = |order| {
            let sequence = self.sequence.load(Ordering::Relaxed);
            self.sequence.store(sequence + 1, order);
        };
        one_more(Ordering::Relaxed);
        fence(Ordering::Release);
        write();
        one_more(Ordering::Release);
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
        let count = before / 2;
        let (min, range) = (self.min.load(Ordering::Relaxed), self.range.load(Ordering::Relaxed));
        let counted = Counted {
            count,
            sum: self.sum.load(Ordering::Relaxed).into(),
            min,
            // Halves of two moments may be read here, and are thrown away below.
            max: if count == 0 { 0 } else { min.wrapping_add(range) },
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

    use proptest::prelude::*;

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
                    count(&bucket, number);
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

    /// As a run counts: the short way where it is open.
    fn count(bucket: &Bucket, value: u64) {
        match bucket.sum_with(value) {
            Some(sum) => bucket.add_within(sum),
            None => bucket.add(value),
        }
    }

    proptest! {
        #[test]
        fn whichever_way_values_are_counted_their_count_sum_and_ends_are_theirs(
            values in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..9, Just(u64::MAX)], 0..40),
        ) {
            let bucket = Bucket::default();
            values.iter().for_each(|value| count(&bucket, *value));
            let counted = bucket.read().unwrap();
            prop_assert_eq!(counted.count, values.len() as u64);
            let sum = values.iter().fold(0_u64, |sum, value| sum.saturating_add(*value));
            prop_assert_eq!(counted.sum, u128::from(sum));
            prop_assert_eq!(counted.min, values.iter().copied().min().unwrap_or(u64::MAX));
            prop_assert_eq!(counted.max, values.iter().copied().max().unwrap_or(0));
        }
    }

    #[test]
    fn a_value_between_those_before_goes_the_short_way_and_an_extreme_one_does_not() {
        let bucket = Bucket::default();
        assert_eq!(bucket.sum_with(5), None, "the first value is both");
        bucket.add(5);
        bucket.add(9);
        assert_eq!(bucket.sum_with(7), Some(21));
        assert_eq!((bucket.sum_with(4), bucket.sum_with(10)), (None, None));
        bucket.sum.store(u64::MAX - 6, Ordering::Relaxed);
        assert_eq!((bucket.sum_with(6), bucket.sum_with(7)), (Some(u64::MAX), None));
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
