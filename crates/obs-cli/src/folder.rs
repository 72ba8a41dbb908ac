//! Folders of spools: which is one, and which only holds those of several stores.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::error::Failure;

/// Folders in that of a spool, besides those of processes, which are called by an id.
const PARTS: [&str; 2] = [QUARANTINE, "bad"];
const QUARANTINE: &str = "quarantine";

/// The most names in a folder that are looked at.
const NAMES_MAX: usize = 10_000;

pub(crate) fn quarantine_in(spool: &Path) -> PathBuf {
    spool.join(QUARANTINE)
}

/// The spool that a quarantine is in, or the folder itself if it is none.
pub(crate) fn around(folder: &Path) -> &Path {
    match (folder.file_name(), folder.parent()) {
        (Some(name), Some(above)) if name == QUARANTINE => or_here(above),
        _ => folder,
    }
}

/// Above a single name there is the working directory.
fn or_here(above: &Path) -> &Path {
    if above.as_os_str().is_empty() { Path::new(".") } else { above }
}

/// Whether there is such a folder. One that cannot be looked at is not taken for one that is not there.
pub(crate) fn exists(folder: &Path) -> Result<bool, Failure> {
    let refuse = |why: String| {
        let folder = folder.display();
        Err(Failure::Folder(format!(
            "cannot read `{folder}` ({why}): name a folder that this user may read"
        )))
    };
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => refuse("it is no folder".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => refuse(error.to_string()),
    }
}

/// A folder that holds spools and is none itself would look like one in which nothing waits.
pub(crate) fn refuse_parent(folder: &Path) -> Result<(), Failure> {
    if is_spool(folder) {
        return Ok(());
    }
    match spool_in(folder) {
        None => Ok(()),
        Some(one) => Err(Failure::setting(
            "the folder",
            format!(
                "`{}` holds the spools of several stores: name one, e.g. `{}`",
                folder.display(),
                one.display()
            ),
        )),
    }
}

/// What is said of a folder that the settings have and that is not there.
pub(crate) fn missing(folder: &Path) -> Failure {
    let shown = folder.display();
    Failure::Folder(match spool_beside(folder) {
        None => format!(
            "cannot read `{shown}`, where these settings have the spool: no program has made it yet; name another folder in \
             the call, or set OBS_SPOOL_DIR"
        ),
        Some(other) => format!(
            "cannot read `{shown}`, where these settings have the spool: there is none of that name, but others beside it, \
             e.g. `{}`; name the one that is meant in the call, or set OBS_SPOOL_DIR (OBS_SPOOL=off: there is none)",
            other.display()
        ),
    })
}

/// Another spool in the folder that is above this one.
pub(crate) fn spool_beside(folder: &Path) -> Option<PathBuf> {
    spool_in(or_here(folder.parent()?))
}

/// The first of the spools in a folder.
fn spool_in(folder: &Path) -> Option<PathBuf> {
    folders_in(folder).filter(|inside| is_spool(inside)).min()
}

fn is_spool(folder: &Path) -> bool {
    folders_in(folder).any(|inside| {
        let name = inside.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| PARTS.contains(&name) || Uuid::try_parse(name).is_ok())
    })
}

fn folders_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(NAMES_MAX);
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_folder).map(|entry| entry.path())
}
