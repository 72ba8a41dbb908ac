//! The embedded store, in real files.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use diesel::connection::SimpleConnection;
use obs_core::{RunRecord, Status, StoreState, testing::record};
use obs_persist::{Migrations, PersistConfig, StoreUrl};
use tempfile::tempdir;

use crate::support::{LONG, Live, failed, full, open_sqlite, sqlite, sqlite_url, until};

#[test]
fn rows_and_payloads_are_really_there() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    let failed = full(Status::Error);
    live.submit(failed.clone());
    live.submit(record("bonus", "1"));
    live.flush();
    assert_eq!(sqlite(&path, "SELECT CAST(count(*) AS TEXT) FROM run_payload"), ["2"]);
    let row = sqlite(
        &path,
        "SELECT lower(hex(run_id)) || status || error_type || subject || started_at FROM run WHERE status = 'error'",
    );
    let expected = format!(
        "{}errorno_such_fielduser-7{}",
        failed.run_id.simple(),
        failed.started_at.as_micros()
    );
    assert_eq!(row, [expected]);
    let trace = "SELECT json_extract(trace, '$[1].id') FROM run JOIN run_payload USING (run_id) WHERE trace NOTNULL";
    assert_eq!(sqlite(&path, trace), ["n2"]);
    let fresh = "SELECT CAST(abs(inserted_at - started_at) < 60000000 AS TEXT) FROM run";
    assert_eq!(sqlite(&path, fresh), ["1", "1"]);
}

#[test]
fn the_file_and_those_beside_it_are_readable_for_their_owner_only() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    live.submit(record("bonus", "1"));
    live.flush();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?} has mode {mode:o}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    names.retain(|name| name != "obs.sqlite-ballast");
    assert_eq!(names, ["obs.sqlite", "obs.sqlite-shm", "obs.sqlite-wal"]);
}

#[test]
fn a_file_that_exists_keeps_the_mode_that_somebody_gave_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let live = Live::open(&sqlite_url(&path));
    live.submit(record("bonus", "1"));
    live.flush();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn the_file_is_set_up_as_measured() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    until("it is set up", || live.persister.state() == StoreState::Up);
    let setting =
        |name: &str| sqlite(&path, &format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"));
    assert_eq!(setting("page_size"), ["16384"]);
    assert_eq!(setting("journal_mode"), ["wal"]);
    // 2 is incremental.
    assert_eq!(setting("auto_vacuum"), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_written_again_adds_nothing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let mut store = StoreUrl::parse(&sqlite_url(&path)).unwrap().store();
    let mut rows: Vec<RunRecord> = (0..100).map(|_| record("bonus", "1")).collect();
    rows.extend((0..50).map(|_| failed("bonus")));
    rows.push(rows[0].clone());
    let batch: Arc<[RunRecord]> = rows.into();
    for _ in 0..3 {
        store.prepare().await.unwrap();
        store.write(Arc::clone(&batch)).await.unwrap();
        store.write(Arc::clone(&batch)).await.unwrap();
    }
    for table in ["run", "run_payload"] {
        assert_eq!(sqlite(&path, &format!("SELECT CAST(count(*) AS TEXT) FROM {table}")), ["150"]);
    }
}

#[test]
fn a_missing_folder_is_said_and_waited_for() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("later/obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    live.submit(record("bonus", "1"));
    until("it says what is wrong", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("later` does not exist: create it"), "{error}");
    fs::create_dir(path.parent().unwrap()).unwrap();
    live.flush();
    assert_eq!(sqlite(&path, "SELECT strategy_id FROM run"), ["bonus"]);
}

#[test]
fn a_file_that_somebody_else_is_to_make_is_waited_for_like_a_schema() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let url = StoreUrl::parse(&sqlite_url(&path)).unwrap();
    let live = Live::over(url.store_with(Migrations::External), PersistConfig::default());
    live.submit(record("bonus", "1"));
    until("it is down", || live.persister.state() == StoreState::Down);
    let error = live.persister.last_error().unwrap();
    assert!(error.contains(&format!("no file `{}`", path.display())), "{error}");
    assert!(error.contains("check the path; `obs migrate` makes the file"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");

    fs::write(&path, "").unwrap();
    until("the schema is missing", || {
        live.persister.last_error().is_some_and(|error| error.contains("the schema is missing"))
    });
    let other = Live::open(&sqlite_url(&path));
    until("somebody else has made it", || other.persister.state() == StoreState::Up);
    live.flush();
    assert_eq!(sqlite(&path, "SELECT strategy_id FROM run"), ["bonus"]);
}

#[test]
fn a_file_that_is_no_database_is_down_and_left_alone() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let text = "these are my notes, not a database\n".repeat(20);
    fs::write(&path, &text).unwrap();
    let live = Live::open(&sqlite_url(&path));
    until("it is down", || live.persister.state() == StoreState::Down);
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("file is not a database"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn several_writers_that_start_at_once_share_one_file() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let lives: Vec<_> = (0..3).map(|_| Live::open(&sqlite_url(&path))).collect();
    for live in &lives {
        (0..200).for_each(|_| live.submit(record("bonus", "1")));
    }
    lives.iter().for_each(Live::flush);
    assert_eq!(sqlite(&path, "SELECT CAST(count(*) AS TEXT) FROM run"), ["600"]);
    let applied = "SELECT CAST(count(*) AS TEXT) FROM __diesel_schema_migrations";
    assert_eq!(sqlite(&path, applied), [crate::support::downs("sqlite").len().to_string()]);
}

#[test]
fn rows_wait_while_somebody_else_holds_the_file() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let mut config = PersistConfig::default();
    config.write_timeout = LONG;
    let live = Live::over(StoreUrl::parse(&sqlite_url(&path)).unwrap().store(), config);
    until("it is set up", || live.persister.state() == StoreState::Up);
    let mut other = open_sqlite(&path);
    // Ours may be at its maintenance.
    other.batch_execute("BEGIN EXCLUSIVE").unwrap();
    (0..10).for_each(|_| live.submit(record("bonus", "1")));
    let waiting = live.persister.flush_blocking(std::time::Duration::from_millis(200));
    assert_eq!((waiting.persisted, waiting.left), (0, 10));
    other.batch_execute("COMMIT").unwrap();
    live.flush();
    assert_eq!(sqlite(&path, "SELECT CAST(count(*) AS TEXT) FROM run"), ["10"]);
}

#[test]
fn a_schema_that_is_newer_than_this_program_is_refused_until_it_is_not() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    until("it is set up", || live.persister.state() == StoreState::Up);
    drop(live);
    let mut other = open_sqlite(&path);
    other
        .batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('99999999999999')")
        .unwrap();
    let live = Live::open(&sqlite_url(&path));
    live.submit(record("bonus", "1"));
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("migration 99999999999999") && error.contains("upgrade"), "{error}");
    other
        .batch_execute("DELETE FROM __diesel_schema_migrations WHERE version = '99999999999999'")
        .unwrap();
    live.flush();
}

#[test]
fn migrations_can_be_undone_and_done_again() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    until("it is set up", || live.persister.state() == StoreState::Up);
    drop(live);
    let objects = "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE '%diesel%' AND name NOT LIKE 'sqlite_%' ORDER BY 1";
    let before = sqlite(&path, objects);
    assert!(before.contains(&"view run_stats_daily".to_owned()), "{before:?}");
    let mut other = open_sqlite(&path);
    for down in crate::support::downs("sqlite") {
        other.batch_execute(&down).unwrap();
    }
    assert_eq!(sqlite(&path, objects), [""; 0]);
    other.batch_execute("DELETE FROM __diesel_schema_migrations").unwrap();
    drop(other);
    let live = Live::open(&sqlite_url(&path));
    until("it is set up again", || live.persister.state() == StoreState::Up);
    assert_eq!(sqlite(&path, objects), before);
}
