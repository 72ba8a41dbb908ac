//! Which bucket a value belongs to, found by a table instead of a search.
//!
//! A value's highest bit and the three bits below it lead to the first bucket that it could be in;
//! from there at most a few comparisons remain. The buckets are split exactly at the explicit bounds
//! of the exported histogram: a bucket holds what is above the bound below and at most its own.

use crate::recorder::registry::NODE_BOUNDS;

/// Bits below the highest one that the table distinguishes.
const DETAIL_BITS: u32 = 3;
const SLOTS: usize = ((u64::BITS - DETAIL_BITS) as usize) << DETAIL_BITS;

/// Buckets over whole numbers.
#[derive(Debug)]
struct Table {
    /// The largest value of each bucket but the last.
    limits: Vec<u64>,
    /// The first bucket that a value of each slot could be in.
    first: Box<[u8; SLOTS]>,
}

impl Table {
    fn new(limits: Vec<u64>) -> Self {
        let mut first = Box::new([0; SLOTS]);
        for (slot, bucket) in first.iter_mut().enumerate() {
            let lowest = lowest_of(slot);
            let at = limits.partition_point(|limit| *limit < lowest);
            *bucket = u8::try_from(at).unwrap_or(u8::MAX);
        }
        Self { limits, first }
    }

    #[inline]
    fn bucket(&self, value: u64) -> usize {
        let mut bucket = usize::from(self.first[slot_of(value)]);
        while self.limits.get(bucket).is_some_and(|limit| value > *limit) {
            bucket += 1;
        }
        bucket
    }

    fn len(&self) -> usize {
        self.limits.len() + 1
    }
}

/// The slot of a value. Values below 8 share theirs with the 8 values above.
#[inline]
fn slot_of(value: u64) -> usize {
    const SHARED: u64 = 1 << DETAIL_BITS;
    let highest = (value | SHARED).ilog2();
    let detail = (value >> (highest - DETAIL_BITS)) & (SHARED - 1);
    ((highest - DETAIL_BITS) as usize) << DETAIL_BITS | usize::try_from(detail).unwrap_or(0)
}

/// The smallest value of a slot.
fn lowest_of(slot: usize) -> u64 {
    let (above, detail) = (slot >> DETAIL_BITS, (slot & ((1 << DETAIL_BITS) - 1)) as u64);
    if above == 0 { detail } else { ((1 << DETAIL_BITS) | detail) << above }
}

/// The buckets of durations, in nanoseconds here and in seconds outside.
#[derive(Debug)]
pub(crate) struct DurationTable {
    bounds: Vec<f64>,
    table: Table,
}

impl DurationTable {
    pub(in crate::recorder) fn new(bounds: Vec<f64>) -> Self {
        let table = Table::new(bounds.iter().map(|bound| nanos_at_most(*bound)).collect());
        Self { bounds, table }
    }

    /// The explicit bounds, in seconds.
    pub(in crate::recorder) fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    pub(in crate::recorder) fn bucket(&self, nanos: u64) -> usize {
        self.table.bucket(nanos)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The largest value of a bucket.
    pub(super) fn limit(&self, bucket: usize) -> u64 {
        self.table.limits.get(bucket).copied().unwrap_or(u64::MAX)
    }
}

/// The seconds of a duration in nanoseconds, exactly as `Duration::as_secs_f64` has them.
pub(super) fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}

/// The most nanoseconds whose seconds are at most `bound`.
fn nanos_at_most(bound: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounds are positive and checked; a cast of what is too large saturates"
    )]
    let mut nanos = (bound * 1e9).round() as u64;
    while nanos > 0 && seconds(nanos) > bound {
        nanos -= 1;
    }
    while nanos < u64::MAX && seconds(nanos + 1) <= bound {
        nanos += 1;
    }
    nanos
}

/// The buckets of nodes per run.
#[derive(Debug)]
pub(in crate::recorder) struct NodeTable(Table);

impl NodeTable {
    pub(super) fn new() -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the bounds are small whole numbers"
        )]
        Self(Table::new(NODE_BOUNDS.iter().map(|bound| *bound as u64).collect()))
    }

    pub(super) fn bucket(&self, nodes: u64) -> usize {
        self.0.bucket(nodes)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 6] = [0.0001, 0.00025, 0.0005, 0.25, 0.250_000_001, 10.0];

    /// What OpenTelemetry's histogram does.
    fn by_search(bounds: &[f64], value: f64) -> usize {
        bounds.partition_point(|bound| value > *bound)
    }

    #[test]
    fn slots_begin_with_their_lowest_value() {
        for value in (0..4096).chain([u64::MAX, u64::MAX / 2, 1 << 40, (1 << 40) - 1]) {
            assert!(lowest_of(slot_of(value)) <= value, "{value}");
        }
        for bit in 4..64 {
            let lowest = 1_u64 << bit;
            assert_eq!(lowest_of(slot_of(lowest)), lowest);
            assert!(slot_of(lowest - 1) < slot_of(lowest));
        }
    }

    #[test]
    fn values_next_to_every_bound_fall_where_a_search_puts_them() {
        let table = DurationTable::new(BOUNDS.to_vec());
        for bound in BOUNDS {
            let at = (bound * 1e9).round() as u64;
            for nanos in at - 2..=at + 2 {
                assert_eq!(table.bucket(nanos), by_search(&BOUNDS, seconds(nanos)), "{nanos} ns");
            }
        }
        assert_eq!(table.bucket(0), 0);
        assert_eq!(table.bucket(u64::MAX), BOUNDS.len());
    }

    #[test]
    fn nodes_fall_where_a_search_puts_them() {
        let table = NodeTable::new();
        for nodes in (0..20_100).chain([u64::MAX]) {
            assert_eq!(table.bucket(nodes), by_search(NODE_BOUNDS, nodes as f64), "{nodes}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_falls_where_a_search_puts_it(nanos: u64, shift in 0_u32..64) {
            let table = DurationTable::new(BOUNDS.to_vec());
            let nanos = nanos >> shift;
            prop_assert_eq!(table.bucket(nanos), by_search(&BOUNDS, seconds(nanos)));
        }
    }
}
