//! The power fails: what the disk has by then is all that is left, and every promise of the disk is kept.

use std::{collections::BTreeSet, fs, path::Path};

use crate::{
    disk::Disk,
    postgres::Postgres,
    support::{Account, Rack, count, damaged_places, dump, is_soak, until},
};

/// Each of them may have been stopped after its record was kept and before the log says so.
const THREADS: u64 = 4;

/// Runs a second, half of them errors.
const RATE: u32 = 2_000;

/// What was acknowledged by `os` may be gone if it is no older: a sync is begun every 100 ms, and takes its time.
const LAST_MS: u64 = 150;

/// On a machine that does other things besides, a sync comes late.
const SLOW_MS: u64 = 1_500;

fn cuts() -> u64 {
    count("OBS_TEST_CUTS", if is_soak() { 20 } else { 3 })
}

/// What is different from one cut to the next.
#[derive(Clone, Copy, Debug)]
struct Cut {
    round: u64,
    /// What errors are acknowledged as.
    promise: &'static str,
    /// Whether rows leave for a store, which is on another machine.
    store_is_up: bool,
    /// Whether the system has written everything back once, shortly before: pages that nobody syncs are on the
    /// disk then as well, and older than the records beside them.
    written_back: bool,
}

impl Cut {
    fn new(round: u64) -> Self {
        Self {
            round,
            promise: if round % 3 == 1 { "os" } else { "disk" },
            store_is_up: round % 4 >= 2,
            written_back: round % 5 >= 2,
        }
    }

    /// So many lines of the log are waited for; different ones each time, the same for each test run.
    fn moment(self) -> usize {
        let mixed = (self.round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        // What is older than `SLOW_MS` is to be there of what nobody waited for.
        let least = if self.promise == "os" { 5_000 } else { 100 };
        usize::try_from(least + mixed % 1_500).unwrap()
    }
}

#[test]
fn what_was_promised_to_be_on_the_disk_outlives_a_loss_of_power() {
    let (mut postgres, mut ages, mut damages) = (Postgres::start(), Vec::new(), 0);
    for round in 0..cuts() {
        let rack = Rack::new();
        let Some(disk) = Disk::new(rack.path("image"), &rack.path("disk")) else { return };
        postgres.query("DROP SCHEMA IF EXISTS obs CASCADE");
        let (age, damaged) = lose_power(Cut::new(round), &rack, disk, &mut postgres);
        // Beside other tests a sync may take as long as it likes.
        assert!(
            !is_soak() || age.is_none_or(|age| age <= SLOW_MS),
            "{:?}: lost after {age:?} ms",
            Cut::new(round)
        );
        ages.extend(age);
        damages += u32::from(damaged);
    }
    println!(
        "{} cuts, {damages} amid a write; lost were errors answered `os` of the last {ages:?} ms",
        cuts()
    );
    if !is_soak() {
        return;
    }
    let late = ages.iter().filter(|age| **age > LAST_MS).count();
    assert!(2 * late <= ages.len(), "most of what is older than {LAST_MS} ms is there: {ages:?}");
}

/// One loss of power; says how old the oldest error was that was lost, in milliseconds, and whether a write was cut
/// off.
fn lose_power(cut: Cut, rack: &Rack, disk: Disk, postgres: &mut Postgres) -> (Option<u64>, bool) {
    let spool = rack.path("disk/spool");
    let store = format!("--spool {} --db {}", spool.display(), postgres.url);
    if !cut.store_is_up {
        postgres.tell("kill");
    }
    let flags = format!(
        "--runs 100000000 --rate {RATE} --threads {THREADS} --error-every 2 --row-bytes 300 --durability {} {store}",
        cut.promise
    );
    let budget = [("OBS_SPOOL_BYTES_MAX", "33554432")];
    let mut victim = rack.start_in(&budget, "victim", &flags);
    victim.until_acked(cut.moment() / 2);
    if cut.written_back {
        disk.write_back();
    }
    victim.until_acked(cut.moment());
    victim.signal("STOP");
    until("every thread stands still", || stands_still(victim.pid()));
    let copy = rack.path("copy");
    disk.as_it_is(&copy);
    victim.kill();
    let cut_off = victim.account();
    let _disk = disk.replaced_by(copy);
    let damaged = damaged_places(&spool);
    if !cut.store_is_up {
        postgres.tell("start");
    }
    let (ended, next) = rack.run("next", &format!("--runs 0 {store}"));
    assert_eq!(ended.code, Some(0), "{cut:?}: {ended:?}");
    assert!(!ended.err.contains("panicked"), "{cut:?}: {}", ended.err);
    assert_eq!(dump(&spool), Vec::<String>::new(), "what is stored leaves the spool");
    assert_kept(cut, &cut_off, &next, postgres);
    let lost = oldest_lost(&cut_off, postgres);
    (lost, damaged > 0)
}

/// What there is of what was promised, after the next process has taken it over.
fn assert_kept(cut: Cut, cut_off: &Account, next: &Account, postgres: &Postgres) {
    assert_eq!(next.ledger["imbalance"], 0, "{cut:?}: {}", next.ledger);
    let ids = |status: &str| -> BTreeSet<String> {
        let query = format!("SELECT run_id FROM obs.run_error WHERE status = '{status}'");
        postgres.query(&query).into_iter().collect()
    };
    // Every row once, as their table's key says.
    let (all, failed, lost) = (postgres.ids("error"), ids("error"), ids("lost"));
    assert_eq!(all.len(), failed.len() + lost.len(), "{cut:?}");
    let promised = cut_off.ids("error", &["disk"]);
    assert_eq!(promised.is_empty(), cut.promise == "os", "{cut:?}");
    let missing = promised.difference(&failed).count();
    assert_eq!(missing, 0, "{cut:?}: lost, of {}: {}", promised.len(), next.ledger);
    let said = cut_off.ids("error", &["disk", "os"]);
    let unsaid = failed.difference(&said).count() as u64;
    assert!(unsaid <= THREADS, "{cut:?}: {unsaid} rows of errors that nobody acknowledged");
    // Runs that were open, at the end or when the pages were written back.
    let open = if cut.written_back { 2 * THREADS } else { THREADS };
    assert!(lost.len() as u64 <= open, "{cut:?}: {} rows of lost runs", lost.len());
}

/// The age of the oldest error that was answered `os` and is gone, when the power failed.
fn oldest_lost(cut_off: &Account, postgres: &Postgres) -> Option<u64> {
    let stored = postgres.ids("error");
    let promised = cut_off.ids("error", &["os"]);
    let lost = promised.difference(&stored).map(|id| millisecond(id)).min()?;
    let end = cut_off.acks.iter().map(|ack| millisecond(&ack.id)).max()?;
    Some(end - lost)
}

/// When a run was started, which its id begins with.
fn millisecond(id: &str) -> u64 {
    u64::from_str_radix(&id.replace('-', "")[..12], 16).unwrap()
}

fn stands_still(pid: u32) -> bool {
    let threads = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")).unwrap();
    let mut states = threads.map(|thread| {
        let line = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        // Behind the program's name, which may have any letters.
        line.rsplit_once(") ").unwrap().1.starts_with('T')
    });
    states.all(|stopped| stopped)
}
