//! The service from outside, as a process of its own: what one request leaves behind, and what many do of which
//! some hang up.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::{
    collections::BTreeSet,
    env, fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use diesel::{Connection, RunQueryDsl, dsl::sql, sql_types::Text, sqlite::SqliteConnection};
use obs::Clock;
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

struct Service {
    process: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Service {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| fs::File::create(folder.path().join(name)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_axum-service"))
            .arg("127.0.0.1:0")
            .env("OBS_STORE", format!("sqlite:{}", folder.path().join("rows.sqlite").display()))
            .env("OBS_SAMPLE_RATE", "1")
            .env("OBS_LOG_FORMAT", "json")
            .env("OTEL_TRACES_EXPORTER", "console")
            .env("OTEL_SERVICE_NAME", "shop")
            .env_remove("OBS_LOG")
            .env_remove("RUST_LOG")
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        let mut service = Self { process, address: String::new(), folder };
        let open = service.until("it is open", |service| {
            service.lines("err").into_iter().find(|line| line["message"] == "open")
        });
        service.address = open["address"].as_str().unwrap().to_owned();
        service
    }

    fn until<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let clock = Clock::default();
        let start = clock.now();
        loop {
            if let Some(seen) = look(self) {
                return seen;
            }
            let log = || fs::read_to_string(self.folder.path().join("err")).unwrap_or_default();
            assert!(clock.now().since(start) < PATIENCE, "not seen: {what}; {}", log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it wrote, an object a line; a line under way is left out.
    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn ask(&self, path: &str, headers: &str) -> String {
        let mut connection = self.asked(path, headers);
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    fn asked(&self, path: &str, headers: &str) -> TcpStream {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{headers}\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        connection
    }

    fn body(&self, path: &str) -> Value {
        let answer = self.ask(path, "");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Interrupts it, as a terminal does, and waits for its end.
    fn close(&mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let clock = Clock::default();
        let start = clock.now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(clock.now().since(start) < PATIENCE, "it goes on after an interrupt");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn rows(folder: &Path, query: &str) -> Vec<String> {
    let file = folder.join("rows.sqlite");
    let mut rows = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    sql::<Text>(query).load(&mut rows).unwrap()
}

#[test]
fn lines_spans_rows_and_metrics_of_one_request_share_its_ids() {
    let mut service = Service::start();
    let caller = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n");
    let answer = service.ask("/price/chair", &format!("X-Request-Id: 4b0c1f\r\n{caller}"));
    assert!(answer.ends_with(r#"{"item":"chair","price":49.0}"#), "{answer}");
    assert!(answer.contains("x-request-id: 4b0c1f"), "{answer}");

    let line = service.until("the line of the run", |service| {
        service.lines("err").into_iter().find(|line| line["message"] == "priced")
    });
    let text = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (text(&line, "trace_id"), text(&line, "correlation_id")),
        (TRACE.into(), "4b0c1f".into())
    );
    assert_eq!((text(&line, "service"), &line["price"]), ("shop".into(), &49.0.into()));
    let (run_id, run_span) = (text(&line, "run_id"), text(&line, "span_id"));

    let span = |name: &'static str| {
        service.until(name, |service| {
            service.lines("out").into_iter().find(|span| span["name"] == name)
        })
    };
    let (run, request) = (span("shop pricing"), span("GET /price/{item}"));
    for span in [&run, &request, &span("scarce?")] {
        assert_eq!(text(span, "trace_id"), TRACE, "{span}");
    }
    assert_eq!(text(&run, "span_id"), run_span);
    assert_eq!(text(&run, "parent_span_id"), text(&request, "span_id"));
    assert_eq!(text(&request, "parent_span_id"), "00f067aa0ba902b7");
    assert_eq!(text(&run["attributes"], "obs.run.id"), run_id);
    assert_eq!(text(&request["attributes"], "obs.run.correlation_id"), "4b0c1f");

    let metrics =
        service.ask("/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    let ids = [format!("run_id=\"{run_id}\""), format!("trace_id=\"{TRACE}\"")];
    let bucket = metrics.lines().find(|line| ids.iter().all(|id| line.contains(id.as_str())));
    assert!(
        bucket.is_some_and(|line| line.contains("obs_run_duration_seconds_bucket")),
        "{metrics}"
    );

    service.close();
    let query =
        "lower(hex(run_id)) || ' ' || trace_id || ' ' || correlation_id || ' ' || span_id FROM run";
    let found = rows(service.folder.path(), &format!("SELECT {query} WHERE kind = 'shop'"));
    let (id, parent) = (run_id.replace('-', ""), text(&request, "span_id"));
    assert_eq!(found, [format!("{id} {TRACE} 4b0c1f {parent}")]);
    let closed = service.lines("err").into_iter().find(|line| line["message"] == "closed");
    let report = text(&closed.unwrap(), "report");
    assert!(report.contains("0 dropped, 0 left") && report.contains("traces exported"), "{report}");
}

#[test]
fn under_load_with_callers_who_hang_up_nothing_stays_in_flight_and_every_request_is_counted() {
    const CALLERS: usize = 4;
    const REQUESTS: usize = 150;
    let mut service = Service::start();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let service = &service;
            scope.spawn(move || {
                for nth in 0..REQUESTS {
                    let id = format!("X-Request-Id: {caller}-{nth}\r\n");
                    match nth % 3 {
                        0 => drop(service.ask("/price/lamp", &id)),
                        1 => drop(service.ask("/parcel/nowhere", &id)),
                        // Asks, and is gone before there is an answer.
                        _ => service.asked("/price/chair", &id).shutdown(Shutdown::Both).unwrap(),
                    }
                }
            });
        }
    });
    let requests = service.until("all requests have ended", |service| {
        let requests = service.body("/runtime")["requests"].clone();
        (requests["in_flight"] == 0).then_some(requests)
    });
    let count = |of: &Value| of.as_u64().unwrap();
    let started = count(&requests["started"]);
    assert_eq!(started, count(&requests["finished"]));
    // A caller may be gone before the server has read its request.
    let answered = 2 * CALLERS * REQUESTS / 3;
    assert!((answered as u64..=(CALLERS * REQUESTS) as u64).contains(&started), "{started}");
    let metrics = service.ask("/metrics", "");
    let active: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("http_server_active_requests{")).collect();
    assert!(!active.is_empty() && active.iter().all(|line| line.ends_with(" 0")), "{active:?}");
    let ledger = service.body("/ledger");
    assert_eq!(ledger["imbalance"], 0, "{ledger}");

    service.close();
    // Each failed run has a row, under the id of its request.
    let failed = "SELECT correlation_id FROM run WHERE kind = 'shop' AND status = 'error'";
    let failed = rows(service.folder.path(), failed);
    assert_eq!(failed.len(), CALLERS * REQUESTS / 3);
    assert_eq!(failed.iter().collect::<BTreeSet<_>>().len(), failed.len());
    let warned =
        service.lines("err").into_iter().filter(|line| line["message"] == "nobody brings it there");
    let warned: BTreeSet<String> =
        warned.map(|line| line["correlation_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(warned, failed.into_iter().collect());
}

/// Says that there was no load, and why: where everything can be installed, that is a failure.
#[expect(clippy::disallowed_methods, reason = "how the scripts say so")]
fn skipped(why: &str) {
    let must = env::var("OBS_TEST_PRIVILEGED").is_ok();
    assert!(!must, "OBS_TEST_PRIVILEGED is set, but {why}");
    // Not by a macro: what those print is shown for tests that fail only.
    let _ = writeln!(std::io::stderr(), "SKIPPED: no load by wrk, because {why}");
}

#[test]
fn under_wrk_with_connections_that_are_cut_nothing_stays_in_flight() {
    const CONNECTIONS: &str = "64";
    /// Requests that were answered before the connections of all the others are cut.
    const ENOUGH: u64 = 2_000;
    let mut service = Service::start();
    let counts = |service: &Service| service.body("/runtime")["requests"].clone();
    let count = |of: &Value| of.as_u64().unwrap_or_else(|| panic!("no count: {of}"));
    for round in 1..=2 {
        let url = format!("http://{}/price/chair", service.address);
        let wrk = Command::new("wrk")
            .args(["--threads", "2", "--connections", CONNECTIONS, "--duration", "60s", &url])
            .stdout(Stdio::null())
            .spawn();
        let mut wrk = match wrk {
            Ok(wrk) => wrk,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return skipped("wrk is not installed (Debian: wrk)");
            }
            Err(error) => panic!("{error}"),
        };
        service.until("enough requests", |service| {
            (count(&counts(service)["finished"]) > round * ENOUGH).then_some(())
        });
        // Every connection has a request under way, which takes some milliseconds.
        wrk.kill().unwrap();
        wrk.wait().unwrap();
    }
    let requests = service.until("all requests have ended", |service| {
        let requests = counts(service);
        (count(&requests["started"]) == count(&requests["finished"])).then_some(requests)
    });
    let cancelled = count(&requests["by_route"]["/price/{item}"]["classes"]["cancelled"]);
    assert!(cancelled > 0, "{requests}");
    let metrics = service.ask("/metrics", "");
    let active: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("http_server_active_requests{")).collect();
    assert!(!active.is_empty() && active.iter().all(|line| line.ends_with(" 0")), "{active:?}");
    let ledger = service.body("/ledger");
    assert_eq!(
        (&ledger["imbalance"], &ledger["runs"]["active"]),
        (&0.into(), &0.into()),
        "{ledger}"
    );
    service.close();
}
