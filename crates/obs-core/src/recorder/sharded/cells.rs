//! What one thread counts of one series: written by that thread alone, read by the drain.
//!
//! C1 One thread writes, so a plain load and store count; no other core's cache line is touched.
//! C2 A [`Bucket`] is read as it was at one moment, or not at all.
//! C3 A start is written before the run's end can be, and the drain reads ends before starts, so it
//!    never sees more ends than starts.
//! C4 What the drain remembers of a bucket it keeps for itself. It never writes here, so the writer's lines
//!    are shared with it after a drain, and not lost to it.

use std::{
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    bucket::{Bucket, Counted},
    fine::{Fine, FineTotals},
    table::{DurationTable, NODE_BUCKETS, node_bucket},
};
use crate::{
    ledger::{Book, Runs},
    recorder::{Figures, RunEnd},
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
    fn new(table: &DurationTable) -> Self {
        let buckets = (0..table.len()).map(|_| Bucket::default()).collect();
        Self { buckets, fine: Fine::new(table) }
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

    /// As [`end`](Self::end), of a run that ended well and is not kept, as most do. Not a part of its caller, which
    /// looks this thread's cells up in a closure that the compiler takes apart only while it is small; so what it
    /// needs travels in registers.
    #[inline(never)]
    pub(super) fn end_ok(&self, figures: Figures) -> bool {
        self.end_inlined(Status::Ok, false, figures)
    }

    /// A run ended. One that is not kept is counted in the ledger, too. False where nothing was counted: for the first
    /// that ends so on this thread, for those of ending threads, and for one with more or fewer nodes than all in its
    /// bucket before, or a longer or shorter one.
    #[inline(never)]
    pub(super) fn end(&self, status: Status, kept: bool, figures: Figures) -> bool {
        self.end_inlined(status, kept, figures)
    }

    #[inline(always)]
    #[expect(
        clippy::indexing_slicing,
        reason = "each status has spreads, and each value that the tables find a bucket"
    )]
    fn end_inlined(&self, status: Status, kept: bool, figures: Figures) -> bool {
        let (Some(durations), Some(runs)) = (self.durations[status.index()].get(), &self.runs)
        else {
            return false;
        };
        let (bucket, place) = self.table.find(figures.nanos);
        let (nodes, nanos) = (&self.nodes[node_bucket(figures.nodes)], &durations.buckets[bucket]);
        let Some(sum_of_nodes) = nodes.sum_with(figures.nodes) else { return false };
        let Some(sum_of_nanos) = nanos.sum_with(figures.nanos) else { return false };
        nodes.add_within(sum_of_nodes);
        nanos.add_within(sum_of_nanos);
        durations.fine.add(place);
        if !kept {
            runs.not_kept(status);
        }
        true
    }

    /// The same for any run.
    pub(super) fn end_any(&self, book: &Book, end: &RunEnd<'_>) {
        if !self.end(end.status, end.kept, end.figures) {
            self.end_rare(book, end);
        }
    }

    #[cold]
    #[inline(never)]
    #[expect(
        clippy::indexing_slicing,
        reason = "each status has spreads, and each value that the tables find a bucket"
    )]
    fn end_rare(&self, book: &Book, end: &RunEnd<'_>) {
        let Figures { nanos, nodes } = end.figures;
        let table = &self.table;
        let durations = self.durations[end.status.index()].get_or_init(|| Spreads::new(table));
        let (bucket, place) = table.find(nanos);
        self.nodes[node_bucket(nodes)].add(nodes);
        durations.buckets[bucket].add(nanos);
        durations.fine.add(place);
        match &self.runs {
            _ if end.kept => {}
            Some(runs) => runs.not_kept(end.status),
            None => book.not_kept(end.status),
        }
    }

    pub(super) fn read_started(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    /// Adds what was counted to `nodes`.
    pub(super) fn read_nodes(&self, nodes: &mut [Counted]) -> bool {
        read_all(&self.nodes, nodes)
    }

    /// Adds what was counted to `durations`.
    #[expect(clippy::indexing_slicing, reason = "each status has spreads")]
    pub(super) fn read_durations(&self, status: usize, durations: &mut [Counted]) -> bool {
        self.durations[status].get().is_none_or(|known| read_all(&known.buckets, durations))
    }

    /// Adds the fine counts to `totals`.
    #[expect(clippy::indexing_slicing, reason = "each status has spreads")]
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
