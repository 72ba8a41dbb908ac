//! The rows in the file, read as anybody could read them.

use diesel::{
    Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query,
    sql_types::{BigInt, Double, Nullable, Text},
};

use crate::{Quickstart, whole};

/// An SLO that no run of the tests exceeds: what is slow depends on the machine.
pub(crate) const NOTHING_IS_SLOW: [(&str, &str); 1] = [("OBS_SLO", "3600")];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
pub(crate) struct KeptRow {
    #[diesel(sql_type = Text)]
    pub(crate) strategy_id: String,
    #[diesel(sql_type = Text)]
    pub(crate) strategy_version: String,
    #[diesel(sql_type = Text)]
    pub(crate) status: String,
    #[diesel(sql_type = Text)]
    pub(crate) keep_reason: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) input: Option<String>,
}

#[derive(Debug, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    subject: String,
    #[diesel(sql_type = Text)]
    correlation_id: String,
    #[diesel(sql_type = Text)]
    realm: String,
    #[diesel(sql_type = Text)]
    strategy_type: String,
    #[diesel(sql_type = Text)]
    error_type: String,
    #[diesel(sql_type = Text)]
    error_message: String,
    #[diesel(sql_type = Text)]
    error_node: String,
    #[diesel(sql_type = BigInt)]
    nodes: i64,
    #[diesel(sql_type = Text)]
    trace: String,
}

#[derive(Debug, QueryableByName)]
struct Scored {
    #[diesel(sql_type = Double)]
    value: f64,
    #[diesel(sql_type = Text)]
    case_name: String,
    #[diesel(sql_type = Text)]
    input: String,
}

fn open(quickstart: &Quickstart) -> SqliteConnection {
    let path = quickstart.dir.path().join("obs.sqlite");
    SqliteConnection::establish(path.to_str().unwrap()).unwrap()
}

pub(crate) fn kept(quickstart: &Quickstart) -> Vec<KeptRow> {
    let query = "SELECT strategy_id, strategy_version, status, keep_reason, input \
                 FROM run JOIN run_payload USING (run_id)";
    let mut rows: Vec<KeptRow> = sql_query(query).load(&mut open(quickstart)).unwrap();
    rows.sort();
    rows
}

#[test]
fn one_thread_and_one_seed_keep_the_same_rows_and_another_seed_keeps_others() {
    let kept_by = |seed| {
        let quickstart = Quickstart::new();
        let flags = format!("--runs 3000 --threads 1 --seed {seed}");
        let report = quickstart.json(&flags, &NOTHING_IS_SLOW);
        let rows = kept(&quickstart);
        assert_eq!(rows.len() as u64, whole(&report["store"]["rows"]));
        assert!(rows.iter().any(|row| row.keep_reason == "sampled"));
        rows
    };
    let rows = kept_by(7);
    assert_eq!(rows, kept_by(7));
    assert_ne!(rows, kept_by(8));
}

#[test]
fn a_second_run_adds_its_rows_and_counts_only_its_own() {
    let quickstart = Quickstart::new();
    let first = whole(&quickstart.json("--runs 300 --seed 7", &[])["store"]["rows"]);
    let second = whole(&quickstart.json("--runs 300 --seed 8", &[])["store"]["rows"]);
    assert!(first > 0 && second > 0);
    assert_eq!(kept(&quickstart).len() as u64, first + second);
}

#[test]
fn the_row_of_a_failure_says_what_failed_where_and_what_was_done_before() {
    let quickstart = Quickstart::new();
    quickstart.json("--runs 1000 --seed 7", &[]);
    let query = "SELECT subject, correlation_id, realm, strategy_type, error_type, error_message, \
                 error_node, nodes, trace FROM run JOIN run_payload USING (run_id) \
                 WHERE error_type = 'NOT_A_NUMBER' LIMIT 1";
    let row: Row = sql_query(query).get_result(&mut open(&quickstart)).unwrap();
    assert_eq!((row.realm.as_str(), row.strategy_type.as_str()), ("usgs", "SCORE"));
    assert!(
        row.correlation_id.starts_with(&row.subject),
        "an event's id begins with its network: {row:?}"
    );
    assert_eq!(row.error_node, "stations");
    assert_eq!(
        row.error_message,
        "NOT_A_NUMBER at node `stations`: arithmetic on something that is no number; guard the field with `if`"
    );
    assert_eq!(row.error_type, "NOT_A_NUMBER");
    let trace: Vec<serde_json::Value> = serde_json::from_str(&row.trace).unwrap();
    assert_eq!(trace.len() as i64, row.nodes);
    let ids: Vec<_> = trace.iter().map(|entry| entry["node"].as_str().unwrap()).collect();
    assert_eq!(ids, ["gap", "distance", "shallow-for-its-distance"]);
    assert_eq!(trace[0]["type"], "*");
    assert!(trace[0]["value"].is_number());
}

#[test]
fn the_row_of_a_score_has_its_value_its_case_and_its_input() {
    let quickstart = Quickstart::new();
    quickstart.json("--runs 1000 --seed 7", &[]);
    let query = "SELECT value, case_name, input FROM run JOIN run_payload USING (run_id) \
                 WHERE strategy_id = 'magnitude-score' AND strategy_version = '1'";
    let rows: Vec<Scored> = sql_query(query).load(&mut open(&quickstart)).unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        let input: serde_json::Value = serde_json::from_str(&row.input).unwrap();
        let magnitude = input["mag"].as_f64().unwrap();
        assert!((row.value - 10.0 * magnitude.max(0.0)).abs() < 1e-9, "{row:?}");
        let case = if row.value >= 50.0 {
            "strong"
        } else if row.value >= 25.0 {
            "light"
        } else {
            "minor"
        };
        assert_eq!(row.case_name, case, "{row:?}");
    }
}
