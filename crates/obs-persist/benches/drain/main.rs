//! How fast queued rows reach the store, against what people write by hand: binary `COPY`, `UNNEST`,
//! row by row, and SQLite with prepared statements.
//!
//! Every round runs every side once, in turn, on the same empty tables with the same rows; ratios
//! are made within a round, and their medians with the middle half of the spread are printed. What
//! each side wrote is counted afterwards: a wrong fast number ends the benchmark.
//!
//! `--full` takes more rows and more rounds, and then writes onto a million and ten million rows; `--json` prints
//! one object with the ratios. `--sqlite` and `--unnest` measure ours beside these rows by hand alone, in more rounds.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]
#![expect(clippy::unwrap_used, reason = "a benchmark may stop when something is wrong")]

mod growth;
mod measure;
mod pairs;
mod postgres;
mod rows;
mod sqlite;

use std::{path::PathBuf, thread, time::Duration};

use growth::Grown;
use measure::{Ratio, Sample, Summary, measure, summary};
use obs_core::{Kept, RunRecord, StoreMetrics, StoreState, testing::TestObs};
use obs_persist::{PersistConfig, Persister, StoreUrl};
use postgres::Postgres;
use serde_json::json;

/// Rows in a statement or transaction, on every side.
pub(crate) const BATCH: usize = 256;

/// The threads of ours that write.
const WORKER: &str = "obs-persist-io";

/// Rows that a side writes to Postgres before it is measured, on the same connection: a fresh session
/// loads its catalogue caches, and plans a statement anew until it has seen it five times.
pub(crate) const WARM_UP: usize = 8 * BATCH;

/// No side may take longer.
const DEADLINE: Duration = Duration::from_secs(120);

/// How much is written.
struct Size {
    rounds: usize,
    rows: usize,
    single_rows: usize,
    slow_single_rows: usize,
}

const SHORT: Size = Size { rounds: 9, rows: 2_560, single_rows: 256, slow_single_rows: 64 };
const FULL: Size = Size { rounds: 11, rows: 20_480, single_rows: 2_048, slow_single_rows: 256 };

/// One round's samples.
struct Round {
    ours: Sample,
    two: Sample,
    copy: Sample,
    unnest: Sample,
    row_by_row: Sample,
    slow_ours: Sample,
    slow_row_by_row: Sample,
    sqlite_ours: Sample,
    sqlite_by_hand: Sample,
}

fn main() {
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    let (full, as_json) = (asked("--full"), asked("--json"));
    if asked("--sqlite") {
        return pairs::sqlite(tempfile::tempdir().unwrap().path());
    }
    if asked("--unnest") {
        return pairs::postgres();
    }
    let size = if full { FULL } else { SHORT };
    let rows = rows::rows(size.rows);
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template.db");
    // Makes the tables.
    drop(open(&postgres.url));
    drop(open(&format!("sqlite:{}", template.display())));

    let mut rounds = Vec::with_capacity(size.rounds);
    // The first round warms up.
    for round in 0..=size.rounds {
        let file = folder.path().join("rows.db");
        let samples = one_round(&postgres, (&template, &file), &rows, &size);
        if round > 0 {
            eprintln!(
                "round {round} of {}: ours {:.0} rows/s, COPY {:.0}",
                size.rounds,
                samples.ours.rows_per_second(),
                samples.copy.rows_per_second()
            );
            rounds.push(samples);
        }
    }
    let grown = if full { growth::run(&postgres) } else { Vec::new() };
    report(&rounds, &grown, as_json);
}

fn one_round(
    postgres: &Postgres,
    (template, file): (&PathBuf, &PathBuf),
    rows: &[RunRecord],
    size: &Size,
) -> Round {
    let on = |side: &str, rows: &[RunRecord], write: &dyn Fn(&[RunRecord]) -> Sample| {
        postgres.clear();
        let sample = write(rows);
        postgres.check(side, rows);
        sample
    };
    let ours = on("ours", rows, &|rows| drain(&postgres.url, 1, rows, Some(postgres)));
    let copy = on("COPY", rows, &|rows| postgres.copy(rows));
    let unnest = on("UNNEST", rows, &|rows| postgres.unnest(rows));
    let two = on("two connections", rows, &|rows| drain(&postgres.url, 2, rows, Some(postgres)));
    let row_by_row = on("row by row", &rows[..size.single_rows], &|rows| postgres.row_by_row(rows));
    postgres.slow_commits(true);
    let slow_ours =
        on("ours, slow commits", rows, &|rows| drain(&postgres.url, 1, rows, Some(postgres)));
    let slow = &rows[..size.slow_single_rows];
    let slow_row_by_row = on("row by row, slow commits", slow, &|rows| postgres.row_by_row(rows));
    postgres.slow_commits(false);

    let url = format!("sqlite:{}", file.display());
    sqlite::fresh(template, file);
    let sqlite_ours = drain(&url, 1, rows, None);
    sqlite::check("ours", file, rows);
    sqlite::fresh(template, file);
    let sqlite_by_hand = sqlite::by_hand(file, rows);
    sqlite::check("by hand", file, rows);
    Round {
        ours,
        two,
        copy,
        unnest,
        row_by_row,
        slow_ours,
        slow_row_by_row,
        sqlite_ours,
        sqlite_by_hand,
    }
}

fn open(url: &str) -> Persister {
    let mut config = PersistConfig::default();
    config.queue_records = 1_000_000;
    config.queue_bytes = 4 << 30;
    let store = StoreUrl::parse(url).unwrap().store();
    let persister = Persister::start(config, store, StoreMetrics::default()).unwrap();
    while persister.state() != StoreState::Up {
        assert_ne!(persister.state(), StoreState::Down, "{:?}", persister.last_error());
        thread::park_timeout(Duration::from_millis(1));
    }
    persister
}

/// Ours, over so many persisters with one connection each. With a server, they are warm.
fn drain(url: &str, connections: usize, rows: &[RunRecord], server: Option<&Postgres>) -> Sample {
    match server {
        Some(server) => drain_warm(url, connections, (&rows[..WARM_UP], &|| server.clear()), rows),
        None => drain_warm(url, connections, (&[], &|| {}), rows),
    }
}

/// Ours: from the first record that is submitted to the last one that is committed, through lanes,
/// batches and ledger. Before, each persister writes some rows, and then something is done.
pub(crate) fn drain_warm(
    url: &str,
    connections: usize,
    (warm_up, then): (&[RunRecord], &dyn Fn()),
    rows: &[RunRecord],
) -> Sample {
    let test = TestObs::new();
    let persisters: Vec<Persister> = (0..connections).map(|_| open(url)).collect();
    // Whatever a fresh connection does first is over.
    for persister in &persisters {
        assert!(persister.flush_blocking(DEADLINE).complete);
    }
    let keep = |rows: &[RunRecord]| -> Vec<Kept> {
        rows.iter().map(|row| test.kept_record(row.clone())).collect()
    };
    for persister in &persisters {
        let sink = persister.sink();
        for kept in keep(warm_up) {
            sink.submit(kept);
        }
        assert!(persister.flush_blocking(DEADLINE).complete);
    }
    then();
    let kept = keep(rows);
    let sample = measure(Some(WORKER), rows.len(), || {
        let sinks: Vec<_> = persisters.iter().map(Persister::sink).collect();
        for (at, kept) in kept.into_iter().enumerate() {
            sinks[at % connections].submit(kept);
        }
        for persister in &persisters {
            let report = persister.flush_blocking(DEADLINE);
            assert!(report.complete && report.dropped.total() == 0, "{report}");
        }
    });
    test.assert_balanced();
    sample
}

fn report(rounds: &[Round], grown: &[Grown], as_json: bool) {
    type Side = fn(&Round) -> &Sample;
    let speed =
        |side: Side| summary(rounds.iter().map(|round| side(round).rows_per_second()).collect());
    let cpu =
        |side: Side| summary(rounds.iter().map(|round| side(round).cpu_us_per_row()).collect());
    let ratio = |over: Side, under: Side| {
        let one = |round: &Round| over(round).rows_per_second() / under(round).rows_per_second();
        summary(rounds.iter().map(one).collect())
    };
    let at_least = |name, value, aim| Ratio { name, value, aim, at_most: false };
    let ratios = [
        at_least("drain: one connection / binary COPY", ratio(|r| &r.ours, |r| &r.copy), 0.75),
        at_least("drain: two connections / one", ratio(|r| &r.two, |r| &r.ours), 1.25),
        at_least("drain: one connection / UNNEST by hand", ratio(|r| &r.ours, |r| &r.unnest), 0.9),
        at_least("drain: one connection / row by row", ratio(|r| &r.ours, |r| &r.row_by_row), 10.0),
        at_least(
            "drain: one connection / row by row, 2 ms commits",
            ratio(|r| &r.slow_ours, |r| &r.slow_row_by_row),
            60.0,
        ),
        Ratio {
            name: "drain: client CPU, us a row",
            value: cpu(|r| &r.ours),
            aim: 2.0,
            at_most: true,
        },
        at_least(
            "drain: SQLite / the same rows by hand",
            ratio(|r| &r.sqlite_ours, |r| &r.sqlite_by_hand),
            0.9,
        ),
    ];
    let sides: [(&str, Side); 9] = [
        ("Postgres: ours, one connection", |r| &r.ours),
        ("Postgres: ours, two connections", |r| &r.two),
        ("Postgres: binary COPY", |r| &r.copy),
        ("Postgres: UNNEST by hand", |r| &r.unnest),
        ("Postgres: row by row", |r| &r.row_by_row),
        ("Postgres, 2 ms commits: ours", |r| &r.slow_ours),
        ("Postgres, 2 ms commits: row by row", |r| &r.slow_row_by_row),
        ("SQLite: ours", |r| &r.sqlite_ours),
        ("SQLite: by hand", |r| &r.sqlite_by_hand),
    ];
    if as_json {
        let sides = sides.iter().map(|(name, side)| ((*name).to_owned(), speed(*side)));
        let ns: serde_json::Map<_, _> = sides
            .chain(grown.iter().map(|grown| (grown.name.clone(), grown.speed)))
            .map(|(name, speed)| (name, json!(1e9 / speed.median)))
            .collect();
        let ratios: Vec<_> = ratios.iter().map(Ratio::json).collect();
        println!("{}", json!({"ratios": ratios, "ns": ns}));
        return;
    }
    println!("{:<48} {:>10}  {:>19}  {:>9}", "", "rows/s", "middle half", "CPU us");
    for (name, side) in sides {
        println!("{}  {:>9.2}", line(name, &speed(side)), cpu(side).median);
    }
    grown.iter().for_each(|grown| println!("{}", line(&grown.name, &grown.speed)));
    println!();
    for ratio in &ratios {
        let Summary { median, low, high } = ratio.value;
        let (sign, verdict) =
            (if ratio.at_most { "<=" } else { ">=" }, if ratio.met() { "met" } else { "MISSED" });
        println!(
            "{:<50} {median:>7.2} ({low:.2}-{high:.2}), aim {sign} {}: {verdict}",
            ratio.name, ratio.aim
        );
    }
}

fn line(name: &str, Summary { median, low, high }: &Summary) -> String {
    format!("{name:<48} {median:>10.0}  {low:>9.0}-{high:<9.0}")
}
