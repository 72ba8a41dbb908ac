//! The seam where the hot path ends.

use std::fmt;

use crate::{
    ledger::Ticket,
    record::RunRecord,
    status::{Class, DropReason},
};

/// Where the records of kept runs go.
///
/// `submit` is called on the thread of the run, when it has ended: it must not wait, do I/O, or
/// panic. Whoever takes the record settles its ticket: [`Ticket::persisted`],
/// [`Ticket::quarantined`] or [`Ticket::dropped`].
///
/// ```
/// use obs_core::{Class, Kept, Sink};
///
/// #[derive(Debug)]
/// struct Print;
///
/// impl Sink for Print {
///     fn submit(&self, kept: Kept) {
///         println!("{} {}", kept.record.strategy_id, kept.record.status);
///         kept.ticket.persisted();
///     }
///     fn capacity(&self, _class: Class) -> u64 {
///         u64::MAX
///     }
/// }
/// ```
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// Takes a record, or refuses it through its ticket.
    fn submit(&self, kept: Kept);

    /// How many records of a class can be pending at most.
    fn capacity(&self, class: Class) -> u64;
}

/// A record, and its place in the ledger.
///
/// ```
/// # use obs_core::testing::TestObs;
/// # let test = TestObs::new();
/// let kept = test.kept("bonus", "1");
/// assert_eq!(&*kept.record.strategy_id, "bonus");
/// kept.ticket.persisted();
/// ```
#[derive(Debug)]
#[must_use = "dropping a kept record counts it as abandoned"]
pub struct Kept {
    /// What the row says.
    pub record: RunRecord,
    /// What became of it.
    pub ticket: Ticket,
}

impl Kept {
    /// The two parts, for a worker that keeps them in two places.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// let (record, ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.persisted();
    /// assert_eq!(record.status, obs_core::Status::Ok);
    /// ```
    pub fn into_parts(self) -> (RunRecord, Ticket) {
        (self.record, self.ticket)
    }
}

/// The sink of an `Obs` without a store: rows are off, and each one that would have been is counted.
#[derive(Debug)]
pub(crate) struct NoSink;

impl Sink for NoSink {
    fn submit(&self, kept: Kept) {
        kept.ticket.dropped(DropReason::Disabled);
    }

    fn capacity(&self, _class: Class) -> u64 {
        0
    }
}
