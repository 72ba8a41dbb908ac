//! A snapshot as Prometheus reads it: the classic text format 0.0.4, and OpenMetrics 1.0.

mod names;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt::Write as _,
};

use obs_core::Exemplar;

use super::{Histogram, Metric, MetricsSnapshot, Series, Value};

/// Which of the two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Classic,
    OpenMetrics,
}

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
        self.to_text(Dialect::Classic)
    }

    /// OpenMetrics text, for scrapers that accept `application/openmetrics-text`: the same series under
    /// the same names, with exemplars that carry the ids of runs that were kept.
    ///
    /// ```
    /// # use obs::Environment;
    /// let builder = obs::builder().environment(Environment::empty()).rows(false).snapshots(true);
    /// let telemetry = builder.init()?;
    /// telemetry.kind("dsl").lookup("bonus", "3").start().finish(Ok::<_, String>(()))?;
    /// let text = telemetry.snapshot()?.to_openmetrics();
    /// assert!(text.contains("# TYPE obs_run_started counter\n"), "{text}");
    /// assert!(text.ends_with("# EOF\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_openmetrics(&self) -> String {
        self.to_text(Dialect::OpenMetrics)
    }

    fn to_text(&self, dialect: Dialect) -> String {
        let mut text = String::new();
        write_target(&mut text, dialect, &self.resource);
        for (name, family) in families(dialect, &self.metrics) {
            write_family(&mut text, dialect, &name, &family);
        }
        if dialect == Dialect::OpenMetrics {
            line(&mut text, format_args!("# EOF"));
        }
        text
    }
}

/// What is true of the process as a whole stands in one series of its own.
fn write_target(text: &mut String, dialect: Dialect, resource: &BTreeMap<String, String>) {
    if resource.is_empty() {
        return;
    }
    let (name, kind) = match dialect {
        Dialect::Classic => ("target_info", "gauge"),
        Dialect::OpenMetrics => ("target", "info"),
    };
    line(text, format_args!("# HELP {name} What this process is"));
    line(text, format_args!("# TYPE {name} {kind}"));
    line(text, format_args!("target_info{} 1", braced(&names::labels(resource))));
}

/// What stands under one name.
struct Family<'a> {
    kind: &'static str,
    unit: &'static str,
    help: &'a str,
    series: Vec<&'a Series>,
}

/// One name has one type; an instrument that would give it a second one is left out.
fn families(dialect: Dialect, metrics: &[Metric]) -> BTreeMap<String, Family<'_>> {
    let mut families: BTreeMap<String, Family<'_>> = BTreeMap::new();
    for metric in metrics {
        let Some(first) = metric.series.first() else { continue };
        let kind = kind(&first.value);
        let (name, unit) = names::name(metric, kind);
        // In the classic format a family has the name of its samples.
        let name = match dialect {
            Dialect::Classic if kind == "counter" => format!("{name}_total"),
            _ => name,
        };
        match families.entry(name) {
            Entry::Vacant(free) => {
                let series = metric.series.iter().collect();
                free.insert(Family { kind, unit, help: &metric.description, series });
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

fn write_family(text: &mut String, dialect: Dialect, name: &str, family: &Family<'_>) {
    let mut help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    if dialect == Dialect::OpenMetrics {
        help = help.replace('"', "\\\"");
    }
    if !help.is_empty() {
        line(text, format_args!("# HELP {name} {help}"));
    }
    line(text, format_args!("# TYPE {name} {}", family.kind));
    if dialect == Dialect::OpenMetrics && !family.unit.is_empty() {
        line(text, format_args!("# UNIT {name} {}", family.unit));
    }
    let mut seen = BTreeSet::new();
    for series in &family.series {
        let labels = names::labels(&series.attributes);
        // Two meters may have an instrument of one name; a scrape must not say a series twice.
        if seen.insert(labels.clone()) {
            write_series(text, dialect, name, (&labels, &series.value));
        }
    }
}

fn write_series(
    text: &mut String,
    dialect: Dialect,
    name: &str,
    (labels, value): (&[String], &Value),
) {
    match value {
        Value::Counter(number) if dialect == Dialect::OpenMetrics => {
            line(text, format_args!("{name}_total{} {}", braced(labels), shown(*number)));
        }
        Value::Counter(number) | Value::UpDownCounter(number) | Value::Gauge(number) => {
            line(text, format_args!("{name}{} {}", braced(labels), shown(*number)));
        }
        Value::Histogram(histogram) => write_histogram(text, dialect, name, (labels, histogram)),
    }
}

/// Buckets count what is not above their bound, so each contains those before it.
fn write_histogram(
    text: &mut String,
    dialect: Dialect,
    name: &str,
    (labels, histogram): (&[String], &Histogram),
) {
    let mut below = 0_u64;
    let mut lower = f64::NEG_INFINITY;
    for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
        below += count;
        let with = with_bound(labels, &bound_shown(dialect, *bound));
        let exemplar = exemplar(dialect, histogram, (lower, *bound));
        line(text, format_args!("{name}_bucket{with} {below}{exemplar}"));
        lower = *bound;
    }
    let with = with_bound(labels, "+Inf");
    let labels = braced(labels);
    let exemplar = exemplar(dialect, histogram, (lower, f64::INFINITY));
    line(text, format_args!("{name}_bucket{with} {}{exemplar}", histogram.count));
    line(text, format_args!("{name}_sum{labels} {}", shown(histogram.sum)));
    line(text, format_args!("{name}_count{labels} {}", histogram.count));
}

/// The last exemplar above `lower` and not above `upper`, as the end of a bucket's line.
fn exemplar(dialect: Dialect, histogram: &Histogram, (lower, upper): (f64, f64)) -> String {
    let inside = |exemplar: &&Exemplar| lower < exemplar.seconds && exemplar.seconds <= upper;
    match (dialect, histogram.exemplars.iter().rfind(inside)) {
        (Dialect::OpenMetrics, Some(exemplar)) => exemplar_shown(exemplar),
        _ => String::new(),
    }
}

/// At most 105 of the 128 characters that its labels may have.
fn exemplar_shown(exemplar: &Exemplar) -> String {
    let mut labels = vec![format!("run_id=\"{}\"", exemplar.run_id)];
    // A request that begins its trace has no span that it started in.
    labels.extend(exemplar.trace_id.as_ref().map(|id| format!("trace_id=\"{id}\"")));
    labels.extend(exemplar.span_id.as_ref().map(|id| format!("span_id=\"{id}\"")));
    let micros = exemplar.at.as_micros();
    let at = format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    format!(" # {} {} {at}", braced(&labels), shown(exemplar.seconds))
}

fn with_bound(labels: &[String], bound: &str) -> String {
    let mut labels = labels.to_vec();
    labels.push(format!("le=\"{bound}\""));
    braced(&labels)
}

/// OpenMetrics knows one way to write a bound: `1.0`, where the classic format has `1`.
fn bound_shown(dialect: Dialect, bound: f64) -> String {
    match dialect {
        Dialect::Classic => shown(bound),
        Dialect::OpenMetrics => format!("{bound:?}"),
    }
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
mod tests;
