//! What a flush or a shutdown did.

use std::fmt;

use obs_core::Ledger;
use obs_persist::{Drops, FlushReport, ShutdownReport};

use crate::{batch::Drained, export::ExportError};

/// What became of rows and metrics, in one line: of rows since the flush or shutdown began.
///
/// ```
/// # use obs::Environment;
/// use std::time::Duration;
///
/// let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
/// let report = telemetry.shutdown_blocking(Duration::from_secs(5));
/// assert!(report.is_complete());
/// assert_eq!(report.to_string(), "rows off; metrics not exported (no exporter)");
/// # Ok::<(), obs::InitError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the report says what was lost: log it"]
pub struct Report {
    /// What became of rows; `None` where rows are off.
    pub rows: Option<Rows>,
    /// What became of metrics.
    pub export: Result<Exported, ExportError>,
    /// What became of log records, spans and reports of errors: one for each exporter of theirs.
    pub signals: Vec<SignalReport>,
    /// The whole account since the start, when all was done.
    pub ledger: Ledger,
}

/// What became of a signal that leaves in batches.
///
/// ```
/// # use obs::SignalReport;
/// fn all_went_well(report: &SignalReport) -> bool {
///     report.failure.is_none() && report.lost == 0
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignalReport {
    /// `logs`, `traces` or `errors`.
    pub signal: &'static str,
    /// What was lost since the start.
    pub lost: u64,
    /// Why what waited did not reach its target by the deadline.
    pub failure: Option<String>,
}

/// What became of the rows that were queued when the flush or shutdown began. What became of those before is in
/// [`Report::ledger`], which counts since the start.
///
/// ```
/// # use obs::Rows;
/// fn lost(rows: &Rows) -> u64 {
///     rows.dropped.total() + rows.left
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rows {
    /// Rows that the store has committed since.
    pub persisted: u64,
    /// Rows that the store does not take, set aside in the quarantine since.
    pub quarantined: u64,
    /// Rows that stay in the spool: the next process writes them.
    pub spooled: u64,
    /// Rows that were lost since, by reason: not those that were lost before.
    pub dropped: Drops,
    /// Rows that still wait for the store.
    pub left: u64,
    /// Whether every row was settled by the deadline.
    pub complete: bool,
}

/// What became of metrics when nothing went wrong.
///
/// ```
/// assert_ne!(obs::Exported::Done, obs::Exported::Off);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exported {
    /// They reached the exporter's target.
    Done,
    /// There is no exporter.
    Off,
}

impl Report {
    /// Whether every row was settled and the metrics reached their target, by the deadline.
    ///
    /// ```
    /// # use obs::Environment;
    /// # use std::time::Duration;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// assert!(telemetry.flush_blocking(Duration::from_secs(1)).is_complete());
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.export.is_ok()
            && self.signals.iter().all(|signal| signal.failure.is_none())
            && self.rows.as_ref().is_none_or(|rows| rows.complete)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rows {
            Some(rows) => {
                let Rows { persisted, quarantined, spooled, dropped, left, .. } = rows;
                write!(f, "{persisted} rows persisted, ")?;
                if *quarantined > 0 {
                    write!(f, "{quarantined} quarantined, ")?;
                }
                if *spooled > 0 {
                    write!(f, "{spooled} spooled, ")?;
                }
                write!(f, "{dropped} dropped, {left} left")?;
            }
            None => f.write_str("rows off")?,
        }
        match &self.export {
            Ok(Exported::Done) => f.write_str("; metrics exported"),
            Ok(Exported::Off) => f.write_str("; metrics not exported (no exporter)"),
            Err(error) => write!(f, "; {error}"),
        }?;
        for SignalReport { signal, lost, failure } in &self.signals {
            match failure {
                Some(failure) => write!(f, "; {failure}")?,
                None => write!(f, "; {signal} exported")?,
            }
            if *lost > 0 {
                write!(f, ", {lost} {signal} lost")?;
            }
        }
        Ok(())
    }
}

impl From<Drained> for SignalReport {
    fn from(drained: Drained) -> Self {
        let Drained { signal, lost, failure } = drained;
        Self { signal, lost, failure }
    }
}

impl From<FlushReport> for Rows {
    fn from(report: FlushReport) -> Self {
        let FlushReport { persisted, quarantined, spooled, dropped, left, complete, .. } = report;
        Self { persisted, quarantined, spooled, dropped, left, complete }
    }
}

impl From<ShutdownReport> for Rows {
    fn from(report: ShutdownReport) -> Self {
        let ShutdownReport { persisted, quarantined, spooled, dropped, left, complete, .. } =
            report;
        Self { persisted, quarantined, spooled, dropped, left, complete }
    }
}
