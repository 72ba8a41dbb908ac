//! From the file's shape to the model: every default filled in, nothing left to check.

use std::path::PathBuf;

use http::{HeaderMap, HeaderName, Uri};

use super::document::{self as file, Document};
use crate::config::{
    Protocol, endpoint,
    model::{
        self, Aggregation, AttributeLimits, CardinalityLimits, ExemplarFilter,
        HistogramAggregation, InstrumentType, Matching, Model, Processor, Propagator, Reader,
        Sampler, Signal, SpanLimits, Temporality,
        exporter::OTLP_TIMEOUT_DEFAULT,
        meter::{INTERVAL_DEFAULT, TIMEOUT_DEFAULT},
        tracer::{
            BATCH_QUEUE_DEFAULT, BATCH_SIZE_DEFAULT, BATCH_TIMEOUT_DEFAULT, RECORD_DELAY_DEFAULT,
            SPAN_DELAY_DEFAULT,
        },
    },
};

/// The same fields in types of different names.
macro_rules! lift_otlp {
    ($otlp:expr, $protocol:ident, $signal:expr) => {
        otlp(
            $otlp.endpoint.as_ref().map(|endpoint| &endpoint.0),
            (Protocol::$protocol, $signal),
            Common {
                tls: $otlp.tls.as_ref(),
                headers: $otlp.headers.as_deref(),
                headers_list: $otlp.headers_list.as_ref(),
                compression: $otlp.compression,
                timeout: $otlp.timeout,
            },
        )
    };
}

impl From<&Document> for Model {
    fn from(document: &Document) -> Self {
        let disabled = document.disabled.unwrap_or(false);
        let attribute_limits =
            limits(document.attribute_limits.as_ref(), AttributeLimits::default());
        let mut model = Self {
            disabled,
            log_level: document.log_level.map(level),
            attribute_limits,
            resource: document.resource.as_ref().map(resource).unwrap_or_default(),
            propagators: document.propagator.as_ref().map(propagators).unwrap_or_default(),
            ..Self::default()
        };
        if disabled {
            return model;
        }
        if let Some(metrics) = &document.meter_provider {
            model.meter_provider = meter_provider(metrics);
        }
        if let Some(traces) = &document.tracer_provider {
            model.tracer_provider = tracer_provider(traces, attribute_limits);
        }
        if let Some(logs) = &document.logger_provider {
            model.logger_provider = model::LoggerProvider {
                processors: logs.processors.iter().map(log_processor).collect(),
                limits: model::RecordLimits {
                    attributes: limits(logs.limits.as_ref(), attribute_limits),
                },
            };
        }
        model
    }
}

fn level(level: file::LogLevel) -> tracing::Level {
    match level {
        file::LogLevel::Trace => tracing::Level::TRACE,
        file::LogLevel::Debug => tracing::Level::DEBUG,
        file::LogLevel::Info => tracing::Level::INFO,
        file::LogLevel::Warn => tracing::Level::WARN,
        file::LogLevel::Error => tracing::Level::ERROR,
    }
}

fn count<const MIN: u64, const MAX: u64>(
    count: Option<file::Whole<MIN, MAX>>,
    default: usize,
) -> usize {
    count.map_or(default, |count| usize::try_from(count.0).unwrap_or(usize::MAX))
}

fn series<const MIN: u64, const MAX: u64>(count: Option<file::Whole<MIN, MAX>>) -> Option<usize> {
    count.map(|count| usize::try_from(count.0).unwrap_or(usize::MAX))
}

fn limits(limits: Option<&file::AttributeLimits>, general: AttributeLimits) -> AttributeLimits {
    let Some(limits) = limits else { return general };
    AttributeLimits {
        value_length: series(limits.attribute_value_length_limit).or(general.value_length),
        count: count(limits.attribute_count_limit, general.count),
    }
}

fn resource(resource: &file::Resource) -> model::Resource {
    let listed = resource.attributes_list.iter().flat_map(|list| list.0.iter().cloned());
    let mut attributes: std::collections::BTreeMap<_, _> =
        listed.map(|(key, value)| (key, value.into())).collect();
    for attribute in resource.attributes.iter().flatten() {
        if let Some(value) = &attribute.value {
            attributes.insert(attribute.name.clone(), value.clone().into());
        }
    }
    model::Resource { service_name: None, attributes }
}

impl From<file::AttributeValue> for opentelemetry::Value {
    fn from(value: file::AttributeValue) -> Self {
        use opentelemetry::{Array, StringValue};
        match value {
            file::AttributeValue::Bool(value) => Self::Bool(value),
            file::AttributeValue::Int(value) => Self::I64(value),
            file::AttributeValue::Double(value) => Self::F64(value),
            file::AttributeValue::Text(value) => Self::String(value.into()),
            file::AttributeValue::Bools(values) => Self::Array(Array::Bool(values)),
            file::AttributeValue::Ints(values) => Self::Array(Array::I64(values)),
            file::AttributeValue::Doubles(values) => Self::Array(Array::F64(values)),
            file::AttributeValue::Texts(values) => {
                Self::Array(Array::String(values.into_iter().map(StringValue::from).collect()))
            }
        }
    }
}

fn propagators(propagator: &file::Propagator) -> Vec<Propagator> {
    let mut chosen = Vec::new();
    let composite = propagator.composite.iter().flatten().filter_map(|one| match one {
        file::OnePropagator::Tracecontext(_) => Some(Propagator::TraceContext),
        file::OnePropagator::Baggage(_) => Some(Propagator::Baggage),
        // They were refused as they were read.
        file::OnePropagator::B3(_) | file::OnePropagator::B3multi(_) => None,
    });
    let listed = propagator.composite_list.iter().flat_map(|list| list.0.iter().copied());
    for propagator in composite.chain(listed) {
        if !chosen.contains(&propagator) {
            chosen.push(propagator);
        }
    }
    chosen
}

fn meter_provider(metrics: &file::MeterProvider) -> model::MeterProvider {
    model::MeterProvider {
        readers: metrics.readers.iter().map(reader).collect(),
        views: metrics.views.iter().flatten().map(view).collect(),
        exemplar_filter: match metrics.exemplar_filter {
            Some(file::ExemplarFilter::AlwaysOn) => ExemplarFilter::AlwaysOn,
            Some(file::ExemplarFilter::AlwaysOff) => ExemplarFilter::AlwaysOff,
            Some(file::ExemplarFilter::TraceBased) | None => ExemplarFilter::TraceBased,
        },
    }
}

fn reader(reader: &file::Reader) -> Reader {
    match reader {
        file::Reader::Periodic(reader) => Reader::Periodic(Box::new(model::Periodic {
            interval: reader.interval.map_or(INTERVAL_DEFAULT, |millis| millis.0),
            timeout: reader.timeout.map_or(TIMEOUT_DEFAULT, |millis| millis.0),
            exporter: metric_exporter(&reader.exporter),
            cardinality_limits: cardinality(reader.cardinality_limits.as_ref()),
        })),
        file::Reader::Pull(reader) => {
            let file::PullExporter::Prometheus(page) = &reader.exporter;
            let default = model::Prometheus::default();
            let port = page.port.and_then(|port| u16::try_from(port.0).ok());
            Reader::Pull(model::Pull {
                prometheus: model::Prometheus {
                    host: page.host.clone().unwrap_or(default.host),
                    port: port.unwrap_or(default.port),
                },
                cardinality_limits: cardinality(reader.cardinality_limits.as_ref()),
            })
        }
    }
}

fn cardinality(limits: Option<&file::CardinalityLimits>) -> CardinalityLimits {
    let Some(limits) = limits else { return CardinalityLimits::default() };
    CardinalityLimits {
        default: series(limits.default),
        counter: series(limits.counter),
        gauge: series(limits.gauge),
        histogram: series(limits.histogram),
        observable_counter: series(limits.observable_counter),
        observable_gauge: series(limits.observable_gauge),
        observable_up_down_counter: series(limits.observable_up_down_counter),
        up_down_counter: series(limits.up_down_counter),
    }
}

fn metric_exporter(exporter: &file::MetricExporter) -> model::MetricExporter {
    let (exporter, temporality, aggregation) = match exporter {
        file::MetricExporter::OtlpHttp(otlp) => (
            lift_otlp!(otlp, HttpProtobuf, Signal::Metrics),
            otlp.temporality_preference,
            otlp.default_histogram_aggregation,
        ),
        file::MetricExporter::OtlpGrpc(otlp) => (
            lift_otlp!(otlp, Grpc, Signal::Metrics),
            otlp.temporality_preference,
            otlp.default_histogram_aggregation,
        ),
        file::MetricExporter::Console(console) => (
            model::Exporter::Console,
            console.temporality_preference,
            console.default_histogram_aggregation,
        ),
        // It was refused as it was read.
        file::MetricExporter::OtlpFile(_) => (model::Exporter::Console, None, None),
    };
    model::MetricExporter {
        exporter,
        temporality: match temporality {
            Some(file::TemporalityPreference::Cumulative) | None => Temporality::Cumulative,
            Some(file::TemporalityPreference::Delta) => Temporality::Delta,
            Some(file::TemporalityPreference::LowMemory) => Temporality::LowMemory,
        },
        histogram_aggregation: match aggregation {
            Some(file::DefaultHistogramAggregation::Base2ExponentialBucketHistogram) => {
                HistogramAggregation::Base2Exponential
            }
            _ => HistogramAggregation::ExplicitBuckets,
        },
    }
}

/// What every OTLP exporter has.
struct Common<'a> {
    tls: Option<&'a file::Tls>,
    headers: Option<&'a [file::Header]>,
    headers_list: Option<&'a file::HeaderPairs>,
    compression: Option<file::Compression>,
    timeout: Option<file::Millis>,
}

fn otlp(
    address: Option<&Uri>,
    (protocol, signal): (Protocol, Signal),
    common: Common<'_>,
) -> model::Exporter {
    let endpoint = match address {
        Some(address) => address.clone(),
        None => endpoint::default(protocol, signal),
    };
    let tls = common.tls.cloned().unwrap_or_default();
    let client =
        tls.client.map(|(certificate, key)| (PathBuf::from(certificate), PathBuf::from(key)));
    model::Exporter::Otlp(Box::new(model::Otlp {
        protocol,
        endpoint,
        headers: headers(common.headers, common.headers_list),
        timeout: common.timeout.map_or(OTLP_TIMEOUT_DEFAULT, |millis| millis.0),
        gzip: common.compression == Some(file::Compression::Gzip),
        tls: model::TlsFiles { authority: tls.ca_file.map(PathBuf::from), client },
    }))
}

fn headers(headers: Option<&[file::Header]>, list: Option<&file::HeaderPairs>) -> HeaderMap {
    let mut all = list.map(|list| list.0.clone()).unwrap_or_default();
    // An entry wins over all of that name in the list.
    let mut own = HeaderMap::new();
    for header in headers.unwrap_or_default() {
        let Some(value) = &header.value else { continue };
        if let Ok((name, value)) = crate::config::headers::header(&header.name.0, &value.0.0) {
            own.append(name, value);
        }
    }
    for name in own.keys() {
        all.remove(name);
    }
    for (name, value) in &own {
        all.append(HeaderName::clone(name), value.clone());
    }
    all
}

fn exporter(exporter: &file::Exporter, signal: Signal) -> model::Exporter {
    match exporter {
        file::Exporter::OtlpHttp(otlp) => lift_otlp!(otlp, HttpProtobuf, signal),
        file::Exporter::OtlpGrpc(otlp) => lift_otlp!(otlp, Grpc, signal),
        // The latter was refused as it was read.
        file::Exporter::Console(_) | file::Exporter::OtlpFile(_) => model::Exporter::Console,
    }
}

macro_rules! processor {
    ($name:ident, $type:ident, $signal:expr, $delay:expr) => {
        fn $name(processor: &file::$type) -> Processor {
            match processor {
                file::$type::Batch(batch) => {
                    let queue = count(batch.max_queue_size, BATCH_QUEUE_DEFAULT);
                    let size = count(batch.max_export_batch_size, BATCH_SIZE_DEFAULT);
                    let timeout =
                        batch.export_timeout.map_or(BATCH_TIMEOUT_DEFAULT, |millis| millis.0);
                    Processor::Batch(model::Batch {
                        schedule_delay: batch.schedule_delay.map_or($delay, |millis| millis.0),
                        export_timeout: timeout,
                        max_queue_size: queue,
                        // What is written was checked; the default follows a smaller queue.
                        max_export_batch_size: size.min(queue),
                        exporter: exporter(&batch.exporter, $signal),
                    })
                }
                file::$type::Simple(simple) => {
                    Processor::Simple(exporter(&simple.exporter, $signal))
                }
                // It was refused as it was read.
                file::$type::Bridge(_) => Processor::Simple(model::Exporter::Console),
            }
        }
    };
}

processor!(span_processor, SpanProcessor, Signal::Traces, SPAN_DELAY_DEFAULT);
processor!(log_processor, LogProcessor, Signal::Logs, RECORD_DELAY_DEFAULT);

fn tracer_provider(
    traces: &file::TracerProvider,
    general: AttributeLimits,
) -> model::TracerProvider {
    let default = SpanLimits { attributes: general, ..SpanLimits::default() };
    let limits = traces.limits.as_ref().map_or(default, |limits| SpanLimits {
        attributes: AttributeLimits {
            value_length: series(limits.attribute_value_length_limit).or(general.value_length),
            count: count(limits.attribute_count_limit, general.count),
        },
        events: count(limits.event_count_limit, default.events),
        links: count(limits.link_count_limit, default.links),
        event_attributes: count(limits.event_attribute_count_limit, default.event_attributes),
        link_attributes: count(limits.link_attribute_count_limit, default.link_attributes),
    });
    model::TracerProvider {
        processors: traces.processors.iter().map(span_processor).collect(),
        limits,
        sampler: traces.sampler.as_ref().map(sampler).unwrap_or_default(),
    }
}

fn sampler(from: &file::Sampler) -> Sampler {
    match from {
        file::Sampler::AlwaysOn(_) => Sampler::AlwaysOn,
        file::Sampler::AlwaysOff(_) => Sampler::AlwaysOff,
        file::Sampler::TraceIdRatioBased(ratio) => {
            Sampler::TraceIdRatio(ratio.ratio.map_or(1.0, |share| share.0))
        }
        file::Sampler::ParentBased(parent) => {
            let or =
                |given: &Option<file::Sampler>, default| given.as_ref().map_or(default, sampler);
            let default = model::ParentBased::default();
            Sampler::ParentBased(Box::new(model::ParentBased {
                root: or(&parent.root, default.root),
                remote_parent_sampled: or(
                    &parent.remote_parent_sampled,
                    default.remote_parent_sampled,
                ),
                remote_parent_not_sampled: or(
                    &parent.remote_parent_not_sampled,
                    default.remote_parent_not_sampled,
                ),
                local_parent_sampled: or(
                    &parent.local_parent_sampled,
                    default.local_parent_sampled,
                ),
                local_parent_not_sampled: or(
                    &parent.local_parent_not_sampled,
                    default.local_parent_not_sampled,
                ),
            }))
        }
        // They were refused as they were read.
        file::Sampler::AlwaysRecord(_)
        | file::Sampler::Composite(_)
        | file::Sampler::JaegerRemote(_)
        | file::Sampler::Probability(_) => Sampler::default(),
    }
}

fn view(view: &file::View) -> model::View {
    let (selector, stream) = (view.selector.clone(), view.stream.clone());
    model::View {
        selector: model::Selector {
            instrument_name: selector.instrument_name,
            instrument_type: selector.instrument_type.map(instrument_type),
            unit: selector.unit,
            meter_name: selector.meter_name,
            meter_version: selector.meter_version,
            meter_schema_url: selector.meter_schema_url,
        },
        stream: model::Stream {
            name: stream.name,
            description: stream.description,
            aggregation: stream.aggregation.map(aggregation),
            aggregation_cardinality_limit: series(stream.aggregation_cardinality_limit),
            attribute_keys: stream.attribute_keys.map(|keys| Matching {
                included: keys.included,
                excluded: keys.excluded.unwrap_or_default(),
            }),
        },
    }
}

const fn instrument_type(from: file::InstrumentType) -> InstrumentType {
    match from {
        file::InstrumentType::Counter => InstrumentType::Counter,
        file::InstrumentType::Gauge => InstrumentType::Gauge,
        file::InstrumentType::Histogram => InstrumentType::Histogram,
        file::InstrumentType::ObservableCounter => InstrumentType::ObservableCounter,
        file::InstrumentType::ObservableGauge => InstrumentType::ObservableGauge,
        file::InstrumentType::ObservableUpDownCounter => InstrumentType::ObservableUpDownCounter,
        file::InstrumentType::UpDownCounter => InstrumentType::UpDownCounter,
    }
}

fn aggregation(from: file::Aggregation) -> Aggregation {
    match from {
        file::Aggregation::Default(_) => Aggregation::Default,
        file::Aggregation::Drop(_) => Aggregation::Drop,
        file::Aggregation::LastValue(_) => Aggregation::LastValue,
        file::Aggregation::Sum(_) => Aggregation::Sum,
        file::Aggregation::ExplicitBucketHistogram(buckets) => Aggregation::ExplicitBuckets {
            boundaries: buckets.boundaries.map(|bounds| bounds.0),
            record_min_max: buckets.record_min_max.unwrap_or(true),
        },
        file::Aggregation::Base2ExponentialBucketHistogram(buckets) => {
            Aggregation::Base2Exponential {
                max_scale: buckets.max_scale.map_or(20, |scale| scale.0),
                max_size: u32::try_from(count(buckets.max_size, 160)).unwrap_or(160),
                record_min_max: buckets.record_min_max.unwrap_or(true),
            }
        }
    }
}
