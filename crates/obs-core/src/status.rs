//! How a run ended, and which of the two classes of record that makes it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a run ended.
///
/// `cancelled` is not a failure: a client that hangs up, or a future that is dropped, says
/// nothing about the strategy. It is still a status of its own, so that it can be seen.
///
/// ```
/// use obs_core::{Class, Status};
///
/// assert!(Status::Timeout.is_failure());
/// assert!(!Status::Cancelled.is_failure());
/// assert_eq!(Status::Cancelled.class(), Class::Ok);
/// assert_eq!(Status::Limit.as_str(), "limit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// The run returned a value.
    Ok,
    /// The run returned an error.
    Error,
    /// The run exceeded its time budget.
    Timeout,
    /// The run exceeded a budget of nodes, depth or size.
    Limit,
    /// The guard or the future was dropped without an end.
    Cancelled,
    /// The run unwound.
    Panicked,
    /// The process died with the run inside.
    Lost,
}

impl Status {
    /// Every status, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Error,
        Self::Timeout,
        Self::Limit,
        Self::Cancelled,
        Self::Panicked,
        Self::Lost,
    ];

    /// The word used in metrics, rows and configuration.
    ///
    /// ```
    /// assert_eq!(obs_core::Status::Ok.as_str(), "ok");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
            Self::Lost => "lost",
        }
    }

    /// True for every status but `ok` and `cancelled`.
    ///
    /// ```
    /// assert!(obs_core::Status::Panicked.is_failure());
    /// ```
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Ok | Self::Cancelled)
    }

    /// The class of the record that a run with this status becomes.
    ///
    /// ```
    /// use obs_core::{Class, Status};
    /// assert_eq!(Status::Error.class(), Class::Error);
    /// ```
    #[must_use]
    pub const fn class(self) -> Class {
        if self.is_failure() { Class::Error } else { Class::Ok }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The two classes of record: failures have room, and later a spool, of their own.
///
/// ```
/// assert_eq!(obs_core::Class::Error.as_str(), "error");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Records of runs that ended `ok` or `cancelled`.
    Ok,
    /// Records of failed runs.
    Error,
}

impl Class {
    /// Both classes.
    pub const ALL: [Self; 2] = [Self::Ok, Self::Error];

    /// The word used in metrics and in the ledger.
    ///
    /// ```
    /// assert_eq!(obs_core::Class::Ok.as_str(), "ok");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a record was lost. A closed list: whoever drops a record names one of these.
///
/// ```
/// assert_eq!(obs_core::DropReason::QueueFull.as_str(), "queue_full");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// The lane of the record's class had no room.
    QueueFull,
    /// The spool's budget was used up.
    SpoolFull,
    /// The spool could not be written.
    SpoolIo,
    /// The record alone is larger than its lane.
    TooLarge,
    /// The record could not be encoded.
    Encode,
    /// The worker's deadline passed before the record was written.
    ShutdownDeadline,
    /// The record came after shutdown.
    Closed,
    /// Rows are switched off.
    Disabled,
    /// The record was made in a forked child.
    Forked,
    /// Whoever held the record let go of it without a word, e.g. a worker that panicked.
    Abandoned,
    /// The process died with the record in memory.
    Crash,
}

impl DropReason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 11] = [
        Self::QueueFull,
        Self::SpoolFull,
        Self::SpoolIo,
        Self::TooLarge,
        Self::Encode,
        Self::ShutdownDeadline,
        Self::Closed,
        Self::Disabled,
        Self::Forked,
        Self::Abandoned,
        Self::Crash,
    ];

    /// The word used in metrics and in the ledger.
    ///
    /// ```
    /// assert_eq!(obs_core::DropReason::Closed.as_str(), "closed");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::SpoolIo => "spool_io",
            Self::TooLarge => "too_large",
            Self::Encode => "encode",
            Self::ShutdownDeadline => "shutdown_deadline",
            Self::Closed => "closed",
            Self::Disabled => "disabled",
            Self::Forked => "forked",
            Self::Abandoned => "abandoned",
            Self::Crash => "crash",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_in_the_order_of_its_discriminants() {
        for (at, status) in Status::ALL.iter().enumerate() {
            assert_eq!(status.index(), at, "{status}");
        }
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), at, "{reason}");
        }
        for (at, class) in Class::ALL.iter().enumerate() {
            assert_eq!(class.index(), at, "{class}");
        }
    }

    #[test]
    fn words_and_serde_names_are_the_same() {
        for status in Status::ALL {
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{status}\""));
        }
        for reason in DropReason::ALL {
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{reason}\""));
        }
    }
}
