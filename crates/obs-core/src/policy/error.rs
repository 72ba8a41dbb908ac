//! What can be wrong with a policy.

use std::fmt;

use crate::limits::{RULES_MAX, TRACE_ENTRIES_MAX};

/// How much of a bad name a message shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// A policy that cannot be used; the one that was in force still is.
///
/// ```
/// use obs_core::{KeepRule, Obs, Policy};
///
/// let obs = Obs::builder().build()?;
/// let policy = Policy { rules: vec![KeepRule::default()], ..Policy::default() };
/// let error = obs.policy().set(policy).unwrap_err();
/// assert_eq!(error.to_string(), "rules[0] changes nothing: give it a sample_rate or slow, or let it keep_all");
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    rule: Option<usize>,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    TraceEntries {
        value: usize,
    },
    Rules {
        count: usize,
    },
    /// The lock was held at the fork: it never comes free.
    Forked,
    SaysNothing,
    SaysTwo,
    Empty {
        what: &'static str,
    },
    TooLong {
        what: &'static str,
        shown: String,
        bytes: usize,
        max: usize,
    },
}

impl PolicyError {
    /// Which of the rules it is about, from 0.
    ///
    /// ```
    /// # use obs_core::{KeepRule, Obs, Policy};
    /// # let obs = Obs::builder().build()?;
    /// let policy = Policy { rules: vec![KeepRule::default()], ..Policy::default() };
    /// assert_eq!(obs.policy().set(policy).unwrap_err().rule(), Some(0));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub const fn rule(&self) -> Option<usize> {
        self.rule
    }

    /// What is wrong, without the place.
    ///
    /// ```
    /// # use obs_core::{KeepRule, Obs, Policy};
    /// # let obs = Obs::builder().build()?;
    /// let policy = Policy { rules: vec![KeepRule::default()], ..Policy::default() };
    /// assert!(obs.policy().set(policy).unwrap_err().reason().starts_with("changes nothing"));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn reason(&self) -> String {
        self.problem.to_string()
    }

    const fn of(problem: Problem) -> Self {
        Self { rule: None, problem }
    }

    pub(super) const fn trace_entries(value: usize) -> Self {
        Self::of(Problem::TraceEntries { value })
    }

    pub(super) const fn rules(count: usize) -> Self {
        Self::of(Problem::Rules { count })
    }

    pub(super) const fn forked() -> Self {
        Self::of(Problem::Forked)
    }

    pub(super) const fn says_nothing() -> Self {
        Self::of(Problem::SaysNothing)
    }

    pub(super) const fn says_two() -> Self {
        Self::of(Problem::SaysTwo)
    }

    pub(super) const fn empty(what: &'static str) -> Self {
        Self::of(Problem::Empty { what })
    }

    pub(super) fn too_long(what: &'static str, name: &str, max: usize) -> Self {
        let shown = name.chars().take(SHOWN_CHARS_MAX).collect();
        Self::of(Problem::TooLong { what, shown, bytes: name.len(), max })
    }

    pub(super) fn of_rule(self, index: usize) -> Self {
        Self { rule: Some(index), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TraceEntries { value } => write!(
                f,
                "trace entries {value} is more than {TRACE_ENTRIES_MAX}: use 0 (no trace) to {TRACE_ENTRIES_MAX}"
            ),
            Self::Rules { count } => write!(
                f,
                "{count} rules are more than {RULES_MAX}: let one be about a whole kind or realm"
            ),
            Self::Forked => f.write_str(
                "the policy cannot be changed in this forked process, where nobody lets go of its lock: try once more, \
                 or change it before the fork",
            ),
            Self::SaysNothing => {
                f.write_str("changes nothing: give it a sample_rate or slow, or let it keep_all")
            }
            Self::SaysTwo => {
                f.write_str("has a sample_rate and is to keep_all: leave one of them out")
            }
            Self::Empty { what } => write!(
                f,
                "has an empty {what}: name one, or leave it out for a rule about every {what}"
            ),
            Self::TooLong { what, shown, bytes, max } => write!(
                f,
                "has the {what} {shown:?} of {bytes} bytes, and none has more than {max}: name one that exists"
            ),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.rule {
            write!(f, "rules[{index}] ")?;
        }
        fmt::Display::fmt(&self.problem, f)
    }
}

impl std::error::Error for PolicyError {}
