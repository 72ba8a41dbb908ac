//! The seam between a run and the metrics: who implements it decides what a measurement costs.
//!
//! [`direct`] calls OpenTelemetry's synchronous instruments for every run; [`sharded`] counts in
//! cells that each thread has for itself, and replays them before a collection. An `Obs` that was
//! given no meter has [`Silent`].

mod direct;
mod instruments;
mod ledger_metrics;
pub mod otel;
mod registry;
mod sharded;

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    adopter::RecordLabels,
    encode::Sanitized,
    in_flight::InFlight,
    kind::KindShared,
    ledger::{Book, SeriesDrops},
    sink::Sink,
    status::Status,
};

/// Makes the series of strategies.
pub(crate) trait Recorder: fmt::Debug + Send + Sync {
    /// The series of a strategy; strategies with the same labels share one.
    fn series(&self, labels: &SeriesLabels<'_>) -> Arc<dyn Series>;

    /// Where lost records of dead processes are counted that have these labels.
    fn drops(&self, labels: &RecordLabels<'_>) -> Arc<SeriesDrops>;

    /// Called once, when the ledger exists: exports it from then on.
    fn watch(&self, watched: &Watched<'_>);

    /// Counts what had to be changed in a record to make it valid.
    fn sanitized(&self, changed: &Sanitized);
}

/// What is exported beside the runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched<'a> {
    pub(crate) book: &'a Arc<Book>,
    pub(crate) sink: &'a Arc<dyn Sink>,
    pub(crate) in_flight: Option<&'a Arc<InFlight>>,
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
pub(crate) trait Series: fmt::Debug + Send + Sync {
    /// A run started: one more in flight.
    fn started(&self);

    /// A run ended: one fewer in flight, with the attributes of its increment.
    fn ended(&self, end: &RunEnd<'_>);

    /// Where lost records of this series are counted.
    fn drops(&self) -> &Arc<SeriesDrops>;

    /// How old the oldest run in flight is; zero if there is none. Said before a collection, and only
    /// where runs in flight have slots.
    fn oldest(&self, _age: Duration) {}

    /// Brings the instruments up to date with what was measured.
    fn drain(&self) {}
}

/// What is measured when a run ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunEnd<'a> {
    pub(crate) status: Status,
    pub(crate) nanos: u64,
    pub(crate) nodes: u64,
    /// How long the run waited for its start, where somebody said so.
    pub(crate) queued_nanos: Option<u64>,
    /// Only for failures.
    pub(crate) error_type: Option<&'a str>,
}

/// No metrics: only the losses are counted, for the ledger.
#[derive(Debug, Default)]
pub(crate) struct Silent {
    series: Arc<SilentSeries>,
}

#[derive(Debug, Default)]
struct SilentSeries {
    drops: Arc<SeriesDrops>,
}

impl Recorder for Silent {
    fn series(&self, _labels: &SeriesLabels<'_>) -> Arc<dyn Series> {
        Arc::clone(&self.series) as Arc<dyn Series>
    }

    fn drops(&self, _labels: &RecordLabels<'_>) -> Arc<SeriesDrops> {
        Arc::clone(&self.series.drops)
    }

    fn watch(&self, _watched: &Watched<'_>) {}

    fn sanitized(&self, _changed: &Sanitized) {}
}

impl Series for SilentSeries {
    fn started(&self) {}

    fn ended(&self, _end: &RunEnd<'_>) {}

    fn drops(&self) -> &Arc<SeriesDrops> {
        &self.drops
    }
}
