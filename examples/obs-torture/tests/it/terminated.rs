//! SIGTERM, with a store that works, one that is down, and one that stalls.

use std::time::Duration;

use crate::{
    postgres::Postgres,
    support::{Account, Rack, assert_same, dump},
};

/// The deadline of the shutdown, which is 5 s, and half a second.
const MOST: Duration = Duration::from_millis(5_500);

const UNDER_LOAD: &str = "--runs 100000000 --rate 2000 --threads 4 --error-every 5";

#[test]
fn under_load_everything_is_stored_before_the_deadline() {
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let spool = rack.path("spool");
    let store = format!("--spool {} --db {}", spool.display(), postgres.url);
    // The schema is there, and the queue has room for seconds: how fast a busy machine writes is not what is asked.
    let room = [("OBS_QUEUE_RECORDS", "100000")];
    let (first, before) = rack.run("first", &format!("--runs 1 {store}"));
    assert_eq!(first.code, Some(0), "{first:?}");
    let before: Vec<String> = before.acks.into_iter().map(|ack| ack.id).collect();
    let mut victim = rack.start_in(&room, "one", &format!("{UNDER_LOAD} {store}"));
    victim.until_acked(2_000);
    let ended = victim.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.took <= MOST, "{:?}", ended.took);
    let account = victim.account();
    account.assert_balanced();
    for (class, promise) in [("ok", "memory"), ("error", "os")] {
        let mut stored = postgres.ids(class);
        stored.retain(|id| !before.contains(id));
        assert_same(&stored, &account.ids(class, &[promise]), class);
        assert!(account.dropped(class).is_empty(), "{ended:?}");
    }
    assert_eq!(dump(&spool), Vec::<String>::new());
}

#[test]
fn with_a_store_that_is_down_or_stalls_errors_stay_in_the_spool_and_the_end_is_in_time() {
    for trouble in ["kill", "pause"] {
        let (rack, mut postgres) = (Rack::new(), Postgres::start());
        let spool = rack.path("spool");
        let store = format!("--spool {} --db {}", spool.display(), postgres.url);
        let mut victim = rack.start("one", &format!("{UNDER_LOAD} {store}"));
        victim.until_acked(500);
        postgres.tell(trouble);
        victim.until_acked(4_000);
        victim.signal("TERM");
        // Somebody is impatient; the deadline stays.
        victim.signal("TERM");
        let ended = victim.end();
        assert_eq!(ended.code, Some(3), "{trouble}: {ended:?}");
        assert!(ended.took <= MOST, "{trouble}: {:?}", ended.took);
        let account = victim.account();
        account.assert_balanced();
        assert!(account.dropped("error").is_empty(), "{trouble}: {}", account.ledger);
        assert_reported(&account, &ended.out);

        postgres.tell(if trouble == "kill" { "start" } else { "resume" });
        let (ended, next) = rack.run("next", &format!("--runs 0 {store}"));
        assert_eq!(ended.code, Some(0), "{trouble}: {ended:?}");
        assert_eq!(next.ledger["imbalance"], 0);
        assert_same(&postgres.ids("error"), &account.ids("error", &["os"]), trouble);
        let ok_lost: u64 = account.dropped("ok").values().sum();
        let ok_stored = postgres.ids("ok").len() as u64;
        // A batch whose answer never came may be there all the same.
        let recorded = account.term(&["ok", "recorded"]);
        assert!(
            ok_stored + ok_lost >= recorded,
            "{trouble}: {ok_stored} + {ok_lost} of {recorded}"
        );
    }
}

/// The report says as many errors in the spool as the ledger, and that it counts since the shutdown began; the ledger that
/// is printed is that of the file.
fn assert_reported(account: &Account, out: &str) {
    let spooled = account.term(&["error", "spooled"]);
    let dropped: u64 = account.dropped("ok").values().sum();
    let report = out.lines().find_map(|line| line.strip_prefix("report: ")).unwrap();
    assert!(
        spooled > 0 && report.contains(&format!(" {spooled} spooled")),
        "{report}: {}",
        account.ledger
    );
    assert!(report.ends_with("(rows since the shutdown began)"), "{report}");
    let ledger = out.lines().find_map(|line| line.strip_prefix("ledger: ")).unwrap();
    for (class, term) in [("ok", "recorded"), ("error", "recorded"), ("error", "spooled")] {
        let count = account.term(&[class, term]);
        assert!(ledger.contains(&format!("{count} {term}")), "{class} {term}: {ledger}");
    }
    assert!(dropped > 0 && ledger.ends_with("imbalance 0"), "{ledger}");
}
