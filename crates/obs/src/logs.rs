//! Log lines: `tracing` is the front, and this is where its events go.
//!
//! Nothing is taken over unasked: a program installs this as its subscriber with one call, or puts
//! [`for_tracing::layer`](crate::for_tracing::layer) beside layers of its own.

mod error;
mod filter;
mod json;
mod layer;
mod line;
mod otlp;
mod own;
mod text;
mod writer;

use std::{
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use obs_core::Clock;
use opentelemetry::{Context, KeyValue, metrics::Meter};
use tracing::Level;
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _, registry::LookupSpan};

pub use error::LogsError;
pub(crate) use filter::{Dialect, Filter};
pub(crate) use otlp::{ToCollector, ToConsole, time};

use crate::batch::Queue;

use self::{
    layer::LogLayer,
    line::{Ids, Line, Said},
    otlp::Record,
    own::OwnLines,
    writer::Writer,
};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

/// What the configuration says of lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogSettings {
    pub(crate) filter: Filter,
    pub(crate) format: Format,
}

/// Where events of `tracing` become lines. Clones are the same.
#[derive(Clone)]
pub(crate) struct Logs(Arc<Shared>);

struct Shared {
    settings: LogSettings,
    is_json: bool,
    origin: Origin,
    clock: Clock,
    own: OwnLines,
    /// Lines of ours that were held back because one like them came too often.
    held_back: AtomicU64,
    writer: Writer,
    /// Where lines go besides, set once by `init`.
    exports: OnceLock<Vec<Queue<Record>>>,
}

/// Who writes, as each line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) service: String,
    pub(crate) instance: String,
}

impl Logs {
    /// Lines to the standard error output.
    pub(crate) fn to_standard_error(settings: LogSettings, origin: Origin) -> Self {
        let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
        Self::new(settings, origin, is_terminal, Box::new(io::stderr()))
    }

    fn new(
        settings: LogSettings,
        origin: Origin,
        is_terminal: bool,
        target: Box<dyn io::Write + Send>,
    ) -> Self {
        let is_json = match settings.format {
            Format::Auto => !is_terminal,
            Format::Text => false,
            Format::Json => true,
        };
        Self(Arc::new(Shared {
            settings,
            is_json,
            origin,
            clock: Clock::default(),
            own: OwnLines::default(),
            held_back: AtomicU64::new(0),
            writer: Writer::new(target),
            exports: OnceLock::new(),
        }))
    }

    /// Makes this the subscriber of the whole process.
    pub(crate) fn install(&self) -> Result<(), LogsError> {
        let subscriber = Registry::default().with(self.layer());
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogsError::Taken)
    }

    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        LogLayer::new(self.clone()).with_filter(self.0.settings.filter.clone())
    }

    /// Takes a line; never waits for its target.
    fn take(&self, line: &Line<'static>) {
        let shared = &self.0;
        // What exporting says of itself must not be exported, or it would cause itself.
        if !Context::is_current_telemetry_suppressed() {
            self.export(line);
        }
        let mut bytes = if shared.is_json {
            json::rendered(line, &shared.origin)
        } else {
            text::rendered(line)
        };
        bytes.push(b'\n');
        shared.writer.write(&bytes);
    }

    fn export(&self, line: &Line<'static>) {
        for queue in self.0.exports.get().into_iter().flatten() {
            let record = Record::of(line);
            let bytes = record.bytes();
            queue.put(record, bytes);
        }
    }

    /// A line for the exporters alone.
    pub(crate) fn export_line(&self, logger: &'static str, message: &str) {
        let (at, said) = (self.0.clock.wall(), Said::message(message));
        self.export(&Line { at, level: Level::INFO, logger, ids: Ids::here(), span: None, said });
    }

    /// Lets lines leave through these, too.
    pub(crate) fn export_to(&self, queues: Vec<Queue<Record>>) {
        if !queues.is_empty() {
            // Called once, by `init`.
            let _ = self.0.exports.set(queues);
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Waits until every line so far is written, but not longer.
    pub(crate) fn flush(&self, deadline: Duration) {
        self.0.writer.flush(deadline);
    }

    /// Shows which lines were lost.
    pub(crate) fn count_losses(&self, meter: &Meter) {
        let logs = self.clone();
        meter
            .u64_observable_counter("obs.log.dropped")
            .with_description("Log lines that were not written")
            .with_unit("{line}")
            .with_callback(move |observer| {
                let reasons = [
                    ("queue_full", logs.0.writer.refused()),
                    ("write", logs.0.writer.failed()),
                    ("forked", logs.0.writer.forked()),
                    ("rate", logs.0.held_back.load(Ordering::Relaxed)),
                ];
                for (reason, lines) in reasons {
                    observer.observe(lines, &[KeyValue::new("reason", reason)]);
                }
            })
            .build();
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
