//! Spools of dead processes that cannot be read, for now: they are left whole.
//!
//! A ledger's page says how many records the segments beside it hold. So an epoch of which one file
//! cannot be read is not touched at all: its page would be compared with too little, and what is
//! merely unreadable would be counted as lost. A disk that fails is given [`LOOKS_MAX`] looks. A segment of
//! which the same places could not be read at the last two of them goes on without those, any other file as a
//! whole; the file is set aside, and what is lost is counted. What another release left, segments or pages of
//! another layout, stays for that one.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use obs_core::{Adopter, Class, PageError, in_flight, ledger};
use uuid::Uuid;

use super::{
    adopt::{DeadEpoch, LEDGER_PAGE, PAGES, RUNS_PAGE},
    bad, codec,
    frame::Seed,
    log::Log,
    pieces::{self, Unread, read_segment},
    segment::{number_of, path_of},
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
    failing: Vec<Failing>,
    /// Those that this release will never read.
    foreign: Vec<Uuid>,
}

/// An epoch that was looked at in vain.
#[derive(Debug)]
struct Failing {
    epoch: Uuid,
    /// How often.
    looks: u32,
    /// What of its files could not be read at the last look that went to the end of them.
    unread: Vec<(PathBuf, Unread)>,
}

/// Why an epoch cannot be taken over.
enum Trouble {
    /// Its segments cannot even be listed, or nothing can be said of one.
    Directory(io::Error),
    Files {
        failed: Vec<PathBuf>,
        why: io::Error,
    },
    /// A file of another release, and its schema or layout.
    Foreign(PathBuf, u64),
}

impl Held {
    /// What of an epoch is to be taken over: all of it, or as much as ever will be. `None` is nothing yet.
    pub(super) fn admits(
        &mut self,
        dead: &DeadEpoch,
        log: &Log,
        books: &Adopter,
    ) -> Option<Vec<Readable>> {
        if self.foreign.contains(&dead.epoch) {
            return None;
        }
        let readable = match look_at(dead, log) {
            Ok(readable) => readable,
            Err(Trouble::Foreign(path, layout)) => {
                let path = path.display();
                tracing::warn!(%path, layout, "a spool of another release stays for that one: start it once more");
                self.foreign.push(dead.epoch);
                return None;
            }
            Err(Trouble::Directory(error)) => {
                self.count(dead.epoch, &dead.directory, &error);
                return None;
            }
            Err(Trouble::Files { failed, why }) => {
                let first = failed.first().unwrap_or(&dead.directory);
                let failing = self.count(dead.epoch, first, &why)?;
                if failing.looks + 1 < LOOKS_MAX || !failing.goes_without(&failed, dead, log, books)
                {
                    return None;
                }
                look_at(dead, log).ok()?
            }
        };
        self.failing.retain(|failing| failing.epoch != dead.epoch);
        Some(readable)
    }

    /// One more look in vain, if it is the file's fault, which is said at the first: what is known of the epoch then.
    #[expect(clippy::indexing_slicing, reason = "it was found there, or has just been added")]
    fn count(&mut self, epoch: Uuid, path: &Path, error: &io::Error) -> Option<&mut Failing> {
        let counts = u32::from(!platform::is_shortage(error));
        let at = self.failing.iter().position(|known| known.epoch == epoch).unwrap_or_else(|| {
            let path = path.display();
            tracing::warn!(%path, %error, "a spool of a dead process cannot be read; it is tried again");
            self.failing.push(Failing { epoch, looks: 0, unread: Vec::new() });
            self.failing.len() - 1
        });
        let failing = &mut self.failing[at];
        failing.looks += counts;
        (counts > 0).then_some(failing)
    }

    /// Forgets epochs that are not there any more.
    pub(super) fn keep(&mut self, there: impl Fn(Uuid) -> bool) {
        self.failing.retain(|failing| there(failing.epoch));
        self.foreign.retain(|epoch| there(*epoch));
    }
}

impl Failing {
    /// Whether none of these files is in the way any more: it had its looks, and what it lacks was lacking at the one
    /// before.
    fn goes_without(
        &mut self,
        failed: &[PathBuf],
        dead: &DeadEpoch,
        log: &Log,
        books: &Adopter,
    ) -> bool {
        let mut buffer = Vec::new();
        let before = std::mem::take(&mut self.unread);
        let is_last = self.looks >= LOOKS_MAX;
        let (mut all, mut pages) = (is_last, true);
        for path in failed {
            let is_segment = path.file_name().and_then(|name| number_of(name.to_str()?)).is_some();
            let unread = if is_segment {
                let may = || log.may_look();
                match pieces::read_around(&*log.disk, path, &mut buffer, may) {
                    Ok(unread) => unread,
                    Err(_) => return false,
                }
            } else {
                Unread::all()
            };
            let known = before.iter().find(|(known, _)| known == path);
            // The pages come first: what a segment loses is for the ledger's page to count, if that is still there.
            let is_gone = is_last
                && (pages || !is_segment)
                && known.is_some_and(|(_, then)| unread == *then)
                && gives_up(path, (&unread, &buffer), is_segment, (dead, log, books));
            pages &= is_gone || is_segment;
            all &= is_gone;
            self.unread.push((path.clone(), unread));
        }
        all
    }
}

/// Whether a file is set aside, or nothing of it is missing.
fn gives_up(
    path: &Path,
    (unread, bytes): (&Unread, &[u8]),
    is_segment: bool,
    (dead, log, books): (&DeadEpoch, &Log, &Adopter),
) -> bool {
    let given_up = if unread.places.is_empty() {
        Ok(())
    } else if is_segment {
        give_up_segment(path, (unread, bytes), (dead, log, books))
    } else {
        give_up_page(path, dead, log)
    };
    if let Err(error) = &given_up {
        tracing::debug!(path = %path.display(), %error, "a file that cannot be read stays as it is for now");
    }
    given_up.is_ok()
}

fn give_up_page(path: &Path, dead: &DeadEpoch, log: &Log) -> io::Result<()> {
    bad::set_aside(&*log.disk, (root_of(dead), log.clock.wall()), path)?;
    let path = path.display();
    tracing::error!(%path, "a page cannot be read and is set aside; what it alone says is not known");
    Ok(())
}

/// Leaves what could be read of a segment in its place, and be it nothing: what was lost is seen there. Of that the
/// ledger's page of its process knows, as long as it says anything; otherwise it is counted now, and never again.
fn give_up_segment(
    path: &Path,
    (unread, bytes): (&Unread, &[u8]),
    (dead, log, books): (&DeadEpoch, &Log, &Adopter),
) -> io::Result<()> {
    let page = match platform::read_words(&dead.directory.join(LEDGER_PAGE), ledger::PAGE_WORDS) {
        Ok(words) => ledger::read_page(&words).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let bytes = if *unread == Unread::all() { &pieces::NOTHING[..] } else { bytes };
    let kept = bad::replace(&*log.disk, (root_of(dead), log.clock.wall()), (path, bytes))?;
    let (path, places) = (path.display(), unread.places.len());
    tracing::error!(
        %path,
        places,
        kept,
        "a segment cannot be read; what can be read of it goes on, the rest is counted as lost"
    );
    if page.is_none() {
        books.crashed(Class::Error, unread.lost);
    }
    Ok(())
}

fn root_of(dead: &DeadEpoch) -> &Path {
    dead.directory.parent().unwrap_or(&dead.directory)
}

/// Reads all of an epoch: what there is, or why that cannot be said.
fn look_at(dead: &DeadEpoch, log: &Log) -> Result<Vec<Readable>, Trouble> {
    log.may_look().map_err(Trouble::Directory)?;
    let numbers = dead.segments(&*log.disk).map_err(Trouble::Directory)?;
    let (mut failed, mut why) = (Vec::new(), None);
    let open = look_at_pages(dead, &mut failed, &mut why)?;
    let (mut buffer, mut readable) = (Vec::new(), Vec::new());
    for number in numbers {
        let path = path_of(&dead.directory, number);
        let may = log.may_look();
        if let Err(error) = may.and_then(|()| read_segment(&*log.disk, &path, &mut buffer)) {
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
    match why {
        None => Ok(readable),
        Some(why) => Err(Trouble::Files { failed, why }),
    }
}

/// Reads its pages: the runs that it died with, as far as they tell.
fn look_at_pages(
    dead: &DeadEpoch,
    failed: &mut Vec<PathBuf>,
    why: &mut Option<io::Error>,
) -> Result<BTreeSet<Uuid>, Trouble> {
    let mut open = BTreeSet::new();
    for (name, words) in PAGES {
        let path = dead.directory.join(name);
        match platform::read_words(&path, words) {
            Ok(words) => {
                if let Some(layout) = other_layout(name, &words) {
                    return Err(Trouble::Foreign(path, layout));
                }
                if name == RUNS_PAGE
                    && let Ok(page) = in_flight::read_page(&words)
                {
                    open.extend(page.runs.iter().map(|run| run.run_id));
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
    Ok(open)
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

    use obs_core::{Clock, testing::TestObs};

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
        let (mut held, books) = (Held::default(), TestObs::new().adopter());
        for _ in 0..2 * LOOKS_MAX {
            assert!(Orphans::find((&root, own), Arc::clone(&log), &mut held, &books).is_empty());
        }
        assert!(directory.join("00000001.seg").exists());
        assert!(directory.join("ledger.page").exists());
        assert!(DeadEpoch::find(&root, own).unwrap().len() == 1, "its lock is free");
        fs::remove_dir_all(&directory).unwrap();
        assert!(Orphans::find((&root, own), log, &mut held, &books).is_empty());
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
            let (mut held, books) = (Held::default(), TestObs::new().adopter());
            for _ in 0..2 * LOOKS_MAX {
                assert!(
                    Orphans::find((&root, own), Arc::clone(&log), &mut held, &books).is_empty(),
                    "{name}"
                );
            }
            assert!(path.exists(), "{name}");
        }
    }
}
