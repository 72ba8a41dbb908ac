//! What the store holds, asked over a connection of this program's own, as anybody could ask it.

mod postgres;
mod sqlite;

use std::{collections::BTreeMap, error::Error};

use obs::Telemetry;

use crate::scoring::KIND;

/// The tables and views of the store, as a query names them: Postgres has them in a schema.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema(&'static str);

impl Schema {
    pub(crate) fn of(url: &str) -> Self {
        Self(if url.starts_with("sqlite:") { "" } else { "obs." })
    }

    /// The query that this program shows and runs. Every figure of the view is weighted, so it
    /// speaks of all runs and not only of the kept ones.
    pub(crate) fn weighted(self) -> String {
        let Self(schema) = self;
        format!(
            "SELECT strategy_id, strategy_version, rows_kept, round(runs) AS runs, round(failures) AS failures, duration_p95_s
FROM {schema}run_stats WHERE kind = '{KIND}' ORDER BY strategy_id, strategy_version"
        )
    }

    /// A query for people: the slowest kept run, with what it was given and what it did.
    pub(crate) fn slowest(self) -> String {
        let Self(schema) = self;
        format!(
            "SELECT strategy_id, duration_ns, input, trace FROM {schema}run \
             JOIN {schema}run_payload USING (run_id) ORDER BY duration_ns DESC LIMIT 1"
        )
    }

    /// `epoch` is what stands for the epoch of this process.
    fn by_reason(self, epoch: &str) -> String {
        let Self(schema) = self;
        format!(
            "SELECT keep_reason AS reason, count(*) AS count FROM {schema}run \
             WHERE epoch = {epoch} GROUP BY keep_reason"
        )
    }
}

/// The rows of this process, and what the view says of all rows of its kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// Rows of this process by `keep_reason`.
    pub(crate) by_reason: BTreeMap<String, u64>,
    /// The answer to [`Schema::weighted`].
    pub(crate) weighted: Vec<Weighted>,
}

/// A line of the answer to [`Schema::weighted`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weighted {
    pub(crate) strategy: String,
    pub(crate) version: String,
    pub(crate) rows_kept: i64,
    pub(crate) runs: f64,
    pub(crate) failures: f64,
    pub(crate) duration_p95_s: f64,
}

/// Asks the store. `None` where rows are off.
///
/// # Errors
/// When the store does not answer, or only over TLS, which this program does not speak.
pub(crate) fn read(telemetry: &Telemetry) -> Result<Option<Kept>, Box<dyn Error + Send + Sync>> {
    let Some(url) = telemetry.store_url() else { return Ok(None) };
    let epoch = telemetry.obs().epoch();
    let schema = Schema::of(url);
    match url.strip_prefix("sqlite:") {
        Some(path) => sqlite::read(path, schema, epoch.as_bytes()).map(Some),
        None => postgres::read(&address(url), schema, &epoch.to_string()).map(Some),
    }
}

/// The address with its password, which obs keeps to itself.
#[expect(
    clippy::disallowed_methods,
    reason = "obs has checked this variable and shows it to nobody"
)]
fn address(without_password: &str) -> String {
    std::env::var("OBS_STORE")
        .map(|url| url.trim().to_owned())
        .unwrap_or_else(|_| without_password.to_owned())
}
