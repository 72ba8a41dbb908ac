//! Erasure by subject, in both stores: what goes, what stays, what does not come back.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use obs_core::{RunRecord, Status, StoreState, SubjectKey, Timestamp, testing::record};
use obs_persist::{
    ERASURE_GRACE, Erased, Erasure, Migrations, PersistConfig, StoreError, StoreUrl,
    quarantine::Quarantine, testing::MemoryStore,
};
use tempfile::tempdir;
use uuid::Uuid;

use crate::{
    roles::{as_role, set_up},
    support::{
        Live, Rig, SOON, count, database, execute, failed, full, postgres, sqlite, sqlite_url,
        try_postgres, until,
    },
};

fn erase(url: &str, erasure: &Erasure) -> Result<Erased, StoreError> {
    erase_with(url, erasure, |_| Ok(0))
}

fn erase_with(
    url: &str,
    erasure: &Erasure,
    files: impl FnOnce(&Erasure) -> Result<u64, StoreError>,
) -> Result<Erased, StoreError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut store = StoreUrl::parse(url).unwrap().store_with(Migrations::External);
        store.prepare().await?;
        obs_persist::erase(&mut *store, erasure, files).await
    })
}

fn of(subject: &str, mut record: RunRecord) -> RunRecord {
    record.subject = Some(subject.into());
    record
}

fn key() -> SubjectKey {
    SubjectKey::new(b"0123456789abcdef").unwrap()
}

/// A store, and how to ask it; `run` and `run_payload` have these names in both.
struct Place<'a> {
    url: &'a str,
    ask: &'a dyn Fn(&str) -> Vec<String>,
}

impl Place<'_> {
    fn count(&self, table: &str) -> usize {
        (self.ask)(&format!("SELECT CAST(count(*) AS TEXT) FROM {table}"))[0].parse().unwrap()
    }

    fn subjects(&self) -> Vec<String> {
        (self.ask)("SELECT DISTINCT coalesce(subject, '-') FROM run ORDER BY 1")
    }
}

fn in_postgres(test: impl FnOnce(&Place<'_>)) {
    let url = database();
    let ask = |query: &str| {
        let query = ["run_payload", "run ", "erasure", "erased"]
            .iter()
            .fold(format!("{query} "), |query, table| {
                query.replace(&format!("FROM {table}"), &format!("FROM obs.{table}"))
            });
        postgres(&url, &query)
    };
    test(&Place { url: &url, ask: &ask });
}

fn in_sqlite(test: impl FnOnce(&Place<'_>)) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let url = sqlite_url(&path);
    let ask = |query: &str| sqlite(&path, query);
    test(&Place { url: &url, ask: &ask });
}

fn what_is_of_a_subject_goes_and_does_not_come_back(place: &Place<'_>) {
    let hash = key().hash("user-7");
    let doomed: Vec<RunRecord> = [
        of("user-7", full(Status::Ok)),
        of("user-7", full(Status::Error)),
        of("user-7", record("cancelled", "1")),
        of(&hash, full(Status::Lost)),
    ]
    .into();
    let live = Live::open(place.url);
    doomed.iter().for_each(|one| live.submit(one.clone()));
    for other in ["user-77", "USER-7", "user-7 ", "user"] {
        live.submit(of(other, full(Status::Ok)));
    }
    live.submit(record("nobody's", "1"));
    live.flush();
    assert_eq!((place.count("run"), place.count("run_payload")), (9, 9));

    let erasure = Erasure::of("user-7").keyed(&key()).by("ticket 4711");
    let erased = erase_with(place.url, &erasure, |erasure| {
        assert_eq!(erasure.forms(), ["user-7", &hash]);
        Ok(3)
    })
    .unwrap();
    assert_eq!((erased.rows_ok, erased.rows_error), (2, 2));
    assert_eq!((erased.payloads, erased.files), (4, 3));
    let others = ["-", "USER-7", "user", "user-7 ", "user-77"];
    let mut left = place.subjects();
    left.sort();
    assert_eq!(left, others);
    assert_eq!((place.count("run"), place.count("run_payload")), (5, 5));

    // A late replay: from a spool, a quarantine, another process.
    let late = Live::open(place.url);
    doomed.iter().for_each(|one| late.submit(one.clone()));
    late.submit(of("user-7", record("just-now", "1")));
    late.submit(of("user-8", record("just-now", "1")));
    late.flush();
    live.submit(of("user-7", failed("same-connection")));
    live.flush();
    assert_eq!((place.count("run"), place.count("run_payload")), (6, 6));

    // Who comes back later is recorded again.
    live.submit(of("user-7", later(ERASURE_GRACE + Duration::from_secs(60))));
    live.flush();
    assert_eq!((place.count("run"), place.count("run_payload")), (7, 7));

    // What is left says how much and on whose word, and not whom.
    let audit = "SELECT erased_by || ' ' || rows_ok || ' ' || rows_error || ' ' || payloads || ' ' || files FROM erasure";
    assert_eq!((place.ask)(audit), ["ticket 4711 2 2 4 3"]);
    assert_eq!(erased.hashes.len(), 2);
    assert!(erased.hashes.iter().all(|hash| hash.len() == 64), "{erased:?}");
    assert_eq!(place.count("erased"), 2);
}

/// A run that begins so much later.
fn later(time: Duration) -> RunRecord {
    let mut record = record("later", "1");
    let micros = record.started_at.as_micros() + i64::try_from(time.as_micros()).unwrap();
    record.started_at = Timestamp::from_micros(micros);
    record.finished_at = record.started_at;
    record
}

#[test]
fn in_postgres_what_is_of_a_subject_goes_and_stays_away() {
    in_postgres(what_is_of_a_subject_goes_and_does_not_come_back);
}

#[test]
fn in_sqlite_what_is_of_a_subject_goes_and_stays_away() {
    in_sqlite(what_is_of_a_subject_goes_and_does_not_come_back);
}

fn is_forgotten_in_time(place: &Place<'_>, age: &dyn Fn()) {
    let live = Live::open(place.url);
    until("it is there", || live.persister.state() == StoreState::Up);
    erase(place.url, &Erasure::of("user-7")).unwrap();
    live.submit(of("user-7", record("late", "1")));
    live.flush();
    assert_eq!((place.count("run"), place.count("erased")), (0, 1));
    age();
    live.submit(of("user-7", record("after-400-days", "1")));
    live.flush();
    assert_eq!((place.count("run"), place.count("erased")), (1, 1));
    erase(place.url, &Erasure::of("user-8")).unwrap();
    assert_eq!(place.count("erased"), 1);
    let days = "SELECT CAST(CAST((CAST(forget_at AS INTEGER) - CAST(started_before AS INTEGER)) / 86400000000 AS INTEGER) AS TEXT) FROM erased";
    if place.url.starts_with("sqlite") {
        assert_eq!((place.ask)(days), ["399"]);
    }
}

#[test]
fn a_tombstone_is_bounded_in_age() {
    in_postgres(|place| {
        is_forgotten_in_time(place, &|| {
            execute(place.url, "UPDATE obs.erased SET forget_at = now()");
        });
        let days = "SELECT extract(day FROM forget_at - started_before) FROM erased";
        assert_eq!((place.ask)(days), ["399"]);
    });
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let (url, ask) = (sqlite_url(&path), |query: &str| sqlite(&path, query));
    is_forgotten_in_time(&Place { url: &url, ask: &ask }, &|| {
        sqlite(&path, "UPDATE erased SET forget_at = 1 RETURNING 'done'");
    });
}

#[test]
fn a_write_that_began_before_the_erasure_and_ends_after_it_leaves_nothing() {
    let url = database();
    let live = Live::open(&url);
    until("it is there", || live.persister.state() == StoreState::Up);
    let doomed = of("user-7", full(Status::Ok));
    let id = doomed.run_id;
    std::thread::scope(|scope| {
        // Whoever inserts the same id first makes the others wait for its end, in the midst of
        // their statement.
        let (go, hold) = std::sync::mpsc::sync_channel::<()>(0);
        let held = &url;
        let holder = scope.spawn(move || hold_id(held, id, &hold));
        until("the id is held", || {
            count(
                &url,
                "pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%hold_id%'",
            ) == 1
        });
        live.submit(doomed.clone());
        let live = &live;
        let flush = scope.spawn(move || live.flush());
        until("the write is under way", || {
            count(
                &url,
                "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%erased_runs%'",
            ) == 1
        });
        let eraser = scope.spawn(|| erase(&url, &Erasure::of("user-7")).unwrap());
        until("it waits for the write, or is done", || {
            eraser.is_finished()
                || count(
                    &url,
                    "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%IN SHARE MODE%'",
                ) == 1
        });
        go.send(()).unwrap();
        holder.join().unwrap();
        flush.join().unwrap();
        let erased = eraser.join().unwrap();
        assert_eq!((erased.rows_ok, erased.payloads), (1, 1), "{erased}");
    });
    assert_eq!((count(&url, "obs.run"), count(&url, "obs.run_payload")), (0, 0));
}

/// Inserts a row with this id, and undoes that when told.
fn hold_id(url: &str, id: Uuid, hold: &std::sync::mpsc::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let statement = format!(
            "BEGIN; INSERT INTO obs.run_ok (run_id, epoch, kind, strategy_id, strategy_version, status, started_at, \
             finished_at, duration_ns, nodes, slow, keep_reason, inclusion_probability, sample_rate) \
             VALUES ('{id}', '{id}', 'k', 'hold_id', '1', 'ok', now(), now(), 1, 1, false, 'first', 1, 1)"
        );
        client.batch_execute(&statement).await.unwrap();
        tokio::task::block_in_place(|| hold.recv().unwrap());
        client.batch_execute("ROLLBACK").await.unwrap();
        drop(client);
        driver.await.unwrap().unwrap();
    });
}

fn writers_leave_nothing_behind(place: &Place<'_>) {
    const WRITERS: usize = 3;
    let lives: Vec<_> = (0..WRITERS)
        .map(|_| {
            let mut config = PersistConfig::default();
            config.linger = SOON;
            config.batch_records = 20;
            config.write_timeout = Duration::from_secs(30);
            Live::over(StoreUrl::parse(place.url).unwrap().store(), config)
        })
        .collect();
    until("all are connected", || {
        lives.iter().all(|live| live.persister.state() == StoreState::Up)
    });
    let over = AtomicBool::new(false);
    let erased = std::thread::scope(|scope| {
        for live in &lives {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    live.submit(of("user-7", full(Status::Ok)));
                    live.submit(of("user-7", full(Status::Error)));
                    live.submit(of("user-8", record("other", "1")));
                    std::thread::park_timeout(Duration::from_micros(500));
                }
            });
        }
        // Errors come first, so rows of both classes are waited for.
        let written = |how: &str| place.count(&format!("run WHERE subject = 'user-7' AND {how}"));
        until("they write", || written("status = 'ok'") > 50 && written("status <> 'ok'") > 50);
        let erased = erase(place.url, &Erasure::of("user-7"));
        let others = place.count("run");
        until("they go on writing", || place.count("run") > others + 100);
        over.store(true, Ordering::Relaxed);
        erased
    });
    let erased = erased.unwrap();
    assert!(erased.rows_ok > 50 && erased.rows_error > 50, "{erased}");
    lives.iter().for_each(Live::flush);
    assert_eq!(place.subjects(), ["user-8"]);
    assert_eq!(place.count("run_payload"), place.count("run"));
}

#[test]
fn an_erasure_while_others_write_leaves_nothing_behind() {
    in_postgres(writers_leave_nothing_behind);
    in_sqlite(writers_leave_nothing_behind);
}

#[test]
fn more_rows_than_fit_one_transaction_go_and_their_bytes_with_them() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let live = Live::open(&sqlite_url(&path));
    for at in 0..2_500 {
        live.submit(of(if at % 5 == 0 { "user-8" } else { "secret-person-7" }, full(Status::Ok)));
        if at % 500 == 0 {
            live.flush();
        }
    }
    live.flush();
    drop(live);
    let holds_it = |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(15).any(|window| window == b"secret-person-7")
    };
    assert!(holds_it(&path));
    let erased = erase(&sqlite_url(&path), &Erasure::of("secret-person-7")).unwrap();
    assert_eq!((erased.rows_ok, erased.payloads), (2_000, 2_000));
    assert_eq!(sqlite(&path, "SELECT CAST(count(*) AS TEXT) FROM run"), ["500"]);
    let found = [&path, &path.with_extension("sqlite-wal")].map(|path| holds_it(path));
    assert_eq!(found, [false, false]);
}

#[test]
fn a_writer_heeds_tombstones_that_it_can_neither_read_nor_set() {
    let url = set_up();
    let writer = as_role(&url, "writer");
    erase(&as_role(&url, "owner"), &Erasure::of("user-7").by("ticket 1")).unwrap();
    let live = Live::over(
        StoreUrl::parse(&writer).unwrap().store_with(Migrations::External),
        PersistConfig::default(),
    );
    live.submit(of("user-7", full(Status::Ok)));
    live.submit(of("user-8", full(Status::Ok)));
    live.flush();
    assert_eq!(postgres(&url, "SELECT subject FROM obs.run"), ["user-8"]);
    for statement in [
        "SELECT * FROM obs.erased",
        "SELECT * FROM obs.erasure_salt",
        "SELECT * FROM obs.erasure",
        "SELECT obs.subject_hash('user-7')",
        "SELECT obs.bury('{user-8}', now(), now())",
        "SELECT * FROM obs.erase_from('ok', 'obs.run_ok', '{user-8}', 1)",
    ] {
        let error = try_postgres(&writer, statement).expect_err(statement);
        assert!(
            error.as_db_error().unwrap().message().contains("permission denied"),
            "{statement}"
        );
    }
    let error = erase(&writer, &Erasure::of("user-8")).unwrap_err();
    assert!(error.to_string().contains("use the role that owns the schema"), "{error}");
    assert_eq!(count(&url, "obs.run"), 1);
    let audit = postgres(&url, "SELECT erased_by, role LIKE '%owner' FROM obs.erasure");
    assert_eq!(audit, ["ticket 1|t"]);
}

#[test]
fn records_that_were_set_aside_go_too_in_whichever_form_they_name_the_subject() {
    let folder = tempdir().unwrap();
    let aside = Quarantine::at(folder.path().join("quarantine"));
    let store = MemoryStore::new();
    store.set_poison(Some("poison"));
    let rig = Rig::over(store, |config| {
        config.quarantine_dir = Some(aside.folder().to_owned());
    });
    for subject in ["user-7", &key().hash("user-7"), "user-8"] {
        rig.submit(of(subject, record("poison", "1")));
    }
    assert_eq!(rig.persister.flush_blocking(Duration::from_secs(30)).quarantined, 3);
    let url = sqlite_url(&folder.path().join("obs.sqlite"));
    let live = Live::open(&url);
    until("it is there", || live.persister.state() == StoreState::Up);
    let erasure = Erasure::of("user-7").keyed(&key());
    let erased = erase_with(&url, &erasure, |one| one.in_quarantine(&aside)).unwrap();
    assert_eq!(erased.files, 2);
    let left: Vec<_> = aside.list().unwrap().iter().map(|entry| entry.run_id).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(aside.show(left[0]).unwrap().record.subject.as_deref(), Some("user-8"));
}
