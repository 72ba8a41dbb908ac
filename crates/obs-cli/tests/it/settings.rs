//! One rule: a command uses what a program with the same environment would use, and options come before that.

use std::{fs, path::Path};

use obs_core::{RunRecord, Status, SubjectKey};
use serde_json::{Value, json};

use crate::{
    erase::{KEY, about, write},
    quarantine::set_aside_in,
    schema::{add_old_day, exists},
    support::{Operator, database},
};

/// An operator with a file of settings, its block `obs` as given.
fn with_file(ours: &str) -> Operator {
    let operator = Operator::new().with("OTEL_CONFIG_FILE", "obs.yaml");
    settings(&operator, ours);
    operator
}

fn settings(operator: &Operator, ours: &str) {
    let text = format!("file_format: \"1.0\"\nobs:\n{ours}");
    fs::write(operator.path("obs.yaml"), text).unwrap();
}

/// The folder of a spool of a store that is no file, as programs have it by default.
const DEFAULT_FOLDER: &str = "state/obs/postgres---app-127-0-0-1-1-game";
/// Nothing listens on port 1.
const AWAY: &str = "postgres://app@127.0.0.1:1/game";

fn poison(operator: &Operator, folder: &str) -> RunRecord {
    set_aside_in(&operator.dir.path().join(folder).join("quarantine"))
}

fn run_ids(lines: &[Value]) -> Vec<&Value> {
    lines.iter().map(|line| &line["run_id"]).collect()
}

#[test]
fn rows_are_kept_as_the_file_says_unless_the_call_says_otherwise() {
    let url = database();
    let operator = with_file("  retention: { error: off }\n").with("OBS_STORE", &url);
    operator.json(&["migrate"]);
    for table in ["run_ok", "run_ok_payload", "run_error", "run_error_payload"] {
        add_old_day(&url, table);
    }
    let done = &operator.json(&["retention"])[0];
    assert_eq!((&done["ok_days"], &done["error_days"]), (&30.into(), &Value::Null), "{done}");
    assert!(!exists(&url, "run_ok") && exists(&url, "run_error"));

    let done = &operator.json(&["retention", "--error", "1"])[0];
    assert_eq!((&done["ok_days"], &done["error_days"]), (&30.into(), &1.into()), "{done}");
    assert!(!exists(&url, "run_error"));
}

#[test]
fn a_subject_is_found_by_the_key_of_the_file() {
    let operator = with_file(&format!("  subject: {{ key: {KEY} }}\n"))
        .with("OBS_STORE", "sqlite:./rows.sqlite");
    operator.json(&["migrate"]);
    let hash = SubjectKey::new(KEY.as_bytes()).unwrap().hash("user-7");
    write(&format!("sqlite:{}", operator.path("rows.sqlite")), &[about(&hash, Status::Error)]);
    let said = operator.call(&["erase", "--subject", "user-7"]);
    assert_eq!((said.code, &*said.err), (0, ""));
    assert!(said.out.contains("erased 0 ok rows, 1 error rows"), "{}", said.out);
    assert!(!said.out.contains(KEY), "{}", said.out);
}

#[test]
fn the_owner_migrates_with_a_variable_over_the_file_or_with_an_option() {
    let url = database();
    let operator = with_file(&format!("  store: {{ url: \"{AWAY}\" }}\n"));
    assert_eq!(operator.call(&["migrate"]).code, 3);
    assert_eq!(operator.json(&["migrate", "--store", "sqlite:./x.sqlite"])[0]["migrated"], true);
    let operator = operator.with("OBS_STORE", &url);
    assert_eq!(operator.json(&["migrate"])[0]["store"], *url);
    settings(&operator, "  store: { url: \"${OBS_STORE}\" }\n");
    assert_eq!(operator.json(&["migrate"])[0]["store"], *url);
    settings(&operator, "no such thing");
    assert_eq!(operator.call(&["migrate"]).code, 2);
    assert_eq!(operator.with("OTEL_CONFIG_FILE", "").json(&["migrate"])[0]["store"], *url);
}

#[test]
fn a_bad_file_is_refused_with_its_line_before_anything_is_done() {
    let operator =
        with_file("  store: { url: \"sqlite:./x.sqlite\" }\n  retention: { ok: soon }\n");
    for call in [
        &["migrate"][..],
        &["retention"],
        &["retention", "--store", "sqlite:./x.sqlite"],
        &["erase", "--subject", "user-7", "--store", "sqlite:./x.sqlite", "--dir", "."],
        &["quarantine", "list"],
        &["spool", "dump"],
        &["ledger"],
    ] {
        let said = operator.call(call);
        assert_eq!((said.code, &*said.out), (2, ""), "{call:?}");
        let begin = "obs: obs.yaml:4: obs.retention.ok=\"soon\": not a number of days";
        assert!(said.err.starts_with(begin), "{call:?}: {}", said.err);
    }
    assert!(!operator.dir.path().join("x.sqlite").exists());
    // Whoever names everything needs no settings.
    let every = ["--store", "sqlite:./x.sqlite", "--ok", "1", "--error", "off"];
    operator.json(&["migrate", "--store", "sqlite:./x.sqlite"]);
    operator.json(&[&["retention"][..], &every].concat());
    operator.json(&["spool", "dump", "."]);
}

#[test]
fn the_folder_of_a_program_that_named_none_is_found() {
    let operator = Operator::new().with("OBS_STORE", "sqlite:./rows.sqlite");
    let said = operator.call(&["quarantine", "list"]);
    assert_eq!((said.code, &*said.out), (3, ""));
    assert!(said.err.contains("`./rows.sqlite.spool`"), "{}", said.err);
    assert!(said.err.contains("OBS_SPOOL_DIR"), "{}", said.err);
    let beside = poison(&operator, "rows.sqlite.spool");
    assert_eq!(run_ids(&operator.json(&["quarantine", "list"])), [&json!(beside.run_id)]);

    let operator = operator.with("OBS_STORE", AWAY).with("XDG_STATE_HOME", "./state");
    let away = poison(&operator, DEFAULT_FOLDER);
    assert_eq!(run_ids(&operator.json(&["quarantine", "list"])), [&json!(away.run_id)]);
    for act in [&["spool", "dump"][..], &["spool", "verify"], &["ledger"]] {
        assert_eq!(operator.json(act).len(), 0, "{act:?}");
    }
}

#[test]
fn the_default_folder_is_that_of_the_store_of_the_call_and_a_named_one_is_itself() {
    let operator = Operator::new().with("OBS_STORE", AWAY).with("XDG_STATE_HOME", "./state");
    poison(&operator, DEFAULT_FOLDER);
    for name in ["rows", "named"] {
        operator.json(&["migrate", "--store", &format!("sqlite:./{name}.sqlite")]);
    }
    poison(&operator, "rows.sqlite.spool");
    let erase = |operator: &Operator, store: &str| {
        operator.json(&["erase", "--subject", "user-7", "--store", store]).remove(0)
    };
    let done = erase(&operator, "sqlite:./rows.sqlite");
    assert_eq!(done["folder"], "./rows.sqlite.spool/quarantine", "{done}");

    let operator = operator.with("OBS_SPOOL_DIR", format!("./{DEFAULT_FOLDER}"));
    let done = erase(&operator, "sqlite:./named.sqlite");
    assert_eq!(done["folder"], format!("./{DEFAULT_FOLDER}/quarantine"), "{done}");
}

#[test]
fn the_folder_above_those_of_several_stores_is_refused() {
    let operator = Operator::new()
        .with("OBS_STORE", "sqlite:./rows.sqlite")
        .with("OBS_SPOOL_DIR", "./state/obs");
    operator.json(&["migrate"]);
    poison(&operator, DEFAULT_FOLDER);
    let above = "./state/obs";
    for call in [
        &["quarantine", "list"][..],
        &["quarantine", "list", "--dir", above],
        &["spool", "dump"],
        &["spool", "dump", above],
        &["spool", "verify"],
        &["ledger"],
        &["erase", "--subject", "user-7"],
        &["erase", "--subject", "user-7", "--dir", above],
    ] {
        let said = operator.call(call);
        assert_eq!((said.code, &*said.out), (2, ""), "{call:?}");
        assert_eq!(
            said.err,
            format!(
                "obs: the folder `./state/obs` holds the spools of several stores: name one, e.g. `./{DEFAULT_FOLDER}`\n"
            ),
            "{call:?}"
        );
    }
}

#[test]
fn an_erasure_says_where_no_folder_is_and_refuses_one_that_others_are_beside() {
    let operator = Operator::new().with("OBS_STORE", "sqlite:./rows.sqlite");
    operator.json(&["migrate"]);
    let erase = ["erase", "--subject", "user-7"];
    let said = operator.call(&erase);
    assert_eq!((said.code, &*said.err), (0, ""));
    assert!(said.out.contains("there is no folder ./rows.sqlite.spool"), "{}", said.out);
    let done = &operator.json(&erase)[0];
    assert_eq!(
        (&done["folder"], &done["missing_folder"]),
        (&Value::Null, &json!("./rows.sqlite.spool"))
    );

    // Programs have another address of the same store, e.g. with another user in it.
    let operator = operator.with("OBS_SPOOL_DIR", "./state/obs/postgres---owner-127-0-0-1-1-game");
    poison(&operator, DEFAULT_FOLDER);
    let said = operator.call(&erase);
    assert_eq!((said.code, &*said.out), (3, ""));
    assert!(said.err.contains(&format!("e.g. `./{DEFAULT_FOLDER}`")), "{}", said.err);
    let off = operator.with("OBS_SPOOL", "off");
    let said = off.call(&erase);
    assert_eq!((said.code, &*said.err), (0, ""));
    assert!(said.out.contains("these settings have no spool"), "{}", said.out);
    let said = off.call(&["quarantine", "list"]);
    assert_eq!((said.code, &*said.out), (2, ""));
    assert!(Path::new(&off.path(DEFAULT_FOLDER)).exists());
}

#[test]
fn without_rows_in_a_store_the_way_to_one_is_said() {
    for (ours, setting, way_out) in [
        ("  enabled: false\n", "OBS_ENABLED is false", "OBS_ENABLED=true"),
        ("  store: { url: otlp }\n", "OBS_STORE is otlp", "set OBS_STORE"),
    ] {
        let operator = with_file(ours);
        for call in [&["migrate"][..], &["retention"], &["erase", "--subject", "user-7"]] {
            let said = operator.call(call);
            assert_eq!((said.code, &*said.out), (2, ""), "{call:?}");
            for text in [setting, "--store", way_out] {
                assert!(said.err.contains(text), "{text}: {}", said.err);
            }
        }
        operator.json(&["migrate", "--store", "sqlite:./rows.sqlite"]);
        let done = &operator.json(&["retention", "--store", "sqlite:./rows.sqlite"])[0];
        assert_eq!(done["error_days"], 180, "{done}");
    }
}
