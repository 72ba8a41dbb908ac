//! What was measured, for whoever shows it.

use super::Obs;
use crate::{durations::Durations, exemplar::Exemplars};

impl Obs {
    /// How long the runs of this process took, by series and status, for quantiles to 1 %. Nothing where
    /// runs are not measured in cells ([`Measure`](crate::otel::Measure)).
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// for durations in obs.durations() {
    ///     println!("{:?} {:?}", durations.labels, durations.quantile(0.99));
    /// }
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn durations(&self) -> Vec<Durations> {
        self.0.core.recorder.durations()
    }

    /// The last kept run of each bucket of the duration histograms, where
    /// [`MetricsOptions::exemplars`](crate::otel::MetricsOptions::exemplars) is on. A run is here once its
    /// record was taken, and was measured before.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// for series in obs.exemplars() {
    ///     println!("{} {:?}: {:?}", series.metric, series.labels, series.exemplars);
    /// }
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn exemplars(&self) -> Vec<Exemplars> {
        self.0.core.recorder.exemplars()
    }
}
