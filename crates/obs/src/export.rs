//! Exports: our own reader, on our own thread, with deadlines that hold.
//!
//! The SDK's periodic reader waits without a limit when it is flushed, ignores the timeout of its
//! shutdown, and needs a runtime of the application for gRPC. So this module reads the metrics by
//! hand ([`ManualReader`]) on a private runtime: an export is an ordinary future there, and a
//! deadline is an ordinary timeout.

mod connect;
mod console;
mod http;
mod otlp;

use std::{
    error::Error,
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use obs_core::Escaped;
use opentelemetry::{Context, KeyValue, metrics::Counter};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, Temporality as SdkTemporality,
        data::ResourceMetrics, exporter::PushMetricExporter, reader::MetricReader,
    },
};
use tokio::{
    runtime::{Handle, Runtime},
    sync::oneshot,
    time::MissedTickBehavior,
};

use crate::{
    config::{
        Checked,
        model::{Exporter as Target, Periodic, Temporality},
    },
    snapshot::MetricsSnapshot,
};

pub(crate) use console::to_standard_output;
pub(crate) use http::LastFailure;
pub(crate) use otlp::{OtlpError, log_exporter, span_exporter};

/// Threads of the private runtime for what blocks: collecting, and looking up host names.
const BLOCKING_THREADS_MAX: usize = 4;

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
    /// Nothing is exported any more.
    #[error("exports have stopped: flush before shutdown")]
    Stopped,
}

/// A failure to start exporting.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    #[error("the system gave no thread for exports")]
    Thread(#[from] io::Error),
}

/// The running exports: a private runtime on a thread of its own.
#[derive(Debug)]
pub(crate) struct Exports {
    runtime: Handle,
    work: Arc<Work>,
    /// `None` once stopped. Whoever takes it ends the thread.
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

/// What an export needs.
#[derive(Debug)]
struct Work {
    reader: Reader,
    exporter: Exporter,
    target: String,
    /// One export at a time: a flush waits for the one that is under way.
    turn: tokio::sync::Mutex<()>,
    failures: OnceLock<Counter<u64>>,
    failing: AtomicBool,
}

#[derive(Debug)]
enum Exporter {
    Console,
    Otlp(Box<MetricExporter>, LastFailure),
}

/// A reader that the SDK and we share: the SDK registers with it, we collect from it.
#[derive(Clone, Debug)]
pub(crate) struct Reader(Arc<ManualReader>);

/// A runtime that may be dropped anywhere, also inside another one, and that waits for nobody.
#[derive(Debug)]
pub(crate) struct PrivateRuntime {
    handle: Handle,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Exports {
    /// Starts exporting, if the configuration wants it.
    pub(crate) fn start(config: &Checked) -> Result<Option<Self>, StartError> {
        // The configuration has refused more than one.
        let Some(reader) = config.model.meter_provider.periodic().next() else { return Ok(None) };
        let runtime = PrivateRuntime::new()?;
        let (exporter, target) = match &reader.exporter.exporter {
            Target::Console => (Exporter::Console, "standard output".to_owned()),
            Target::Otlp(settings) => {
                let _inside = runtime.handle.enter();
                let (exporter, failure) = otlp::exporter(settings, reader.exporter.temporality)?;
                (Exporter::Otlp(Box::new(exporter), failure), settings.endpoint.to_string())
            }
        };
        Self::run(reader, runtime, exporter, target).map(Some)
    }

    fn run(
        settings: &Periodic,
        runtime: PrivateRuntime,
        exporter: Exporter,
        target: String,
    ) -> Result<Self, StartError> {
        let work = Arc::new(Work {
            reader: Reader::new(settings.exporter.temporality),
            exporter,
            target,
            turn: tokio::sync::Mutex::default(),
            failures: OnceLock::new(),
            failing: AtomicBool::new(false),
        });
        let handle = runtime.handle.clone();
        let (stop, stopped) = oneshot::channel();
        let (interval, limit) = (settings.interval, settings.timeout);
        let periodic = periodic(Arc::clone(&work), interval, limit, stopped);
        thread::Builder::new()
            .name("obs-export".to_owned())
            .spawn(move || runtime.run(periodic))?;
        Ok(Self { runtime: handle, work, stop: Mutex::new(Some(stop)) })
    }

    /// The reader that a provider must be built with.
    pub(crate) fn reader(&self) -> Reader {
        self.work.reader.clone()
    }

    /// Says where failures are counted.
    pub(crate) fn count_failures(&self, counter: Counter<u64>) {
        counter.add(0, &[signal()]);
        // Called once, by `init`.
        let _ = self.work.failures.set(counter);
    }

    /// Exports now. The future may be awaited on any executor, or dropped.
    pub(crate) fn flush(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Result<(), ExportError>> + Send + 'static {
        let export = self.runtime.spawn(Arc::clone(&self.work).export_within(deadline));
        async move { export.await.unwrap_or(Err(ExportError::Stopped)) }
    }

    /// Ends the thread. An export under way is given up.
    pub(crate) fn stop(&self) {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stop) = stop {
            // A thread that is gone already needs no word.
            let _ = stop.send(());
        }
    }
}

impl Drop for Exports {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Exports at every interval until it is told to stop.
async fn periodic(
    work: Arc<Work>,
    interval: Duration,
    limit: Duration,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // The first one is at once, when there is nothing to say yet.
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            _ = &mut stopped => return,
            // Its result is noted where it is made; a failure is tried again at the next tick.
            _ = Arc::clone(&work).export_within(limit) => {}
        }
    }
}

impl Work {
    async fn export_within(self: Arc<Self>, deadline: Duration) -> Result<(), ExportError> {
        let exported = match tokio::time::timeout(deadline, self.export()).await {
            Ok(exported) => exported
                .map_err(|reason| ExportError::Failed { target: self.target.clone(), reason }),
            Err(_) => Err(ExportError::Deadline { target: self.target.clone(), deadline }),
        };
        self.note(&exported);
        exported
    }

    async fn export(&self) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let reader = self.reader.clone();
        // Collecting runs the application's callbacks, which may block: not on this thread.
        let collected = tokio::task::spawn_blocking(move || {
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            reader.read()
        });
        let collected =
            collected.await.map_err(|error| format!("a callback panicked: {error}"))??;
        match &self.exporter {
            Exporter::Console => console::print(&MetricsSnapshot::from(&collected))
                .map_err(|error| error.to_string()),
            Exporter::Otlp(exporter, failure) => {
                exporter.export(&collected).await.map_err(|error| match failure.take() {
                    Some(reason) => reason,
                    None => sentence(&error),
                })
            }
        }
    }

    /// Counts a failure, and logs when exports begin to fail and when they work again.
    fn note(&self, exported: &Result<(), ExportError>) {
        let failing = exported.is_err();
        if let (true, Some(failures)) = (failing, self.failures.get()) {
            failures.add(1, &[signal()]);
        }
        let was_failing = self.failing.swap(failing, Ordering::Relaxed);
        match exported {
            Err(error) if !was_failing => {
                let error = error.to_string();
                let error = Escaped(&error);
                tracing::warn!(target: "obs", "{error}; trying again at every interval");
            }
            Ok(()) if was_failing => {
                tracing::info!(target: "obs", "metrics reach {} again", self.target);
            }
            _ => {}
        }
    }
}

impl Reader {
    pub(crate) fn new(temporality: Temporality) -> Self {
        Self(Arc::new(ManualReader::builder().with_temporality(temporality.into()).build()))
    }

    /// Whether these are the same reader.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Collects now, running the callbacks of observable instruments.
    pub(crate) fn read(&self) -> Result<ResourceMetrics, String> {
        let mut collected = ResourceMetrics::default();
        self.0.collect(&mut collected).map_err(|error| sentence(&error))?;
        Ok(collected)
    }
}

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, collected: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(collected)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    /// Nothing to do: we stop reading by ourselves. The manual reader would wait, without a limit,
    /// for a collection under way, and with it whoever drops the provider.
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self, kind: InstrumentKind) -> SdkTemporality {
        self.0.temporality(kind)
    }
}

impl PrivateRuntime {
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("obs-export-blocking")
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(crate) fn run(self, work: impl Future<Output = ()>) {
        // What we do on this thread must not be observed, or it would cause itself.
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if let Some(runtime) = &self.runtime {
            runtime.block_on(work);
        }
    }
}

impl Drop for PrivateRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn signal() -> KeyValue {
    KeyValue::new(obs_core::registry::attribute::SIGNAL, "metrics")
}

/// Why an exporter failed: as our client saw it, or else as the exporter says.
pub(crate) fn failure_of(failure: &LastFailure, error: &dyn Error) -> String {
    failure.take().unwrap_or_else(|| sentence(error))
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
