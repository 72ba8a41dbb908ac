//! The one module whose signatures name OpenTelemetry's types, which are below 1.0 and change
//! from release to release.
//!
//! ```
//! use obs::Environment;
//! use obs::otel::opentelemetry::{KeyValue, metrics::MeterProvider as _};
//!
//! let telemetry = obs::builder().environment(Environment::empty()).rows(false).snapshots(true).init()?;
//! let meter = obs::otel::meter_provider(&telemetry).meter("my-service");
//! let carts = meter.u64_counter("cart.checkouts").build();
//! carts.add(1, &[KeyValue::new("country", "at")]);
//!
//! let snapshot = telemetry.snapshot()?;
//! assert!(snapshot.metric("cart.checkouts").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use obs_core::otel::{Metrics, MetricsOptions};
pub use opentelemetry;
pub use opentelemetry_sdk::metrics::SdkMeterProvider;

use crate::telemetry::Telemetry;

/// The provider of this process' metrics, for the application's own instruments: they travel with
/// ours, to the same exporter.
///
/// ```
/// # use obs::Environment;
/// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
/// let provider = obs::otel::meter_provider(&telemetry).clone();
/// # let _ = provider;
/// # Ok::<(), obs::InitError>(())
/// ```
#[must_use]
pub const fn meter_provider(telemetry: &Telemetry) -> &SdkMeterProvider {
    telemetry.provider()
}
