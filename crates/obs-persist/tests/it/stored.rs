//! Which records are rows: what a store says of a dead process's last batch.

use std::time::Duration;

use obs_core::{Class, RunRecord, Status, testing::record};
use obs_persist::{Migrations, Store, StoreUrl, Stored, Unsettled};
use tokio::{runtime::Runtime, time::sleep};
use uuid::Uuid;

use crate::{
    roles,
    support::{Live, count, failed, full, postgres, sqlite, sqlite_url},
};

/// Attempts, a few milliseconds apart, before a session counts as one that never ends.
const ATTEMPTS: usize = 2_000;

fn written(url: &str) -> Vec<RunRecord> {
    let records = vec![record("bonus", "1"), failed("bonus"), full(Status::Ok)];
    let live = Live::over(
        StoreUrl::parse(url).unwrap().store_with(Migrations::External),
        obs_persist::PersistConfig::default(),
    );
    records.iter().for_each(|record| live.submit(record.clone()));
    live.flush();
    records
}

fn store(url: &str) -> Box<dyn Store> {
    StoreUrl::parse(url).unwrap().store_with(Migrations::External)
}

#[test]
fn the_documented_writer_learns_which_runs_are_rows() {
    let url = roles::as_role(&roles::set_up(), "writer");
    let records = written(&url);
    assert!(records.iter().any(|record| record.class() == Class::Error));
    Runtime::new().unwrap().block_on(async {
        let mut store = store(&url);
        store.prepare().await.unwrap();
        let ids: Vec<Uuid> = records.iter().map(|record| record.run_id).collect();
        let asked = ids.iter().copied().chain([record("bonus", "1").run_id, Uuid::nil()]);
        let stored = store.stored(&Unsettled::of(asked, [])).await.unwrap();
        assert_eq!(stored, Stored::Rows(ids.into_iter().collect()));
        let none = store.stored(&Unsettled::default()).await.unwrap();
        assert_eq!(none, Stored::Rows([].into()));
    });
}

#[test]
fn rows_are_looked_at_once_the_dead_session_is_gone() {
    let url = roles::as_role(&roles::set_up(), "writer");
    let id = written(&url)[0].run_id;
    Runtime::new().unwrap().block_on(async {
        let (mut dying, mut next) = (store(&url), store(&url));
        dying.prepare().await.unwrap();
        next.prepare().await.unwrap();
        let session = dying.session().unwrap();
        assert_ne!(next.session(), Some(session));
        let asked = Unsettled::of([id], [1, session]);
        assert_eq!(next.stored(&asked).await.unwrap(), Stored::Busy);
        drop(dying);
        for _ in 0..ATTEMPTS {
            match next.stored(&asked).await.unwrap() {
                Stored::Busy => sleep(Duration::from_millis(5)).await,
                stored => return assert_eq!(stored, Stored::Rows([id].into())),
            }
        }
        panic!("the session is still there");
    });
}

#[test]
fn a_file_knows_which_runs_are_rows() {
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite_url(&folder.path().join("obs.sqlite"));
    let first = Live::open(&url);
    first.submit(record("first", "1"));
    first.flush();
    let records = written(&url);
    Runtime::new().unwrap().block_on(async {
        let mut store = store(&url);
        store.prepare().await.unwrap();
        let asked = records.iter().map(|record| record.run_id);
        let asked = Unsettled::of(asked.chain([record("bonus", "1").run_id]), []);
        let stored = store.stored(&asked).await.unwrap();
        let ids = records.iter().map(|record| record.run_id).collect();
        assert_eq!(stored, Stored::Rows(ids));
    });
}

/// A run that was open when the power went, as far as the page of its process tells, and that had ended well.
fn lost_beside(url: &str) -> [RunRecord; 2] {
    let ended = record("bonus", "1");
    let live = Live::over(
        StoreUrl::parse(url).unwrap().store_with(Migrations::External),
        obs_persist::PersistConfig::default(),
    );
    live.submit(ended.clone());
    live.flush();
    let [mut first, mut second] = [failed("bonus"), failed("bonus")];
    (first.status, second.status) = (Status::Lost, Status::Lost);
    first.run_id = ended.run_id;
    for lost in [&first, &second] {
        live.submit(lost.clone());
    }
    live.submit(failed("bonus"));
    live.flush();
    live.test.assert_balanced();
    [ended, second]
}

#[test]
fn a_run_that_ended_well_has_no_lost_row_beside_its_own() {
    let url = roles::set_up();
    let [ended, lost] = lost_beside(&roles::as_role(&url, "writer"));
    let query = "SELECT run_id::text || ' ' || status FROM obs.run ORDER BY status";
    let rows = postgres(&url, query);
    assert_eq!(rows[1..], [format!("{} lost", lost.run_id), format!("{} ok", ended.run_id)]);
    assert_eq!((rows.len(), count(&url, "obs.run_error_payload")), (3, 2));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("obs.sqlite");
    let first = Live::open(&sqlite_url(&file));
    first.submit(record("first", "1"));
    first.flush();
    let [ended, lost] = lost_beside(&sqlite_url(&file));
    let query = "SELECT hex(run_id) || ' ' || status FROM run ORDER BY status, strategy_id";
    let id = |record: &RunRecord| record.run_id.simple().to_string().to_uppercase();
    let rows = sqlite(&file, query);
    assert_eq!(rows[1..3], [format!("{} lost", id(&lost)), format!("{} ok", id(&ended))]);
    assert_eq!(rows.len(), 4);
}
