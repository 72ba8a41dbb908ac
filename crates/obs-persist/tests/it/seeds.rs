//! What the systems before obs did with rows, pinned as behaviour, and what they lost, repaired.
//!
//! `docs/seeds.md` says which line each test holds.

use std::{net::TcpListener, sync::Arc, time::Duration};

use diesel::{RunQueryDsl, sql_query};
use obs_core::{
    DropReason, FinishedRun, KeepPolicy, Obs, Rate, RunFailure, RunRecord, Sink, Strategy,
    Timestamp, testing::TestObs,
};
use obs_persist::{PersistConfig, Store, StoreFuture, StoreUrl, testing::MemoryStore};
use serde_json::value::RawValue;
use tempfile::tempdir;

use crate::{
    support::{LONG, Live, Rig, count, database, open_sqlite, postgres, sqlite, sqlite_url, until},
    worker::{lines, listen},
};

/// An obs whose rows go to `sink`, and that keeps every run.
fn keeping_all(sink: Arc<dyn Sink>) -> TestObs {
    let ok_rate = Rate::new(1.0).unwrap();
    let policy = KeepPolicy { ok_rate, first: 0, ..KeepPolicy::default() };
    TestObs::with(|builder| builder.policy(policy).sink(sink)).unwrap()
}

fn strategy(obs: &Obs) -> Strategy {
    obs.kind("dsl").realm("acme").type_("DSL_FULL").lookup("bonus", "3")
}

fn ok(strategy: &Strategy, value: f64) {
    let mut run = strategy.start();
    run.value(value);
    run.finish(Ok::<_, String>(())).unwrap();
}

#[test]
fn a_run_returns_before_its_row_is_written_and_after_a_flush_the_row_is_there() {
    let rig = Rig::with(|config| config.batch_records = 1);
    rig.store.set_stalled(true);
    let test = keeping_all(Arc::clone(&rig.sink));
    let bonus = strategy(test.obs());
    let result: Result<f64, String> = bonus.observe(&"event", |_run| Ok(12.5));
    assert_eq!(result, Ok(12.5));
    until("the worker is inside the write", || rig.store.writes() == 1);
    let _ = bonus.start().finish(Err::<(), _>(RunFailure::timeout("DSL_TIMEOUT")));
    assert!(rig.store.rows().is_empty());
    rig.store.set_stalled(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    assert_eq!(rig.store.rows().len(), 2);
    test.assert_balanced();
}

#[test]
fn of_two_rows_for_a_queue_of_one_the_first_survives_and_one_drop_is_counted() {
    let rig = Rig::with(|config| config.queue_records = 1);
    let test = keeping_all(Arc::clone(&rig.sink));
    let bonus = strategy(test.obs());
    rig.store.set_stalled(true);
    ok(&bonus, 1.0);
    ok(&bonus, 2.0);
    assert_eq!(test.obs().ledger().ok.dropped.of(DropReason::QueueFull), 1);
    rig.store.set_stalled(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    let values: Vec<_> = rig.store.rows().iter().map(|row| row.value).collect();
    assert_eq!(values, [Some(1.0)]);
    let ledger = test.obs().ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.dropped.total()), (1, 1));
    test.assert_balanced();
}

#[test]
fn arrivals_are_counted_while_the_worker_hangs_so_a_stall_is_not_taken_for_idleness() {
    let rig = Rig::with(|config| config.batch_records = 1);
    rig.store.set_stalled(true);
    let test = keeping_all(Arc::clone(&rig.sink));
    let bonus = strategy(test.obs());
    for number in 1..=50 {
        ok(&bonus, 1.0);
        until("the worker hangs in its first write", || rig.store.writes() == 1);
        let ledger = test.obs().ledger();
        assert_eq!((ledger.ok.recorded, ledger.ok.in_queue), (number, number));
        assert_eq!(ledger.ok.persisted, 0, "nothing is written before the store has committed it");
    }
    rig.store.set_stalled(false);
    assert!(rig.persister.flush_blocking(LONG).complete);
    assert_eq!(test.obs().ledger().ok.persisted, 50);
    test.assert_balanced();
}

/// A store in memory with a name of its own, to find its log lines.
#[derive(Debug)]
struct Quiet(MemoryStore);

impl Store for Quiet {
    fn name(&self) -> String {
        "flooded".to_owned()
    }
    fn prepare(&mut self) -> StoreFuture<'_> {
        self.0.prepare()
    }
    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        self.0.write(batch)
    }
    fn canary(&mut self, row: Box<RunRecord>) -> StoreFuture<'_> {
        self.0.canary(row)
    }
    fn close(&mut self) -> StoreFuture<'_> {
        self.0.close()
    }
}

#[test]
fn ten_thousand_dropped_rows_are_counted_and_not_logged_one_by_one() {
    listen();
    let store = MemoryStore::new();
    let live = Live::over(Box::new(Quiet(store.clone())), PersistConfig::default());
    until("it is up", || lines("flooded").len() == 1);
    store.set_stalled(true);
    let test = keeping_all(Arc::clone(&live.sink));
    let bonus = strategy(test.obs());
    (0..10_000).for_each(|_| ok(&bonus, 1.0));
    let dropped = test.obs().ledger().ok.dropped.of(DropReason::QueueFull);
    assert!(dropped >= 9_000, "{dropped}");
    store.set_stalled(false);
    assert!(live.persister.flush_blocking(LONG).complete);
    assert_eq!(lines("flooded").len(), 1, "{:?}", lines("flooded"));
    let of_drops = lines("queue_full").len() + lines("dropped").len();
    assert_eq!(of_drops, 0);
    test.assert_balanced();
}

/// Runs that were told everything that stores refuse.
fn hostile_runs(obs: &Obs) -> usize {
    let bonus = strategy(obs);
    let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    let inputs = [
        raw(r#"{"lone": "\ud800", "nul": "\u0000", "\u0000": 1}"#),
        raw("[1e999, -1e999, 123456789012345678901234567890]"),
        raw(&deep),
        raw(&format!("\"{}\"", "x".repeat(1 << 20))),
    ];
    for input in &inputs {
        let _: Result<(), String> = bonus.observe(input, |run| {
            run.subject("user\0seven").case("\0").correlation_id("\u{202e}").value(f64::NAN);
            run.attribute("a\0b", "c\0d").attribute("n", f64::INFINITY).add_nodes(u64::MAX);
            for _ in 0..300 {
                run.node("n\0").kind("\u{1}").value("\0");
            }
            run.node("last").value(input);
            Err("\0".repeat(10_000))
        });
    }
    let ages = [0, i64::MIN, i64::MAX].map(Timestamp::from_micros);
    let times = ages.into_iter().map(Some).chain([None]);
    let long = times.map(|started_at| {
        let duration = Duration::MAX;
        bonus.record(FinishedRun { started_at, duration, nodes: u64::MAX, ..Default::default() });
    });
    inputs.len() + long.count()
}

#[test]
fn whatever_a_run_was_told_becomes_a_row_that_both_stores_can_read() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let url = database();
    let mut rows = 0;
    for address in [sqlite_url(&path), url.clone()] {
        let live = Live::open(&address);
        let test = keeping_all(Arc::clone(&live.sink));
        rows = hostile_runs(test.obs());
        let report = live.persister.flush_blocking(LONG);
        assert!(report.complete, "{report}; {:?}", live.persister.last_error());
        assert_eq!(report.dropped.total(), 0, "{report}");
        test.assert_balanced();
    }
    // Every document can be cast and searched, and none is larger than it may be.
    let readable = "obs.run JOIN obs.run_payload USING (run_id) WHERE error_message IS NOT NULL \
                    AND jsonb_typeof(trace::jsonb) = 'array' AND input::jsonb IS NOT NULL \
                    AND attributes::jsonb ->> 'n' IS NULL AND value IS NULL \
                    AND octet_length(input::text) <= 65536 AND octet_length(trace::text) <= 65536";
    assert_eq!(count(&url, readable), 4);
    assert_eq!(count(&url, "obs.run"), rows);
    let readable = "SELECT CAST(count(*) AS TEXT) FROM run JOIN run_payload USING (run_id) \
                    WHERE json_valid(trace) AND json_valid(input) AND json_valid(attributes) \
                    AND status = 'error'";
    assert_eq!(sqlite(&path, readable), ["4"]);
    assert_eq!(sqlite(&path, "SELECT CAST(count(*) AS TEXT) FROM run"), [rows.to_string()]);
}

#[test]
fn the_trace_of_a_failure_in_the_table_ends_with_the_node_that_failed() {
    let url = database();
    let live = Live::open(&url);
    let test = keeping_all(Arc::clone(&live.sink));
    let _: Result<(), RunFailure> = strategy(test.obs()).observe(&"event", |run| {
        for node in 0..1_000 {
            run.node(&format!("n{node}")).kind("compare").phase("pre").branch("match").value(&1);
        }
        Err(RunFailure::limit("DSL_LIMIT_EXCEEDED").message("1000 nodes").node("n999"))
    });
    assert!(live.persister.flush_blocking(LONG).complete);
    let row = postgres(
        &url,
        "SELECT status, error_type, error_message, error_node, nodes, trace_total, trace_kept, \
         trace -> 0 ->> 'node', trace -> -1 ->> 'node', trace -> 0 ->> 'type', \
         trace -> 0 ->> 'phase', trace -> 0 ->> 'branch', trace -> 0 ->> 'value', input::text \
         FROM obs.run JOIN obs.run_payload USING (run_id)",
    );
    assert_eq!(
        row,
        [
            "limit|DSL_LIMIT_EXCEEDED|1000 nodes|n999|1000|1000|200|n0|n999|compare|pre|match|1|\"event\""
        ]
    );
}

#[test]
fn a_row_needs_no_definition_to_refer_to_and_keeps_the_version_that_ran() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let url = database();
    for address in [sqlite_url(&path), url.clone()] {
        let live = Live::open(&address);
        let test = keeping_all(Arc::clone(&live.sink));
        for version in ["3", "4-beta"] {
            let kind = test.obs().kind("dsl");
            let bonus = kind.strategy("bonus").version(version).hash("sha256:9f").build().unwrap();
            ok(&bonus, 1.0);
        }
        assert!(live.persister.flush_blocking(LONG).complete);
    }
    let versions = "SELECT strategy_version || ' ' || strategy_hash FROM run ORDER BY 1";
    assert_eq!(sqlite(&path, versions), ["3 sha256:9f", "4-beta sha256:9f"]);
    assert_eq!(
        postgres(&url, &versions.replace("run ", "obs.run ")),
        ["3 sha256:9f", "4-beta sha256:9f"]
    );
    assert_eq!(
        count(&url, "pg_constraint WHERE contype = 'f' AND connamespace = 'obs'::regnamespace"),
        0
    );
    for table in ["run", "run_payload"] {
        let keys = format!("SELECT CAST(count(*) AS TEXT) FROM pragma_foreign_key_list('{table}')");
        assert_eq!(sqlite(&path, &keys), ["0"]);
    }
}

#[test]
fn a_row_says_when_it_ran_and_when_it_was_written() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("later/obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    let obs = Obs::builder().sink(Arc::clone(&live.sink)).build().unwrap();
    let _: Result<(), String> = strategy(&obs).observe(&(), |_run| Err("no".to_owned()));
    until("the store is not there", || live.persister.last_error().is_some());
    // The row waits for at least this long, and is not dated by its insert.
    let waited = Duration::from_millis(20);
    std::thread::park_timeout(waited);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    assert!(live.persister.flush_blocking(LONG).complete);
    let ordered =
        "SELECT CAST(started_at <= finished_at AND finished_at < inserted_at AS TEXT) FROM run";
    assert_eq!(sqlite(&path, ordered), ["1"]);
}

#[test]
fn the_store_writes_through_one_connection_of_its_own() {
    let url = database();
    let live = Live::open(&url);
    let ours =
        "pg_stat_activity WHERE application_name = 'obs-persist' AND datname = current_database()";
    let test = keeping_all(Arc::clone(&live.sink));
    let bonus = strategy(test.obs());
    for _ in 0..20 {
        (0..500).for_each(|_| ok(&bonus, 1.0));
        assert!(count(&url, ours) <= 1);
        assert!(live.persister.flush_blocking(LONG).complete);
    }
    assert_eq!((count(&url, ours), count(&url, "obs.run")), (1, 10_000));
    drop(live);
    until("the connection is closed", || count(&url, ours) == 0);
}

#[test]
fn a_server_that_takes_the_connection_and_never_answers_is_given_up_at_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut config = PersistConfig::default();
    config.prepare_timeout = Duration::from_millis(50);
    let url = StoreUrl::parse(&format!("postgres://app@127.0.0.1:{port}/obs")).unwrap();
    let live = Live::over(url.store(), config);
    until("it is given up", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("preparing the store took longer than 50ms"), "{error}");
}

#[test]
fn a_status_that_does_not_exist_cannot_be_stored() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    let test = keeping_all(Arc::clone(&live.sink));
    ok(&strategy(test.obs()), 1.0);
    assert!(live.persister.flush_blocking(LONG).complete);
    let mut other = open_sqlite(&path);
    let error = sql_query("UPDATE run SET status = 'splendid'").execute(&mut other).unwrap_err();
    assert!(error.to_string().contains("CHECK constraint failed: status IN"), "{error}");
}
