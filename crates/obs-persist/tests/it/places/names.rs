//! A name with several addresses, which only one process knows.

use std::{path::Path, process::Command};

use obs_core::testing::record;

use super::Silent;
use crate::{
    ports::free_port,
    proxy::Proxy,
    support::{self, Live, count, database, database_name, skipped},
};

/// Tells the child where its store is; without it there is no child.
const CHILD: &str = "OBS_PERSIST_TEST_CHILD_STORE";

/// Not a test by itself: what the child does, where a name has two addresses.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a parent tells its child what to do")]
fn child() {
    let Ok(url) = std::env::var(CHILD) else { return };
    let live = Live::open(&url);
    live.submit(record("bonus", "1"));
    live.flush();
}

/// What runs a command with names of its own; `None` where nobody may mount anything, not even for
/// a process alone.
fn with_names(hosts: &Path) -> Option<Command> {
    let ways = [&["--mount"][..], &["--map-root-user", "--mount"]];
    let command = |way: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(way).args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
        command.arg(hosts);
        command
    };
    let works = |way: &&&[&str]| {
        let tried = command(way).arg("true").output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let way = ways.iter().find(works);
    if way.is_none() {
        skipped("names of a process's own need the right to mount (run as root)");
    }
    way.map(|way| command(way))
}

#[test]
fn an_address_of_a_name_that_says_nothing_does_not_keep_the_next_one_from_being_tried() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    // In which order they come is the resolver's business.
    std::fs::write(&hosts, "127.0.0.1 db.test\n127.0.0.2 db.test\n127.0.0.3 db.test\n").unwrap();
    let Some(mut command) = with_names(&hosts) else { return };
    let server = database();
    let port = free_port();
    let silent = [Silent::at("127.0.0.1", port), Silent::at("127.0.0.3", port)];
    let proxy = Proxy::at(&format!("127.0.0.2:{port}"), &server);
    let url = format!(
        "postgres://obs@db.test:{port}/{}?sslmode=disable&connect_timeout=2",
        database_name(&server)
    );
    let test = support::child("places::names::child");
    let child = command.arg(test.get_program()).args(test.get_args()).env(CHILD, url);
    let child = child.output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert_eq!(count(&server, "obs.run"), 1);
    assert_eq!(proxy.accepted(), 1);
    assert!(silent.iter().any(|silent| silent.callers() > 0), "the silent ones came last");
}
