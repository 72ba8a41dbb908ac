//! OpenTelemetry's variables, one by one: what they become, and what is refused.

use super::*;
use crate::config::model::{
    AttributeLimits, Batch, ExemplarFilter, HistogramAggregation, Processor, Propagator, Sampler,
    SpanLimits, Temporality, supported::unsupported,
};

fn batch_of(processors: &[Processor]) -> &Batch {
    match processors {
        [Processor::Batch(batch)] => batch,
        other => panic!("not one batch processor: {other:?}"),
    }
}

#[test]
fn several_exporters_of_metrics_are_several_readers_in_the_order_they_are_named() {
    let model = model_of(&[
        ("OTEL_METRICS_EXPORTER", "otlp, console,prometheus"),
        ("OTEL_EXPORTER_PROMETHEUS_HOST", "0.0.0.0"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "9999"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "4000"),
    ]);
    let [Reader::Periodic(otlp), Reader::Periodic(console), Reader::Pull(pull)] =
        &model.meter_provider.readers[..]
    else {
        panic!("{:?}", model.meter_provider.readers)
    };
    assert!(matches!(otlp.exporter.exporter, Target::Otlp(_)));
    assert_eq!(console.exporter.exporter, Target::Console);
    assert_eq!((pull.prometheus.host.as_str(), pull.prometheus.port), ("0.0.0.0", 9999));
    for reader in [otlp, console] {
        let times = (reader.interval, reader.timeout);
        assert_eq!(times, (Duration::from_secs(5), Duration::from_secs(4)));
    }
}

#[test]
fn metrics_are_shaped_as_their_variables_say() {
    let otlp = ("OTEL_METRICS_EXPORTER", "otlp");
    let default = model_of(&[otlp]).meter_provider;
    let Some(Reader::Periodic(reader)) = default.readers.first() else { panic!("no reader") };
    assert_eq!(reader.exporter.temporality, Temporality::Cumulative);
    assert_eq!(reader.exporter.histogram_aggregation, HistogramAggregation::ExplicitBuckets);
    assert_eq!(default.exemplar_filter, ExemplarFilter::TraceBased);
    assert_eq!(reader.interval, Duration::from_secs(60));
    assert_eq!(reader.timeout, Duration::from_secs(30));
    let chosen = model_of(&[
        otlp,
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
    ])
    .meter_provider;
    let Some(Reader::Periodic(reader)) = chosen.readers.first() else { panic!("no reader") };
    assert_eq!(reader.exporter.temporality, Temporality::LowMemory);
    assert_eq!(reader.exporter.histogram_aggregation, HistogramAggregation::Base2Exponential);
    assert_eq!(chosen.exemplar_filter, ExemplarFilter::AlwaysOff);
}

#[test]
fn traces_and_logs_have_processors_limits_and_a_sampler_once_an_exporter_is_named() {
    let nothing = model_of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]);
    assert!(nothing.tracer_provider.processors.is_empty());
    assert!(nothing.logger_provider.processors.is_empty());
    let model = model_of(&[
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:1/mine"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "3"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "100"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "10"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "11"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "12"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "13"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "14"),
        ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "15"),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "16"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
    ]);
    let spans = batch_of(&model.tracer_provider.processors);
    let Target::Otlp(otlp) = &spans.exporter else { panic!("{spans:?}") };
    assert_eq!(otlp.endpoint, "http://collector:4318/v1/traces");
    let times = (spans.schedule_delay.as_millis(), spans.export_timeout.as_millis());
    assert_eq!(times, (1, 2));
    assert_eq!((spans.max_queue_size, spans.max_export_batch_size), (3, 3));
    let logs = batch_of(&model.logger_provider.processors);
    let Target::Otlp(otlp) = &logs.exporter else { panic!("{logs:?}") };
    assert_eq!(otlp.endpoint, "http://logs:1/mine");
    assert_eq!((logs.max_queue_size, logs.max_export_batch_size), (2_048, 100));
    let limits = SpanLimits {
        attributes: AttributeLimits { value_length: Some(11), count: 10 },
        events: 12,
        links: 13,
        event_attributes: 14,
        link_attributes: 15,
    };
    assert_eq!(model.tracer_provider.limits, limits);
    assert_eq!(model.logger_provider.limits.attributes.count, 16);
    let quarter = Sampler::parent_based(Sampler::TraceIdRatio(0.25));
    assert_eq!(model.tracer_provider.sampler, quarter);
}

#[test]
fn a_context_travels_as_opentelemetry_says_unless_a_variable_says_otherwise() {
    let of = |text| model_of(&[("OTEL_PROPAGATORS", text)]).propagators;
    assert_eq!(of(""), [Propagator::TraceContext, Propagator::Baggage]);
    assert_eq!(of("baggage,tracecontext,baggage"), [Propagator::Baggage, Propagator::TraceContext]);
    assert_eq!(of("none"), []);
}

#[test]
fn an_address_without_a_scheme_is_taken_for_grpc_if_its_safety_is_said() {
    let of = |insecure| {
        let named = [
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
        ];
        otlp_of(&named).endpoint.to_string()
    };
    assert_eq!(of("true"), "http://collector:4317/");
    assert_eq!(of("false"), "https://collector:4317/");
}

const NOT_YET: &str = "is not supported yet: leave it out";

#[test]
fn what_nothing_consumes_yet_is_refused_by_the_name_of_its_variable() {
    let table: [(&str, &str); 1] = [("OTEL_METRICS_EXEMPLAR_FILTER", "always_on")];
    for (name, value) in table {
        let mut variables = vec![(name, value)];
        if name != "OTEL_METRICS_EXPORTER" {
            variables.push(("OTEL_METRICS_EXPORTER", "otlp"));
        }
        assert_eq!(message(&variables), format!("{name}={value:?}: {NOT_YET}"));
    }
    assert_eq!(unsupported(&model_of(&[])), None);
}

const BAD_VALUES: [(&str, &str, &str); 15] = [
    ("OTEL_METRICS_EXPORTER", "otlp,otlp", "names otlp twice: once is enough"),
    ("OTEL_METRICS_EXPORTER", "otlp,none", "none stands alone: leave it out, or the others"),
    ("OTEL_TRACES_EXPORTER", "zipkin", "there is no such exporter: use otlp, console or none"),
    ("OTEL_LOGS_EXPORTER", "stdout", "there is no such exporter: use otlp, console or none"),
    (
        "OTEL_PROPAGATORS",
        "b3",
        "there is no such propagator here: use tracecontext, baggage or none",
    ),
    ("OTEL_LOG_LEVEL", "loud", "there is no such level: use error, warn, info, debug or trace"),
    (
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "some",
        "there is no such filter: use always_on, always_off or trace_based",
    ),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "exponential",
        "there is no such aggregation: use explicit_bucket_histogram or base2_exponential_bucket_histogram",
    ),
    ("OTEL_BSP_SCHEDULE_DELAY", "0", ABOVE_ZERO),
    ("OTEL_BSP_EXPORT_TIMEOUT", "1s", MILLIS),
    (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "0",
        "outside 1 to 1000000 (a queue and a batch hold at least one): use a value inside",
    ),
    (
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "4096",
        "a batch is no larger than the queue of 2048: lower it, or raise OTEL_BSP_MAX_QUEUE_SIZE",
    ),
    ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many", WHOLE),
    (
        "OTEL_TRACES_SAMPLER",
        "xray",
        "there is no such sampler here: use always_on, always_off, traceidratio, parentbased_always_on, \
         parentbased_always_off or parentbased_traceidratio",
    ),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "70000", "not a port: use 0 for any, or 1 to 65535"),
];

#[test]
fn readers_that_cannot_be_together_are_refused() {
    let exponential = (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "base2_exponential_bucket_histogram",
    );
    let readers = ("OTEL_METRICS_EXPORTER", "otlp,prometheus");
    assert_eq!(
        message(&[readers, exponential]),
        "OTEL_METRICS_EXPORTER: exponential histograms are for all readers or for none, and Prometheus' page \
         has none: use explicit_bucket_histogram everywhere, or leave the other readers out"
    );
    let readers = ("OTEL_METRICS_EXPORTER", "otlp,console");
    assert!(model_of(&[readers, exponential]).meter_provider.is_exponential());
}

#[test]
fn every_bad_value_of_a_signal_is_an_error_that_names_variable_value_rule_and_way_out() {
    for (name, value, rule) in BAD_VALUES {
        let mut variables = vec![(name, value)];
        let exporter = match name {
            _ if name.ends_with("_EXPORTER") => None,
            "OTEL_EXPORTER_PROMETHEUS_PORT" => Some(("OTEL_METRICS_EXPORTER", "prometheus")),
            _ => Some(("OTEL_TRACES_EXPORTER", "otlp")),
        };
        variables.extend(exporter);
        assert_eq!(message(&variables), format!("{name}={value:?}: {rule}"));
    }
    let argument = [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "10"),
    ];
    assert_eq!(
        message(&argument),
        "OTEL_TRACES_SAMPLER_ARG=\"10\": not a share of traces: use a number from 0 to 1, e.g. 0.1"
    );
}
