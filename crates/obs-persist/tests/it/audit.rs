//! The audit trail, from the call to the row: in both stores, whatever happens to them.

use std::{path::Path, sync::Arc, time::Duration};

use diesel::connection::SimpleConnection;
use obs_core::{
    Ack, AuditLevel, CorrelationId, Json, KeepPolicy, Obs, Rate, RunRecord, StoreMetrics,
    StoreState,
    testing::{assert_balanced, audit_entry, record},
};
use obs_persist::{
    Erasure, Migrations, PersistConfig, Persister, Room, SpoolDir, Store, StoreUrl, Stored,
    Unsettled, quarantine::Quarantine, testing::MemoryStore,
};
use opentelemetry::Context;
use serde_json::json;
use tempfile::tempdir;

use crate::{
    retention::aged,
    roles,
    support::{
        LONG, Live, SOON, count, database, database_name, execute, failed, open_sqlite, postgres,
        sqlite, sqlite_url, try_postgres, until,
    },
};

/// What a row says of an entry, in both stores.
const ROW: &str = "module || '|' || level || '|' || message || '|' || coalesce(CAST(details AS TEXT), '-') || '|' || \
                   coalesce(actor, '-') || '|' || coalesce(correlation_id, '-') || '|' || coalesce(trace_id, '-')";

/// A store, and how to ask it.
struct Place<'a> {
    url: &'a str,
    ask: &'a dyn Fn(&str) -> Vec<String>,
    /// The tables of runs and entries.
    run: &'static str,
    audit: &'static str,
}

impl Place<'_> {
    fn count(&self, table: &str) -> usize {
        (self.ask)(&format!("SELECT CAST(count(*) AS TEXT) FROM {table}"))[0].parse().unwrap()
    }

    fn rows(&self) -> Vec<String> {
        (self.ask)(&format!("SELECT {ROW} FROM {} ORDER BY audit_id", self.audit))
    }
}

fn in_both_stores(test: impl Fn(&Place<'_>)) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let ask = |query: &str| sqlite(&path, query);
    test(&Place { url: &sqlite_url(&path), ask: &ask, run: "run", audit: "audit" });
    let url = database();
    let ask = |query: &str| postgres(&url, query);
    test(&Place { url: &url, ask: &ask, run: "obs.run", audit: "obs.audit" });
}

/// An application's worth of telemetry over a store.
struct App {
    obs: Obs,
    persister: Persister,
}

impl App {
    fn over(store: Box<dyn Store>, config: PersistConfig, policy: KeepPolicy) -> Self {
        let persister = Persister::start(config, store, StoreMetrics::default()).unwrap();
        let mut builder = Obs::builder().sink(persister.sink()).policy(policy).current_run(true);
        if let Some(page) = persister.ledger_page() {
            builder = builder.ledger_page(page);
        }
        Self { obs: builder.build().unwrap(), persister }
    }

    fn at(url: &str) -> Self {
        let never = Rate::new(0.0).unwrap();
        let policy = KeepPolicy { ok_rate: never, first: 0, slow: None, ..KeepPolicy::default() };
        Self::over(StoreUrl::parse(url).unwrap().store(), PersistConfig::default(), policy)
    }

    fn flush(&self) {
        let report = self.persister.flush_blocking(LONG);
        assert!(report.complete, "{report}; {:?}", self.persister.last_error());
        assert_eq!(report.dropped.total(), 0, "{report}");
        assert_balanced(&self.obs);
    }
}

fn with_spool(folder: &Path) -> PersistConfig {
    let mut config = PersistConfig::default();
    config.spool_dir = Some(SpoolDir::Given(folder.join("spool")));
    config.linger = SOON;
    config
}

fn of(actor: &str) -> RunRecord {
    let mut entry = audit_entry("points", "points assigned");
    entry.subject = Some(actor.into());
    entry
}

#[test]
fn an_entry_becomes_a_row_that_says_who_did_what_in_which_request_and_no_run() {
    in_both_stores(|place| {
        let app = App::at(place.url);
        let request = Context::new().with_value(CorrelationId::new("4b0c1f")).attach();
        let audit = app.obs.audit("points").actor("key-7f3a");
        audit.info("assigning points", &());
        audit.success("points \"assigned\"", &json!({"points": 12, "token": "t0p"}));
        drop(request);
        app.obs.audit("keys").error("no such key", &());
        app.flush();
        assert_eq!(
            place.rows(),
            [
                "points|info|assigning points|-|key-7f3a|4b0c1f|-",
                "points|success|points \"assigned\"|{\"points\":12,\"token\":\"[redacted]\"}|key-7f3a|4b0c1f|-",
                "keys|error|no such key|-|-|-|-",
            ]
        );
        assert_eq!(place.count(place.run), 0);
        let ledger = app.obs.ledger();
        assert_eq!((ledger.audit, ledger.error.persisted, ledger.runs.finished), (3, 3, 0));
    });
}

#[test]
fn a_row_names_the_run_that_it_was_written_in_and_carries_its_trace() {
    in_both_stores(|place| {
        let app = App::at(place.url);
        let audit = app.obs.audit("points");
        let strategy = app.obs.kind("dsl").lookup("bonus", "3");
        let failed: Result<(), String> = strategy.observe(&(), |_| {
            audit.warn("inside", &());
            Err("no".to_owned())
        });
        failed.unwrap_err();
        app.flush();
        let same = format!(
            "{} AS entry JOIN {} AS run ON run.run_id = entry.run_id AND run.trace_id = entry.trace_id",
            place.audit, place.run
        );
        assert_eq!(place.count(&same), 1);
    });
}

#[test]
fn no_rate_thins_out_entries_and_no_storm_makes_them_slim() {
    const ENTRIES: usize = 2_000;
    in_both_stores(|place| {
        let app = App::at(place.url);
        let audit = app.obs.audit("points");
        let strategy = app.obs.kind("dsl").lookup("bonus", "3");
        for _ in 0..ENTRIES {
            audit.error("the same again", &json!({"n": 1}));
            let _: Result<(), String> = strategy.observe(&(), |_| Ok(()));
            assert_eq!(app.persister.wait_for_room(LONG), Room::Free);
        }
        app.flush();
        let whole = format!("{} WHERE details IS NOT NULL", place.audit);
        assert_eq!((place.count(&whole), place.count(place.run)), (ENTRIES, 0));
    });
}

#[test]
fn entries_that_are_written_again_add_nothing_and_are_known_as_rows() {
    in_both_stores(|place| {
        let batch: Arc<[RunRecord]> =
            [of("a"), record("bonus", "1"), of("b"), failed("bonus")].into();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut store = StoreUrl::parse(place.url).unwrap().store();
            store.prepare().await.unwrap();
            store.write(Arc::clone(&batch)).await.unwrap();
            store.write(Arc::clone(&batch)).await.unwrap();
            let ids: Vec<_> = batch.iter().map(|one| one.run_id).collect();
            let asked = ids.iter().copied().chain([of("c").run_id]);
            let stored = store.stored(&Unsettled::of(asked, [])).await.unwrap();
            assert_eq!(stored, Stored::Rows(ids.into_iter().collect()));
        });
        drop(runtime);
        assert_eq!((place.count(place.audit), place.count(place.run)), (2, 2));
    });
}

#[test]
fn the_largest_entry_and_a_batch_of_thousands_fit() {
    in_both_stores(|place| {
        let mut largest = of(&"a".repeat(256));
        largest.error_message = Some("m".repeat(4 << 10).into());
        largest.attributes = Json::parse(&format!("\"{}\"", "d".repeat((16 << 10) - 2))).ok();
        let batch: Arc<[RunRecord]> = (0..3_000).map(|_| of("user-7")).chain([largest]).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut store = StoreUrl::parse(place.url).unwrap().store();
            store.prepare().await.unwrap();
            store.write(batch).await.unwrap();
        });
        drop(runtime);
        assert_eq!(place.count(place.audit), 3_001);
        let whole = "length(message) = 4096 AND length(CAST(details AS TEXT)) = 16384 AND length(actor) = 256";
        assert_eq!(place.count(&format!("{} WHERE {whole}", place.audit)), 1);
    });
}

#[test]
fn entries_that_the_store_did_not_take_outlive_the_process_and_arrive_with_the_next_one() {
    const ENTRIES: usize = 700;
    let folder = tempdir().unwrap();
    let store = MemoryStore::new();
    store.set_down(true);
    let policy = KeepPolicy::default();
    let app = App::over(Box::new(store), with_spool(folder.path()), policy);
    let audit = app.obs.audit("points").actor("key-7f3a");
    for number in 0..ENTRIES {
        assert_eq!(audit.success("points assigned", &json!({"number": number})), Ack::Os);
    }
    let report = app.persister.shutdown_blocking(Duration::from_millis(50));
    assert_eq!((report.spooled, report.dropped.total()), (ENTRIES as u64, 0), "{report}");
    drop((audit, app));

    let path = folder.path().join("obs.sqlite");
    let store = StoreUrl::parse(&sqlite_url(&path)).unwrap().store();
    let next = App::over(store, with_spool(folder.path()), policy);
    until("all are adopted", || next.obs.ledger().error.persisted == ENTRIES as u64);
    let numbers = "SELECT CAST(count(DISTINCT json_extract(details, '$.number')) AS TEXT) FROM audit \
                   WHERE actor = 'key-7f3a' AND level = 'success'";
    assert_eq!(sqlite(&path, numbers), [ENTRIES.to_string()]);
    let ledger = next.obs.ledger();
    assert_eq!((ledger.error.adopted, ledger.audit, ledger.error.dropped.total()), (700, 0, 0));
    assert_balanced(&next.obs);
}

#[test]
fn whoever_writes_an_entry_waits_for_no_store() {
    let folder = tempdir().unwrap();
    let store = MemoryStore::new();
    store.set_unreachable(true);
    let app = App::over(Box::new(store), with_spool(folder.path()), KeepPolicy::default());
    let audit = app.obs.audit("points");
    let acks: Vec<Ack> = (0..5_000).map(|_| audit.info("x", &())).collect();
    assert!(acks.iter().all(|ack| *ack == Ack::Os), "{:?}", acks.last());
    assert_eq!(app.obs.ledger().error.spooled, 5_000);
}

/// A spoilt entry, as no call of the API makes it.
fn poison() -> RunRecord {
    let mut poison = of("poison");
    poison.error_message = Some("a\0b".into());
    poison
}

#[test]
fn an_entry_that_postgres_does_not_take_is_set_aside_and_the_others_are_written() {
    let url = database();
    let folder = tempdir().unwrap();
    let dir = folder.path().join("quarantine");
    let mut config = PersistConfig::default();
    config.quarantine_dir = Some(dir.clone());
    let live = Live::over(StoreUrl::parse(&url).unwrap().store(), config);
    (0..50).for_each(|_| live.submit(of("user-7")));
    live.submit(poison());
    (0..49).for_each(|_| live.submit(failed("bonus")));
    live.flush();
    assert_eq!((count(&url, "obs.audit"), count(&url, "obs.run")), (50, 49));
    let quarantine = Quarantine::at(dir);
    let entries = quarantine.list().unwrap();
    assert_eq!(entries.len(), 1);
    let suspect = quarantine.show(entries[0].run_id).unwrap();
    assert_eq!(suspect.record.audit, Some(AuditLevel::Success));
    assert_eq!(live.test.obs().ledger().error.quarantined, 1);
}

#[test]
fn an_entry_that_a_file_does_not_take_is_set_aside_and_the_others_are_written() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("obs.sqlite");
    let dir = folder.path().join("quarantine");
    let mut config = PersistConfig::default();
    config.quarantine_dir = Some(dir.clone());
    let live = Live::over(StoreUrl::parse(&sqlite_url(&path)).unwrap().store(), config);
    live.submit(of("user-7"));
    live.flush();
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON audit WHEN new.module = 'poison' \
                   BEGIN SELECT RAISE(FAIL, 'no poison'); END";
    open_sqlite(&path).batch_execute(trigger).unwrap();
    (0..20).for_each(|_| live.submit(of("user-7")));
    live.submit(audit_entry("poison", "x"));
    (0..20).for_each(|_| live.submit(failed("bonus")));
    live.flush();
    assert_eq!(sqlite(&path, "SELECT CAST(count(*) AS TEXT) FROM audit"), ["21"]);
    assert_eq!(sqlite(&path, "SELECT CAST(count(*) AS TEXT) FROM run"), ["20"]);
    assert_eq!(Quarantine::at(dir).list().unwrap().len(), 1);
}

#[test]
fn what_an_actor_did_goes_with_the_subject_and_does_not_come_back() {
    in_both_stores(|place| {
        let live = Live::open(place.url);
        let doomed: Vec<RunRecord> = (0..30).map(|_| of("user-7")).collect();
        doomed.iter().for_each(|one| live.submit(one.clone()));
        let mut run = failed("bonus");
        run.subject = Some("user-7".into());
        live.submit(run);
        live.submit(of("user-77"));
        live.submit(audit_entry("points", "nobody's"));
        live.flush();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let erased = runtime.block_on(async {
            let mut store = StoreUrl::parse(place.url).unwrap().store_with(Migrations::External);
            store.prepare().await.unwrap();
            obs_persist::erase(&mut *store, &Erasure::of("user-7"), |_| Ok(0)).await.unwrap()
        });
        assert_eq!((erased.audit, erased.rows_error, erased.rows_ok), (30, 1, 0), "{erased}");
        assert_eq!((place.count(place.audit), place.count(place.run)), (2, 0));
        // A late replay, from a spool or a quarantine.
        doomed.iter().for_each(|one| live.submit(one.clone()));
        live.submit(of("user-8"));
        live.flush();
        assert_eq!(place.count(place.audit), 3);
        let erasure = place.audit.replace("audit", "erasure");
        let noted = (place.ask)(&format!("SELECT CAST(audit AS TEXT) FROM {erasure}"));
        assert_eq!(noted, ["30"]);
    });
}

#[test]
fn entries_are_kept_as_long_as_errors_are() {
    in_both_stores(|place| {
        let mut config = PersistConfig::default();
        (config.retention_ok, config.retention_error) = (None, None);
        let forever = Live::over(StoreUrl::parse(place.url).unwrap().store(), config);
        // Half a day from the edge of a day, which goes as a whole in Postgres.
        for days_ago in [0, 5, 100, 178, 183, 400] {
            forever.submit(aged(of("user-7"), days_ago));
        }
        forever.flush();
        assert_eq!(place.count(place.audit), 6);
        drop(forever);
        let live = Live::open(place.url);
        until("old ones are gone", || place.count(place.audit) == 4);
        live.submit(of("user-7"));
        live.flush();
        assert_eq!(place.count(place.audit), 5);
    });
}

#[test]
fn the_documented_writer_writes_entries_and_cannot_read_them() {
    let url = roles::set_up();
    let writer = roles::as_role(&url, "writer");
    let store = StoreUrl::parse(&writer).unwrap().store_with(Migrations::External);
    let live = Live::over(store, PersistConfig::default());
    live.submit(of("user-7"));
    live.flush();
    assert_eq!(count(&url, "obs.audit"), 1);
    let peeked = try_postgres(&writer, "SELECT message FROM obs.audit");
    assert!(format!("{:?}", peeked.unwrap_err()).contains("permission denied"));
}

#[test]
fn a_writer_from_before_the_audit_trail_may_write_entries_after_the_migration() {
    let url = roles::set_up();
    execute(&url, include_str!("../../migrations/postgres/00000000000009_audit/down.sql"));
    let last = "DELETE FROM obs.__diesel_schema_migrations WHERE version = (SELECT max(version) FROM obs.__diesel_schema_migrations)";
    execute(&url, last);
    let may = |role: &str, right: &str| {
        let role = format!("{}_{role}", database_name(&url));
        postgres(&url, &format!("SELECT has_table_privilege('{role}', 'obs.audit', '{right}')"))[0]
            == "t"
    };
    let owner = roles::as_role(&url, "owner");
    let owner = StoreUrl::parse(&owner).unwrap().store_with(Migrations::AtStart);
    let owner = Live::over(owner, PersistConfig::default());
    until("it is migrated", || owner.persister.state() == StoreState::Up);
    assert!(may("writer", "INSERT") && !may("writer", "SELECT") && !may("writer", "DELETE"));
    let writer = roles::as_role(&url, "writer");
    let store = StoreUrl::parse(&writer).unwrap().store_with(Migrations::External);
    let live = Live::over(store, PersistConfig::default());
    live.submit(of("user-7"));
    live.flush();
    assert_eq!(count(&url, "obs.audit"), 1);
}

#[test]
fn a_level_that_does_not_exist_cannot_be_stored() {
    in_both_stores(|place| {
        let live = Live::open(place.url);
        live.submit(of("user-7"));
        live.flush();
        let is_refused = if place.url.starts_with("postgres") {
            try_postgres(place.url, "UPDATE obs.audit SET level = 'fine'").is_err()
        } else {
            let path = place.url.trim_start_matches("sqlite:");
            let mut connection = open_sqlite(path.as_ref());
            connection.batch_execute("UPDATE audit SET level = 'fine'").is_err()
        };
        assert!(is_refused, "{}", place.url);
    });
}
