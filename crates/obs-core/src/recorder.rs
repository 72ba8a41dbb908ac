//! The seam between a run and the metrics: who implements it decides what a measurement costs.
//!
//! [`direct`] calls OpenTelemetry's synchronous instruments for every run; [`sharded`] counts in
//! cells that each thread has for itself, and replays them before a collection. An `Obs` that was
//! given no meter has [`Silent`].

mod direct;
mod exemplars;
mod instruments;
mod ledger_metrics;
pub mod otel;
mod registry;
mod rollups;
mod sharded;

use std::{fmt, sync::Arc, time::Duration};

use direct::DirectSeries;
pub(crate) use exemplars::KeptRun;
use rollups::RolledSeries;
pub(crate) use rollups::RolledUp;
pub(crate) use sharded::Short;
use sharded::{DurationTable, ShardedSeries};

use crate::{
    adopter::RecordLabels,
    durations::Durations,
    encode::Sanitized,
    exemplar::Exemplars,
    in_flight::InFlight,
    kind::KindShared,
    ledger::{Book, SeriesDrops},
    policy::Standing,
    sink::Sink,
    status::Status,
};

/// Makes the series of strategies.
pub(crate) trait Recorder: fmt::Debug + Send + Sync {
    /// The series of a strategy; strategies with the same labels share one.
    fn series(&self, labels: &SeriesLabels<'_>) -> Arc<Series>;

    /// Where lost records of dead processes are counted that have these labels.
    fn drops(&self, labels: &RecordLabels<'_>) -> Arc<SeriesDrops>;

    /// Called once, when the ledger exists: exports it from then on.
    fn watch(&self, watched: &Watched<'_>);

    /// Brings the instruments up to date with what was measured, a bounded part of it.
    fn drain(&self) -> Drained {
        Drained::Done
    }

    /// Drains the rollups, and hands out those of the open minute.
    fn roll_up(&self) {}

    /// Strategies that found no room in the rollups.
    fn strategies_folded(&self) -> u64 {
        0
    }

    /// The buckets of durations.
    fn duration_table(&self) -> Arc<DurationTable> {
        Arc::new(DurationTable::new(otel::DURATION_BOUNDS.to_vec()))
    }

    /// The durations of all runs, by series and status.
    fn durations(&self) -> Vec<Durations> {
        Vec::new()
    }

    /// The last kept runs by series and bucket.
    fn exemplars(&self) -> Vec<Exemplars> {
        Vec::new()
    }

    /// Counts what had to be changed in a record to make it valid.
    fn sanitized(&self, changed: &Sanitized);
}

/// What [`Obs::drain`](crate::Obs::drain) left to do.
///
/// ```
/// # let obs = obs_core::Obs::builder().build()?;
/// assert_eq!(obs.drain(), obs_core::Drained::Done);
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "there may be more to do"]
pub enum Drained {
    /// Nothing.
    Done,
    /// Some series: call again.
    More,
}

/// What is exported beside the runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched<'a> {
    pub(crate) book: &'a Arc<Book>,
    pub(crate) sink: &'a Arc<dyn Sink>,
    pub(crate) in_flight: Option<&'a Arc<InFlight>>,
    pub(crate) policy: &'a Arc<Standing>,
}

/// What a strategy's metrics are told apart by, as the caller gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesLabels<'a> {
    pub(crate) kind: &'a KindShared,
    pub(crate) realm: Option<&'a str>,
    pub(crate) strategy_type: Option<&'a str>,
    pub(crate) id: &'a str,
    pub(crate) version: &'a str,
}

/// Where one strategy's runs are measured.
#[derive(Debug)]
pub(crate) struct Series(Way);

/// The ways to measure. Not a trait object, because each run passes here twice: the compiler can put
/// what a way does into the run's end.
#[derive(Debug)]
enum Way {
    Silent(Arc<SeriesDrops>),
    EachRun(Box<DirectSeries>),
    InCells(Box<ShardedSeries>),
    /// By strategy and minute, beside one of the others.
    RolledUp(Box<RolledSeries>),
}

impl Series {
    /// A run started: one more in flight, here and in the ledger.
    #[inline(never)]
    pub(crate) fn started(&self, book: &Book) {
        match &self.0 {
            Way::InCells(series) => series.started(book),
            Way::EachRun(series) => {
                book.started();
                series.started();
            }
            Way::Silent(_) => book.started(),
            Way::RolledUp(series) => series.inner().started(book),
        }
    }

    /// The short way that this thread's runs take, where there is one.
    pub(crate) fn short(&self) -> Short {
        match &self.0 {
            Way::InCells(series) => series.short(),
            Way::RolledUp(series) => series.inner().short().of_starts(),
            Way::EachRun(_) | Way::Silent(_) => Short::NONE,
        }
    }

    /// The series that strategies with the same labels share.
    pub(crate) fn shared(series: &Arc<Self>) -> &Arc<Self> {
        match &series.0 {
            Way::RolledUp(rolled) => rolled.inner(),
            Way::Silent(_) | Way::EachRun(_) | Way::InCells(_) => series,
        }
    }

    /// A run ended: one fewer in flight, with the attributes of its increment. The ledger's word for one
    /// that is not kept is counted here too, because whoever has found this thread's cells has found it.
    #[inline(never)]
    pub(crate) fn ended(&self, book: &Book, end: &RunEnd<'_>) {
        match &self.0 {
            Way::InCells(series) => return series.ended(book, end),
            Way::EachRun(series) => series.ended(end),
            Way::RolledUp(series) => return series.ended(book, end),
            Way::Silent(_) => {}
        }
        if !end.kept {
            book.not_kept(end.status);
        }
    }

    /// Where lost records of this series are counted.
    pub(crate) fn drops(&self) -> &Arc<SeriesDrops> {
        match &self.0 {
            Way::InCells(series) => series.drops(),
            Way::EachRun(series) => series.drops(),
            Way::Silent(drops) => drops,
            Way::RolledUp(series) => series.inner().drops(),
        }
    }

    /// How old the oldest run in flight is; zero if there is none. Said before a collection, and only
    /// where runs in flight have slots.
    pub(crate) fn oldest(&self, age: Duration) {
        match &self.0 {
            Way::InCells(series) => series.oldest(age),
            Way::EachRun(series) => series.oldest(age),
            Way::RolledUp(series) => series.inner().oldest(age),
            Way::Silent(_) => {}
        }
    }

    /// The record of a kept run was taken.
    pub(crate) fn kept(&self, run: &KeptRun) {
        match &self.0 {
            Way::InCells(series) => series.kept(run),
            Way::EachRun(series) => series.kept(run),
            Way::RolledUp(series) => series.inner().kept(run),
            Way::Silent(_) => {}
        }
    }

    fn exemplars(&self) -> Vec<Exemplars> {
        match &self.0 {
            Way::InCells(series) => series.exemplars(),
            Way::EachRun(series) => series.exemplars(),
            Way::RolledUp(series) => series.inner().exemplars(),
            Way::Silent(_) => Vec::new(),
        }
    }

    /// The durations of its runs, where they are counted in cells.
    fn durations(&self) -> Vec<Durations> {
        match &self.0 {
            Way::InCells(series) => series.durations(),
            Way::RolledUp(series) => series.inner().durations(),
            Way::EachRun(_) | Way::Silent(_) => Vec::new(),
        }
    }

    /// Brings the instruments up to date with what was measured: how many runs that were.
    fn drain(&self) -> u64 {
        match &self.0 {
            Way::InCells(series) => series.drain(),
            Way::RolledUp(series) => series.inner().drain(),
            Way::EachRun(_) | Way::Silent(_) => 0,
        }
    }
}

/// What is measured when a run ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunEnd<'a> {
    pub(crate) status: Status,
    pub(crate) figures: Figures,
    /// How long the run waited for its start, where somebody said so.
    pub(crate) queued_nanos: Option<u64>,
    /// Only for failures.
    pub(crate) error_type: Option<&'a str>,
    /// A kept run has been counted by its ticket, or will be.
    pub(crate) kept: bool,
}

/// What every run has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) nanos: u64,
    pub(crate) nodes: u64,
}

/// No metrics: only the losses are counted, for the ledger.
#[derive(Debug)]
pub(crate) struct Silent {
    series: Arc<Series>,
}

impl Default for Silent {
    fn default() -> Self {
        Self { series: Arc::new(Series(Way::Silent(Arc::default()))) }
    }
}

impl Recorder for Silent {
    fn series(&self, _labels: &SeriesLabels<'_>) -> Arc<Series> {
        Arc::clone(&self.series)
    }

    fn drops(&self, _labels: &RecordLabels<'_>) -> Arc<SeriesDrops> {
        Arc::clone(self.series.drops())
    }

    fn watch(&self, _watched: &Watched<'_>) {}

    fn sanitized(&self, _changed: &Sanitized) {}
}
