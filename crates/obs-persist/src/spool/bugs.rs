//! Bugs that a test plants, to see that the simulation finds them. There are none outside of tests.

use super::{frame::Seed, recover::Scan};

/// Which of them are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bugs(#[cfg(test)] Option<Bug>);

/// One of them.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The names in a directory are never made durable.
    NamesNotSynced,
    /// What is written counts as durable before it is synced.
    AckBeforeSync,
    /// Checksums are not looked at.
    NoChecksum,
    /// The checksum of a frame is the same in every segment.
    NoSeed,
    /// A file whose sync failed goes on being used as if nothing had happened.
    FailedSyncIgnored,
}

#[cfg(test)]
impl Bugs {
    pub(crate) const fn one(bug: Bug) -> Self {
        Self(Some(bug))
    }

    fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }

    pub(super) fn seed(self, seed: Seed) -> Seed {
        if self.has(Bug::NoSeed) { Seed::none() } else { seed }
    }

    pub(super) fn scan(self, bytes: &[u8], seed: Seed) -> Scan<'_> {
        let mut scan = Scan::new(bytes, self.seed(seed));
        scan.unchecked = self.has(Bug::NoChecksum);
        scan
    }

    pub(super) fn names_are_synced(self) -> bool {
        !self.has(Bug::NamesNotSynced)
    }

    pub(super) fn acks_after_sync(self) -> bool {
        !self.has(Bug::AckBeforeSync)
    }

    pub(super) fn failed_sync_counts(self) -> bool {
        !self.has(Bug::FailedSyncIgnored)
    }
}

#[cfg(not(test))]
impl Bugs {
    pub(super) const fn seed(self, seed: Seed) -> Seed {
        seed
    }

    pub(super) fn scan(self, bytes: &[u8], seed: Seed) -> Scan<'_> {
        Scan::new(bytes, seed)
    }

    pub(super) const fn names_are_synced(self) -> bool {
        true
    }

    pub(super) const fn acks_after_sync(self) -> bool {
        true
    }

    pub(super) const fn failed_sync_counts(self) -> bool {
        true
    }
}
