//! `obs erase`: forgets a subject, in the store and in the files beside it.

use std::{fmt, path::Path};

use obs_persist::{
    Erased, Erasure, Migrations, StoreError, StoreUrl, erase, quarantine::Quarantine,
};
use serde::Serialize;

use crate::{args::Forget, commands::Ready, config::Variables, error::Failure, output::Output};

pub(crate) fn run(
    forget: &Forget,
    variables: &Variables,
    output: &mut Output,
) -> Result<(), Failure> {
    let erasure = erasure(forget, variables)?;
    let url = variables.store(forget.store.store.as_deref())?;
    let folder = variables.quarantine_if_any(forget.folder.dir.as_deref())?;
    let erased = carry_out(&url, &erasure, folder.as_deref())?;
    let counted = match &folder {
        Some(_) => in_spool(&erasure, &variables.spool(forget.folder.dir.as_deref())?),
        None => Ok(0),
    };
    // What is done is said, whatever can be counted.
    let spooled = counted.as_ref().copied().unwrap_or(0);
    output.say(&Done::new(&url, erased, folder.as_deref(), spooled))?;
    counted.map(drop)
}

/// How many records of the subject wait in a spool, if that is there.
fn in_spool(erasure: &Erasure, spool: &Path) -> Result<u64, Failure> {
    if !spool.is_dir() {
        return Ok(0);
    }
    erasure.in_spool(spool).map_err(|error| Failure::inspect(&error))
}

/// In every form in which the subject may have been stored: as it is, and as its hash with each key.
fn erasure(forget: &Forget, variables: &Variables) -> Result<Erasure, Failure> {
    let mut erasure = Erasure::of(&forget.subject);
    for key in variables.subject_keys(&forget.key_files)? {
        erasure = erasure.keyed(&key);
    }
    Ok(match &forget.by {
        Some(by) => erasure.by(by),
        None => erasure,
    })
}

fn carry_out(
    url: &StoreUrl,
    erasure: &Erasure,
    quarantine: Option<&Path>,
) -> Result<Erased, Failure> {
    let in_files = |erasure: &Erasure| match quarantine {
        Some(folder) => erasure.in_quarantine(&Quarantine::at(folder)),
        None => Ok::<_, StoreError>(0),
    };
    let mut ready = Ready::new(url, Migrations::External)?;
    let erased = ready.step("erasing", |store| erase(store, erasure, in_files))?;
    ready.close()?;
    Ok(erased)
}

#[derive(Serialize)]
struct Done<'a> {
    store: String,
    rows_ok: u64,
    rows_error: u64,
    payloads: u64,
    /// Entries of the audit trail.
    audit: u64,
    files: u64,
    /// Where files were looked for.
    folder: Option<&'a Path>,
    /// Records that are still in the spool, which the store will leave out.
    spooled: u64,
}

impl<'a> Done<'a> {
    fn new(url: &StoreUrl, erased: Erased, folder: Option<&'a Path>, spooled: u64) -> Self {
        let Erased { rows_ok, rows_error, payloads, audit, files, .. } = erased;
        let store = url.to_string();
        Self { store, rows_ok, rows_error, payloads, audit, files, folder, spooled }
    }
}

impl fmt::Display for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, rows_ok, rows_error, payloads, audit, files, folder, spooled } = self;
        write!(
            f,
            "{store}: erased {rows_ok} ok rows, {rows_error} error rows, {payloads} payloads, {audit} audit entries, {files} \
             files"
        )?;
        match folder {
            Some(folder) => write!(f, " in {}", folder.display())?,
            None => write!(f, " (no folder was named: set OBS_SPOOL_DIR if there is one)")?,
        }
        if *spooled > 0 {
            write!(
                f,
                "; {spooled} records are still in the spool: the processes that have it offer them to the store, which \
                 leaves them out, and remove them, and what was damaged and set aside goes within a week; call this \
                 again to see it"
            )?;
        }
        write!(f, "; later copies are kept out. What was exported before is not in reach")
    }
}
