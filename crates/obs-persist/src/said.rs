//! Lines in the log about records that the store does not take: never one per record.

use std::{error::Error, path::Path, time::Duration};

use obs_core::{Clock, Escaped, Tick};

/// The shortest time between two lines of one kind.
const GAP: Duration = Duration::from_secs(60);

/// What was said about records that were set aside.
#[derive(Debug, Default)]
pub(crate) struct SetAside {
    kept: Rarely,
    waits: Rarely,
    left: Rarely,
    lost: Rarely,
    stuck: Rarely,
}

/// Counts what happens, and says so now and then.
#[derive(Debug, Default)]
struct Rarely {
    clock: Clock,
    said_at: Option<Tick>,
    /// What has happened since.
    unsaid: u64,
}

impl SetAside {
    pub(crate) fn kept(&mut self, store: &str, reason: &str, folder: &Path) {
        if let Some(records) = self.kept.happened() {
            tracing::warn!(
                store,
                records,
                %reason,
                folder = %Escaped(&folder.to_string_lossy()),
                "the store works but does not take some records; they are set aside: list, show, retry or \
                 drop them"
            );
        }
    }

    pub(crate) fn waits(&mut self, store: &str, reason: &str, why: &str) {
        if let Some(records) = self.waits.happened() {
            tracing::warn!(
                store,
                records,
                %reason,
                why,
                "the store works but does not take some records, and they cannot be set aside now; they stay in the \
                 spool and are tried again"
            );
        }
    }

    pub(crate) fn left(&mut self, store: &str, reason: &str, why: &str) {
        if let Some(records) = self.left.happened() {
            tracing::error!(
                store,
                records,
                %reason,
                why,
                "the store works but does not take some records, and setting them aside panicked; what is in the spool \
                 stays there for the next process, what is in memory only is lost and counted"
            );
        }
    }

    pub(crate) fn lost(&mut self, store: &str, reason: &str, why: &str) {
        if let Some(records) = self.lost.happened() {
            tracing::error!(
                store,
                records,
                %reason,
                why,
                "the store works but does not take some records; they are lost and counted"
            );
        }
    }

    pub(crate) fn stuck(&mut self, store: &str, reason: &(dyn Error + 'static)) {
        if let Some(times) = self.stuck.happened() {
            tracing::warn!(
                store,
                times,
                reason,
                "the quarantine cannot be gone through: what is to be tried again, or is too old, stays; it is tried later"
            );
        }
    }
}

impl Rarely {
    /// How many times it has happened since it was last said; `None` if that was just now.
    fn happened(&mut self) -> Option<u64> {
        self.unsaid += 1;
        let now = self.clock.now();
        if self.said_at.is_some_and(|said_at| now.since(said_at) < GAP) {
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use obs_core::ManualClock;

    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_rest_of_a_minute_in_one_line() {
        let clock = ManualClock::new();
        let mut rarely = Rarely { clock: Clock::from(&clock), ..Rarely::default() };
        assert_eq!(rarely.happened(), Some(1));
        for _ in 0..10 {
            assert_eq!(rarely.happened(), None);
        }
        clock.advance(GAP);
        assert_eq!(rarely.happened(), Some(11));
        assert_eq!(rarely.happened(), None);
    }
}
