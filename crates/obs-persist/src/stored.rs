//! What a store is asked of the batches that a dead process had under way.

use std::{collections::BTreeSet, fmt, future::Future, pin::Pin};

use obs_core::Class;
use uuid::Uuid;

use crate::store::StoreError;

/// What [`Store::stored`](crate::Store::stored) returns, boxed like a [`StoreFuture`](crate::StoreFuture).
pub type StoredFuture<'a> = Pin<Box<dyn Future<Output = Result<Stored, StoreError>> + Send + 'a>>;

/// Records that a process had handed to its store when it died: whether they are rows, only the store
/// can tell.
///
/// ```
/// let none = obs_persist::Unsettled::default();
/// assert_eq!(none.run_ids().count(), 0);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Unsettled {
    pub(crate) ok: Vec<Uuid>,
    pub(crate) error: Vec<Uuid>,
    pub(crate) sessions: Vec<u64>,
}

impl Unsettled {
    /// Such records, for tests of a store.
    ///
    /// ```
    /// let id = obs_core::testing::record("bonus", "1").run_id;
    /// let unsettled = obs_persist::Unsettled::of([id], [7]);
    /// assert_eq!(unsettled.run_ids().collect::<Vec<_>>(), [id]);
    /// assert_eq!(unsettled.sessions(), [7]);
    /// ```
    pub fn of(
        run_ids: impl IntoIterator<Item = Uuid>,
        sessions: impl IntoIterator<Item = u64>,
    ) -> Self {
        let (ok, sessions) = (run_ids.into_iter().collect(), sessions.into_iter().collect());
        Self { ok, error: Vec::new(), sessions }
    }

    /// Their ids.
    ///
    /// ```
    /// assert!(obs_persist::Unsettled::default().run_ids().next().is_none());
    /// ```
    pub fn run_ids(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.ok.iter().chain(&self.error).copied()
    }

    /// What [`Store::session`](crate::Store::session) said of its last connections: as long as one of them
    /// is there, something may still be committed. Empty once that was waited for long enough.
    ///
    /// ```
    /// assert!(obs_persist::Unsettled::default().sessions().is_empty());
    /// ```
    #[must_use]
    pub fn sessions(&self) -> &[u64] {
        &self.sessions
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ok.is_empty() && self.error.is_empty()
    }

    /// How many of a class are rows, and how many are lost, if these are the rows.
    pub(crate) fn split(&self, class: Class, rows: &BTreeSet<Uuid>) -> (u64, u64) {
        let ids = if class == Class::Ok { &self.ok } else { &self.error };
        let stored = ids.iter().filter(|id| rows.contains(id)).count();
        (stored as u64, (ids.len() - stored) as u64)
    }
}

/// Numbers only.
impl fmt::Debug for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsettled")
            .field("ok", &self.ok.len())
            .field("error", &self.error.len())
            .field("sessions", &self.sessions.len())
            .finish()
    }
}

/// What a store knows of records that a dead process had under way.
///
/// ```
/// # use obs_persist::{Store, Stored, Unsettled, testing::MemoryStore};
/// # futures_executor::block_on(async {
/// let stored = MemoryStore::new().stored(&Unsettled::default()).await?;
/// assert_eq!(stored, Stored::Rows(Default::default()));
/// # Ok::<(), obs_persist::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored {
    /// It cannot tell: all of them count as lost.
    Unknown,
    /// The dead process's connection is still at work: ask again soon.
    Busy,
    /// These of them are rows, and no others will be.
    Rows(BTreeSet<Uuid>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_row_is_lost_and_ids_that_nobody_asked_for_change_nothing() {
        let id = Uuid::from_u128;
        let unsettled =
            Unsettled { ok: vec![id(1), id(2), id(3)], error: vec![id(4)], sessions: vec![9] };
        let rows = BTreeSet::from([id(2), id(4), id(77)]);
        assert_eq!(unsettled.split(Class::Ok, &rows), (1, 2));
        assert_eq!(unsettled.split(Class::Error, &rows), (1, 0));
        assert_eq!(unsettled.split(Class::Error, &BTreeSet::new()), (0, 1));
        assert!(!format!("{unsettled:?}").contains("0000"), "numbers only");
    }
}
