//! `obs erase`: forgets a subject, in the store and in the files beside it.

use std::{fmt, path::Path};

use obs_persist::{Erased, Erasure, Migrations, StoreError, erase, quarantine::Quarantine};
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
    let ready = Ready::new(&url, Migrations::External)?;
    let erased = carry_out(ready, &erasure, folder.as_deref())?;
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
    mut ready: Ready,
    erasure: &Erasure,
    quarantine: Option<&Path>,
) -> Result<Erased, Failure> {
    let in_files = |erasure: &Erasure| match quarantine {
        Some(folder) => erasure.in_quarantine(&Quarantine::at(folder)),
        None => Ok::<_, StoreError>(0),
    };
    // A store is searched from end to end, however large it is.
    let erased = ready.long_step(|store| erase(store, erasure, in_files))?;
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

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use obs_core::RunRecord;
    use obs_persist::{EraseFuture, Store, StoreFuture};
    use tokio::{runtime, time};

    use super::*;

    /// For how long a partition may be searched.
    const SEARCH: Duration = Duration::from_secs(600);

    /// A store that is so large that each of its partitions takes as long as it may.
    #[derive(Debug)]
    struct Large {
        partitions: u32,
    }

    impl Store for Large {
        fn name(&self) -> String {
            "large".to_owned()
        }

        fn prepare(&mut self) -> StoreFuture<'_> {
            Box::pin(async {
                time::sleep(SEARCH).await;
                Ok(())
            })
        }

        fn write(&mut self, _: Arc<[RunRecord]>) -> StoreFuture<'_> {
            Box::pin(async { Ok(()) })
        }

        fn canary(&mut self, _: Box<RunRecord>) -> StoreFuture<'_> {
            Box::pin(async { Ok(()) })
        }

        fn bury<'a>(&'a mut self, _: &'a Erasure) -> EraseFuture<'a> {
            Box::pin(async { Ok(Erased::default()) })
        }

        fn erase<'a>(&'a mut self, _: &'a Erasure, files: u64) -> EraseFuture<'a> {
            Box::pin(async move {
                time::sleep(SEARCH * self.partitions).await;
                let mut erased = Erased::default();
                (erased.rows_ok, erased.files) = (self.partitions.into(), files);
                Ok(erased)
            })
        }

        fn close(&mut self) -> StoreFuture<'_> {
            Box::pin(async { Ok(()) })
        }
    }

    /// Its clock goes on whenever everybody waits.
    fn ready() -> Ready {
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        Ready { name: "large".to_owned(), store: Box::new(Large { partitions: 365 }), runtime }
    }

    #[test]
    fn an_erasure_takes_as_long_as_the_store_is_large_and_other_steps_do_not() {
        let erased = carry_out(ready(), &Erasure::of("user-7"), None).unwrap();
        assert_eq!(erased.rows_ok, 365);

        let late = ready().step("connecting", |store| store.prepare()).unwrap_err();
        assert!(late.line().contains("connecting took longer than 60s"), "{}", late.line());
    }
}
