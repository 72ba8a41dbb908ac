//! Whatever goes wrong with a password or a token, it is in nothing that is shown.

use std::{
    error::Error,
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex},
    time::Duration,
};

use obs::{Builder, Environment, StoreState};

use crate::{
    logs::Lines,
    ports::free_port,
    support::{Server, until},
};

/// The end of every secret here.
const SECRET: &str = "hunter2";

/// Everything that a program could print about settings that were tried.
fn shown(builder: Builder) -> String {
    let mut shown = format!("{builder:?}\n");
    match builder.init() {
        Err(error) => {
            let _ = write!(shown, "{error} {error:?}");
            let mut cause = error.source();
            while let Some(error) = cause {
                let _ = write!(shown, " {error} {error:?}");
                cause = error.source();
            }
        }
        Ok(telemetry) => {
            if telemetry.store_state().is_some() {
                until("the store is down", || {
                    (telemetry.store_state() == Some(StoreState::Down)).then_some(())
                });
            }
            let _: Result<(), String> =
                telemetry.kind("dsl").lookup("bonus", "1").observe(&(), |_| Err("no".to_owned()));
            let report = telemetry.flush_blocking(Duration::from_secs(1));
            let _ = write!(shown, "{telemetry:?} {report} {report:?}");
            let report = telemetry.shutdown_blocking(Duration::from_millis(200));
            let _ = write!(shown, " {report} {report:?}");
        }
    }
    shown
}

fn store(url: impl Into<String>) -> Builder {
    obs::builder().environment(Environment::empty()).store(url)
}

fn metrics(variables: &[(&str, &str)]) -> Builder {
    obs::builder().rows(false).environment(variables.iter().copied().collect())
}

/// A server that says one thing to whoever connects.
fn says(words: impl Into<Vec<u8>>) -> Server {
    let words = words.into();
    Server::start(move |mut stream: TcpStream| {
        let mut taken = [0; 1_024];
        let _ = stream.read(&mut taken);
        let _ = stream.write_all(&words);
    })
}

/// The error that a Postgres sends, with a text that tries to forge a line in the log.
fn refusal() -> Vec<u8> {
    let message = "password authentication failed\r\n\u{1b}[31mINFO forged line\u{202e} for user";
    let fields = format!("SFATAL\0VFATAL\0C28P01\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

#[test]
fn twelve_kinds_of_store_that_fail_never_show_the_password() {
    Lines::listen();
    let at = |port: u16, more: &str| format!("postgres://app:{SECRET}@127.0.0.1:{port}/obs{more}");
    let (refuses, hangs_up, garbage) =
        (says(refusal()), says(b""), says(b"HTTP/1.1 400 Bad\r\n\r\n"));
    let no_tls = says(b"N");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    std::fs::write(&file, format!("postgres://app:{SECRET}@db:notaport/obs")).unwrap();
    let from_file = Environment::from_iter([("OBS_STORE_FILE", file.to_str().unwrap())]);
    let port = refuses.address.port();
    let builders = [
        store(format!("mysql://app:{SECRET}@db/obs")),
        store(format!("postgres://app:{SECRET}@db:notaport/obs")),
        store(format!("postgres://app:{SECRET}@db/obs?sslmode=prefer")),
        store(format!("postgres://app:{SECRET}@/obs")),
        store(format!("postgres://app:%ZZ{SECRET}@db/obs")),
        store(format!("postgres://app:{SECRET}@db/obs?password={SECRET}&nonsense={SECRET}")),
        obs::builder().environment(from_file),
        store(at(free_port(), "")),
        store(at(port, "")),
        store(at(hangs_up.address.port(), "")),
        store(at(garbage.address.port(), "")),
        store(at(no_tls.address.port(), "?sslmode=verify-full")),
    ];
    assert_eq!(builders.len(), 12);
    for builder in builders {
        let shown = shown(builder);
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert_eq!(Lines::about(SECRET), []);
    let said = until("the refusal is said", || {
        // Not the one that says there is no directory for a spool.
        Lines::about(&format!(":{port}/")).into_iter().find(|(_, line)| line.contains("failed"))
    });
    let line = &said.1;
    assert!(line.contains(r"failed\r\n\u{1b}[31mINFO forged line\u{202e} for"), "{line}");
    assert!(!line.contains(['\n', '\r', '\u{1b}', '\u{202E}']), "{line}");
}

#[test]
fn settings_that_are_refused_never_show_a_token_or_a_key() {
    Lines::listen();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let bad_name = format!("x api key={SECRET}");
    let no_value = format!("x-api-key {SECRET}");
    let control = format!("x-api-key={SECRET}%0A");
    let user = format!("http://app:{SECRET}@127.0.0.1:1");
    for variables in [
        [endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", bad_name.as_str())],
        [endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", &no_value)],
        [endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", &control)],
        [("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &user)],
        [endpoint, ("OBS_SUBJECT_KEY", SECRET)],
        [endpoint, ("OBS_SUBJECT_KEYS", SECRET)],
    ] {
        let builder = metrics(&variables);
        let refused = builder.clone().init().is_err();
        let shown = shown(builder);
        assert!(refused && !shown.contains(SECRET), "{shown}");
    }
    let shown = shown(metrics(&[]).endpoint(user));
    assert!(!shown.contains(SECRET), "{shown}");
    assert_eq!(Lines::about(SECRET), []);
}

/// What came in, in a place that the thread of the server reaches.
type Heads = Arc<Mutex<Vec<String>>>;

/// A Collector that refuses, and sends back what it was sent.
fn echo(heads: &Heads) -> Server {
    let heads = Arc::clone(heads);
    Server::start(move |mut stream: TcpStream| {
        let mut taken = vec![0; 4_096];
        let length = stream.read(&mut taken).unwrap_or_default();
        let head = String::from_utf8_lossy(&taken[..length]).into_owned();
        heads.lock().unwrap().push(head.clone());
        let _ = write!(
            stream,
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{head}",
            head.len()
        );
    })
}

#[test]
fn a_collector_that_sends_a_token_back_does_not_get_it_into_a_line() {
    Lines::listen();
    let heads = Heads::default();
    let server = echo(&heads);
    let url = format!("http://{}", server.address);
    let header = format!("authorization=Bearer%20{SECRET}");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", &header),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
    ];
    let shown = shown(metrics(&variables));
    assert!(heads.lock().unwrap().iter().any(|head| head.contains(SECRET)), "it was sent");
    assert!(!shown.contains(SECRET), "{shown}");
    let lines = until("the refusal is said", || {
        Some(Lines::about(&server.address.to_string())).filter(|lines| !lines.is_empty())
    });
    assert!(lines.iter().any(|(_, line)| line.contains("401")), "{lines:?}");
    assert_eq!(Lines::about(SECRET), []);
}
