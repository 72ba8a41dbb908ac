use std::time::Duration;

use super::*;
use crate::config::{
    Checked, Given, Protocol,
    model::{
        Aggregation, Exporter, HistogramAggregation, Periodic, Processor, Propagator, Reader,
        Sampler, Temporality,
    },
    with_file,
};

mod keys;
mod otel;
mod policy;
mod property;

pub(super) fn environment() -> Environment {
    Environment::from_iter([
        ("COLLECTOR", "http://collector:4318"),
        ("TOKEN", "hunter2"),
        ("SECONDS", "5000"),
        ("NAME", "1.5"),
    ])
}

pub(super) fn parse(text: &str) -> Result<File, ConfigError> {
    File::parse("obs.yaml", text.to_owned(), &environment())
}

/// A file as it takes effect, where what nothing consumes yet is not refused.
fn model(text: &str) -> Model {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}")).model()
}

fn checked(text: &str) -> Result<Checked, ConfigError> {
    let file = parse(text)?;
    with_file(&Given::default(), &environment(), &file).map(|(checked, _)| checked)
}

fn message(text: &str) -> String {
    match checked(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

fn periodic(model: &Model) -> &Periodic {
    match model.meter_provider.readers.first() {
        Some(Reader::Periodic(reader)) => reader,
        other => panic!("{other:?}"),
    }
}

const METRICS: &str = r#"
file_format: "1.0"
resource:
  attributes_list: "team=a%20b,service.name=other"
  attributes:
    - name: service.name
      value: orders
    - { name: replicas, value: 3, type: int }
    - { name: zones, value: [a, b], type: string_array }
    - { name: nothing, value: null }
meter_provider:
  readers:
    - periodic:
        interval: ${SECONDS}
        timeout: 4000
        exporter:
          otlp_http:
            endpoint: ${COLLECTOR}/v1/metrics
            headers_list: "x-old=1,x-key=list"
            headers:
              - name: x-key
                value: Bearer ${TOKEN}
              - { name: x-none, value: null }
            compression: gzip
            timeout: 1500
            tls: { ca_file: /ca.pem, cert_file: /me.pem, key_file: /me.key }
            temporality_preference: delta
            default_histogram_aggregation: base2_exponential_bucket_histogram
"#;

#[test]
fn metrics_of_a_file_are_the_model_that_variables_fill() {
    let model = model(METRICS);
    let reader = periodic(&model);
    assert_eq!((reader.interval, reader.timeout), (Duration::from_secs(5), Duration::from_secs(4)));
    assert_eq!(reader.exporter.temporality, Temporality::Delta);
    assert_eq!(reader.exporter.histogram_aggregation, HistogramAggregation::Base2Exponential);
    let Exporter::Otlp(otlp) = &reader.exporter.exporter else { panic!("{reader:?}") };
    assert_eq!(otlp.protocol, Protocol::HttpProtobuf);
    assert_eq!(otlp.endpoint, "http://collector:4318/v1/metrics");
    assert_eq!(otlp.headers["x-key"], "Bearer hunter2");
    assert_eq!(otlp.headers["x-old"], "1");
    assert_eq!(otlp.headers.len(), 2);
    assert!(otlp.gzip);
    assert_eq!(otlp.timeout, Duration::from_millis(1_500));
    assert_eq!(otlp.tls.authority.as_deref(), Some("/ca.pem".as_ref()));
    assert_eq!(otlp.tls.client, Some(("/me.pem".into(), "/me.key".into())));
    let attributes = &model.resource.attributes;
    let names: Vec<_> = attributes.keys().map(String::as_str).collect();
    assert_eq!(names, ["replicas", "service.name", "team", "zones"]);
    assert_eq!(attributes["service.name"].as_str(), "orders");
    assert_eq!(attributes["team"].as_str(), "a b");
    assert_eq!(attributes["replicas"], opentelemetry::Value::I64(3));
}

#[test]
fn an_exporter_without_keys_has_the_defaults_of_its_signal() {
    let model = model(
        "file_format: \"1.1\"
meter_provider:
  readers:
    - periodic: { exporter: { otlp_http: } }
    - periodic: { exporter: { otlp_grpc: {} } }
    - periodic: { exporter: { console: } }
    - pull: { exporter: { prometheus/development: { port: 0 } } }
tracer_provider:
  processors: [{ batch: { max_queue_size: 100, exporter: { otlp_http: } } }]
logger_provider:
  processors: [{ simple: { exporter: { console: } } }]
",
    );
    let address = |reader: &Reader| match reader {
        Reader::Periodic(reader) => match &reader.exporter.exporter {
            Exporter::Otlp(otlp) => otlp.endpoint.to_string(),
            Exporter::Console => "console".to_owned(),
        },
        Reader::Pull(pull) => format!("{}:{}", pull.prometheus.host, pull.prometheus.port),
    };
    let addresses: Vec<_> = model.meter_provider.readers.iter().map(address).collect();
    let expected =
        ["http://localhost:4318/v1/metrics", "http://localhost:4317/", "console", "localhost:0"];
    assert_eq!(addresses, expected);
    assert_eq!(periodic(&model).interval, Duration::from_secs(60));
    let [Processor::Batch(batch)] = &model.tracer_provider.processors[..] else {
        panic!("{model:?}")
    };
    let Exporter::Otlp(otlp) = &batch.exporter else { panic!("{batch:?}") };
    assert_eq!(otlp.endpoint, "http://localhost:4318/v1/traces");
    assert_eq!((batch.max_queue_size, batch.max_export_batch_size), (100, 100));
    assert_eq!(model.logger_provider.processors, [Processor::Simple(Exporter::Console)]);
    assert_eq!(model.propagators, [], "a file that names none has none");
}

#[test]
fn traces_views_and_propagators_of_a_file_are_read() {
    let model = model(
        "file_format: \"1.0\"
attribute_limits: { attribute_count_limit: 7 }
propagator: { composite: [{ tracecontext: }], composite_list: \"baggage,tracecontext\" }
tracer_provider:
  processors: [{ simple: { exporter: { console: } } }]
  limits: { event_count_limit: 8 }
  sampler: { parent_based: { root: { trace_id_ratio_based: { ratio: 0.25 } } } }
meter_provider:
  readers: [{ periodic: { exporter: { console: } } }]
  views:
    - selector: { instrument_name: \"obs.*\", instrument_type: histogram }
      stream:
        aggregation: { explicit_bucket_histogram: { boundaries: [1, 2.5] } }
        attribute_keys: { excluded: [secret] }
",
    );
    assert_eq!(model.propagators, [Propagator::TraceContext, Propagator::Baggage]);
    let limits = &model.tracer_provider.limits;
    assert_eq!((limits.attributes.count, limits.events, limits.links), (7, 8, 128));
    let quarter = Sampler::parent_based(Sampler::TraceIdRatio(0.25));
    assert_eq!(model.tracer_provider.sampler, quarter);
    let stream = &model.meter_provider.views[0].stream;
    let buckets =
        Aggregation::ExplicitBuckets { boundaries: Some(vec![1.0, 2.5]), record_min_max: true };
    assert_eq!(stream.aggregation, Some(buckets));
}

/// Each line is what is wrong, after a good first line.
const BAD: &[(&str, &str)] = &[
    (
        "meter_provider: { readers: [{ periodic: { intervall: 1, exporter: { console: } } }] }",
        "obs.yaml:2: meter_provider.readers[0].periodic.intervall is not a key here: did you mean interval? Rename or leave it out",
    ),
    (
        "meter_provder: {}",
        "obs.yaml:2: meter_provder is not a key here: did you mean meter_provider? Rename or leave it out",
    ),
    ("meter_provider: {}", "obs.yaml:2: meter_provider: has no readers: it needs one"),
    (
        "meter_provider: { readers: [] }",
        "obs.yaml:2: meter_provider.readers is an empty list: write an entry below it, or leave out the group that it is in",
    ),
    (
        "meter_provider: { readers: [{ periodic: { interval: 1s, exporter: { console: } } }] }",
        "obs.yaml:2: meter_provider.readers[0].periodic.interval=\"1s\": not a whole number: use digits only, e.g. 1000",
    ),
    (
        "meter_provider: { readers: [{ periodic: { interval: 0, exporter: { console: } } }] }",
        "obs.yaml:2: meter_provider.readers[0].periodic.interval=\"0\": 0 would mean at once or for ever: use milliseconds above 0, e.g. 10000",
    ),
    (
        "meter_provider: { readers: [{ periodic: { exporter: { otlp_http: { endpoint: localhost } } } }] }",
        "obs.yaml:2: meter_provider.readers[0].periodic.exporter.otlp_http.endpoint: \"localhost\": not the address of a Collector: use http://host:port, or https://host:port for TLS",
    ),
    (
        "meter_provider: { readers: [{ periodic: { exporter: { otlp_http: { tls: { key_file: x } } } } }] }",
        "obs.yaml:2: meter_provider.readers[0].periodic.exporter.otlp_http.tls: key_file is of no use without its certificate: set cert_file too",
    ),
    (
        "meter_provider: { readers: [{ periodic: { exporter: { otlp_http: { encoding: json } } } }] }",
        "obs.yaml:2: meter_provider.readers[0].periodic.exporter.otlp_http.encoding=\"json\": there is no such value: use protobuf",
    ),
    (
        "meter_provider: { readers: [{ periodic: { exporter: { console: , otlp_http: } } }] }",
        "obs.yaml:2: meter_provider.readers[0].periodic.exporter: chooses nothing, or more than one: write one of otlp_http, otlp_grpc, console or otlp_file/development",
    ),
    (
        "meter_provider: { readers: [{ periodic: { exporter: { otlp_file/development: {} } } }] }",
        "obs.yaml:2: meter_provider.readers[0].periodic.exporter.otlp_file/development: OpenTelemetry's format has this, and obs does not support it: leave it out",
    ),
    (
        "meter_provider: { readers: 7 }",
        "obs.yaml:2: meter_provider.readers=\"7\": not a list: write its entries below it, each after a dash",
    ),
    ("disabled: yes", "obs.yaml:2: disabled=\"yes\": not a switch: use true or false"),
    (
        "log_level: loud",
        "obs.yaml:2: log_level=\"loud\": there is no such value: use trace, debug, info, warn or error",
    ),
    (
        "resource: [a]",
        "obs.yaml:2: resource: not a group of keys: write them below it, further to the right",
    ),
    (
        "resource: { attributes: [{ name: a, value: 1 }] }",
        "obs.yaml:2: resource.attributes[0]: the value is not of the type \"string\": write such a value, or another type",
    ),
    (
        "resource: { attributes: [{ name: 7, value: a }] }",
        "obs.yaml:2: resource.attributes[0].name=\"7\": not text: put it into quotes",
    ),
    (
        "resource: { schema_url: \"http://x\" }",
        "obs.yaml:2: resource.schema_url=\"http://x\": OpenTelemetry's format has this, and obs does not support it: leave it out",
    ),
    (
        "propagator: { composite_list: b3 }",
        "obs.yaml:2: propagator.composite_list=\"b3\": there is no such propagator here: use tracecontext, baggage or none",
    ),
    (
        "tracer_provider: { processors: [{ batch: { max_export_batch_size: 4096, exporter: { console: } } }] }",
        "obs.yaml:2: tracer_provider.processors[0].batch.max_export_batch_size: a batch of 4096 is larger than the queue of 2048: lower it, or raise max_queue_size",
    ),
    (
        "tracer_provider: { processors: [{ simple: { exporter: { console: } } }], sampler: { trace_id_ratio_based: { ratio: 2 } } }",
        "obs.yaml:2: tracer_provider.sampler.trace_id_ratio_based.ratio=\"2\": not a share: use a number from 0 to 1, e.g. 0.1",
    ),
    (
        "obs: { sampel_rate: 1 }",
        "obs.yaml:2: obs.sampel_rate is not a key here: leave it out, or use enabled, policy, ",
    ),
    (
        "obs: { policy: { sample_rate: 1.5 } }",
        "obs.yaml:2: obs.policy.sample_rate=\"1.5\": rate 1.5 is not in [0, 1]: use 0 for none, 1 for all, 0.05 for one in twenty",
    ),
    (
        "obs: { policy: { slo: \"${SPEED:-fast}\" } }",
        "obs.yaml:2: obs.policy.slo=\"${SPEED:-fast}\": not a duration above 0: use seconds (0.25) or a number with us, ms or s (250ms)",
    ),
    ("obs: { store: { url: \"redis://me:hunter2@host\" } }", "obs.yaml:2: obs.store.url: "),
    (
        "obs: { queue: { records: [1] } }",
        "obs.yaml:2: obs.queue.records: not a single value: write one",
    ),
    (
        "obs: { redact: { keys: [+a, b] } }",
        "obs.yaml:2: obs.redact.keys=\"+a,b\": either every name adds to the list and begins with +",
    ),
    (
        "disabled: ${1X}",
        "obs.yaml:2: \"${1X}\": not a reference to a variable: write ${NAME}, ${env:NAME} or ${NAME:-default}, and $$ for a dollar sign",
    ),
    (
        "disabled: false\ndisabled: true",
        "obs.yaml:3: disabled is there already, in line 2: leave one of them out",
    ),
    ("disabled: !mine true", "obs.yaml:2: has the tag !mine: leave it out"),
    ("a: [", "obs.yaml:3: is not YAML: "),
    ("---\na: 1", "obs.yaml:2: a second document begins here: a file holds one"),
    (
        "instrumentation/development: {}",
        "obs.yaml:2: instrumentation/development: OpenTelemetry's format has this, and obs does not support it: leave it out",
    ),
];

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line_key_value_rule_and_way_out() {
    let mut different = String::new();
    for (line, expected) in BAD {
        let message = message(&format!("file_format: \"1.0\"\n{line}\n"));
        assert!(!message.contains("hunter2"), "{message}");
        if !message.starts_with(expected) {
            different.push_str(&format!("{line}\n  is:     {message}\n  wanted: {expected}\n"));
        }
    }
    assert!(different.is_empty(), "\n{different}");
    assert_eq!(
        message("disabled: true\n"),
        "obs.yaml:1: has no file_format: begin it with file_format: \"1.0\""
    );
    let newer = message("file_format: \"2.0\"\n");
    assert_eq!(
        newer,
        "obs.yaml:1: file_format=\"2.0\": not a format that is read here: use \"1.0\" or another 1.x"
    );
    assert_eq!(message(""), "obs.yaml:1: is empty: begin it with file_format: \"1.0\"");
}

#[test]
fn a_control_character_in_a_key_a_tag_or_a_name_is_not_in_the_message() {
    for line in
        ["obs: { sa\u{10}mple_rate: 1 }", "a\u{1b}[31m: 1", "disabled: !a\u{7}b true", "a: *b\u{1}"]
    {
        let message = message(&format!("file_format: \"1.0\"\n{line}\n"));
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}

#[test]
fn what_nothing_consumes_yet_and_what_is_impossible_is_refused_with_its_line() {
    let text = "file_format: \"1.0\"
meter_provider:
  readers: [{ periodic: { exporter: { console: } } }]
  exemplar_filter: always_on
";
    assert_eq!(
        message(text),
        "obs.yaml:4: meter_provider.exemplar_filter is not supported yet: leave it out"
    );
    let text = "file_format: \"1.0\"
meter_provider:
  readers: [{ periodic: { exporter: { console: } } }]
  views: [{ selector: {}, stream: { attribute_keys: { excluded: [secret] } } }]
";
    assert_eq!(
        message(text),
        "obs.yaml:4: meter_provider.views: attribute_keys are a list of those to include here, without patterns: \
         OpenTelemetry's SDK has no other way"
    );
}

#[test]
fn a_variable_of_ours_wins_over_the_block_and_one_of_opentelemetry_counts_only_where_it_is_named() {
    let text = "file_format: \"1.0\"
resource: { attributes: [{ name: service.name, value: \"${OTEL_SERVICE_NAME:-nobody}\" }] }
obs:
  policy: { sample_rate: 0.5, slo: 2s }
  store: { url: \"sqlite:./file.sqlite\" }
";
    let environment = Environment::from_iter([
        ("OBS_SAMPLE_RATE", "0.25"),
        ("OBS_STORE_FILE", "/dev/null"),
        ("OTEL_SERVICE_NAME", "orders"),
        ("OTEL_METRICS_EXPORTER", "nonsense"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
    ]);
    let file = File::parse("obs.yaml", text.to_owned(), &environment).unwrap();
    let error = with_file(&Given::default(), &environment, &file).unwrap_err().to_string();
    assert!(error.starts_with("OBS_STORE_FILE=\"/dev/null\": has an empty first line"), "{error}");
    let given = Given { store: Some("sqlite:./code.sqlite".into()), ..Given::default() };
    let (checked, _) = with_file(&given, &environment, &file).unwrap();
    assert_eq!(checked.policy.ok_rate.get(), 0.25);
    assert_eq!(checked.policy.slow, Some(Duration::from_secs(2)));
    assert_eq!(checked.model.resource.attributes["service.name"].as_str(), "orders");
    assert!(checked.model.meter_provider.readers.is_empty());
    assert_eq!(checked.ignored, ["OTEL_METRICS_EXPORTER", "OTEL_TRACES_EXPORTER"]);
}

#[test]
fn code_wins_over_the_file() {
    let file = parse(METRICS.replace("base2_exponential", "explicit").as_str()).unwrap();
    let given = Given {
        endpoint: Some("http://code:1".into()),
        service_name: Some("code".to_owned()),
        export_interval: Some(Duration::from_secs(9)),
        ..Given::default()
    };
    let (checked, _) = with_file(&given, &environment(), &file).unwrap();
    let Exporter::Otlp(otlp) = &periodic(&checked.model).exporter.exporter else { panic!() };
    assert_eq!(otlp.endpoint, "http://code:1/v1/metrics");
    assert_eq!(periodic(&checked.model).interval, Duration::from_secs(9));
    assert_eq!(checked.model.resource.service_name.as_deref(), Some("code"));
}

#[test]
fn a_file_cannot_make_us_take_more_than_its_limits_allow() {
    let deep = format!("file_format: \"1.0\"\nobs: {}{}\n", "[".repeat(100), "]".repeat(100));
    assert!(message(&deep).contains("is deeper than 32 levels"), "{}", message(&deep));
    let mut laughs = "file_format: \"1.0\"\na: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for at in 1..8 {
        let of = format!("*a{},", at - 1).repeat(10);
        laughs.push_str(&format!("b{at}: &a{at} [{of}]\n"));
    }
    assert!(message(&laughs).contains("more than 20000 values"), "{}", message(&laughs));
}
