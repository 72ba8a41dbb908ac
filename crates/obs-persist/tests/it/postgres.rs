//! The Postgres store, against a real server.

use std::{sync::Arc, time::Duration};

use obs_core::{RunRecord, Status, StoreState, testing::record};
use obs_persist::{PersistConfig, Persister, StoreUrl};
use uuid::Uuid;

use crate::{
    support::{
        LONG, Live, count, database, database_name, execute, failed, full, postgres, sibling,
        timed, try_postgres, until,
    },
    worker::{lines, listen},
};

const OURS: &str = "application_name = 'obs-persist' AND datname = current_database()";

#[test]
fn rows_payloads_views_and_traces_are_really_there() {
    let url = database();
    let live = Live::open(&url);
    let error = full(Status::Timeout);
    live.submit(error.clone());
    live.submit(record("bonus", "1"));
    live.flush();
    let counts = ["run_ok", "run_ok_payload", "run_error", "run_error_payload"]
        .map(|table| count(&url, &format!("obs.{table}")));
    assert_eq!(counts, [1, 1, 1, 1]);
    assert_eq!((count(&url, "obs.run"), count(&url, "obs.run_payload")), (2, 2));
    let row = postgres(
        &url,
        "SELECT run_id, status, error_type, subject, value, (extract(epoch FROM started_at) * 1000000)::bigint, \
         duration_ns, inserted_at > now() - interval '1 minute' FROM obs.run WHERE status = 'timeout'",
    );
    let (id, started) = (error.run_id, error.started_at.as_micros());
    assert_eq!(row, [format!("{id}|timeout|no_such_field|user-7|12.5|{started}|3000000|t")]);
    let trace = "SELECT trace -> 1 ->> 'id', input ->> 'place', attributes ->> 'shard' \
                 FROM obs.run JOIN obs.run_payload USING (run_id) WHERE status = 'timeout'";
    assert_eq!(postgres(&url, trace), ["n2|Island \"x\"|3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_written_again_adds_nothing() {
    let url = tokio::task::spawn_blocking(database).await.unwrap();
    let mut store = StoreUrl::parse(&url).unwrap().store();
    let mut rows: Vec<RunRecord> = (0..150).map(|_| record("bonus", "1")).collect();
    rows.extend((0..50).map(|_| failed("bonus")));
    rows.push(rows[0].clone());
    let batch: Arc<[RunRecord]> = rows.into();
    for _ in 0..3 {
        store.prepare().await.unwrap();
        store.write(Arc::clone(&batch)).await.unwrap();
        store.write(Arc::clone(&batch)).await.unwrap();
    }
    let counts = tokio::task::spawn_blocking(move || {
        ["obs.run_ok", "obs.run_ok_payload", "obs.run_error", "obs.run_error_payload"]
            .map(|table| count(&url, table))
    });
    assert_eq!(counts.await.unwrap(), [150, 150, 50, 50]);
}

#[test]
fn a_batch_whose_connection_is_killed_midway_ends_with_exactly_its_rows() {
    let url = database();
    let live = Live::open(&url);
    until("it is connected", || live.persister.state() == StoreState::Up);
    for round in 1..=5 {
        std::thread::scope(|scope| {
            // Holds the table, so that the insert is under way when its backend dies.
            let holder = scope.spawn(|| {
                execute(&url, "BEGIN; LOCK TABLE obs.run_error_payload IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.7); COMMIT");
            });
            until("the table is held", || {
                count(
                    &url,
                    "pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'obs.run_error_payload'::regclass",
                ) == 1
            });
            (0..40).for_each(|_| live.submit(record("bonus", "1")));
            (0..40).for_each(|_| live.submit(failed("bonus")));
            let inserting = format!(
                "pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock' AND query LIKE '%run_error%'"
            );
            until("the insert waits", || count(&url, &inserting) == 1);
            assert_eq!(
                postgres(
                    &url,
                    &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}")
                ),
                ["t"]
            );
            holder.join().unwrap();
        });
        live.flush();
        assert_eq!(count(&url, "obs.run"), round * 80);
        assert_eq!(count(&url, "obs.run_payload"), round * 80);
    }
}

#[test]
fn backends_that_are_killed_again_and_again_lose_and_double_nothing() {
    let url = database();
    let mut config = PersistConfig::default();
    config.queue_records = 5_000;
    config.linger = Duration::from_millis(1);
    let live = Live::over(StoreUrl::parse(&url).unwrap().store(), config);
    until("it is connected", || live.persister.state() == StoreState::Up);
    for _ in 0..30 {
        (0..100).for_each(|_| live.submit(full(Status::Ok)));
        execute(
            &url,
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"),
        );
    }
    live.flush();
    assert_eq!((count(&url, "obs.run"), count(&url, "obs.run_payload")), (3_000, 3_000));
    assert_eq!(live.test.obs().ledger().ok.persisted, 3_000);
}

#[test]
fn a_database_that_comes_later_gets_every_row() {
    let existing = database();
    let name = format!("{}_later", database_name(&existing));
    let url = sibling(&existing, &name);
    let live = Live::open(&url);
    (0..300).for_each(|_| live.submit(record("bonus", "1")));
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("does not exist"), "{error}");
    execute(&existing, &format!("CREATE DATABASE {name}"));
    live.flush();
    assert_eq!(count(&url, "obs.run"), 300);
}

#[test]
fn three_processes_that_start_at_once_migrate_once() {
    listen();
    let url = database();
    let lives: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(|| Live::open(&url))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for live in &lives {
        live.submit(record("bonus", "1"));
        live.flush();
    }
    assert_eq!(count(&url, "obs.run"), 3);
    assert_eq!(
        count(&url, "obs.__diesel_schema_migrations"),
        crate::support::downs("postgres").len()
    );
    assert_eq!(count(&url, "pg_inherits WHERE inhparent = 'obs.run_ok'::regclass"), 9);
    // Nobody failed and came back: the lock kept them apart.
    let down: Vec<_> =
        lines(database_name(&url)).into_iter().filter(|line| line.contains("is down")).collect();
    assert!(down.is_empty(), "{down:?}");
}

#[test]
fn an_id_outside_of_the_made_days_gets_its_partition_on_demand() {
    let url = database();
    let live = Live::open(&url);
    until("it is connected", || live.persister.state() == StoreState::Up);
    let with_id = |id: u128, mut record: RunRecord| {
        record.run_id = Uuid::from_u128(id);
        record
    };
    let day = |days: u128| (days * 86_400_000) << 80 | 0x7000_8000_0000_0000_0000;
    live.submit(with_id(day(18_262) | 1, record("new-year-2020", "1")));
    live.submit(with_id(day(30_000) | 2, failed("far-future")));
    // No UUIDv7 at all: its time is nonsense, and it must not hold anybody up.
    live.submit(with_id(u128::MAX, record("odd", "1")));
    live.submit(with_id(0, record("nil", "1")));
    live.submit(record("today", "1"));
    live.flush();
    assert_eq!(count(&url, "obs.run"), 5);
    assert_eq!(postgres(&url, "SELECT strategy_id FROM obs.run_ok_20200101"), ["new-year-2020"]);
    assert_eq!(postgres(&url, "SELECT strategy_id FROM obs.run_ok_19700101"), ["nil"]);
    assert_eq!(postgres(&url, "SELECT strategy_id FROM obs.run_ok_108890802"), ["odd"]);
    assert_eq!(count(&url, "obs.run_error_20520220"), 1);
}

#[test]
fn a_partition_that_was_dropped_meanwhile_is_made_again() {
    let url = database();
    let live = Live::open(&url);
    live.submit(record("bonus", "1"));
    live.flush();
    let today = postgres(&url, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0].clone();
    execute(&url, &format!("DROP TABLE obs.run_ok_{today}"));
    live.submit(record("bonus", "2"));
    live.flush();
    assert_eq!(postgres(&url, "SELECT strategy_version FROM obs.run"), ["2"]);
}

#[test]
fn a_reader_of_long_queries_does_not_keep_a_new_day_from_being_made() {
    let url = database();
    let live = Live::open(&url);
    until("it is connected", || live.persister.state() == StoreState::Up);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            execute(&url, "BEGIN; SELECT count(*) FROM obs.run; SELECT pg_sleep(3); COMMIT");
        });
        until("it reads", || {
            count(&url, "pg_stat_activity WHERE query LIKE '%pg_sleep(3)%' AND state = 'active'")
                == 2
        });
        let mut old = record("old", "1");
        old.run_id = Uuid::from_u128((18_262_u128 * 86_400_000) << 80);
        live.submit(old);
        let ((), took) = timed(|| live.flush());
        assert!(took < Duration::from_secs(2), "{took:?}");
        reader.join().unwrap();
    });
}

#[test]
fn a_frozen_backend_is_given_up_by_the_deadline() {
    let url = database();
    let mut config = PersistConfig::default();
    config.write_timeout = Duration::from_millis(300);
    let live = Live::over(StoreUrl::parse(&url).unwrap().store(), config);
    until("it is connected", || live.persister.state() == StoreState::Up);
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            execute(
                &url,
                "BEGIN; LOCK TABLE obs.run_ok IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(1); COMMIT",
            );
        });
        until("the table is held", || {
            count(
                &url,
                "pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'obs.run_ok'::regclass",
            ) == 1
        });
        (0..20).for_each(|_| live.submit(record("bonus", "1")));
        until("the write is given up", || {
            live.persister.last_error().is_some_and(|error| error.contains("longer than 300ms"))
        });
        holder.join().unwrap();
    });
    live.flush();
    assert_eq!(count(&url, "obs.run"), 20);
}

#[test]
fn a_table_that_is_missing_for_a_while_costs_nothing() {
    let url = database();
    let live = Live::open(&url);
    live.submit(record("bonus", "1"));
    live.flush();
    execute(&url, "ALTER TABLE obs.run_ok_payload RENAME TO away");
    (0..50).for_each(|_| live.submit(record("bonus", "1")));
    until("it is down", || live.persister.state() == StoreState::Down);
    execute(&url, "ALTER TABLE obs.away RENAME TO run_ok_payload");
    live.flush();
    assert_eq!((count(&url, "obs.run"), count(&url, "obs.run_payload")), (51, 51));
}

#[test]
fn a_role_that_may_insert_and_see_ids_is_enough_once_the_schema_is_there() {
    let url = database();
    drop(prepared(&url));
    let role = format!("{}_writer", database_name(&url));
    execute(
        &url,
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA obs TO {role}; \
             GRANT INSERT, SELECT (run_id) ON obs.run_ok, obs.run_ok_payload, obs.run_error, obs.run_error_payload TO {role}"
        ),
    );
    let (_, host) = url.split_once('@').unwrap();
    let as_writer = format!("postgres://{role}@{host}");
    let live = Live::open(&as_writer);
    live.submit(record("bonus", "1"));
    live.submit(full(Status::Panicked));
    live.flush();
    assert_eq!(count(&url, "obs.run_payload"), 2);
    assert!(try_postgres(&as_writer, "SELECT input FROM obs.run_ok_payload").is_err());
}

#[test]
fn a_schema_that_is_newer_than_this_program_is_refused_until_it_is_not() {
    let url = database();
    drop(prepared(&url));
    execute(&url, "INSERT INTO obs.__diesel_schema_migrations (version) VALUES ('99999999999999')");
    let live = Live::open(&url);
    live.submit(record("bonus", "1"));
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("migration 99999999999999") && error.contains("upgrade"), "{error}");
    execute(&url, "DELETE FROM obs.__diesel_schema_migrations WHERE version = '99999999999999'");
    live.flush();
}

#[test]
fn no_password_is_said_when_a_server_cannot_be_reached() {
    listen();
    let url = StoreUrl::parse("postgres://nobody:hunter2@127.0.0.1:1/nowhere").unwrap();
    let live = Live::over(url.store(), PersistConfig::default());
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("cannot connect") && error.contains("refused"), "{error}");
    until("it is said", || !lines("nobody@127.0.0.1:1/nowhere").is_empty());
    let shown = format!("{error} {:?} {:?} {:?}", lines("nobody@"), live.persister, live.sink);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(live.persister.shutdown_blocking(LONG).complete);
}

#[test]
fn plaintext_to_another_machine_is_warned_of_once() {
    listen();
    // Loopback in a form that is not known as such.
    let url = "postgres://plain:hunter2@[::ffff:127.0.0.1]:1/nowhere?sslmode=disable";
    let live = Live::open(url);
    until("it is down", || live.persister.last_error().is_some());
    live.submit(record("bonus", "1"));
    let _ = live.persister.flush_blocking(Duration::from_millis(300));
    let said: Vec<_> =
        lines("plain@").into_iter().filter(|line| line.contains("unencrypted")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    live.persister.shutdown_blocking(Duration::ZERO);
}

/// A persister that has made the schema.
fn prepared(url: &str) -> Persister {
    let live = Live::open(url);
    until("the schema is there", || live.persister.state() == StoreState::Up);
    live.persister
}
