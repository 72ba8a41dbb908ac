//! The page of the batches that are under way: which records are in memory only, while the store may
//! have committed them already.
//!
//! The ledger's page counts a record as queued until the worker has heard of the commit. A process
//! that is killed in between leaves rows that look lost; by these ids the next one asks the store.
//!
//! U1 A record is on this page, all of it, before its batch is handed to the store.
//! U2 Where it is settled as anything but persisted, one store takes it off before the ledger's page
//!    changes. So whatever is here is in the ledger's queue as well.
//! U3 A record that is persisted changes both pages, and a process may be killed between the two. So this
//!    page says first which record it is, and how many were persisted before: the ledger's page has
//!    one more or not, and with that [`resolve`] knows whether it was settled.

#![expect(
    clippy::indexing_slicing,
    reason = "the length of a page is checked, each mark is one of those that it has, and each class has a place"
)]

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use obs_core::{Class, Page};
use uuid::Uuid;

use crate::{config::BATCH_RECORDS_MAX, stored::Unsettled};

/// How many records can be on it: those of the largest batch. One that finds no room counts as lost
/// when its process dies, as if it had not been under way.
const MARKS_MAX: usize = BATCH_RECORDS_MAX;

/// How many of the last connections are known: one that was given up may still be writing.
const SESSIONS: usize = 4;

/// Says what it is; as text in a dump of the file.
const MAGIC: u64 = u64::from_be_bytes(*b"OBSUNDER");
/// Changes whenever the meaning of any word does.
const VERSION: u64 = 2;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 1;
/// One more than the number of the mark whose record is being settled as persisted; 0 is none.
const SETTLING_AT: usize = 2;
/// Records that were persisted out of memory, by class.
const PERSISTED_AT: usize = 4;
const SESSIONS_AT: usize = 8;
const MARKS_AT: usize = 16;

/// Whether and of which class, then the id in two words.
const MARK_WORDS: usize = 3;
const FREE: u64 = 0;
const OK: u64 = 1;
const ERROR: u64 = 2;

/// How many words the page has.
pub(super) const UNDER_WAY_WORDS: usize = MARKS_AT + MARKS_MAX * MARK_WORDS;

const _: () = assert!(SESSIONS_AT + SESSIONS <= MARKS_AT);

/// Which word one store goes to, and what it stores.
pub(super) type Step = (usize, u64);

/// A record's place on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u32);

impl Mark {
    const fn at(self) -> usize {
        MARKS_AT + self.0 as usize * MARK_WORDS
    }
}

/// Notes a record: what it is comes last, so that nobody reads half an id.
fn note(mark: Mark, id: Uuid, class: Class) -> [Step; 3] {
    let (high, low) = id.as_u64_pair();
    let class = if class == Class::Ok { OK } else { ERROR };
    [(mark.at() + 1, high), (mark.at() + 2, low), (mark.at(), class)]
}

const fn take_back(mark: Mark) -> Step {
    (mark.at(), FREE)
}

/// The ledger's page is about to say that a record is persisted.
pub(super) fn settling(mark: Mark) -> Step {
    (SETTLING_AT, u64::from(mark.0) + 1)
}

/// It says so, and that so many are. What was being settled comes last: until then nothing else here may be
/// taken for what it is not.
pub(super) const fn settled(mark: Mark, class: Class, persisted: u64) -> [Step; 3] {
    [take_back(mark), (PERSISTED_AT + class as usize, persisted), (SETTLING_AT, 0)]
}

/// What this process has under way. Without a page nothing is noted.
pub(crate) struct UnderWay {
    page: Option<Arc<dyn Page>>,
    free: Vec<Mark>,
    sessions: usize,
    persisted: [u64; 2],
}

impl UnderWay {
    /// On a blank page; one that is in use, or too short, is left alone.
    pub(crate) fn on(page: Option<Arc<dyn Page>>) -> Self {
        let fits = |page: &Arc<dyn Page>| {
            let words = page.words();
            words.len() >= UNDER_WAY_WORDS && words[MAGIC_AT].load(Ordering::Relaxed) == 0
        };
        let page = page.filter(fits);
        let marks = if page.is_some() { MARKS_MAX } else { 0 };
        let marks = u32::try_from(marks).unwrap_or(0);
        let own = Self {
            page,
            free: (0..marks).rev().map(Mark).collect(),
            sessions: 0,
            persisted: [0; 2],
        };
        own.apply(&[(VERSION_AT, VERSION), (MAGIC_AT, MAGIC)]);
        own
    }

    /// The record is about to be handed to the store.
    pub(crate) fn note(&mut self, id: Uuid, class: Class) -> Option<Mark> {
        let mark = self.free.pop()?;
        self.apply(&note(mark, id, class));
        Some(mark)
    }

    /// The store has committed a record out of memory, which `count` enters into the ledger. Every such record
    /// comes here, one at a time.
    pub(crate) fn persist(&mut self, mark: Option<Mark>, class: Class, count: impl FnOnce()) {
        let persisted = self.persisted[class as usize] + 1;
        self.persisted[class as usize] = persisted;
        match mark {
            Some(mark) => {
                self.apply(&[settling(mark)]);
                count();
                self.apply(&settled(mark, class, persisted));
                self.free.push(mark);
            }
            None => {
                count();
                self.apply(&[(PERSISTED_AT + class as usize, persisted)]);
            }
        }
    }

    /// The record is about to be settled, as anything else.
    pub(crate) fn take_back(&mut self, mark: Mark) {
        self.apply(&[take_back(mark)]);
        self.free.push(mark);
    }

    /// What follows is written through this connection.
    pub(crate) fn through(&mut self, session: u64) {
        self.apply(&[(SESSIONS_AT + self.sessions % SESSIONS, session)]);
        self.sessions = self.sessions.wrapping_add(1);
    }

    /// Each a release: neither the compiler nor the processor may swap two of them, or one with a later
    /// store to the ledger's page.
    fn apply(&self, steps: &[Step]) {
        let Some(page) = &self.page else { return };
        let words = page.words();
        for &(at, value) in steps {
            words[at].store(value, Ordering::Release);
        }
    }
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderWay").field("free", &self.free.len()).finish_non_exhaustive()
    }
}

/// What decides of a dead process's page whether the record that it was settling was settled, by how many
/// its ledger says were persisted out of memory: to be stored there before that is forgotten.
pub(super) fn resolve(words: &[u64], persisted: impl Fn(Class) -> u64) -> Vec<Step> {
    if words.len() < UNDER_WAY_WORDS {
        return Vec::new();
    }
    let settling = u32::try_from(words[SETTLING_AT].wrapping_sub(1)).ok();
    let Some(mark) = settling.map(Mark).filter(|mark| (mark.0 as usize) < MARKS_MAX) else {
        return Vec::new();
    };
    let class = if words[mark.at()] == ERROR { Class::Error } else { Class::Ok };
    let before = words[PERSISTED_AT + class as usize];
    let is_settled = words[mark.at()] != FREE && persisted(class) > before;
    let mut steps = Vec::from_iter(is_settled.then_some(take_back(mark)));
    steps.push((SETTLING_AT, 0));
    steps
}

/// What a dead process had under way, of each class at most what the ledger says died; `None` if the
/// words are something else. Whatever they are, no more is read than a page can hold.
pub(super) fn read(words: &[u64], died: impl Fn(Class) -> u64) -> Option<Unsettled> {
    if words.len() < UNDER_WAY_WORDS || words[MAGIC_AT] != MAGIC || words[VERSION_AT] != VERSION {
        return None;
    }
    let (mut ok, mut error) = (BTreeSet::new(), BTreeSet::new());
    for mark in words[MARKS_AT..UNDER_WAY_WORDS].as_chunks::<MARK_WORDS>().0 {
        let id = Uuid::from_u64_pair(mark[1], mark[2]);
        match mark[0] {
            OK => ok.insert(id),
            ERROR => error.insert(id),
            _ => false,
        };
    }
    let most = |class| usize::try_from(died(class)).unwrap_or(usize::MAX);
    let sessions = &words[SESSIONS_AT..SESSIONS_AT + SESSIONS];
    Some(Unsettled {
        ok: ok.into_iter().take(most(Class::Ok)).collect(),
        error: error.into_iter().take(most(Class::Error)).collect(),
        sessions: sessions.iter().copied().filter(|session| *session != 0).collect(),
    })
}

#[cfg(test)]
mod tests;
