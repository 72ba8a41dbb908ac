//! Traces and logs: how they are gathered, and where they go; how a trace crosses processes.

use std::time::Duration;

use super::{Exporter, Otlp, RecordLimits, SpanLimits};

/// The default of `OTEL_BSP_SCHEDULE_DELAY`.
pub(crate) const SPAN_DELAY_DEFAULT: Duration = Duration::from_secs(5);
/// The default of `OTEL_BLRP_SCHEDULE_DELAY`.
pub(crate) const RECORD_DELAY_DEFAULT: Duration = Duration::from_secs(1);
/// The default of `OTEL_BSP_EXPORT_TIMEOUT` and `OTEL_BLRP_EXPORT_TIMEOUT`.
pub(crate) const BATCH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The default of `OTEL_BSP_MAX_QUEUE_SIZE` and `OTEL_BLRP_MAX_QUEUE_SIZE`.
pub(crate) const BATCH_QUEUE_DEFAULT: usize = 2_048;
/// The default of `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` and `OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`.
pub(crate) const BATCH_SIZE_DEFAULT: usize = 512;
/// The largest queue: beyond it, memory and not the queue would be the limit.
pub(crate) const BATCH_QUEUE_MAX: usize = 1_000_000;

/// Every processor sees every span. None of them: no span is exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TracerProvider {
    pub(crate) processors: Vec<Processor>,
    pub(crate) limits: SpanLimits,
    pub(crate) sampler: Sampler,
}

/// Every processor sees every log record. None of them: no record is exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoggerProvider {
    pub(crate) processors: Vec<Processor>,
    pub(crate) limits: RecordLimits,
}

impl LoggerProvider {
    /// The first Collector that log records go to.
    pub(crate) fn otlp(&self) -> Option<&Otlp> {
        self.processors.iter().find_map(|processor| match processor {
            Processor::Batch(Batch { exporter: Exporter::Otlp(otlp), .. })
            | Processor::Simple(Exporter::Otlp(otlp)) => Some(&**otlp),
            _ => None,
        })
    }
}

/// What becomes of spans or log records that are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    Batch(Batch),
    /// One at a time, as they end.
    Simple(Exporter),
}

/// A bounded queue, exported in batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The longest that one waits for a batch to be full.
    pub(crate) schedule_delay: Duration,
    pub(crate) export_timeout: Duration,
    pub(crate) max_queue_size: usize,
    /// No larger than the queue.
    pub(crate) max_export_batch_size: usize,
    pub(crate) exporter: Exporter,
}

/// Which traces that begin here, or come here, are recorded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sampler {
    AlwaysOn,
    AlwaysOff,
    /// In \[0, 1\], by the trace id.
    TraceIdRatio(f64),
    ParentBased(Box<ParentBased>),
}

/// As the parent was decided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParentBased {
    /// For traces that begin here.
    pub(crate) root: Sampler,
    pub(crate) remote_parent_sampled: Sampler,
    pub(crate) remote_parent_not_sampled: Sampler,
    pub(crate) local_parent_sampled: Sampler,
    pub(crate) local_parent_not_sampled: Sampler,
}

/// How a context travels in the headers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagator {
    TraceContext,
    Baggage,
}

impl Sampler {
    /// As the parent was decided, and by `root` where there is none.
    pub(crate) fn parent_based(root: Self) -> Self {
        Self::ParentBased(Box::new(ParentBased { root, ..ParentBased::default() }))
    }
}

impl Propagator {
    /// Names with commas between them; `none` alone is nobody.
    pub(crate) fn list(text: &str) -> Result<Vec<Self>, &'static str> {
        const RULE: &str = "there is no such propagator here: use tracecontext, baggage or none";
        if text.eq_ignore_ascii_case("none") {
            return Ok(Vec::new());
        }
        let mut propagators = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let propagator = match name.to_ascii_lowercase().as_str() {
                "tracecontext" => Self::TraceContext,
                "baggage" => Self::Baggage,
                _ => return Err(RULE),
            };
            // The specification drops what is named twice.
            if !propagators.contains(&propagator) {
                propagators.push(propagator);
            }
        }
        Ok(propagators)
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::parent_based(Self::AlwaysOn)
    }
}

impl Default for ParentBased {
    fn default() -> Self {
        Self {
            root: Sampler::AlwaysOn,
            remote_parent_sampled: Sampler::AlwaysOn,
            remote_parent_not_sampled: Sampler::AlwaysOff,
            local_parent_sampled: Sampler::AlwaysOn,
            local_parent_not_sampled: Sampler::AlwaysOff,
        }
    }
}
