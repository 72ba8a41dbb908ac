//! The sharded recorder: a run writes to cells that its thread has for itself, without a lock or a
//! locked instruction; before each collection the cells' growth is replayed into the instruments.
//!
//! Replaying calls the same instruments that a direct recorder calls, so temporality, views and
//! exporters work unchanged. A bucket that grew by n runs is replayed as n values that lie in that
//! bucket and add up to what the runs added up to.

mod bucket;
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

use super::{Figures, RunEnd, direct::DirectSeries, exemplars::KeptRun};
use crate::{
    durations::Durations,
    exemplar::Exemplars,
    ledger::{Book, SeriesDrops},
    per_thread::{Local, PerThread, Position, Slots, with_known_at},
    status::Status,
};
use cells::Cells;
pub(super) use fine::places;
use replay::Replay;
pub(super) use table::DurationTable;

/// A series whose runs are counted in cells.
pub(super) struct ShardedSeries {
    durations: Arc<DurationTable>,
    cells: PerThread<Cells>,
    replay: Mutex<Replay>,
    instruments: DirectSeries,
}

/// The short way from a strategy to what this thread counts its runs in, past its series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    start: Position,
    end: Position,
}

impl Short {
    /// There is none.
    pub(super) const NONE: Self = Self { start: Position::NOWHERE, end: Position::NOWHERE };

    /// The same for runs whose ends somebody else counts as well.
    pub(super) const fn of_starts(self) -> Self {
        Self { end: Position::NOWHERE, ..self }
    }

    /// False where this thread has no cells yet, or there is no short way: nothing was counted then.
    #[inline(always)]
    pub(crate) fn started(self, book: &Book) -> bool {
        with_known_at(self.start, |own: &Cells| own.start(book)).is_some()
    }

    /// As for starts. What is rare about an end remains to be measured.
    #[inline(always)]
    pub(crate) fn ended(self, status: Status, kept: bool, figures: Figures) -> bool {
        with_known_at(self.end, |own: &Cells| match status {
            Status::Ok if !kept => own.end_ok(figures),
            _ => own.end(status, kept, figures),
        })
        .unwrap_or(false)
    }
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
        let (book, table) = (Arc::clone(book), Arc::clone(&durations));
        let cells = move |whose| Cells::new(book.runs_of(whose), Arc::clone(&table));
        Self {
            cells: PerThread::new(cells),
            replay: Mutex::new(Replay::new(&durations)),
            durations,
            instruments,
        }
    }
}

impl ShardedSeries {
    pub(super) fn short(&self) -> Short {
        let position = self.cells.position();
        Short { start: position, end: position }
    }

    pub(super) fn started(&self, book: &Book) {
        self.cells.with(|own| own.start(book));
    }

    pub(super) fn ended(&self, book: &Book, end: &RunEnd<'_>) {
        self.cells.with(|own| own.end_any(book, end));
        self.measure_rare(end);
    }

    #[inline]
    pub(super) fn measure_rare(&self, end: &RunEnd<'_>) {
        self.instruments.measure_rare(end);
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
