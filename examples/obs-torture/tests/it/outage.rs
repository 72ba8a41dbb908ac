//! The three holes through which an earlier system lost errors in silence, and longer outages.

use std::collections::BTreeMap;

use crate::{
    postgres::Postgres,
    support::{Rack, assert_same, term, until},
};

#[test]
fn a_store_that_refuses_connections_costs_no_error_in_silence() {
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    postgres.tell("kill");
    let flags = format!(
        "--runs 36000 --error-every 1 --threads 2 --shutdown-ms 60000 --db {}",
        postgres.url
    );
    let mut victim = rack.start("one", &flags);
    victim.until_acked(36_000);
    assert_eq!(term(&victim.ledger(), &["error", "persisted"]), 0);
    postgres.tell("start");
    let ended = victim.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let account = victim.account();
    account.assert_balanced();
    let promised = account.ids("error", &["memory"]);
    assert!(promised.len() >= 1_256, "what has room is kept: {}", promised.len());
    assert_same(&postgres.ids("error"), &promised, "nothing that was promised is lost");
    let refused = account.ids("error", &["refused"]).len() as u64;
    assert_eq!(account.dropped("error"), BTreeMap::from([("queue_full".to_owned(), refused)]));
}

#[test]
fn a_store_that_stalls_holds_up_neither_runs_nor_the_end_and_costs_no_error_in_silence() {
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    let flags =
        format!("--runs 5100 --error-every 1 --rate 5000 --shutdown-ms 2000 --db {}", postgres.url);
    let mut victim = rack.start("one", &flags);
    until("the store works", || term(&victim.ledger(), &["error", "persisted"]) > 0);
    postgres.tell("pause");
    let ended = victim.end();
    postgres.tell("resume");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let account = victim.account();
    account.assert_balanced();
    assert_eq!(account.acks.len(), 5_100);
    let pending = account.term(&["error", "in_queue"]) + account.term(&["error", "spooled"]);
    assert_eq!(pending, 0, "nothing is left without a word: {}", account.ledger);
    let dropped: u64 = account.dropped("error").values().sum();
    assert_eq!(account.term(&["error", "persisted"]) + dropped, 5_100);
    let missing: Vec<_> = {
        let stored = postgres.ids("error");
        let ids = account.ids("error", &["memory", "refused"]);
        ids.into_iter().filter(|id| !stored.contains(id)).collect()
    };
    // A batch whose answer never came may have been committed all the same.
    assert!(missing.len() as u64 <= dropped, "{} of {dropped}", missing.len());
}

#[test]
fn a_burst_of_errors_that_never_yields_on_a_runtime_with_one_thread_is_accounted_for() {
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let (ended, account) = rack.run(
        "one",
        &format!("--runs 5000 --error-every 1 --runtime current --db {}", postgres.url),
    );
    account.assert_balanced();
    assert_eq!(account.acks.len(), 5_000, "{ended:?}");
    let promised = account.ids("error", &["memory"]);
    assert_same(&postgres.ids("error"), &promised, "what was not refused is stored");
    let refused = account.ids("error", &["refused"]).len() as u64;
    let expected = BTreeMap::from([("queue_full".to_owned(), refused)]);
    assert_eq!(account.dropped("error"), if refused > 0 { expected } else { BTreeMap::new() });
}
