//! How a sink enters records of dead processes into the ledger.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use crate::{
    ledger::{Book, SeriesDrops, Ticket},
    record::RunRecord,
    recorder::Recorder,
    status::Class,
};

/// Enters records of dead processes into the ledger: those that were found in a spool, and those that
/// died in memory. A sink is given one by [`Sink::attach`](crate::Sink::attach).
///
/// ```
/// use obs_core::{Adopter, DropReason, RecordLabels, RunRecord, Ticket};
///
/// fn adopt(books: &Adopter, found: Vec<RunRecord>) -> Vec<(RunRecord, Ticket)> {
///     found
///         .into_iter()
///         .map(|record| {
///             let ticket = books.adopt(record.class(), &RecordLabels::of(&record));
///             (record, ticket)
///         })
///         .collect()
/// }
/// # let _ = adopt;
/// ```
#[derive(Clone)]
pub struct Adopter {
    book: Arc<Book>,
    /// Weak, because what it exports may hold the sink that holds this.
    recorder: Weak<dyn Recorder>,
}

/// What a lost record is told apart by in `obs.record.dropped`; the rest of a series' labels belongs to
/// kinds of this process.
///
/// ```
/// use obs_core::{RecordLabels, testing::record};
/// let record = record("bonus", "1");
/// assert_eq!(RecordLabels::of(&record).realm, Some("acme"));
/// assert_eq!(RecordLabels::default().kind, "unknown");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLabels<'a> {
    /// The family of runs.
    pub kind: &'a str,
    /// The tenant.
    pub realm: Option<&'a str>,
    /// The type of the strategy.
    pub strategy_type: Option<&'a str>,
}

impl<'a> RecordLabels<'a> {
    /// Those of a record.
    ///
    /// ```
    /// use obs_core::{RecordLabels, testing::record};
    /// assert_eq!(RecordLabels::of(&record("bonus", "1")).kind, "test");
    /// ```
    #[must_use]
    pub fn of(record: &'a RunRecord) -> Self {
        Self {
            kind: &record.kind,
            realm: record.realm.as_deref(),
            strategy_type: record.strategy_type.as_deref(),
        }
    }
}

/// Those of a record that nobody can read: `unknown`.
impl Default for RecordLabels<'_> {
    fn default() -> Self {
        Self { kind: crate::label::UNKNOWN, realm: None, strategy_type: None }
    }
}

impl Adopter {
    pub(crate) fn new(book: &Arc<Book>, recorder: &Arc<dyn Recorder>) -> Self {
        Self { book: Arc::clone(book), recorder: Arc::downgrade(recorder) }
    }

    /// Enters a record that was found in the spool of a dead process and stays there until its end, as
    /// `adopted` and `spooled` at once. Like any other, it is settled through its ticket.
    ///
    /// ```
    /// use obs_core::{Class, RecordLabels, testing::TestObs};
    /// let test = TestObs::new();
    /// let ticket = test.adopter().adopt(Class::Error, &RecordLabels::default());
    /// assert_eq!(test.obs().ledger().error.spooled, 1);
    /// ticket.persisted();
    /// let ledger = test.obs().ledger();
    /// assert_eq!((ledger.error.adopted, ledger.error.persisted), (1, 1));
    /// ```
    pub fn adopt(&self, class: Class, labels: &RecordLabels<'_>) -> Ticket {
        self.book.adopted(class, &self.drops(labels))
    }

    /// Enters a record of a dead process that is in the spool of this one: `adopted` and `spooled` at once, and
    /// the process after this one finds it in our spool. So it is entered before it is written there.
    ///
    /// ```
    /// use obs_core::{Class, DropReason, RecordLabels, testing::TestObs};
    /// let test = TestObs::new();
    /// let ticket = test.adopter().adopt_here(Class::Error, &RecordLabels::default());
    /// assert_eq!(test.obs().ledger().error.spooled, 1);
    /// ticket.dropped(DropReason::SpoolFull);
    /// assert_eq!(test.obs().ledger().error.dropped.of(DropReason::SpoolFull), 1);
    /// ```
    pub fn adopt_here(&self, class: Class, labels: &RecordLabels<'_>) -> Ticket {
        self.book.adopted_here(class, &self.drops(labels))
    }

    /// Enters records that died in the memory of a dead process, as `adopted` and dropped, `crash`, at
    /// once. Nobody knows whose they were: their labels are `unknown`.
    ///
    /// ```
    /// use obs_core::{Class, DropReason, testing::TestObs};
    /// let test = TestObs::new();
    /// test.adopter().crashed(Class::Ok, 17);
    /// let ok = test.obs().ledger().ok;
    /// assert_eq!((ok.adopted, ok.dropped.of(DropReason::Crash)), (17, 17));
    /// ```
    pub fn crashed(&self, class: Class, records: u64) {
        if records > 0 {
            self.book.crashed(class, records, &self.drops(&RecordLabels::default()));
        }
    }

    /// Where losses of such records are counted; once there is no recorder, nobody reads them.
    fn drops(&self, labels: &RecordLabels<'_>) -> Arc<SeriesDrops> {
        self.recorder.upgrade().map(|recorder| recorder.drops(labels)).unwrap_or_default()
    }
}

impl fmt::Debug for Adopter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adopter").field("book", &self.book).finish_non_exhaustive()
    }
}
