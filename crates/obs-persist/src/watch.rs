//! How the store is doing, for whoever reports on the process.

use std::{fmt, sync::Arc, time::Duration};

use obs_core::{Ack, StoreState};

use crate::shared::Shared;

/// What a health page needs to know about the store. It reads memory only, so it never waits for the
/// store, and it may outlive the [`Persister`](crate::Persister). Cheap to clone.
///
/// ```
/// # use obs_core::{StoreMetrics, StoreState};
/// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
/// # let store = Box::new(MemoryStore::new());
/// let persister = Persister::start(PersistConfig::default(), store, StoreMetrics::default())?;
/// let watch = persister.watch();
/// persister.shutdown_blocking(std::time::Duration::from_secs(5));
/// assert_eq!(watch.state(), StoreState::Stopped);
/// # Ok::<(), obs_persist::StartError>(())
/// ```
#[derive(Clone)]
pub struct StoreWatch {
    shared: Arc<Shared>,
}

impl StoreWatch {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Whether the store works.
    ///
    /// ```
    /// # use obs_core::StoreState;
    /// fn is_up(watch: &obs_persist::StoreWatch) -> bool {
    ///     watch.state() == StoreState::Up
    /// }
    /// ```
    #[must_use]
    pub fn state(&self) -> StoreState {
        self.shared.metrics.state()
    }

    /// How long ago a batch was written last; `None` before the first one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// fn wrote_lately(watch: &obs_persist::StoreWatch) -> bool {
    ///     watch.last_write_age().is_some_and(|age| age < Duration::from_secs(60))
    /// }
    /// ```
    #[must_use]
    pub fn last_write_age(&self) -> Option<Duration> {
        self.shared.metrics.last_write_age()
    }

    /// What is promised of an error that ends now: [`Ack::Memory`] where there is no spool, or its disk
    /// failed. What becomes of one record is the answer of its own run.
    ///
    /// ```
    /// # use obs_core::Ack;
    /// fn errors_outlive_the_process(watch: &obs_persist::StoreWatch) -> bool {
    ///     watch.error_ack() != Ack::Memory
    /// }
    /// ```
    #[must_use]
    pub fn error_ack(&self) -> Ack {
        self.shared.error_ack()
    }

    /// Whether records of dead processes are still to be taken over, or to be asked about: from the start
    /// until all of those that were there has been entered into the ledger, where it shows as `adopted`.
    /// While the store has never been up, nobody has looked yet.
    ///
    /// ```
    /// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
    /// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
    /// assert!(!persister.watch().is_adopting(), "without a spool there is nothing to take over");
    /// # Ok::<(), obs_persist::StartError>(())
    /// ```
    #[must_use]
    pub fn is_adopting(&self) -> bool {
        self.shared.is_adopting()
    }

    /// Why the store is down.
    ///
    /// ```
    /// fn why(watch: &obs_persist::StoreWatch) -> String {
    ///     watch.last_error().unwrap_or_default()
    /// }
    /// ```
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.shared.last_error()
    }
}

impl fmt::Debug for StoreWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreWatch").field(&self.shared.metrics).finish()
    }
}
