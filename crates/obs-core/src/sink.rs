//! The seam where the hot path ends.

use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
};

use crate::{
    adopter::Adopter,
    ledger::Ticket,
    record::RunRecord,
    status::{Class, DropReason},
};

/// Where the records of kept runs go.
///
/// `submit` is called on the thread of the run, when it has ended: it must not wait for anybody, nor
/// panic. The only I/O it may do is what it promises with its answer: one write to a local spool. Whoever
/// takes the record settles its ticket: [`Ticket::persisted`], [`Ticket::quarantined`] or
/// [`Ticket::dropped`].
///
/// ```
/// use obs_core::{Ack, Class, Kept, Sink};
///
/// #[derive(Debug)]
/// struct Print;
///
/// impl Sink for Print {
///     fn submit(&self, kept: Kept) -> Ack {
///         println!("{} {}", kept.record.strategy_id, kept.record.status);
///         kept.ticket.persisted();
///         Ack::Memory
///     }
///     fn capacity(&self, _class: Class) -> u64 {
///         u64::MAX
///     }
/// }
/// ```
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// Takes a record, or refuses it through its ticket; the answer is what is promised from now on.
    fn submit(&self, kept: Kept) -> Ack;

    /// How many records of a class can be pending at most.
    fn capacity(&self, class: Class) -> u64;

    /// Called once, before the first record: through `books` a sink enters what processes left that
    /// died before this one began.
    fn attach(&self, books: Adopter) {
        drop(books);
    }

    /// Makes everything durable that this thread submitted before; `ack` is what its last record was
    /// answered. The future's answer is what is promised then: [`Ack::Disk`], or less where that is not
    /// possible. It needs no runtime, and what it waits for has begun before it is first polled.
    fn durable(&self, ack: Ack) -> Durable {
        Box::pin(ready(ack))
    }
}

/// The answer of [`Sink::durable`].
pub type Durable = Pin<Box<dyn Future<Output = Ack> + Send>>;

/// What is promised of a record, from the strongest to none.
///
/// ```
/// use obs_core::{Ack, DropReason};
/// assert_eq!(Ack::Os.to_string(), "os");
/// assert_eq!(Ack::Refused(DropReason::SpoolFull).to_string(), "refused");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ack {
    /// It is on the disk: it outlives the machine's power.
    Disk,
    /// It is in the operating system's memory: it outlives the process, whatever ends it.
    Os,
    /// It is in the process's memory: it is lost with the process, and then counted.
    Memory,
    /// It is not kept, and counted as lost.
    Refused(DropReason),
}

impl Ack {
    /// The word for it; why a record was refused is said elsewhere.
    ///
    /// ```
    /// assert_eq!(obs_core::Ack::Disk.as_str(), "disk");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Os => "os",
            Self::Memory => "memory",
            Self::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
    fn submit(&self, kept: Kept) -> Ack {
        kept.ticket.dropped(DropReason::Disabled);
        Ack::Refused(DropReason::Disabled)
    }

    fn capacity(&self, _class: Class) -> u64 {
        0
    }
}
