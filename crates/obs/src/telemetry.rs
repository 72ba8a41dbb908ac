//! The one handle of an application: kinds, flush, shutdown.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use obs_core::{BuildError, Clock, Kind, KindSpec, Ledger, LivePolicy, Obs, StoreState};
use obs_persist::{Persister, Room, StoreWatch};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::sync::Mutex;

use crate::{
    block_on::block_on,
    drainer::Drainer,
    export::{ExportError, Exports, Reader, pull::Pull},
    heartbeat::Heartbeat,
    instruments::{Book, Instruments},
    logs::{Logs, LogsError},
    pipelines::Pipelines,
    policy_file::{PolicyFile, PolicyWatch},
    report::{Exported, Report, Rows, SignalReport},
    snapshot::{self, MetricsSnapshot},
};

/// How long dropping a [`Telemetry`] that was not shut down waits.
pub const DROP_DEADLINE: Duration = Duration::from_secs(3);

/// Rows may use a deadline but for this part of it, which the last export keeps: one fourth…
const EXPORT_SHARE: u32 = 4;
/// … and at most this.
const EXPORT_RESERVE_MAX: Duration = Duration::from_secs(2);
/// How long a flush waits for log lines, whose thread writes them at once unless their target stalls.
const LOG_FLUSH_MAX: Duration = Duration::from_millis(250);

/// Running telemetry: keep it for as long as the program runs, and shut it down at the end.
///
/// Dropping it is a shutdown with [`DROP_DEADLINE`]. Runs that end afterwards still work; their
/// rows are refused, and counted as `closed`.
///
/// ```
/// # use obs::Environment;
/// # use std::time::Duration;
/// let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
/// let bonus = telemetry.kind("dsl.execution").strategy("welcome-bonus").version("3").build()?;
/// let result: Result<f64, String> = bonus.observe(&(), |_run| Ok(12.5));
/// assert_eq!(telemetry.ledger().runs.finished, 1);
/// println!("{}", telemetry.shutdown_blocking(Duration::from_secs(5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping telemetry shuts it down: keep it until the program ends"]
pub struct Telemetry {
    parts: Parts,
    clock: Clock,
    /// The report of the shutdown, once there was one. Held while one is going on.
    ended: Mutex<Option<Report>>,
}

/// What a [`Telemetry`] is made of.
pub(crate) struct Parts {
    pub(crate) obs: Obs,
    pub(crate) rows: Option<RowStore>,
    pub(crate) exports: Option<Exports>,
    pub(crate) pull: Option<Pull>,
    pub(crate) snapshots: Option<Reader>,
    pub(crate) provider: SdkMeterProvider,
    pub(crate) instruments: Arc<Book>,
    pub(crate) drainer: Option<Drainer>,
    pub(crate) policy_watch: Option<PolicyWatch>,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) logs: Logs,
    pub(crate) pipelines: Pipelines,
    #[cfg(feature = "http")]
    pub(crate) propagation: obs_http::Propagation,
}

/// The store of rows and its worker.
pub(crate) struct RowStore {
    pub(crate) persister: Persister,
    /// Without a password.
    pub(crate) url: String,
}

/// No snapshot can be taken.
///
/// ```
/// # use obs::Environment;
/// let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
/// assert_eq!(
///     telemetry.snapshot().unwrap_err().to_string(),
///     "snapshots are off: switch them on with `obs::builder().snapshots(true)`"
/// );
/// # Ok::<(), obs::InitError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They were not asked for.
    #[error("snapshots are off: switch them on with `obs::builder().snapshots(true)`")]
    Off,
    /// The metrics could not be collected, e.g. because a callback of the application panicked.
    #[error("metrics cannot be collected: {0}")]
    Collect(String),
}

impl Telemetry {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, clock: Clock::default(), ended: Mutex::new(None) }
    }

    /// The kind of that name; the same one at every call.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let kind = telemetry.kind("dsl.execution");
    /// assert_eq!(kind.name(), "dsl.execution");
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn kind(&self, name: &str) -> Kind {
        self.parts.obs.kind(name)
    }

    /// Defines a kind with settings of its own, before its first strategy is built.
    ///
    /// # Errors
    /// When a name cannot be used, or the kind exists already.
    ///
    /// ```
    /// # use obs::{Environment, KindSpec};
    /// # use std::time::Duration;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let spec = KindSpec::new("dsl.execution").time_limit(Duration::from_secs(1));
    /// let kind = telemetry.define_kind(spec)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn define_kind(&self, spec: KindSpec) -> Result<Kind, BuildError> {
        self.parts.obs.define_kind(spec)
    }

    /// The instrumentation alone, for libraries that take an `obs_core::Obs`.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let obs: obs::Obs = telemetry.obs().clone();
    /// # let _ = obs;
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub const fn obs(&self) -> &Obs {
        &self.parts.obs
    }

    /// Which runs are kept, and how much of them: it may change while the process runs.
    ///
    /// ```
    /// # use obs::{Environment, KeepRule};
    /// # use std::time::Duration;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let all = KeepRule { strategy: Some("bonus".into()), keep_all: true, ..KeepRule::default() };
    /// telemetry.policy().add_for(all, Duration::from_secs(600))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn policy(&self) -> LivePolicy {
        self.parts.obs.policy()
    }

    /// How the policy of the file of settings is doing, which is read again when the file changes; `None` where there
    /// is no file, or one that can be read only once: a pipe, `<(…)`, the standard input. A link is what it leads to.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let problem = telemetry.policy_file().and_then(|file| file.problem);
    /// assert_eq!(problem, None);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn policy_file(&self) -> Option<PolicyFile> {
        self.parts.policy_watch.as_ref().map(PolicyWatch::state)
    }

    /// Where every run and record is, now.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// assert_eq!(telemetry.ledger().imbalance(), 0);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.parts.obs.ledger()
    }

    /// Where rows are stored, without a password; `None` where rows are off.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// assert_eq!(telemetry.store_url(), None);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn store_url(&self) -> Option<&str> {
        self.parts.rows.as_ref().map(|rows| rows.url.as_str())
    }

    /// What is known about the store; `None` where rows are off.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// assert_eq!(telemetry.store_state(), None);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn store_state(&self) -> Option<StoreState> {
        self.parts.rows.as_ref().map(|rows| rows.persister.state())
    }

    /// Why the store is down, while it is; without a password.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// assert_eq!(telemetry.store_error(), None);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn store_error(&self) -> Option<String> {
        self.parts.rows.as_ref().and_then(|rows| rows.persister.last_error())
    }

    /// How the store is doing, to keep beside this handle, e.g. for health endpoints.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// assert!(telemetry.store_watch().is_none());
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn store_watch(&self) -> Option<StoreWatch> {
        self.parts.rows.as_ref().map(|rows| rows.persister.watch())
    }

    /// For batch programs, between two runs: waits until the queue of rows has room, so that the
    /// next ones are not refused. Returns at once while the store is down, and where rows are off.
    /// Never call it inside a run.
    ///
    /// ```
    /// # use obs::{Environment, Room};
    /// # use std::time::Duration;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// assert_eq!(telemetry.wait_for_room(Duration::from_secs(10)), Room::Free);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    pub fn wait_for_room(&self, deadline: Duration) -> Room {
        self.parts.rows.as_ref().map_or(Room::Free, |rows| rows.persister.wait_for_room(deadline))
    }

    /// Where Prometheus may scrape this process, at `/metrics`; `None` where it may not.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// assert_eq!(telemetry.prometheus_address(), None);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[must_use]
    pub fn prometheus_address(&self) -> Option<SocketAddr> {
        self.parts.pull.as_ref().map(Pull::address)
    }

    /// Makes the application's own instruments: they leave with ours, by the same exporters. `scope` is
    /// the name of the part of the application that measures.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let sales = telemetry.instruments("shop").counter("shop.sales", "{sale}", "What was sold")?;
    /// sales.with([("country", "at")]).add(1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn instruments(&self, scope: &'static str) -> Instruments {
        Instruments::new(&self.parts.instruments, scope)
    }

    /// Every metric of this process, now, and quantiles of how long its runs took. Collecting calls the callbacks of the application's
    /// observable instruments, on this thread. Works after shutdown, too.
    ///
    /// # Errors
    /// When snapshots are not switched on, or a callback panicked.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).snapshots(true).init()?;
    /// let snapshot = telemetry.snapshot()?;
    /// assert!(snapshot.metric("obs.record.imbalance").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> Result<MetricsSnapshot, SnapshotError> {
        let reader = self.parts.snapshots.as_ref().ok_or(SnapshotError::Off)?;
        snapshot::take(reader, &self.parts.obs).map_err(SnapshotError::Collect)
    }

    /// A log line for the exporters of lines alone.
    pub(crate) fn export_line(&self, logger: &'static str, message: &str) {
        self.parts.logs.export_line(logger, message);
    }

    /// Writes every row that is queued, then exports the metrics, within the deadline. Works on
    /// any runtime, and needs none.
    ///
    /// ```
    /// # use obs::Environment;
    /// # use std::time::Duration;
    /// # async fn example(telemetry: obs::Telemetry) {
    /// let report = telemetry.flush(Duration::from_secs(1)).await;
    /// println!("{report}");
    /// # }
    /// ```
    pub async fn flush(&self, deadline: Duration) -> Report {
        let start = self.clock.now();
        let rows = match &self.parts.rows {
            Some(rows) => Some(rows.persister.flush(self.rows_share(deadline)).await.into()),
            None => None,
        };
        let left = deadline.saturating_sub(self.clock.now().since(start));
        let (export, signals) = self.export_all(left).await;
        self.parts.logs.flush(LOG_FLUSH_MAX);
        Report { rows, export, signals, ledger: self.ledger() }
    }

    /// [`flush`](Self::flush) for a thread that may wait, inside or outside of a runtime.
    ///
    /// ```
    /// # use obs::Environment;
    /// # use std::time::Duration;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// println!("{}", telemetry.flush_blocking(Duration::from_secs(1)));
    /// # Ok::<(), obs::InitError>(())
    /// ```
    pub fn flush_blocking(&self, deadline: Duration) -> Report {
        block_on(self.flush(deadline))
    }

    /// Writes every row that is queued, exports the metrics one last time, and stops, within the
    /// deadline. Rows that are not written by then are dropped and counted. Calling it again gives
    /// the first one's report. Works on any runtime, and needs none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn example(telemetry: obs::Telemetry) {
    /// let report = telemetry.shutdown(Duration::from_secs(5)).await;
    /// println!("{report}; {}", report.ledger);
    /// # }
    /// ```
    pub async fn shutdown(&self, deadline: Duration) -> Report {
        let start = self.clock.now();
        let mut ended = self.ended.lock().await;
        if let Some(report) = &*ended {
            return report.clone();
        }
        // While its row can still be written.
        if let Some(heartbeat) = &self.parts.heartbeat {
            heartbeat.stop();
        }
        let rows = match &self.parts.rows {
            Some(rows) => {
                let report = rows.persister.shutdown(self.rows_share(deadline)).await;
                Some(Rows::from(report))
            }
            None => None,
        };
        let left = deadline.saturating_sub(self.clock.now().since(start));
        let (export, signals) = self.export_all(left).await;
        self.parts.pipelines.stop();
        if let Some(exports) = &self.parts.exports {
            exports.stop();
        }
        if let Some(pull) = &self.parts.pull {
            pull.stop();
        }
        if let Some(drainer) = &self.parts.drainer {
            drainer.stop();
        }
        if let Some(watch) = &self.parts.policy_watch {
            watch.stop();
        }
        self.parts.logs.flush(LOG_FLUSH_MAX);
        let report = Report { rows, export, signals, ledger: self.ledger() };
        *ended = Some(report.clone());
        report
    }

    /// [`shutdown`](Self::shutdown) for a thread that may wait, inside or outside of a runtime.
    ///
    /// ```
    /// # use obs::Environment;
    /// # use std::time::Duration;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let report = telemetry.shutdown_blocking(Duration::from_secs(5));
    /// assert_eq!(telemetry.shutdown_blocking(Duration::from_secs(5)), report);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    pub fn shutdown_blocking(&self, deadline: Duration) -> Report {
        block_on(self.shutdown(deadline))
    }

    /// Makes `tracing`'s events of the whole process lines on the standard error output: text on a terminal, one
    /// JSON object a line elsewhere (`OBS_LOG_FORMAT`), from the level that `OBS_LOG` or `RUST_LOG` says. A line
    /// carries the ids of the request and of the run that it is written in.
    ///
    /// # Errors
    /// When the process has a subscriber already, which stays: see [`for_tracing`](crate::for_tracing).
    ///
    /// ```
    /// # use obs::Environment;
    /// let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// telemetry.install_logs()?;
    /// tracing::info!(user = 7, "ready");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn install_logs(&self) -> Result<(), LogsError> {
        self.parts.logs.install()
    }

    /// Which of W3C's headers are read and written, as `OTEL_PROPAGATORS` says: for
    /// [`HttpLayerBuilder::propagation`](obs_http::HttpLayerBuilder::propagation), and to
    /// [inject](obs_http::Propagation::inject) them into requests to others.
    ///
    /// ```
    /// # use obs::Environment;
    /// let environment = Environment::from_iter([("OTEL_PROPAGATORS", "tracecontext")]);
    /// let telemetry = obs::builder().environment(environment).rows(false).init()?;
    /// let propagation = telemetry.propagation();
    /// assert!(propagation.trace_context && !propagation.baggage);
    /// # Ok::<(), obs::InitError>(())
    /// ```
    #[cfg(feature = "http")]
    #[must_use]
    pub const fn propagation(&self) -> obs_http::Propagation {
        self.parts.propagation
    }

    /// All metrics in a format that Prometheus reads, for
    /// [`EndpointsBuilder::metrics`](obs_http::EndpointsBuilder::metrics).
    ///
    /// # Errors
    /// When [snapshots](crate::Builder::snapshots) are off, or metrics cannot be collected.
    ///
    /// ```
    /// # use obs::{Environment, http::MetricsFormat};
    /// let telemetry = obs::builder().environment(Environment::empty()).rows(false).snapshots(true).init()?;
    /// let text = telemetry.metrics_text(MetricsFormat::OpenMetrics)?;
    /// assert!(text.ends_with("# EOF\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "http")]
    pub fn metrics_text(&self, format: obs_http::MetricsFormat) -> Result<String, String> {
        let snapshot = self.snapshot().map_err(|error| error.to_string())?;
        Ok(match format {
            obs_http::MetricsFormat::OpenMetrics => snapshot.to_openmetrics(),
            _ => snapshot.to_prometheus(),
        })
    }

    pub(crate) const fn logs(&self) -> &Logs {
        &self.parts.logs
    }

    pub(crate) const fn provider(&self) -> &SdkMeterProvider {
        &self.parts.provider
    }

    /// Logs and spans first, so that what of them is lost is in the metrics, which have half of the time left.
    async fn export_all(
        &self,
        deadline: Duration,
    ) -> (Result<Exported, ExportError>, Vec<SignalReport>) {
        let start = self.clock.now();
        let share = if self.parts.exports.is_some() { deadline / 2 } else { deadline };
        let signals = self.parts.pipelines.flush(share).await;
        let left = deadline.saturating_sub(self.clock.now().since(start));
        (self.export(left).await, signals.into_iter().map(SignalReport::from).collect())
    }

    async fn export(&self, deadline: Duration) -> Result<Exported, ExportError> {
        match &self.parts.exports {
            Some(exports) => exports.flush(deadline).await.map(|()| Exported::Done),
            None => Ok(Exported::Off),
        }
    }

    /// How much of a deadline rows may use: a store that stalls must not cost the export, which
    /// says so.
    fn rows_share(&self, deadline: Duration) -> Duration {
        match &self.parts.exports {
            Some(_) => deadline - (deadline / EXPORT_SHARE).min(EXPORT_RESERVE_MAX),
            None => deadline,
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if self.ended.get_mut().is_some() {
            // What was said after the shutdown.
            self.parts.logs.flush(LOG_FLUSH_MAX);
            return;
        }
        let report = self.shutdown_blocking(DROP_DEADLINE);
        if !report.is_complete() {
            tracing::warn!(target: "obs", "telemetry was dropped without a shutdown: {report}");
            self.parts.logs.flush(LOG_FLUSH_MAX);
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("store", &self.store_url())
            .field("store_state", &self.store_state())
            .field("exports", &self.parts.exports)
            .finish_non_exhaustive()
    }
}
