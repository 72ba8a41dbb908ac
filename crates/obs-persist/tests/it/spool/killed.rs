//! A process that is killed with errors acknowledged and ok records in its memory.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::Stdio,
};

use obs_core::{Ack, Status};
use obs_persist::testing::MemoryStore;
use uuid::Uuid;

use super::Life;
use crate::support::{self, LONG, until};

/// Tells the child where its spool is; without it there is no child.
const CHILD: &str = "OBS_PERSIST_TEST_CHILD_SPOOL";

/// Not a test by itself: what the child does until it is killed.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a parent tells its child what to do")]
fn child() {
    let Some(directory) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let store = MemoryStore::new();
    store.set_stalled(true);
    let life = Life::begin(&directory, store);
    let strategy = life.kind().strategy("bonus").version("1").build().unwrap();
    let mut out = std::io::stdout().lock();
    let mut open = strategy.start();
    // The harness has begun a line.
    writeln!(out, "\nopen {}", open.id()).unwrap();
    // At most; the parent kills us long before.
    for at in 0..1_000_000 {
        let mut run = strategy.start();
        run.keep();
        let id = run.id();
        if at % 3 == 0 {
            let (_, ack) = run.finish_ack(Ok::<_, String>(()));
            // One that finds the queue full is no secret: this process has counted it itself.
            if ack == Some(Ack::Memory) {
                writeln!(out, "ok {id}").unwrap();
            }
        } else {
            let (_, ack) = run.finish_ack(Err::<(), _>("no such field".to_owned()));
            writeln!(out, "{} {id}", ack.unwrap()).unwrap();
        }
        out.flush().unwrap();
    }
}

/// What a child said before it was killed: acknowledged errors, and how many ok records.
fn kill_after(directory: &Path, lines: usize) -> (HashSet<Uuid>, u64, Option<Uuid>) {
    let mut child = support::child("spool::killed::child")
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut errors, mut ok, mut open) = (HashSet::new(), 0, None);
    let mut take = |line: String| match line.split_once(' ') {
        Some(("os", id)) => drop(errors.insert(id.parse::<Uuid>().unwrap())),
        Some(("open", id)) => open = id.parse().ok(),
        Some(("ok", id)) if id.parse::<Uuid>().is_ok() => ok += 1,
        _ => {}
    };
    said.by_ref().take(lines).for_each(|line| take(line.unwrap()));
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died.
    said.map_while(Result::ok).for_each(take);
    (errors, ok, open)
}

#[test]
fn acknowledged_errors_outlive_a_kill_and_what_died_in_memory_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    for lines in [20, 500, 900] {
        let (errors, ok, open) = kill_after(&spool, lines);
        let next = Life::begin(&spool, MemoryStore::new());
        until("errors are adopted", || next.obs.ledger().error.adopted >= errors.len() as u64);
        until("the run in flight is a row", || {
            next.store.rows().iter().any(|row| row.status == Status::Lost)
        });
        assert!(next.persister.flush_blocking(LONG).complete);
        let rows: Vec<Uuid> = next.store.rows().iter().map(|row| row.run_id).collect();
        let distinct: HashSet<Uuid> = rows.iter().copied().collect();
        assert_eq!(rows.len(), distinct.len());
        let lost: Vec<_> = errors.difference(&distinct).collect();
        assert!(lost.is_empty(), "{} of {} acknowledged errors are lost", lost.len(), errors.len());
        let lost = next.store.rows().into_iter().find(|row| Some(row.run_id) == open);
        assert_eq!(lost.map(|row| row.status), Some(Status::Lost), "a run in flight becomes a row");
        until("the crash is counted", || {
            next.obs.ledger().ok.dropped.of(obs_core::DropReason::Crash) >= ok
        });
        let ledger = next.obs.ledger();
        assert_eq!(ledger.imbalance(), 0, "{ledger}");
        // One more where it was killed before it could say so, and one inside of a move.
        let crashed = ledger.ok.dropped.of(obs_core::DropReason::Crash);
        assert!((ok..=ok + 2).contains(&crashed), "{crashed} counted, {ok} were said");
        let crashed = ledger.error.dropped.of(obs_core::DropReason::Crash);
        assert!(crashed <= 1, "{crashed} errors are said to have died in memory");
    }
}
