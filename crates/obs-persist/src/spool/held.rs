//! Spools of dead processes that cannot be read, for now: they are left whole.
//!
//! A ledger's page says how many records the segments beside it hold. So an epoch of which one file
//! cannot be read is not touched at all: its page would be compared with too little, and what is
//! merely unreadable would be counted as lost. A disk that fails is given [`LOOKS_MAX`] looks; a
//! file that still cannot be read then is set aside, and its records are counted. What another release
//! left, segments or pages of another layout, stays for that one.

use std::{collections::BTreeSet, io, path::PathBuf};

use obs_core::{Clock, PageError, in_flight, ledger};
use uuid::Uuid;

use super::{
    adopt::{DeadEpoch, LEDGER_PAGE, PAGES, RUNS_PAGE, read_segment},
    bad::set_aside,
    codec,
    frame::Seed,
    log::Log,
    segment::path_of,
};
use crate::platform;

/// How often a file may turn out to be unreadable, before its epoch goes on without it.
pub(super) const LOOKS_MAX: u32 = 5;

/// A segment that can be taken over.
#[derive(Debug)]
pub(super) struct Readable {
    pub(super) number: u64,
    /// How many records are in it.
    pub(super) records: u64,
    /// At how many places there is something that is none.
    pub(super) damaged: u64,
    /// At how many of these a write may have been cut off.
    pub(super) cut_off: u64,
    /// The runs of its records that the page of the runs has as open.
    pub(super) ended: Vec<Uuid>,
}

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
    /// Its segments cannot even be listed, or nothing can be said of one.
    Directory(io::Error),
    Files {
        failed: Vec<PathBuf>,
        why: io::Error,
        readable: Vec<Readable>,
    },
    /// A file of another release, and its schema or layout.
    Foreign(PathBuf, u64),
}

impl Held {
    /// What of an epoch is to be taken over: all of it, or as much as ever will be. `None` is nothing yet.
    pub(super) fn admits(&mut self, dead: &DeadEpoch, log: &Log) -> Option<Vec<Readable>> {
        if self.foreign.contains(&dead.epoch) {
            return None;
        }
        match look_at(dead, log) {
            Ok(readable) => {
                self.failing.retain(|(epoch, _)| *epoch != dead.epoch);
                Some(readable)
            }
            Err(Trouble::Foreign(path, layout)) => {
                let path = path.display();
                tracing::warn!(%path, layout, "a spool of another release stays for that one: start it once more");
                self.foreign.push(dead.epoch);
                None
            }
            Err(Trouble::Directory(error)) => {
                self.count(dead.epoch, &dead.directory.display().to_string(), &error);
                None
            }
            Err(Trouble::Files { failed, why, readable }) => {
                let first = failed.first().map(|path| path.display().to_string());
                let looks = self.count(dead.epoch, &first.unwrap_or_default(), &why);
                if looks < LOOKS_MAX || !are_set_aside(&failed, dead, log) {
                    return None;
                }
                tracing::error!(
                    epoch = %dead.epoch,
                    files = failed.len(),
                    "files that cannot be read are set aside; records in a segment are counted as lost, what a \
                     page alone says is not known"
                );
                self.failing.retain(|(epoch, _)| *epoch != dead.epoch);
                Some(readable)
            }
        }
    }

    /// One more look in vain, if it is the file's fault; said at the first. How many there were, or none where this
    /// one says nothing of the file.
    fn count(&mut self, epoch: Uuid, path: &str, error: &io::Error) -> u32 {
        let counts = u32::from(!platform::is_shortage(error));
        if let Some((_, looks)) = self.failing.iter_mut().find(|(known, _)| *known == epoch) {
            *looks += counts;
            return *looks * counts;
        }
        tracing::warn!(path, %error, "a spool of a dead process cannot be read; it is tried again");
        self.failing.push((epoch, counts));
        counts
    }

    /// Forgets epochs that are not there any more.
    pub(super) fn keep(&mut self, there: impl Fn(Uuid) -> bool) {
        self.failing.retain(|(epoch, _)| there(*epoch));
        self.foreign.retain(|epoch| there(*epoch));
    }
}

/// Moves files to where somebody can look at them; those that cannot be moved stay, and so does the rest.
fn are_set_aside(failed: &[PathBuf], dead: &DeadEpoch, log: &Log) -> bool {
    let root = dead.directory.parent().unwrap_or(&dead.directory);
    let now = Clock::default().wall();
    let stays = |path: &&PathBuf| set_aside(&*log.disk, (root, now), path).is_err();
    failed.iter().filter(stays).count() == 0
}

/// Reads all of an epoch: what there is, or why that cannot be said.
fn look_at(dead: &DeadEpoch, log: &Log) -> Result<Vec<Readable>, Trouble> {
    let numbers = dead.segments(&*log.disk).map_err(Trouble::Directory)?;
    let (mut buffer, mut readable) = (Vec::new(), Vec::new());
    let (mut failed, mut why) = (Vec::new(), None);
    let open = open_runs(dead);
    for number in numbers {
        let path = path_of(&dead.directory, number);
        if let Err(error) = read_segment(&*log.disk, &path, &mut buffer) {
            if platform::is_shortage(&error) {
                return Err(Trouble::Directory(error));
            }
            failed.push(path);
            why.get_or_insert(error);
            continue;
        }
        let (mut records, mut unreadable, mut ended) = (0, 0, Vec::new());
        let mut scan = log.bugs.scan(&buffer, Seed::new(dead.epoch, number));
        for (_, frame) in scan.by_ref() {
            if let Some(schema) = codec::other_schema(frame.payload) {
                return Err(Trouble::Foreign(path, schema.into()));
            }
            match codec::decode(frame.payload) {
                Ok(record) => {
                    records += 1;
                    ended.extend(open.get(&record.run_id));
                }
                Err(_) => unreadable += 1,
            }
        }
        let (damaged, cut_off) = (scan.damaged() + unreadable, scan.cut_off());
        readable.push(Readable { number, records, damaged, cut_off, ended });
    }
    for (name, words) in PAGES {
        let path = dead.directory.join(name);
        match platform::read_words(&path, words) {
            Ok(words) => {
                if let Some(layout) = other_layout(name, &words) {
                    return Err(Trouble::Foreign(path, layout));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if platform::is_shortage(&error) => return Err(Trouble::Directory(error)),
            Err(error) => {
                failed.push(path);
                why.get_or_insert(error);
            }
        }
    }
    match why {
        None => Ok(readable),
        Some(why) => Err(Trouble::Files { failed, why, readable }),
    }
}

/// The runs that a process died with, as far as its page tells.
fn open_runs(dead: &DeadEpoch) -> BTreeSet<Uuid> {
    let words = platform::read_words(&dead.directory.join(RUNS_PAGE), in_flight::PAGE_WORDS);
    let page = words.ok().and_then(|words| in_flight::read_page(&words).ok());
    page.into_iter().flat_map(|page| page.runs).map(|run| run.run_id).collect()
}

/// The layout of a page, if it is one that only another release reads.
fn other_layout(name: &str, words: &[u64]) -> Option<u64> {
    let error = match name {
        LEDGER_PAGE => ledger::read_page(words).err(),
        RUNS_PAGE => in_flight::read_page(words).err(),
        _ => None,
    };
    match error {
        Some(PageError::Version { version, .. }) => Some(version),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::{
        super::{
            MappedPage,
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

    const LIMITS: LogLimits =
        LogLimits { bytes: 64 << 20, segment: SEGMENT_BYTES, fsync: Fsync::Interval };

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

    #[test]
    fn pages_of_another_layout_stay_as_they_are_with_all_that_is_beside_them() {
        for (name, words) in [(LEDGER_PAGE, ledger::PAGE_WORDS), (RUNS_PAGE, in_flight::PAGE_WORDS)]
        {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("spool");
            let (other, own) = (Uuid::from_u128(1), Uuid::from_u128(2));
            let home = Home::make(&root, Origin::Given, other).unwrap();
            let path = home.directory.join(name);
            let page = Arc::new(MappedPage(platform::Words::create(&path, words).unwrap()));
            let obs = obs_core::Obs::builder();
            let obs = match name {
                LEDGER_PAGE => obs.ledger_page(page).build().unwrap(),
                _ => obs.in_flight_page(page).build().unwrap(),
            };
            drop((obs, home));
            assert_eq!(other_layout(name, &platform::read_words(&path, words).unwrap()), None);
            // The second word is the layout.
            platform::write_word(&path, 1, 99).unwrap();

            let home = Home::make(&root, Origin::Given, own).unwrap();
            let place = (home.directory.clone(), own);
            let log = Arc::new(Log::new(Arc::new(RealDisk), place, LIMITS, Clock::default()));
            let mut held = Held::default();
            for _ in 0..2 * LOOKS_MAX {
                assert!(
                    Orphans::find(&root, own, Arc::clone(&log), &mut held).is_empty(),
                    "{name}"
                );
            }
            assert!(path.exists(), "{name}");
        }
    }
}
