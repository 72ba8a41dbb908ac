//! The file system under the spool gives up while runs are made: one with segments, a lock and mapped pages in it.

use std::collections::BTreeSet;

use crate::{
    disk::Disk,
    postgres::Postgres,
    support::{Rack, Victim, assert_same, is_soak},
};

const THREADS: usize = 4;

/// Runs a second, half of them errors.
const RATE: usize = 1_000;

/// How often, for the process that goes on and for the one that is killed.
fn times() -> u64 {
    if is_soak() { 5 } else { 1 }
}

#[test]
fn a_file_system_that_gives_up_ends_no_process_and_costs_no_error() {
    let mut postgres = Postgres::start();
    for _ in 0..times() {
        let rack = Rack::new();
        let Some((disk, mut victim, store)) = written_back(&rack, &mut postgres, THREADS) else {
            return;
        };
        // At once, so that the next write to a page asks the file system.
        disk.gives_up();
        let before = victim.acks().len();
        // The runs go on, and what waits is stored when the store is back.
        victim.until_acked(before + RATE);
        postgres.tell("start");
        let ended = victim.terminate();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
        let account = victim.account();
        account.assert_balanced();
        let late = &account.acks[before + RATE / 2..];
        assert!(late.iter().all(|ack| ack.ack != "disk"), "a promise that cannot be kept");
        let acknowledged = account.ids("error", &["disk", "os", "memory"]);
        assert_same(&postgres.ids("error"), &acknowledged, "errors");
        let refused = account.ids("error", &["refused"]).len() as u64;
        assert_eq!(account.dropped("error").values().sum::<u64>(), refused, "{}", account.ledger);

        // What could not be removed is offered once more, and is there already.
        let _disk = disk.mounted_again();
        let stored = after_the_next(&rack, &store, &postgres);
        assert_same(&stored, &acknowledged, "errors");
    }
}

#[test]
fn what_was_promised_to_be_on_the_disk_is_there_when_its_file_system_gives_up_and_the_process_dies()
{
    let mut postgres = Postgres::start();
    for _ in 0..times() {
        let rack = Rack::new();
        // One thread: no sync answers for more than one error.
        let Some((disk, mut victim, store)) = written_back(&rack, &mut postgres, 1) else { return };
        victim.until_acked(victim.acks().len() + RATE / 5);
        let before = victim.account().ids("error", &["disk"]);
        disk.gives_up();
        victim.until_acked(victim.acks().len() + RATE / 10);
        victim.kill();
        postgres.tell("start");
        let _disk = disk.mounted_again();
        let stored = after_the_next(&rack, &store, &postgres);
        assert!(before.len() > RATE / 10, "{} were promised", before.len());
        let missing = before.difference(&stored).count();
        assert_eq!(missing, 0, "of {} promised", before.len());
        // An ext4 whose journal is aborted amid a sync answers that one as if nothing had happened, and forgets what it
        // wrote to blocks that were never written before. A later one fails.
        let promised = victim.account().ids("error", &["disk"]);
        let missing = promised.difference(&stored).count();
        assert!(missing <= 1, "{missing} of {}: more than one sync", promised.len());
    }
}

/// A process whose errors wait in a spool, the store being down, on a file system that has just written back all pages.
/// And what the next process is told.
fn written_back(
    rack: &Rack,
    postgres: &mut Postgres,
    threads: usize,
) -> Option<(Disk, Victim, String)> {
    let disk = Disk::new(rack.path("image"), &rack.path("disk"))?;
    postgres.query("DROP SCHEMA IF EXISTS obs CASCADE");
    postgres.tell("kill");
    let store = format!(
        "--spool {} --shutdown-ms 30000 --db {}",
        rack.path("disk/spool").display(),
        postgres.url
    );
    let flags = format!(
        "--runs 100000000 --rate {RATE} --threads {threads} --error-every 2 --durability disk {store}"
    );
    let victim = rack.start("victim", &flags);
    victim.until_acked(RATE / 2);
    disk.write_back();
    Some((disk, victim, store))
}

/// The errors in the store after another process has taken over what the first one left, without the rows of lost runs.
fn after_the_next(rack: &Rack, store: &str, postgres: &Postgres) -> BTreeSet<String> {
    let (ended, next) = rack.run("next", &format!("--runs 0 {store}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(next.ledger["imbalance"], 0, "{}", next.ledger);
    let open = postgres.query("SELECT run_id FROM obs.run_error WHERE status = 'lost'");
    // The disk never heard of the end of those that were open when it was written to last.
    assert!(open.len() <= THREADS, "{} rows of lost runs", open.len());
    let mut stored = postgres.ids("error");
    stored.retain(|id| !open.contains(id));
    stored
}
