//! In place of reports to Sentry, where the feature `sentry` is off: an error that says so.

use obs_core::RunRecord;

use crate::{batch::Batches, config::SentrySettings, kept::Hears};

/// Why nothing is reported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SentryError {
    #[error(
        "OBS_SENTRY_DSN: this program cannot report errors to Sentry: build it with the feature `sentry` of `obs`, \
         or unset it"
    )]
    Absent,
}

/// There are none.
#[derive(Debug)]
pub(crate) enum Reports {}

impl Hears for Reports {
    fn kept(&self, _record: &RunRecord) {
        match *self {}
    }
}

pub(crate) const fn start(_settings: &SentrySettings) -> Result<(Reports, Batches), SentryError> {
    Err(SentryError::Absent)
}
