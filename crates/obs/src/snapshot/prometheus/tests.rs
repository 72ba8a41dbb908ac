use super::*;

fn metric(name: &str, unit: &str, series: Vec<(&[(&str, &str)], Value)>) -> Metric {
    let series = series.into_iter().map(|(attributes, value)| Series {
        attributes: attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        value,
    });
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        description: format!("What {name} says"),
        series: series.collect(),
    }
}

fn text(metrics: Vec<Metric>) -> String {
    MetricsSnapshot { metrics, ..MetricsSnapshot::default() }.to_prometheus()
}

#[test]
fn counters_gauges_and_histograms_have_their_lines() {
    let histogram = Histogram {
        bounds: vec![0.25, 1.0],
        counts: vec![2, 1, 1],
        sum: 3.5,
        count: 4,
        ..Histogram::default()
    };
    let shown = text(vec![
        metric(
            "obs.run.duration",
            "s",
            vec![(&[("obs.kind", "dsl")], Value::Histogram(histogram))],
        ),
        metric("obs.run.active", "{run}", vec![(&[], Value::UpDownCounter(2.0))]),
        metric("obs.run.errors", "{error}", vec![(&[("error.type", "E")], Value::Counter(7.0))]),
    ]);
    assert_eq!(
        shown,
        "# HELP obs_run_active What obs.run.active says\n\
         # TYPE obs_run_active gauge\n\
         obs_run_active 2\n\
         # HELP obs_run_duration_seconds What obs.run.duration says\n\
         # TYPE obs_run_duration_seconds histogram\n\
         obs_run_duration_seconds_bucket{obs_kind=\"dsl\",le=\"0.25\"} 2\n\
         obs_run_duration_seconds_bucket{obs_kind=\"dsl\",le=\"1\"} 3\n\
         obs_run_duration_seconds_bucket{obs_kind=\"dsl\",le=\"+Inf\"} 4\n\
         obs_run_duration_seconds_sum{obs_kind=\"dsl\"} 3.5\n\
         obs_run_duration_seconds_count{obs_kind=\"dsl\"} 4\n\
         # HELP obs_run_errors_total What obs.run.errors says\n\
         # TYPE obs_run_errors_total counter\n\
         obs_run_errors_total{error_type=\"E\"} 7\n"
    );
}

#[test]
fn names_have_their_unit_and_suffix_once() {
    let of = |name: &str, unit: &str, value: Value| {
        let shown = text(vec![metric(name, unit, vec![(&[], value)])]);
        shown.lines().last().unwrap().split(' ').next().unwrap().to_owned()
    };
    assert_eq!(of("a.seconds", "s", Value::Gauge(1.0)), "a_seconds");
    assert_eq!(of("a_total", "", Value::Counter(1.0)), "a_total");
    assert_eq!(of("sent.total", "By", Value::Counter(1.0)), "sent_bytes_total");
    assert_eq!(of("share", "1", Value::Gauge(0.5)), "share_ratio");
    assert_eq!(of("9 lives-ü", "", Value::Gauge(9.0)), "_9_lives__");
}

#[test]
fn values_of_labels_are_escaped_and_keys_that_meet_share_them() {
    let attributes = [("a.b", "x\"y\\z\n"), ("a_b", "2")];
    let shown = text(vec![metric("m", "", vec![(&attributes, Value::Gauge(f64::NAN))])]);
    assert!(shown.ends_with("m{a_b=\"x\\\"y\\\\z\\n;2\"} NaN\n"), "{shown}");
}

#[test]
fn a_name_has_one_type_and_a_series_is_said_once() {
    let shown = text(vec![
        metric("m", "", vec![(&[], Value::Gauge(1.0))]),
        metric("m", "", vec![(&[], Value::Gauge(2.0)), (&[("a", "b")], Value::Gauge(3.0))]),
        metric("m", "", vec![(&[], Value::Histogram(Histogram::default()))]),
    ]);
    let series: Vec<_> = shown.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(series, ["m 1", "m{a=\"b\"} 3"]);
    assert_eq!(shown.matches("# TYPE").count(), 1);
}

fn exemplar(seconds: f64, run: u128, trace_id: Option<&str>) -> Exemplar {
    let json = serde_json::json!({
        "seconds": seconds,
        "run_id": uuid::Uuid::from_u128(run),
        "trace_id": trace_id,
        "span_id": trace_id.map(|_| "00f067aa0ba902b7"),
        "at": 1_700_000_000_250_000_i64,
    });
    serde_json::from_value(json).unwrap()
}

#[test]
fn an_exemplar_of_a_request_that_begins_its_trace_has_the_trace_and_no_span() {
    let mut of_request = exemplar(0.5, 1, Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    of_request.span_id = None;
    let labels = "{run_id=\"00000000-0000-0000-0000-000000000001\",trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"}";
    assert_eq!(exemplar_shown(&of_request), format!(" # {labels} 0.5 1700000000.250000"));
}

#[test]
fn openmetrics_has_units_totals_canonical_bounds_exemplars_and_an_end() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let histogram = Histogram {
        bounds: vec![0.25, 1.0],
        counts: vec![2, 1, 1],
        sum: 3.5,
        count: 4,
        exemplars: vec![exemplar(0.25, 1, None), exemplar(2.5, 2, Some(trace))],
        ..Histogram::default()
    };
    let snapshot = MetricsSnapshot {
        metrics: vec![
            metric("obs.run.duration", "s", vec![(&[("k", "v")], Value::Histogram(histogram))]),
            metric("sent", "By", vec![(&[], Value::Counter(7.0))]),
            metric("say \"so\"\n", "", vec![(&[], Value::Gauge(-1.5))]),
        ],
        resource: [("service.name".to_owned(), "a\"b\\c\nd".to_owned())].into(),
        ..MetricsSnapshot::default()
    };
    assert_eq!(
        snapshot.to_openmetrics(),
        "# HELP target What this process is\n\
         # TYPE target info\n\
         target_info{service_name=\"a\\\"b\\\\c\\nd\"} 1\n\
         # HELP obs_run_duration_seconds What obs.run.duration says\n\
         # TYPE obs_run_duration_seconds histogram\n\
         # UNIT obs_run_duration_seconds seconds\n\
         obs_run_duration_seconds_bucket{k=\"v\",le=\"0.25\"} 2 \
         # {run_id=\"00000000-0000-0000-0000-000000000001\"} 0.25 1700000000.250000\n\
         obs_run_duration_seconds_bucket{k=\"v\",le=\"1.0\"} 3\n\
         obs_run_duration_seconds_bucket{k=\"v\",le=\"+Inf\"} 4 \
         # {run_id=\"00000000-0000-0000-0000-000000000002\",\
         trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\",span_id=\"00f067aa0ba902b7\"} 2.5 1700000000.250000\n\
         obs_run_duration_seconds_sum{k=\"v\"} 3.5\n\
         obs_run_duration_seconds_count{k=\"v\"} 4\n\
         # HELP say__so__ What say \\\"so\\\"\\n says\n\
         # TYPE say__so__ gauge\n\
         say__so__ -1.5\n\
         # HELP sent_bytes What sent says\n\
         # TYPE sent_bytes counter\n\
         # UNIT sent_bytes bytes\n\
         sent_bytes_total 7\n\
         # EOF\n"
    );
    let classic = snapshot.to_prometheus();
    assert!(!classic.contains("run_id"), "{classic}");
    assert!(
        classic.starts_with("# HELP target_info What this process is\n# TYPE target_info gauge\n")
    );
}
