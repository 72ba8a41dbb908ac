//! Exports: our own readers, on our own thread, with deadlines that hold.
//!
//! The SDK's periodic reader waits without a limit when it is flushed, ignores the timeout of its
//! shutdown, and needs a runtime of the application for gRPC. So this module reads the metrics by
//! hand on a private runtime: an export is an ordinary future there, and a deadline is an ordinary
//! timeout.

mod connect;
mod console;
mod grpc;
mod health;
mod http;
mod otlp;
mod outlet;
#[cfg(feature = "sentry")]
mod plain;
#[cfg(feature = "http")]
pub(crate) mod pull;
#[cfg(not(feature = "http"))]
#[path = "export/pull/absent.rs"]
pub(crate) mod pull;
mod reach;
mod reader;
mod runtime;
mod send;

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use opentelemetry::metrics::Meter;
use tokio::{runtime::Handle, task::JoinSet};

use crate::config::model::{MeterProvider, Periodic};
use health::Counts;
use outlet::Outlet;

pub(crate) use console::to_standard_output;
#[cfg(feature = "sentry")]
pub(crate) use plain::PlainClient;
pub use reach::Unreached;
pub(crate) use reach::{ADDRESSES_MAX, Trust, reach};
pub(crate) use reader::{Reader, Readers};
pub(crate) use runtime::{PrivateRuntime, Stop};
pub(crate) use send::{Again, Refusal, Sender, SenderError, Service, Taken};

/// The metrics that were not exported, and why.
///
/// ```
/// # use obs::{Environment, ExportError};
/// # use std::time::Duration;
/// // Nobody listens on port 1.
/// let telemetry = obs::builder()
///     .environment(Environment::empty())
///     .rows(false)
///     .endpoint("http://127.0.0.1:1")
///     .init()?;
/// let report = telemetry.flush_blocking(Duration::from_secs(5));
/// assert!(matches!(report.export, Err(ExportError::Failed { .. })), "{report}");
/// # Ok::<(), obs::InitError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The deadline came first.
    #[error(
        "metrics did not reach {target} within {deadline:?}: check that it answers, or allow more time"
    )]
    Deadline {
        /// Where the metrics go.
        target: String,
        /// The time that was allowed.
        deadline: Duration,
    },
    /// The target could not be reached, or refused the metrics.
    #[error("metrics did not reach {target}: {reason}")]
    Failed {
        /// Where the metrics go.
        target: String,
        /// What went wrong.
        reason: String,
    },
    /// The target took a part of the metrics only.
    #[error("{target} rejected {rejected} data points: {reason}")]
    Rejected {
        /// Where the metrics go.
        target: String,
        /// How many data points it did not take.
        rejected: u64,
        /// What it says.
        reason: String,
    },
    /// Several exporters failed.
    #[error("{}", Listed(.errors))]
    Several {
        /// One of each.
        errors: Vec<Self>,
    },
    /// Nothing is exported any more.
    #[error("exports have stopped: flush before shutdown")]
    Stopped,
    /// This process is a child, forked from the one that exports.
    #[error("a forked process exports nothing: start telemetry after the fork")]
    Forked,
}

/// Errors in one line.
struct Listed<'a>(&'a [ExportError]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, error)| {
            let gap = if at == 0 { "" } else { "; " };
            write!(f, "{gap}{error}")
        })
    }
}

/// A failure to start exporting.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Sender(#[from] SenderError),
    #[error("the system gave no thread for exports")]
    Thread(#[from] io::Error),
}

/// The running exports: a private runtime on a thread of its own.
#[derive(Debug)]
pub(crate) struct Exports {
    runtime: Handle,
    outlets: Vec<Arc<Outlet>>,
    counts: Arc<Counts>,
    stop: Stop,
}

impl Exports {
    /// Starts exporting, if the configuration wants it.
    pub(crate) fn start(
        settings: &MeterProvider,
        readers: &mut Readers,
    ) -> Result<Option<Self>, StartError> {
        let many = settings.periodic().count();
        if many == 0 {
            return Ok(None);
        }
        let runtime = PrivateRuntime::new(many)?;
        let handle = runtime.handle.clone();
        let counts = Arc::default();
        let outlets = {
            let _inside = handle.enter();
            let outlet = |settings: &Periodic| {
                let reader = readers.of(settings.exporter.temporality);
                Outlet::new(settings, reader, &counts).map(Arc::new)
            };
            settings.periodic().map(outlet).collect::<Result<Vec<_>, SenderError>>()?
        };
        let (stop, stopped) = Stop::new();
        let all = outlets.clone();
        runtime.spawn("obs-export", async move {
            // Ended by being dropped.
            let mut exporting = JoinSet::new();
            for outlet in all {
                exporting.spawn(outlet.at_every_interval());
            }
            // A sender that is gone is as good as a word.
            let _ = stopped.await;
        })?;
        Ok(Some(Self { runtime: handle, outlets, counts, stop }))
    }

    /// Says on which meter exports are counted.
    pub(crate) fn count_on(&self, meter: &Meter) {
        self.counts.count_on(meter, "metrics");
    }

    /// Exports now, to all at once. The future may be awaited on any executor, or dropped. In a forked child it is an
    /// error at once: there is no thread that could export.
    pub(crate) fn flush(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), ExportError>> + Send + 'static {
        let spawn =
            |outlet| self.runtime.spawn(Outlet::export_within(Arc::clone(outlet), deadline));
        let is_ours = !self.stop.is_forked();
        let exports = is_ours.then(|| self.outlets.iter().map(spawn).collect::<Vec<_>>());
        async move {
            let exports = exports.ok_or(ExportError::Forked)?;
            let mut errors = Vec::new();
            for export in exports {
                if let Err(error) = export.await.unwrap_or(Err(ExportError::Stopped)) {
                    errors.push(error);
                }
            }
            match errors.len() {
                0 => Ok(()),
                1 => Err(errors.remove(0)),
                _ => Err(ExportError::Several { errors }),
            }
        }
    }

    /// Ends the thread. An export under way is given up.
    pub(crate) fn stop(&self) {
        self.stop.stop();
    }
}

/// An error with its causes, as one sentence.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors repeat their cause in their own words.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
