//! The three holes through which an earlier system lost errors in silence, and longer outages.

use std::{collections::BTreeMap, thread, time::Duration};

use obs::Clock;

use crate::{
    postgres::Postgres,
    support::{Rack, Victim, assert_same, count, dump, term, until},
};

#[test]
fn a_burst_of_errors_that_never_yields_on_a_runtime_with_one_thread_is_stored() {
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let flags = format!(
        "--runs 5000 --error-every 1 --runtime current --spool {} --db {}",
        rack.path("spool").display(),
        postgres.url
    );
    let (ended, account) = rack.run("one", &flags);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    account.assert_balanced();
    let promised = account.ids("error", &["os"]);
    assert_eq!(promised.len(), 5_000);
    assert_same(&postgres.ids("error"), &promised, "errors");
}

#[test]
fn the_same_burst_without_a_spool_loses_nothing_in_silence() {
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let flags = format!("--runs 5000 --error-every 1 --runtime current --db {}", postgres.url);
    let (ended, account) = rack.run("one", &flags);
    account.assert_balanced();
    assert_eq!(account.acks.len(), 5_000, "{ended:?}");
    let promised = account.ids("error", &["memory"]);
    assert_same(&postgres.ids("error"), &promised, "what was not refused");
    let refused = account.ids("error", &["refused"]).len() as u64;
    let expected = BTreeMap::from([("queue_full".to_owned(), refused)]);
    assert_eq!(account.dropped("error"), if refused > 0 { expected } else { BTreeMap::new() });
}

#[test]
fn a_store_that_refuses_connections_costs_no_error() {
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    postgres.tell("kill");
    let flags = format!(
        "--runs 36000 --error-every 1 --threads 2 --shutdown-ms 60000 --spool {} --db {}",
        rack.path("spool").display(),
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
    let promised = account.ids("error", &["os"]);
    assert_eq!(promised.len(), 36_000, "every one is promised");
    assert_same(&postgres.ids("error"), &promised, "errors");
}

#[test]
fn a_store_that_stalls_holds_up_neither_runs_nor_the_end_and_costs_no_error() {
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    let store = format!("--spool {} --db {}", rack.path("spool").display(), postgres.url);
    let flags = format!("--runs 5100 --error-every 1 --rate 5000 --shutdown-ms 2000 {store}");
    let mut victim = rack.start("one", &flags);
    until("the store works", || term(&victim.ledger(), &["error", "persisted"]) > 0);
    postgres.tell("pause");
    let ended = victim.end();
    postgres.tell("resume");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let account = victim.account();
    account.assert_balanced();
    assert_eq!(account.ids("error", &["os"]).len(), 5_100);
    assert!(account.dropped("error").is_empty(), "{}", account.ledger);

    let (ended, _) = rack.run("next", &format!("--runs 0 {store}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_same(&postgres.ids("error"), &account.ids("error", &["os"]), "errors");
}

/// Errors a second during the outage.
const RATE: u64 = 200;

/// How often the server is killed afterwards, each time amid rows that are written.
const KILLS: u64 = 5;

/// At least so many rows are written between two kills.
const BETWEEN: u64 = 20;

/// How long the rest may take once the server accepts connections again.
const DRAIN: Duration = Duration::from_secs(10);

/// 4 seconds here; a minute in a soak.
#[test]
fn an_outage_and_a_server_that_is_killed_again_and_again_cost_nothing() {
    let seconds = count("OBS_TEST_OUTAGE_SECONDS", 4);
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    let spool = rack.path("spool");
    postgres.tell("kill");
    let flags = format!(
        "--runs 100000000 --rate {RATE} --error-every 1 --shutdown-ms 10000 --spool {} --db {}",
        spool.display(),
        postgres.url
    );
    let mut victim = rack.start("one", &flags);
    scrape_until(&victim, "the outage is over", |stored, acked| {
        assert_eq!(stored, 0);
        acked >= RATE * seconds
    });
    for kill in 0..KILLS {
        postgres.tell("start");
        // A server to which nobody is connected may be killed as often as one likes.
        let before = postgres.count_if_any("error");
        scrape_until(&victim, "rows are written again", |_, _| {
            postgres.count_if_any("error") >= before + BETWEEN
        });
        postgres.tell("kill");
        println!("kill {kill}: more than {before} rows");
    }
    postgres.tell("start");
    let clock = Clock::default();
    let start = clock.now();
    // Errors go on meanwhile.
    scrape_until(&victim, "all is stored", |stored, acked| acked - stored <= RATE / 2);
    let took = clock.now().since(start);
    assert!(took <= DRAIN, "{took:?}");
    let ended = victim.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let account = victim.account();
    assert!(account.acks.len() as u64 >= RATE * seconds);
    assert_same(&postgres.ids("error"), &account.ids("error", &["os"]), "errors");
    assert!(account.dropped("error").is_empty(), "{}", account.ledger);
    until("the spool is empty", || dump(&spool).is_empty());
}

/// Looks at every ledger that the process leaves, until something is true of what is stored and of what
/// was promised. Each of them balances.
fn scrape_until(victim: &Victim, what: &str, mut is_true: impl FnMut(u64, u64) -> bool) {
    let most = Duration::from_secs(2 * count("OBS_TEST_OUTAGE_SECONDS", 4) + 60);
    let clock = Clock::default();
    let start = clock.now();
    loop {
        let ledger = victim.ledger();
        for books in [&ledger, &ledger["ok"], &ledger["error"]] {
            assert_eq!(books["imbalance"], 0, "{ledger}");
        }
        let [stored, recorded] =
            ["persisted", "recorded"].map(|name| term(&ledger, &["error", name]));
        if is_true(stored, recorded) {
            return;
        }
        assert!(clock.now().since(start) < most, "never: {what}: {ledger}");
        thread::park_timeout(Duration::from_millis(50));
    }
}
