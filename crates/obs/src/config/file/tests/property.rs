//! Whatever is accepted, is accepted again as `config show` writes it, and means the same.

use proptest::prelude::*;

use super::*;
use crate::config::{Checked, Given};

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9 ._-]{0,12}",
        "[ -~]{0,16}",
        Just("a $ ${b} \"quoted\" 'x' \\ \u{e9}\n line".to_owned()),
        Just("# no comment: -".to_owned()),
    ]
}

/// A text in quotes, in which nothing is a reference.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap().replace('$', "$$")
}

prop_compose! {
    fn otlp(path: &'static str)(
        grpc in any::<bool>(),
        port in 1..=65_535_u16,
        timeout in 1..=1_000_000_u64,
        gzip in any::<bool>(),
        header in proptest::option::of("[a-z]{1,8}"),
        ca in proptest::option::of(scalar().prop_filter("a name", |text| !text.is_empty())),
    ) -> String {
        let kind = if grpc { "otlp_grpc" } else { "otlp_http" };
        let path = if grpc { "" } else { path };
        let compression = if gzip { "gzip" } else { "none" };
        let headers = header.map(|name| format!(", headers: [{{ name: \"x-{name}\", value: \"s3cret-{name}\" }}]")).unwrap_or_default();
        let tls = ca.map(|ca| format!(", tls: {{ ca_file: {} }}", quoted(&ca))).unwrap_or_default();
        format!("{{ {kind}: {{ endpoint: \"http://host:{port}{path}\", timeout: {timeout}, compression: {compression}{headers}{tls} }} }}")
    }
}

prop_compose! {
    fn reader()(
        pull in any::<bool>(),
        interval in 1..=10_000_000_u64,
        exporter in prop_oneof![otlp("/v1/metrics"), Just("{ console: }".to_owned())],
        port in 0..=65_535_u16,
        series in proptest::option::of(1..=1_000_000_u64),
    ) -> String {
        let limits = series.map(|count| format!(", cardinality_limits: {{ default: {count} }}")).unwrap_or_default();
        if pull {
            format!("{{ pull: {{ exporter: {{ prometheus/development: {{ port: {port} }} }}{limits} }} }}")
        } else {
            format!("{{ periodic: {{ interval: {interval}, exporter: {exporter}{limits} }} }}")
        }
    }
}

fn sampler() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("{ always_on: }".to_owned()),
        Just("{ always_off: {} }".to_owned()),
        (0.0..=1.0_f64)
            .prop_map(|ratio| format!("{{ trace_id_ratio_based: {{ ratio: {ratio} }} }}")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        inner.prop_map(|root| format!("{{ parent_based: {{ root: {root} }} }}"))
    })
}

prop_compose! {
    fn provider()(
        readers in proptest::collection::vec(reader(), 1..4),
        view in proptest::option::of((scalar(), proptest::collection::btree_set(-1000..1000_i32, 0..5))),
        spans in otlp("/v1/traces"),
        logs in otlp("/v1/logs"),
        sampler in sampler(),
        queue in 1..=1_000_000_u64,
    ) -> String {
        let views = view.map(|(name, bounds)| {
            let bounds: Vec<_> = bounds.iter().map(ToString::to_string).collect();
            format!(
                "\n  views: [{{ selector: {{ instrument_name: {} }}, stream: {{ aggregation: {{ explicit_bucket_histogram: {{ boundaries: [{}] }} }} }} }}]",
                quoted(&name), bounds.join(", ")
            )
        }).unwrap_or_default();
        format!(
            "meter_provider:\n  readers: [{}]{views}\n\
             tracer_provider:\n  processors: [{{ batch: {{ max_queue_size: {queue}, exporter: {spans} }} }}]\n  sampler: {sampler}\n\
             logger_provider:\n  processors: [{{ simple: {{ exporter: {logs} }} }}]\n",
            readers.join(", ")
        )
    }
}

prop_compose! {
    fn file()(
        provider in proptest::option::of(provider()),
        name in scalar(),
        number in any::<i64>(),
        rate in 0.0..=1.0_f64,
        records in 1..=1_000_000_u64,
        keys in proptest::collection::vec("[a-z]{1,6}", 0..3),
        subject in any::<bool>(),
        sentry in proptest::option::of(0.0..=1.0_f64),
    ) -> String {
        let mut text = format!(
            "file_format: \"1.0\"\nresource:\n  attributes:\n    - {{ name: a, value: {} }}\n    - {{ name: b, value: {number}, type: int }}\n\
             obs:\n  policy: {{ sample_rate: {rate} }}\n  queue: {{ records: {records} }}\n  store: {{ url: \"postgres://me:hunter2@host/db\" }}\n",
            quoted(&name)
        );
        if !keys.is_empty() {
            text.push_str(&format!("  redact: {{ keys: [{}] }}\n", keys.join(", ")));
        }
        if subject {
            text.push_str("  subject: { key: \"hunter2 hunter2 hunter2\" }\n");
        }
        if let Some(rate) = sentry {
            text.push_str(&format!("  sentry: {{ dsn: \"https://hunter2@o1.example/42\", trace_rate: {rate} }}\n"));
        }
        text + &provider.unwrap_or_default()
    }
}

/// What is compared: everything but secrets.
fn meaning(checked: &Checked, model: &Model) -> String {
    let sentry = checked.sentry.as_ref().map(|it| (it.dsn.to_string(), it.trace_rate));
    format!(
        "{:?} {:?} {:?} {sentry:?} {model:?}",
        checked.policy, checked.limits, checked.safety.redaction
    )
}

fn shown(text: &str) -> (String, String) {
    let file = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let environment = environment().over(&file);
    // Past `refuse_unsupported`, which is no matter of the file's form.
    let mut checked =
        crate::config::lift_rest(&Given::default(), &environment, Model::default()).unwrap();
    let meaning = meaning(&checked, &file.model());
    checked.model = file.model();
    (show(&checked, &environment), meaning)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_accepted_file_round_trips_through_config_show(text in file()) {
        let (once, meaning) = shown(&text);
        let (twice, again) = shown(&once);
        prop_assert_eq!(&once, &twice, "{}", text);
        prop_assert_eq!(meaning, again, "{}", text);
        prop_assert!(!once.contains("hunter2") && !once.contains("s3cret"), "{}", once);
    }
}
