//! `obs quarantine`, on files as the worker leaves them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use obs_core::{RunRecord, Status, testing::record};
use serde_json::json;

use crate::support::{Operator, database, postgres};

/// Sets a record aside, as the worker does.
fn set_aside(operator: &Operator, error: &str) -> RunRecord {
    let mut poison = record("poison", "1");
    poison.status = Status::Error;
    file(operator, &poison, error);
    poison
}

/// Another one, in the quarantine of somebody else's spool.
pub(crate) fn set_aside_in(quarantine: &Path) -> RunRecord {
    let mut poison = record("poison", "1");
    poison.status = Status::Error;
    file_in(quarantine, &poison, "no");
    poison
}

pub(crate) fn file(operator: &Operator, poison: &RunRecord, error: &str) {
    file_in(&folder(operator), poison, error);
}

fn file_in(folder: &Path, poison: &RunRecord, error: &str) {
    fs::create_dir_all(folder).unwrap();
    for private in [folder.parent().unwrap(), folder] {
        #[cfg(unix)]
        fs::set_permissions(private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }
    let file = json!({
        "version": 1,
        "run_id": poison.run_id,
        "class": "error",
        "since": 1_795_264_200_000_000_i64,
        "error": error,
        "record": poison,
    });
    fs::write(folder.join(format!("{}.json", poison.run_id)), file.to_string()).unwrap();
}

fn folder(operator: &Operator) -> PathBuf {
    operator.dir.path().join("spool/quarantine")
}

fn operator() -> Operator {
    Operator::new().with("OBS_SPOOL_DIR", "./spool")
}

#[test]
fn a_list_names_each_record_and_what_the_store_said() {
    let operator = operator();
    let poison = set_aside(&operator, "numeric field\n\x1b[2Joverflow");
    let said = operator.call(&["quarantine", "list"]);
    assert_eq!((said.code, &*said.err), (0, ""));
    let expected = format!("{}  2026-11-21T12:30:00Z  error", poison.run_id);
    assert!(said.out.starts_with(&expected), "{}", said.out);
    assert!(
        said.out.ends_with("set aside  numeric field\\u{a}\\u{1b}[2Joverflow\n"),
        "{}",
        said.out
    );
    assert_eq!(said.out.lines().count(), 1, "a text forges no line");

    let line = &operator.json(&["quarantine", "list"])[0];
    assert_eq!(line["run_id"], poison.run_id.to_string());
    assert_eq!(line["error"], "numeric field\n\x1b[2Joverflow");
    assert_eq!(line["retrying"], false);
}

#[test]
fn the_folder_may_be_the_spool_or_the_quarantine_and_must_exist() {
    let operator = Operator::new();
    let poison = set_aside(&operator, "no");
    for dir in ["./spool", "./spool/quarantine"] {
        let line = &operator.json(&["quarantine", "list", "--dir", dir])[0];
        assert_eq!(line["run_id"], poison.run_id.to_string(), "{dir}");
    }
    let said = operator.call(&["quarantine", "list", "--dir", "./spoool"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("`./spoool`, which is no folder"), "{}", said.err);
    let said = operator.call(&["quarantine", "list"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("`./obs.sqlite.spool`"), "{}", said.err);
    assert!(said.err.contains("set OBS_SPOOL_DIR"), "{}", said.err);
}

#[test]
fn one_record_is_shown_whole() {
    let operator = operator();
    let poison = set_aside(&operator, "no");
    let id = poison.run_id.to_string();
    let said = operator.call(&["quarantine", "show", &id]);
    assert_eq!((said.code, &*said.err), (0, ""));
    assert!(said.out.contains("\"strategy_id\": \"poison\""), "{}", said.out);
    let shown = &operator.json(&["quarantine", "show", &id])[0];
    let record: RunRecord = serde_json::from_value(shown["record"].clone()).unwrap();
    assert_eq!(record, poison);
}

#[test]
fn a_record_that_is_not_there_ends_with_1() {
    let operator = operator().with("OBS_STORE", "sqlite:./rows.sqlite");
    operator.json(&["migrate"]);
    set_aside(&operator, "no");
    let id = "019aa5b2-7c1e-7b0c-8f57-3a1c9e5d2b44";
    for act in ["show", "retry", "drop"] {
        let said = operator.call(&["quarantine", act, id]);
        assert_eq!((said.code, &*said.out), (1, ""), "{act}");
        assert!(said.err.contains(id) && said.err.contains("list what there is"), "{}", said.err);
    }
    let said = operator.call(&["quarantine", "drop"]);
    assert_eq!(said.code, 2, "which one has to be said");
    assert_eq!(operator.json(&["quarantine", "list"]).len(), 1);
}

#[test]
fn a_dropped_record_is_gone_and_so_are_all() {
    let operator = operator();
    let [first, _, _] = [(); 3].map(|()| set_aside(&operator, "no"));
    operator.json(&["quarantine", "drop", &first.run_id.to_string()]);
    assert_eq!(operator.json(&["quarantine", "list"]).len(), 2);
    assert_eq!(operator.json(&["quarantine", "drop", "--all"]).len(), 2);
    assert_eq!(operator.json(&["quarantine", "list"]).len(), 0);
    assert_eq!(fs::read_dir(folder(&operator)).unwrap().count(), 0);
}

#[test]
fn a_record_that_the_store_takes_now_is_stored_and_leaves_the_quarantine() {
    let url = database();
    let operator = operator().with("OBS_STORE", &url);
    let poison = set_aside(&operator, "no");
    let id = poison.run_id.to_string();
    let said = operator.call(&["quarantine", "retry", &id]);
    assert_eq!(said.code, 3, "only `obs migrate` makes the schema: {said:?}");
    assert_eq!(operator.json(&["quarantine", "list"]).len(), 1);

    operator.json(&["migrate"]);
    let done = &operator.json(&["quarantine", "retry", &id])[0];
    assert_eq!((&done["run_id"], &done["done"]), (&json!(id), &json!("stored")));
    assert_eq!(operator.json(&["quarantine", "list"]).len(), 0);
    assert_eq!(postgres(&url, "SELECT run_id FROM obs.run_error"), [id]);
}

#[test]
fn a_record_that_is_refused_again_stays_and_ends_with_1() {
    let url = database();
    let operator = operator().with("OBS_STORE", &url);
    operator.json(&["migrate"]);
    let [first, second] = [(); 2].map(|()| set_aside(&operator, "no"));
    let refused = first.run_id;
    postgres(
        &url,
        &format!(
            "ALTER TABLE obs.run_error ADD CONSTRAINT no CHECK (run_id <> '{refused}') NOT VALID"
        ),
    );
    let said = operator.call(&["quarantine", "retry", "--all", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("1 of 2 records are refused"), "{}", said.err);
    assert_eq!(said.out.lines().count(), 2);
    let left = operator.json(&["quarantine", "list"]);
    assert_eq!((left.len(), &left[0]["run_id"]), (1, &json!(refused)));
    assert_eq!(postgres(&url, "SELECT run_id FROM obs.run_error"), [second.run_id.to_string()]);
}
