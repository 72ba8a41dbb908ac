//! How the policy is doing: what metrics and health say of it. Nothing here is asked by a run.

use std::sync::Mutex;

use super::PolicyError;
use crate::{label::cut, sync::lock_after_fork};

/// How much of why a policy was refused is remembered, in bytes.
const PROBLEM_BYTES_MAX: usize = 1_024;

/// How the policy of an [`Obs`](crate::Obs) is doing.
///
/// ```
/// let obs = obs_core::Obs::builder().build()?;
/// let state = obs.policy().state();
/// assert_eq!((state.changes, state.refused, state.problem), (0, 0, None));
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyState {
    /// How often another policy was put in force: the one in force is the one of the start, and so many changes
    /// after it. A rule that ends is no change.
    pub changes: u64,
    /// How often a policy was refused.
    pub refused: u64,
    /// Why the last one was, at most 1,024 bytes of it, until one is taken.
    pub problem: Option<String>,
}

/// The state where metrics find it, which outlive the `Obs`.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<PolicyState>);

impl Standing {
    /// The state now.
    pub(crate) fn now(&self) -> PolicyState {
        lock_after_fork(&self.0).map(|state| state.clone()).unwrap_or_default()
    }

    /// Notes what became of a policy that was offered.
    pub(super) fn note(&self, offered: &Result<(), PolicyError>) {
        match offered {
            Ok(()) => self.change(|state| {
                state.changes += 1;
                state.problem = None;
            }),
            Err(error) => self.refused(&error.to_string()),
        }
    }

    pub(super) fn refused(&self, problem: &str) {
        self.change(|state| {
            state.refused += 1;
            state.problem = Some(cut(problem, PROBLEM_BYTES_MAX).to_owned());
        });
    }

    pub(super) fn mended(&self) {
        self.change(|state| state.problem = None);
    }

    fn change(&self, change: impl FnOnce(&mut PolicyState)) {
        if let Some(mut state) = lock_after_fork(&self.0) {
            change(&mut state);
        }
    }
}
