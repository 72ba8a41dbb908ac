//! The batch that is on its way: the ids of its records that are in memory alone, where the next process
//! sees them.
//!
//! A process that is killed after the store has committed a batch, and before it has counted that,
//! looks as if its records had died with it. The next process asks the store which of them are there.
//!
//! `settled` grows before a record leaves the ledger's queue: whatever part of it was done, the records
//! that died are never too few, and too many by one at most.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use uuid::Uuid;

use super::MappedPage;
use crate::{
    config::BATCH_RECORDS_MAX,
    platform::{self, Words},
};

/// The file in a process's directory.
pub(crate) const BATCH_PAGE: &str = "batch.page";

const COUNT: usize = 0;
const SETTLED: usize = 1;
const IDS: usize = 2;
const ID_WORDS: usize = 2;
const WORDS: usize = IDS + ID_WORDS * BATCH_RECORDS_MAX;

#[derive(Debug)]
pub(crate) struct BatchPage(MappedPage);

impl BatchPage {
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        Words::create(&directory.join(BATCH_PAGE), WORDS).map(|words| Self(MappedPage(words)))
    }

    fn words(&self) -> &[AtomicU64] {
        obs_core::Page::words(&self.0)
    }

    /// These are about to be written; what was there before is settled.
    pub(crate) fn begin(&self, ids: impl Iterator<Item = Uuid>) {
        let words = self.words();
        // Never the ids of one batch with the count of another.
        words[COUNT].store(0, Ordering::Release);
        words[SETTLED].store(0, Ordering::Release);
        let mut count = 0;
        for (id, place) in ids.zip(words[IDS..].chunks_exact(ID_WORDS)) {
            let (high, low) = id.as_u64_pair();
            place[0].store(high, Ordering::Release);
            place[1].store(low, Ordering::Release);
            count += 1;
        }
        words[COUNT].store(count, Ordering::Release);
    }

    /// The next of them is about to be settled.
    pub(crate) fn settled(&self) {
        // One thread settles.
        let settled = &self.words()[SETTLED];
        settled.store(settled.load(Ordering::Relaxed).saturating_add(1), Ordering::Release);
    }
}

/// The records of a dead process's last batch that it had not settled. What the file says is trusted in
/// nothing: any of it only leads to a question to the store.
pub(super) fn unsettled(directory: &Path) -> Vec<Uuid> {
    let Ok(words) = platform::read_words(&directory.join(BATCH_PAGE), WORDS) else {
        return Vec::new();
    };
    let at =
        |word: usize| words.get(word).copied().map_or(0, |word| usize::try_from(word).unwrap_or(0));
    let (count, settled) = (at(COUNT), at(SETTLED));
    let ids = words.get(IDS..).unwrap_or_default().as_chunks::<ID_WORDS>().0;
    let ids = ids.iter().take(count.min(BATCH_RECORDS_MAX)).skip(settled);
    ids.map(|[high, low]| Uuid::from_u64_pair(*high, *low)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u128) -> Vec<Uuid> {
        (1..=count).map(Uuid::from_u128).collect()
    }

    #[test]
    fn what_is_not_settled_of_the_last_batch_is_seen_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let page = BatchPage::create(directory.path()).unwrap();
        assert!(unsettled(directory.path()).is_empty());
        page.begin(ids(300).into_iter());
        assert_eq!(unsettled(directory.path()), ids(300));
        (0..298).for_each(|_| page.settled());
        assert_eq!(unsettled(directory.path()), ids(300)[298..]);
        (0..2).for_each(|_| page.settled());
        assert!(unsettled(directory.path()).is_empty());
        page.begin(ids(2).into_iter());
        assert_eq!(unsettled(directory.path()), ids(2));
    }

    #[test]
    fn a_page_with_any_words_is_read_without_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let page = BatchPage::create(directory.path()).unwrap();
        for (count, settled) in [(u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (1 << 40, 1)] {
            page.words()[COUNT].store(count, Ordering::Relaxed);
            page.words()[SETTLED].store(settled, Ordering::Relaxed);
            assert!(unsettled(directory.path()).len() <= BATCH_RECORDS_MAX);
        }
        assert!(unsettled(&directory.path().join("none")).is_empty());
    }
}
