//! The report for people.

use std::fmt::{self, Write as _};

use crate::{
    report::Report,
    rows::{Kept, Schema},
    text::{Table, seconds, thousands},
};

/// Everything that is printed at the end without `--json`.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) report: &'a Report,
    pub(crate) kept: Option<&'a Kept>,
    /// Why the store could not be asked.
    pub(crate) store_error: Option<&'a str>,
    pub(crate) runs: u64,
    pub(crate) events: usize,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} runs over {} earthquakes\n", thousands(self.runs), self.events)?;
        self.runs(f)?;
        writeln!(f, "\nFailures by error.type: {}", counts(self.report.errors.iter()))?;
        writeln!(f, "Kept rows by reason:    {}", counts(self.report.kept.iter()))?;
        writeln!(f, "Ledger:                 {}", self.report.ledger.text)?;
        self.store(f)?;
        self.next(f)
    }
}

impl Page<'_> {
    fn runs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        table.row(["strategy", "version", "status", "runs", "p50", "p95", "nodes"]);
        for line in &self.report.runs {
            let time = |quantile: Option<f64>| quantile.map_or_else(|| "-".to_owned(), seconds);
            table.row([
                line.strategy.clone(),
                line.version.clone(),
                line.status.clone(),
                thousands(line.count),
                time(line.p50_s),
                time(line.p95_s),
                thousands(line.nodes_sum),
            ]);
        }
        f.write_str(&table.render(2, 3))?;
        writeln!(
            f,
            "  p50 and p95 are read from the buckets of obs.run.duration, as Prometheus would"
        )
    }

    fn store(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(url) = &self.report.store.url else {
            return writeln!(f, "Rows:                   off");
        };
        if let Some(error) = self.store_error {
            return writeln!(f, "Rows:                   {url}, which cannot be read: {error}");
        }
        let rows = thousands(self.report.store.rows.unwrap_or(0));
        writeln!(f, "Rows:                   {rows} of this run in {url}\n")?;
        let Some(kept) = self.kept else { return Ok(()) };
        writeln!(
            f,
            "What all rows there say about all runs, each row weighted by how likely it was kept:"
        )?;
        writeln!(f, "\n  {}\n", Schema::of(url).weighted().replace('\n', "\n  "))?;
        let mut table = Table::default();
        table.row([
            "strategy_id",
            "strategy_version",
            "rows_kept",
            "runs",
            "failures",
            "duration_p95_s",
        ]);
        for line in &kept.weighted {
            table.row([
                line.strategy.clone(),
                line.version.clone(),
                line.rows_kept.to_string(),
                line.runs.to_string(),
                line.failures.to_string(),
                format!("{:.6}", line.duration_p95_s),
            ]);
        }
        f.write_str(&table.render(2, 2))
    }

    fn next(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.report.store.url.as_deref().unwrap_or_default();
        writeln!(f, "\nNext:")?;
        let slowest = Schema::of(url).slowest();
        match url.strip_prefix("sqlite:") {
            Some(path) => writeln!(f, "  sqlite3 {path} \"{slowest}\"")?,
            None if !url.is_empty() => writeln!(f, "  psql {url} -c \"{slowest}\"")?,
            None => {}
        }
        writeln!(f, "  cargo run -p quickstart -- --runs 100000 --threads 4")?;
        if !url.starts_with("postgres") {
            writeln!(f, "  OBS_STORE=postgres://user@localhost/db cargo run -p quickstart")?;
        }
        writeln!(
            f,
            "  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 cargo run -p quickstart -- --hold 60"
        )
    }
}

/// `first 6, sampled 940`.
fn counts<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    let mut text = String::new();
    for (name, count) in counts {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string never fails.
        let _ = write!(text, "{comma}{name} {}", thousands(*count));
    }
    if text.is_empty() { "none".to_owned() } else { text }
}
