//! Clocks that jump while runs are made.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    postgres::Postgres,
    support::{Rack, assert_same, skip},
};

/// Where the wall clock is put, one after the other, in libfaketime's words.
const JUMPS: [&str; 5] = ["-1h", "+1h", "@1970-01-01 00:00:01", "@2100-06-15 12:00:00", "+0"];

/// Packages put it below the name of their architecture.
fn libfaketime() -> Option<PathBuf> {
    let places = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let mut found = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.is_file())
}

#[test]
fn no_jump_of_the_wall_clock_costs_a_row_an_id_or_a_duration() {
    let Some(library) = libfaketime() else {
        return skip("no clock can jump here: install libfaketime");
    };
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let clock = rack.path("clock");
    set(&clock, "+0");
    let environment = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("FAKETIME_NO_CACHE", "1"),
        ("OTEL_METRICS_EXPORTER", "console"),
        // What is said to be of 1970 is past every retention.
        ("OBS_RETENTION_OK", "off"),
        ("OBS_RETENTION_ERROR", "off"),
    ];
    let flags =
        format!("--runs 100000000 --rate 500 --threads 2 --error-every 4 --db {}", postgres.url);
    let mut victim = rack.start_in(&environment, "one", &flags);
    for (at, jump) in JUMPS.into_iter().enumerate() {
        victim.until_acked(150 * (at + 1));
        set(&clock, jump);
    }
    victim.until_acked(150 * (JUMPS.len() + 1));
    let ended = victim.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let account = victim.account();
    account.assert_balanced();
    for class in ["ok", "error"] {
        assert!(account.dropped(class).is_empty(), "{class}: {}", account.ledger);
        assert_same(&postgres.ids(class), &account.ids(class, &["memory"]), class);
    }
    let odd = "SELECT count(*) FROM obs.run WHERE duration_ns < 0 OR finished_at < started_at OR duration_ns > 60e9";
    assert_eq!(postgres.query(odd), ["0"]);
    let years =
        postgres.query("SELECT DISTINCT extract(year FROM started_at) FROM obs.run ORDER BY 1");
    assert!(
        years.contains(&"1970".to_owned()) && years.contains(&"2100".to_owned()),
        "it jumped: {years:?}"
    );
    let sums: Vec<_> = ended.out.lines().filter(|line| line.contains("obs.run.status=")).collect();
    assert!(sums.iter().any(|sum| sum.contains("mean=")), "{}", ended.out);
    for sum in sums {
        assert!(values(sum).all(is_plain), "{sum}");
    }
}

/// What stands behind the last `=` of each word, or for itself.
fn values(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().filter_map(|word| word.rsplit('=').next())
}

/// A number that a clock which jumped would have spoilt is neither less than nothing nor none.
fn is_plain(value: &str) -> bool {
    !["NaN", "inf", "-"].iter().any(|strange| value.starts_with(strange))
}

#[test]
fn a_sum_that_is_no_number_would_be_seen() {
    assert!(values("dsl.run.duration obs.run.status=ok count=3 mean=1.2ms").all(is_plain));
    for spoilt in ["mean=NaNs", "mean=-1.2s", "mean=infs", "-3"] {
        assert!(!values(&format!("count=3 {spoilt}")).all(is_plain), "{spoilt}");
    }
}

/// Replaced as a whole: the library reads it at every call.
fn set(clock: &Path, to: &str) {
    let new = clock.with_extension("new");
    fs::write(&new, to).unwrap();
    fs::rename(&new, clock).unwrap();
}
