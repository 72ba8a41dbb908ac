//! A process that forks while its worker writes: nothing of the child is lost in silence.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    postgres::Postgres,
    support::{Account, Rack, assert_same},
};

#[test]
fn every_run_of_a_forked_child_is_stored_or_counted_and_the_parent_does_not_notice() {
    const RUNS: u64 = 2_000;
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let store = format!("--spool {} --db {}", rack.path("spool").display(), postgres.url);
    let flags = format!(
        "--runs {RUNS} --threads 2 --rate 2000 --error-every 3 --fork --shutdown-ms 3000 {store}"
    );
    let (ended, both) = rack.run("one", &flags);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (theirs, ours) = both.acks.into_iter().partition(|ack| ack.seq >= RUNS);
    let parent = Account { acks: ours, ledger: both.ledger };
    parent.assert_balanced();
    assert_eq!(parent.acks.len() as u64, RUNS);

    let ledger: Value =
        serde_json::from_str(&fs::read_to_string(rack.path("one.json.child")).unwrap()).unwrap();
    let child = Account { acks: theirs, ledger };
    assert_eq!(child.acks.len() as u64, RUNS / 2);
    assert_eq!(child.ledger["imbalance"], 0, "{}", child.ledger);

    assert!(parent.dropped("error").is_empty(), "{}", parent.ledger);
    for class in ["ok", "error"] {
        let promise = ["memory", "os", "disk"];
        let promised: std::collections::BTreeSet<_> =
            parent.ids(class, &promise).union(&child.ids(class, &promise)).cloned().collect();
        assert_same(&postgres.ids(class), &promised, class);
        let dropped: u64 = parent.dropped(class).values().sum();
        assert_eq!(dropped, parent.ids(class, &["refused"]).len() as u64, "{}", parent.ledger);
        let refused = child.ids(class, &["refused"]).len() as u64;
        assert!(child.term(&[class, "dropped", "forked"]) >= refused, "{}", child.ledger);
    }
}

/// The child is forked while the parent's thread that writes lines has work: whatever lock that thread had, the
/// child does not wait for it, and nothing of the parent's is written twice.
#[test]
fn a_forked_child_that_logs_is_not_stuck_and_its_parents_lines_are_written_once_each() {
    const RUNS: u64 = 4_000;
    let rack = Rack::new();
    let flags = format!("--runs {RUNS} --threads 2 --fork --log-lines --shutdown-ms 3000");
    let (ended, both) = rack.run("logs", &flags);
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(ended.out.contains("child report: "), "{}", ended.out);
    assert_eq!(both.acks.len() as u64, RUNS + RUNS / 2);
    let lines = ended.err.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut logged: Vec<u64> = lines.filter_map(|line| line["seq"].as_u64()).collect();
    logged.sort_unstable();
    assert!(logged.into_iter().eq(0..RUNS), "{}", ended.err);
}

/// The address of a Collector that takes everything.
fn collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
                    let mut body =
                        vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
                    head.clear();
                    let taken = stream.read_exact(&mut body).is_ok()
                        && stream
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                            .is_ok();
                    if !taken {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// Its exports' threads are its parent's: it says so at once, instead of waiting for them for ever.
#[test]
fn a_forked_child_of_a_process_that_exports_everything_ends_and_says_that_it_exports_nothing() {
    let (rack, endpoint) = (Rack::new(), collector());
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
    ];
    let flags = "--runs 200 --threads 2 --fork --log-lines --shutdown-ms 10000";
    let mut parent = rack.start_in(&environment, "one", flags);
    let ended = parent.end();
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    let line = |begin: &str| {
        let line = ended.out.lines().find(|line| line.starts_with(begin));
        line.unwrap_or_else(|| panic!("no {begin:?}: {}", ended.out)).to_owned()
    };
    let report = line("report: ");
    for exported in ["metrics exported", "logs exported", "traces exported"] {
        assert!(report.contains(exported), "{report}");
    }
    let report = line("child report: ");
    assert_eq!(report.matches("a forked process exports nothing").count(), 3, "{report}");
    assert!(line("child: ").ends_with("exit status 3"), "{}", ended.out);
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
}
