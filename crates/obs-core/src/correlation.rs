//! The correlation id of whatever is going on, e.g. a request: it travels in OpenTelemetry's context,
//! and runs that start inside carry it.

use std::{fmt, sync::Arc};

/// An id that ties runs, records and log lines of one request together. It is text from outside: for
/// people who search, never a key that decides anything.
///
/// ```
/// use obs_core::CorrelationId;
/// assert_eq!(CorrelationId::new("4b0c1f").as_str(), "4b0c1f");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// Takes the id as it is; a row keeps its first 256 bytes.
    ///
    /// ```
    /// let id = obs_core::CorrelationId::new("4b0c1f");
    /// assert_eq!(id.to_string(), "4b0c1f");
    /// ```
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The id.
    ///
    /// ```
    /// assert_eq!(obs_core::CorrelationId::new("4b0c1f").as_str(), "4b0c1f");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
