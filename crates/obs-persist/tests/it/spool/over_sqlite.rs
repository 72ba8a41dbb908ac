//! The spool in front of a real SQLite file: killed in the middle of it, everything that was acknowledged is
//! a row afterwards, once.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use obs_core::{Obs, StoreMetrics};
use obs_persist::{Persister, StoreUrl};
use uuid::Uuid;

use super::with_spool;
use crate::support::{self, LONG, sqlite, sqlite_url, until};

/// Tells the child where to work; without it there is no child.
const CHILD: &str = "OBS_PERSIST_TEST_CHILD_OVER_SQLITE";

fn begin(folder: &Path) -> (Obs, Persister) {
    let store = StoreUrl::parse(&sqlite_url(&folder.join("runs.sqlite"))).unwrap().store();
    let config = with_spool(&folder.join("spool"));
    let persister = Persister::start(config, store, StoreMetrics::default()).unwrap();
    let mut builder = Obs::builder().sink(persister.sink());
    if let Some(page) = persister.ledger_page() {
        builder = builder.ledger_page(page);
    }
    (builder.build().unwrap(), persister)
}

/// Not a test by itself: what the child does until it is killed.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a parent tells its child what to do")]
fn child() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let (obs, _persister) = begin(&folder);
    let strategy = obs.kind("dsl").strategy("bonus").version("1").build().unwrap();
    let mut out = std::io::stdout().lock();
    // At most; the parent kills us long before. The harness has begun a line.
    writeln!(out).unwrap();
    for _ in 0..1_000_000 {
        let mut run = strategy.start();
        let id = run.id();
        let (_, ack) = run.finish_ack(Err::<(), _>("no such field".to_owned()));
        writeln!(out, "{} {id}", ack.unwrap()).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn acknowledged_errors_outlive_a_kill_while_they_are_written_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: HashSet<Uuid> = HashSet::new();
    for lines in [50, 700, 1_500] {
        let mut child = support::child("spool::over_sqlite::child")
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let id_of = |line: String| line.strip_prefix("os ").and_then(|id| id.parse::<Uuid>().ok());
        let before = acknowledged.len();
        while acknowledged.len() < before + lines {
            let line = said.next().expect("it says more").unwrap();
            acknowledged.extend(id_of(line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(said.map_while(Result::ok).filter_map(id_of));
    }
    let (obs, persister) = begin(folder.path());
    until("the dead are adopted", || {
        std::fs::read_dir(folder.path().join("spool"))
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
                name.parse::<Uuid>().is_ok()
            })
            .count()
            == 1
    });
    assert!(persister.flush_blocking(LONG).complete);
    assert_eq!(obs.ledger().imbalance(), 0);
    let rows = sqlite(&folder.path().join("runs.sqlite"), "SELECT lower(hex(run_id)) FROM run");
    let stored: HashSet<Uuid> = rows.iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(stored.len(), rows.len(), "once each");
    let lost = acknowledged.difference(&stored).count();
    assert_eq!(lost, 0, "of {} acknowledged errors", acknowledged.len());
}
