//! What dead processes left: found by the living, not only at their start, and counted right when some of
//! it cannot be read.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use obs_core::{Ack, Clock, DropReason, ManualClock, Obs, StoreMetrics};
use obs_persist::{Persister, testing::MemoryStore};

use super::{Life, poisoned::copy, with_spool};
use crate::{
    support::{LONG, until},
    worker::{lines, listen},
};

const MINUTE: Duration = Duration::from_secs(60);

/// How often an unreadable segment is looked at.
const LOOKS: u32 = 5;

/// What a test writes to be sure that a worker has looked.
const RECORDS_OF_A_LOOK: usize = 2;

/// Leaves behind what a process does that is killed with this many errors in its spool.
fn leave(root: &Path, errors: usize) -> PathBuf {
    leave_after(root, |life| (0..errors).for_each(|_| assert_eq!(life.fail(), Some(Ack::Os))))
}

/// Leaves behind what a process does that is killed after this, with a store that does not answer.
fn leave_after(root: &Path, does: impl FnOnce(&Life)) -> PathBuf {
    let elsewhere = tempfile::tempdir().unwrap();
    let store = MemoryStore::new();
    store.set_stalled(true);
    let life = Life::begin(&elsewhere.path().join("spool"), store);
    does(&life);
    let live = fs::read_dir(elsewhere.path().join("spool")).unwrap().next().unwrap().unwrap();
    let dead = root.join(live.file_name());
    fs::create_dir_all(root).unwrap();
    copy(&live.path(), &dead);
    life.persister.shutdown_blocking(Duration::from_millis(10));
    dead
}

/// The segment with its records. It need not be the first: the keeper may have been making that one when the
/// first record came.
fn segment_in_use(dead: &Path) -> PathBuf {
    let mut files = fs::read_dir(dead).unwrap().map(|file| file.unwrap().path());
    let is_used = |path: &PathBuf| {
        let is_segment = path.extension().is_some_and(|end| end == "seg");
        is_segment && fs::read(path).unwrap().iter().any(|byte| *byte != 0)
    };
    files.find(is_used).unwrap()
}

/// A process in which only the test lets time pass.
fn living(root: &Path) -> (Life, ManualClock) {
    let (manual, store) = (ManualClock::new(), MemoryStore::new());
    let calendar = Clock::from(&manual);
    let stored = Box::new(store.clone());
    let started =
        Persister::start_with_calendar(with_spool(root), stored, StoreMetrics::default(), calendar);
    let persister = started.unwrap();
    let obs = Obs::builder().sink(persister.sink()).build().unwrap();
    (Life { obs, store, persister }, manual)
}

impl Life {
    /// Its worker has looked since what happened before. It looks before it writes, and may have been between
    /// the two when the first record came: not when the second did.
    fn looked(&self) {
        for _ in 0..RECORDS_OF_A_LOOK {
            assert_eq!(self.fail(), Some(Ack::Os));
            assert!(self.persister.flush_blocking(LONG).complete);
        }
    }

    fn crashed(&self) -> u64 {
        self.error().dropped.of(DropReason::Crash)
    }
}

#[test]
fn a_living_process_takes_over_what_others_leave_behind_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let (life, calendar) = living(&root);
    life.looked();
    for round in 1..=3 {
        let dead = leave(&root, 4);
        life.looked();
        assert_eq!(life.error().adopted, 4 * (round - 1), "it looks once a minute");
        calendar.advance(MINUTE);
        until("it is adopted", || life.error().adopted == 4 * round);
        assert!(life.persister.flush_blocking(LONG).complete);
        until("its directory is gone", || !dead.exists());
    }
    assert_eq!((life.crashed(), life.store.rows().len()), (0, 12 + 4 * RECORDS_OF_A_LOOK));
}

#[test]
fn what_died_in_memory_is_said_in_one_line_and_nothing_is_where_nothing_died() {
    listen();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let keep = |life: &Life| {
        let mut run = life.kind().strategy("bonus").version("1").build().unwrap().start();
        run.keep();
        assert_eq!(run.finish_ack(Ok::<_, String>(())).1, Some(Ack::Memory));
    };
    let nothing = leave(&root, 2);
    let ok = leave_after(&root, keep);
    let error = leave(&root, 3);
    fs::remove_file(segment_in_use(&error)).unwrap();
    let (life, _) = living(&root);
    until("it has looked", || [&nothing, &ok, &error].iter().all(|dead| !dead.exists()));
    for (dead, counts) in
        [(nothing, None), (ok, Some("ok=1 error=0")), (error, Some("ok=0 error=3"))]
    {
        let epoch = dead.file_name().unwrap().to_str().unwrap();
        let mut said = lines(epoch);
        said.retain(|line| line.contains("died in the memory"));
        assert_eq!(said.len(), usize::from(counts.is_some()), "{said:?}");
        assert!(said.iter().all(|line| line.contains(counts.unwrap_or_default())), "{said:?}");
    }
    assert_eq!((life.error().adopted, life.crashed()), (2 + 3, 3));
}

#[test]
fn what_cannot_be_read_is_left_whole_until_it_can_be_and_is_never_counted_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let dead = leave(&root, 4);
    let (segment, kept) = (segment_in_use(&dead), folder.path().join("kept"));
    // A directory opens and cannot be read.
    fs::rename(&segment, &kept).unwrap();
    fs::create_dir(&segment).unwrap();
    let (life, calendar) = living(&root);
    life.looked();
    for _ in 2..LOOKS {
        calendar.advance(MINUTE);
        life.looked();
        assert_eq!((life.error().adopted, life.crashed()), (0, 0));
        assert!(dead.join("ledger.page").exists() && segment.exists());
    }
    fs::remove_dir(&segment).unwrap();
    fs::rename(&kept, &segment).unwrap();
    calendar.advance(MINUTE);
    until("it is adopted", || life.error().adopted == 4);
    assert!(life.persister.flush_blocking(LONG).complete);
    until("its directory is gone", || !dead.exists());
    assert_eq!(life.crashed(), 0);
}

#[test]
fn what_can_never_be_read_is_set_aside_after_five_looks_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let dead = leave(&root, 4);
    let segment = segment_in_use(&dead);
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    let (life, calendar) = living(&root);
    life.looked();
    for look in 2..=LOOKS {
        assert_eq!(life.crashed(), 0, "before look {look}");
        calendar.advance(MINUTE);
        life.looked();
    }
    until("it is counted", || life.crashed() == 4);
    until("its directory is gone", || !dead.exists());
    assert_eq!(fs::read_dir(root.join("bad")).unwrap().count(), 1);
    calendar.advance(MINUTE);
    life.looked();
    assert_eq!((life.crashed(), life.error().adopted), (4, 4), "once");
}

#[test]
fn whoever_asks_learns_when_everything_of_the_dead_is_in_the_books() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    leave(&root, 4);
    let store = MemoryStore::new();
    store.set_down(true);
    let life = Life::begin(&root, store);
    let watch = life.persister.watch();
    until("the store was tried", || life.persister.last_error().is_some());
    assert!(watch.is_adopting(), "nobody has looked yet");
    assert_eq!(life.error().adopted, 0);
    life.store.set_down(false);
    until("it is done", || !watch.is_adopting());
    assert_eq!(life.error().adopted, 4, "done is done");
    assert!(life.persister.shutdown_blocking(LONG).complete);
    assert!(!watch.is_adopting());
}
