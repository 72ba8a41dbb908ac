//! Why log lines do not go where they were meant to.

/// A failure to install log lines.
///
/// ```
/// let telemetry = obs::builder().environment(obs::Environment::empty()).rows(false).init()?;
/// telemetry.install_logs()?;
/// let error = telemetry.install_logs().unwrap_err();
/// assert!(error.to_string().starts_with("this process has a subscriber"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogsError {
    /// Somebody was first, and keeps it.
    #[error(
        "this process has a subscriber of `tracing` already: leave it, and put \
         `obs::for_tracing::layer` beside its layers to have these lines too"
    )]
    Taken,
}
