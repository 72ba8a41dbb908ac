//! `obs doctor` against what works, refuses, is silent, and is not there.

mod collectors;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{Operator, Said, count, database, postgres};

/// The findings of `--json`, by their check.
fn finding<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    findings.iter().find(|finding| finding["check"] == check).unwrap()
}

fn findings(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A receiver over HTTP that takes everything; its address, and what it was asked first.
fn receiver() -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (say, hear) = mpsc::sync_channel(1);
    thread::spawn(move || {
        // Whoever only connects says nothing.
        loop {
            let (stream, _) = listener.accept().unwrap();
            let asked = answer(stream);
            if !asked.is_empty() {
                say.send(asked).unwrap();
                return;
            }
        }
    });
    (address, Asked(hear))
}

struct Asked(mpsc::Receiver<String>);

impl Asked {
    fn first(&self) -> String {
        self.0.recv_timeout(Duration::from_secs(30)).expect("nothing was asked")
    }
}

fn answer(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut asked = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        asked.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&asked).to_ascii_lowercase();
        let head = text.find("\r\n\r\n").map(|at| at + 4);
        let length = text.split("content-length: ").nth(1).and_then(|rest| {
            rest.split("\r\n").next().and_then(|length| length.parse::<usize>().ok())
        });
        // Without a length there is no body.
        let whole = head.is_some_and(|head| asked.len() >= head + length.unwrap_or(0));
        if whole || read == 0 {
            break;
        }
    }
    let reply =
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    // Whoever is gone needs none.
    let _ = stream.write_all(reply.as_bytes());
    String::from_utf8_lossy(&asked).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn everything_that_works_is_ok_and_leaves_no_row() {
    let url = database();
    assert_eq!(Operator::new().with("OBS_STORE", &url).call(&["migrate"]).code, 0);
    let (address, asked) = receiver();
    let operator = Operator::new()
        .with("OBS_STORE", &url)
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", &address)
        .with("OBS_SPOOL_DIR", "spool");
    let said = operator.call(&["doctor", "--json"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    let findings = findings(&said);
    for check in ["versions", "config", "clock", "spool", "store", "metrics"] {
        assert_eq!(finding(&findings, check)["state"], "ok", "{said:?}");
    }
    assert_eq!(asked.first(), "POST /v1/metrics HTTP/1.1");
    for table in ["obs.run_ok", "obs.run_error", "obs.audit"] {
        assert_eq!(count(&url, table), 0, "{table}");
    }
    let left = fs::read_dir(operator.dir.path()).unwrap().count();
    assert_eq!(left, 0, "nothing is left behind");
}

#[test]
fn a_refused_store_and_a_refused_collector_are_named_with_the_hop() {
    let operator = Operator::new()
        .with("OBS_STORE", "postgres://me:hunter2@127.0.0.1:1/obs")
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .with("OBS_SPOOL", "off");
    let said = operator.call(&["doctor", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("2 parts do not work"), "{said:?}");
    assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"), "{said:?}");
    let findings = findings(&said);
    assert_eq!(finding(&findings, "store")["stopped_at"], "connecting, or the schema");
    assert_eq!(finding(&findings, "metrics")["stopped_at"], "the connection");
    assert_eq!(finding(&findings, "spool")["state"], "off");
}

#[test]
fn a_database_without_the_schema_and_a_collector_that_never_answers_are_named_with_the_hop() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let operator = Operator::new()
        .with("OBS_STORE", database())
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", silent.local_addr().unwrap()))
        .with("OBS_SPOOL_DIR", "spool");
    let said = operator.call(&["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("BAD store     "), "{said:?}");
    assert!(said.out.contains("stopped at connecting, or the schema"), "{said:?}");
    assert!(said.out.contains("BAD metrics   "), "{said:?}");
    assert!(said.out.contains("stopped at the answer: metrics did not reach"), "{said:?}");
}

#[test]
fn a_folder_that_cannot_be_a_spool_is_named() {
    let operator =
        Operator::new().with("OBS_STORE", "sqlite:./x.sqlite").with("OBS_SPOOL_DIR", "/proc/spool");
    let said = operator.call(&["doctor", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(finding(&findings(&said), "spool")["stopped_at"], "making the folder");
    assert!(!operator.dir.path().join("x.sqlite").exists(), "a look makes no file");
}

#[test]
fn a_spool_that_programs_would_not_use_where_it_is_is_named_with_the_way_out() {
    let operator = Operator::new().with("OBS_STORE", "sqlite:./x.sqlite");
    // Programs use none below a folder for everybody, unless somebody named it.
    fs::set_permissions(operator.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let said = operator.call(&["doctor", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let findings = findings(&said);
    assert_eq!(finding(&findings, "spool")["stopped_at"], "its place");
    assert!(said.out.contains("is writable by everybody"), "{said:?}");
    assert!(said.out.contains("set a directory"), "{said:?}");
}

#[test]
fn settings_that_are_wrong_are_exit_code_2_and_nothing_is_asked() {
    let said = Operator::new().with("OBS_SLO", "fast").call(&["doctor"]);
    assert_eq!((said.code, &*said.out), (2, ""), "{said:?}");
}

/// A migrated database, and the address of a role in it that may do what `grants` say.
fn role_with(grants: &str) -> String {
    let url = database();
    assert_eq!(Operator::new().with("OBS_STORE", &url).call(&["migrate"]).code, 0);
    let (front, name) = url.rsplit_once('/').unwrap();
    let (_, host) = front.split_once('@').unwrap();
    postgres(
        &url,
        &format!(
            "CREATE ROLE {name}_writer LOGIN; {}",
            grants.replace("$role", &format!("{name}_writer"))
        ),
    );
    format!("postgres://{name}_writer@{host}/{name}")
}

#[test]
fn a_role_without_a_right_is_told_what_it_may_not_write() {
    let may_connect = "GRANT USAGE ON SCHEMA obs TO $role; GRANT EXECUTE ON FUNCTION obs.make_day(date) TO $role;";
    let rows = format!(
        "{may_connect} GRANT INSERT, SELECT (run_id) ON obs.run_ok, obs.run_ok_payload, obs.run_error, obs.run_error_payload TO $role;"
    );
    let all = format!("{rows} GRANT INSERT, SELECT (audit_id) ON obs.audit TO $role");
    for (grants, hop) in [
        (may_connect, Some("writing a row")),
        (&*rows, Some("writing an audit entry")),
        (&*all, None),
    ] {
        let operator = Operator::new()
            .with("OBS_STORE", role_with(grants))
            .with("OBS_STORE_MIGRATE", "external")
            .with("OBS_SPOOL", "off");
        let said = operator.call(&["doctor", "--json"]);
        assert_eq!(said.code, i32::from(hop.is_some()), "{said:?}");
        let store = finding(&findings(&said), "store").clone();
        assert_eq!(store["stopped_at"].as_str(), hop, "{said:?}");
        let detail = store["detail"].as_str().unwrap();
        assert_eq!(detail.contains("permission denied"), hop.is_some(), "{said:?}");
    }
}

#[test]
fn a_port_for_prometheus_is_free_or_in_use_by_somebody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let operator = Operator::new()
        .with("OBS_ENABLED", "false")
        .with("OTEL_METRICS_EXPORTER", "prometheus")
        .with("OTEL_EXPORTER_PROMETHEUS_PORT", &port);
    let somebody = thread::spawn(move || answer(listener.accept().unwrap().0));
    let said = operator.call(&["doctor", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let metrics = finding(&findings(&said), "metrics").clone();
    assert_eq!(metrics["stopped_at"], "listening", "{said:?}");
    for part in ["no program of ours", "OTEL_EXPORTER_PROMETHEUS_PORT"] {
        assert!(metrics["detail"].as_str().unwrap().contains(part), "{said:?}");
    }
    assert_eq!(somebody.join().unwrap(), "GET /metrics HTTP/1.1");
    let said = operator.call(&["doctor", "--json"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert_eq!(finding(&findings(&said), "metrics")["state"], "ok");
}

#[test]
fn a_name_that_nobody_has_is_the_hop() {
    // A label has at most 63 letters, so no server of names is asked.
    let endpoint = format!("http://{}:4318", "collect0".repeat(8));
    let operator =
        Operator::new().with("OBS_ENABLED", "false").with("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let said = operator.call(&["doctor", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(finding(&findings(&said), "metrics")["stopped_at"], "the name", "{said:?}");
}

#[test]
fn a_report_is_sent_to_sentry_and_its_key_is_never_shown() {
    let (address, asked) = receiver();
    let dsn = format!("{}/42", address.replace("http://", "http://5ec2e7@"));
    let operator =
        |dsn: &str| Operator::new().with("OBS_ENABLED", "false").with("OBS_SENTRY_DSN", dsn);
    let said = operator(&dsn).call(&["doctor", "--json"]);
    assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
    assert_eq!(finding(&findings(&said), "errors")["state"], "ok", "{said:?}");
    assert_eq!(asked.first(), "POST /api/42/envelope/ HTTP/1.1");
    let refused = operator("http://5ec2e7@127.0.0.1:1/42").call(&["doctor", "--json"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(finding(&findings(&refused), "errors")["stopped_at"], "the connection");
    assert!(!said.out.contains("5ec2e7") && !refused.out.contains("5ec2e7"), "{refused:?}");
}
