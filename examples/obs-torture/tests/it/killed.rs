//! SIGKILL at any moment: what was promised is there, and what died in memory is counted.

use std::collections::BTreeSet;

use crate::{
    postgres::Postgres,
    support::{Account, Rack, assert_same, assert_verified, count, dump},
};

/// Each of them may have been killed after its record was counted and before the log says so.
const THREADS: u64 = 4;

/// How often a process is killed: few times here, 300 times in a soak.
fn kills() -> u64 {
    count("OBS_TEST_KILLS", 20)
}

/// So many lines of the log are waited for; different ones each time, the same for each test run.
fn moment(round: u64) -> usize {
    let mixed = (round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    usize::try_from(50 + mixed % 2_500).unwrap()
}

#[test]
fn no_promised_error_is_lost_and_lost_ok_records_are_counted_at_the_next_start() {
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let store = format!("--spool {} --db {}", rack.path("spool").display(), postgres.url);
    let (mut true_losses, mut counted, mut doubts) = (0, 0, 0);
    for round in 0..kills() {
        let flags =
            format!("--runs 100000000 --threads {THREADS} --error-every 3 --row-bytes 300 {store}");
        let mut victim = rack.start(&format!("victim-{round}"), &flags);
        victim.until_acked(moment(round));
        victim.kill();
        assert_verified(&rack.path("spool"), &format!("round {round}"));
        let killed = victim.account();
        let promised = killed.ids("error", &["os", "disk"]);
        assert!(killed.ids("error", &["memory", "refused"]).is_empty(), "each error was spooled");
        let in_reach: BTreeSet<_> =
            dump(&rack.path("spool")).into_iter().chain(postgres.ids_if_any("error")).collect();
        assert!(
            promised.is_subset(&in_reach),
            "round {round}: every promise is kept, wherever it is"
        );

        let (ended, next) = rack.run(&format!("next-{round}"), &format!("--runs 0 {store}"));
        assert_eq!(ended.code, Some(0), "round {round}: {ended:?}");
        assert_eq!(next.ledger["imbalance"], 0);
        let stored = postgres.ids("error");
        let lost: Vec<_> = promised.difference(&stored).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} lost", lost.len(), promised.len());

        let true_loss =
            killed.ids("ok", &["memory"]).difference(&postgres.ids("ok")).count() as u64;
        let crashed = next.term(&["ok", "dropped", "crash"]);
        assert!(
            (true_loss..=true_loss + THREADS).contains(&crashed),
            "round {round}: {true_loss} ok records are lost, {crashed} are counted"
        );
        assert!(next.term(&["error", "dropped", "crash"]) <= THREADS, "{}", next.ledger);
        assert_eq!(
            dump(&rack.path("spool")),
            Vec::<String>::new(),
            "what is stored leaves the spool"
        );
        (true_losses, counted) = (true_losses + true_loss, counted + crashed);
        doubts += next.term(&["ok", "persisted"]);
    }
    assert!(true_losses > 0, "processes died with records in memory");
    println!(
        "{} kills: {true_losses} ok records lost, {counted} counted; {doubts} were stored, which their process did not \
         live to count",
        kills()
    );
}

#[test]
fn every_promise_to_the_disk_is_kept_too() {
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let store = format!("--spool {} --db {}", rack.path("spool").display(), postgres.url);
    for (round, runtime) in ["none", "current", "multi"].into_iter().enumerate() {
        let flags = format!(
            "--runs 100000000 --threads 2 --error-every 2 --durability disk --runtime {runtime} {store}"
        );
        let mut victim = rack.start(runtime, &flags);
        victim.until_acked(200 + 100 * round);
        victim.kill();
        let killed = victim.account();
        assert!(killed.acks.iter().all(|ack| ack.class == "ok" || ack.ack == "disk"), "{runtime}");
        let (ended, _) = rack.run("next", &format!("--runs 0 {store}"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(killed.ids("error", &["disk"]).is_subset(&postgres.ids("error")), "{runtime}");
    }
}

/// What a panic comes to where it does not unwind.
#[test]
fn a_process_that_aborts_inside_a_run_leaves_that_run_as_one_lost_row_and_every_error_before_it() {
    const ABORT_AT: u64 = 700;
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    for store_is_up in [true, false] {
        postgres.query("DROP SCHEMA IF EXISTS obs CASCADE");
        if !store_is_up {
            postgres.tell("kill");
        }
        let store = format!("--spool {} --db {}", rack.path("spool").display(), postgres.url);
        let flags = format!("--runs 1000 --error-every 3 --abort-at {ABORT_AT} {store}");
        let mut victim = rack.start("victim", &flags);
        let ended = victim.end();
        assert_eq!(ended.code, None, "a signal ended it: {ended:?}");
        let open: Vec<_> =
            ended.out.lines().filter_map(|line| line.strip_prefix("open ")).collect();
        let aborted = victim.account();
        assert_eq!((open.len(), aborted.acks.len() as u64), (1, ABORT_AT), "{ended:?}");

        if !store_is_up {
            postgres.tell("start");
        }
        let (ended, next) = rack.run("next", &format!("--runs 0 {store}"));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(next.ledger["imbalance"], 0);
        let lost = lost(&postgres);
        assert_eq!(lost.iter().collect::<Vec<_>>(), open, "store is up: {store_is_up}");
        let promised = aborted.ids("error", &["os"]);
        assert_eq!(promised.len() as u64, ABORT_AT / 3);
        assert_same(
            &postgres.ids("error").difference(&lost).cloned().collect(),
            &promised,
            "errors",
        );
    }
}

#[test]
fn the_ledger_of_the_next_process_explains_every_run_of_the_dead_one() {
    const OPEN: u64 = 3;
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    let spool = rack.path("spool");
    let store = format!("--spool {} --db {}", spool.display(), postgres.url);
    postgres.tell("kill");
    let flags = format!("--runs 3000 --error-every 2 --inflight-at-end {OPEN} {store}");
    let mut victim = rack.start("victim", &flags);
    victim.until_acked(3_000);
    victim.until_said("open ", usize::try_from(OPEN).unwrap());
    victim.kill();
    assert_verified(&spool, "with all of its errors");
    let Account { acks, .. } = victim.account();
    let refused = acks.iter().filter(|ack| ack.ack == "refused").count() as u64;
    postgres.tell("start");
    let (ended, next) = rack.run("next", &format!("--runs 0 {store}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let crashed = next.term(&["error", "dropped", "crash"]);
    assert_eq!(next.term(&["error", "adopted"]), 1_500 + OPEN + crashed);
    assert_eq!(next.term(&["error", "persisted"]), 1_500 + OPEN);
    assert_eq!(
        next.term(&["ok", "adopted"]),
        1_500 - refused,
        "what was not refused died in memory"
    );
    assert_eq!(next.term(&["ok", "dropped", "crash"]), 1_500 - refused);
    let promised =
        acks.iter().filter(|ack| ack.class == "error").map(|ack| ack.id.clone()).collect();
    let (stored, lost) = (postgres.ids("error"), lost(&postgres));
    assert_eq!(lost.len() as u64, OPEN, "runs that were inside are rows");
    assert_same(&stored.difference(&lost).cloned().collect(), &promised, "errors");
}

#[test]
fn a_process_that_only_takes_over_waits_for_it_while_the_store_is_held_up() {
    const ERRORS: usize = 400;
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    let store = format!("--spool {} --db {}", rack.path("spool").display(), postgres.url);
    let (ended, _) = rack.run("first", &format!("--runs 1 {store}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    postgres.tell("kill");
    let flags = format!("--runs {ERRORS} --error-every 1 --inflight-at-end 1 {store}");
    let mut victim = rack.start("victim", &flags);
    victim.until_said("open ", 1);
    victim.kill();
    postgres.tell("start");
    // A day that is over cannot be dropped, so that the worker is held up before it takes anything over.
    postgres.query("SELECT obs.make_day('2020-01-01')");
    let days = "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'obs.run_error'::regclass";
    let over = postgres.query(days).remove(0);
    let held = postgres.hold(&format!("LOCK TABLE {over} IN ACCESS SHARE MODE"));
    let (ended, next) = rack.run("next", &format!("--runs 0 {store}"));
    drop(held);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(next.term(&["error", "persisted"]), ERRORS as u64 + 1, "{ended:?}");
    let promised = victim.account().ids("error", &["os", "disk"]);
    assert!(promised.is_subset(&postgres.ids("error")));
}

fn lost(postgres: &Postgres) -> BTreeSet<String> {
    postgres.query("SELECT run_id FROM obs.run_error WHERE status = 'lost'").into_iter().collect()
}
