//! A snapshot as Prometheus reads it: the classic text format, version 0.0.4.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt::Write as _,
};

use super::{Histogram, Metric, MetricsSnapshot, Series, Value};

impl MetricsSnapshot {
    /// Prometheus' classic text format, for a `/metrics` endpoint. Names follow OpenTelemetry's rules
    /// for Prometheus: `obs.run.duration` in `s` becomes `obs_run_duration_seconds`, and counters end
    /// in `_total`. Exemplars are not part of it.
    ///
    /// ```
    /// # use obs::Environment;
    /// let builder = obs::builder().environment(Environment::empty()).rows(false).snapshots(true);
    /// let telemetry = builder.init()?;
    /// telemetry.kind("dsl").lookup("bonus", "3").start().finish(Ok::<_, String>(()))?;
    /// let text = telemetry.snapshot()?.to_prometheus();
    /// assert!(text.contains("# TYPE obs_run_started_total counter\n"), "{text}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for (name, family) in families(&self.metrics) {
            if !family.help.is_empty() {
                let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
                line(&mut text, format_args!("# HELP {name} {help}"));
            }
            line(&mut text, format_args!("# TYPE {name} {}", family.kind));
            let mut seen = BTreeSet::new();
            for series in family.series {
                let labels = labels(series);
                // Two meters may have an instrument of one name; a scrape must not say a series twice.
                if seen.insert(labels.clone()) {
                    write_series(&mut text, &name, &labels, &series.value);
                }
            }
        }
        text
    }
}

/// What stands under one name.
struct Family<'a> {
    kind: &'static str,
    help: &'a str,
    series: Vec<&'a Series>,
}

/// One name has one type; an instrument that would give it a second one is left out.
fn families(metrics: &[Metric]) -> BTreeMap<String, Family<'_>> {
    let mut families: BTreeMap<String, Family<'_>> = BTreeMap::new();
    for metric in metrics {
        let Some(first) = metric.series.first() else { continue };
        let kind = kind(&first.value);
        match families.entry(name(metric, kind)) {
            Entry::Vacant(free) => {
                let series = metric.series.iter().collect();
                free.insert(Family { kind, help: &metric.description, series });
            }
            Entry::Occupied(mut same) if same.get().kind == kind => {
                same.get_mut().series.extend(&metric.series);
            }
            Entry::Occupied(_) => {}
        }
    }
    families
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Counter(_) => "counter",
        Value::UpDownCounter(_) | Value::Gauge(_) => "gauge",
        Value::Histogram(_) => "histogram",
    }
}

fn name(metric: &Metric, kind: &str) -> String {
    let mut name = word(&metric.name, true);
    let unit = match &*metric.unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "min" => "minutes",
        "h" => "hours",
        "d" => "days",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "1" if kind == "gauge" => "ratio",
        "%" => "percent",
        _ => "",
    };
    let has = |name: &str, end: &str| name == end || name.ends_with(&format!("_{end}"));
    if kind == "counter" && has(&name, "total") {
        name.truncate(name.len() - "_total".len());
    }
    if !unit.is_empty() && !has(&name, unit) {
        name = format!("{name}_{unit}");
    }
    if kind == "counter" { format!("{name}_total") } else { name }
}

/// Letters, digits and underscores, and in a metric's name colons, not beginning with a digit.
fn word(text: &str, colons: bool) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let mut word: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if word.starts_with(|c: char| c.is_ascii_digit()) || word.is_empty() {
        word.insert(0, '_');
    }
    word
}

/// `key="value"` pairs. Keys that become the same share their values, as OpenTelemetry's rules say.
fn labels(series: &Series) -> Vec<String> {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in &series.attributes {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        match labels.entry(word(key, false)) {
            Entry::Vacant(free) => {
                free.insert(value);
            }
            Entry::Occupied(mut same) => {
                let same = same.get_mut();
                same.push(';');
                same.push_str(&value);
            }
        }
    }
    labels.into_iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect()
}

fn write_series(text: &mut String, name: &str, labels: &[String], value: &Value) {
    match value {
        Value::Counter(number) | Value::UpDownCounter(number) | Value::Gauge(number) => {
            line(text, format_args!("{name}{} {}", braced(labels), shown(*number)));
        }
        Value::Histogram(histogram) => write_histogram(text, name, labels, histogram),
    }
}

/// Buckets count what is not above their bound, so each contains those before it.
fn write_histogram(text: &mut String, name: &str, labels: &[String], histogram: &Histogram) {
    let mut below = 0_u64;
    for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
        below += count;
        let with = with_bound(labels, &shown(*bound));
        line(text, format_args!("{name}_bucket{with} {below}"));
    }
    let with = with_bound(labels, "+Inf");
    let labels = braced(labels);
    line(text, format_args!("{name}_bucket{with} {}", histogram.count));
    line(text, format_args!("{name}_sum{labels} {}", shown(histogram.sum)));
    line(text, format_args!("{name}_count{labels} {}", histogram.count));
}

fn with_bound(labels: &[String], bound: &str) -> String {
    let mut labels = labels.to_vec();
    labels.push(format!("le=\"{bound}\""));
    braced(&labels)
}

fn braced(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}

fn shown(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        number.to_string()
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
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
            metric(
                "obs.run.errors",
                "{error}",
                vec![(&[("error.type", "E")], Value::Counter(7.0))],
            ),
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
}
