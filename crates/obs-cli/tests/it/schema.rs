//! `obs migrate` and `obs retention`, against real stores.

use std::{fs, path::Path, sync::Barrier, thread};

use obs_core::Status;

use crate::{
    erase::about,
    quarantine::file,
    support::{Operator, Said, count, database, is_soak, postgres},
};

/// A day that is long past, as our partitions of it are named and bounded.
const OLD_DAY: &str = "20200102";
const OLD_BOUNDS: (&str, &str) =
    ("016f638d-4400-0000-0000-000000000000", "016f68b3-a000-0000-0000-000000000000");

pub(crate) fn add_old_day(url: &str, table: &str) {
    let (first, next) = OLD_BOUNDS;
    postgres(
        url,
        &format!(
            "CREATE TABLE obs.{table}_{OLD_DAY} PARTITION OF obs.{table} FOR VALUES FROM ('{first}') TO ('{next}')"
        ),
    );
}

/// Whether that day of a table is still there.
pub(crate) fn exists(url: &str, table: &str) -> bool {
    postgres(url, &format!("SELECT to_regclass('obs.{table}_{OLD_DAY}') IS NOT NULL"))[0] == "t"
}

#[test]
fn migrate_makes_the_schema_once_however_often_it_is_called() {
    let url = database();
    let operator = Operator::new().with("OBS_STORE", &url);
    let first = operator.call(&["migrate"]);
    assert_eq!((first.code, &*first.err), (0, ""));
    let said = format!("{url}: the schema is up to date; there is room for 7 days ahead\n");
    assert_eq!(first.out, said);
    assert_eq!(count(&url, "obs.run"), 0);
    let applied = count(&url, "obs.__diesel_schema_migrations");
    assert!(applied > 0);

    let again = &operator.json(&["migrate"])[0];
    assert_eq!((&again["migrated"], &again["days_ahead"]), (&true.into(), &7.into()));
    assert_eq!(again["store"], url.as_str());
    assert_eq!(count(&url, "obs.__diesel_schema_migrations"), applied);
}

/// Processes that start together.
const AT_ONCE: usize = 8;

/// What so many processes say that migrate the same database at the same moment.
fn migrate_at_once(url: &str) -> Vec<Said> {
    let operator = Operator::new().with("OBS_STORE", url);
    let barrier = Barrier::new(AT_ONCE);
    thread::scope(|scope| {
        let call = || {
            barrier.wait();
            operator.call(&["migrate"])
        };
        let calls: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

/// What undoes each migration, and its version; newest first.
fn downs() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../obs-persist/migrations/postgres");
    let mut folders: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let down = |folder: &std::path::PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let version = name.split('_').next().unwrap().to_owned();
        (fs::read_to_string(folder.join("down.sql")).unwrap(), version)
    };
    folders.iter().rev().map(down).collect()
}

const VERSIONS: &str = "SELECT version FROM obs.__diesel_schema_migrations ORDER BY version";
const OBJECTS: &str = "SELECT relkind::text || ' ' || relname FROM pg_class WHERE relnamespace = 'obs'::regnamespace \
                       ORDER BY 1";

/// An empty database, and one of an older release.
#[test]
fn processes_that_migrate_at_once_all_find_one_whole_schema() {
    let (mut whole, downs) = (Vec::new(), downs());
    for round in 0..if is_soak() { 10 } else { 2 } {
        let url = database();
        for older in [false, true] {
            if older {
                for (down, version) in &downs[..2] {
                    postgres(&url, down);
                    let forget = format!(
                        "DELETE FROM obs.__diesel_schema_migrations WHERE version = '{version}'"
                    );
                    postgres(&url, &forget);
                }
                assert_ne!(postgres(&url, OBJECTS), whole);
            }
            for said in migrate_at_once(&url) {
                assert_eq!((said.code, &*said.err), (0, ""), "round {round}: {said:?}");
            }
            let objects = postgres(&url, OBJECTS);
            if whole.is_empty() {
                whole.clone_from(&objects);
            }
            assert_eq!(objects, whole, "round {round}");
            let versions: Vec<_> = downs.iter().rev().map(|(_, version)| version.clone()).collect();
            assert_eq!(postgres(&url, VERSIONS), versions, "each migration is done once");
        }
    }
}

/// Half a migration, which only somebody else's hands can leave: ours are one transaction.
#[test]
fn processes_that_migrate_at_once_leave_half_a_migration_as_it_is_and_say_what_to_do() {
    let (url, newest) = (database(), downs().remove(0));
    assert_eq!(Operator::new().with("OBS_STORE", &url).call(&["migrate"]).code, 0);
    let whole = postgres(&url, OBJECTS);
    let (down, version) = newest;
    postgres(
        &url,
        &format!("DELETE FROM obs.__diesel_schema_migrations WHERE version = '{version}'"),
    );
    for said in migrate_at_once(&url) {
        assert_eq!(said.code, 3, "{said:?}");
        for part in [&*version, "already exists", "half of a migration by hand: undo that"] {
            assert!(said.err.contains(part), "{part}: {said:?}");
        }
    }
    assert_eq!(postgres(&url, OBJECTS), whole, "nothing is changed");
    postgres(&url, &down);
    for said in migrate_at_once(&url) {
        assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    }
    assert_eq!(postgres(&url, OBJECTS), whole);

    postgres(&url, &down);
    let half = postgres(&url, OBJECTS);
    for said in migrate_at_once(&url) {
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains("a table of the schema is missing"), "{said:?}");
    }
    assert_eq!(postgres(&url, OBJECTS), half, "nothing is changed");
}

#[test]
fn migrate_fails_when_a_day_ahead_cannot_be_made_and_says_why() {
    let url = database();
    let operator = Operator::new().with("OBS_STORE", &url);
    operator.json(&["migrate"]);
    let in_two_days = "to_char((now() AT TIME ZONE 'UTC')::date + 2, 'YYYYMMDD')";
    postgres(
        &url,
        &format!(
            "DO $$ BEGIN EXECUTE 'DROP TABLE obs.run_ok_' || {in_two_days}; \
             EXECUTE 'CREATE TABLE obs.run_ok_' || {in_two_days} || ' (kept int)'; END $$"
        ),
    );
    let said = operator.call(&["migrate"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("days ahead are missing"), "{}", said.err);
    assert!(said.err.contains("already exists"), "{}", said.err);
}

#[test]
fn migrate_leaves_a_newer_schema_alone() {
    let url = database();
    let operator = Operator::new().with("OBS_STORE", &url);
    operator.json(&["migrate"]);
    postgres(&url, "INSERT INTO obs.__diesel_schema_migrations VALUES ('99999999999999')");
    let said = operator.call(&["migrate"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("upgrade this one"), "{}", said.err);
}

#[test]
fn migrate_makes_a_file_that_only_its_owner_reads() {
    let operator = Operator::new().with("OBS_STORE", "sqlite:./rows.sqlite");
    operator.json(&["migrate"]);
    let file = fs::metadata(operator.path("rows.sqlite")).unwrap();
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
    assert!(file.len() > 0);
}

#[test]
fn retention_drops_old_days_of_each_class_by_its_own_rule() {
    let url = database();
    let operator = Operator::new().with("OBS_STORE", &url).with("OBS_RETENTION_ERROR", "off");
    operator.json(&["migrate"]);
    for table in ["run_ok", "run_ok_payload", "run_error", "run_error_payload"] {
        add_old_day(&url, table);
    }
    let exists = |table| exists(&url, table);

    let done = &operator.json(&["retention"])[0];
    assert_eq!((&done["dropped"], &done["ok_days"]), (&1.into(), &30.into()), "{done}");
    assert!(done["error_days"].is_null(), "{done}");
    assert!(!exists("run_ok") && !exists("run_ok_payload"));
    assert!(exists("run_error") && exists("run_error_payload"));

    let said = operator.call(&["retention", "--error", "180"]);
    assert_eq!((said.code, &*said.err), (0, ""), "the command line wins over the variable");
    assert!(said.out.starts_with(&format!("{url}: 1 day of rows dropped")), "{}", said.out);
    assert!(!exists("run_error") && !exists("run_error_payload"));
}

#[test]
fn a_retention_that_is_none_is_refused_before_anything_is_dropped() {
    let operator =
        Operator::new().with("OBS_STORE", "sqlite:./x.sqlite").with("OBS_RETENTION_OK", "soon");
    let said = operator.call(&["retention"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("OBS_RETENTION_OK=\"soon\": not a number of days"), "{}", said.err);
    assert!(!operator.dir.path().join("x.sqlite").exists());
}

#[test]
fn retention_deletes_old_rows_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("obs.sqlite").display());
    assert_eq!(Operator::new().call(&["migrate", "--store", &url]).code, 0);
    let said = Operator::new().call(&["retention", "--store", &url]);
    assert!(said.out.starts_with(&format!("{url}: 0 rows deleted")), "{} {}", said.out, said.err);
}

#[test]
fn only_migrate_makes_a_file_and_a_path_with_a_mistake_is_named_by_all_others() {
    let operator = Operator::new().with("OBS_SPOOL_DIR", "./spool");
    file(&operator, &about("user-7", Status::Error), "no");
    let typo = ["--store", "sqlite:typo.sqlite"];
    for act in
        [&["retention"][..], &["erase", "--subject", "user-7"], &["quarantine", "retry", "--all"]]
    {
        let said = operator.call(&[act, &typo].concat());
        assert_eq!((said.code, &*said.out), (3, ""), "{act:?}: {said:?}");
        assert!(said.err.contains("no file `typo.sqlite`"), "{act:?}: {said:?}");
        assert!(said.err.contains("check the path; `obs migrate` makes the file"), "{said:?}");
        let names = fs::read_dir(operator.dir.path()).unwrap();
        let names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
        assert_eq!(names, ["spool"], "{act:?}");
    }
    assert_eq!(operator.json(&["quarantine", "list"]).len(), 1, "nothing was done");
    let said = operator.call(&["migrate", "--store", "sqlite:typo.sqlite"]);
    assert_eq!((said.code, &*said.err), (0, ""));
    let said = operator.call(&["retention", "--store", "sqlite:typo.sqlite"]);
    assert_eq!((said.code, &*said.err), (0, ""));
}
