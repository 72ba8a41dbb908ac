//! A server that has several hosts, or whose name has several addresses: one that accepts connections and
//! says nothing keeps nobody from those behind it.

#[cfg(target_os = "linux")]
mod names;

use std::{net::TcpListener, time::Duration};

use obs_core::testing::record;
use obs_persist::{PersistConfig, StoreUrl};

use crate::{
    ports::free_port,
    support::{Live, count, database, database_name, postgres, until},
};

/// The system accepts connections for it, and nobody ever answers.
pub(crate) struct Silent(TcpListener);

impl Silent {
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1", 0)
    }

    fn at(host: &str, port: u16) -> Self {
        let listener = TcpListener::bind((host, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// How many connections there were since the last time.
    pub(crate) fn callers(&self) -> usize {
        std::iter::from_fn(|| self.0.accept().ok()).count()
    }
}

/// The port of an address like `postgres://user@127.0.0.1:port/database`.
fn port_of(url: &str) -> &str {
    url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0
}

fn rows_arrive(url: &str, server: &str) {
    let is_new = postgres(server, "SELECT to_regclass('obs.run') IS NULL") == ["t"];
    let rows = if is_new { 0 } else { count(server, "obs.run") };
    let live = Live::open(url);
    live.submit(record("bonus", "1"));
    live.flush();
    assert_eq!(count(server, "obs.run"), rows + 1, "{url}");
}

#[test]
fn a_host_that_says_nothing_does_not_keep_the_next_one_from_being_tried() {
    let server = database();
    let (name, live) = (database_name(&server), port_of(&server));
    let silent = Silent::new();
    let dead = silent.port();
    let end = format!("{name}?sslmode=disable&connect_timeout=1");
    let folder = postgres(&server, "SHOW unix_socket_directories")[0].replace('/', "%2F");
    for url in [
        format!("postgres://obs@127.0.0.1:{dead},127.0.0.1:{live}/{end}"),
        format!("postgres://obs@127.0.0.1:{dead},localhost:{live}/{end}"),
        format!("postgres://obs@127.0.0.1:{dead},{folder}:{live}/{end}"),
        // Names that nobody knows: only their addresses count.
        format!(
            "postgres://obs@a.invalid:{dead},b.invalid:{live}/{end}&hostaddr=127.0.0.1,127.0.0.1"
        ),
        format!("postgres:///{end}&user=obs&port={dead},{live}&hostaddr=127.0.0.1,127.0.0.1"),
    ] {
        rows_arrive(&url, &server);
        assert!(silent.callers() > 0, "{url}");
    }
    // Whichever comes first.
    for _ in 0..3 {
        let random = format!("{end}&load_balance_hosts=random");
        rows_arrive(&format!("postgres://obs@127.0.0.1:{dead},127.0.0.1:{live}/{random}"), &server);
    }
}

#[test]
fn more_hosts_than_the_deadline_has_time_for_are_tried_in_several_attempts() {
    let server = database();
    // The schema is there, so that the deadline is about connecting.
    rows_arrive(&server, &server);
    let (one, two) = (Silent::new(), Silent::new());
    let (name, live) = (database_name(&server), port_of(&server));
    let url = format!(
        "postgres://obs@127.0.0.1:{},127.0.0.1:{},127.0.0.1:{live}/{name}?connect_timeout=2",
        one.port(),
        two.port()
    );
    let mut config = PersistConfig::default();
    // Time for one of them and a half.
    config.prepare_timeout = Duration::from_secs(3);
    let live = Live::over(StoreUrl::parse(&url).unwrap().store(), config);
    live.submit(record("bonus", "1"));
    live.flush();
    assert_eq!(count(&server, "obs.run"), 2);
    assert!(one.callers() > 0 && two.callers() > 0);
}

#[test]
fn an_error_about_several_hosts_says_what_was_wrong_with_each_and_no_password() {
    let silent = Silent::new();
    let (dead, closed) = (silent.port(), free_port());
    let url = format!(
        "postgres://obs:hunter2@127.0.0.1:{dead},127.0.0.1:{closed}/game?connect_timeout=1"
    );
    let live = Live::open(&url);
    live.submit(record("bonus", "1"));
    until("it is down", || live.persister.last_error().is_some());
    let error = live.persister.last_error().unwrap();
    for part in [
        "cannot connect to any of 2 addresses",
        &format!("127.0.0.1:{dead}: connecting took longer than 1s"),
        &format!("127.0.0.1:{closed}: cannot connect: error connecting to server"),
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
}
