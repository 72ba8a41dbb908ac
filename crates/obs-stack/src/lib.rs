//! The registry of everything obs emits, and what is made from it: Rust constants, a table for people, Prometheus rules and
//! Grafana dashboards.
//!
//! ```
//! use obs_stack::Registry;
//!
//! let registry = Registry::read(&obs_stack::root())?;
//! let duration = registry.metric("obs.run.duration").ok_or("no such metric")?;
//! assert_eq!(duration.prometheus_name(), "obs_run_duration_seconds");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod generate;
mod registry;

use std::path::{Path, PathBuf};

pub use error::RegistryError;
pub use generate::{File, OUTPUTS, generate};
pub use registry::{
    Attribute, Event, Instrument, Metric, Reference, Registry, Requirement, Span, Stability,
};

/// The root of the repository.
///
/// ```
/// assert!(obs_stack::root().join("registry").is_dir());
/// ```
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or_else(|| Path::new("."))
        .to_owned()
}
