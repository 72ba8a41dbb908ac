//! How the drain slows down as rows grow: the same batches into tables that hold none, a million and ten
//! million rows of the same day.
//!
//! The rows that are there already are made by the server. They are as ours, but without inputs and traces,
//! which no index knows: with those, ten million would take up 25 GB.

use crate::{
    WARM_UP, drain_warm,
    measure::{Sample, Summary, summary},
    postgres::Postgres,
    rows,
};

/// How many rows are there before; the last take some minutes to make, and 6 GB.
const ROWS: [u64; 3] = [0, 1_000_000, 10_000_000];
/// Rows that the server makes with one statement, so that none runs for minutes.
const STEP: u64 = 500_000;
/// Rows that are written each time.
const WRITTEN: usize = 5_120;
const ROUNDS: usize = 5;

/// What was measured with so many rows in the tables.
pub(crate) struct Grown {
    pub(crate) name: String,
    pub(crate) speed: Summary,
}

/// Begins with empty tables, and leaves them so.
pub(crate) fn run(postgres: &Postgres) -> Vec<Grown> {
    postgres.clear();
    let mut made = 0;
    let mut grown = Vec::new();
    for wanted in ROWS {
        while made < wanted {
            let more = STEP.min(wanted - made);
            postgres.make_rows(made, more);
            made += more;
        }
        postgres.execute("ANALYZE obs.run_ok, obs.run_ok_payload");
        let samples: Vec<Sample> = (0..ROUNDS).map(|_| on_top(postgres)).collect();
        let speed = summary(samples.iter().map(Sample::rows_per_second).collect());
        eprintln!("{wanted} rows before: {:.0} rows/s", speed.median);
        grown.push(Grown { name: format!("Postgres: ours, onto {wanted} rows"), speed });
    }
    postgres.clear();
    grown
}

/// Writes new rows beside those that are there.
fn on_top(postgres: &Postgres) -> Sample {
    postgres.execute("CHECKPOINT");
    let (warm_up, rows) = (rows::rows(WARM_UP), rows::rows(WRITTEN));
    let before = postgres.count();
    let sample = drain_warm(&postgres.url, 1, (&warm_up, &|| {}), &rows);
    let expected = before.map(|count| count + (WARM_UP + WRITTEN) as i64);
    assert_eq!(postgres.count(), expected, "ours wrote something else");
    sample
}
