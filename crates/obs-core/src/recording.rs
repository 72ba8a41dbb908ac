//! How much of a run leaves a mark.

/// How much of a run is recorded.
///
/// ```
/// use obs_core::{Obs, Recording};
/// let obs = Obs::builder().recording(Recording::MetricsOnly).build()?;
/// # let _ = obs;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Recording {
    /// Nothing at all: a dry run leaves no mark.
    Nothing,
    /// Metrics; records that would have been kept are counted as `disabled`.
    MetricsOnly,
    /// Metrics, and rows for the runs that matter.
    #[default]
    All,
}

impl Recording {
    /// The lesser of two.
    pub(crate) fn at_most(self, other: Self) -> Self {
        self.min(other)
    }
}
