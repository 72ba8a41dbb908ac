//! Log lines for a program that has a subscriber of `tracing` already. This module names types of
//! `tracing-subscriber`, which is below 1.0; nothing else does.
//!
//! ```
//! use obs::Environment;
//! use tracing_subscriber::layer::SubscriberExt as _;
//!
//! let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
//! let subscriber = tracing_subscriber::registry().with(obs::for_tracing::layer(&telemetry));
//! tracing::subscriber::with_default(subscriber, || {
//!     tracing::info!(user = 7, "a line of the program");
//! });
//! # Ok::<(), obs::InitError>(())
//! ```

use tracing_subscriber::{Layer, registry::LookupSpan};

use crate::telemetry::Telemetry;

/// A layer that makes lines of events, with the level and the format of the configuration: `OBS_LOG`, else
/// `RUST_LOG`, and `OBS_LOG_FORMAT`. Other layers see all events that they want to.
///
/// ```
/// # use tracing_subscriber::{Layer, registry::LookupSpan};
/// # fn layer<S>(telemetry: &obs::Telemetry) -> impl Layer<S> + use<S>
/// # where S: tracing::Subscriber + for<'a> LookupSpan<'a> {
/// obs::for_tracing::layer(telemetry)
/// # }
/// ```
pub fn layer<S>(telemetry: &Telemetry) -> impl Layer<S> + Send + Sync + use<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    telemetry.logs().layer()
}
