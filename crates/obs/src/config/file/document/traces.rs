//! Traces and logs: processors, limits, the sampler.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AttributeLimits, Count, Empty, Exporter, Millis, Share, Unsupported, Whole, filled};

/// Every processor sees every span.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TracerProvider {
    /// What becomes of spans that are complete.
    #[schemars(length(min = 1), extend("x-variable" = "OTEL_TRACES_EXPORTER"))]
    #[serde(deserialize_with = "filled")]
    pub(crate) processors: Vec<SpanProcessor>,
    /// How much of a span is taken.
    #[serde(default)]
    pub(crate) limits: Option<SpanLimits>,
    /// Which traces are recorded.
    #[serde(default)]
    #[schemars(extend("default" = "parent_based", "x-variable" = "OTEL_TRACES_SAMPLER"))]
    pub(crate) sampler: Option<Sampler>,
    #[serde(default, skip_serializing)]
    #[schemars(skip)]
    pub(crate) id_generator: Option<Unsupported>,
    #[serde(rename = "tracer_configurator/development", default, skip_serializing)]
    #[schemars(skip)]
    pub(crate) tracer_configurator: Option<Unsupported>,
}

/// Every processor sees every log record.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoggerProvider {
    /// What becomes of log records.
    #[schemars(length(min = 1), extend("x-variable" = "OTEL_LOGS_EXPORTER"))]
    #[serde(deserialize_with = "filled")]
    pub(crate) processors: Vec<LogProcessor>,
    /// How much of a log record is taken.
    #[serde(default)]
    pub(crate) limits: Option<AttributeLimits>,
    #[serde(rename = "logger_configurator/development", default, skip_serializing)]
    #[schemars(skip)]
    pub(crate) logger_configurator: Option<Unsupported>,
}

macro_rules! batches {
    ($($(#[$doc:meta])* $processor:ident $batch:ident $prefix:literal $delay:literal),+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[schemars(inline)]
        pub(crate) enum $processor {
            /// A bounded queue, exported in batches.
            Batch(Box<$batch>),
            /// One at a time, as they end.
            Simple(Box<Simple>),
            #[serde(rename = "event_to_span_event_bridge/development")]
            #[schemars(skip)]
            Bridge(Unsupported),
        }

        /// A bounded queue, exported in batches.
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $batch {
            /// The longest that one waits for a batch to be full.
            #[serde(default)]
            #[schemars(extend("default" = $delay, "x-variable" = concat!($prefix, "SCHEDULE_DELAY")))]
            pub(crate) schedule_delay: Option<Millis>,
            /// One export.
            #[serde(default)]
            #[schemars(extend("default" = 30000, "x-variable" = concat!($prefix, "EXPORT_TIMEOUT")))]
            pub(crate) export_timeout: Option<Millis>,
            /// The longest queue; what is over it is lost, and counted.
            #[serde(default)]
            #[schemars(extend("default" = 2048, "x-variable" = concat!($prefix, "MAX_QUEUE_SIZE")))]
            pub(crate) max_queue_size: Option<Whole<1, 1_000_000>>,
            /// The largest batch, no larger than the queue.
            #[serde(default)]
            #[schemars(extend("default" = 512, "x-variable" = concat!($prefix, "MAX_EXPORT_BATCH_SIZE")))]
            pub(crate) max_export_batch_size: Option<Whole<1, 1_000_000>>,
            /// Where they go.
            pub(crate) exporter: Exporter,
        }
    )+ };
}

batches!(
    /// What becomes of a span: one of these.
    SpanProcessor SpanBatch "OTEL_BSP_" 5000,
    /// What becomes of a log record: one of these.
    LogProcessor LogBatch "OTEL_BLRP_" 1000
);

/// One at a time.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Simple {
    /// Where they go.
    pub(crate) exporter: Exporter,
}

/// How much of a span is taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SpanLimits {
    /// Characters of a text; without it there is no limit.
    #[schemars(extend("x-variable" = "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"))]
    pub(crate) attribute_value_length_limit: Option<Count>,
    /// Attributes of a span.
    #[schemars(extend("default" = 128, "x-variable" = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"))]
    pub(crate) attribute_count_limit: Option<Count>,
    /// Events of a span.
    #[schemars(extend("default" = 128, "x-variable" = "OTEL_SPAN_EVENT_COUNT_LIMIT"))]
    pub(crate) event_count_limit: Option<Count>,
    /// Links of a span.
    #[schemars(extend("default" = 128, "x-variable" = "OTEL_SPAN_LINK_COUNT_LIMIT"))]
    pub(crate) link_count_limit: Option<Count>,
    /// Attributes of an event.
    #[schemars(extend("default" = 128, "x-variable" = "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"))]
    pub(crate) event_attribute_count_limit: Option<Count>,
    /// Attributes of a link.
    #[schemars(extend("default" = 128, "x-variable" = "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"))]
    pub(crate) link_attribute_count_limit: Option<Count>,
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) attribute_value_depth_limit: Option<Unsupported>,
}

/// Which traces are recorded: one of these.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sampler {
    /// All.
    AlwaysOn(Empty),
    /// None.
    AlwaysOff(Empty),
    /// A share, chosen by the trace id.
    TraceIdRatioBased(RatioSampler),
    /// As the parent was decided.
    ParentBased(Box<ParentBased>),
    #[schemars(skip)]
    AlwaysRecord(Unsupported),
    #[serde(rename = "composite/development")]
    #[schemars(skip)]
    Composite(Unsupported),
    #[serde(rename = "jaeger_remote/development")]
    #[schemars(skip)]
    JaegerRemote(Unsupported),
    #[serde(rename = "probability/development")]
    #[schemars(skip)]
    Probability(Unsupported),
}

/// A share of traces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RatioSampler {
    /// The share.
    #[schemars(extend("default" = 1.0, "x-variable" = "OTEL_TRACES_SAMPLER_ARG"))]
    pub(crate) ratio: Option<Share>,
}

/// As the parent was decided.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ParentBased {
    /// For traces that begin here.
    #[schemars(extend("default" = "always_on"))]
    pub(crate) root: Option<Sampler>,
    /// Where a parent in another process is recorded.
    #[schemars(extend("default" = "always_on"))]
    pub(crate) remote_parent_sampled: Option<Sampler>,
    /// Where a parent in another process is not recorded.
    #[schemars(extend("default" = "always_off"))]
    pub(crate) remote_parent_not_sampled: Option<Sampler>,
    /// Where a parent in this process is recorded.
    #[schemars(extend("default" = "always_on"))]
    pub(crate) local_parent_sampled: Option<Sampler>,
    /// Where a parent in this process is not recorded.
    #[schemars(extend("default" = "always_off"))]
    pub(crate) local_parent_not_sampled: Option<Sampler>,
}
