//! What is left of somebody else's data in a row, as settings decide: read back from the store's file, and
//! from the spool as bytes.

use std::{fs, path::Path, time::Duration};

use diesel::{
    Connection, RunQueryDsl,
    dsl::sql,
    sql_types::{Nullable, Text},
    sqlite::SqliteConnection,
};
use obs::{Builder, Place, Redaction, SubjectKey, Telemetry, Verdict};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{ports::free_port, support::PATIENCE};

/// A secret by its name, one by its look, and one that neither gives away.
fn order() -> Value {
    json!({
        "item": "book",
        "password": "hunter2",
        "note": "card 4111 1111 1111 1111 was taken",
        "buyer": "zebra",
        "lines": [{ "sku": "a-1", "salary": 5_100 }],
    })
}

/// The text columns of the only row, where `strategy` ran once.
struct Row {
    subject: Option<String>,
    message: Option<String>,
    input: Option<Value>,
}

fn builder(folder: &TempDir, variables: &[(&str, &str)]) -> Builder {
    let url = format!("sqlite:{}/runs.sqlite", folder.path().display());
    obs::builder().environment(variables.iter().copied().collect()).store(url)
}

/// What is stored of a failed run with the order as its input.
fn stored(variables: &[(&str, &str)], change: impl FnOnce(Builder) -> Builder) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = change(builder(&folder, variables)).init().unwrap();
    fail(&telemetry, &order());
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    read(&folder)
}

fn fail(telemetry: &Telemetry, input: &impl serde::Serialize) {
    let bonus = telemetry.kind("dsl").strategy("bonus").version("3").build().unwrap();
    let _: Result<(), String> = bonus.observe(input, |run| {
        run.subject("user-7");
        Err("no order for zebra, token=hunter2".to_owned())
    });
}

fn read(folder: &TempDir) -> Row {
    let path = folder.path().join("runs.sqlite");
    let mut file = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    let mut only = |column: &str| {
        let query = format!("SELECT {column} FROM run LEFT JOIN run_payload USING (run_id)");
        let rows: Vec<Option<String>> = sql::<Nullable<Text>>(&query).load(&mut file).unwrap();
        let [text] = &rows[..] else { panic!("one row: {rows:?}") };
        text.clone()
    };
    let (subject, message, input) = (only("subject"), only("error_message"), only("input"));
    Row { subject, message, input: input.map(|text| serde_json::from_str(&text).unwrap()) }
}

#[test]
fn by_default_an_input_is_stored_without_its_secrets_and_a_run_without_input_stores_none() {
    let row = stored(&[], |builder| builder);
    let input = row.input.unwrap();
    assert_eq!(input["item"], "book");
    assert_eq!(input["password"], "[redacted]");
    assert_eq!(input["note"], "card [redacted] was taken");
    assert_eq!(input["buyer"], "zebra", "which nothing gives away");
    assert_eq!(row.subject.as_deref(), Some("user-7"));
    assert!(!row.message.unwrap().contains("hunter2"));

    let folder = tempfile::tempdir().unwrap();
    let telemetry = builder(&folder, &[]).init().unwrap();
    let run = telemetry.kind("dsl").lookup("bonus", "3").start();
    let _ = run.finish(Err::<(), _>("no".to_owned()));
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    assert_eq!(read(&folder).input, None);
}

#[test]
fn an_input_of_any_size_leaves_a_row_of_bounded_size_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let telemetry = builder(&folder, &[]).init().unwrap();
    fail(&telemetry, &vec!["x".repeat(1_000); 4_000]);
    assert!(telemetry.shutdown_blocking(PATIENCE).is_complete());
    let input = read(&folder).input.unwrap();
    assert!(input["$truncated"]["bytes"].as_u64().unwrap() > 4_000_000, "{}", input["$truncated"]);
    assert!(input.to_string().len() <= 64 << 10, "{}", input.to_string().len());
}

#[test]
fn the_environment_decides_how_much_of_an_input_is_stored() {
    let whole = stored(&[("OBS_CAPTURE_INPUT", "redacted")], |builder| builder).input.unwrap();
    assert_eq!((&whole["item"], &whole["password"]), (&json!("book"), &json!("[redacted]")));
    let shape = stored(&[("OBS_CAPTURE_INPUT", "shape")], |builder| builder).input.unwrap();
    assert!(shape.get("item").is_some() && !shape.to_string().contains("book"), "{shape}");
    assert_eq!(stored(&[("OBS_CAPTURE_INPUT", "off")], |builder| builder).input, None);
}

#[test]
fn the_environment_decides_which_names_and_looks_are_secrets() {
    let input = |variables: &[(&str, &str)]| stored(variables, |builder| builder).input.unwrap();
    let added = input(&[("OBS_REDACT_KEYS", "+salary,+buyer")]);
    let values = [&added["password"], &added["buyer"], &added["lines"][0]["salary"]];
    assert_eq!(values, ["[redacted]"; 3], "{added}");
    let replaced = input(&[("OBS_REDACT_KEYS", "buyer")]);
    assert_eq!([&replaced["password"], &replaced["buyer"]], ["hunter2", "[redacted]"]);
    let allowed = input(&[("OBS_REDACT_ALLOW", "item,sku")]);
    assert_eq!([&allowed["item"], &allowed["buyer"]], ["book", "[redacted]"]);
    assert_eq!(
        [&allowed["lines"][0]["sku"], &allowed["lines"][0]["salary"]],
        ["a-1", "[redacted]"]
    );
    let unsearched = input(&[("OBS_REDACT_PATTERNS", "false")]);
    assert_eq!(unsearched["note"], "card 4111 1111 1111 1111 was taken");
    assert_eq!(unsearched["password"], "[redacted]");
}

#[test]
fn with_a_key_of_the_environment_subjects_are_hashes_that_erasure_can_compute() {
    const KEY: &str = "a key that nobody guesses: 0123456789";
    let row = stored(&[("OBS_SUBJECT_KEY", KEY)], |builder| builder);
    let hash = SubjectKey::new(KEY.as_bytes()).unwrap().hash("user-7");
    assert_eq!(row.subject.as_deref(), Some(&*hash));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, format!("{KEY}\n")).unwrap();
    let row = stored(&[("OBS_SUBJECT_KEY_FILE", file.to_str().unwrap())], |builder| builder);
    assert_eq!(row.subject.as_deref(), Some(&*hash));
}

/// Every byte below a folder.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A spool's keeper may still remove what nobody needs.
        all.extend(if path.is_dir() {
            bytes_below(&path)
        } else {
            fs::read(&path).unwrap_or_default()
        });
    }
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn what_lists_patterns_and_a_hook_of_the_program_take_out_is_not_even_in_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let zebra = Redaction::default().hook(|field| {
        assert!(!field.text.contains("hunter2"), "the lists come first");
        match field.place {
            Place::Input if field.text == "zebra" => Verdict::Replace("somebody".to_owned()),
            _ if field.text.contains("zebra") => Verdict::Redact,
            _ => Verdict::Keep,
        }
    });
    let telemetry = obs::builder()
        .environment(obs::Environment::empty())
        .store(format!("postgres://app@127.0.0.1:{}/obs", free_port()))
        .spool_dir(&spool)
        .redaction(zebra)
        .init()
        .unwrap();
    fail(&telemetry, &order());
    let report = telemetry.shutdown_blocking(Duration::from_millis(200));
    assert_eq!(report.rows.as_ref().unwrap().spooled, 1, "{report}");
    let bytes = bytes_below(&spool);
    for stays in ["book", "somebody", "[redacted]", "user-7"] {
        assert!(contains(&bytes, stays), "{stays}");
    }
    for goes in ["hunter2", "4111 1111", "zebra"] {
        assert!(!contains(&bytes, goes), "{goes}");
    }
}
