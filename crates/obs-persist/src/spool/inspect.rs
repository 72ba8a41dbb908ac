//! What is in the folder of a spool, for an operator: read, never changed, and trusted in nothing.

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
};

use obs_core::{Class, PageError, RunRecord, ledger};
use serde::Serialize;
use uuid::Uuid;

use super::{
    adopt::{LEDGER_PAGE, LOCK, NAMES_MAX},
    bad::Bad,
    codec,
    frame::{FLAG_ERROR, Seed},
    pieces,
    recover::Scan,
    segment::{SEGMENT_BYTES, number_of, path_of},
};
use crate::platform;

/// How often the page of a live process is read, until two readings agree.
const PAGE_READINGS_MAX: usize = 100;

/// One record in a segment.
///
/// ```
/// # use obs_persist::inspect::SpooledRecord;
/// fn line(record: &SpooledRecord) -> String {
///     format!("{} at {} of segment {}", record.run_id, record.offset, record.segment)
/// }
/// # let _ = line;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SpooledRecord {
    /// The process that wrote it.
    pub epoch: Uuid,
    /// The number of the segment, as in its file's name.
    pub segment: u64,
    /// Where its frame begins in the segment, in bytes.
    pub offset: u64,
    /// The run.
    pub run_id: Uuid,
    /// Its class.
    pub class: Class,
    /// What its frame takes up, in bytes.
    pub bytes: u64,
}

/// A segment, with the records in it. Records that the store has committed stay in it as long as others
/// in it are needed.
///
/// ```
/// # use obs_persist::inspect::SpooledSegment;
/// fn is_whole(segment: &SpooledSegment) -> bool {
///     segment.damaged == 0 && segment.unreadable == 0 && !segment.is_cut
/// }
/// # let _ = is_whole;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpooledSegment {
    /// Its file.
    pub path: PathBuf,
    /// The process that wrote it.
    pub epoch: Uuid,
    /// Its number.
    pub segment: u64,
    /// What is in it, in order.
    pub records: Vec<SpooledRecord>,
    /// Places in which there is neither a record nor nothing.
    pub damaged: u64,
    /// Of these, those that look like a record whose write was cut off, as by the kill of its process.
    pub cut_off: u64,
    /// Records that are whole, but that this release cannot read.
    pub unreadable: u64,
    /// Its file is shorter than it was made, though something is in it: its end was cut off. One without anything in
    /// it may be of a process that died while it made the file.
    pub is_cut: bool,
}

/// The directory of one process.
///
/// ```
/// # fn example() -> Result<(), obs_persist::inspect::InspectError> {
/// for epoch in obs_persist::inspect::epochs("/var/lib/app/obs".as_ref())? {
///     println!("{} is {}", epoch.epoch, if epoch.alive { "alive" } else { "dead" });
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpooledEpoch {
    /// The lifetime of the process.
    pub epoch: Uuid,
    /// Its directory.
    pub directory: PathBuf,
    /// Whether it holds its lock: its process lives, or another is about to adopt it.
    pub alive: bool,
}

/// Why something in a spool cannot be looked at.
///
/// ```
/// let error = obs_persist::inspect::epochs("/no/such/folder".as_ref()).unwrap_err();
/// assert!(error.to_string().contains("`/no/such/folder`"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It cannot be read.
    #[error("cannot read `{}`: it must exist, and be readable for this user", path.display())]
    #[non_exhaustive]
    Read {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is no ledger's page.
    #[error("`{}` is no ledger", path.display())]
    #[non_exhaustive]
    Page {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: PageError,
    },
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> InspectError {
    let path = path.to_owned();
    move |source| InspectError::Read { path, source }
}

/// The directories of processes in a spool's folder, in the order of their names. The folder may be one
/// of them itself.
///
/// # Errors
/// When the folder cannot be read.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// assert_eq!(obs_persist::inspect::epochs(folder.path())?, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn epochs(folder: &Path) -> Result<Vec<SpooledEpoch>, InspectError> {
    let entries = fs::read_dir(folder).map_err(unreadable(folder))?;
    if let Some(epoch) = epoch_of(folder) {
        return Ok(vec![SpooledEpoch::at(epoch, folder.to_owned())]);
    }
    let mut found = Vec::new();
    for entry in entries.take(NAMES_MAX) {
        let entry = entry.map_err(unreadable(folder))?;
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(epoch) = epoch_of(&entry.path()).filter(|_| is_directory) {
            found.push(SpooledEpoch::at(epoch, entry.path()));
        }
    }
    found.sort_by_key(|one| one.epoch);
    Ok(found)
}

fn epoch_of(directory: &Path) -> Option<Uuid> {
    Uuid::try_parse(directory.file_name()?.to_str()?).ok()
}

impl SpooledEpoch {
    fn at(epoch: Uuid, directory: PathBuf) -> Self {
        let alive = is_locked(&directory.join(LOCK));
        Self { epoch, directory, alive }
    }

    /// The numbers of its segments, in order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    ///
    /// ```
    /// # use obs_persist::inspect::{InspectError, SpooledEpoch};
    /// fn records(epoch: &SpooledEpoch) -> Result<usize, InspectError> {
    ///     let mut records = 0;
    ///     for segment in epoch.segments()? {
    ///         records += epoch.segment(segment)?.records.len();
    ///     }
    ///     Ok(records)
    /// }
    /// # let _ = records;
    /// ```
    pub fn segments(&self) -> Result<Vec<u64>, InspectError> {
        let mut numbers = Vec::new();
        for entry in
            fs::read_dir(&self.directory).map_err(unreadable(&self.directory))?.take(NAMES_MAX)
        {
            let name = entry.map_err(unreadable(&self.directory))?.file_name();
            numbers.extend(name.to_str().and_then(number_of));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// What is in one of its segments.
    ///
    /// # Errors
    /// When its file cannot be read. Damage in it is no error.
    ///
    /// ```
    /// # use obs_persist::inspect::{InspectError, SpooledEpoch};
    /// fn is_damaged(epoch: &SpooledEpoch, segment: u64) -> Result<bool, InspectError> {
    ///     Ok(epoch.segment(segment)?.damaged > 0)
    /// }
    /// # let _ = is_damaged;
    /// ```
    pub fn segment(&self, segment: u64) -> Result<SpooledSegment, InspectError> {
        let (epoch, path) = (self.epoch, path_of(&self.directory, segment));
        let bytes = read(&path, SEGMENT_BYTES)?;
        let mut scan = Scan::new(&bytes, Seed::new(epoch, segment));
        let (mut records, mut unreadable) = (Vec::new(), 0);
        for (offset, frame) in scan.by_ref() {
            unreadable += u64::from(decode(frame.payload, frame.id).is_none());
            let class = if frame.flags & FLAG_ERROR == 0 { Class::Ok } else { Class::Error };
            let (offset, bytes) = (offset as u64, frame.bytes as u64);
            records.push(SpooledRecord { epoch, segment, offset, run_id: frame.id, class, bytes });
        }
        let (damaged, cut_off) = (scan.damaged(), scan.cut_off());
        // Nothing is written to a file before it has its size.
        let is_cut = bytes.len() < SEGMENT_BYTES && (damaged > 0 || !records.is_empty());
        Ok(SpooledSegment { path, epoch, segment, records, damaged, cut_off, unreadable, is_cut })
    }

    /// Its ledger, as it last was. That of a process that lives is read until two readings agree.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    ///
    /// ```
    /// # use obs_persist::inspect::{InspectError, SpooledEpoch};
    /// fn died(epoch: &SpooledEpoch) -> Result<u64, InspectError> {
    ///     Ok(epoch.ledger()?.died(obs_core::Class::Ok))
    /// }
    /// # let _ = died;
    /// ```
    pub fn ledger(&self) -> Result<ledger::PageLedger, InspectError> {
        let path = self.directory.join(LEDGER_PAGE);
        let mut words = words(&path)?;
        for _ in 0..PAGE_READINGS_MAX {
            let again = self::words(&path)?;
            if std::mem::replace(&mut words, again) == words {
                break;
            }
        }
        ledger::read_page(&words).map_err(|source| InspectError::Page { path, source })
    }
}

/// How many records in a spool's folder are about a subject that has one of these names. What is damaged, or
/// written by another release, is not seen; a segment that goes meanwhile is none. Segments that were set aside
/// are looked at, too.
pub(crate) fn about(folder: &Path, subjects: &[String]) -> Result<u64, InspectError> {
    let mut segments = Vec::new();
    for epoch in epochs(folder)? {
        for segment in epoch.segments()? {
            segments.push((path_of(&epoch.directory, segment), epoch.epoch, segment));
        }
    }
    let used = segments.len();
    let aside = Bad::all(folder).into_iter();
    segments.extend(aside.filter_map(|bad| bad.segment.map(|(epoch, at)| (bad.path, epoch, at))));
    // By their runs: what could be read of a file that was set aside is elsewhere as well.
    let mut seen = BTreeSet::new();
    for (at, (path, epoch, segment)) in segments.into_iter().enumerate() {
        let bytes = match read(&path, SEGMENT_BYTES) {
            Ok(bytes) => bytes,
            // Some were set aside because nobody could read all of them.
            Err(_) if at >= used => what_can_be_read(&path),
            Err(_) if !path.exists() => continue,
            Err(error) => return Err(error),
        };
        let found = Scan::new(&bytes, Seed::new(epoch, segment));
        seen.extend(found.filter_map(|(_, frame)| {
            let subject = decode(frame.payload, frame.id)?.subject?;
            subjects.iter().any(|one| **one == *subject).then_some(frame.id)
        }));
    }
    Ok(seen.len() as u64)
}

/// The record of a payload, if it is one, of this run.
fn decode(payload: &[u8], id: Uuid) -> Option<RunRecord> {
    codec::decode(payload).ok().filter(|record| record.run_id == id)
}

/// Whether somebody holds it. Whoever looks holds it, too, for a moment, but shared: a process that
/// would adopt the directory just then leaves it to the next.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn words(path: &Path) -> Result<Vec<u64>, InspectError> {
    let bytes = read(path, ledger::PAGE_WORDS * size_of::<u64>())?;
    let words = bytes.as_chunks::<{ size_of::<u64>() }>().0;
    Ok(words.iter().map(|word| u64::from_ne_bytes(*word)).collect())
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, InspectError> {
    let mut bytes = Vec::new();
    let file = open(path).map_err(unreadable(path))?;
    file.take(bytes_max as u64).read_to_end(&mut bytes).map_err(unreadable(path))?;
    Ok(bytes)
}

fn what_can_be_read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = open(path) {
        // After an error it is what came before it.
        let _ = pieces::around(|into, at| platform::read_at(&file, into, at as u64), &mut bytes);
    }
    bytes
}

/// A file, and nothing that could hold us up or lead elsewhere. An operator may read what is not theirs.
fn open(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    File::open(path)
}
