//! The shape of the file: OpenTelemetry's declarative configuration, and a block of our own.
//!
//! From these types come what is accepted, the JSON schema, `docs/configuration.md` and what
//! `obs config show` writes. A key that OpenTelemetry knows and we do not support is a field of type
//! [`Unsupported`], so that its error says which of the two it is.

mod exporters;
mod general;
mod metrics;
mod ours;
mod policy;
mod scalars;
mod traces;
mod views;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::tracer::BATCH_QUEUE_DEFAULT;

pub(super) use exporters::*;
pub(super) use general::*;
pub(super) use metrics::*;
pub(super) use ours::*;
pub(super) use policy::*;
pub(super) use scalars::*;
pub(super) use traces::*;
pub(super) use views::*;

/// Settings of `obs`: OpenTelemetry's declarative configuration, and the block `obs`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "obs.yaml", extend("required" = ["file_format"]))]
pub(crate) struct Document {
    /// The version of the format. Every 1.x is read.
    pub(crate) file_format: FileFormat,
    /// Nothing is exported; rows go on.
    #[schemars(extend("default" = false, "x-variable" = "OTEL_SDK_DISABLED"))]
    pub(crate) disabled: Option<bool>,
    /// The least severe of our own lines that are logged.
    #[schemars(extend("x-variable" = "OTEL_LOG_LEVEL"))]
    pub(crate) log_level: Option<LogLevel>,
    /// Attributes of spans and log records, where nothing more special is said.
    pub(crate) attribute_limits: Option<AttributeLimits>,
    /// Who we are, as every export says it.
    pub(crate) resource: Option<Resource>,
    /// How a context travels in the headers of requests.
    pub(crate) propagator: Option<Propagator>,
    /// Metrics: readers, views.
    pub(crate) meter_provider: Option<MeterProvider>,
    /// Traces: processors, limits, the sampler.
    pub(crate) tracer_provider: Option<TracerProvider>,
    /// Logs: processors, limits.
    pub(crate) logger_provider: Option<LoggerProvider>,
    /// What OpenTelemetry has no words for: rows, the store, the spool, what is kept.
    pub(crate) obs: Option<Obs>,
    #[serde(rename = "instrumentation/development", skip_serializing)]
    #[schemars(skip)]
    pub(crate) instrumentation: Option<Unsupported>,
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) distribution: Option<Unsupported>,
}

impl Document {
    /// A combination of values that cannot be, each of which could: where, and the rule.
    pub(super) fn impossible(&self) -> Option<(String, String)> {
        let spans =
            self.tracer_provider.iter().flat_map(|provider| provider.processors.iter().enumerate());
        let records =
            self.logger_provider.iter().flat_map(|provider| provider.processors.iter().enumerate());
        let spans = spans.filter_map(|(at, processor)| match processor {
            SpanProcessor::Batch(batch) => {
                Some(("tracer_provider", at, batch.max_queue_size, batch.max_export_batch_size))
            }
            _ => None,
        });
        let records = records.filter_map(|(at, processor)| match processor {
            LogProcessor::Batch(batch) => {
                Some(("logger_provider", at, batch.max_queue_size, batch.max_export_batch_size))
            }
            _ => None,
        });
        spans.chain(records).find_map(|(provider, at, queue, batch)| {
            let queue = queue.map_or(BATCH_QUEUE_DEFAULT as u64, |queue| queue.0);
            let batch = batch.filter(|batch| batch.0 > queue)?.0;
            let path = format!("{provider}.processors[{at}].batch.max_export_batch_size");
            let rule = format!(
                "a batch of {batch} is larger than the queue of {queue}: lower it, or raise max_queue_size"
            );
            Some((path, rule))
        })
    }
}
