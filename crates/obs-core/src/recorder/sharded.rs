//! The sharded recorder: a run writes to cells that its thread has for itself, without a lock or a
//! locked instruction; before each collection the cells' growth is replayed into the instruments.
//!
//! Replaying calls the same instruments that a direct recorder calls, so temporality, views and
//! exporters work unchanged. A bucket that grew by n runs is replayed as n values that lie in that
//! bucket and add up to what the runs added up to.

mod cells;
mod fine;
mod replay;
mod table;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread::LocalKey,
    time::Duration,
};

use super::{RunEnd, direct::DirectSeries, exemplars::KeptRun};
use crate::{
    durations::Durations,
    exemplar::Exemplars,
    ledger::{Book, SeriesDrops},
    per_thread::{Local, PerThread, Slots},
    status::Status,
};
use cells::Cells;
pub(super) use fine::{place_of, places};
use replay::Replay;
pub(super) use table::{DurationTable, NodeTable};

/// A series whose runs are counted in cells.
pub(super) struct ShardedSeries {
    durations: Arc<DurationTable>,
    nodes: NodeTable,
    cells: PerThread<Cells>,
    replay: Mutex<Replay>,
    instruments: DirectSeries,
}

impl Local for Cells {
    fn own() -> &'static LocalKey<Slots<Self>> {
        thread_local! {
            static OWN: Slots<Cells> = const { Slots::new() };
        }
        &OWN
    }
}

impl ShardedSeries {
    pub(super) fn new(
        instruments: DirectSeries,
        durations: Arc<DurationTable>,
        book: &Arc<Book>,
    ) -> Self {
        let nodes = NodeTable::new();
        let node_buckets = nodes.len();
        let book = Arc::clone(book);
        Self {
            cells: PerThread::new(move |whose| Cells::new(node_buckets, book.runs_of(whose))),
            replay: Mutex::new(Replay::new(&durations, &nodes)),
            durations,
            nodes,
            instruments,
        }
    }
}

impl ShardedSeries {
    #[inline]
    pub(super) fn started(&self, book: &Book) {
        if self.cells.with_known(|own| Self::start_in(own, book)).is_none() {
            self.cells.with_new_or_shared(&|own| Self::start_in(own, book));
        }
    }

    #[inline(always)]
    pub(super) fn ended(&self, book: &Book, end: &RunEnd<'_>) {
        if self.cells.with_known(|own| self.end_in(own, book, end)).is_none() {
            self.cells.with_new_or_shared(&|own| self.end_in(own, book, end));
        }
        self.instruments.measure_rare(end);
    }

    #[inline(always)]
    fn start_in(own: &Cells, book: &Book) {
        own.start();
        match own.runs() {
            Some(runs) => runs.started(),
            None => book.started(),
        }
    }

    #[inline(always)]
    fn end_in(&self, own: &Cells, book: &Book, end: &RunEnd<'_>) {
        own.nodes(self.nodes.bucket(end.nodes)).add(end.nodes);
        let durations = own.durations(end.status.index(), &self.durations);
        durations.add(end.nanos, self.durations.bucket(end.nanos));
        match own.runs() {
            _ if end.kept => {}
            Some(runs) => runs.not_kept(end.status),
            None => book.not_kept(end.status),
        }
    }

    pub(super) fn drops(&self) -> &Arc<SeriesDrops> {
        self.instruments.drops()
    }

    pub(super) fn oldest(&self, age: Duration) {
        self.instruments.oldest(age);
    }

    #[inline]
    pub(super) fn kept(&self, run: &KeptRun) {
        self.instruments.kept(run);
    }

    pub(super) fn exemplars(&self) -> Vec<Exemplars> {
        self.instruments.exemplars()
    }

    /// The durations of this series' runs, one for each status that occurred.
    pub(super) fn durations(&self) -> Vec<Durations> {
        let replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock nobody hands out cells of ended threads, so these are all that are not retired.
        let living = self.cells.living();
        let of = |status| {
            let ranges = replay.fine(status, &living).ranges(&self.durations);
            let labels = self.instruments.labels();
            (!ranges.is_empty()).then(|| Durations::new(labels, status, ranges))
        };
        Status::ALL.into_iter().filter_map(of).collect()
    }

    /// How many runs were replayed.
    pub(super) fn drain(&self) -> u64 {
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody writes to the cells of ended threads any more: what is read now is all there is.
        let (ended, living) = self.cells.take_ended_and_see_living();
        replay.retire(&ended);
        let started_in = || self.cells.living();
        replay.run(&living, started_in, &self.instruments, &self.durations)
    }
}

impl fmt::Debug for ShardedSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShardedSeries").field(&self.instruments).finish()
    }
}
