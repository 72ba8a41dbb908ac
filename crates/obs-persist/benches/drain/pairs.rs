//! Two sides alone, in turns over many rounds: for whoever works on one of them.

use std::path::Path;

use crate::{
    drain,
    measure::{Sample, summary},
    postgres::Postgres,
    rows, sqlite,
};

const ROUNDS: usize = 41;
const ROWS: usize = 2_560;

/// SQLite: ours beside the rows by hand. Files are made in this folder.
pub(crate) fn sqlite(folder: &Path) {
    let (template, file) = (folder.join("template.db"), folder.join("rows.db"));
    drop(crate::open(&format!("sqlite:{}", template.display())));
    let rows = rows::rows(ROWS);
    let url = format!("sqlite:{}", file.display());
    say(|| {
        sqlite::fresh(&template, &file);
        let ours = drain(&url, 1, &rows, None);
        sqlite::check("ours", &file, &rows);
        sqlite::fresh(&template, &file);
        let by_hand = sqlite::by_hand(&file, &rows);
        sqlite::check("by hand", &file, &rows);
        [ours, by_hand]
    });
}

/// Postgres: ours beside `UNNEST` by hand, one connection each.
pub(crate) fn postgres() {
    let postgres = Postgres::start();
    drop(crate::open(&postgres.url));
    let rows = rows::rows(ROWS);
    say(|| {
        postgres.clear();
        let ours = drain(&postgres.url, 1, &rows, Some(&postgres));
        postgres.check("ours", &rows);
        postgres.clear();
        let by_hand = postgres.unnest(&rows);
        postgres.check("UNNEST", &rows);
        [ours, by_hand]
    });
}

/// Ours, then by hand: time and processor time a row, and both ratios.
fn say(round: impl Fn() -> [Sample; 2]) {
    // The first one warms up.
    let rounds: Vec<[Sample; 2]> = (0..=ROUNDS).map(|_| round()).skip(1).collect();
    let of = |what: fn(&[Sample; 2]) -> f64| summary(rounds.iter().map(what).collect());
    let lines = [
        ("ours, ns a row", of(|[ours, _]| 1e9 / ours.rows_per_second())),
        ("by hand, ns a row", of(|[_, by_hand]| 1e9 / by_hand.rows_per_second())),
        ("ours, ns of a processor", of(|[ours, _]| 1e3 * ours.cpu_us_per_row())),
        ("by hand, ns of a processor", of(|[_, by_hand]| 1e3 * by_hand.cpu_us_per_row())),
        (
            "ours / by hand, rows a second",
            of(|[ours, by_hand]| ours.rows_per_second() / by_hand.rows_per_second()),
        ),
        (
            "by hand / ours, processor time",
            of(|[ours, by_hand]| by_hand.cpu_us_per_row() / ours.cpu_us_per_row()),
        ),
    ];
    for (name, value) in lines {
        println!("{name:<32} {:>10.2}  ({:.2}-{:.2})", value.median, value.low, value.high);
    }
}
