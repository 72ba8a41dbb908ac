//! The seam between the worker and a database.

use std::{borrow::Cow, error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use obs_core::{Class, Escaped, RunRecord, Timestamp};

use crate::{
    erasure::{EraseFuture, Erasure},
    stored::{Stored, StoredFuture, Unsettled},
};

/// What a [`Store`] returns: a boxed future, so that `dyn Store` works.
pub type StoreFuture<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>;

/// What [`Store::maintain`] returns, boxed like a [`StoreFuture`].
pub type MaintainFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Maintained, StoreError>> + Send + 'a>>;

/// How long rows are kept, class by class; `None` is for ever.
///
/// ```
/// use obs_persist::{PersistConfig, Retention};
/// use std::time::Duration;
///
/// let mut config = PersistConfig::default();
/// config.retention_error = None;
/// let retention: Retention = config.retention();
/// assert_eq!(retention.of(obs_core::Class::Ok), Some(Duration::from_secs(30 * 86_400)));
/// assert_eq!(retention.of(obs_core::Class::Error), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub(crate) ok: Option<Duration>,
    pub(crate) error: Option<Duration>,
}

impl Retention {
    /// How long rows of this class are kept.
    ///
    /// ```
    /// let retention = obs_persist::PersistConfig::default().retention();
    /// assert!(retention.of(obs_core::Class::Ok) < retention.of(obs_core::Class::Error));
    /// ```
    #[must_use]
    pub const fn of(&self, class: Class) -> Option<Duration> {
        match class {
            Class::Ok => self.ok,
            Class::Error => self.error,
        }
    }
}

/// What one call of [`Store::maintain`] did and found.
///
/// ```
/// let nothing = obs_persist::Maintained::default();
/// assert_eq!((nothing.dropped, nothing.more, nothing.days_ahead), (0, false, None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// Days of a class that were dropped, rows and payloads together.
    pub dropped: usize,
    /// Rows that were deleted one by one, in a store that has no days to drop.
    pub rows: u64,
    /// There is more to drop than one call does: call again soon.
    pub more: bool,
    /// Why something could not be done, and the way out; the connection is fine.
    pub problem: Option<String>,
    /// For how many whole days after today there is room, in a store that needs room made.
    pub days_ahead: Option<u32>,
    /// No ok row that is left began before this.
    pub oldest_ok: Option<Timestamp>,
    /// No error that is left began before this.
    pub oldest_error: Option<Timestamp>,
}

/// Where batches of records are written.
///
/// The worker calls one method at a time. It calls `prepare` before the first write and again
/// after a deadline, a panic, or a [`canary`](Self::canary) that fails: whatever connection there
/// was may be in any state then, and must be thrown away. A future may be dropped at any await,
/// when its deadline passes.
///
/// ```
/// use obs_core::RunRecord;
/// use obs_persist::{Store, StoreFuture};
/// use std::sync::Arc;
///
/// /// Forgets everything.
/// #[derive(Debug)]
/// struct Nowhere;
///
/// impl Store for Nowhere {
///     fn name(&self) -> String {
///         "nowhere".to_owned()
///     }
///     fn prepare(&mut self) -> StoreFuture<'_> {
///         Box::pin(async { Ok(()) })
///     }
///     fn write(&mut self, _batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
///         Box::pin(async { Ok(()) })
///     }
///     fn canary(&mut self, _row: Box<RunRecord>) -> StoreFuture<'_> {
///         Box::pin(async { Ok(()) })
///     }
///     fn close(&mut self) -> StoreFuture<'_> {
///         Box::pin(async { Ok(()) })
///     }
/// }
/// # let _: Box<dyn Store> = Box::new(Nowhere);
/// ```
pub trait Store: fmt::Debug + Send + 'static {
    /// What a log line calls this store; without a password.
    fn name(&self) -> String;

    /// Drops the connection, if there is one; connects, migrates, makes partitions.
    fn prepare(&mut self) -> StoreFuture<'_>;

    /// Writes a batch of at least one record (some may be [entries of the audit trail](RunRecord::audit)), all or
    /// nothing *per record and its payload*. `Ok` means that every record is committed. Writing a record again must change nothing: after
    /// an error the worker cannot know what was committed, and sends every record of it again.
    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_>;

    /// Does all that [`write`](Self::write) does with this row, on the same connection, and takes
    /// it back: nobody ever sees it. Called after a write that failed; the row is harmless and
    /// has the shape of one that was in it. So `Ok` means that the store and its connection are
    /// well, and the next failure will be a record's own fault; an error that the store is not,
    /// e.g. because its disk is full.
    ///
    /// ```
    /// # use obs_persist::{Store, testing::MemoryStore};
    /// # futures_executor::block_on(async {
    /// let mut store = MemoryStore::new();
    /// store.canary(Box::new(obs_core::testing::record("canary", "1"))).await?;
    /// assert!(store.rows().is_empty());
    /// # Ok::<(), obs_persist::StoreError>(())
    /// # }).unwrap();
    /// ```
    fn canary(&mut self, row: Box<RunRecord>) -> StoreFuture<'_>;

    /// Makes room for the days to come and drops what is past its retention, a bounded amount at
    /// a time. Called between batches, soon after the first `prepare` and then at least once an
    /// hour; `now` is the caller's clock. Whatever it holds up must be short: records wait meanwhile.
    ///
    /// A store that needs none of this leaves it out.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Store, testing::MemoryStore};
    /// # futures_executor::block_on(async {
    /// let now = obs_core::Clock::default().wall();
    /// let retention = PersistConfig::default().retention();
    /// let done = MemoryStore::new().maintain(now, retention).await?;
    /// assert_eq!(done.dropped, 0);
    /// # Ok::<(), obs_persist::StoreError>(())
    /// # }).unwrap();
    /// ```
    fn maintain(&mut self, now: Timestamp, retention: Retention) -> MaintainFuture<'_> {
        let _ = (now, retention);
        Box::pin(async { Ok(Maintained::default()) })
    }

    /// Keeps out, from now on, every run of a subject that began before now (or soon after it), and
    /// returns once no write that did not know this is under way; the report has only its hashes.
    ///
    /// A store that cannot erase leaves this and [`erase`](Self::erase) out; they are an error then.
    ///
    /// ```
    /// # use obs_persist::{Erasure, Store, testing::MemoryStore};
    /// # futures_executor::block_on(async {
    /// assert!(MemoryStore::new().bury(&Erasure::of("user-7")).await.is_err());
    /// # });
    /// ```
    fn bury<'a>(&'a mut self, erasure: &'a Erasure) -> EraseFuture<'a> {
        let _ = erasure;
        let name = self.name();
        Box::pin(async { Err(cannot_erase(name)) })
    }

    /// Deletes the rows and payloads of a subject that was [buried](Self::bury), and leaves a record
    /// of it, with how many records `files` held.
    ///
    /// ```
    /// # use obs_persist::{Erasure, Store, testing::MemoryStore};
    /// # futures_executor::block_on(async {
    /// let error = MemoryStore::new().erase(&Erasure::of("user-7"), 0).await.unwrap_err();
    /// assert!(error.to_string().contains("cannot erase"));
    /// # });
    /// ```
    fn erase<'a>(&'a mut self, erasure: &'a Erasure, files: u64) -> EraseFuture<'a> {
        let _ = (erasure, files);
        let name = self.name();
        Box::pin(async { Err(cannot_erase(name)) })
    }

    /// A number by which another process can tell later whether this connection, or what the server
    /// does for it, is still there; never 0. A store that has none leaves it out.
    ///
    /// ```
    /// # use obs_persist::{Store, testing::MemoryStore};
    /// assert_eq!(MemoryStore::new().session(), Some(1));
    /// ```
    fn session(&self) -> Option<u64> {
        None
    }

    /// Which of these records, which a dead process had handed to the store, are rows: the others count as
    /// lost. Called after `prepare`, between batches, at most ten times a second.
    ///
    /// A store that cannot tell leaves it out: all of them count as lost then, and a few that are rows
    /// may be among them.
    ///
    /// ```
    /// # use obs_persist::{Store, Stored, Unsettled, testing::MemoryStore};
    /// # futures_executor::block_on(async {
    /// let stored = MemoryStore::new().stored(&Unsettled::default()).await?;
    /// assert!(matches!(stored, Stored::Rows(rows) if rows.is_empty()));
    /// # Ok::<(), obs_persist::StoreError>(())
    /// # }).unwrap();
    /// ```
    fn stored<'a>(&'a mut self, unsettled: &'a Unsettled) -> StoredFuture<'a> {
        let _ = unsettled;
        Box::pin(async { Ok(Stored::Unknown) })
    }

    /// Ends the connection in an orderly way.
    fn close(&mut self) -> StoreFuture<'_>;
}

fn cannot_erase(store: impl fmt::Display) -> StoreError {
    StoreError::permanent(format!("{store} cannot erase by subject: delete its rows by hand"))
}

/// Why a store could not do what it was asked.
///
/// The variant says who can help. The worker tries again after both, for ever.
///
/// ```
/// use obs_persist::StoreError;
///
/// let error = StoreError::transient("cannot connect", std::io::Error::other("refused"));
/// assert_eq!(error.to_string(), "cannot connect");
/// assert_eq!(error.chain(), "cannot connect: refused");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It may work the next time.
    #[error("{what}")]
    #[non_exhaustive]
    Transient {
        /// What failed.
        what: Cow<'static, str>,
        /// Why.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// It will not work until somebody changes something.
    #[error("{what}")]
    #[non_exhaustive]
    Permanent {
        /// What failed, and the way out.
        what: Cow<'static, str>,
        /// Why.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl StoreError {
    /// An error that may go away by itself, with its cause.
    ///
    /// ```
    /// let _ = obs_persist::StoreError::transient("cannot write", std::io::Error::other("busy"));
    /// ```
    pub fn transient(
        what: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Transient { what: what.into(), source: Some(source.into()) }
    }

    /// An error that somebody must put right; say in `what` how.
    ///
    /// ```
    /// let error = obs_persist::StoreError::permanent("the folder is missing: create it");
    /// assert_eq!(error.chain(), "the folder is missing: create it");
    /// ```
    pub fn permanent(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Permanent { what: what.into(), source: None }
    }

    /// The same, with its cause.
    ///
    /// ```
    /// let refused = std::io::Error::other("refused");
    /// let error = obs_persist::StoreError::permanent_because("create the folder", refused);
    /// assert_eq!(error.chain(), "create the folder: refused");
    /// ```
    pub fn permanent_because(
        what: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Permanent { what: what.into(), source: Some(source.into()) }
    }

    pub(crate) fn late(what: &'static str, deadline: Duration) -> Self {
        let what =
            format!("{what} took longer than {deadline:?}; the connection is given up").into();
        Self::Transient { what, source: None }
    }

    /// The message with those of all its causes, for one log line: [escaped](obs_core::Escaped).
    ///
    /// ```
    /// let error = obs_persist::StoreError::transient("cannot write", std::io::Error::other("busy"));
    /// assert_eq!(error.chain(), "cannot write: busy");
    /// ```
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and what is behind it, for one log line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    // Some errors repeat their cause in their own message.
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    // Servers write what they like.
    Escaped(&text).to_string()
}
