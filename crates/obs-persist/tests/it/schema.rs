//! The Postgres schema: what a person finds with `psql`.

use obs_core::{Status, StoreState, testing::record};

use crate::support::{Live, count, database, downs, execute, full, postgres, try_postgres, until};

/// A fresh database with the schema.
fn schema() -> (String, Live) {
    let url = database();
    let live = Live::open(&url);
    until("the schema is there", || live.persister.state() == StoreState::Up);
    (url, live)
}

#[test]
fn nine_days_of_partitions_are_made_at_the_start() {
    let (url, _live) = schema();
    for table in ["run_ok", "run_ok_payload", "run_error", "run_error_payload", "audit"] {
        let days = postgres(
            &url,
            &format!(
                "SELECT to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') - (now() AT TIME ZONE 'UTC')::date \
                 FROM pg_inherits WHERE inhparent = 'obs.{table}'::regclass ORDER BY 1"
            ),
        );
        assert_eq!(days, ["-1", "0", "1", "2", "3", "4", "5", "6", "7"], "{table}");
    }
}

#[test]
fn partitions_have_the_keys_indexes_checks_and_compression_of_their_parents() {
    let (url, _live) = schema();
    let indexes = |table: &str| {
        postgres(
            &url,
            &format!(
                "SELECT regexp_replace(indexdef, '.* USING ', '') FROM pg_indexes \
                 WHERE schemaname = 'obs' AND tablename = '{table}' ORDER BY 1"
            ),
        )
    };
    let today = postgres(&url, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0].clone();
    let expected = [
        "brin (started_at)",
        "btree (realm, started_at)",
        "btree (run_id)",
        "btree (strategy_id, status, started_at)",
    ];
    assert_eq!(indexes("run_ok"), expected);
    assert_eq!(indexes(&format!("run_error_{today}")), expected);
    assert_eq!(indexes(&format!("run_error_payload_{today}")), ["btree (run_id)"]);
    let compressed = format!(
        "pg_attribute WHERE attrelid = 'obs.run_ok_payload_{today}'::regclass AND attcompression = 'l'"
    );
    assert_eq!(count(&url, &compressed), 3);
    let misfit = format!(
        "INSERT INTO obs.run_ok SELECT * FROM json_populate_record(NULL::obs.run_ok, '{{\"run_id\": \"{}\", \
         \"epoch\": \"{0}\", \"kind\": \"k\", \"strategy_id\": \"s\", \"strategy_version\": \"1\", \"status\": \"error\", \
         \"started_at\": \"2026-01-01\", \"finished_at\": \"2026-01-01\", \"duration_ns\": 1, \"nodes\": 0, \"slow\": false, \"slim\": false, \
         \"keep_reason\": \"first\", \"inclusion_probability\": 1, \"sample_rate\": 1, \"inserted_at\": \"2026-01-01\"}}')",
        record("x", "1").run_id
    );
    let error = try_postgres(&url, &misfit).unwrap_err();
    assert!(format!("{error:?}").contains("run_ok_status"), "{error:?}");
}

#[test]
fn every_table_view_and_column_of_a_view_has_a_comment() {
    let (url, _live) = schema();
    let bare = postgres(
        &url,
        "SELECT relname FROM pg_class WHERE relnamespace = 'obs'::regnamespace AND relkind IN ('p', 'v') \
         AND obj_description(oid, 'pg_class') IS NULL",
    );
    assert_eq!(bare, [""; 0]);
    let bare = postgres(
        &url,
        "SELECT attrelid::regclass, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid \
         WHERE relnamespace = 'obs'::regnamespace AND relkind = 'v' AND attnum > 0 \
         AND col_description(attrelid, attnum) IS NULL \
         AND attname NOT IN ('day', 'kind', 'realm', 'strategy_id', 'strategy_version', 'run_id', \
                             'started_at', 'finished_at', 'first_started_at', 'last_started_at')",
    );
    assert_eq!(bare, [""; 0]);
}

#[test]
fn a_bound_on_the_id_reads_only_the_days_that_matter() {
    let (url, _live) = schema();
    let plan = |from: &str| {
        let query = format!(
            "EXPLAIN ANALYZE SELECT * FROM obs.run WHERE run_id >= obs.uuidv7_floor({from})"
        );
        let plan = postgres(&url, &query);
        // A bitmap scan has a line for its table and one for its index.
        let scans =
            plan.iter().filter(|line| line.contains("Scan") && !line.contains("Bitmap Index Scan"));
        scans.filter(|line| !line.contains("never executed")).count()
    };
    assert_eq!(plan("'2020-01-01Z'"), 18);
    // Today is left and the seven days to come.
    assert_eq!(plan("now()"), 16);
    assert_eq!(
        plan("date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '7 days'"),
        2
    );
}

#[test]
fn the_floor_of_a_time_is_the_smallest_id_of_its_millisecond() {
    let (url, _live) = schema();
    let floors = postgres(
        &url,
        "SELECT obs.uuidv7_floor('1970-01-01Z'), obs.uuidv7_floor('2026-11-21 09:10:45.123Z'), obs.uuidv7_floor(NULL)",
    );
    assert_eq!(
        floors,
        ["00000000-0000-0000-0000-000000000000|01a1fd5f-5283-0000-0000-000000000000|-"]
    );
}

#[test]
fn a_search_path_of_the_users_is_not_asked() {
    let url = database();
    execute(&url, "CREATE SCHEMA evil; CREATE TABLE evil.run_ok (run_id uuid PRIMARY KEY)");
    execute(
        &url,
        &format!("ALTER DATABASE {} SET search_path = evil", crate::support::database_name(&url)),
    );
    let live = Live::open(&url);
    live.submit(full(Status::Ok));
    live.flush();
    assert_eq!((count(&url, "obs.run_ok"), count(&url, "evil.run_ok")), (1, 0));
    assert_eq!(
        count(&url, "pg_class WHERE relnamespace = 'evil'::regnamespace AND relkind = 'r'"),
        1
    );
}

#[test]
fn migrations_can_be_undone_and_done_again() {
    let (url, live) = schema();
    drop(live);
    let objects = "SELECT relkind::text || ' ' || relname FROM pg_class WHERE relnamespace = 'obs'::regnamespace \
                   AND relname NOT LIKE '%diesel%' ORDER BY 1";
    let before = postgres(&url, objects);
    assert!(before.contains(&"v run_stats_daily".to_owned()), "{before:?}");
    for down in downs("postgres") {
        execute(&url, &down);
    }
    assert_eq!(postgres(&url, objects), [""; 0]);
    execute(&url, "DELETE FROM obs.__diesel_schema_migrations");
    let live = Live::open(&url);
    live.submit(record("bonus", "1"));
    live.flush();
    assert_eq!(postgres(&url, objects), before);
}
