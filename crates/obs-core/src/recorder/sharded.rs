//! The sharded recorder: a run writes to cells that its thread has for itself, without a lock or a
//! locked instruction; before each collection the cells' growth is replayed into the instruments.
//!
//! Replaying calls the same instruments that a direct recorder calls, so temporality, views and
//! exporters work unchanged. A bucket that grew by n runs is replayed as n values that lie in that
//! bucket and add up to what the runs added up to.

mod cells;
mod replay;
mod table;

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{RunEnd, Series, direct::DirectSeries};
use crate::ledger::SeriesDrops;
use cells::Cells;
use replay::Replay;
pub(super) use table::{DurationTable, NodeTable};

/// A series whose runs are counted in cells.
pub(super) struct ShardedSeries {
    /// Its position in every thread's list of cells.
    id: usize,
    durations: Arc<DurationTable>,
    nodes: NodeTable,
    /// The cells of every thread that ever measured this series and still lives.
    threads: Mutex<Vec<Arc<Cells>>>,
    /// For threads that are ending and have no cells any more; written under its lock.
    orphans: Mutex<Arc<Cells>>,
    replay: Mutex<Replay>,
    instruments: DirectSeries,
}

thread_local! {
    /// This thread's cells, by the id of their series.
    static CELLS: RefCell<Vec<Option<Arc<Cells>>>> = const { RefCell::new(Vec::new()) };
}

/// What a thread notes in its cells.
#[derive(Clone, Copy)]
enum Event {
    Started,
    Ended { status: usize, bucket: usize, nanos: u64, node_bucket: usize, nodes: u64 },
}

impl ShardedSeries {
    pub(super) fn new(instruments: DirectSeries, durations: Arc<DurationTable>) -> Self {
        static NEXT_ID: AtomicUsize = AtomicUsize::new(0);
        let nodes = NodeTable::new();
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            threads: Mutex::default(),
            orphans: Mutex::new(Arc::new(Cells::new(&nodes))),
            replay: Mutex::new(Replay::new(&durations, &nodes)),
            durations,
            nodes,
            instruments,
        }
    }

    fn note(&self, event: Event) {
        let noted = CELLS.try_with(|cells| {
            let known = cells.borrow();
            if let Some(Some(own)) = known.get(self.id) {
                self.write(own, event);
                return;
            }
            drop(known);
            let own = self.new_cells();
            self.write(&own, event);
            let mut cells = cells.borrow_mut();
            if cells.len() <= self.id {
                cells.resize(self.id + 1, None);
            }
            cells[self.id] = Some(own);
        });
        if noted.is_err() {
            let orphans = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
            self.write(&orphans, event);
        }
    }

    /// Cells for this thread; made at its first run of this series.
    fn new_cells(&self) -> Arc<Cells> {
        let cells = Arc::new(Cells::new(&self.nodes));
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cells));
        cells
    }

    fn write(&self, cells: &Cells, event: Event) {
        match event {
            Event::Started => cells.start(),
            Event::Ended { status, bucket, nanos, node_bucket, nodes } => {
                cells.nodes(node_bucket).add(nodes);
                cells.durations(status, &self.durations)[bucket].add(nanos);
            }
        }
    }
}

impl Series for ShardedSeries {
    fn started(&self) {
        self.note(Event::Started);
    }

    fn ended(&self, end: &RunEnd<'_>) {
        let nanos = u64::try_from(end.duration.as_nanos()).unwrap_or(u64::MAX);
        self.note(Event::Ended {
            status: end.status.index(),
            bucket: self.durations.bucket(nanos),
            nanos,
            node_bucket: self.nodes.bucket(end.nodes),
            nodes: end.nodes,
        });
        self.instruments.count_failure(end);
    }

    fn drops(&self) -> &Arc<SeriesDrops> {
        self.instruments.drops()
    }

    fn drain(&self) {
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // Cells that only this list still holds belong to a thread that has ended: nobody writes to
        // them any more, so what is read of them now is all there will be.
        let ended =
            threads.extract_if(.., |cells| Arc::strong_count(cells) == 1).collect::<Vec<_>>();
        let living = threads.clone();
        drop(threads);
        // A thread that ended just now may have written until then.
        std::sync::atomic::fence(Ordering::Acquire);
        replay.retire(&ended);
        let orphans = Arc::clone(&self.orphans.lock().unwrap_or_else(PoisonError::into_inner));
        let all = living.iter().chain(std::iter::once(&orphans));
        replay.run(all, &self.instruments, &self.durations);
    }
}

impl fmt::Debug for ShardedSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShardedSeries").field(&self.instruments).finish()
    }
}
