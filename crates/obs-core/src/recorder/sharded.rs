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
    sync::{Arc, Mutex, PoisonError},
    thread::LocalKey,
    time::Duration,
};

use super::{RunEnd, Series, direct::DirectSeries};
use crate::{
    ledger::SeriesDrops,
    per_thread::{Local, PerThread, Slots},
};
use cells::Cells;
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
            static OWN: Slots<Cells> = const { RefCell::new(Vec::new()) };
        }
        &OWN
    }
}

impl ShardedSeries {
    pub(super) fn new(instruments: DirectSeries, durations: Arc<DurationTable>) -> Self {
        let nodes = NodeTable::new();
        let node_buckets = nodes.len();
        Self {
            cells: PerThread::new(move || Cells::new(node_buckets)),
            replay: Mutex::new(Replay::new(&durations, &nodes)),
            durations,
            nodes,
            instruments,
        }
    }
}

impl Series for ShardedSeries {
    fn started(&self) {
        self.cells.with(Cells::start);
    }

    fn ended(&self, end: &RunEnd<'_>) {
        let (bucket, node_bucket) =
            (self.durations.bucket(end.nanos), self.nodes.bucket(end.nodes));
        self.cells.with(|own| {
            own.nodes(node_bucket).add(end.nodes);
            own.durations(end.status.index(), &self.durations)[bucket].add(end.nanos);
        });
        self.instruments.measure_rare(end);
    }

    fn drops(&self) -> &Arc<SeriesDrops> {
        self.instruments.drops()
    }

    fn oldest(&self, age: Duration) {
        self.instruments.oldest(age);
    }

    fn drain(&self) {
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody writes to the cells of ended threads any more: what is read now is all there is.
        let (ended, living) = self.cells.take_ended_and_see_living();
        replay.retire(&ended);
        let started_in = || self.cells.living();
        replay.run(&living, started_in, &self.instruments, &self.durations);
    }
}

impl fmt::Debug for ShardedSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShardedSeries").field(&self.instruments).finish()
    }
}
