//! `obs erase`, in real stores and in the quarantine.

use std::{thread, time::Duration};

use obs_core::{
    Clock, Obs, RunRecord, Status, StoreMetrics, SubjectKey,
    testing::{TestObs, record},
};
use obs_persist::{PersistConfig, Persister, SpoolDir, StoreUrl};

use crate::{
    quarantine::file,
    support::{Operator, database, postgres},
};

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn about(subject: &str, status: Status) -> RunRecord {
    let mut run = record("bonus", "1");
    run.subject = Some(subject.into());
    run.status = status;
    run
}

/// Writes records as a program does.
pub(crate) fn write(url: &str, records: &[RunRecord]) {
    let store = StoreUrl::parse(url).unwrap().store();
    let persister =
        Persister::start(PersistConfig::default(), store, StoreMetrics::default()).unwrap();
    let test = TestObs::new();
    for record in records {
        let _ = persister.sink().submit(test.kept_record(record.clone()));
    }
    let report = persister.shutdown_blocking(Duration::from_secs(30));
    assert!(report.complete, "{report}");
}

#[test]
fn a_subject_is_forgotten_in_every_form_and_its_late_copies_stay_out() {
    let url = database();
    let operator = Operator::new()
        .with("OBS_STORE", &url)
        .with("OBS_SPOOL_DIR", "./spool")
        .with("OBS_SUBJECT_KEY", KEY);
    let hash = SubjectKey::new(KEY.as_bytes()).unwrap().hash("user-7");
    let records =
        [about("user-7", Status::Ok), about(&hash, Status::Error), about("user-8", Status::Ok)];
    write(&url, &records);
    file(&operator, &about("user-7", Status::Error), "no");
    file(&operator, &about("user-8", Status::Error), "no");

    let done = &operator.json(&["erase", "--subject", "user-7", "--by", "ticket 4711"])[0];
    assert_eq!(
        (&done["rows_ok"], &done["rows_error"], &done["files"]),
        (&1.into(), &1.into(), &1.into()),
        "{done}"
    );
    assert_eq!(postgres(&url, "SELECT subject FROM obs.run"), ["user-8"]);
    assert_eq!(operator.json(&["quarantine", "list"]).len(), 1);

    write(&url, &[about("user-7", Status::Ok), records[1].clone()]);
    assert_eq!(postgres(&url, "SELECT subject FROM obs.run"), ["user-8"], "late copies stay out");

    let said = operator.call(&["erase", "--subject", "user-7"]);
    assert_eq!((said.code, &*said.err), (0, ""), "it can be called again");
    assert!(said.out.contains("erased 0 ok rows, 0 error rows"), "{}", said.out);
    assert!(!said.out.contains("user-7"), "whom it was about is not said: {}", said.out);
}

#[test]
fn what_is_still_in_a_spool_is_counted_until_its_process_has_got_rid_of_it() {
    let url = database();
    let operator = Operator::new().with("OBS_STORE", &url).with("OBS_SPOOL_DIR", "./spool");
    operator.json(&["migrate"]);
    let program = |url: &str, records: &[RunRecord]| {
        let mut config = PersistConfig::default();
        config.spool_dir = Some(SpoolDir::Given(operator.dir.path().join("spool")));
        let store = StoreUrl::parse(url).unwrap().store();
        let persister = Persister::start(config, store, StoreMetrics::default()).unwrap();
        let test = TestObs::new();
        for record in records {
            let _ = persister.sink().submit(test.kept_record(record.clone()));
        }
        persister
    };
    let errors = [about("user-7", Status::Error), about("user-8", Status::Error)];
    // Nothing listens on port 1.
    let first = program("postgres://app@127.0.0.1:1/game", &errors);
    let report = first.shutdown_blocking(Duration::from_millis(100));
    assert_eq!(report.spooled, 2, "{report}");
    drop(first);

    let done = &operator.json(&["erase", "--subject", "user-7"])[0];
    assert_eq!((&done["rows_error"], &done["spooled"]), (&0.into(), &1.into()), "{done}");
    let said = operator.call(&["erase", "--subject", "user-7"]);
    assert!(said.out.contains("1 records are still in the spool"), "{}", said.out);
    std::fs::create_dir_all(operator.path("spool/quarantine")).unwrap();
    let named = ["erase", "--subject", "user-7", "--dir", "./spool/quarantine"];
    assert_eq!(operator.json(&named)[0]["spooled"], 1, "the spool is around its quarantine");

    let next = program(&url, &[]);
    // What the dead left enters the books of a program.
    let books = Obs::builder().sink(next.sink()).build().unwrap();
    let clock = Clock::default();
    let start = clock.now();
    while !operator.json(&["spool", "dump"]).is_empty() {
        assert!(clock.now().since(start) < Duration::from_secs(30), "it stays in the spool");
        thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(books.ledger().error.persisted, 2, "the store has dealt with both");
    drop((books, next));
    let done = &operator.json(&["erase", "--subject", "user-7"])[0];
    assert_eq!((&done["rows_error"], &done["spooled"]), (&0.into(), &0.into()), "{done}");
    assert_eq!(postgres(&url, "SELECT subject FROM obs.run"), ["user-8"]);
}

#[test]
fn a_former_key_finds_what_it_hashed() {
    let operator = Operator::new().with("OBS_STORE", "sqlite:./rows.sqlite");
    operator.json(&["migrate"]);
    let url = format!("sqlite:{}", operator.path("rows.sqlite"));
    let hash = SubjectKey::new(KEY.as_bytes()).unwrap().hash("user-7");
    write(&url, &[about(&hash, Status::Error), about("user-8", Status::Error)]);
    std::fs::write(operator.path("former"), format!("{KEY}\n")).unwrap();

    let none = &operator.json(&["erase", "--subject", "user-7"])[0];
    assert_eq!((&none["rows_error"], &none["folder"]), (&0.into(), &serde_json::Value::Null));
    let done = &operator.json(&["erase", "--subject", "user-7", "--key-file", "./former"])[0];
    assert_eq!(done["rows_error"], 1, "{done}");
}

#[test]
fn a_key_that_is_none_is_refused_and_never_shown() {
    let operator =
        Operator::new().with("OBS_STORE", "sqlite:./x.sqlite").with("OBS_SUBJECT_KEY", "hunter2");
    let said = operator.call(&["erase", "--subject", "user-7"]);
    assert_eq!(said.code, 2);
    assert!(
        said.err.contains("OBS_SUBJECT_KEY: ") && !said.err.contains("hunter2"),
        "{}",
        said.err
    );
    assert!(!operator.dir.path().join("x.sqlite").exists());
}
