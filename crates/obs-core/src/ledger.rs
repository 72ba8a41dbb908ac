//! The ledger: every run and every record is in exactly one term, at every instant.
//!
//! Per class, `recorded + adopted = sampled_out + persisted + quarantined + Σ dropped + in_queue +
//! spooled`. The value here is one snapshot; counting happens in `book`, on a [page](read_page)
//! that the next process can read.

mod book;
mod page;
mod ticket;

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::status::{Class, DropReason, Status};

pub(crate) use book::{Book, Runs};
pub use page::{PAGE_WORDS, PageLedger, read_page};
pub(crate) use ticket::SeriesDrops;
pub use ticket::Ticket;

/// One exact snapshot of the ledger.
///
/// ```
/// # use obs_core::testing::TestObs;
/// let test = TestObs::new();
/// let ledger = test.obs().ledger();
/// assert_eq!(ledger.imbalance(), 0);
/// assert_eq!(serde_json::to_value(&ledger)?["ok"]["recorded"], 0);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ledger {
    /// Records of runs that ended `ok` or `cancelled`.
    pub ok: ClassLedger,
    /// Records of failures, and entries of the audit trail, which are treated as such.
    pub error: ClassLedger,
    /// The runs themselves.
    pub runs: RunLedger,
    /// Entries of the audit trail that were written in this process: the part of `error.recorded` that is no
    /// run.
    pub audit: u64,
}

/// The terms of one class.
///
/// ```
/// let ledger = obs_core::ClassLedger::default();
/// assert_eq!(ledger.imbalance(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClassLedger {
    /// Runs of this class that ended in this process, and entries of the audit trail.
    pub recorded: u64,
    /// Records found in the spool of a process that died.
    pub adopted: u64,
    /// Runs that the keep decision did not choose.
    pub sampled_out: u64,
    /// Records that the store has committed.
    pub persisted: u64,
    /// Poison records that were set aside on disk.
    pub quarantined: u64,
    /// Records that were lost, by reason.
    pub dropped: Dropped,
    /// Records in memory on their way to the store.
    pub in_queue: u64,
    /// Records that are safe in the spool and not yet committed.
    pub spooled: u64,
}

/// Lost records by reason.
///
/// ```
/// use obs_core::{ClassLedger, DropReason};
/// let ledger = ClassLedger::default();
/// assert_eq!(ledger.dropped.of(DropReason::QueueFull), 0);
/// assert_eq!(ledger.dropped.total(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped([u64; DropReason::ALL.len()]);

/// The runs of this process: `started = finished + active`, in every snapshot.
///
/// ```
/// # use obs_core::testing::TestObs;
/// let test = TestObs::new();
/// let run = test.obs().kind("k").strategy("s").version("1").build()?.start();
/// assert_eq!(test.obs().ledger().runs.active, 1);
/// drop(run);
/// assert_eq!(test.obs().ledger().runs.active, 0);
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunLedger {
    /// Runs that started.
    pub started: u64,
    /// Runs that ended, whatever their status.
    pub finished: u64,
    /// Runs in flight.
    pub active: u64,
}

impl Ledger {
    /// Left side minus right side of the law, over both classes: 0, always.
    ///
    /// ```
    /// assert_eq!(obs_core::Ledger::default().imbalance(), 0);
    /// ```
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        self.ok.imbalance() + self.error.imbalance()
    }

    /// The terms of one class.
    ///
    /// ```
    /// use obs_core::{Class, Ledger};
    /// assert_eq!(Ledger::default().class(Class::Error).recorded, 0);
    /// ```
    #[must_use]
    pub const fn class(&self, class: Class) -> &ClassLedger {
        match class {
            Class::Ok => &self.ok,
            Class::Error => &self.error,
        }
    }

    const fn class_mut(&mut self, class: Class) -> &mut ClassLedger {
        match class {
            Class::Ok => &mut self.ok,
            Class::Error => &mut self.error,
        }
    }
}

impl ClassLedger {
    /// Left side minus right side of the law: 0, always.
    ///
    /// ```
    /// assert_eq!(obs_core::ClassLedger::default().imbalance(), 0);
    /// ```
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let left = self.recorded + self.adopted;
        let right = self.sampled_out
            + self.persisted
            + self.quarantined
            + self.dropped.total()
            + self.in_queue
            + self.spooled;
        left.cast_signed().wrapping_sub(right.cast_signed())
    }
}

impl Dropped {
    /// Records lost for one reason.
    ///
    /// ```
    /// use obs_core::{DropReason, Dropped};
    /// assert_eq!(Dropped::default().of(DropReason::Closed), 0);
    /// ```
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "each reason has a count")]
    pub const fn of(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// Records lost for any reason.
    ///
    /// ```
    /// assert_eq!(obs_core::Dropped::default().total(), 0);
    /// ```
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Dropped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for reason in DropReason::ALL {
            map.serialize_entry(reason.as_str(), &self.of(reason))?;
        }
        map.end()
    }
}

/// One line, for the log at exit.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = &self.runs;
        write!(
            f,
            "runs: {} started = {} finished + {} active",
            runs.started, runs.finished, runs.active
        )?;
        for class in Class::ALL {
            write!(f, "; {class}: {}", self.class(class))?;
        }
        if self.audit > 0 {
            write!(f, "; audit: {} of the errors recorded", self.audit)?;
        }
        write!(f, "; imbalance {}", self.imbalance())
    }
}

/// The law with its numbers; terms that are 0 are left out, but for the first three.
impl fmt::Display for ClassLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} recorded", self.recorded)?;
        if self.adopted > 0 {
            write!(f, " + {} adopted", self.adopted)?;
        }
        write!(f, " = {} sampled_out + {} persisted", self.sampled_out, self.persisted)?;
        let rest = [
            ("quarantined", self.quarantined),
            ("in_queue", self.in_queue),
            ("spooled", self.spooled),
        ];
        for (term, count) in rest.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " + {count} {term}")?;
        }
        for reason in DropReason::ALL.into_iter().filter(|reason| self.dropped.of(*reason) > 0) {
            write!(f, " + {} dropped ({reason})", self.dropped.of(reason))?;
        }
        Ok(())
    }
}

/// Counts of ended runs by status.
pub(crate) type ByStatus = [u64; Status::ALL.len()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_at_exit_says_the_law_and_leaves_out_what_is_zero() {
        let mut ok =
            ClassLedger { recorded: 8, sampled_out: 6, persisted: 1, ..ClassLedger::default() };
        ok.dropped.0[DropReason::QueueFull.index()] = 1;
        let ledger = Ledger {
            ok,
            error: ClassLedger { recorded: 2, persisted: 2, ..ClassLedger::default() },
            runs: RunLedger { started: 10, finished: 10, active: 0 },
            audit: 0,
        };
        assert_eq!(
            ledger.to_string(),
            "runs: 10 started = 10 finished + 0 active; \
             ok: 8 recorded = 6 sampled_out + 1 persisted + 1 dropped (queue_full); \
             error: 2 recorded = 0 sampled_out + 2 persisted; imbalance 0"
        );
        let audited = Ledger { audit: 1, ..ledger }.to_string();
        assert!(
            audited.ends_with("+ 2 persisted; audit: 1 of the errors recorded; imbalance 0"),
            "{audited}"
        );
    }

    #[test]
    fn an_unbalanced_ledger_says_by_how_much() {
        let ledger = ClassLedger { recorded: 2, persisted: 3, ..ClassLedger::default() };
        assert_eq!(ledger.imbalance(), -1);
    }

    #[test]
    fn every_term_of_both_classes_is_in_the_law_on_its_side() {
        let balanced = || {
            let mut terms =
                ClassLedger { recorded: 40, adopted: 6, sampled_out: 5, ..ClassLedger::default() };
            (terms.persisted, terms.quarantined, terms.in_queue, terms.spooled) = (7, 8, 9, 10);
            terms.dropped.0[DropReason::Crash.index()] = 3;
            terms.dropped.0[DropReason::QueueFull.index()] = 4;
            Ledger { ok: terms.clone(), error: terms, ..Ledger::default() }
        };
        assert_eq!(balanced().imbalance(), 0);
        let left: [fn(&mut ClassLedger); 2] =
            [|terms| terms.recorded += 1, |terms| terms.adopted += 1];
        let right: [fn(&mut ClassLedger); 6] = [
            |terms| terms.sampled_out += 1,
            |terms| terms.persisted += 1,
            |terms| terms.quarantined += 1,
            |terms| terms.in_queue += 1,
            |terms| terms.spooled += 1,
            |terms| terms.dropped.0[DropReason::Crash.index()] += 1,
        ];
        for class in Class::ALL {
            for (more, imbalance) in
                left.map(|more| (more, 1)).into_iter().chain(right.map(|more| (more, -1)))
            {
                let mut ledger = balanced();
                more(ledger.class_mut(class));
                assert_eq!(ledger.imbalance(), imbalance, "{class}");
            }
        }
    }

    #[test]
    fn the_line_of_a_class_says_every_term_that_is_not_zero() {
        let mut terms = ClassLedger { recorded: 1, adopted: 2, ..ClassLedger::default() };
        (terms.quarantined, terms.in_queue, terms.spooled) = (1, 1, 1);
        assert_eq!(
            terms.to_string(),
            "1 recorded + 2 adopted = 0 sampled_out + 0 persisted + 1 quarantined + 1 in_queue + 1 spooled"
        );
    }
}
