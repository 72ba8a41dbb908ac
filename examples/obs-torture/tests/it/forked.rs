//! A process that forks while its worker writes: nothing of the child is lost in silence.

use std::fs;

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
