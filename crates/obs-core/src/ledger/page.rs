//! The page in which the counts of kept records live: its layout, the order in which one move of a
//! record changes it, and how the next process reads what a dead one left.
//!
//! A process may be killed between any two stores. So a record moves by one store: every count but
//! [`Term::InQueue`] only grows, and what is in a spool is what came there less what left it.
//! Whatever part of a [`Move`] was done, [`PageLedger::died`] is exact. Every store is a release: neither
//! the compiler nor the processor may swap two of them.

#![expect(
    clippy::indexing_slicing,
    reason = "the length of a page is checked, and each term, class and reason has a place"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    page::{Format, HEADER_WORDS, PageError, PageOwner},
    status::{Class, DropReason, Status},
};

use super::{ClassLedger, Ledger, RunLedger};

/// Threads spread over this many shards; with more threads than shards, some share one.
pub(super) const SHARDS: usize = 16;

/// How many words a page for the ledger has: they fit into 16 KiB.
///
/// ```
/// assert!(obs_core::ledger::PAGE_WORDS * 8 <= 16_384);
/// ```
pub const PAGE_WORDS: usize = SHARDS_AT + SHARDS * SHARD_WORDS;

pub(super) const FORMAT: Format =
    Format { magic: u64::from_be_bytes(*b"OBSLEDGR"), version: 3, words: PAGE_WORDS };

const STATUSES: usize = Status::ALL.len();
const REASONS: usize = DropReason::ALL.len();

/// Where the totals of runs that were not kept are, as of the last snapshot.
const UNKEPT_AT: usize = HEADER_WORDS;
const STARTED_AT: usize = UNKEPT_AT + STATUSES;
const SHARDS_AT: usize = UNKEPT_AT + 16;

/// Kept runs by status, the terms of both classes, audit entries in the last word; a multiple of two cache lines.
const SHARD_WORDS: usize = 96;
/// The terms of a class: those that are none of its ends, then its ends by where the record was.
const CLASS_WORDS: usize = 5 + Lies::ALL.len() * END_WORDS;
const END_WORDS: usize = 2 + REASONS;

const AUDITED_AT: usize = SHARD_WORDS - 1;

const _: () = assert!(STATUSES + 2 * CLASS_WORDS <= AUDITED_AT && STARTED_AT < SHARDS_AT);

/// No count can be larger: 281 million million records. Sums over all terms and shards still fit.
const COUNT_MAX: u64 = 1 << 48;

/// Where a record is until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    /// In this process's memory: it dies with it.
    InMemory,
    /// In the spool of this process, where the next one finds it.
    Spooled,
    /// Still where a dead process left it.
    Elsewhere,
}

impl Lies {
    const ALL: [Self; 3] = [Self::InMemory, Self::Spooled, Self::Elsewhere];
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Persisted,
    Quarantined,
    Dropped(DropReason),
}

/// One count of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Kept runs of a status: summed up over a class, they are its `recorded` but for the runs that
    /// were not kept.
    Kept(Status),
    /// Audit entries: `recorded` as errors, and no runs.
    Audited,
    /// Records in memory, for the living: the only count that goes down.
    InQueue(Class),
    /// Kept records that reached the spool, ever.
    Spooled(Class),
    /// Adopted records that stay where a dead process left them.
    Adopted(Class),
    /// Adopted records that were written into this process's spool.
    AdoptedHere(Class),
    /// Adopted and dropped at once: one word, as for the runs that are not kept.
    Crashed(Class),
    Ended(Class, Lies, End),
}

impl Term {
    #[inline(always)]
    const fn index(self) -> usize {
        let (class, term) = match self {
            Self::Kept(status) => return status.index(),
            Self::Audited => return AUDITED_AT,
            Self::InQueue(class) => (class, 0),
            Self::Spooled(class) => (class, 1),
            Self::Adopted(class) => (class, 2),
            Self::AdoptedHere(class) => (class, 3),
            Self::Crashed(class) => (class, 4),
            Self::Ended(class, lies, end) => {
                let end = match end {
                    End::Persisted => 0,
                    End::Quarantined => 1,
                    End::Dropped(reason) => 2 + reason.index(),
                };
                (class, 5 + lies as usize * END_WORDS + end)
            }
        };
        STATUSES + class.index() * CLASS_WORDS + term
    }
}

/// One store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More(Term),
    Less(Term),
}

/// A record's move: the store that makes it, and then what the living see of the queue.
pub(super) type Move = (Step, Option<Step>);

/// A run ended and is kept.
pub(super) const fn keep(status: Status) -> Move {
    (Step::More(Term::Kept(status)), Some(Step::More(Term::InQueue(status.class()))))
}

/// An audit entry was written.
pub(super) const fn audit() -> Move {
    (Step::More(Term::Audited), Some(Step::More(Term::InQueue(Class::Error))))
}

/// A record was found in the spool of a dead process, and stays there or is in ours.
pub(super) const fn adopt(class: Class, lies: Lies) -> Move {
    match lies {
        Lies::Spooled => (Step::More(Term::AdoptedHere(class)), None),
        _ => (Step::More(Term::Adopted(class)), None),
    }
}

/// A record reached the spool.
pub(super) const fn spool(class: Class) -> Move {
    (Step::More(Term::Spooled(class)), Some(Step::Less(Term::InQueue(class))))
}

/// A record's end.
pub(super) const fn settle(class: Class, lies: Lies, end: End) -> Move {
    let queue = match lies {
        Lies::InMemory => Some(Step::Less(Term::InQueue(class))),
        _ => None,
    };
    (Step::More(Term::Ended(class, lies, end)), queue)
}

/// The counts of one shard; its lock is held meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Row<'a>(&'a [AtomicU64]);

impl<'a> Row<'a> {
    pub(super) fn of(words: &'a [AtomicU64], shard: usize) -> Self {
        let start = SHARDS_AT + shard * SHARD_WORDS;
        Self(&words[start..start + SHARD_WORDS])
    }

    // What moves is known where this is called: then a step is a load, an addition and a store.
    #[inline(always)]
    pub(super) fn apply(self, (first, then): Move) {
        self.step(first);
        if let Some(then) = then {
            self.step(then);
        }
    }

    #[inline(always)]
    fn step(self, step: Step) {
        match step {
            Step::More(term) => self.change(term, |count| count.saturating_add(1)),
            Step::Less(term) => self.change(term, |count| count.saturating_sub(1)),
        }
    }

    /// Adds to a term that takes part in no move, as far as it can count; how much that was.
    pub(super) fn add(self, term: Term, count: u64) -> u64 {
        let added = count.min(COUNT_MAX.saturating_sub(self.read(term)));
        self.change(term, |known| known + added);
        added
    }

    #[inline(always)]
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
    let audited = read(Term::Audited);
    ledger.error.recorded += audited;
    ledger.audit += audited;
    for class in Class::ALL {
        let crashed = read(Term::Crashed(class));
        let spooled = Lies::ALL.map(|lies| spooled_in(lies, class, &read)).iter().sum::<u64>();
        let terms = ledger.class_mut(class);
        terms.adopted += read(Term::Adopted(class)) + read(Term::AdoptedHere(class)) + crashed;
        terms.in_queue += read(Term::InQueue(class));
        terms.spooled += spooled;
        terms.dropped.0[DropReason::Crash.index()] += crashed;
        for lies in Lies::ALL {
            let ended = |end| read(Term::Ended(class, lies, end));
            terms.persisted += ended(End::Persisted);
            terms.quarantined += ended(End::Quarantined);
            for reason in DropReason::ALL {
                terms.dropped.0[reason.index()] += ended(End::Dropped(reason));
            }
        }
    }
}

/// Records of a shard that are in a spool: those that came there and did not come to their end.
fn spooled_in(lies: Lies, class: Class, read: &impl Fn(Term) -> u64) -> u64 {
    let came = match lies {
        Lies::InMemory => return 0,
        Lies::Spooled => read(Term::Spooled(class)) + read(Term::AdoptedHere(class)),
        Lies::Elsewhere => read(Term::Adopted(class)),
    };
    let ended = |end| read(Term::Ended(class, lies, end));
    let dropped: u64 = DropReason::ALL.map(|reason| ended(End::Dropped(reason))).iter().sum();
    // What a dead process left may be noise.
    came.saturating_sub(ended(End::Persisted) + ended(End::Quarantined) + dropped)
}

/// In a forked child: a thread of its parent may have been between the two stores of a move.
pub(super) fn queue_the_rest(ledger: &mut Ledger) {
    for class in Class::ALL {
        let terms = ledger.class_mut(class);
        terms.in_queue = terms.in_queue.saturating_add_signed(terms.imbalance());
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
    /// The ledger when the process died. Kept records are exact, but for `in_queue`, which may be one off for
    /// each thread; runs that were not kept are those of its last snapshot, and `started` is at least
    /// `finished`.
    pub ledger: Ledger,
    /// By class: in its own spool, and written to the store out of its memory.
    spooled_here: [u64; 2],
    persisted_from_memory: [u64; 2],
}

impl PageLedger {
    /// How many records of a class died in memory: those that are in no other term.
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

    /// How many records of a class the process had in its own spool: `spooled` but for those that it had
    /// adopted and that were still where another process had left them.
    ///
    /// ```
    /// # use obs_core::{Class, ledger::PageLedger};
    /// fn is_something_missing(dead: &PageLedger, found: u64) -> bool {
    ///     found < dead.spooled_here(Class::Error)
    /// }
    /// # let _ = is_something_missing;
    /// ```
    #[must_use]
    pub const fn spooled_here(&self, class: Class) -> u64 {
        self.spooled_here[class.index()]
    }

    /// How many records of a class the store had committed that were in memory only.
    ///
    /// ```
    /// # use obs_core::{Class, ledger::PageLedger};
    /// fn had_settled(dead: &PageLedger, before: u64) -> bool {
    ///     dead.persisted_from_memory(Class::Ok) > before
    /// }
    /// # let _ = had_settled;
    /// ```
    #[must_use]
    pub const fn persisted_from_memory(&self, class: Class) -> u64 {
        self.persisted_from_memory[class.index()]
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
    let (mut spooled_here, mut persisted_from_memory) = ([0; 2], [0; 2]);
    for shard in 0..SHARDS {
        let row = &words[SHARDS_AT + shard * SHARD_WORDS..];
        let read = |term: Term| row[term.index()];
        add_shard(&mut ledger, read);
        for class in Class::ALL {
            spooled_here[class.index()] += spooled_in(Lies::Spooled, class, &read);
            persisted_from_memory[class.index()] +=
                read(Term::Ended(class, Lies::InMemory, End::Persisted));
        }
    }
    let finished = ledger.runs.finished;
    let started = words[STARTED_AT].max(finished);
    ledger.runs = RunLedger { started, finished, active: started - finished };
    Ok(PageLedger { owner, ledger, spooled_here, persisted_from_memory })
}

#[cfg(test)]
mod tests;
