//! What a flush or a shutdown did.

use std::fmt;

use obs_core::DropReason;

use crate::waiters::Answer;

/// What a flush did with the records that were queued before it.
///
/// ```
/// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
/// use std::time::Duration;
///
/// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
/// let report = persister.flush_blocking(Duration::from_secs(1));
/// assert!(report.complete);
/// assert_eq!((report.persisted, report.left), (0, 0));
/// assert_eq!(report.to_string(), "0 persisted, 0 dropped, 0 left");
/// # Ok::<(), obs_persist::StartError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushReport {
    /// Records that the store has committed.
    pub persisted: u64,
    /// Records that the store does not take, set aside in the quarantine.
    pub quarantined: u64,
    /// Records that stay in the spool for the next process: the persister ended meanwhile.
    pub spooled: u64,
    /// Records that were lost while the flush waited, by reason.
    pub dropped: Drops,
    /// Records that still wait: the deadline came first.
    pub left: u64,
    /// Whether every record was settled by the deadline.
    pub complete: bool,
}

/// What a shutdown did with the records that were queued before it.
///
/// ```
/// # use obs_persist::{PersistConfig, Persister, testing::MemoryStore};
/// use std::time::Duration;
///
/// # let persister = Persister::start(PersistConfig::default(), Box::new(MemoryStore::new()), Default::default())?;
/// let report = persister.shutdown_blocking(Duration::from_secs(5));
/// assert!(report.complete);
/// assert_eq!(report.dropped.total(), 0);
/// # Ok::<(), obs_persist::StartError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Records that the store has committed.
    pub persisted: u64,
    /// Records that the store does not take, set aside in the quarantine.
    pub quarantined: u64,
    /// Records that stay in the spool: the next process writes them.
    pub spooled: u64,
    /// Records that were lost since the shutdown began, by reason; what waited at the deadline is
    /// `shutdown_deadline`. What was lost before is in the ledger alone.
    pub dropped: Drops,
    /// Records that are neither: 0, nothing stays behind a shutdown.
    pub left: u64,
    /// Whether the worker settled everything, closed its store and stopped by the deadline.
    pub complete: bool,
}

/// Lost records by reason.
///
/// ```
/// use obs_core::DropReason;
/// let drops = obs_persist::Drops::default();
/// assert_eq!((drops.of(DropReason::ShutdownDeadline), drops.total()), (0, 0));
/// assert_eq!(drops.by_reason().count(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Records lost for one reason.
    ///
    /// ```
    /// use obs_core::DropReason;
    /// assert_eq!(obs_persist::Drops::default().of(DropReason::Abandoned), 0);
    /// ```
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.iter().find_map(|(at, count)| (at == reason).then_some(count)).unwrap_or(0)
    }

    /// Records lost for any reason.
    ///
    /// ```
    /// assert_eq!(obs_persist::Drops::default().total(), 0);
    /// ```
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons for which records were lost, with their counts.
    ///
    /// ```
    /// for (reason, count) in obs_persist::Drops::default().by_reason() {
    ///     println!("{count} lost: {reason}");
    /// }
    /// ```
    pub fn by_reason(&self) -> impl Iterator<Item = (DropReason, u64)> {
        self.iter().filter(|(_, count)| *count > 0)
    }

    pub(crate) fn add(&mut self, reason: DropReason) {
        for (at, count) in DropReason::ALL.iter().zip(&mut self.0) {
            *count += u64::from(*at == reason);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.0)
    }
}

impl fmt::Display for FlushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, [self.persisted, self.quarantined, self.spooled, self.left], self.dropped)
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, [self.persisted, self.quarantined, self.spooled, self.left], self.dropped)
    }
}

/// Nothing is said of a quarantine or a spool that got nothing.
fn line(f: &mut fmt::Formatter<'_>, counts: [u64; 4], dropped: Drops) -> fmt::Result {
    let [persisted, quarantined, spooled, left] = counts;
    write!(f, "{persisted} persisted, ")?;
    if quarantined > 0 {
        write!(f, "{quarantined} quarantined, ")?;
    }
    if spooled > 0 {
        write!(f, "{spooled} spooled, ")?;
    }
    write!(f, "{dropped} dropped, {left} left")
}

impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total())?;
        for (at, (reason, count)) in self.by_reason().enumerate() {
            write!(f, "{}{count} {reason}", if at == 0 { " (" } else { ", " })?;
        }
        f.write_str(if self.total() > 0 { ")" } else { "" })
    }
}

impl From<Answer> for FlushReport {
    fn from(answer: Answer) -> Self {
        let Answer { persisted, quarantined, spooled, dropped, left, complete } = answer;
        Self { persisted, quarantined, spooled, dropped, left, complete }
    }
}

impl From<Answer> for ShutdownReport {
    fn from(answer: Answer) -> Self {
        let Answer { persisted, quarantined, spooled, dropped, left, complete } = answer;
        Self { persisted, quarantined, spooled, dropped, left, complete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_counted_and_shown_by_reason() {
        let mut drops = Drops::default();
        drops.add(DropReason::ShutdownDeadline);
        drops.add(DropReason::ShutdownDeadline);
        drops.add(DropReason::Abandoned);
        assert_eq!(drops.of(DropReason::ShutdownDeadline), 2);
        assert_eq!(drops.of(DropReason::QueueFull), 0);
        assert_eq!(drops.total(), 3);
        assert_eq!(drops.to_string(), "3 (2 shutdown_deadline, 1 abandoned)");
        let mut report =
            FlushReport { persisted: 1, dropped: drops, left: 4, ..FlushReport::default() };
        assert_eq!(
            report.to_string(),
            "1 persisted, 3 (2 shutdown_deadline, 1 abandoned) dropped, 4 left"
        );
        (report.quarantined, report.dropped) = (2, Drops::default());
        assert_eq!(report.to_string(), "1 persisted, 2 quarantined, 0 dropped, 4 left");
        (report.quarantined, report.spooled) = (0, 7);
        assert_eq!(report.to_string(), "1 persisted, 7 spooled, 0 dropped, 4 left");
    }
}
