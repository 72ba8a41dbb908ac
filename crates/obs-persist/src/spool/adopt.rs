//! The directories of a spool: ours, and those that dead processes left.
//!
//! Each process has a directory of its own, named by its epoch, and holds a lock in it for as long as
//! it lives. Whoever starts later takes over the directories whose lock is free.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use obs_core::{Timestamp, in_flight, ledger};
use uuid::Uuid;

use super::{
    disk::Disk,
    frame::Seed,
    log::Log,
    segment::{Segment, Slot, number_of},
    under_way::UNDER_WAY_WORDS,
};
use crate::platform::{self, DirError, HeldLock, Origin, Process};

/// Held while the process lives.
pub(super) const LOCK: &str = "lock";
/// The ledger's counters.
pub(crate) const LEDGER_PAGE: &str = "ledger.page";
/// The runs in flight.
pub(crate) const RUNS_PAGE: &str = "runs.page";
/// What is with the store and not settled.
pub(super) const BATCH_PAGE: &str = "batch.page";
/// What a process says there of what died with it, and how many words each has.
pub(super) const PAGES: [(&str, usize); 3] = [
    (LEDGER_PAGE, ledger::PAGE_WORDS),
    (BATCH_PAGE, UNDER_WAY_WORDS),
    (RUNS_PAGE, in_flight::PAGE_WORDS),
];
/// A directory that has no lock yet.
const UNFINISHED: &str = ".new-";
/// For how long such a directory is left to whoever makes it.
const UNFINISHED_AGE: Duration = Duration::from_secs(60);
/// How many names are looked at in one directory.
pub(super) const NAMES_MAX: usize = 10_000;

/// Why there is no directory for this process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    #[error(transparent)]
    Directory(#[from] DirError),
    #[error("cannot make a directory in {}: it must be writable, and not full", root.display())]
    Make { root: PathBuf, source: io::Error },
    #[error("{} is locked by another process of the same epoch", directory.display())]
    Locked { directory: PathBuf },
}

/// The directory of this process.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) root: PathBuf,
    pub(crate) directory: PathBuf,
    lock: HeldLock,
}

impl Home {
    /// Makes it. It appears with its lock taken, so that nobody ever sees it without.
    pub(crate) fn make(root: &Path, origin: Origin, epoch: Uuid) -> Result<Self, HomeError> {
        platform::private_dir(root, origin)?;
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let failed = |source| HomeError::Make { root: root.clone(), source };
        let unfinished = root.join(format!("{UNFINISHED}{epoch}"));
        let directory = root.join(epoch.to_string());
        platform::private_dir_unsynced(&unfinished)?;
        let lock = match platform::lock(&unfinished.join(LOCK)) {
            Ok(Some(lock)) => HeldLock::new(lock)
                .ok_or_else(|| HomeError::Locked { directory: directory.clone() }),
            Ok(None) => return Err(HomeError::Locked { directory }),
            Err(source) => Err(failed(source)),
        };
        // Nothing stays of an attempt: there may be many, one after the other.
        let lock = lock.inspect_err(|_| remove_ours(&unfinished))?;
        if let Err(source) = fs::rename(&unfinished, &directory) {
            remove_ours(&unfinished);
            return Err(failed(source));
        }
        if let Err(source) = platform::sync_dir(&root) {
            remove_ours(&directory);
            return Err(failed(source));
        }
        Ok(Self { root, directory, lock })
    }

    /// Gives up a directory in which no segment was made.
    pub(crate) fn give_up(self) {
        remove_ours(&self.directory);
        drop(self.lock);
    }

    /// Removes the directory if nothing is left in it that anybody needs.
    pub(crate) fn leave(self) {
        remove_done(&self.directory);
        drop(self.lock);
    }
}

/// The directory of a process that is dead, and whose lock we hold. Dropping the last handle removes
/// the directory if neither a segment nor a page is left in it.
#[derive(Debug)]
pub(crate) struct DeadEpoch {
    pub(crate) epoch: Uuid,
    pub(crate) directory: PathBuf,
    _lock: HeldLock,
    /// A forked child does not have the lock.
    process: Process,
}

impl DeadEpoch {
    /// Those below `root`, but for `own`; what cannot be looked at is left alone.
    pub(crate) fn find(root: &Path, own: Uuid) -> io::Result<Vec<Arc<Self>>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(root)?.take(NAMES_MAX) {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let directory = root.join(&name);
            let epoch = name.strip_prefix(UNFINISHED).unwrap_or(&name);
            let Ok(epoch) = Uuid::try_parse(epoch) else { continue };
            // Somebody may be about to lock it.
            if name.starts_with(UNFINISHED) && is_younger(&directory, UNFINISHED_AGE) {
                continue;
            }
            if epoch == own || platform::private_dir(&directory, Origin::Given).is_err() {
                continue;
            }
            let lock = platform::lock(&directory.join(LOCK)).ok().flatten();
            let Some(lock) = lock.and_then(HeldLock::new) else { continue };
            found.push(Arc::new(Self {
                epoch,
                directory,
                _lock: lock,
                process: Process::current(),
            }));
        }
        Ok(found)
    }

    /// Its segments in the order in which they were made.
    pub(crate) fn segments(&self, disk: &dyn Disk) -> io::Result<Vec<u64>> {
        segments_in(disk, &self.directory)
    }
}

impl Drop for DeadEpoch {
    fn drop(&mut self) {
        if self.process.is_forked() {
            return;
        }
        // A page goes when it is entered into somebody's books: until then the next process may need it.
        let is_there = |name| fs::symlink_metadata(self.directory.join(name)).is_ok();
        if !PAGES.iter().any(|(name, _)| is_there(name)) {
            remove_done(&self.directory);
        }
    }
}

/// Whether a file was changed less than `age` ago, or at a time that has not come yet.
fn is_younger(path: &Path, age: Duration) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().unwrap_or_default() < age)
}

/// The numbers of the segments in a directory, in order.
pub(crate) fn segments_in(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<u64>> {
    let names = disk.list(directory, NAMES_MAX)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes a directory in which no segment is left. Only what is ours goes; anything else keeps the
/// directory there.
fn remove_done(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let is_segment = |name: &str| number_of(name).is_some();
    for entry in entries.take(NAMES_MAX).flatten() {
        if entry.file_name().to_str().is_none_or(is_segment) {
            return;
        }
    }
    remove_ours(directory);
}

/// Removes what there is beside the segments, and the directory if that was all. It takes no descriptor, of which
/// there may be none.
fn remove_ours(directory: &Path) {
    // The lock goes last: until then nobody else takes the directory for theirs.
    for name in PAGES.map(|(name, _)| name).into_iter().chain([LOCK]) {
        let _ = fs::remove_file(directory.join(name));
    }
    let _ = fs::remove_dir(directory);
}

/// A record that was found in a dead process's segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
    pub(crate) id: Uuid,
}

impl Log {
    /// Whether another segment may be taken over. At most half of the budget is for what the dead left,
    /// so that there is room for errors of our own meanwhile.
    pub(super) fn may_adopt(&self) -> bool {
        let most = self.limits.bytes / (self.limits.segment as u64).max(1) / 2;
        let adopted =
            self.lock().segments.values().filter(|segment| segment.dead.is_some()).count();
        (adopted as u64) < most.max(1)
    }

    /// Gives up what was taken over and is not settled. A segment that is to be removed stays locked until it is.
    pub(super) fn give_up_adopted(&self) {
        let mut state = self.lock();
        let adopted: Vec<Segment> = state
            .segments
            .extract_if(.., |_, segment| segment.dead.is_some())
            .map(|(_, segment)| segment)
            .collect();
        let records: usize = adopted.iter().map(|segment| segment.outstanding).sum();
        state.outstanding = state.outstanding.saturating_sub(records);
        // Whichever of them it may be.
        state.reader = None;
        drop(state);
        // Locks are let go of, and directories looked at.
        drop(adopted);
    }

    /// Takes over a segment of a dead process, with these records, in order.
    pub(crate) fn take_over(
        &self,
        (dead, number): (&Arc<DeadEpoch>, u64),
        records: &[Found],
        damaged: bool,
    ) -> Vec<Slot> {
        let path = super::segment::path_of(&dead.directory, number);
        let mut segment = Segment::adopted(path, Seed::new(dead.epoch, number), records.len());
        segment.dead = Some(Arc::clone(dead));
        segment.damaged = damaged;
        segment.since = records.iter().map(|record| time_of(record.id)).min();
        let mut state = self.lock();
        let own = state.take_number();
        let slot = |record: &Found| Slot {
            segment: own,
            // Both are within a segment.
            offset: u32::try_from(record.offset).unwrap_or(u32::MAX),
            bytes: u32::try_from(record.bytes).unwrap_or(u32::MAX),
        };
        let slots = records.iter().map(slot).collect();
        state.outstanding += records.len();
        state.segments.insert(own, segment);
        // It may be empty.
        state.sweep(own);
        drop(state);
        self.news.notify_one();
        slots
    }
}

/// When a run began, by its id: a UUIDv7 begins with milliseconds.
fn time_of(id: Uuid) -> Timestamp {
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or(0);
    Timestamp::from_micros(millis.saturating_mul(1_000))
}

#[cfg(test)]
mod tests;
