//! Spools of dead processes that cannot be read, for now: they are left whole.
//!
//! A ledger's page says how many records the segments beside it hold. So an epoch of which one segment
//! cannot be read is not touched at all: its page would be compared with too little, and what is
//! merely unreadable would be counted as lost. A disk that fails is given [`LOOKS_MAX`] looks; a
//! segment that still cannot be read then is set aside, and its records are counted. Segments of
//! another release stay for that one.

use std::{io, path::PathBuf};

use obs_core::Clock;
use uuid::Uuid;

use super::{
    adopt::{DeadEpoch, read_segment, set_aside},
    codec,
    frame::Seed,
    log::Log,
    segment::path_of,
};

/// How often a segment may turn out to be unreadable, before its epoch goes on without it.
pub(super) const LOOKS_MAX: u32 = 5;

/// What is known of the epochs that were not touched.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// How often each of them was looked at in vain.
    failing: Vec<(Uuid, u32)>,
    /// Those that this release will never read.
    foreign: Vec<Uuid>,
}

/// Why an epoch cannot be taken over.
enum Trouble {
    /// Its segments cannot even be listed.
    Directory(io::Error),
    Segments(Vec<PathBuf>, io::Error),
    Schema(PathBuf, u8),
}

impl Held {
    /// Whether all of an epoch can be read, or as much as ever will be.
    pub(super) fn admits(&mut self, dead: &DeadEpoch, log: &Log) -> bool {
        if self.foreign.contains(&dead.epoch) {
            return false;
        }
        match trouble(dead, log) {
            None => {
                self.failing.retain(|(epoch, _)| *epoch != dead.epoch);
                true
            }
            Some(Trouble::Schema(path, schema)) => {
                let path = path.display();
                tracing::warn!(%path, schema, "a spool of another release stays for that one");
                self.foreign.push(dead.epoch);
                false
            }
            Some(Trouble::Directory(error)) => {
                self.count(dead.epoch, &dead.directory.display().to_string(), &error);
                false
            }
            Some(Trouble::Segments(paths, error)) => {
                let first = paths.first().map(|path| path.display().to_string());
                if self.count(dead.epoch, &first.unwrap_or_default(), &error) < LOOKS_MAX {
                    return false;
                }
                tracing::error!(
                    epoch = %dead.epoch,
                    segments = paths.len(),
                    "segments that cannot be read are set aside; the records in them are counted as lost"
                );
                let root = dead.directory.parent().unwrap_or(&dead.directory);
                let now = Clock::default().wall();
                paths.iter().for_each(|path| set_aside(&*log.disk, (root, now), path));
                self.failing.retain(|(epoch, _)| *epoch != dead.epoch);
                true
            }
        }
    }

    /// One more look in vain; said at the first.
    fn count(&mut self, epoch: Uuid, path: &str, error: &io::Error) -> u32 {
        if let Some((_, looks)) = self.failing.iter_mut().find(|(known, _)| *known == epoch) {
            *looks += 1;
            return *looks;
        }
        tracing::warn!(path, %error, "a spool of a dead process cannot be read; it is tried again");
        self.failing.push((epoch, 1));
        1
    }

    /// Forgets epochs that are not there any more.
    pub(super) fn keep(&mut self, there: impl Fn(Uuid) -> bool) {
        self.failing.retain(|(epoch, _)| there(*epoch));
        self.foreign.retain(|epoch| there(*epoch));
    }
}

/// What of an epoch cannot be read.
fn trouble(dead: &DeadEpoch, log: &Log) -> Option<Trouble> {
    let numbers = match dead.segments(&*log.disk) {
        Ok(numbers) => numbers,
        Err(error) => return Some(Trouble::Directory(error)),
    };
    let (mut buffer, mut failed, mut why) = (Vec::new(), Vec::new(), None);
    for number in numbers {
        let path = path_of(&dead.directory, number);
        if let Err(error) = read_segment(&*log.disk, &path, &mut buffer) {
            failed.push(path);
            why.get_or_insert(error);
            continue;
        }
        let mut frames = log.bugs.scan(&buffer, Seed::new(dead.epoch, number));
        if let Some(schema) = frames.find_map(|(_, frame)| codec::other_schema(frame.payload)) {
            return Some(Trouble::Schema(path, schema));
        }
    }
    why.map(|error| Trouble::Segments(failed, error))
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::{
        super::{
            adopt::Home,
            disk::RealDisk,
            frame,
            log::{Fsync, LogLimits},
            orphans::Orphans,
            segment::SEGMENT_BYTES,
        },
        *,
    };
    use crate::platform::Origin;

    const LIMITS: LogLimits = LogLimits {
        bytes: 64 << 20,
        segment: SEGMENT_BYTES,
        records: 1_000,
        fsync: Fsync::Interval,
    };

    #[test]
    fn a_spool_of_another_release_stays_as_it_is_page_and_all() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("spool");
        let (other, own) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let log_in = |epoch| {
            let home = Home::make(&root, Origin::Given, epoch).unwrap();
            let place = (home.directory.clone(), epoch);
            (Arc::new(Log::new(Arc::new(RealDisk), place, LIMITS, Clock::default())), home)
        };
        let (log, home) = log_in(other);
        let mut buffer = Vec::new();
        frame::begin(&mut buffer, frame::FLAG_ERROR, Uuid::from_u128(7));
        buffer.extend_from_slice(&[200; 100]);
        assert!(frame::finish(&mut buffer));
        log.append(&mut buffer).unwrap();
        let directory = home.directory.clone();
        drop((log, home));
        fs::write(directory.join("ledger.page"), "x").unwrap();

        let (log, _home) = log_in(own);
        let mut held = Held::default();
        for _ in 0..2 * LOOKS_MAX {
            assert!(Orphans::find(&root, own, Arc::clone(&log), &mut held).is_empty());
        }
        assert!(directory.join("00000001.seg").exists());
        assert!(directory.join("ledger.page").exists());
        assert!(DeadEpoch::find(&root, own).unwrap().len() == 1, "its lock is free");
        fs::remove_dir_all(&directory).unwrap();
        assert!(Orphans::find(&root, own, log, &mut held).is_empty());
        assert!(held.foreign.is_empty(), "nothing is remembered of what is gone");
    }
}
