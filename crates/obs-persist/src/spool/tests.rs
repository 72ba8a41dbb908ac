//! What is promised of a record that is written after the end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures_executor::block_on;
use obs_core::{Ack, Status, testing::record};
use tempfile::TempDir;

use super::{
    Fsync, Refusal, Spool, SpoolConfig, SpoolUse,
    adopt::DeadEpoch,
    disk::{Disk, DiskDir, DiskFile, RealDisk},
    frame::{self, Seed},
    pieces::read_segment,
    random_epoch,
    recover::Scan,
    segment::path_of,
    sim::SimDisk,
    successor::RETRY_AFTER,
};
use crate::platform::{Origin, SYNCED};

const POLICIES: [Fsync; 3] = [Fsync::Interval, Fsync::Always, Fsync::Never];

/// One that has written and synced an error, and is left; on a disk that remembers.
fn left(fsync: Fsync) -> (TempDir, SimDisk, Spool) {
    let (folder, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(1));
    let config = SpoolConfig {
        root: folder.path().join("spool"),
        origin: Origin::Given,
        bytes: 64 << 20,
        fsync,
    };
    let spool = Spool::open_on(Arc::new(disk.clone()), &config, random_epoch()).unwrap();
    let (slot, _) = spool.write(&error()).unwrap();
    assert_eq!(block_on(spool.durable()), Ack::Disk);
    spool.settle(slot);
    spool.leave();
    (folder, disk, spool)
}

fn error() -> obs_core::RunRecord {
    let mut error = record("bonus", "1");
    error.status = Status::Error;
    error
}

/// What is said of a record that was just written, as the policy has it.
fn answer(spool: &Spool, fsync: Fsync) -> Ack {
    match fsync {
        Fsync::Always => spool.promise(),
        _ => block_on(spool.durable()),
    }
}

#[test]
fn an_error_after_the_end_is_said_to_be_on_the_disk_once_its_own_file_is_synced() {
    for fsync in POLICIES {
        let (_folder, _disk, spool) = left(fsync);
        spool.write(&error()).unwrap();
        let late = spool.successor.get().unwrap();
        if fsync == Fsync::Never {
            assert!(!late.log.lock().unsynced.is_empty(), "nobody has asked yet");
            assert_eq!(spool.promise(), Ack::Os);
        }
        assert_eq!(answer(&spool, fsync), Ack::Disk, "{fsync:?}");
        assert!(late.log.lock().unsynced.is_empty(), "{fsync:?}");
    }
}

#[test]
fn an_error_after_the_end_is_not_said_to_be_on_the_disk_when_its_file_cannot_be_synced() {
    for fsync in POLICIES {
        let (_folder, disk, spool) = left(fsync);
        disk.fail_syncs(1..1_000);
        spool.write(&error()).unwrap();
        assert_eq!(answer(&spool, fsync), Ack::Os, "{fsync:?}");
        // Without copies, one failure is of one file.
        let expected = if fsync == Fsync::Never { Ack::Os } else { Ack::Memory };
        assert_eq!(spool.outlook(), expected, "{fsync:?}");
    }
}

#[test]
fn what_is_left_behind_and_not_synced_is_synced_when_somebody_asks_after_the_end() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(1));
    let root = folder.path().join("spool");
    let config = SpoolConfig { root, origin: Origin::Given, bytes: 64 << 20, fsync: Fsync::Never };
    let spool = Spool::open_on(Arc::new(disk), &config, random_epoch()).unwrap();
    spool.write(&error()).unwrap();
    spool.leave();
    spool.write(&error()).unwrap();
    assert_eq!(block_on(spool.durable()), Ack::Disk);
    let late = spool.successor.get().unwrap();
    assert!(spool.log.lock().unsynced.is_empty() && late.log.lock().unsynced.is_empty());
}

#[test]
fn an_error_after_the_end_that_found_no_spool_keeps_no_later_one_from_getting_one() {
    let (folder, disk, spool) = left(Fsync::Interval);
    let [root, aside] = ["spool", "aside"].map(|name| folder.path().join(name));
    fs::rename(&root, &aside).unwrap();
    fs::write(&root, "no directory").unwrap();
    assert_eq!(spool.outlook(), Ack::Os, "nobody has tried");
    assert_eq!(spool.write(&error()).err(), Some(Refusal::Io));
    assert_eq!(spool.outlook(), Ack::Memory);

    fs::remove_file(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    assert_eq!(spool.write(&error()).err(), Some(Refusal::Io), "it does not try each time");
    thread::sleep(RETRY_AFTER);
    let before = disk.paths().len();
    assert!(spool.write(&error()).is_ok());
    assert!(disk.paths().len() > before);
    assert_eq!((spool.outlook(), answer(&spool, Fsync::Interval)), (Ack::Os, Ack::Disk));
}

/// A disk on which the first sync of a file takes as long as somebody holds it up, and fails.
#[derive(Debug)]
struct Slow(Arc<Slowness>);

#[derive(Debug)]
struct Slowness {
    held_up: Mutex<()>,
    syncs: AtomicU64,
}

#[derive(Debug)]
struct SlowFile(Arc<dyn DiskFile>, Arc<Slowness>);

impl DiskFile for SlowFile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.pwrite(bytes, offset)
    }

    fn fdatasync(&self) -> io::Result<()> {
        if self.1.syncs.fetch_add(1, Ordering::Relaxed) == 0 {
            let _held_up = self.1.held_up.lock().unwrap();
            return Err(io::Error::other("a sync failed"));
        }
        self.0.fdatasync()
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.pread(bytes, offset)
    }
}

impl Disk for Slow {
    fn create_reserved(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(RealDisk.create_reserved(path, bytes)?, Arc::clone(&self.0))))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path)
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<String>> {
        RealDisk.list(directory, most)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn link(&self, path: &Path, also: &Path) -> io::Result<()> {
        RealDisk.link(path, also)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        RealDisk.unlink(path)
    }

    fn open_dir(&self, directory: &Path) -> io::Result<Arc<dyn DiskDir>> {
        RealDisk.open_dir(directory)
    }
}

/// How many records the segments of an epoch hold.
fn records_of(dead: &DeadEpoch) -> usize {
    let (mut buffer, mut records) = (Vec::new(), 0);
    for number in dead.segments(&RealDisk).unwrap() {
        assert!(read_segment(&RealDisk, &path_of(&dead.directory, number), &mut buffer).unwrap());
        records += Scan::new(&buffer, Seed::new(dead.epoch, number)).count();
    }
    records
}

/// A spool on such a disk.
fn slow() -> (TempDir, Arc<Slowness>, Spool) {
    let folder = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        root: folder.path().join("spool"),
        origin: Origin::Given,
        bytes: 64 << 20,
        fsync: Fsync::Interval,
    };
    let slowness = Arc::new(Slowness { held_up: Mutex::default(), syncs: AtomicU64::new(0) });
    let disk = Arc::new(Slow(Arc::clone(&slowness)));
    let spool = Spool::open_on(disk, &config, random_epoch()).unwrap();
    (folder, slowness, spool)
}

fn wait_for_a_sync(slowness: &Slowness) {
    while slowness.syncs.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
}

/// Who could take it over now.
fn heirs(spool: &Path) -> Vec<Arc<DeadEpoch>> {
    DeadEpoch::find(spool, random_epoch()).unwrap()
}

#[test]
fn a_sync_that_outlasts_its_spool_keeps_the_directory_until_what_it_failed_at_is_in_another_file() {
    let (folder, slowness, spool) = slow();
    let root = folder.path().join("spool");
    let held_up = slowness.held_up.lock().unwrap();
    let (slot, _) = spool.write(&error()).unwrap();
    wait_for_a_sync(&slowness);
    // It waits for the keeper, and gives up waiting.
    spool.leave();
    assert!(heirs(&root).is_empty(), "somebody may still write there");
    drop(spool);
    assert!(heirs(&root).is_empty());

    drop(held_up);
    while heirs(&root).is_empty() {
        thread::yield_now();
    }
    let [heir] = &*heirs(&root) else { panic!("nobody is there any more") };
    assert_eq!(records_of(heir), 1);
    assert!(!path_of(&heir.directory, slot.segment()).exists(), "it may not be durable there");
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("the task of somebody else");
    }
}

#[test]
fn a_keeper_that_panics_in_foreign_code_keeps_no_directory() {
    let (folder, slowness, spool) = slow();
    let held_up = slowness.held_up.lock().unwrap();
    spool.write(&error()).unwrap();
    let mut durable = spool.durable();
    let waker = Waker::from(Arc::new(Panics));
    assert!(durable.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(held_up);
    while spool.log.is_kept() {
        thread::yield_now();
    }
    // Whatever it says, it is an answer.
    block_on(durable);
    spool.leave();
    assert_eq!(records_of(&heirs(&folder.path().join("spool"))[0]), 1);
}

#[test]
fn whoever_leaves_waits_for_the_keeper_though_the_worker_does_so_already() {
    let (folder, slowness, spool) = slow();
    let held_up = slowness.held_up.lock().unwrap();
    spool.write(&error()).unwrap();
    wait_for_a_sync(&slowness);
    thread::scope(|scope| {
        let worker = scope.spawn(|| spool.close());
        let last = scope.spawn(|| spool.leave());
        // Longer than either takes to begin.
        thread::park_timeout(Duration::from_millis(100));
        assert!(!worker.is_finished() && !last.is_finished());
        drop(held_up);
        last.join().unwrap();
        assert_eq!(
            heirs(&folder.path().join("spool")).len(),
            1,
            "the next one need not look twice"
        );
    });
}

#[test]
fn so_does_a_sync_of_somebody_who_asked_for_it_when_the_keeper_was_gone() {
    let (folder, slowness, spool) = slow();
    let root = folder.path().join("spool");
    spool.close();
    spool.write(&error()).unwrap();
    let held_up = slowness.held_up.lock().unwrap();
    thread::scope(|scope| {
        let asker = scope.spawn(|| block_on(spool.durable()));
        wait_for_a_sync(&slowness);
        spool.leave();
        assert!(heirs(&root).is_empty(), "somebody may still write there");
        drop(held_up);
        assert_eq!(asker.join().unwrap(), Ack::Disk);
    });
    assert_eq!(records_of(&heirs(&root)[0]), 1);
}

#[test]
fn a_sync_that_somebody_asks_for_when_the_directory_is_somebody_elses_changes_nothing_there() {
    let (folder, _slowness, spool) = slow();
    let root = folder.path().join("spool");
    spool.close();
    // The keeper is gone, so nobody has synced it when the spool is left.
    spool.write(&error()).unwrap();
    spool.leave();
    let before = names_below(&root);
    let heirs = heirs(&root);
    assert_eq!(records_of(&heirs[0]), 1);
    assert_eq!(block_on(spool.durable()), Ack::Os, "it failed");
    assert_eq!(names_below(&root), before);
    assert_eq!(records_of(&heirs[0]), 1);
}

#[test]
fn each_start_syncs_the_name_of_the_spool_that_an_earlier_one_may_not_have_synced_and_no_later_error_does()
 {
    let folder = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        root: folder.path().join("spool"),
        origin: Origin::Given,
        bytes: 64 << 20,
        fsync: Fsync::Interval,
    };
    Spool::open(&config, random_epoch()).unwrap().leave();
    SYNCED.take();
    let spool = Spool::open(&config, random_epoch()).unwrap();
    assert_eq!(SYNCED.take(), [folder.path()]);
    spool.leave();
    assert!(spool.write(&error()).is_ok());
    assert_eq!(SYNCED.take(), Vec::<PathBuf>::new());
}

#[test]
fn bytes_are_what_limits_a_spool_however_small_its_records_are() {
    /// No record is as small: 131,072 of them fill a segment.
    const FRAME: usize = 32;
    const BYTES: u64 = 20 << 20;
    let (folder, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(1));
    let root = folder.path().join("spool");
    let config = SpoolConfig { root, origin: Origin::Given, bytes: BYTES, fsync: Fsync::Never };
    let spool = Spool::open_on(Arc::new(disk), &config, random_epoch()).unwrap();
    let mut small = Vec::new();
    let mut taken = 0_u64;
    let refusal = loop {
        frame::begin(&mut small, frame::FLAG_ERROR, uuid::Uuid::nil());
        small.extend_from_slice(b"tiny");
        assert!(frame::finish(&mut small) && small.len() == FRAME);
        match spool.log.append(&mut small) {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((refusal, taken), (Refusal::Full, BYTES / FRAME as u64));
    // What the alert looks at.
    let SpoolUse { bytes, limit, .. } = spool.gauge()();
    assert_eq!((bytes, limit), (BYTES, BYTES));
}

/// Whatever is below a directory.
fn names_below(directory: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(names_below(&path));
        }
        names.push(path);
    }
    names.sort();
    names
}

#[cfg(unix)]
#[test]
fn a_forked_child_that_is_the_last_to_know_of_its_parents_spool_neither_removes_it_nor_is_stuck() {
    for left in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let config = SpoolConfig {
            root: folder.path().join("spool"),
            origin: Origin::Given,
            bytes: 64 << 20,
            fsync: Fsync::Interval,
        };
        let mut spool = Some(Spool::open(&config, random_epoch()).unwrap());
        let parents = spool.as_ref().unwrap();
        // As after a shutdown: no thread is left of it. Behind its end there is another one.
        parents.close();
        if left {
            parents.leave();
            parents.write(&error()).unwrap();
            parents.successor.get().unwrap().close();
        }
        let before = names_below(&config.root);
        assert!(before.len() > 4, "a directory with its lock and pages: {before:?}");
        assert_eq!(crate::platform::fork(|| spool.take().is_some()), Some(0));
        assert_eq!(names_below(&config.root), before, "left: {left}");

        // A thread of the parent may have had any lock at the fork.
        let log = Arc::clone(&spool.as_ref().unwrap().log);
        let held = log.lock();
        assert_eq!(
            crate::platform::fork(|| spool.take().is_some()),
            Some(0),
            "it waits for a lock"
        );
        drop(held);
        drop(spool);
        assert_eq!(names_below(&config.root).is_empty(), !left, "an error is in the other one");
    }
}
