//! The two views whose figures are about all runs, not about the rows that happen to be kept.

use std::time::Duration;

use obs_core::{KeepReason, RunRecord, Status, StoreState, Timestamp, testing::record};
use tempfile::tempdir;

use crate::support::{Live, database, failed, postgres, sqlite, sqlite_url, until};

const MILLISECOND: Duration = Duration::from_millis(1);

/// 1,000 fast runs of which every tenth is kept, 20 slow ones and 10 failures, which all are.
fn sample() -> Vec<RunRecord> {
    let with = |mut record: RunRecord, duration: Duration, reason, probability| {
        record.duration = duration;
        record.keep_reason = reason;
        record.inclusion_probability = probability;
        record
    };
    let mut rows = Vec::new();
    for at in 1..=100 {
        rows.push(with(record("bonus", "1"), MILLISECOND * at, KeepReason::Sampled, 0.1));
    }
    rows.extend(
        (0..20).map(|_| with(record("bonus", "1"), MILLISECOND * 500, KeepReason::Slow, 1.0)),
    );
    rows.extend(
        (0..10).map(|_| with(failed("bonus"), MILLISECOND * 200, KeepReason::Failure, 1.0)),
    );
    rows.extend((0..5).map(|_| {
        let mut cancelled = with(record("bonus", "1"), MILLISECOND * 2, KeepReason::Cancelled, 0.5);
        cancelled.status = Status::Cancelled;
        cancelled
    }));
    // A strategy of its own, without a realm.
    let mut alone = with(record("alone", "7"), MILLISECOND * 4, KeepReason::First, 1.0);
    alone.realm = None;
    rows.push(alone);
    // Nobody writes a probability of 0; if somebody does, it must break no figure.
    rows.push(with(record("bonus", "1"), MILLISECOND * 9_000, KeepReason::Sampled, 0.0));
    rows.push(with(record("impossible", "1"), MILLISECOND, KeepReason::Sampled, 0.0));
    rows
}

/// Both stores with the sample; the same query to both.
fn ask(records: &[RunRecord], query: &str) -> [Vec<String>; 2] {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let url = database();
    for address in [sqlite_url(&path), url.clone()] {
        let live = Live::open(&address);
        records.iter().for_each(|record| live.submit(record.clone()));
        live.flush();
        until("the schema is there", || live.persister.state() == StoreState::Up);
    }
    [sqlite(&path, query), postgres(&url, &query.replace("FROM ", "FROM obs."))]
}

/// Figures as whole thousandths, so that both databases print them alike.
fn thousandths(columns: &[&str]) -> String {
    let columns: Vec<_> = columns
        .iter()
        .map(|column| {
            format!("coalesce(CAST(CAST(round({column} * 1000) AS BIGINT) AS TEXT), '-')")
        })
        .collect();
    columns.join(" || ' ' || ")
}

#[test]
fn figures_are_weighted_by_the_inclusion_probability() {
    let figures = thousandths(&[
        "runs",
        "failures",
        "cancelled",
        "error_rate",
        "duration_mean_s",
        "duration_p50_s",
        "duration_p95_s",
        "duration_p99_s",
    ]);
    let query = format!(
        "SELECT strategy_id || ' ' || coalesce(realm, '-') || ' ' || rows_kept || ': ' || {figures} FROM run_stats ORDER BY strategy_id"
    );
    // 1,000 sampled + 20 slow + 10 failed + 10 cancelled = 1,040 runs, on 136 rows. Unweighted, the
    // error rate would be 74 thousandths, not 10, and the median 73 ms.
    // Mean: (1000 × 50.5 + 20 × 500 + 10 × 200 + 10 × 2) / 1040 = 60.1 ms.
    // Half of 1,040 is 520: 10 cancelled + 51 × 10 sampled, so the 51st. 95 % is 988: the 98th; 99 %
    // is 1029.6: behind 1,010 and the ten failures, in the slow ones.
    let expected = [
        "alone - 1: 1000 0 0 0 4 4 4 4",
        "bonus acme 136: 1040000 10000 10000 10 60 51 98 500",
        "impossible acme 1: - 0 0 - - - - -",
    ];
    let [lite, post] = ask(&sample(), &query);
    assert_eq!(lite, expected);
    assert_eq!(post, expected);
}

#[test]
fn daily_figures_are_those_of_utc_days() {
    let mut records = Vec::new();
    for (micros, count) in [(86_399_999_999, 2), (86_400_000_000, 3)] {
        for _ in 0..count {
            let mut one = record("bonus", "1");
            one.started_at = Timestamp::from_micros(micros);
            one.inclusion_probability = 0.5;
            records.push(one);
        }
    }
    let query = format!(
        "SELECT day || ' ' || {} FROM run_stats_daily ORDER BY day",
        thousandths(&["runs", "error_rate"])
    );
    let [lite, post] = ask(&records, &query);
    assert_eq!(lite, ["1970-01-01 4000 0", "1970-01-02 6000 0"]);
    assert_eq!(post, lite);
}

#[test]
fn views_over_no_rows_are_empty() {
    let [lite, post] = ask(&[], "SELECT strategy_id FROM run_stats");
    assert_eq!((lite.len(), post.len()), (0, 0));
}
