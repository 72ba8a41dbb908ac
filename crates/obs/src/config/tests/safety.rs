//! What rows may hold, and secrets.

use std::fs;

use secrecy::ExposeSecret as _;

use super::*;

fn safety(variables: &[(&str, &str)]) -> Safety {
    config(variables).unwrap().safety
}

#[test]
fn by_default_inputs_are_stored_redacted_and_subjects_as_given() {
    let safety = safety(&[]);
    assert_eq!(safety.capture, Capture::Redacted);
    assert_eq!(format!("{:?}", safety.redaction), format!("{:?}", Redaction::default()));
    assert!(safety.subject_key.is_none());
}

#[test]
fn variables_choose_and_code_wins() {
    let variables = [
        ("OBS_CAPTURE_INPUT", "Shape"),
        ("OBS_REDACT_KEYS", "+salary, +=dob"),
        ("OBS_REDACT_ALLOW", "mag,place"),
        ("OBS_REDACT_PATTERNS", "false"),
        ("OBS_SUBJECT_KEY", "0123456789abcdef"),
    ];
    let by_variables = safety(&variables);
    let redaction =
        Redaction::default().also(["salary", "=dob"]).allow_only(["mag", "place"]).patterns(false);
    assert_eq!(by_variables.capture, Capture::Shape);
    assert_eq!(format!("{:?}", by_variables.redaction), format!("{redaction:?}"));
    let key = SubjectKey::new(b"0123456789abcdef").unwrap();
    assert_eq!(by_variables.subject_key.unwrap().hash("user-7"), key.hash("user-7"));
    let replaced = safety(&[("OBS_REDACT_KEYS", "salary,,=dob,")]).redaction;
    assert_eq!(
        format!("{replaced:?}"),
        format!("{:?}", Redaction::default().keys(["salary", "=dob"]))
    );

    let other = SubjectKey::new(b"another key of 24 bytes.").unwrap();
    let given = Given {
        capture: Some(Capture::Off),
        redaction: Some(Redaction::default()),
        subject_key: Some(other.clone()),
        ..Given::default()
    };
    let by_code = check(&given, &variables.into_iter().collect()).unwrap().safety;
    assert_eq!(by_code.capture, Capture::Off);
    assert_eq!(format!("{:?}", by_code.redaction), format!("{:?}", Redaction::default()));
    assert_eq!(by_code.subject_key.unwrap().hash("user-7"), other.hash("user-7"));
}

#[test]
fn bad_values_are_refused_with_the_way_out() {
    for (name, value, rule) in [
        (
            "OBS_CAPTURE_INPUT",
            "all",
            "not how much of inputs is stored: use redacted, shape or off",
        ),
        (
            "OBS_REDACT_KEYS",
            "+a,b",
            "either every name adds to the list and begins with +, or none does and they replace it: \
             use e.g. +salary,+birthday",
        ),
        (
            "OBS_REDACT_KEYS",
            "salary,--",
            "name \"--\" of a field to redact or allow cannot be used: take at least one letter or digit, \
             and at most 64 bytes",
        ),
        (
            "OBS_REDACT_ALLOW",
            "=",
            "name \"=\" of a field to redact or allow cannot be used: take at least one letter or digit, \
             and at most 64 bytes",
        ),
        ("OBS_REDACT_PATTERNS", "some", "not a switch: use true or false"),
    ] {
        assert_eq!(message(&[(name, value)]), format!("{name}={value:?}: {rule}"));
    }
    let too_short = "OBS_SUBJECT_KEY: a subject key of 7 bytes is outside 16 to 4096: take 32 random bytes, \
                     e.g. from `openssl rand -hex 32`";
    assert_eq!(message(&[("OBS_SUBJECT_KEY", "hunter2")]), too_short);
}

#[test]
fn secrets_come_from_files_too_and_never_from_two_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = file("key", "0123456789abcdef\nnot this line");
    let hash = SubjectKey::new(b"0123456789abcdef").unwrap().hash("user-7");
    let by_file = safety(&[("OBS_SUBJECT_KEY_FILE", &key)]);
    assert_eq!(by_file.subject_key.unwrap().hash("user-7"), hash);

    let store = file("store", "postgres://app:hunter2@db.internal/obs?sslmode=disable\n");
    let Rows::On { store, .. } = config(&[("OBS_STORE_FILE", &store)]).unwrap().rows else {
        panic!("rows are off")
    };
    assert_eq!(store.to_string(), "postgres://app@db.internal:5432/obs");

    let headers = file("headers", "x-api-key=hunter2,b=2");
    let otlp = otlp_of(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OBS_OTLP_HEADERS_FILE", &headers),
    ]);
    assert_eq!(otlp.headers["x-api-key"], "hunter2");
    assert!(!format!("{otlp:?}").contains("hunter2"));

    let both = [("OBS_SUBJECT_KEY", "0123456789abcdef"), ("OBS_SUBJECT_KEY_FILE", key.as_str())];
    assert_eq!(
        message(&both),
        "OBS_SUBJECT_KEY_FILE is set, and OBS_SUBJECT_KEY too: unset one of them"
    );
    let both = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OBS_OTLP_HEADERS_FILE", headers.as_str()),
    ];
    assert_eq!(
        message(&both),
        "OBS_OTLP_HEADERS_FILE is set, and OTEL_EXPORTER_OTLP_HEADERS too: unset one of them"
    );
    let missing = message(&[("OBS_STORE_FILE", "/nowhere/at/all")]);
    assert!(
        missing.starts_with("OBS_STORE_FILE=\"/nowhere/at/all\": cannot be read ("),
        "{missing}"
    );
    assert!(missing.ends_with("name a file that this process may read"), "{missing}");
    let empty = file("empty", "\n0123456789abcdef");
    assert!(message(&[("OBS_SUBJECT_KEY_FILE", &empty)]).contains("has an empty first line"));
    let long = file("long", &"x".repeat(64 * 1024 + 1));
    assert!(message(&[("OBS_SUBJECT_KEY_FILE", &long)]).contains("is longer than 65536 bytes"));
}

#[test]
fn what_code_was_given_is_never_shown() {
    let builder = crate::builder()
        .store("postgres://app:hunter2@db/obs")
        .endpoint("http://app:hunter2@collector:4318")
        .subject_key(SubjectKey::new(b"hunter2-hunter2-hunter2").unwrap());
    let shown = format!("{builder:?} {:?}", builder.given);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(builder.given.store.unwrap().expose_secret(), "postgres://app:hunter2@db/obs");
}

/// The same ground as the fuzz target `config`, on any compiler: every setting with every hostile value.
#[test]
fn no_value_of_any_setting_panics_or_leaves_a_control_character_in_a_message() {
    const VALUES: [&str; 16] = [
        "",
        " ",
        "\0",
        "\r\n\u{1b}[31m\u{202e}",
        "-1",
        "1e999",
        "NaN",
        "inf",
        "=,=,",
        "%",
        "%zz=%00",
        "http://",
        "http://[",
        "postgres://%00@/\n",
        "sqlite:\u{1b}",
        "\u{feff}größe",
    ];
    let long = "x=".repeat(100_000);
    let names = known::KEYS.iter().map(|(name, _)| name).chain(&OTEL);
    for name in names {
        for value in VALUES.into_iter().chain([long.as_str()]) {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
            let variables = [endpoint, (*name, value)];
            if let Err(error) = config(&variables) {
                let message = error.to_string();
                assert!(!message.contains(char::is_control), "{name}={value:?}: {message:?}");
                assert!(message.len() < 1_000, "{name}: {message:?}");
            }
        }
    }
}

const OTEL: [&str; 13] = [
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_METRICS_EXPORTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
];
