//! A sick Postgres is never taken for a poison record, and a poison record never for a sick one.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use obs_core::{Json, RunRecord, StoreState, Timestamp, testing::record};
use obs_persist::{Migrations, PersistConfig, Store, StoreUrl, quarantine::Quarantine};
use tempfile::TempDir;

use crate::{
    faults::{every, soak},
    proxy::Proxy,
    roles,
    support::{
        LONG, Live, count, database, database_name, execute, failed, full, open_sqlite, postgres,
        sqlite, sqlite_url, timed, until,
    },
};

/// A live persister with a quarantine.
struct Rig {
    live: Live,
    quarantine: Quarantine,
    _folder: TempDir,
}

fn rig(url: &str) -> Rig {
    over(StoreUrl::parse(url).unwrap().store())
}

fn over(store: Box<dyn Store>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let dir: PathBuf = folder.path().join("quarantine");
    let mut config = PersistConfig::default();
    config.quarantine_dir = Some(dir.clone());
    config.linger = Duration::from_millis(10);
    let live = Live::over(store, config);
    until("it is connected", || live.persister.state() == StoreState::Up);
    Rig { live, quarantine: Quarantine::at(dir), _folder: folder }
}

impl Rig {
    fn set_aside(&self) -> usize {
        self.quarantine.list().unwrap().len()
    }
}

type Spoil = fn(&mut RunRecord);

/// What sanitising keeps out of every record, and Postgres out of its tables.
const POISON: [(&str, Spoil); 5] = [
    ("NUL in a text", |row| row.subject = Some("a\0b".into())),
    ("NUL in an id", |row| row.strategy_id = "bo\0nus".into()),
    ("the year 7537 BC", |row| {
        row.started_at = Timestamp::from_micros(-300_000_000_000_000_000);
    }),
    ("70,000 brackets", |row| {
        let deep = format!("{}{}", "[".repeat(70_000), "]".repeat(70_000));
        row.trace = Some(Json::parse(&deep).unwrap());
    }),
    ("an id too long for an index", |row| {
        let mut chance = 1_u64;
        let noise: String = (0..20_000)
            .map(|_| {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'!' + u8::try_from(chance >> 33 & 63).unwrap())
            })
            .collect();
        row.strategy_id = noise.into();
    }),
];

#[test]
fn one_poison_record_in_a_hundred_is_set_aside_and_the_rest_is_written_within_a_second() {
    let url = database();
    let rig = rig(&url);
    for (round, (name, spoil)) in POISON.iter().enumerate() {
        (0..50).for_each(|_| rig.live.submit(full(obs_core::Status::Ok)));
        let mut poison = failed("bonus");
        spoil(&mut poison);
        rig.live.submit(poison);
        (0..49).for_each(|_| rig.live.submit(failed("bonus")));
        let (report, took) = timed(|| rig.live.persister.flush_blocking(LONG));
        assert!(report.complete, "{name}: {report}");
        let ledger = rig.live.test.obs().ledger();
        let quarantined = ledger.ok.quarantined + ledger.error.quarantined;
        assert_eq!((quarantined, report.dropped.total()), (round as u64 + 1, 0), "{name}");
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
        assert_eq!(count(&url, "obs.run"), 99 * (round + 1), "{name}");
        assert_eq!(rig.set_aside(), round + 1, "{name}");
    }
    rig.live.test.assert_balanced();
}

#[test]
fn what_postgres_takes_is_not_set_aside_however_odd_it_is() {
    let url = database();
    let rig = rig(&url);
    let mut odd = record("bonus", "1");
    odd.trace = Some(Json::parse(r#"["\u0000", "\ud800", 1e200000]"#).unwrap());
    odd.value = Some(f64::NAN);
    odd.input = Some(Json::parse(&format!("\"{}\"", "x".repeat(300_000))).unwrap());
    rig.live.submit(odd);
    rig.live.flush();
    assert_eq!((count(&url, "obs.run"), rig.set_aside()), (1, 0));
}

/// What breaks a schema, and what mends it.
const DRIFT: [(&str, &str, &str); 6] = [
    (
        "a table with another name",
        "ALTER TABLE obs.run_error RENAME TO gone",
        "ALTER TABLE obs.gone RENAME TO run_error",
    ),
    (
        "a payload table with another name",
        "ALTER TABLE obs.run_error_payload RENAME TO gone",
        "ALTER TABLE obs.gone RENAME TO run_error_payload",
    ),
    (
        "a column that is gone",
        "ALTER TABLE obs.run_error RENAME COLUMN error_node TO gone",
        "ALTER TABLE obs.run_error RENAME COLUMN gone TO error_node",
    ),
    (
        // The views hold the old one, so it steps aside.
        "a column of another type",
        "ALTER TABLE obs.run_error RENAME COLUMN error_node TO gone; ALTER TABLE obs.run_error ADD COLUMN error_node int",
        "ALTER TABLE obs.run_error DROP COLUMN error_node; ALTER TABLE obs.run_error RENAME COLUMN gone TO error_node",
    ),
    (
        "a rule that no record of this shape obeys",
        "ALTER TABLE obs.run_error ADD CONSTRAINT narrow CHECK (length(strategy_id) < 3) NOT VALID",
        "ALTER TABLE obs.run_error DROP CONSTRAINT narrow",
    ),
    (
        // Committed before the sessions end: who connects again in between would not be told.
        "a read-only database",
        "BEGIN; DO $$ BEGIN \
         EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$; COMMIT; \
         DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'obs-persist' \
         AND datname = current_database(); END $$",
        "BEGIN READ WRITE; DO $$ BEGIN \
         EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$; COMMIT",
    ),
];

#[test]
fn a_schema_that_drifts_under_load_loses_nothing_and_gets_nothing_set_aside() {
    for (name, break_it, mend_it) in DRIFT {
        let url = database();
        let rig = rig(&url);
        let broken = AtomicBool::new(true);
        let submitted = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut submitted = 0;
                while broken.load(Ordering::Relaxed) && submitted < 200 {
                    rig.live.submit(failed("bonus"));
                    submitted += 1;
                    std::thread::park_timeout(Duration::from_millis(5));
                }
                submitted
            });
            execute(&url, break_it);
            until(name, || rig.live.persister.last_error().is_some());
            until("a few more came", || rig.live.test.obs().ledger().error.in_queue > 50);
            execute(&url, mend_it);
            broken.store(false, Ordering::Relaxed);
            writer.join().unwrap()
        });
        let report = rig.live.persister.flush_blocking(LONG);
        assert!(report.complete, "{name}: {report} {:?}", rig.live.persister.last_error());
        assert_eq!((report.quarantined, report.dropped.total()), (0, 0), "{name}: {report}");
        assert_eq!(count(&url, "obs.run_error"), submitted, "{name}");
        assert_eq!(rig.set_aside(), 0, "{name}");
        rig.live.test.assert_balanced();
    }
}

#[test]
fn a_role_that_lost_its_right_to_insert_is_asked_about_once_a_second_and_nothing_is_set_aside() {
    let url = roles::set_up();
    let tables = "obs.run_ok, obs.run_ok_payload, obs.run_error, obs.run_error_payload";
    let role = format!("{}_writer", database_name(&url));
    let writer = roles::as_role(&url, "writer");
    // Each attempt is a connection of its own.
    let proxy = Proxy::before(&writer);
    let rig = over(StoreUrl::parse(&proxy.url(&writer)).unwrap().store_with(Migrations::External));
    rig.live.submit(failed("bonus"));
    rig.live.flush();

    execute(&url, &format!("REVOKE INSERT ON {tables} FROM {role}"));
    let (_, took) = timed(|| {
        rig.live.submit(failed("bonus"));
        rig.live.submit(record("bonus", "1"));
        until("it is down", || rig.live.persister.last_error().is_some());
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    let error = rig.live.persister.last_error().unwrap();
    assert!(error.contains("permission denied"), "{error}");
    let (seconds, before) = (if soak() { 10 } else { 4 }, proxy.accepted());
    every(Duration::from_millis(100), Duration::from_secs(seconds), || {
        rig.live.submit(failed("bonus"));
    });
    let attempts = proxy.accepted() - before;
    // The first ones come sooner.
    let most = usize::try_from(seconds).unwrap() + 5;
    assert!((3..=most).contains(&attempts), "{attempts} attempts in {seconds} s");
    rig.live.test.assert_balanced();

    execute(&url, &format!("GRANT INSERT ON {tables} TO {role}"));
    rig.live.flush();
    let ledger = rig.live.test.obs().ledger();
    assert_eq!((ledger.error.quarantined, ledger.ok.quarantined), (0, 0), "{ledger}");
    assert_eq!(count(&url, "obs.run") as u64, ledger.error.persisted + ledger.ok.persisted);
    assert_eq!(rig.set_aside(), 0);
}

#[test]
fn a_canary_is_never_seen() {
    let url = database();
    let rig = rig(&url);
    rig.live.submit(record("bo\0nus", "1"));
    rig.live.submit(full(obs_core::Status::Error));
    rig.live.flush();
    assert_eq!(rig.live.test.obs().ledger().ok.quarantined, 1);
    let tables = ["run_ok", "run_ok_payload", "run_error", "run_error_payload"]
        .map(|table| count(&url, &format!("obs.{table}")));
    assert_eq!(tables, [0, 0, 1, 1]);
    assert_eq!(postgres(&url, "SELECT strategy_version FROM obs.run"), ["3.1"]);
}

#[test]
fn sqlite_sets_aside_what_a_rule_of_the_file_refuses_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runs.db");
    let rig = rig(&sqlite_url(&file));
    sqlite(&file, "SELECT '' FROM run WHERE 0");
    let trigger = "CREATE TRIGGER no_refusal BEFORE INSERT ON run WHEN new.strategy_id = 'poison' \
                   BEGIN SELECT RAISE(ABORT, 'no poison here'); END";
    execute_sqlite(&file, trigger);
    (0..99).for_each(|_| rig.live.submit(full(obs_core::Status::Ok)));
    rig.live.submit(record("poison", "1"));
    rig.live.flush();
    let ledger = rig.live.test.obs().ledger();
    assert_eq!((ledger.ok.persisted, ledger.ok.quarantined), (99, 1), "{ledger}");
    assert_eq!(sqlite(&file, "SELECT CAST(count(*) AS TEXT) FROM run"), ["99"]);
    assert!(rig.quarantine.list().unwrap()[0].error.contains("no poison here"));
}

fn execute_sqlite(file: &std::path::Path, statement: &str) {
    use diesel::connection::SimpleConnection;
    open_sqlite(file).batch_execute(statement).unwrap();
}
