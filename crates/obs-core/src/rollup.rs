//! Runs added up by the minute: exact where rows are a sample.

use std::{fmt, sync::Arc, time::Duration};

use uuid::Uuid;

use crate::{record::Timestamp, status::Status};

/// The runs of one strategy that ended in one minute with one status.
///
/// Its values are absolute: a later rollup of the same epoch, minute, kind, realm, strategy and status
/// takes the place of an earlier one, so whoever stores one twice counts nothing twice.
///
/// The minute of a run is that of the first [drain](crate::Obs::drain) after its end. Minutes never go
/// back, whatever the wall clock does: while it is behind, runs belong to the latest minute so far.
///
/// ```
/// # use obs_core::Rollup;
/// fn mean_seconds(rollup: &Rollup) -> f64 {
///     rollup.duration_nanos as f64 / 1e9 / rollup.count as f64
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rollup {
    /// The process lifetime that counted it.
    pub epoch: Uuid,
    /// When the minute began.
    pub minute: Timestamp,
    /// Whether the minute is over: false where it was asked for before.
    pub complete: bool,
    /// The kind; `_OTHER` where the strategy found no room.
    pub kind: Arc<str>,
    /// The tenant, if there is one.
    pub realm: Option<Arc<str>>,
    /// The strategy; `_OTHER` where it found no room.
    pub strategy_id: Arc<str>,
    /// Its version; `_OTHER` where the strategy found no room.
    pub strategy_version: Arc<str>,
    /// How the runs ended.
    pub status: Status,
    /// How many there were: the counts of all buckets together.
    pub count: u64,
    /// How long they took together. Exact over all minutes; one minute may have some of the next one's,
    /// of runs that ended while it was read.
    pub duration_nanos: u128,
    /// How many nodes they executed together; as exact as the durations.
    pub nodes: u128,
    /// How long they took, in ascending order; buckets without a run are left out.
    pub durations: Vec<RollupBucket>,
}

/// Some runs of a [`Rollup`] that took equally long, to 1.6 % or 16 ns. No bucket lies on both sides of a
/// bound of the duration histogram.
///
/// ```
/// # use obs_core::{Rollup, RollupBucket};
/// fn slower_than(rollup: &Rollup, slo: std::time::Duration) -> u64 {
///     let is_slower = |bucket: &&RollupBucket| bucket.above >= slo;
///     rollup.durations.iter().filter(is_slower).map(|bucket| bucket.count).sum()
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollupBucket {
    /// None took less than this and one nanosecond; zero in the first bucket, where one may.
    pub above: Duration,
    /// None took longer.
    pub at_most: Duration,
    /// How many there were.
    pub count: u64,
}

impl RollupBucket {
    pub(crate) const fn new((low, high): (u64, u64), count: u64) -> Self {
        Self {
            above: Duration::from_nanos(low.saturating_sub(1)),
            at_most: Duration::from_nanos(high),
            count,
        }
    }
}

/// Where rollups go. Whoever takes them keeps them until they are stored: they are not handed out again,
/// except that those of an open minute are followed by those of the whole.
///
/// ```
/// use obs_core::{Rollup, RollupSink};
///
/// #[derive(Debug)]
/// struct Print;
///
/// impl RollupSink for Print {
///     fn take(&self, rollups: Vec<Rollup>) {
///         for rollup in rollups {
///             println!("{} {} {}: {}", rollup.minute.as_micros(), rollup.strategy_id, rollup.status, rollup.count);
///         }
///     }
/// }
///
/// let obs = obs_core::Obs::builder().rollups(std::sync::Arc::new(Print)).build()?;
/// obs.kind("dsl").lookup("bonus", "3").start().finish(Ok::<_, String>(()))?;
/// obs.roll_up();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait RollupSink: fmt::Debug + Send + Sync {
    /// Takes some rollups, at most 256. Called by whoever drains, on their thread, by one at a time; it
    /// should not wait, and must not drain.
    fn take(&self, rollups: Vec<Rollup>);
}
