//! The folder of the quarantine: made, listed and changed so that it survives a crash at any point.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use obs_core::Timestamp;
use uuid::Uuid;

use super::{FILES_MAX, Quarantine, QuarantineError, RETRY, is_older};

/// How a file is called until it is whole.
const HALF: &str = "new";

/// Nobody writes for so long: what is older was left by a process that died.
const HALF_AGE_MAX: Duration = Duration::from_mins(10);

/// A file of the quarantine.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) run_id: Uuid,
    pub(super) bytes: u64,
    pub(super) retrying: bool,
    /// When it was written, as far as the file system says.
    pub(super) written: Option<Timestamp>,
}

/// Makes a folder for its owner only, or checks that it is one.
pub(super) fn make(path: &Path) -> Result<(), QuarantineError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(QuarantineError::io("create the folder", path))?;
    check(path)
}

#[cfg(unix)]
fn check(path: &Path) -> Result<(), QuarantineError> {
    use std::os::unix::fs::PermissionsExt;
    const OTHERS: u32 = 0o077;
    // Not followed: a link could be put there by somebody else, to a folder of ours.
    let found = fs::symlink_metadata(path).map_err(QuarantineError::io("look at", path))?;
    let fault = if found.is_symlink() {
        "is a link"
    } else if found.permissions().mode() & OTHERS != 0 {
        "is open to others"
    } else {
        return Ok(());
    };
    Err(QuarantineError::Unsafe { path: path.to_owned(), fault })
}

#[cfg(not(unix))]
fn check(_path: &Path) -> Result<(), QuarantineError> {
    Ok(())
}

/// Every file that is named after a run; at most [`FILES_MAX`] of each kind.
pub(super) fn files(quarantine: &Quarantine) -> Result<Vec<Found>, QuarantineError> {
    let mut found = list(quarantine.folder(), false, FILES_MAX)?;
    found.extend(retried(quarantine, FILES_MAX)?);
    Ok(found)
}

/// Those on their way back, at most so many.
pub(super) fn retried(
    quarantine: &Quarantine,
    files_max: usize,
) -> Result<Vec<Found>, QuarantineError> {
    list(&quarantine.folder().join(RETRY), true, files_max)
}

fn list(folder: &Path, retrying: bool, files_max: usize) -> Result<Vec<Found>, QuarantineError> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(source) => {
            return Err(QuarantineError::Io { what: "list", path: folder.to_owned(), source });
        }
    };
    for entry in entries.take(files_max) {
        let entry = entry.map_err(QuarantineError::io("list", folder))?;
        let Some(run_id) = run_of(&entry.path()) else { continue };
        // It may be gone by now: somebody else dropped it.
        let Ok(metadata) = entry.metadata() else { continue };
        let (path, bytes, written) = (entry.path(), metadata.len(), written(&metadata));
        found.push(Found { path, run_id, bytes, retrying, written });
    }
    Ok(found)
}

fn written(metadata: &fs::Metadata) -> Option<Timestamp> {
    let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_micros(i64::try_from(since.as_micros()).ok()?))
}

/// Deletes what processes have left that died while they wrote.
pub(super) fn sweep_halves(folder: &Path, now: Timestamp) -> Result<(), QuarantineError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.take(FILES_MAX).flatten() {
        let path = entry.path();
        let is_ours = path.extension().is_some_and(|extension| extension == HALF)
            && run_of(&path.with_extension("json")).is_some();
        let written = entry.metadata().ok().as_ref().and_then(written);
        if is_ours && written.is_some_and(|written| is_older(written, HALF_AGE_MAX, now)) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// The run of a file's name, if it is one that we give.
fn run_of(path: &Path) -> Option<Uuid> {
    let name = path.file_name()?.to_str()?;
    let run_id = Uuid::try_parse(name.strip_suffix(".json")?).ok()?;
    (format!("{run_id}.json") == name).then_some(run_id)
}

/// Writes a file that is either whole or not there, and that survives the machine.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), QuarantineError> {
    let half = path.with_extension(HALF);
    // Left by a process that died.
    remove(&half)?;
    let failed = |source| QuarantineError::Io { what: "write", path: half.clone(), source };
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&half).map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&half);
        return Err(failed(error));
    }
    rename(&half, path)
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), QuarantineError> {
    fs::rename(from, to).map_err(QuarantineError::io("rename", from))?;
    [to, from].into_iter().try_for_each(sync_folder_of)
}

/// Deletes a file; whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool, QuarantineError> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(QuarantineError::Io { what: "delete", path: path.to_owned(), source }),
    }
}

#[cfg(unix)]
fn sync_folder_of(path: &Path) -> Result<(), QuarantineError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(QuarantineError::io("sync the folder", folder))
}

#[cfg(not(unix))]
fn sync_folder_of(_path: &Path) -> Result<(), QuarantineError> {
    Ok(())
}
