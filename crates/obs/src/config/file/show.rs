//! The effective values as a file: every default filled in, every secret masked.

use std::fmt::Write as _;

use obs_persist::StoreUrl;
use opentelemetry::Array;
use serde_json::{Map, Value};

use super::document as file;
use crate::config::{
    Checked, Environment, Protocol, STORE_OTLP,
    known::KEYS,
    model::{
        Aggregation, AttributeLimits, CardinalityLimits, ExemplarFilter, Exporter,
        HistogramAggregation, Model, Otlp, Processor, Propagator, Reader, Sampler, Temporality,
        View,
    },
};

/// What a key that hashes subjects looks like, or a token; a shorter one would not be accepted.
const KEY_MASK: &str = "****************";
/// The blocks, in the order in which they are written.
const ORDER: [&str; 10] = [
    "file_format",
    "disabled",
    "log_level",
    "attribute_limits",
    "resource",
    "propagator",
    "meter_provider",
    "tracer_provider",
    "logger_provider",
    "obs",
];

/// A file that says what is in effect.
pub(in crate::config) fn show(checked: &Checked, environment: &Environment) -> String {
    let document = file::Document::from(&checked.model);
    let mut value = serde_json::to_value(&document).unwrap_or_default();
    value["obs"] = ours(checked, environment);
    if !checked.rules.is_empty() {
        let rules: Vec<_> = checked.rules.iter().map(file::Rule::from).collect();
        value["obs"]["policy"]["rules"] = serde_json::to_value(rules).unwrap_or_default();
    }
    let mut text = String::new();
    for block in ORDER {
        if let Some(value) = value.get(block).filter(|value| !value.is_null()) {
            entry(&mut text, block, value, 0);
        }
    }
    text
}

/// The block `obs`: what is set, and the defaults of the rest.
fn ours(checked: &Checked, environment: &Environment) -> Value {
    let mut block = Value::Object(Map::new());
    let defaults = super::schema();
    for (variable, key) in KEYS {
        let set = environment.get(variable).ok().flatten();
        let text = match (variable, set) {
            ("OBS_STORE", Some(STORE_OTLP)) => Some(STORE_OTLP.to_owned()),
            ("OBS_STORE", Some(url)) => StoreUrl::parse(url).ok().map(|url| url.to_string()),
            ("OBS_SENTRY_DSN", Some(_)) => checked.sentry.as_ref().map(|it| it.dsn.to_string()),
            ("OBS_SUBJECT_KEY" | "OBS_PROMETHEUS_TOKEN", Some(_)) => Some(KEY_MASK.to_owned()),
            (_, set) => set.map(str::to_owned),
        };
        let list = matches!(variable, "OBS_REDACT_KEYS" | "OBS_REDACT_ALLOW");
        let value = match text {
            Some(text) if list => text.split(',').map(|name| Value::from(name.trim())).collect(),
            Some(text) => serde_json::to_value(file::Text(text)).unwrap_or_default(),
            // The default of an address would stand beside the file that holds it.
            None if variable == "OBS_STORE" && environment.is_set("OBS_STORE_FILE") => continue,
            // It would win over the variable of everybody.
            None if variable == "OBS_LOG" && environment.is_set("RUST_LOG") => continue,
            None => default_of(&defaults, key),
        };
        if !value.is_null() {
            let place = key.split('.').fold(&mut block, |block, key| &mut block[key]);
            *place = value;
        }
    }
    block
}

fn default_of(schema: &Value, key: &str) -> Value {
    let mut at = &schema["$defs"]["Obs"];
    for key in key.split('.') {
        at = &at["properties"][key];
        let named = [&at["$ref"], &at["anyOf"][0]["$ref"]].into_iter().find_map(Value::as_str);
        if let Some(name) = named.and_then(|name| name.strip_prefix("#/$defs/")) {
            at = &schema["$defs"][name];
        }
    }
    at["default"].clone()
}

/// Writes `key: value`. Texts are in quotes, so that nothing in them means anything.
fn entry(out: &mut String, key: &str, value: &Value, depth: usize) {
    let _ = write!(out, "{:indent$}{key}:", "", indent = depth * 2);
    below(out, value, depth);
}

fn below(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(entries) if entries.values().any(|value| !value.is_null()) => {
            out.push('\n');
            for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
                entry(out, key, value, depth + 1);
            }
        }
        Value::Object(_) => out.push_str(" {}\n"),
        Value::Array(values) if !values.is_empty() => {
            out.push('\n');
            for value in values {
                let _ = write!(out, "{:indent$}-", "", indent = (depth + 1) * 2);
                match value {
                    Value::Object(_) => {
                        out.push('\n');
                        let Value::Object(entries) = value else { continue };
                        for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
                            entry(out, key, value, depth + 2);
                        }
                    }
                    value => below(out, value, depth + 1),
                }
            }
        }
        // A text in JSON is one in YAML; a dollar sign stands for itself.
        value => {
            let _ = writeln!(out, " {}", value.to_string().replace('$', "$$"));
        }
    }
}

const fn whole<const MIN: u64, const MAX: u64>(count: usize) -> Option<file::Whole<MIN, MAX>> {
    Some(file::Whole(count as u64))
}

fn maybe<const MIN: u64, const MAX: u64>(count: Option<usize>) -> Option<file::Whole<MIN, MAX>> {
    count.and_then(whole)
}

impl From<&Model> for file::Document {
    fn from(model: &Model) -> Self {
        Self {
            disabled: Some(model.disabled),
            log_level: model.log_level.map(level),
            attribute_limits: Some(limits(&model.attribute_limits)),
            resource: resource(model),
            propagator: propagator(&model.propagators),
            meter_provider: meter_provider(model),
            tracer_provider: tracer_provider(model),
            logger_provider: logger_provider(model),
            ..Self::default()
        }
    }
}

fn level(level: tracing::Level) -> file::LogLevel {
    match level {
        tracing::Level::TRACE => file::LogLevel::Trace,
        tracing::Level::DEBUG => file::LogLevel::Debug,
        tracing::Level::INFO => file::LogLevel::Info,
        tracing::Level::WARN => file::LogLevel::Warn,
        tracing::Level::ERROR => file::LogLevel::Error,
    }
}

fn limits(limits: &AttributeLimits) -> file::AttributeLimits {
    file::AttributeLimits {
        attribute_value_length_limit: maybe(limits.value_length),
        attribute_count_limit: whole(limits.count),
        attribute_value_depth_limit: None,
    }
}

fn resource(model: &Model) -> Option<file::Resource> {
    let mut attributes = model.resource.attributes.clone();
    if let Some(name) = &model.resource.service_name {
        attributes.insert("service.name".to_owned(), name.clone().into());
    }
    if attributes.is_empty() {
        return None;
    }
    let attribute =
        |(name, value)| file::Attribute { name, value: Some(file::AttributeValue::from(value)) };
    let attributes = Some(attributes.into_iter().map(attribute).collect());
    Some(file::Resource { attributes, ..file::Resource::default() })
}

impl From<opentelemetry::Value> for file::AttributeValue {
    fn from(value: opentelemetry::Value) -> Self {
        use opentelemetry::Value;
        match value {
            Value::Bool(value) => Self::Bool(value),
            Value::I64(value) => Self::Int(value),
            Value::F64(value) => Self::Double(value),
            Value::Array(Array::Bool(values)) => Self::Bools(values),
            Value::Array(Array::I64(values)) => Self::Ints(values),
            Value::Array(Array::F64(values)) => Self::Doubles(values),
            Value::Array(Array::String(values)) => {
                Self::Texts(values.into_iter().map(String::from).collect())
            }
            other => Self::Text(other.as_str().into_owned()),
        }
    }
}

fn propagator(propagators: &[Propagator]) -> Option<file::Propagator> {
    if propagators.is_empty() {
        return None;
    }
    let one = |propagator: &Propagator| match propagator {
        Propagator::TraceContext => file::OnePropagator::Tracecontext(file::Empty {}),
        Propagator::Baggage => file::OnePropagator::Baggage(file::Empty {}),
    };
    Some(file::Propagator {
        composite: Some(propagators.iter().map(one).collect()),
        composite_list: None,
    })
}

fn meter_provider(model: &Model) -> Option<file::MeterProvider> {
    let metrics = &model.meter_provider;
    if metrics.readers.is_empty() {
        return None;
    }
    Some(file::MeterProvider {
        readers: metrics.readers.iter().map(reader).collect(),
        views: (!metrics.views.is_empty()).then(|| metrics.views.iter().map(view).collect()),
        exemplar_filter: Some(match metrics.exemplar_filter {
            ExemplarFilter::AlwaysOn => file::ExemplarFilter::AlwaysOn,
            ExemplarFilter::AlwaysOff => file::ExemplarFilter::AlwaysOff,
            ExemplarFilter::TraceBased => file::ExemplarFilter::TraceBased,
        }),
        meter_configurator: None,
    })
}

fn reader(from: &Reader) -> file::Reader {
    match from {
        Reader::Periodic(reader) => file::Reader::Periodic(Box::new(file::Periodic {
            interval: Some(file::Millis(reader.interval)),
            timeout: Some(file::Millis(reader.timeout)),
            exporter: metric_exporter(&reader.exporter),
            cardinality_limits: cardinality(&reader.cardinality_limits),
            producers: None,
            max_export_batch_size: None,
        })),
        Reader::Pull(reader) => file::Reader::Pull(Box::new(file::Pull {
            exporter: file::PullExporter::Prometheus(file::Prometheus {
                host: Some(reader.prometheus.host.clone()),
                port: whole(usize::from(reader.prometheus.port)),
                ..file::Prometheus::default()
            }),
            cardinality_limits: cardinality(&reader.cardinality_limits),
            producers: None,
        })),
    }
}

fn cardinality(limits: &CardinalityLimits) -> Option<file::CardinalityLimits> {
    (*limits != CardinalityLimits::default()).then(|| file::CardinalityLimits {
        default: maybe(limits.default),
        counter: maybe(limits.counter),
        gauge: maybe(limits.gauge),
        histogram: maybe(limits.histogram),
        observable_counter: maybe(limits.observable_counter),
        observable_gauge: maybe(limits.observable_gauge),
        observable_up_down_counter: maybe(limits.observable_up_down_counter),
        up_down_counter: maybe(limits.up_down_counter),
    })
}

/// The same fields in types of different names.
macro_rules! show_otlp {
    ($type:ident, $endpoint:ident, $otlp:expr $(, $field:ident: $value:expr)*) => {
        Box::new(file::$type {
            endpoint: Some(file::$endpoint($otlp.endpoint.clone())),
            tls: tls($otlp),
            headers: headers($otlp),
            compression: Some(if $otlp.gzip { file::Compression::Gzip } else { file::Compression::None }),
            timeout: Some(file::Millis($otlp.timeout)),
            $($field: $value,)*
            ..file::$type::default()
        })
    };
}

fn metric_exporter(from: &crate::config::model::MetricExporter) -> file::MetricExporter {
    let temporality = Some(match from.temporality {
        Temporality::Cumulative => file::TemporalityPreference::Cumulative,
        Temporality::Delta => file::TemporalityPreference::Delta,
        Temporality::LowMemory => file::TemporalityPreference::LowMemory,
    });
    let aggregation = Some(match from.histogram_aggregation {
        HistogramAggregation::ExplicitBuckets => {
            file::DefaultHistogramAggregation::ExplicitBucketHistogram
        }
        HistogramAggregation::Base2Exponential => {
            file::DefaultHistogramAggregation::Base2ExponentialBucketHistogram
        }
    });
    match &from.exporter {
        Exporter::Otlp(otlp) if otlp.protocol == Protocol::Grpc => {
            file::MetricExporter::OtlpGrpc(show_otlp!(OtlpGrpcMetric, GrpcEndpoint, otlp,
                temporality_preference: temporality, default_histogram_aggregation: aggregation))
        }
        Exporter::Otlp(otlp) => {
            file::MetricExporter::OtlpHttp(show_otlp!(OtlpHttpMetric, HttpEndpoint, otlp,
                temporality_preference: temporality, default_histogram_aggregation: aggregation))
        }
        Exporter::Console => file::MetricExporter::Console(file::ConsoleMetric {
            temporality_preference: temporality,
            default_histogram_aggregation: aggregation,
        }),
    }
}

fn exporter(from: &Exporter) -> file::Exporter {
    match from {
        Exporter::Otlp(otlp) if otlp.protocol == Protocol::Grpc => {
            file::Exporter::OtlpGrpc(show_otlp!(OtlpGrpc, GrpcEndpoint, otlp))
        }
        Exporter::Otlp(otlp) => file::Exporter::OtlpHttp(show_otlp!(OtlpHttp, HttpEndpoint, otlp)),
        Exporter::Console => file::Exporter::Console(file::Empty {}),
    }
}

fn tls(otlp: &Otlp) -> Option<file::Tls> {
    let name = |path: &std::path::Path| path.to_string_lossy().into_owned();
    (otlp.tls != Default::default()).then(|| file::Tls {
        ca_file: otlp.tls.authority.as_deref().map(name),
        client: otlp.tls.client.as_ref().map(|(certificate, key)| (name(certificate), name(key))),
    })
}

fn headers(otlp: &Otlp) -> Option<Vec<file::Header>> {
    let header = |name: &http::HeaderName| file::Header {
        name: file::HeaderName(name.as_str().to_owned()),
        value: Some(file::HeaderValue(file::Secret(file::MASK.to_owned()))),
    };
    let headers: Vec<_> = otlp.headers.iter().map(|(name, _)| header(name)).collect();
    (!headers.is_empty()).then_some(headers)
}

macro_rules! show_processor {
    ($name:ident, $type:ident, $batch:ident) => {
        fn $name(processor: &Processor) -> file::$type {
            match processor {
                Processor::Batch(batch) => file::$type::Batch(Box::new(file::$batch {
                    schedule_delay: Some(file::Millis(batch.schedule_delay)),
                    export_timeout: Some(file::Millis(batch.export_timeout)),
                    max_queue_size: whole(batch.max_queue_size),
                    max_export_batch_size: whole(batch.max_export_batch_size),
                    exporter: exporter(&batch.exporter),
                })),
                Processor::Simple(to) => {
                    file::$type::Simple(Box::new(file::Simple { exporter: exporter(to) }))
                }
            }
        }
    };
}

show_processor!(span_processor, SpanProcessor, SpanBatch);
show_processor!(log_processor, LogProcessor, LogBatch);

fn tracer_provider(model: &Model) -> Option<file::TracerProvider> {
    let traces = &model.tracer_provider;
    if traces.processors.is_empty() {
        return None;
    }
    Some(file::TracerProvider {
        processors: traces.processors.iter().map(span_processor).collect(),
        limits: Some(file::SpanLimits {
            attribute_value_length_limit: maybe(traces.limits.attributes.value_length),
            attribute_count_limit: whole(traces.limits.attributes.count),
            event_count_limit: whole(traces.limits.events),
            link_count_limit: whole(traces.limits.links),
            event_attribute_count_limit: whole(traces.limits.event_attributes),
            link_attribute_count_limit: whole(traces.limits.link_attributes),
            attribute_value_depth_limit: None,
        }),
        sampler: Some(sampler(&traces.sampler)),
        id_generator: None,
        tracer_configurator: None,
    })
}

fn logger_provider(model: &Model) -> Option<file::LoggerProvider> {
    let logs = &model.logger_provider;
    (!logs.processors.is_empty()).then(|| file::LoggerProvider {
        processors: logs.processors.iter().map(log_processor).collect(),
        limits: Some(limits(&logs.limits.attributes)),
        logger_configurator: None,
    })
}

fn sampler(from: &Sampler) -> file::Sampler {
    match from {
        Sampler::AlwaysOn => file::Sampler::AlwaysOn(file::Empty {}),
        Sampler::AlwaysOff => file::Sampler::AlwaysOff(file::Empty {}),
        Sampler::TraceIdRatio(ratio) => file::Sampler::TraceIdRatioBased(file::RatioSampler {
            ratio: Some(file::Share(*ratio)),
        }),
        Sampler::ParentBased(parent) => file::Sampler::ParentBased(Box::new(file::ParentBased {
            root: Some(sampler(&parent.root)),
            remote_parent_sampled: Some(sampler(&parent.remote_parent_sampled)),
            remote_parent_not_sampled: Some(sampler(&parent.remote_parent_not_sampled)),
            local_parent_sampled: Some(sampler(&parent.local_parent_sampled)),
            local_parent_not_sampled: Some(sampler(&parent.local_parent_not_sampled)),
        })),
    }
}

fn view(view: &View) -> file::View {
    use crate::config::model::InstrumentType;
    let (selector, stream) = (view.selector.clone(), view.stream.clone());
    file::View {
        selector: file::Selector {
            instrument_name: selector.instrument_name,
            instrument_type: selector.instrument_type.map(|of| match of {
                InstrumentType::Counter => file::InstrumentType::Counter,
                InstrumentType::Gauge => file::InstrumentType::Gauge,
                InstrumentType::Histogram => file::InstrumentType::Histogram,
                InstrumentType::ObservableCounter => file::InstrumentType::ObservableCounter,
                InstrumentType::ObservableGauge => file::InstrumentType::ObservableGauge,
                InstrumentType::ObservableUpDownCounter => {
                    file::InstrumentType::ObservableUpDownCounter
                }
                InstrumentType::UpDownCounter => file::InstrumentType::UpDownCounter,
            }),
            unit: selector.unit,
            meter_name: selector.meter_name,
            meter_version: selector.meter_version,
            meter_schema_url: selector.meter_schema_url,
        },
        stream: file::Stream {
            name: stream.name,
            description: stream.description,
            aggregation: stream.aggregation.map(aggregation),
            aggregation_cardinality_limit: maybe(stream.aggregation_cardinality_limit),
            attribute_keys: stream.attribute_keys.map(|keys| file::IncludeExclude {
                included: keys.included,
                excluded: Some(keys.excluded).filter(|excluded| !excluded.is_empty()),
            }),
        },
    }
}

fn aggregation(from: Aggregation) -> file::Aggregation {
    match from {
        Aggregation::Default => file::Aggregation::Default(file::Empty {}),
        Aggregation::Drop => file::Aggregation::Drop(file::Empty {}),
        Aggregation::LastValue => file::Aggregation::LastValue(file::Empty {}),
        Aggregation::Sum => file::Aggregation::Sum(file::Empty {}),
        Aggregation::ExplicitBuckets { boundaries, record_min_max } => {
            file::Aggregation::ExplicitBucketHistogram(file::ExplicitBuckets {
                boundaries: boundaries.map(file::Bounds),
                record_min_max: Some(record_min_max),
            })
        }
        Aggregation::Base2Exponential { max_scale, max_size, record_min_max } => {
            file::Aggregation::Base2ExponentialBucketHistogram(file::Base2Exponential {
                max_scale: Some(file::Scale(max_scale)),
                max_size: Some(file::Whole(u64::from(max_size))),
                record_min_max: Some(record_min_max),
            })
        }
    }
}
