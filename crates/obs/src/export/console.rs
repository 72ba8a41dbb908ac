//! Metrics as a table on standard output, for people.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use crate::{
    batch::SendError,
    snapshot::{Metric, MetricsSnapshot, Series, Value},
};

/// Prints a whole snapshot at once, so that two programs on one terminal do not interleave.
pub(super) fn print(snapshot: &MetricsSnapshot) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(Table(snapshot).to_string().as_bytes())?;
    out.flush()
}

/// Writes lines at once. Whoever does not read them need not have them again.
pub(crate) fn to_standard_output(lines: &[u8]) -> Result<u64, SendError> {
    let mut out = io::stdout().lock();
    let written = out.write_all(lines).and_then(|()| out.flush());
    written.map(|()| 0).map_err(|error| SendError::new(error.to_string(), false))
}

struct Table<'a>(&'a MetricsSnapshot);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "--- metrics ---")?;
        self.0.metrics.iter().try_for_each(|metric| write_metric(f, metric))
    }
}

fn write_metric(f: &mut fmt::Formatter<'_>, metric: &Metric) -> fmt::Result {
    if metric.unit.is_empty() {
        writeln!(f, "{}", metric.name)?;
    } else {
        writeln!(f, "{} [{}]", metric.name, metric.unit)?;
    }
    for series in &metric.series {
        writeln!(f, "  {:<60}  {}", labels(series), value(&series.value, &metric.unit))?;
    }
    Ok(())
}

fn labels(series: &Series) -> String {
    let mut text = String::new();
    for (key, value) in &series.attributes {
        let gap = if text.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{gap}{key}={value}");
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

#[expect(clippy::cast_precision_loss, reason = "a mean for people")]
fn value(value: &Value, unit: &str) -> String {
    let Value::Histogram(histogram) = value else {
        return value.number().unwrap_or_default().to_string();
    };
    let mean = histogram.sum / histogram.count.max(1) as f64;
    let mut text = format!("count={} mean={}", histogram.count, quantity(mean, unit));
    let rest = [
        ("p50", histogram.quantile(0.5)),
        ("p95", histogram.quantile(0.95)),
        ("max", histogram.max),
    ];
    for (name, number) in rest {
        if let Some(number) = number {
            let _ = write!(text, " {name}={}", quantity(number, unit));
        }
    }
    text
}

/// A number with as much precision as an eye can use; seconds in the unit that suits them.
fn quantity(number: f64, unit: &str) -> String {
    match (unit, number.abs()) {
        ("s", 0.0..1e-3) => format!("{:.1}µs", number * 1e6),
        ("s", 1e-3..1.0) => format!("{:.1}ms", number * 1e3),
        ("s", _) => format!("{number:.2}s"),
        _ => format!("{number:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Histogram;

    #[test]
    fn the_table_says_name_unit_labels_and_what_a_person_asks_of_a_distribution() {
        let histogram = Histogram {
            bounds: vec![0.001, 0.01],
            counts: vec![0, 4, 0],
            sum: 0.02,
            count: 4,
            min: Some(0.002),
            max: Some(0.008),
            ..Histogram::default()
        };
        let series = |value| Series {
            attributes: [("obs.kind".to_owned(), "dsl".to_owned())].into_iter().collect(),
            value,
        };
        let metric = |name: &str, unit: &str, value| Metric {
            name: name.to_owned(),
            unit: unit.to_owned(),
            description: String::new(),
            series: vec![series(value)],
        };
        let snapshot = MetricsSnapshot {
            metrics: vec![
                metric("obs.run.duration", "s", Value::Histogram(histogram)),
                metric("obs.run.started", "{run}", Value::Counter(4.0)),
            ],
            ..MetricsSnapshot::default()
        };
        let pad = " ".repeat(60 - "obs.kind=dsl".len());
        assert_eq!(
            Table(&snapshot).to_string(),
            format!(
                "--- metrics ---\n\
                 obs.run.duration [s]\n  obs.kind=dsl{pad}  count=4 mean=5.0ms p50=5.5ms p95=8.0ms max=8.0ms\n\
                 obs.run.started [{{run}}]\n  obs.kind=dsl{pad}  4\n"
            )
        );
    }
}
