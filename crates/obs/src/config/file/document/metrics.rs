//! Metrics: readers and where they go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DefaultHistogramAggregation, Millis, OtlpGrpcMetric, OtlpHttpMetric, TemporalityPreference,
    Unsupported, View, Whole, filled, filled_if_any,
};

/// A number of series.
pub(crate) type Series = Whole<1, 1_000_000>;

/// Every reader sees every metric.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeterProvider {
    /// Who reads the metrics, and where they go.
    #[schemars(length(min = 1), extend("x-variable" = "OTEL_METRICS_EXPORTER"))]
    #[serde(deserialize_with = "filled")]
    pub(crate) readers: Vec<Reader>,
    /// Another name, other buckets, fewer attributes, or nothing of an instrument.
    #[serde(default, deserialize_with = "filled_if_any")]
    #[schemars(length(min = 1))]
    pub(crate) views: Option<Vec<View>>,
    /// Which measurements may become examples of a series.
    #[serde(default)]
    #[schemars(extend("default" = "trace_based", "x-variable" = "OTEL_METRICS_EXEMPLAR_FILTER"))]
    pub(crate) exemplar_filter: Option<ExemplarFilter>,
    #[serde(rename = "meter_configurator/development", default, skip_serializing)]
    #[schemars(skip)]
    pub(crate) meter_configurator: Option<Unsupported>,
}

/// Which measurements may become examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ExemplarFilter {
    AlwaysOn,
    AlwaysOff,
    TraceBased,
}

/// Who asks for metrics: one of these.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Reader {
    /// Exports at an interval.
    Periodic(Box<Periodic>),
    /// Answers whoever asks.
    Pull(Box<Pull>),
}

/// Exports at an interval.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Periodic {
    /// Time between exports.
    #[serde(default)]
    #[schemars(extend("default" = 60000, "x-variable" = "OTEL_METRIC_EXPORT_INTERVAL"))]
    pub(crate) interval: Option<Millis>,
    /// One collection and its export.
    #[serde(default)]
    #[schemars(extend("default" = 30000, "x-variable" = "OTEL_METRIC_EXPORT_TIMEOUT"))]
    pub(crate) timeout: Option<Millis>,
    /// Where metrics go.
    pub(crate) exporter: MetricExporter,
    /// Series an instrument may have; what is over it becomes one more.
    #[serde(default)]
    pub(crate) cardinality_limits: Option<CardinalityLimits>,
    #[serde(default, skip_serializing)]
    #[schemars(skip)]
    pub(crate) producers: Option<Unsupported>,
    #[serde(rename = "max_export_batch_size/development", default, skip_serializing)]
    #[schemars(skip)]
    pub(crate) max_export_batch_size: Option<Unsupported>,
}

/// Answers whoever asks.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pull {
    /// In which form.
    pub(crate) exporter: PullExporter,
    /// Series an instrument may have; what is over it becomes one more.
    #[serde(default)]
    pub(crate) cardinality_limits: Option<CardinalityLimits>,
    #[serde(default, skip_serializing)]
    #[schemars(skip)]
    pub(crate) producers: Option<Unsupported>,
}

/// Where metrics go: one of these.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum MetricExporter {
    /// To a Collector, as protobuf over HTTP.
    OtlpHttp(Box<OtlpHttpMetric>),
    /// To a Collector, over gRPC.
    OtlpGrpc(Box<OtlpGrpcMetric>),
    /// To standard output, as a table for people.
    Console(ConsoleMetric),
    #[serde(rename = "otlp_file/development")]
    #[schemars(skip)]
    OtlpFile(Unsupported),
}

/// To standard output.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConsoleMetric {
    /// Whether an export says everything since the start, or what is new.
    #[schemars(extend("default" = "cumulative"))]
    pub(crate) temporality_preference: Option<TemporalityPreference>,
    /// How durations and sizes are summed up where no view says otherwise.
    #[schemars(extend("default" = "explicit_bucket_histogram"))]
    pub(crate) default_histogram_aggregation: Option<DefaultHistogramAggregation>,
}

/// In which form: one of these.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) enum PullExporter {
    /// A page for Prometheus to scrape.
    #[serde(rename = "prometheus/development")]
    Prometheus(Prometheus),
}

/// A page for Prometheus to scrape.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Prometheus {
    /// The address to listen on.
    #[schemars(extend("default" = "localhost", "x-variable" = "OTEL_EXPORTER_PROMETHEUS_HOST"))]
    pub(crate) host: Option<String>,
    /// The port to listen on; 0 is any.
    #[schemars(extend("default" = 9464, "x-variable" = "OTEL_EXPORTER_PROMETHEUS_PORT"))]
    pub(crate) port: Option<Whole<0, 65_535>>,
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) scope_info_enabled: Option<Unsupported>,
    #[serde(rename = "target_info_enabled/development", skip_serializing)]
    #[schemars(skip)]
    pub(crate) target_info_enabled: Option<Unsupported>,
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) resource_constant_labels: Option<Unsupported>,
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(crate) translation_strategy: Option<Unsupported>,
}

/// Series an instrument may have.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CardinalityLimits {
    /// Of any type that is not named.
    #[schemars(extend("default" = 2000))]
    pub(crate) default: Option<Series>,
    /// Of counters.
    pub(crate) counter: Option<Series>,
    /// Of gauges.
    pub(crate) gauge: Option<Series>,
    /// Of histograms.
    pub(crate) histogram: Option<Series>,
    /// Of observable counters.
    pub(crate) observable_counter: Option<Series>,
    /// Of observable gauges.
    pub(crate) observable_gauge: Option<Series>,
    /// Of observable counters that go up and down.
    pub(crate) observable_up_down_counter: Option<Series>,
    /// Of counters that go up and down.
    pub(crate) up_down_counter: Option<Series>,
}
