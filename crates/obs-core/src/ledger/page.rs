//! The page in which the counts of kept records live: its layout, the order in which one move of a
//! record changes it, and how the next process reads what a dead one left.
//!
//! A process may be killed between any two stores. So a move's stores have an order, [`Move`]: whatever
//! part of them was done, the records that died in memory, [`PageLedger::died`], are never too few,
//! and too many by at most one for each thread that was killed inside a move. Every store is a release:
//! neither the compiler nor the processor may swap two of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    page::{Format, HEADER_WORDS, PageError, PageOwner},
    status::{Class, DropReason, Status},
};

use super::{ClassLedger, Ledger, RunLedger};

/// Threads spread over this many shards; with more threads than shards, some share one.
pub(super) const SHARDS: usize = 16;

/// How many words a page for the ledger has: they fit into 8 KiB.
///
/// ```
/// assert!(obs_core::ledger::PAGE_WORDS * 8 <= 8_192);
/// ```
pub const PAGE_WORDS: usize = SHARDS_AT + SHARDS * SHARD_WORDS;

pub(super) const FORMAT: Format =
    Format { magic: u64::from_be_bytes(*b"OBSLEDGR"), version: 1, words: PAGE_WORDS };

const STATUSES: usize = Status::ALL.len();
const REASONS: usize = DropReason::ALL.len();

/// Where the totals of runs that were not kept are, as of the last snapshot.
const UNKEPT_AT: usize = HEADER_WORDS;
const STARTED_AT: usize = UNKEPT_AT + STATUSES;
const SHARDS_AT: usize = UNKEPT_AT + 16;

/// Kept runs by status, then the terms of both classes; a multiple of two cache lines.
const SHARD_WORDS: usize = 48;
const CLASS_WORDS: usize = 6 + REASONS;

const _: () = assert!(STATUSES + 2 * CLASS_WORDS <= SHARD_WORDS && STARTED_AT < SHARDS_AT);

/// No count can be larger: 281 million million records. Sums over all terms and shards still fit.
const COUNT_MAX: u64 = 1 << 48;

/// One count of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Kept runs of a status: summed up over a class, they are its `recorded` but for the runs that
    /// were not kept.
    Kept(Status),
    Adopted(Class),
    /// Adopted and dropped at once: one word, as for the runs that are not kept.
    Crashed(Class),
    Persisted(Class),
    Quarantined(Class),
    Dropped(Class, DropReason),
    InQueue(Class),
    Spooled(Class),
}

impl Term {
    const fn index(self) -> usize {
        let (class, term) = match self {
            Self::Kept(status) => return status.index(),
            Self::Adopted(class) => (class, 0),
            Self::Crashed(class) => (class, 1),
            Self::Persisted(class) => (class, 2),
            Self::Quarantined(class) => (class, 3),
            Self::InQueue(class) => (class, 4),
            Self::Spooled(class) => (class, 5),
            Self::Dropped(class, reason) => (class, 6 + reason.index()),
        };
        STATUSES + class.index() * CLASS_WORDS + term
    }
}

/// What one step of a move does to its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More(Term),
    Less(Term),
}

/// The two stores of a record's move, in their order.
pub(super) type Move = [Step; 2];

/// A run ended and is kept. Killed after the first store, its record counts as died, as it did.
pub(super) const fn keep(status: Status) -> Move {
    [Step::More(Term::Kept(status)), Step::More(Term::InQueue(status.class()))]
}

/// A record was found in the spool of a dead process.
pub(super) const fn adopt(class: Class) -> Move {
    [Step::More(Term::Adopted(class)), Step::More(Term::Spooled(class))]
}

/// A record reached the spool.
pub(super) const fn spool(class: Class) -> Move {
    [Step::More(Term::Spooled(class)), Step::Less(Term::InQueue(class))]
}

/// A record's end. From the spool, it leaves first: both stores count for what died, and the other
/// order would hide another record that did.
pub(super) const fn settle(class: Class, spooled: bool, end: Term) -> Move {
    if spooled {
        [Step::Less(Term::Spooled(class)), Step::More(end)]
    } else {
        [Step::More(end), Step::Less(Term::InQueue(class))]
    }
}

/// The counts of one shard; its lock is held meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Row<'a>(&'a [AtomicU64]);

impl<'a> Row<'a> {
    pub(super) fn of(words: &'a [AtomicU64], shard: usize) -> Self {
        let start = SHARDS_AT + shard * SHARD_WORDS;
        Self(&words[start..start + SHARD_WORDS])
    }

    pub(super) fn apply(self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::More(term) => self.change(term, |count| count.saturating_add(1)),
                Step::Less(term) => self.change(term, |count| count.saturating_sub(1)),
            }
        }
    }

    /// Adds to a term that takes part in no move, as far as it can count; how much that was.
    pub(super) fn add(self, term: Term, count: u64) -> u64 {
        let added = count.min(COUNT_MAX.saturating_sub(self.read(term)));
        self.change(term, |known| known + added);
        added
    }

    fn change(self, term: Term, change: impl FnOnce(u64) -> u64) {
        let word = &self.0[term.index()];
        word.store(change(word.load(Ordering::Relaxed)), Ordering::Release);
    }

    pub(super) fn read(self, term: Term) -> u64 {
        self.0[term.index()].load(Ordering::Relaxed)
    }
}

/// Writes the totals of runs that were not kept where the next process sees them; one caller at a
/// time.
pub(super) fn publish(words: &[AtomicU64], unkept: &[u64; STATUSES], started: u64) {
    for (word, count) in words[UNKEPT_AT..].iter().zip(unkept) {
        word.store(*count, Ordering::Release);
    }
    words[STARTED_AT].store(started, Ordering::Release);
}

/// Adds the counts of one shard to a ledger, which is all that has to be known of them.
pub(super) fn add_shard(ledger: &mut Ledger, read: impl Fn(Term) -> u64) {
    for status in Status::ALL {
        let kept = read(Term::Kept(status));
        ledger.class_mut(status.class()).recorded += kept;
        ledger.runs.finished += kept;
    }
    for class in Class::ALL {
        let crashed = read(Term::Crashed(class));
        let terms = ledger.class_mut(class);
        terms.adopted += read(Term::Adopted(class)) + crashed;
        terms.persisted += read(Term::Persisted(class));
        terms.quarantined += read(Term::Quarantined(class));
        terms.in_queue += read(Term::InQueue(class));
        terms.spooled += read(Term::Spooled(class));
        for reason in DropReason::ALL {
            terms.dropped.0[reason.index()] += read(Term::Dropped(class, reason));
        }
        terms.dropped.0[DropReason::Crash.index()] += crashed;
    }
}

/// Adds the runs that were not kept.
pub(super) fn add_unkept(ledger: &mut Ledger, unkept: &[u64; STATUSES]) {
    for (status, count) in Status::ALL.into_iter().zip(unkept) {
        let class = ledger.class_mut(status.class());
        class.recorded += count;
        class.sampled_out += count;
        ledger.runs.finished += count;
    }
}

/// What the page of a dead process says.
///
/// ```
/// # use obs_core::{Obs, Page, ledger};
/// # use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// # #[derive(Debug)] struct Mapped(Vec<AtomicU64>);
/// # impl Page for Mapped { fn words(&self) -> &[AtomicU64] { &self.0 } }
/// # let page = Arc::new(Mapped((0..ledger::PAGE_WORDS).map(|_| AtomicU64::new(0)).collect()));
/// let obs = Obs::builder().ledger_page(Arc::clone(&page) as Arc<dyn Page>).build()?;
/// let left: Vec<u64> = page.words().iter().map(|word| word.load(Ordering::Relaxed)).collect();
/// let dead = ledger::read_page(&left)?;
/// assert_eq!(dead.owner.epoch, obs.epoch());
/// assert_eq!(dead.died(obs_core::Class::Ok), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageLedger {
    /// Whose page it is.
    pub owner: PageOwner,
    /// The ledger when the process died. Kept records are exact, but for the moves that it died in;
    /// runs that were not kept are those of its last snapshot, and `started` is at least `finished`.
    pub ledger: Ledger,
}

impl PageLedger {
    /// How many records of a class died in memory: those that are in no other term. Never too few; too
    /// many by at most one for each thread that was killed inside a move.
    ///
    /// ```
    /// # use obs_core::{Class, ledger::PageLedger};
    /// fn report(dead: &PageLedger) -> String {
    ///     format!("{} records were lost", dead.died(Class::Ok) + dead.died(Class::Error))
    /// }
    /// # let _ = report;
    /// ```
    #[must_use]
    pub fn died(&self, class: Class) -> u64 {
        let terms = self.ledger.class(class);
        let elsewhere = ClassLedger { in_queue: 0, ..terms.clone() };
        u64::try_from(elsewhere.imbalance()).unwrap_or(0)
    }
}

/// Reads the page that a dead process left. Whatever the words are, it neither panics nor allocates.
///
/// # Errors
/// When the words are no ledger's page, or one of another layout, or a count is out of its range.
///
/// ```
/// use obs_core::{PageError, ledger};
/// let error = ledger::read_page(&vec![7; ledger::PAGE_WORDS]).unwrap_err();
/// assert!(error.to_string().starts_with("the page begins with 0x0000000000000007, not with"));
/// ```
pub fn read_page(words: &[u64]) -> Result<PageLedger, PageError> {
    let owner = FORMAT.read(words)?;
    let counts = words.iter().enumerate().take(PAGE_WORDS).skip(HEADER_WORDS);
    for (word, &value) in counts {
        if value > COUNT_MAX {
            return Err(PageError::Value { word, value });
        }
    }
    let mut ledger = Ledger::default();
    let mut unkept = [0; STATUSES];
    unkept.copy_from_slice(&words[UNKEPT_AT..STARTED_AT]);
    add_unkept(&mut ledger, &unkept);
    for shard in 0..SHARDS {
        let row = &words[SHARDS_AT + shard * SHARD_WORDS..];
        add_shard(&mut ledger, |term| row[term.index()]);
    }
    let finished = ledger.runs.finished;
    let started = words[STARTED_AT].max(finished);
    ledger.runs = RunLedger { started, finished, active: started - finished };
    Ok(PageLedger { owner, ledger })
}

#[cfg(test)]
mod tests;
