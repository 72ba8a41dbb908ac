//! Brings the instruments up to date: what grew since the last time is replayed.
//!
//! R1 Ends are read before starts (C3), and the cells of starts are listed after the ends were read, so
//!    the level in flight is never negative; it is too high by the runs that ended meanwhile.
//! R2 If one cell cannot be read, because its writer was stopped in the middle, nothing of this
//!    round is replayed: the next one has it all.
//! R3 n new values of a bucket are replayed as n values inside the bucket that add up to the same. A
//!    new smallest or largest value is replayed as itself.

use std::sync::Arc;

use super::{
    bucket::Counted,
    cells::Cells,
    fine::FineTotals,
    table::{DurationTable, NODE_BUCKETS, seconds},
};
use crate::{
    recorder::{
        direct::DirectSeries,
        instruments::{Measured, Spread},
    },
    status::Status,
};

/// What cells add up to.
#[derive(Clone, Debug)]
struct Totals {
    durations: [Vec<Counted>; Status::ALL.len()],
    nodes: Vec<Counted>,
    started: u64,
}

impl Totals {
    fn new(durations: &DurationTable) -> Self {
        Self {
            durations: std::array::from_fn(|_| vec![Counted::default(); durations.len()]),
            nodes: vec![Counted::default(); NODE_BUCKETS],
            started: 0,
        }
    }

    /// Adds the ends of some cells; false if one could not be read.
    fn add_ends(&mut self, cells: &Cells) -> bool {
        cells.read_nodes(&mut self.nodes)
            && self
                .durations
                .iter_mut()
                .enumerate()
                .all(|(at, durations)| cells.read_durations(at, durations))
    }

    /// Of how many runs the nodes are counted.
    fn nodes_seen(&self) -> u64 {
        self.nodes.iter().map(|bucket| bucket.count).sum()
    }

    fn ended(&self) -> u64 {
        self.durations.iter().flatten().map(|bucket| bucket.count).sum()
    }
}

/// What was replayed so far, and the cells of threads that have ended.
pub(super) struct Replay {
    replayed: Totals,
    retired: Totals,
    retired_fine: [FineTotals; Status::ALL.len()],
}

impl Replay {
    pub(super) fn new(durations: &DurationTable) -> Self {
        let nothing = Totals::new(durations);
        Self { replayed: nothing.clone(), retired: nothing, retired_fine: Default::default() }
    }

    /// Keeps what threads counted that have ended. Nobody writes there any more, so it can be read.
    pub(super) fn retire(&mut self, cells: &[Arc<Cells>]) {
        for cells in cells {
            let readable = self.retired.add_ends(cells);
            debug_assert!(readable, "a thread that has ended writes no more");
            self.retired.started += cells.read_started();
            for (at, fine) in self.retired_fine.iter_mut().enumerate() {
                cells.read_fine(at, fine);
            }
        }
    }

    /// All fine counts of a status, as of now.
    #[expect(clippy::indexing_slicing, reason = "each status has totals")]
    pub(super) fn fine(&self, status: Status, living: &[Arc<Cells>]) -> FineTotals {
        let mut totals = self.retired_fine[status.index()].clone();
        living.iter().for_each(|cells| cells.read_fine(status.index(), &mut totals));
        totals
    }

    /// Replays what is new: how many runs ended since the last time.
    #[expect(clippy::indexing_slicing, reason = "each status has totals")]
    pub(super) fn run(
        &mut self,
        ended_in: &[Arc<Cells>],
        started_in: impl FnOnce() -> Vec<Arc<Cells>>,
        instruments: &DirectSeries,
        durations: &DurationTable,
    ) -> u64 {
        let mut now = self.retired.clone();
        if !ended_in.iter().all(|cells| now.add_ends(cells)) {
            return 0;
        }
        now.started += started_in().iter().map(|cells| cells.read_started()).sum::<u64>();
        let started = now.started - self.replayed.started;
        let ended = now.ended() - self.replayed.ended();
        // Nodes are read before the ends, so those of the last runs may come after all ends are replayed.
        let nodes = now.nodes_seen() - self.replayed.nodes_seen();
        if started == 0 && ended == 0 && nodes == 0 {
            return 0;
        }
        instruments.started.add(started);
        instruments.active.add(started.cast_signed() - ended.cast_signed());
        for (at, spread) in instruments.durations.iter().enumerate() {
            let before = &self.replayed.durations[at];
            replay(spread, before, &now.durations[at], &Seconds(durations.bounds()));
        }
        replay(&instruments.nodes, &self.replayed.nodes, &now.nodes, &Nodes);
        if let Some(total) = &instruments.nodes_total {
            let sum = |totals: &Totals| totals.nodes.iter().map(|bucket| bucket.sum).sum::<u128>();
            let grown = sum(&now) - sum(&self.replayed);
            total.add(u64::try_from(grown).unwrap_or(u64::MAX));
        }
        self.replayed = now;
        ended
    }
}

/// How whole numbers in cells become values of an instrument.
trait Scale {
    type Value: Measured;

    /// A value that was seen as such.
    fn exact(&self, value: u64) -> Self::Value;

    /// `count` values that add up to `sum`, each in the bucket `at`.
    fn even(&self, at: usize, sum: u128, count: u64, record: impl FnMut(Self::Value, u64));
}

fn replay<S: Scale>(spread: &Spread<S::Value>, before: &[Counted], now: &[Counted], scale: &S) {
    let smallest_before = before.iter().map(|bucket| bucket.min).min().unwrap_or(u64::MAX);
    let largest_before =
        before.iter().filter(|bucket| bucket.count > 0).map(|bucket| bucket.max).max();
    for (at, (before, now)) in before.iter().zip(now).enumerate() {
        let mut count = now.count - before.count;
        let mut sum = now.sum.saturating_sub(before.sum);
        if count == 0 {
            continue;
        }
        let alone = |value: u64, count: &mut u64, sum: &mut u128| {
            spread.record(scale.exact(value));
            *count -= 1;
            *sum = sum.saturating_sub(value.into());
        };
        if now.min < smallest_before {
            alone(now.min, &mut count, &mut sum);
        }
        let is_new_largest = largest_before.is_none_or(|largest| now.max > largest);
        if count > 0 && is_new_largest && (now.max > now.min || now.min >= smallest_before) {
            alone(now.max, &mut count, &mut sum);
        }
        if count > 0 {
            scale.even(at, sum, count, |value, times| {
                (0..times).for_each(|_| spread.record(value));
            });
        }
    }
}

/// Nanoseconds as seconds.
struct Seconds<'b>(&'b [f64]);

impl Scale for Seconds<'_> {
    type Value = f64;

    fn exact(&self, value: u64) -> f64 {
        seconds(value)
    }

    fn even(&self, at: usize, sum: u128, count: u64, mut record: impl FnMut(f64, u64)) {
        #[expect(clippy::cast_precision_loss, reason = "a sum of nanoseconds is wanted to 1e-11")]
        let mean = sum as f64 / count as f64 / 1e9;
        // Rounding must not carry a mean across a bound.
        let below = at.checked_sub(1).and_then(|below| self.0.get(below));
        let above = below.map_or(0.0, |bound| bound.next_up());
        let at_most = self.0.get(at).copied().unwrap_or(f64::MAX);
        record(mean.clamp(above.min(at_most), at_most), count);
    }
}

/// Nodes as they are: a whole mean for some, one more for the others.
struct Nodes;

impl Scale for Nodes {
    type Value = u64;

    fn exact(&self, value: u64) -> u64 {
        value
    }

    fn even(&self, _at: usize, sum: u128, count: u64, mut record: impl FnMut(u64, u64)) {
        let low = u64::try_from(sum / u128::from(count)).unwrap_or(u64::MAX);
        let more = u64::try_from(sum % u128::from(count)).unwrap_or(0);
        record(low, count - more);
        if more > 0 {
            record(low + 1, more);
        }
    }
}
