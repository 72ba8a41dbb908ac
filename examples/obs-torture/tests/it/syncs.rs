//! A disk whose sync fails: strace lets the system call fail in a process that runs.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    postgres::Postgres,
    support::{Rack, Victim, assert_same, skip},
};

fn can_trace() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "inject=fdatasync:error=EIO", "true"]);
    strace.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A process whose syncs fail as `inject` says; each sync is a line of the log.
fn start(rack: &Rack, inject: &str, log: &Path, flags: &str) -> Victim {
    let inject = format!("inject=fdatasync:error=EIO{inject}");
    let strace = [
        "strace",
        "-f",
        "-y",
        "-qq",
        "-e",
        "trace=fdatasync",
        "-e",
        &inject,
        "-o",
        log.to_str().unwrap(),
    ];
    rack.start_under(&strace, "one", flags)
}

/// Each sync: its file, and whether it failed.
fn syncs(log: &Path) -> Vec<(String, bool)> {
    let text = fs::read_to_string(log).unwrap();
    let lines = text.lines().filter(|line| line.contains("fdatasync(") && line.contains('='));
    let sync = |line: &str| {
        let file = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        (file, line.contains("EIO"))
    };
    lines.map(sync).collect()
}

#[test]
fn a_file_whose_sync_failed_is_never_synced_again_and_its_errors_are_kept() {
    if !can_trace() {
        return skip("no system call can be made to fail here: install strace, and allow ptrace");
    }
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let log = rack.path("strace");
    let store = format!("--spool {} --db {}", rack.path("spool").display(), postgres.url);
    let flags = format!("--runs 400 --error-every 2 --rate 400 --durability disk {store}");
    let mut victim = start(&rack, ":when=3", &log, &flags);
    let ended = victim.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let mut failed = BTreeSet::new();
    for (file, fails) in syncs(&log) {
        assert!(!failed.contains(&file), "{file} is synced again after it failed");
        if fails {
            failed.insert(file);
        }
    }
    assert_eq!(failed.len(), 1, "one sync failed");
    let account = victim.account();
    account.assert_balanced();
    assert!(account.ids("error", &["disk"]).len() >= 190, "later promises are as strong as before");
    assert_same(&postgres.ids("error"), &account.ids("error", &["disk", "os", "memory"]), "errors");
    assert!(account.dropped("error").is_empty(), "{}", account.ledger);
}

#[test]
fn a_disk_that_never_syncs_is_promised_nothing_of_and_costs_no_error() {
    if !can_trace() {
        return skip("no system call can be made to fail here: install strace, and allow ptrace");
    }
    let (rack, postgres) = (Rack::new(), Postgres::start());
    let log = rack.path("strace");
    let store = format!("--spool {} --db {}", rack.path("spool").display(), postgres.url);
    let flags = format!("--runs 200 --error-every 2 --rate 400 --durability disk {store}");
    let mut victim = start(&rack, "", &log, &flags);
    let ended = victim.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(syncs(&log).iter().all(|(_, fails)| *fails));
    let account = victim.account();
    account.assert_balanced();
    assert!(account.ids("error", &["disk"]).is_empty(), "no promise that cannot be kept");
    assert_same(&postgres.ids("error"), &account.ids("error", &["os", "memory"]), "errors");
}
