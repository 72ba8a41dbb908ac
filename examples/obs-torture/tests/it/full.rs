//! A spool that is full: what the process takes up, seen from outside.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::{
    postgres::Postgres,
    support::{Rack, Victim, assert_same, count, term, until},
};

const MIB: u64 = 1 << 20;

/// Bytes of an error's input: so many that all errors of a soak are stored in full. A slim one would fit into what is
/// left of the last segment when others were refused long before.
const ROW: u64 = 40_000;

/// What the lanes and a batch may hold in memory, as configured by default: 8, 4 and 1 MiB.
const CONFIGURED: u64 = 13 * MIB;

/// What the process may need besides.
const BESIDES: u64 = 32 * MIB;

/// A segment that is about to take the place of one that is settled.
const SEGMENT: u64 = 4 * MIB;

/// Three times as many errors as there is room for, with the store down: 48 MiB of room here, 256 in a soak.
#[test]
fn a_full_spool_takes_up_no_more_disk_and_memory_than_it_was_given_and_counts_the_rest() {
    let budget = count("OBS_TEST_SPOOL_MIB", 48) * MIB;
    let errors = 3 * budget / ROW;
    let (rack, mut postgres) = (Rack::new(), Postgres::start());
    postgres.tell("kill");
    let settings = [("OBS_SPOOL_BYTES_MAX", budget.to_string())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let start = |name: &str, runs: u64, spool: &Path| {
        let flags = format!(
            "--runs {runs} --error-every 1 --row-bytes {ROW} --inflight-at-end 1 --spool {} --db {}",
            spool.display(),
            postgres.url
        );
        rack.start_in(&settings, name, &flags)
    };
    let idle = start("idle", 10, &rack.path("other-spool"));
    idle.until_acked(10);
    let before = resident(&idle);
    drop(idle);

    let spool = rack.path("spool");
    let victim = start("one", errors, &spool);
    let (mut acked, mut most) = (0, 0);
    while acked < errors {
        // Memory before the end: afterwards nobody needs any.
        most = most.max(resident(&victim));
        let disk = on_disk(&spool);
        assert!(disk <= budget + SEGMENT, "{disk} bytes on the disk, {budget} allowed");
        let ledger = victim.ledger();
        assert_eq!(ledger["imbalance"], 0, "{ledger}");
        acked = term(&ledger, &["error", "recorded"]);
    }
    most = most.max(peak(&victim));
    let more = most.saturating_sub(before);
    println!("{} KiB more than at rest, of {} at rest", more >> 10, before >> 10);
    assert!(more <= CONFIGURED + BESIDES, "{more} bytes more than at rest");

    // The books are a step ahead of the lines.
    victim.until_acked(usize::try_from(errors).unwrap());
    let refused = victim.account().ids("error", &["refused"]).len() as u64;
    // And what it says of itself is of a moment before, in which the last one may have been on its way.
    until("it has said what became of the last error", || {
        victim.account().dropped("error").values().sum::<u64>() == refused
    });
    let account = victim.account();
    account.assert_balanced();
    let [kept, queued, refused] =
        ["os", "memory", "refused"].map(|promise| account.ids("error", &[promise]));
    assert_eq!(account.dropped("error"), [("spool_full".to_owned(), refused.len() as u64)].into());
    assert_eq!((kept.len() + queued.len() + refused.len()) as u64, errors);
    // Where the queue has room, what the spool refuses waits there, and dies with the process.
    assert!(queued.len() as u64 * ROW <= CONFIGURED, "{} errors in the queue", queued.len());
    assert!(kept.len() as u64 * ROW > budget * 8 / 10, "{} errors fill {budget} bytes", kept.len());
    let last_kept = account.acks.iter().rposition(|ack| ack.ack == "os");
    let first_refused = account.acks.iter().position(|ack| ack.ack == "refused");
    assert!(last_kept < first_refused, "the first errors are kept, not the last");

    postgres.tell("start");
    drop(victim);
    let flags = format!("--runs 0 --spool {} --db {}", spool.display(), postgres.url);
    let (ended, next) = rack.run("next", &format!("{flags} --shutdown-ms 30000"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let crashed = next.dropped("error").get("crash").copied();
    assert_eq!(crashed.unwrap_or(0), queued.len() as u64, "those in the queue are counted");
    let mut stored = postgres.ids("error");
    let lost = postgres.query("SELECT run_id FROM obs.run_error WHERE status = 'lost'");
    assert_eq!(lost.len(), 1, "the run that was in flight");
    stored.remove(&lost[0]);
    assert_same(&stored, &kept, "errors");
}

/// What is in memory now.
fn resident(victim: &Victim) -> u64 {
    status(victim, "VmRSS:")
}

/// The most that ever was.
fn peak(victim: &Victim) -> u64 {
    status(victim, "VmHWM:")
}

fn status(victim: &Victim, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", victim.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Bytes that files of a folder and of those in it have on the disk.
fn on_disk(folder: &Path) -> u64 {
    // A file may go while we look.
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let entries = entries.filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { on_disk(&entry.path()) } else { metadata.blocks() * 512 })
        })
        .sum()
}
