//! A record's place in the ledger, held by whoever holds the record.

use std::{fmt, sync::Arc};

use super::{
    book::Book,
    page::{self, End, Lies, SHARDS},
};
use crate::{
    status::{Class, DropReason},
    sync::{AtomicU64, Ordering},
};

/// Lost records of one series of `obs.record.dropped`; written under a shard's lock only.
#[derive(Debug, Default)]
pub(crate) struct SeriesDrops {
    counts: [[AtomicU64; DropReason::ALL.len()]; 2],
}

#[expect(clippy::indexing_slicing, reason = "each class and reason has a count")]
impl SeriesDrops {
    pub(crate) fn of(&self, class: Class, reason: DropReason) -> u64 {
        self.counts[class.index()][reason.index()].load(Ordering::Relaxed)
    }

    /// Threads with different shards may add at the same time.
    pub(super) fn add(&self, class: Class, reason: DropReason, count: u64) {
        self.counts[class.index()][reason.index()].fetch_add(count, Ordering::Relaxed);
    }
}

/// A record's place in the ledger: whoever holds it decides, exactly once, what became of the
/// record. Dropping it without a word counts the record as `abandoned`.
///
/// ```
/// use obs_core::{Ack, DropReason, Kept, Sink, Class};
///
/// /// A sink that has no room for anything.
/// #[derive(Debug)]
/// struct Full;
///
/// impl Sink for Full {
///     fn submit(&self, kept: Kept) -> Ack {
///         kept.ticket.dropped(DropReason::QueueFull);
///         Ack::Refused(DropReason::QueueFull)
///     }
///     fn capacity(&self, _class: Class) -> u64 {
///         0
///     }
/// }
/// ```
#[must_use = "dropping a ticket counts its record as abandoned"]
pub struct Ticket {
    book: Arc<Book>,
    drops: Arc<SeriesDrops>,
    shard: u8,
    class: Class,
    /// Where the record is: once it is in a spool, a copy in memory no longer counts.
    lies: Lies,
    /// The record's end is counted.
    is_over: bool,
}

/// A long outage has hundreds of thousands of them.
const _: () = assert!(size_of::<Ticket>() <= 24 && SHARDS <= 1 << u8::BITS);

impl Ticket {
    /// The ticket of a record that `book` has just counted in `shard`.
    pub(super) const fn of(
        book: Arc<Book>,
        drops: Arc<SeriesDrops>,
        shard: usize,
        class: Class,
        lies: Lies,
    ) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer, see above")]
        let shard = shard as u8;
        Self { book, drops, shard, class, lies, is_over: false }
    }

    /// The class of the record.
    ///
    /// ```
    /// # use obs_core::{Class, testing::TestObs};
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// assert_eq!(ticket.class(), Class::Ok);
    /// ```
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }

    /// The record is safe in a spool that outlives the process, though the store has yet to commit it.
    /// Saying so again changes nothing.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// let (_record, mut ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.spooled();
    /// let ledger = test.obs().ledger();
    /// assert_eq!((ledger.ok.in_queue, ledger.ok.spooled), (0, 1));
    /// ticket.persisted();
    /// assert_eq!(test.obs().ledger().ok.spooled, 0);
    /// ```
    pub fn spooled(&mut self) {
        if let (false, Lies::InMemory) = (self.is_over, self.lies) {
            self.lies = Lies::Spooled;
            self.book.shard(self.shard.into()).apply(page::spool(self.class));
        }
    }

    /// Whether the record is safe in a spool.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// assert!(!ticket.is_spooled());
    /// # ticket.persisted();
    /// ```
    #[must_use]
    pub const fn is_spooled(&self) -> bool {
        !matches!(self.lies, Lies::InMemory)
    }

    /// The store has committed the record.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.persisted();
    /// assert_eq!(test.obs().ledger().ok.persisted, 1);
    /// ```
    pub fn persisted(mut self) {
        self.settle(End::Persisted);
    }

    /// The record was set aside as poison.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.quarantined();
    /// assert_eq!(test.obs().ledger().ok.quarantined, 1);
    /// ```
    pub fn quarantined(mut self) {
        self.settle(End::Quarantined);
    }

    /// The record is lost.
    ///
    /// ```
    /// # use obs_core::{DropReason, testing::TestObs};
    /// # let test = TestObs::new();
    /// let (_record, ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.dropped(DropReason::QueueFull);
    /// assert_eq!(test.obs().ledger().ok.dropped.of(DropReason::QueueFull), 1);
    /// ```
    pub fn dropped(mut self, reason: DropReason) {
        self.lose(reason);
    }

    /// The record stays where it is: in the spool, for the next process, which adopts it. A record that is
    /// not there is `abandoned`.
    ///
    /// ```
    /// # use obs_core::testing::TestObs;
    /// # let test = TestObs::new();
    /// let (_record, mut ticket) = test.kept("bonus", "1").into_parts();
    /// ticket.spooled();
    /// ticket.stays();
    /// assert_eq!(test.obs().ledger().ok.spooled, 1);
    /// ```
    pub fn stays(mut self) {
        if self.is_spooled() {
            self.is_over = true;
        }
    }

    fn lose(&mut self, reason: DropReason) {
        self.settle(End::Dropped(reason));
    }

    /// One critical section: out of the queue or the spool, into the term of its end.
    fn settle(&mut self, end: End) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let shard = self.book.shard(self.shard.into());
        shard.apply(page::settle(self.class, self.lies, end));
        if let End::Dropped(reason) = end {
            self.drops.add(self.class, reason, 1);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.lose(DropReason::Abandoned);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("class", &self.class)
            .field("lies", &self.lies)
            .finish_non_exhaustive()
    }
}
