//! Both stores hold the same.

use std::sync::Arc;

use obs_core::{RunRecord, Status, testing::record};
use tempfile::tempdir;

use crate::support::{Live, database, failed, full, postgres, sqlite, sqlite_url};

const TEXTS: [&str; 17] = [
    "kind",
    "realm",
    "strategy_id",
    "strategy_version",
    "strategy_type",
    "strategy_hash",
    "subject",
    "correlation_id",
    "status",
    "error_type",
    "error_message",
    "error_node",
    "case_name",
    "keep_reason",
    "trace_id",
    "span_id",
    "nodes",
];

const PAYLOAD: [&str; 7] =
    ["input", "input_bytes", "attributes", "trace", "trace_total", "trace_kept", "trace_bytes"];

fn as_text(columns: &[&str]) -> String {
    let columns: Vec<_> =
        columns.iter().map(|column| format!("coalesce(CAST({column} AS TEXT), '-')")).collect();
    columns.join(" || '|' || ")
}

#[test]
fn sqlite_and_postgres_hold_equal_rows_for_the_same_records() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let url = database();
    let mut records: Vec<RunRecord> = Status::ALL.map(full).into();
    records.extend((0..300).map(|_| record("bonus", "1")));
    records.extend((0..30).map(|_| failed("bonus")));
    let mut largest = record("largest", "1");
    (largest.nodes, largest.trace_total) = (u64::MAX, u64::MAX);
    largest.duration = std::time::Duration::MAX;
    largest.input_truncated = true;
    records.push(largest);
    for address in [sqlite_url(&path), url.clone()] {
        let live = Live::open(&address);
        records.iter().for_each(|record| live.submit(record.clone()));
        live.flush();
    }

    let lite = sqlite(
        &path,
        &format!(
            "SELECT lower(hex(run_id)) || lower(hex(epoch)) || coalesce(nullif(lower(hex(parent_run_id)), ''), '-') || '|' || {} || '|' || {} \
             || '|' || started_at || '|' || finished_at || '|' || duration_ns || '|' || slow || '|' || slim || '|' || input_truncated \
             || '|' || coalesce(CAST(value * 1000 AS INTEGER), '-') || '|' || CAST(inclusion_probability * 1000 AS INTEGER) \
             || '|' || CAST(sample_rate * 1000 AS INTEGER) FROM run JOIN run_payload USING (run_id) ORDER BY run_id",
            as_text(&TEXTS),
            as_text(&PAYLOAD),
        ),
    );
    let micros = |column: &str| format!("(extract(epoch FROM {column}) * 1000000)::bigint");
    let hex = |column: &str| format!("replace({column}::text, '-', '')");
    let post = postgres(
        &url,
        &format!(
            "SELECT {} || {} || coalesce({}, '-') || '|' || {} || '|' || {} || '|' || {} || '|' || {} || '|' || duration_ns \
             || '|' || slow::int || '|' || slim::int || '|' || input_truncated::int || '|' || coalesce((value * 1000)::bigint::text, '-') \
             || '|' || (inclusion_probability * 1000)::bigint || '|' || (sample_rate * 1000)::bigint \
             FROM obs.run JOIN obs.run_payload USING (run_id) ORDER BY run_id",
            hex("run_id"),
            hex("epoch"),
            hex("parent_run_id"),
            as_text(&TEXTS),
            as_text(&PAYLOAD),
            micros("started_at"),
            micros("finished_at"),
        ),
    );
    assert_eq!(lite.len(), records.len());
    for (lite, post) in lite.iter().zip(&post) {
        assert_eq!(lite, post);
    }
    assert_eq!(lite.len(), post.len());
    assert!(
        lite.iter().any(|row| row.contains("no field `dmin`: it is {null}, \\N and \u{1f30b}"))
    );
}

#[test]
fn both_stores_have_the_columns_of_a_record_by_its_own_names() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let url = database();
    for address in [sqlite_url(&path), url.clone()] {
        let live = Live::open(&address);
        live.submit(record("bonus", "1"));
        live.flush();
    }
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    let mut expected = vec!["inserted_at".to_owned()];
    let json = serde_json::to_value(record("bonus", "1")).unwrap();
    // Audit entries have a table of their own.
    expected.extend(json.as_object().unwrap().keys().filter(|key| *key != "audit").cloned());
    let expected = sorted(expected);
    let lite = sqlite(
        &path,
        "SELECT name FROM pragma_table_info('run') UNION SELECT name FROM pragma_table_info('run_payload')",
    );
    assert_eq!(sorted(lite), expected);
    let post = postgres(
        &url,
        "SELECT DISTINCT column_name FROM information_schema.columns \
         WHERE table_schema = 'obs' AND table_name IN ('run', 'run_payload')",
    );
    assert_eq!(sorted(post), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_any_size_fits() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let url = tokio::task::spawn_blocking(database).await.unwrap();
    for address in [sqlite_url(&path), url.clone()] {
        let mut store = obs_persist::StoreUrl::parse(&address).unwrap().store();
        store.prepare().await.unwrap();
        for size in [1, 2, 255, 256, 257, 5_000] {
            let batch: Arc<[RunRecord]> = (0..size).map(|_| record("bonus", "1")).collect();
            store.write(batch).await.unwrap();
        }
    }
    assert_eq!(sqlite(&path, "SELECT CAST(count(*) AS TEXT) FROM run"), ["5771"]);
    let rows = tokio::task::spawn_blocking(move || crate::support::count(&url, "obs.run"));
    assert_eq!(rows.await.unwrap(), 5_771);
}
