//! The ledger in a file, replaced again and again: what a killed process has last said of itself.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use obs::{ClassLedger, Ledger, Telemetry};
use serde::Serialize;

const INTERVAL: Duration = Duration::from_millis(100);

/// A thread that replaces the file until it is told to finish.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    path: PathBuf,
    telemetry: Arc<Telemetry>,
    done: Arc<AtomicBool>,
    writer: JoinHandle<()>,
}

impl LedgerFile {
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn start(path: &Path, telemetry: &Arc<Telemetry>) -> io::Result<Self> {
        write(path, &telemetry.ledger())?;
        let done = Arc::new(AtomicBool::new(false));
        let writer = thread::Builder::new().name("ledger-file".to_owned()).spawn({
            let (path, telemetry, done) =
                (path.to_owned(), Arc::clone(telemetry), Arc::clone(&done));
            move || {
                while !done.load(Ordering::Acquire) {
                    thread::park_timeout(INTERVAL);
                    if let Err(error) = write(&path, &telemetry.ledger()) {
                        eprintln!("warning: {error}");
                    }
                }
            }
        })?;
        Ok(Self { path: path.to_owned(), telemetry: Arc::clone(telemetry), done, writer })
    }

    /// The last word, when everything is done.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.done.store(true, Ordering::Release);
        self.writer.thread().unpark();
        if self.writer.join().is_err() {
            return Err(io::Error::other("the thread that writes the ledger panicked"));
        }
        write(&self.path, &self.telemetry.ledger())
    }
}

/// Where a forked child leaves its own.
pub(crate) fn of_child(path: &Path) -> PathBuf {
    beside(path, ".child")
}

/// Replaces the file as a whole: a reader sees the last ledger or this one.
pub(crate) fn write(path: &Path, ledger: &Ledger) -> io::Result<()> {
    let failed = |error: io::Error| {
        let what = format!(
            "`{}` of --metrics-file cannot be written ({error}): make its folder writable",
            path.display()
        );
        io::Error::new(error.kind(), what)
    };
    let line = serde_json::to_string(&Line::new(ledger))?;
    let new = beside(path, ".new");
    fs::write(&new, line + "\n").map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

/// The same object as `ledger` in the quickstart's `--json`.
#[derive(Serialize)]
struct Line<'a> {
    ok: ClassLine<'a>,
    error: ClassLine<'a>,
    imbalance: i64,
}

#[derive(Serialize)]
struct ClassLine<'a> {
    #[serde(flatten)]
    terms: &'a ClassLedger,
    imbalance: i64,
}

impl<'a> Line<'a> {
    fn new(ledger: &'a Ledger) -> Self {
        let class = |terms: &'a ClassLedger| ClassLine { terms, imbalance: terms.imbalance() };
        Self { ok: class(&ledger.ok), error: class(&ledger.error), imbalance: ledger.imbalance() }
    }
}
