//! What died in the memory of a process, entered into the books of the next one.
//!
//! Most of it is certain as soon as the ledger's page is read. A record that the store had been handed
//! may be a row, though: of those the store is asked, once it is there. Until then they are in no
//! ledger, only on the dead process's page, which the next process reads if this one dies as well.

use std::{collections::BTreeSet, fs, io, sync::Arc};

use obs_core::{Adopter, Class, PageError, RecordLabels, ledger, ledger::PageLedger};

use super::{
    adopt::{BATCH_PAGE, DeadEpoch, LEDGER_PAGE},
    under_way,
};
use crate::{
    platform,
    stored::{Stored, Unsettled},
};

/// How often a connection of a dead process may be said to be busy: at ten times a second, that is
/// longer than the server lets a statement run.
const BUSY_MAX: u32 = 150;

/// How often asking may fail before all of the records count as lost.
const FAILURES_MAX: u32 = 5;

/// Records of a dead process that may be rows.
#[derive(Debug)]
pub(crate) struct Question {
    dead: Arc<DeadEpoch>,
    unsettled: Arc<Unsettled>,
    busy: u32,
    failures: u32,
}

/// What is in the segments that a process left.
#[derive(Clone, Copy, Debug)]
pub(super) struct InSegments {
    pub(super) records: u64,
    pub(super) damaged: u64,
    /// Of the damaged places, those that a write may have left that the kill cut off.
    pub(super) cut_off: u64,
}

impl InSegments {
    /// How many are not there any more of the records that the process had in its spool. Some of those that
    /// are there were settled, so what is damaged may be one of the others: it counts as one, unless it looks like
    /// a record that died while it was written, which counts already.
    fn lacks(self, spooled: u64, died: u64) -> u64 {
        let damaged = self.damaged.saturating_sub(self.cut_off.min(died)).min(spooled);
        spooled.saturating_sub(self.records).max(damaged)
    }
}

/// Enters what surely died in a process's memory, and what it said was in its spool and is not. What is
/// not sure is to be asked. After an error nothing is entered: all of it is for a later look.
pub(super) fn enter(
    dead: &Arc<DeadEpoch>,
    found: InSegments,
    books: &Adopter,
) -> io::Result<Option<Question>> {
    let path = dead.directory.join(LEDGER_PAGE);
    let page = match platform::read_words(&path, ledger::PAGE_WORDS) {
        Ok(words) => match ledger::read_page(&words) {
            Ok(page) => Some(page),
            Err(error) => {
                discard(dead, &error);
                return Ok(None);
            }
        },
        // Entered already, by a process that died before the store had answered.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let unsettled = unsettled(dead, page.as_ref())?;
    if let Some(page) = &page {
        // Better not counted than twice.
        fs::remove_file(&path)?;
        let spooled: u64 = Class::ALL.map(|class| page.spooled_here(class)).iter().sum();
        let ok = page.died(Class::Ok).saturating_sub(unsettled.ok.len() as u64);
        let died = page.died(Class::Error);
        let error = died.saturating_sub(unsettled.error.len() as u64);
        count(dead, (ok, error + found.lacks(spooled, died)), books);
    }
    if unsettled.is_empty() {
        let _ = fs::remove_file(dead.directory.join(BATCH_PAGE));
        return Ok(None);
    }
    let dead = Arc::clone(dead);
    Ok(Some(Question { dead, unsettled: Arc::new(unsettled), busy: 0, failures: 0 }))
}

/// What may be a row; nothing where nobody can say.
#[expect(
    clippy::indexing_slicing,
    reason = "what decides is a word of those that it was read from"
)]
fn unsettled(dead: &DeadEpoch, page: Option<&PageLedger>) -> io::Result<Unsettled> {
    let path = dead.directory.join(BATCH_PAGE);
    let mut words = match platform::read_words(&path, under_way::UNDER_WAY_WORDS) {
        Ok(words) => words,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Unsettled::default()),
        Err(error) => return Err(error),
    };
    if let Some(page) = page {
        // In the file as well: whoever asks after us has no ledger's page to compare with.
        for (at, value) in under_way::resolve(&words, |class| page.persisted_from_memory(class)) {
            words[at] = value;
            // A disk that takes nothing more is no reason to leave the records where they are.
            if let Err(error) = platform::write_word(&path, at, value)
                && platform::is_shortage(&error)
            {
                return Err(error);
            }
        }
    }
    let died = |class| page.map_or(u64::MAX, |page| page.died(class));
    Ok(under_way::read(&words, died).unwrap_or_default())
}

/// Pages that say nothing do not stay.
fn discard(dead: &DeadEpoch, error: &PageError) {
    let epoch = dead.epoch;
    // Blank is the page of a process that counted nothing.
    if *error != PageError::Blank {
        tracing::warn!(%epoch, %error, "nobody knows what died in the memory of an earlier process");
    }
    for name in [BATCH_PAGE, LEDGER_PAGE] {
        let _ = fs::remove_file(dead.directory.join(name));
    }
}

impl Question {
    /// What to ask; `None` once it was asked for long enough. Counts as a failure until it is answered.
    pub(crate) fn ask(&mut self) -> Option<Arc<Unsettled>> {
        if self.failures >= FAILURES_MAX {
            return None;
        }
        self.failures += 1;
        if self.busy < BUSY_MAX {
            return Some(Arc::clone(&self.unsettled));
        }
        // Whatever is still there: it has had its time.
        let asked = Unsettled { sessions: Vec::new(), ..Unsettled::clone(&self.unsettled) };
        Some(Arc::new(asked))
    }

    /// Whether that was an answer: the records are entered then.
    pub(crate) fn answered(&mut self, stored: &Stored, books: &Adopter) -> bool {
        let none = BTreeSet::new();
        let rows = match stored {
            Stored::Busy => {
                (self.failures, self.busy) = (0, self.busy + 1);
                return false;
            }
            Stored::Rows(rows) => rows,
            Stored::Unknown => &none,
        };
        // Better not counted than twice.
        if fs::remove_file(self.dead.directory.join(BATCH_PAGE)).is_ok() {
            let [ok, error] = [Class::Ok, Class::Error].map(|class| {
                let (stored, lost) = self.unsettled.split(class, rows);
                // What the store has did not die, only its count.
                for _ in 0..stored {
                    books.adopt(class, &RecordLabels::default()).persisted();
                }
                lost
            });
            count(&self.dead, (ok, error), books);
        }
        true
    }
}

fn count(dead: &DeadEpoch, (ok, error): (u64, u64), books: &Adopter) {
    books.crashed(Class::Ok, ok);
    books.crashed(Class::Error, error);
    if ok + error > 0 {
        let epoch = dead.epoch;
        tracing::warn!(%epoch, ok, error, "records died in the memory of an earlier process; they are counted");
    }
}
