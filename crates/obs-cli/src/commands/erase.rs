//! `obs erase`: forgets a subject, in the store and in the files beside it.

use std::{fmt, path::Path};

use obs_persist::{
    Erased, Erasure, Migrations, StoreError, StoreUrl, erase, quarantine::Quarantine,
};
use serde::Serialize;

use crate::{
    args::Forget,
    commands::Ready,
    config::{Settings, Whereabouts},
    error::Failure,
    output::Output,
};

pub(crate) fn run(forget: &Forget, output: &mut Output) -> Result<(), Failure> {
    let settings = Settings::new(forget.store.store.as_deref())?;
    let erasure = erasure(forget, &settings)?;
    let url = settings.store()?;
    let given = forget.folder.dir.as_deref();
    let spool = settings.whereabouts(given)?;
    let folder = match &spool {
        Whereabouts::At(_) => Some(settings.quarantine(given)?),
        _ => None,
    };
    let erased = carry_out(&url, &erasure, folder.as_deref())?;
    let counted = match &spool {
        Whereabouts::At(spool) => erasure.in_spool(spool).map_err(|error| Failure::inspect(&error)),
        _ => Ok(0),
    };
    // What is done is said, whatever can be counted.
    let spooled = counted.as_ref().copied().unwrap_or(0);
    let missing_folder = match &spool {
        Whereabouts::Missing(folder) => Some(folder.as_path()),
        _ => None,
    };
    let Erased { rows_ok, rows_error, payloads, audit, files, .. } = erased;
    let (store, folder) = (url.to_string(), folder.as_deref());
    output.say(&Done {
        store,
        rows_ok,
        rows_error,
        payloads,
        audit,
        files,
        folder,
        missing_folder,
        spooled,
    })?;
    counted.map(drop)
}

/// In every form in which the subject may have been stored: as it is, and as its hash with each key.
fn erasure(forget: &Forget, settings: &Settings) -> Result<Erasure, Failure> {
    let mut erasure = Erasure::of(&forget.subject);
    for key in settings.subject_keys(&forget.key_files)? {
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
    /// Where the settings have a spool, and there is none.
    missing_folder: Option<&'a Path>,
    /// Records that are still in the spool, which the store will leave out.
    spooled: u64,
}

impl fmt::Display for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, rows_ok, rows_error, payloads, audit, files, spooled, .. } = self;
        write!(
            f,
            "{store}: erased {rows_ok} ok rows, {rows_error} error rows, {payloads} payloads, {audit} audit entries, {files} \
             files"
        )?;
        match (self.folder, self.missing_folder) {
            (Some(folder), _) => write!(f, " in {}", folder.display())?,
            (None, Some(missing)) => write!(
                f,
                " (there is no folder {}, where these settings have the spool: call this also where programs have one, or \
                 name it with --dir)",
                missing.display()
            )?,
            (None, None) => {
                write!(
                    f,
                    " (these settings have no spool: name its folder with --dir if there is one)"
                )?;
            }
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
