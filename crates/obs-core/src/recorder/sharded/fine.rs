//! Fine buckets of durations, from which quantiles are read: 64 to each power of two, so at most 1.6 %
//! wide, and split exactly at the explicit bounds. Below a microsecond they are 16 ns wide; what takes
//! longer than 18 minutes falls into the last.
//!
//! A place is a value's slot plus its explicit bucket: slots and buckets both grow with the value, so no
//! two pairs have the same place, and a slot that a bound runs through has a place on either side. All
//! 2,000 places are made at once, 16 KB, because a run that is not kept must not allocate.

use std::sync::atomic::{AtomicU64, Ordering};

use super::table::DurationTable;

const DETAIL_BITS: u32 = 6;
/// Values are told apart by multiples of 16 ns.
const UNIT_BITS: u32 = 4;
/// Values above 2^40 ns count as that.
const VALUE_MAX: u64 = 1 << 40;
/// More than there are slots: a power of two, so that a mask keeps a slot inside.
pub(super) const SLOTS_ROOM: usize = 1 << 11;

/// One thread's counts of one series and status. Written by that thread alone.
#[derive(Debug)]
pub(super) struct Fine(Box<[AtomicU64]>);

impl Fine {
    pub(super) fn new(table: &DurationTable) -> Self {
        Self((0..len(table)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts a value whose place this is.
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "there is a count for each place of the table")]
    pub(super) fn add(&self, place: usize) {
        let count = &self.0[place];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// What fine buckets add up to.
#[derive(Clone, Debug, Default)]
pub(super) struct FineTotals(Vec<u64>);

impl FineTotals {
    pub(super) fn add(&mut self, Fine(counts): &Fine) {
        self.0.resize(counts.len(), 0);
        for (total, count) in self.0.iter_mut().zip(counts) {
            *total += count.load(Ordering::Relaxed);
        }
    }

    /// The counts that are not 0, in order: from, to (both inside), count; in nanoseconds.
    pub(super) fn ranges(&self, table: &DurationTable) -> Vec<(u64, u64, u64)> {
        let mut ranges = Vec::new();
        for_each_place(table, |place, low, high| {
            let count = self.0.get(place).copied().unwrap_or(0);
            if count > 0 {
                ranges.push((low, high, count));
            }
        });
        ranges
    }
}

/// How many places there are.
fn len(table: &DurationTable) -> usize {
    slot_of(VALUE_MAX) + table.len()
}

/// The smallest and the largest value of each place, in nanoseconds.
#[expect(clippy::indexing_slicing, reason = "each place that is shown is below their number")]
pub(in crate::recorder) fn places(table: &DurationTable) -> Vec<(u64, u64)> {
    let mut places = vec![(0, 0); len(table)];
    for_each_place(table, |place, low, high| places[place] = (low, high));
    places
}

/// Shows `see` every place in order, with its smallest and its largest value.
fn for_each_place(table: &DurationTable, mut see: impl FnMut(usize, u64, u64)) {
    let mut low = 0;
    for bucket in 0..table.len() {
        let high = table.limit(bucket);
        for slot in slot_of(low)..=slot_of(high) {
            see(slot + bucket, lowest_of(slot).max(low), highest_of(slot).min(high));
        }
        low = high.saturating_add(1);
    }
}

#[inline(always)]
pub(super) fn slot_of(value: u64) -> usize {
    const LINEAR: u64 = 1 << DETAIL_BITS;
    let units = value.min(VALUE_MAX) >> UNIT_BITS;
    // The first 64 units have a slot each; from there on, 64 slots share a power of two, and the highest bit of what is
    // left of the units is the slots before.
    let above = (units | LINEAR).ilog2() - DETAIL_BITS;
    ((above as usize) << DETAIL_BITS) + usize::try_from(units >> above).unwrap_or(0)
}

pub(super) fn lowest_of(slot: usize) -> u64 {
    let (above, detail) = (slot >> DETAIL_BITS, (slot & ((1 << DETAIL_BITS) - 1)) as u64);
    let units = match above {
        0 => detail,
        above => ((1 << DETAIL_BITS) | detail) << (above - 1),
    };
    units << UNIT_BITS
}

fn highest_of(slot: usize) -> u64 {
    if slot >= slot_of(VALUE_MAX) { u64::MAX } else { lowest_of(slot + 1) - 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 5] = [0.0001, 0.00025, 0.25, 0.250_000_001, 10.0];

    proptest! {
        #[test]
        fn every_value_is_found_again_in_a_narrow_range_on_its_side_of_every_bound(
            value: u64, shift in 0_u32..64,
        ) {
            let value = value >> shift;
            let table = DurationTable::new(BOUNDS.to_vec());
            let fine = Fine::new(&table);
            fine.add(table.find(value).1);
            let mut totals = FineTotals::default();
            totals.add(&fine);
            let ranges = totals.ranges(&table);
            prop_assert_eq!(ranges.len(), 1);
            let (low, high, count) = ranges[0];
            prop_assert_eq!(count, 1);
            prop_assert!((low..=high).contains(&value), "{low} {value} {high}");
            if value < VALUE_MAX {
                prop_assert!((high - low) as f64 <= (0.016 * low as f64).max(15.0), "{low} to {high}");
            }
            prop_assert_eq!(table.find(low), table.find(high));
        }
    }

    #[test]
    fn there_is_room_for_every_slot() {
        assert!(slot_of(u64::MAX) < SLOTS_ROOM);
    }

    #[test]
    fn ranges_do_not_overlap_and_keep_all_counts() {
        let table = DurationTable::new(BOUNDS.to_vec());
        let fine = Fine::new(&table);
        let values: Vec<u64> = (0..10_000)
            .map(|n| n * 37_003)
            .chain([249_999_999, 250_000_000, 250_000_001, 250_000_002, u64::MAX])
            .collect();
        values.iter().for_each(|value| fine.add(table.find(*value).1));
        let mut totals = FineTotals::default();
        totals.add(&fine);
        let ranges = totals.ranges(&table);
        assert_eq!(ranges.iter().map(|(_, _, count)| count).sum::<u64>(), values.len() as u64);
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
