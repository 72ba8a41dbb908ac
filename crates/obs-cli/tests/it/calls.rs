//! Calls and settings: which are taken, and what is said about those that are not.

use std::fs;

use crate::support::Operator;

#[test]
fn help_names_every_exit_code_and_the_variables() {
    let said = Operator::new().call(&["--help"]);
    assert_eq!((said.code, &*said.err), (0, ""));
    for text in
        ["Exit codes:", "0  done", "1  looked", "2  a wrong call", "3  the store", "OBS_STORE_FILE"]
    {
        assert!(said.out.contains(text), "{text} is missing: {}", said.out);
    }
}

#[test]
fn a_wrong_call_does_nothing_and_ends_with_2() {
    for arguments in [&["frobnicate"][..], &["migrate", "--nope"], &["retention", "--ok", "0"], &[]]
    {
        let operator = Operator::new().with("OBS_STORE", "sqlite:./here.sqlite");
        let said = operator.call(arguments);
        assert_eq!((said.code, &*said.out), (2, ""), "{arguments:?}");
        assert!(!operator.dir.path().join("here.sqlite").exists());
    }
}

#[test]
fn without_a_store_the_way_to_name_one_is_said() {
    let operator = Operator::new();
    let said = operator.call(&["migrate"]);
    assert_eq!(said.code, 2);
    assert_eq!(
        said.err,
        "obs: OBS_STORE is not set, and there is no ./obs.sqlite here: \
         set it to postgres://USER@HOST/DATABASE or sqlite:PATH\n"
    );
    assert!(!operator.dir.path().join("obs.sqlite").exists(), "no file is made by mistake");
}

#[test]
fn the_file_of_a_program_without_settings_is_the_store() {
    let operator = Operator::new();
    fs::write(operator.dir.path().join("obs.sqlite"), "").unwrap();
    assert_eq!(operator.json(&["migrate"])[0]["store"], "sqlite:./obs.sqlite");
}

#[test]
fn the_address_may_be_in_a_file_and_not_in_two_places() {
    let operator = Operator::new().with("OBS_STORE_FILE", "./address");
    let said = operator.call(&["migrate"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("OBS_STORE_FILE=\"./address\": cannot be read"), "{}", said.err);

    fs::write(operator.dir.path().join("address"), "sqlite:./from-file.sqlite\n").unwrap();
    assert_eq!(operator.json(&["migrate"])[0]["store"], "sqlite:./from-file.sqlite");

    let said = operator.with("OBS_STORE", "sqlite:./other.sqlite").call(&["migrate"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("unset one of them"), "{}", said.err);
}

#[test]
fn a_password_is_printed_nowhere() {
    const SECRET: &str = "hunter2";
    // Nothing listens on port 1.
    let urls = [
        format!("postgres://app:{SECRET}@127.0.0.1:1/game"),
        format!("postgres://app:{SECRET}@127.0.0.1:1/game?sslmode=prefer"),
        format!("postgres://app@127.0.0.1:1/game?password={SECRET}"),
        format!("postgres://app:{SECRET}@127.0.0.1:port/game"),
        format!("mysql://app:{SECRET}@127.0.0.1:1/game"),
    ];
    for url in &urls {
        for format in [&["migrate"][..], &["migrate", "--json"]] {
            let said = Operator::new().with("OBS_STORE", url).call(format);
            assert!(matches!(said.code, 2 | 3), "{said:?}");
            assert!(!format!("{said:?}").contains(SECRET), "{said:?}");
            let said = Operator::new().call(&[format, &["--store", url]].concat());
            assert_eq!(said.code, 2, "{said:?}");
            assert!(!format!("{said:?}").contains(SECRET), "{said:?}");
        }
    }
}

#[test]
fn a_store_that_cannot_be_reached_ends_with_3_and_says_why() {
    let operator = Operator::new().with("OBS_STORE", "postgres://app@127.0.0.1:1/game");
    let said = operator.call(&["migrate"]);
    assert_eq!((said.code, &*said.out), (3, ""));
    assert!(
        said.err.starts_with("obs: postgres://app@127.0.0.1:1/game: cannot connect"),
        "{}",
        said.err
    );

    let said = operator.call(&["migrate", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert!(error["error"].as_str().unwrap().contains("cannot connect"), "{error}");
}
