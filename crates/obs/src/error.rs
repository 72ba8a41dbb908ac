//! Why telemetry could not be set up.

use std::time::Duration;

use obs_core::BuildError;

use crate::{config::ConfigError, logs::LogsError};

/// A failure of [`init`](crate::init).
///
/// A store or a Collector that cannot be reached is not among them: `init` starts degraded and
/// goes on trying, unless `OBS_STORE_REQUIRED=true`.
///
/// ```
/// use obs::{Environment, InitError};
///
/// let environment = Environment::from_iter([("OTEL_METRICS_EXPORTER", "carrier-pigeon")]);
/// let error = obs::builder().environment(environment).init().unwrap_err();
/// assert!(matches!(error, InitError::Config(_)));
/// assert_eq!(
///     error.to_string(),
///     "OTEL_METRICS_EXPORTER=\"carrier-pigeon\": there is no such exporter: use otlp, prometheus, console or none"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A setting has a value that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store is required, and did not answer in time or refused.
    #[error(
        "the store {url} is required and not ready after {waited:?}: {reason}; \
         check it, or unset OBS_STORE_REQUIRED to start without it"
    )]
    Store {
        /// The store's address, without a password.
        url: String,
        /// How long `init` waited.
        waited: Duration,
        /// What the store's last attempt said.
        reason: String,
    },
    /// The store's worker could not be started.
    #[error(transparent)]
    Worker(Box<dyn std::error::Error + Send + Sync>),
    /// The exporter could not be set up: certificates, or a thread.
    #[error(transparent)]
    Export(Box<dyn std::error::Error + Send + Sync>),
    /// Log lines were to be installed, and somebody else's are.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// A value that `obs-core` refuses.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The operating system gives no random numbers, which ids need.
    #[error("the operating system gives no random numbers, which ids are made of: {0}")]
    Entropy(String),
}
