use obs_persist::SpoolDir;

use super::{
    model::{Exporter as Target, Otlp, Periodic, Reader},
    *,
};

mod safety;
mod variables_table;

/// The message of the one variable that is wrong.
fn message(variables: &[(&str, &str)]) -> String {
    match config(variables) {
        Ok(_) => panic!("accepted: {variables:?}"),
        Err(error) => error.to_string(),
    }
}

fn config(variables: &[(&str, &str)]) -> Result<Checked, ConfigError> {
    check(&Given::default(), &variables.iter().copied().collect())
}

fn otlp_of(variables: &[(&str, &str)]) -> Otlp {
    exporter_of(&config(variables).unwrap())
}

fn reader_of(config: &Checked) -> Periodic {
    match &config.model.meter_provider.readers[..] {
        [Reader::Periodic(reader)] => (**reader).clone(),
        other => panic!("not one periodic reader: {other:?}"),
    }
}

fn exporter_of(config: &Checked) -> Otlp {
    match reader_of(config).exporter.exporter {
        Target::Otlp(otlp) => *otlp,
        other => panic!("not OTLP: {other:?}"),
    }
}

/// Whatever the model says, supported or not.
fn model_of(variables: &[(&str, &str)]) -> Model {
    variables::model(&Given::default(), &variables.iter().copied().collect()).unwrap()
}

#[test]
fn without_any_variable_every_setting_is_its_default() {
    let config = config(&[]).unwrap();
    assert!(config.model.meter_provider.readers.is_empty());
    assert_eq!(config.policy, KeepPolicy::default());
    assert_eq!(config.limits, Limits::default());
    let Rows::On { store, migrations, required, limits, .. } = config.rows else {
        panic!("rows are off")
    };
    assert_eq!(migrations, Migrations::AtStart);
    assert_eq!(
        (store.to_string().as_str(), required, limits.queue_records),
        (STORE_DEFAULT, false, 1_000)
    );
    let mut usual = PersistConfig::default();
    usual.spool_dir = Some(SpoolDir::Default("./obs.sqlite.spool".into()));
    assert_eq!(limits.spool_dir, usual.spool_dir);
    assert_eq!(*limits, usual);
}

const QUEUE: &str = "outside 1 to 1000000 (a queue holds at least one record): use a value inside";
const DAYS: &str =
    "not a number of days from 1 to 36500: use e.g. 30, or off to keep rows for ever";
const DAY: Duration = Duration::from_secs(86_400);
const TRACE: &str = "outside 0 to 10000 (0 switches traces off): use a value inside";
const WHOLE: &str = "not a whole number: use digits only, e.g. 1000";
const SLO: &str = "not a duration above 0: use seconds (0.25) or a number with us, ms or s (250ms)";
const SWITCH: &str = "not a switch: use true or false";
const ABOVE_ZERO: &str = "0 would mean at once or for ever: use milliseconds above 0, e.g. 10000";
const MILLIS: &str = "not a number of milliseconds: use e.g. 10000";
const ENCODED: &str =
    "entry 1 is not percent-encoded UTF-8: write %2C for a comma, %25 for a percent sign";
const EXPORTER: &str = "there is no such exporter: use otlp, prometheus, console or none";
const TEMPORALITY: &str = "there is no such temporality: use cumulative, delta or lowmemory";
const RATE_WAY_OUT: &str = "is not in [0, 1]: use 0 for none, 1 for all, 0.05 for one in twenty";

const SPOOL: &str =
    "outside 8388608 to 68719476736 (two segments of 4 MiB are the least): use a value inside";

const SAMPLE_BY: &str = "not by what runs can be chosen: use chance, trace or correlation";

const BAD_VALUES: [(&str, &str, &str); 34] = [
    ("OBS_SPOOL", "on", "not what a spool can hold: use errors, or off"),
    ("OBS_SPOOL_BYTES_MAX", "4096", SPOOL),
    ("OBS_SPOOL_BYTES_MAX", "1GB", WHOLE),
    ("OBS_SPOOL_FSYNC", "100ms", "no such policy: use interval (every 100 ms), always or never"),
    (
        "OBS_LOST_RUNS",
        "true",
        "neither on nor off: on keeps runs in flight where the next process finds them",
    ),
    ("OBS_SAMPLE_BY", "luck", SAMPLE_BY),
    ("OBS_SAMPLE_BY", "Trace", SAMPLE_BY),
    ("OBS_SAMPLE_RATE", "5%", "not a number: use a decimal number, e.g. 0.05"),
    ("OBS_QUEUE_RECORDS", "0", QUEUE),
    ("OBS_QUEUE_RECORDS", "1000001", QUEUE),
    ("OBS_QUEUE_RECORDS", "1k", WHOLE),
    ("OBS_RETENTION_OK", "0", DAYS),
    ("OBS_RETENTION_OK", "36501", DAYS),
    ("OBS_RETENTION_ERROR", "30d", DAYS),
    ("OBS_RETENTION_ERROR", "1.5", DAYS),
    ("OBS_TRACE_ENTRIES", "10001", TRACE),
    ("OBS_TRACE_ENTRIES", "-1", WHOLE),
    ("OBS_SLO", "0", SLO),
    ("OBS_SLO", "fast", SLO),
    ("OBS_SLO", "-1s", SLO),
    ("OBS_SLO", "5min", SLO),
    ("OBS_ENABLED", "maybe", SWITCH),
    ("OBS_STORE_REQUIRED", "please", SWITCH),
    (
        "OBS_STORE_MIGRATE",
        "never",
        "not who migrates: use start, or external where `obs migrate` does",
    ),
    ("OTEL_SDK_DISABLED", "yes", SWITCH),
    ("OTEL_METRICS_EXPORTER", "jaeger", EXPORTER),
    ("OTEL_METRIC_EXPORT_INTERVAL", "0", ABOVE_ZERO),
    ("OTEL_METRIC_EXPORT_INTERVAL", "10s", MILLIS),
    ("OTEL_METRIC_EXPORT_TIMEOUT", "0", ABOVE_ZERO),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sometimes", TEMPORALITY),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "entry 2 has no `=`: write key=value,key=value"),
    ("OTEL_RESOURCE_ATTRIBUTES", "=b", "entry 1 has no key: write key=value,key=value"),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=100%", ENCODED),
    ("OTEL_RESOURCE_ATTRIBUTES", "a=%ff", ENCODED),
];

#[test]
fn every_bad_value_is_an_error_that_names_variable_value_rule_and_way_out() {
    for (name, value, rule) in BAD_VALUES {
        assert_eq!(message(&[(name, value)]), format!("{name}={value:?}: {rule}"));
    }
    for rate in ["1.5", "-0.1", "NaN", "inf"] {
        let expected = format!("OBS_SAMPLE_RATE={rate:?}: rate {rate} {RATE_WAY_OUT}");
        assert_eq!(message(&[("OBS_SAMPLE_RATE", rate)]), expected);
    }
}

#[test]
fn every_bad_value_of_otlp_is_an_error_too() {
    let wanted =
        "not the address of a Collector: use http://host:port, or https://host:port for TLS";
    let table = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", wanted),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://host", wanted),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", wanted),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a b", wanted),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://a?b",
            "an endpoint has no query: leave out what follows the question mark",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json",
            "there is no such protocol: use grpc or http/protobuf",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", ABOVE_ZERO),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip", "there is no such compression: use gzip or none"),
    ];
    for (name, value, rule) in table {
        let message = message(&[("OTEL_METRICS_EXPORTER", "otlp"), (name, value)]);
        assert_eq!(message, format!("{name}={value:?}: {rule}"));
    }
    let path = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:4317/v1/metrics"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    assert_eq!(
        message(&path),
        "OTEL_EXPORTER_OTLP_ENDPOINT=\"http://host:4317/v1/metrics\": gRPC has no path: leave it out, \
         or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
    );
}

#[test]
fn a_message_about_a_secret_does_not_show_it() {
    let otlp = ("OTEL_METRICS_EXPORTER", "otlp");
    let endpoint = message(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@host")]);
    assert_eq!(
        endpoint,
        "OTEL_EXPORTER_OTLP_ENDPOINT: an endpoint carries no user name or password: \
         put them into OTEL_EXPORTER_OTLP_HEADERS"
    );
    let shapeless = message(&[otlp, ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")]);
    assert_eq!(
        shapeless,
        "OTEL_EXPORTER_OTLP_HEADERS: entry 1 has no `=`: write key=value,key=value"
    );
    let key = message(&[otlp, ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2")]);
    assert_eq!(
        key,
        "OTEL_EXPORTER_OTLP_HEADERS: \"a b\" is not the name of a header: use e.g. x-api-key"
    );
    let value = message(&[otlp, ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2%0A")]);
    assert!(
        value.starts_with("OTEL_EXPORTER_OTLP_HEADERS: the value of \"x-key\" has characters"),
        "{value}"
    );
    let store = message(&[("OBS_STORE", "postgres//me:hunter2@host/db")]);
    for text in [endpoint, shapeless, key, value, store] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let config = config(&[otlp, ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let environment = Environment::from_iter([("OBS_STORE", "postgres://me:hunter2@host/db")]);
    assert_eq!(format!("{environment:?}"), "Environment([\"OBS_STORE\"])");
}

#[test]
fn an_unknown_variable_of_ours_is_an_error_that_names_the_nearest_known_one() {
    assert_eq!(
        message(&[("OBS_SAMPLING_RATE", "1")]),
        "OBS_SAMPLING_RATE is not a setting: did you mean OBS_SAMPLE_RATE? Rename or unset it"
    );
    assert_eq!(
        message(&[("OBS_STORE_URL", "1")]),
        "OBS_STORE_URL is not a setting: did you mean OBS_STORE? Rename or unset it"
    );
}

#[test]
fn variables_of_our_scripts_and_of_kubernetes_are_let_be() {
    let foreign = [
        ("OBS_TEST_COLLECTOR", "/bin/collector"),
        ("OBS_SKIP_COLLECTOR", "1"),
        ("OBS_COLLECTOR_GRPC_PORT", "14317"),
        ("OBS_SERVICE_HOST", "10.0.0.1"),
        ("OBS_PORT_4317_TCP_ADDR", "10.0.0.1"),
    ];
    config(&foreign).unwrap();
}

#[test]
fn an_empty_value_counts_as_unset_and_space_around_a_value_is_ignored() {
    let variables = [
        ("OBS_STORE", ""),
        ("OBS_SAMPLE_RATE", " "),
        ("OBS_SLO", " 250ms "),
        ("OTEL_METRICS_EXPORTER", ""),
        ("OBS_NO_SUCH_THING", ""),
    ];
    let config = config(&variables).unwrap();
    assert_eq!(config.policy, KeepPolicy::default());
    assert!(config.model.meter_provider.readers.is_empty());
}

#[test]
fn an_slo_is_seconds_or_a_number_with_a_unit_or_off() {
    let slo = |text| config(&[("OBS_SLO", text)]).unwrap().policy.slow;
    assert_eq!(slo("0.1"), Some(Duration::from_millis(100)));
    assert_eq!(slo("2"), Some(Duration::from_secs(2)));
    assert_eq!(slo("2s"), Some(Duration::from_secs(2)));
    assert_eq!(slo("250ms"), Some(Duration::from_millis(250)));
    assert_eq!(slo("50 us"), Some(Duration::from_micros(50)));
    assert_eq!(slo("off"), None);
}

#[test]
fn code_wins_over_the_environment() {
    let given = Given {
        store: Some("sqlite:./code.sqlite".into()),
        store_required: Some(false),
        migrations: Some(Migrations::External),
        rows: Some(true),
        sample_rate: Some(0.5),
        slo: Some(Duration::from_secs(1)),
        queue_records: Some(7),
        retention_ok: Some(Retain::Forever),
        retention_error: Some(Retain::For(DAY)),
        trace_entries: Some(8),
        exporter: Some(Exporter::Otlp),
        endpoint: Some("http://code:1".into()),
        protocol: Some(Protocol::Grpc),
        export_interval: Some(Duration::from_secs(9)),
        export_timeout: Some(Duration::from_secs(10)),
        service_name: Some("code".to_owned()),
        resource_attributes: vec![("a".to_owned(), "code".to_owned())],
        policy: None,
        ..Given::default()
    };
    // None of these is even looked at: code has spoken.
    let environment = Environment::from_iter([
        ("OBS_STORE", "nonsense"),
        ("OBS_STORE_REQUIRED", "nonsense"),
        ("OBS_STORE_MIGRATE", "nonsense"),
        ("OBS_ENABLED", "nonsense"),
        ("OBS_SAMPLE_RATE", "nonsense"),
        ("OBS_SLO", "nonsense"),
        ("OBS_QUEUE_RECORDS", "nonsense"),
        ("OBS_RETENTION_OK", "nonsense"),
        ("OBS_RETENTION_ERROR", "nonsense"),
        ("OBS_TRACE_ENTRIES", "nonsense"),
        ("OTEL_METRICS_EXPORTER", "nonsense"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "nonsense"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "nonsense"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "nonsense"),
        ("OTEL_SERVICE_NAME", "environment"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=environment,b=environment"),
    ]);
    let config = check(&given, &environment).unwrap();
    let Rows::On { store, migrations, required, limits, .. } = &config.rows else {
        panic!("rows are off")
    };
    assert_eq!(
        (store.to_string().as_str(), *migrations, *required, limits.queue_records),
        ("sqlite:./code.sqlite", Migrations::External, false, 7)
    );
    assert_eq!((limits.retention_ok, limits.retention_error), (None, Some(DAY)));
    assert_eq!(config.policy.ok_rate.get(), 0.5);
    assert_eq!(config.policy.slow, Some(Duration::from_secs(1)));
    assert_eq!(config.limits.trace_entries, 8);
    let otlp = exporter_of(&config);
    let resource = &config.model.resource;
    assert_eq!(reader_of(&config).interval, Duration::from_secs(9));
    assert_eq!(reader_of(&config).timeout, Duration::from_secs(10));
    assert_eq!(resource.service_name.as_deref(), Some("code"));
    assert_eq!(resource.attributes["a"].as_str(), "code");
    assert_eq!(resource.attributes["b"].as_str(), "environment");
    assert_eq!(
        (otlp.endpoint.to_string().as_str(), otlp.protocol),
        ("http://code:1/", Protocol::Grpc)
    );
}

#[test]
fn the_environment_wins_over_the_default() {
    let variables = [
        ("OBS_STORE", "postgres://db/obs"),
        ("OBS_STORE_REQUIRED", "TRUE"),
        ("OBS_STORE_MIGRATE", "external"),
        ("OBS_SAMPLE_RATE", "1"),
        ("OBS_QUEUE_RECORDS", "5000"),
        ("OBS_RETENTION_OK", "7"),
        ("OBS_RETENTION_ERROR", "off"),
        ("OBS_TRACE_ENTRIES", "0"),
        ("OTEL_METRICS_EXPORTER", "console"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1500"),
        ("OTEL_SERVICE_NAME", "orders"),
    ];
    let config = config(&variables).unwrap();
    let Rows::On { required, limits, migrations, .. } = &config.rows else {
        panic!("rows are off")
    };
    assert_eq!((*required, limits.queue_records), (true, 5_000));
    assert_eq!(*migrations, Migrations::External);
    assert_eq!((limits.retention_ok, limits.retention_error), (Some(DAY * 7), None));
    assert_eq!(config.policy.ok_rate.get(), 1.0);
    assert_eq!(config.limits.trace_entries, 0);
    assert_eq!(reader_of(&config).interval, Duration::from_millis(1_500));
    assert_eq!(config.model.resource.service_name.as_deref(), Some("orders"));
    assert!(matches!(self::config(&[("OBS_ENABLED", "false")]).unwrap().rows, Rows::Off));
}

#[test]
fn bad_values_from_code_name_the_method() {
    let table: [(Given, &str); 6] = [
        (
            Given { retention_ok: Some(Retain::For(DAY / 2)), ..Given::default() },
            "Builder::retention_ok=\"43200s\": outside 1 to 36500 days",
        ),
        (
            Given { sample_rate: Some(f64::NAN), ..Given::default() },
            "Builder::sample_rate=\"NaN\": rate NaN is not in",
        ),
        (
            Given { queue_records: Some(0), ..Given::default() },
            "Builder::queue_records=\"0\": outside 1 to 1000000",
        ),
        (
            Given { slo: Some(Duration::ZERO), ..Given::default() },
            "Builder::slo=\"0 s\": an SLO is longer than 0",
        ),
        (
            Given { export_interval: Some(Duration::ZERO), ..Given::default() },
            "Builder::export_interval=\"0 s\": must be longer than 0",
        ),
        (
            Given { service_name: Some(" ".to_owned()), ..Given::default() },
            "Builder::service_name=\"\": a service needs",
        ),
    ];
    for (given, begin) in table {
        let message = check(&given, &Environment::empty()).unwrap_err().to_string();
        assert!(message.starts_with(begin), "{message}");
    }
}

#[test]
fn an_endpoint_chooses_otlp_unless_an_exporter_is_named() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    assert_eq!(otlp_of(&[endpoint]).endpoint, "http://collector:4318/v1/metrics");
    let console = config(&[endpoint, ("OTEL_METRICS_EXPORTER", "console")]).unwrap();
    assert_eq!(reader_of(&console).exporter.exporter, Target::Console);
    let disabled = config(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap();
    assert!(disabled.model.disabled);
    assert!(disabled.model.meter_provider.readers.is_empty());
}

#[test]
fn the_address_of_one_signal_is_complete_and_any_other_is_a_base() {
    let base = |address| otlp_of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", address)]).endpoint.to_string();
    assert_eq!(base("http://host:4318"), "http://host:4318/v1/metrics");
    assert_eq!(base("http://host:4318/"), "http://host:4318/v1/metrics");
    assert_eq!(base("https://host/otlp/"), "https://host/otlp/v1/metrics");
    let both = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:9/mine"),
    ];
    assert_eq!(otlp_of(&both).endpoint, "http://metrics:9/mine");
    let chosen = |protocol| {
        let named = [("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
        otlp_of(&named).endpoint.to_string()
    };
    assert_eq!(chosen("grpc"), "http://localhost:4317/");
    assert_eq!(chosen("http/protobuf"), "http://localhost:4318/v1/metrics");
}

#[test]
fn settings_of_the_metrics_signal_win_over_general_ones() {
    let otlp = otlp_of(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=general"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=metrics%2Conly,b=2"),
    ]);
    assert_eq!(otlp.protocol, Protocol::HttpProtobuf);
    assert_eq!(otlp.timeout, Duration::from_millis(2_500));
    assert!(otlp.gzip);
    assert_eq!(otlp.headers["a"], "metrics,only");
    assert_eq!(otlp.headers["b"], "2");
}

#[test]
fn a_client_certificate_needs_its_key_and_the_other_way_round() {
    let otlp = ("OTEL_METRICS_EXPORTER", "otlp");
    assert_eq!(
        message(&[otlp, ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem")]),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY is of no use without its certificate: \
         set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE too"
    );
    assert_eq!(
        message(&[otlp, ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "me.pem")]),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE is of no use without its key: \
         set OTEL_EXPORTER_OTLP_CLIENT_KEY too"
    );
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_text_is_an_error() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let environment = Environment::from_iter([("OBS_STORE", OsStr::from_bytes(b"sqlite:\xff"))]);
    assert_eq!(
        check(&Given::default(), &environment).unwrap_err().to_string(),
        "OBS_STORE: the value is not valid UTF-8: set it to plain text or unset it"
    );
}

#[test]
fn the_spool_is_beside_the_file_of_the_store_or_where_services_keep_their_state() {
    let spool_of = |variables: &[(&str, &str)]| match config(variables).unwrap().rows {
        Rows::On { limits, .. } => limits.spool_dir,
        Rows::Off => panic!("rows are off"),
    };
    let default = |path: &str| Some(SpoolDir::Default(path.into()));
    let postgres = ("OBS_STORE", "postgres://localhost/obs");
    assert_eq!(spool_of(&[("OBS_STORE", "sqlite:data/obs.db")]), default("data/obs.db.spool"));
    let state = ("XDG_STATE_HOME", "/state");
    let Some(SpoolDir::Default(one)) = spool_of(&[postgres, state]) else { panic!("no default") };
    assert!(
        one.starts_with("/state/obs") && one.ends_with("postgres---localhost-5432-obs"),
        "{one:?}"
    );
    let other = spool_of(&[("OBS_STORE", "postgres://localhost/other"), state]);
    assert_ne!(other, Some(SpoolDir::Default(one)), "each store has its own");
    let given = [postgres, ("OBS_SPOOL_DIR", "/spool")];
    assert_eq!(spool_of(&given), Some(SpoolDir::Given("/spool".into())));
    assert_eq!(spool_of(&[postgres, ("OBS_SPOOL", "off")]), None);
}
