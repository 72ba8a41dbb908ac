//! Rollups: runs by strategy, status and minute, counted in cells of their own beside whatever else
//! measures a run, and handed to a [`RollupSink`].
//!
//! Only an `Obs` that was given a sink has them; a run of any other one does not come past here.
//!
//! Memory: of each thread that ran it, a strategy's cells; of the open minute, 0.1 KB and 0.1 KB for
//! each place of durations that has runs. Cells of threads that have ended are let go at the next drain.
//! At most [`ROLLUP_STRATEGIES_MAX`] strategies count apart, the rest counts together as `_OTHER`.

mod cells;
mod minute;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::LocalKey,
};

use uuid::Uuid;

use super::{
    Drained, Figures, Recorder, RunEnd, Series, SeriesLabels, Watched, Way,
    sharded::{DurationTable, places},
};
use crate::{
    adopter::RecordLabels,
    clock::Clock,
    durations::Durations,
    encode::Sanitized,
    exemplar::Exemplars,
    ledger::{Book, SeriesDrops},
    limits::{ROLLUP_BATCH_MAX, ROLLUP_STRATEGIES_MAX},
    per_thread::{Local, PerThread, Slots},
    record::Timestamp,
    rollup::{Rollup, RollupBucket, RollupSink},
};
use cells::{Cells, Measured};
use minute::{Entry, Key, Lease, Minute};

const MINUTE_MICROS: i64 = 60_000_000;

impl Local for Cells {
    fn own() -> &'static LocalKey<Slots<Self>> {
        thread_local! {
            static OWN: Slots<Cells> = const { Slots::new() };
        }
        &OWN
    }
}

/// A recorder whose runs are rolled up as well.
pub(crate) struct RolledUp {
    inner: Arc<dyn Recorder>,
    rollups: Arc<Rollups>,
}

/// What all rolled-up series share.
struct Rollups {
    sink: Arc<dyn RollupSink>,
    epoch: Uuid,
    clock: Clock,
    table: Arc<DurationTable>,
    /// The durations of each place.
    places: Vec<(u64, u64)>,
    cells: PerThread<Cells>,
    minute: Mutex<Minute>,
    /// One drain at a time, to the end of handing over: of two rollups of one key the later must win.
    turn: Mutex<()>,
}

/// A strategy's series, with its number in the cells.
pub(super) struct RolledSeries {
    inner: Arc<Series>,
    lease: Arc<Lease>,
    rollups: Arc<Rollups>,
}

impl RolledSeries {
    pub(super) const fn inner(&self) -> &Arc<Series> {
        &self.inner
    }

    #[inline(never)]
    pub(super) fn ended(&self, book: &Book, end: &RunEnd<'_>) {
        let Rollups { table, places, cells, .. } = &*self.rollups;
        let Figures { nanos, nodes } = end.figures;
        let (_, place) = table.find(nanos);
        let run = Measured { nanos, nodes, place, places: places.len() };
        cells.with(|own| own.add(self.lease.number, end.status, &run));
        self.inner.ended(book, end);
    }
}

impl RolledUp {
    pub(crate) fn new(
        inner: Arc<dyn Recorder>,
        sink: Arc<dyn RollupSink>,
        epoch: Uuid,
        clock: &Clock,
    ) -> Self {
        let table = inner.duration_table();
        let minute = Minute::new(minute_of(clock.wall()));
        let rollups = Rollups {
            sink,
            epoch,
            clock: clock.clone(),
            places: places(&table),
            table,
            cells: PerThread::new(|_| Cells::new(ROLLUP_STRATEGIES_MAX + 1)),
            minute: Mutex::new(minute),
            turn: Mutex::default(),
        };
        Self { inner, rollups: Arc::new(rollups) }
    }
}

impl Rollups {
    fn minute(&self) -> MutexGuard<'_, Minute> {
        self.minute.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is new to the minute that it is now, after the one before was handed over.
    fn drain(&self, with_open: bool) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut minute = self.minute();
        let (before, now) = (minute.number, minute_of(self.clock.wall()));
        let closed = if now > before { minute.close(now) } else { Vec::new() };
        let mut threads = self.cells.take_ended();
        threads.extend(self.cells.living());
        minute.read(|number, status, sums| {
            threads.iter().for_each(|cells| cells.take(number, status, sums));
        });
        let (open, number) = (with_open.then(|| minute.so_far()), minute.number);
        drop(minute);
        self.hand_over(before, true, closed);
        self.hand_over(number, false, open.unwrap_or_default());
        drop(turn);
    }

    fn hand_over(&self, minute: i64, complete: bool, entries: Vec<Entry>) {
        let mut entries = entries.into_iter();
        loop {
            let rollups: Vec<Rollup> = entries
                .by_ref()
                .take(ROLLUP_BATCH_MAX)
                .map(|entry| self.rollup(minute, complete, entry))
                .collect();
            if rollups.is_empty() {
                return;
            }
            self.sink.take(rollups);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "what was counted has a place in the table")]
    fn rollup(&self, minute: i64, complete: bool, (key, status, sums): Entry) -> Rollup {
        let bucket = |(place, count): (usize, u64)| RollupBucket::new(self.places[place], count);
        Rollup {
            epoch: self.epoch,
            minute: Timestamp::from_micros(minute.saturating_mul(MINUTE_MICROS)),
            complete,
            kind: key.kind,
            realm: key.realm,
            strategy_id: key.id,
            strategy_version: key.version,
            status,
            count: sums.count,
            duration_nanos: sums.nanos,
            nodes: sums.nodes,
            durations: sums.places.into_iter().map(bucket).collect(),
        }
    }
}

const fn minute_of(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(MINUTE_MICROS)
}

impl Recorder for RolledUp {
    fn series(&self, labels: &SeriesLabels<'_>) -> Arc<Series> {
        let key = Key {
            kind: Arc::clone(&labels.kind.name),
            realm: labels.realm.map(Into::into),
            id: labels.id.into(),
            version: labels.version.into(),
        };
        let inner = self.inner.series(labels);
        let lease = self.rollups.minute().lease(key);
        let rollups = Arc::clone(&self.rollups);
        Arc::new(Series(Way::RolledUp(Box::new(RolledSeries { inner, lease, rollups }))))
    }

    fn drops(&self, labels: &RecordLabels<'_>) -> Arc<SeriesDrops> {
        self.inner.drops(labels)
    }

    fn watch(&self, watched: &Watched<'_>) {
        self.inner.watch(watched);
    }

    fn drain(&self) -> Drained {
        self.rollups.drain(false);
        self.inner.drain()
    }

    fn roll_up(&self) {
        self.rollups.drain(true);
    }

    fn strategies_folded(&self) -> u64 {
        self.rollups.minute().folded
    }

    fn exemplars(&self) -> Vec<Exemplars> {
        self.inner.exemplars()
    }

    fn durations(&self) -> Vec<Durations> {
        self.inner.durations()
    }

    fn sanitized(&self, changed: &Sanitized) {
        self.inner.sanitized(changed);
    }
}

impl fmt::Debug for RolledUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RolledUp")
            .field("inner", &self.inner)
            .field("sink", &self.rollups.sink)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RolledSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RolledSeries")
            .field("inner", &self.inner)
            .field("number", &self.lease.number)
            .finish_non_exhaustive()
    }
}
