//! The quarantine: records that the store does not take, one file each, for somebody to judge.
//!
//! A record is set aside only when the store refused it alone while it took others (see
//! `bisect.rs`). Its file is named after its run, so setting it aside twice is the same as once:
//! a process that dies between the file and the ledger changes nothing. Every change of place is
//! one rename, so a record is in one place at any time:
//!
//! ```text
//! <folder>/<run id>.json         set aside
//! <folder>/retry/<run id>.json   on its way back into the store
//! ```
//!
//! The folder and its files are for their owner only: the records may be private. What a file
//! says is not trusted when it is read again.

mod file;
mod folder;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use obs_core::{Class, Clock, DropReason, RunRecord, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use file::{Filed, Head};

/// The largest file, in bytes: a record with every column at its limit has room in it several
/// times over.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// How many files are looked at, at most; a folder of ours holds fewer.
const FILES_MAX: usize = 100_000;

/// What an error's text may take in a file, in bytes.
const ERROR_BYTES_MAX: usize = 4 << 10;

/// The folder of files that go back into the store.
const RETRY: &str = "retry";

/// A folder of records that were set aside.
///
/// ```
/// use obs_persist::quarantine::Quarantine;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path();
/// let quarantine = Quarantine::at(path.join("quarantine"));
/// for entry in quarantine.list()? {
///     println!("{} {} {}", entry.run_id, entry.bytes, entry.error);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Quarantine {
    folder: PathBuf,
    limits: Limits,
}

/// What a folder may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) records: usize,
    pub(crate) bytes: u64,
    pub(crate) age: Duration,
}

impl Limits {
    /// Those of [`PersistConfig`](crate::PersistConfig)'s default.
    pub(crate) const USUAL: Self =
        Self { records: 1_000, bytes: 64 << 20, age: Duration::from_secs(7 * 86_400) };
}

/// One file, without the record in it.
///
/// ```
/// # use obs_persist::quarantine::{Entry, Quarantine};
/// # let folder = tempfile::tempdir()?;
/// let entries: Vec<Entry> = Quarantine::at(folder.path()).list()?;
/// assert!(entries.iter().all(|entry| !entry.retrying));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The run whose record it is.
    pub run_id: Uuid,
    /// Its class; `None` if the file cannot be read.
    pub class: Option<Class>,
    /// When it was set aside, in microseconds since the Unix epoch.
    pub since: Option<Timestamp>,
    /// What the store said, or why the file cannot be read.
    pub error: String,
    /// The size of the file.
    pub bytes: u64,
    /// It is on its way back into the store.
    pub retrying: bool,
}

/// A record that was set aside, with all that is known about it.
///
/// ```
/// # use obs_persist::quarantine::{Quarantine, Suspect};
/// # let folder = tempfile::tempdir()?;
/// let quarantine = Quarantine::at(folder.path());
/// for entry in quarantine.list()? {
///     let suspect: Suspect = quarantine.show(entry.run_id)?;
///     println!("{}: {}", suspect.entry.error, suspect.record.strategy_id);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Suspect {
    /// What a list says about it.
    #[serde(flatten)]
    pub entry: Entry,
    /// The record.
    pub record: RunRecord,
}

/// Why something could not be done with a quarantine.
///
/// ```
/// # use obs_persist::quarantine::Quarantine;
/// # let folder = tempfile::tempdir()?;
/// let error = Quarantine::at(folder.path()).show(uuid::Uuid::nil()).unwrap_err();
/// assert!(error.to_string().contains("list what there is"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuarantineError {
    /// There is no such record.
    #[error("run {run_id} is not in the quarantine `{}`: list what there is", folder.display())]
    #[non_exhaustive]
    Missing {
        /// The run that was asked for.
        run_id: Uuid,
        /// The folder.
        folder: PathBuf,
    },
    /// The file is there, but it is not a record.
    #[error("`{}` is not a record that was set aside: look at it, and drop it", path.display())]
    #[non_exhaustive]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The folder is not safe to keep private records in.
    #[error("the folder `{}` {fault}: make it yours, with mode 0700", path.display())]
    #[non_exhaustive]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The folder is full.
    #[error(
        "the quarantine `{}` is full: look at what is in it, then retry or drop it", path.display()
    )]
    #[non_exhaustive]
    Full {
        /// The folder.
        path: PathBuf,
    },
    /// The record alone is larger than a file may be.
    #[error(
        "the record of run {run_id} takes {bytes} bytes, more than a file may have: {FILE_BYTES_MAX}"
    )]
    #[non_exhaustive]
    TooLarge {
        /// The run.
        run_id: Uuid,
        /// What its file would take.
        bytes: u64,
    },
    /// The record has no JSON form.
    #[error("the record of run {run_id} cannot be written as JSON")]
    #[non_exhaustive]
    Encode {
        /// The run.
        run_id: Uuid,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file system refused.
    #[error("cannot {what} `{}`", path.display())]
    #[non_exhaustive]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl QuarantineError {
    /// What the ledger says about a record that could not be set aside.
    pub(crate) const fn reason(&self) -> DropReason {
        match self {
            Self::Full { .. } => DropReason::SpoolFull,
            Self::TooLarge { .. } => DropReason::TooLarge,
            Self::Encode { .. } => DropReason::Encode,
            Self::Missing { .. } | Self::Damaged { .. } | Self::Unsafe { .. } | Self::Io { .. } => {
                DropReason::SpoolIo
            }
        }
    }

    /// Whether it says nothing of the record: the same may work later.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Unsafe { .. })
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

impl Quarantine {
    /// The quarantine in a folder, which need not exist yet.
    ///
    /// ```
    /// let quarantine = obs_persist::quarantine::Quarantine::at("/var/lib/app/obs/quarantine");
    /// assert_eq!(quarantine.folder(), "/var/lib/app/obs/quarantine");
    /// ```
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), limits: Limits::USUAL }
    }

    pub(crate) fn with_limits(folder: impl Into<PathBuf>, limits: Limits) -> Self {
        Self { folder: folder.into(), limits }
    }

    /// Its folder.
    ///
    /// ```
    /// assert_eq!(obs_persist::quarantine::Quarantine::at("here").folder(), "here");
    /// ```
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is there, oldest run first.
    ///
    /// # Errors
    /// When the folder cannot be read. A folder that does not exist is empty.
    ///
    /// ```
    /// let quarantine = obs_persist::quarantine::Quarantine::at("/does/not/exist");
    /// assert_eq!(quarantine.list()?, []);
    /// # Ok::<(), obs_persist::quarantine::QuarantineError>(())
    /// ```
    pub fn list(&self) -> Result<Vec<Entry>, QuarantineError> {
        let mut entries: Vec<Entry> = folder::files(self)?.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.run_id);
        Ok(entries)
    }

    /// One record with all that is known about it.
    ///
    /// # Errors
    /// When it is not there, or its file cannot be read.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let quarantine = obs_persist::quarantine::Quarantine::at(folder.path());
    /// assert!(quarantine.show(uuid::Uuid::nil()).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn show(&self, run_id: Uuid) -> Result<Suspect, QuarantineError> {
        for path in [self.path(run_id), self.retry_path(run_id)] {
            match file::read::<Filed>(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(QuarantineError::Damaged { path, source }),
                Ok((filed, bytes)) => {
                    let retrying = path == self.retry_path(run_id);
                    let (head, record) = filed.into_parts();
                    return Ok(Suspect { entry: head.into_entry(run_id, bytes, retrying), record });
                }
            }
        }
        Err(self.missing(run_id))
    }

    /// Puts a record back into the worker's hands: the next worker that looks (a running one
    /// within seconds, else the next process) offers it to the store again. If the store still
    /// does not take it, it comes back. The ledger has counted it as quarantined, and stays so.
    ///
    /// # Errors
    /// When it is not there, or the folder does not allow it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let quarantine = obs_persist::quarantine::Quarantine::at(folder.path());
    /// for entry in quarantine.list()? {
    ///     quarantine.retry(entry.run_id)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retry(&self, run_id: Uuid) -> Result<(), QuarantineError> {
        let (from, to) = (self.path(run_id), self.retry_path(run_id));
        if from.try_exists().map_err(QuarantineError::io("look for", &from))? {
            folder::make(&self.folder.join(RETRY))?;
            folder::rename(&from, &to)
        } else if to.exists() {
            Ok(())
        } else {
            Err(self.missing(run_id))
        }
    }

    /// Deletes a record for good.
    ///
    /// # Errors
    /// When it is not there, or the folder does not allow it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let quarantine = obs_persist::quarantine::Quarantine::at(folder.path());
    /// for entry in quarantine.list()? {
    ///     quarantine.drop_record(entry.run_id)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drop_record(&self, run_id: Uuid) -> Result<(), QuarantineError> {
        let mut found = false;
        for path in [self.path(run_id), self.retry_path(run_id)] {
            found |= folder::remove(&path)?;
        }
        if found { Ok(()) } else { Err(self.missing(run_id)) }
    }

    /// Deletes every record of a subject, given as it stands in the rows; says how many. Files
    /// that cannot be read are left, because nobody can tell whose they are; not those that a process
    /// left ten minutes ago or more that died while it wrote them.
    ///
    /// # Errors
    /// When the folder does not allow it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// let quarantine = obs_persist::quarantine::Quarantine::at(folder.path());
    /// assert_eq!(quarantine.drop_subject("user-7")?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drop_subject(&self, subject: &str) -> Result<usize, QuarantineError> {
        folder::sweep_halves(&self.folder, Clock::default().wall())?;
        let mut dropped = 0;
        for file in folder::files(self)? {
            let read = file::read::<Filed>(&file.path);
            if read.is_ok_and(|(filed, _)| filed.record.subject.as_deref() == Some(subject)) {
                dropped += usize::from(folder::remove(&file.path)?);
            }
        }
        Ok(dropped)
    }

    /// Sets a record aside; when this returns, its file survives the process and the machine. What is old is said by the
    /// second time.
    pub(crate) fn put(
        &self,
        record: &RunRecord,
        error: &str,
        (now, believed): (Timestamp, Timestamp),
    ) -> Result<(), QuarantineError> {
        let run_id = record.run_id;
        let bytes = file::encode(record, clip(error), now)
            .map_err(|source| QuarantineError::Encode { run_id, source })?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > FILE_BYTES_MAX {
            return Err(QuarantineError::TooLarge { run_id, bytes: size });
        }
        folder::make(&self.folder)?;
        self.make_room(run_id, size, believed)?;
        let (path, retrying) = (self.path(run_id), self.retry_path(run_id));
        if retrying.exists() {
            // It was on its way back: it comes to one place first, and is replaced there.
            folder::rename(&retrying, &path)?;
        }
        folder::write(&path, &bytes)
    }

    /// Whether the record of a run is set aside here.
    pub(crate) fn holds(&self, run_id: Uuid) -> bool {
        self.path(run_id).exists()
    }

    /// Records on their way back into the store, at most so many. What cannot be read is set aside
    /// again.
    pub(crate) fn retried(&self, records_max: usize) -> Result<Vec<RunRecord>, QuarantineError> {
        let mut records = Vec::new();
        for found in folder::retried(self, records_max)? {
            match file::read::<Filed>(&found.path) {
                Ok((filed, _)) if filed.record.run_id == found.run_id => records.push(filed.record),
                _ => folder::rename(&found.path, &self.path(found.run_id))?,
            }
        }
        Ok(records)
    }

    /// The store has these records now.
    pub(crate) fn returned(&self, run_ids: &[Uuid]) -> Result<(), QuarantineError> {
        run_ids.iter().try_for_each(|run_id| folder::remove(&self.retry_path(*run_id)).map(drop))
    }

    /// Deletes what is past its age; says how many records.
    pub(crate) fn sweep(&self, now: Timestamp) -> Result<usize, QuarantineError> {
        folder::sweep_halves(&self.folder, now)?;
        let mut swept = 0;
        for file in folder::files(self)?.iter().filter(|file| !file.retrying) {
            // What cannot be read may be somebody's all the same.
            let since = entry(file).since.or(file.written);
            if since.is_some_and(|since| is_older(since, self.limits.age, now)) {
                swept += usize::from(folder::remove(&file.path)?);
            }
        }
        Ok(swept)
    }

    fn make_room(&self, run_id: Uuid, size: u64, now: Timestamp) -> Result<(), QuarantineError> {
        if self.has_room(run_id, size)? {
            return Ok(());
        }
        self.sweep(now)?;
        if self.has_room(run_id, size)? {
            return Ok(());
        }
        Err(QuarantineError::Full { path: self.folder.clone() })
    }

    /// The file that is to be replaced does not count.
    fn has_room(&self, run_id: Uuid, size: u64) -> Result<bool, QuarantineError> {
        let files = folder::files(self)?;
        let others = files.iter().filter(|file| file.run_id != run_id);
        let (mut count, mut bytes) = (1, size);
        for file in others {
            count += 1;
            bytes = bytes.saturating_add(file.bytes);
        }
        Ok(count <= self.limits.records && bytes <= self.limits.bytes)
    }

    fn path(&self, run_id: Uuid) -> PathBuf {
        self.folder.join(format!("{run_id}.json"))
    }

    fn retry_path(&self, run_id: Uuid) -> PathBuf {
        self.folder.join(RETRY).join(format!("{run_id}.json"))
    }

    fn missing(&self, run_id: Uuid) -> QuarantineError {
        QuarantineError::Missing { run_id, folder: self.folder.clone() }
    }
}

fn is_older(since: Timestamp, age_max: Duration, now: Timestamp) -> bool {
    let age = now.as_micros().saturating_sub(since.as_micros());
    u128::try_from(age).is_ok_and(|age| age > age_max.as_micros())
}

/// What a list says about a file.
fn entry(found: &folder::Found) -> Entry {
    let (run_id, bytes, retrying) = (found.run_id, found.bytes, found.retrying);
    match file::read::<Head>(&found.path) {
        Ok((head, _)) => head.into_entry(run_id, bytes, retrying),
        Err(error) => Entry {
            run_id,
            class: None,
            since: None,
            error: format!("the file cannot be read: {error}"),
            bytes,
            retrying,
        },
    }
}

fn clip(error: &str) -> &str {
    &error[..error.floor_char_boundary(ERROR_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
