//! The roles of docs/postgres.md, on a real server: its SQL is what is run here.

use obs_core::{
    Status, StoreState,
    testing::{audit_entry, record},
};
use obs_persist::{Migrations, PersistConfig, StoreUrl};

use crate::{
    retention::aged,
    support::{
        Live, count, database, database_name, execute, failed, full, postgres, try_postgres, until,
    },
};

const DOCUMENT: &str = include_str!("../../../../docs/postgres.md");

/// The statements of the document, block by block, with names that are this test's own.
fn documented(url: &str) -> Vec<String> {
    let name = database_name(url);
    let blocks = DOCUMENT.split("```sql\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let ours = |block: &str| {
        block
            .replace("DATABASE game", &format!("DATABASE {name}"))
            .replace("obs_", &format!("{name}_"))
    };
    blocks.map(ours).collect()
}

/// The address of the same database for another role.
pub(crate) fn as_role(url: &str, role: &str) -> String {
    let (_, host) = url.split_once('@').unwrap();
    format!("postgres://{}_{role}@{host}", database_name(url))
}

fn open(url: &str, migrations: Migrations) -> Live {
    Live::over(StoreUrl::parse(url).unwrap().store_with(migrations), PersistConfig::default())
}

/// A database that was set up as the document says.
pub(crate) fn set_up() -> String {
    let url = database();
    let blocks = documented(&url);
    execute(&url, &blocks[0]);
    let owner = open(&as_role(&url, "owner"), Migrations::AtStart);
    until("it is migrated", || owner.persister.state() == StoreState::Up);
    execute(&as_role(&url, "owner"), &blocks[1]);
    url
}

/// What the server says to a statement that it refuses.
fn refused(url: &str, statement: &str) -> String {
    let error = try_postgres(url, statement).expect_err(statement);
    error.as_db_error().unwrap_or_else(|| panic!("{statement}: {error}")).message().to_owned()
}

#[test]
fn the_documented_writer_writes_rows_and_may_do_nothing_else() {
    let url = set_up();
    let writer = as_role(&url, "writer");
    let live = open(&writer, Migrations::External);
    live.submit(record("bonus", "1"));
    live.submit(full(Status::Panicked));
    live.flush();
    assert_eq!((count(&url, "obs.run"), count(&url, "obs.run_payload")), (2, 2));
    // Ids are all that it sees.
    assert_eq!(count(&writer, "(SELECT run_id FROM obs.run_error) AS ids"), 1);
    let today = postgres(&url, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0].clone();
    let mut statements = vec![
        "SELECT subject FROM obs.run_ok".to_owned(),
        "SELECT input FROM obs.run_error_payload".to_owned(),
        "SELECT * FROM obs.run".to_owned(),
        "SELECT * FROM obs.run_payload".to_owned(),
        "SELECT * FROM obs.run_stats".to_owned(),
        "SELECT actor FROM obs.audit".to_owned(),
        "UPDATE obs.audit SET message = ''".to_owned(),
        "DELETE FROM obs.audit".to_owned(),
        format!("SELECT run_id FROM obs.run_ok_{today}"),
        format!("INSERT INTO obs.run_ok_{today} (run_id) VALUES (gen_random_uuid())"),
        "INSERT INTO obs.__diesel_schema_migrations (version) VALUES ('7')".to_owned(),
        "SELECT obs.drop_day('ok', current_date, now())".to_owned(),
        "CREATE TABLE obs.mine (x int)".to_owned(),
        "CREATE INDEX ON obs.run_ok (subject)".to_owned(),
        "ALTER TABLE obs.run_ok ADD COLUMN x int".to_owned(),
        "ALTER FUNCTION obs.make_day(date) OWNER TO CURRENT_USER".to_owned(),
        "CREATE OR REPLACE FUNCTION obs.day_bounds(day date) RETURNS text LANGUAGE sql RETURN 'x'"
            .to_owned(),
        "DROP SCHEMA obs CASCADE".to_owned(),
    ];
    for table in ["run_ok", "run_ok_payload", "run_error", "run_error_payload"] {
        statements.extend([
            format!("UPDATE obs.{table} SET run_id = run_id"),
            format!("DELETE FROM obs.{table}"),
            format!("TRUNCATE obs.{table}"),
            format!("DROP TABLE obs.{table}"),
            format!("BEGIN; LOCK TABLE obs.{table} IN ACCESS EXCLUSIVE MODE"),
        ]);
    }
    for statement in statements {
        let message = refused(&writer, &statement);
        let said = message.contains("permission denied") || message.contains("must be owner");
        assert!(said, "{statement}: {message}");
    }
    assert_eq!((count(&url, "obs.run"), count(&url, "obs.run_payload")), (2, 2));
}

#[test]
fn the_documented_writer_makes_its_days_but_no_more_than_ten_thousand_and_no_odd_ones() {
    let url = set_up();
    let writer = as_role(&url, "writer");
    let make = |day: &str| postgres(&writer, &format!("SELECT obs.make_day('{day}')")).remove(0);
    assert_eq!(make("2031-02-28"), "5");
    assert_eq!(make("2031-02-28"), "0");
    execute(&url, "DROP TABLE obs.run_error_20310228");
    assert_eq!(make("2031-02-28"), "1");
    assert_eq!(count(&url, "obs.run_error_20310228"), 0);
    for day in ["'1969-12-31'", "'10889-08-03'", "'infinity'", "NULL"] {
        let message = refused(&writer, &format!("SELECT obs.make_day({day})"));
        assert!(message.contains("no run can begin on"), "{message}");
    }
    // Without a path of its own, the function would look for days in a table of the caller's.
    let hijack = "CREATE TEMP TABLE pg_inherits (inhparent oid, inhrelid oid); \
                  SET search_path = pg_temp, pg_catalog; SELECT obs.make_day('2031-02-28')";
    assert_eq!(postgres(&writer, hijack).last().map(String::as_str), Some("0"));
    // The limit, lowered to be reached.
    let definition = "SELECT replace(pg_get_functiondef('obs.make_day(date)'::regprocedure), ':= 10000', ':= 11')";
    let lowered = postgres(&url, definition).remove(0);
    assert!(lowered.contains(":= 11"));
    execute(&url, &lowered);
    assert_eq!(make("2031-03-02"), "5");
    let message = refused(&writer, "SELECT obs.make_day('2031-03-03')");
    assert!(message.contains("drop old ones first"), "{message}");
}

#[test]
fn a_writer_that_may_make_no_days_says_so_and_goes_on_when_somebody_else_does() {
    let url = set_up();
    let role = format!("{}_writer", database_name(&url));
    execute(&url, &format!("REVOKE EXECUTE ON FUNCTION obs.make_day(date) FROM {role}"));
    let live = open(&as_role(&url, "writer"), Migrations::External);
    live.submit(record("bonus", "1"));
    live.flush();
    let today = postgres(&url, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0].clone();
    execute(&url, &format!("DROP TABLE obs.run_ok_{today}, obs.run_ok_payload_{today}"));
    drop(live);
    let live = open(&as_role(&url, "writer"), Migrations::External);
    live.submit(record("bonus", "2"));
    live.submit(failed("bonus"));
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(
        error.contains(&format!("no partitions for {today}"))
            && error.contains("GRANT EXECUTE ON FUNCTION obs.make_day(date)")
            && error.contains("obs migrate"),
        "{error}"
    );
    execute(&as_role(&url, "owner"), &documented(&url)[2]);
    live.flush();
    assert_eq!(count(&url, "obs.run"), 2);
}

#[test]
fn a_writer_that_may_make_no_days_writes_an_error_of_a_day_from_before_the_audit_trail() {
    const DAYS_AGO: i64 = 40;
    let url = set_up();
    let role = format!("{}_writer", database_name(&url));
    execute(&url, &format!("REVOKE EXECUTE ON FUNCTION obs.make_day(date) FROM {role}"));
    let day = format!("(now() AT TIME ZONE 'UTC')::date - {DAYS_AGO}");
    let name = postgres(&url, &format!("SELECT to_char({day}, 'YYYYMMDD')")).remove(0);
    execute(&url, &format!("SELECT obs.make_day({day}); DROP TABLE obs.audit_{name}"));
    let live = open(&as_role(&url, "writer"), Migrations::External);
    live.submit(aged(failed("old"), DAYS_AGO));
    live.flush();
    assert_eq!(count(&url, &format!("obs.run_error_{name}")), 1);
    // An entry of that day has nowhere to go until somebody makes its table.
    live.submit(aged(audit_entry("points", "assigned"), DAYS_AGO));
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains(&format!("no partitions for {name}")), "{error}");
    execute(&url, &format!("SELECT obs.make_day({day})"));
    live.flush();
    assert_eq!(count(&url, &format!("obs.audit_{name}")), 1);
}

#[test]
fn a_writer_that_may_make_no_days_writes_an_error_of_a_day_whose_ok_rows_were_dropped() {
    const DAYS_AGO: i64 = 40;
    let url = set_up();
    let role = format!("{}_writer", database_name(&url));
    execute(&url, &format!("REVOKE EXECUTE ON FUNCTION obs.make_day(date) FROM {role}"));
    let day = format!("(now() AT TIME ZONE 'UTC')::date - {DAYS_AGO}");
    let name = postgres(&url, &format!("SELECT to_char({day}, 'YYYYMMDD')")).remove(0);
    execute(&url, &format!("SELECT obs.make_day({day})"));
    execute(&url, &format!("DROP TABLE obs.run_ok_{name}, obs.run_ok_payload_{name}"));
    let live = open(&as_role(&url, "writer"), Migrations::External);
    live.submit(aged(failed("old"), DAYS_AGO));
    live.submit(record("bonus", "1"));
    live.flush();
    assert_eq!(count(&url, &format!("obs.run_error_{name}")), 1);
    assert_eq!(count(&url, "obs.run"), 2);
}

#[test]
fn a_program_that_shall_not_migrate_waits_until_somebody_else_did() {
    let url = database();
    execute(&url, &documented(&url)[0]);
    let live = open(&as_role(&url, "writer"), Migrations::External);
    live.submit(record("bonus", "1"));
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(error.contains("run `obs migrate`") && error.contains("told not to"), "{error}");
    assert_eq!(postgres(&url, "SELECT to_regnamespace('obs') IS NULL"), ["t"]);
    // Half a schema is none, either.
    let owner = open(&as_role(&url, "owner"), Migrations::AtStart);
    until("it is migrated", || owner.persister.state() == StoreState::Up);
    execute(&as_role(&url, "owner"), &documented(&url)[1]);
    live.flush();
    assert_eq!(count(&url, "obs.run"), 1);
}

#[test]
fn a_role_that_may_not_migrate_is_told_who_may() {
    let url = database();
    execute(&url, &documented(&url)[0]);
    let live = open(&as_role(&url, "writer"), Migrations::AtStart);
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    assert!(
        error.contains("run `obs migrate` as a role with CREATE")
            && error.contains("permission denied"),
        "{error}"
    );
}

#[test]
fn the_documented_reader_reads_figures_and_no_payload() {
    let url = set_up();
    execute(&url, &documented(&url)[3]);
    let live = open(&as_role(&url, "writer"), Migrations::External);
    live.submit(full(Status::Error));
    live.flush();
    let reader = as_role(&url, "reader");
    assert_eq!(
        postgres(&reader, "SELECT subject, error_type FROM obs.run"),
        ["user-7|no_such_field"]
    );
    assert_eq!(count(&reader, "obs.run_stats"), 1);
    for statement in ["SELECT input FROM obs.run_payload", "SELECT obs.make_day(current_date)"] {
        assert!(refused(&reader, statement).contains("permission denied"), "{statement}");
    }
}
