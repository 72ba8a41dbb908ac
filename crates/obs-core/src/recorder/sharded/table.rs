//! Which bucket a value belongs to, found by a table instead of a search.
//!
//! A value's highest bit and some bits below it, its slot, lead to the first bucket that it could be in;
//! from there few comparisons remain. The buckets are split exactly at the explicit bounds of the exported
//! histogram: a bucket holds what is above the bound below and at most its own.

use super::fine;
use crate::recorder::registry::NODE_BOUNDS;

/// The buckets of durations, in nanoseconds here and in seconds outside. The slots are those of the fine
/// buckets, so that one of them leads to both.
#[derive(Debug)]
pub(crate) struct DurationTable {
    /// The largest value of each bucket; of the last, and of those that there are not, the largest value that there
    /// can be. As many as the numbers of buckets could be, so that none of them is outside.
    limits: [u64; BUCKETS_ROOM],
    /// The first bucket that a value of each slot could be in.
    first: [u8; fine::SLOTS_ROOM],
    bounds: Vec<f64>,
}

const BUCKETS_ROOM: usize = u8::MAX as usize + 1;

impl DurationTable {
    pub(in crate::recorder) fn new(bounds: Vec<f64>) -> Self {
        let mut limits = [u64::MAX; BUCKETS_ROOM];
        for (limit, bound) in limits.iter_mut().zip(&bounds) {
            *limit = nanos_at_most(*bound);
        }
        let mut first = [0; fine::SLOTS_ROOM];
        for (slot, bucket) in first.iter_mut().enumerate() {
            let lowest = fine::lowest_of(slot);
            let at = limits.partition_point(|limit| *limit < lowest);
            *bucket = u8::try_from(at).unwrap_or(u8::MAX);
        }
        Self { limits, first, bounds }
    }

    /// The explicit bounds, in seconds.
    pub(in crate::recorder) fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// The bucket of a duration, and its place among the fine ones.
    #[inline(always)]
    #[expect(
        clippy::indexing_slicing,
        reason = "a slot is taken modulo the length, and there is a limit for each value of a byte"
    )]
    pub(in crate::recorder) fn find(&self, nanos: u64) -> (usize, usize) {
        let slot = fine::slot_of(nanos);
        // The mask changes nothing: it lets the compiler see that there is such a slot.
        let mut bucket = self.first[slot % fine::SLOTS_ROOM];
        // No value is above the last one's limit.
        while nanos > self.limits[usize::from(bucket)] {
            bucket += 1;
        }
        (usize::from(bucket), slot + usize::from(bucket))
    }

    pub(super) fn len(&self) -> usize {
        self.bounds.len() + 1
    }

    /// The largest value of a bucket.
    pub(super) fn limit(&self, bucket: usize) -> u64 {
        self.limits.get(bucket).copied().unwrap_or(u64::MAX)
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

/// How many buckets of nodes per run there are.
pub(super) const NODE_BUCKETS: usize = NODE_BOUNDS.len() + 1;

/// Bits below the highest one that slots of nodes distinguish.
const DETAIL_BITS: u32 = 3;
const DETAILS: u64 = 1 << DETAIL_BITS;
/// A power of two, so that a mask keeps a slot inside.
const SLOTS: usize = ((u64::BITS - DETAIL_BITS) as usize).next_power_of_two() << DETAIL_BITS;
/// As many as a mask keeps a bucket inside.
const LIMITS: usize = NODE_BUCKETS.next_power_of_two();

/// The buckets of nodes per run. Their bounds are always the same, so the table is made by the compiler.
struct NodeTable {
    limits: [u64; LIMITS],
    first: [u8; SLOTS],
}

static NODES: NodeTable = NodeTable::new();

impl NodeTable {
    #[expect(
        clippy::indexing_slicing,
        reason = "the compiler runs it, and would refuse a place outside"
    )]
    const fn new() -> Self {
        let mut limits = [u64::MAX; LIMITS];
        let mut bucket = 0;
        while bucket < NODE_BOUNDS.len() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the bounds are small whole numbers"
            )]
            let limit = NODE_BOUNDS[bucket] as u64;
            limits[bucket] = limit;
            bucket += 1;
        }
        let mut first = [0; SLOTS];
        let mut slot = 0;
        while slot < SLOTS {
            while limits[first[slot] as usize] < lowest_of(slot) {
                first[slot] += 1;
            }
            slot += 1;
        }
        Self { limits, first }
    }
}

/// The bucket of so many nodes. No two bounds lie in one slot, so one comparison settles it.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "slot and bucket are taken modulo the lengths")]
pub(super) fn node_bucket(nodes: u64) -> usize {
    let first = usize::from(NODES.first[slot_of(nodes) % SLOTS]);
    first + usize::from(nodes > NODES.limits[first % LIMITS])
}

/// The slot of so many nodes. Fewer than 16 have a slot each.
#[inline(always)]
fn slot_of(nodes: u64) -> usize {
    let above = (nodes | DETAILS).ilog2() - DETAIL_BITS;
    ((above as usize) << DETAIL_BITS) + usize::try_from(nodes >> above).unwrap_or(0)
}

/// The fewest nodes of a slot.
const fn lowest_of(slot: usize) -> u64 {
    let (above, detail) = (slot >> DETAIL_BITS, slot as u64 & (DETAILS - 1));
    match above {
        0 => detail,
        above if above <= (u64::BITS - DETAIL_BITS) as usize => (DETAILS | detail) << (above - 1),
        // No value is that large.
        _ => u64::MAX,
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
        for bit in 3..64 {
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
                assert_eq!(table.find(nanos).0, by_search(&BOUNDS, seconds(nanos)), "{nanos} ns");
            }
        }
        assert_eq!(table.find(0).0, 0);
        assert_eq!(table.find(u64::MAX).0, BOUNDS.len());
    }

    #[test]
    fn nodes_fall_where_a_search_puts_them() {
        let large = (14..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for nodes in (0..20_100).chain(large).chain([u64::MAX]) {
            assert_eq!(node_bucket(nodes), by_search(NODE_BOUNDS, nodes as f64), "{nodes}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_falls_where_a_search_puts_it(nanos: u64, shift in 0_u32..64) {
            let table = DurationTable::new(BOUNDS.to_vec());
            let nanos = nanos >> shift;
            prop_assert_eq!(table.find(nanos).0, by_search(&BOUNDS, seconds(nanos)));
        }
    }
}
