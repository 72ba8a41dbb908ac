//! A counter whose attributes are prepared once.

use std::{fmt, sync::Arc};

use opentelemetry::{KeyValue, metrics::Counter as OtelCounter};

use super::pairs;

/// A sum that only grows, of one set of attributes. Made by
/// [`Instruments::counter`](super::Instruments::counter); cheap to clone.
///
/// ```
/// fn sold(sales: &obs::instruments::Counter, country: &str) {
///     sales.with([("country", country)]).add(1);
/// }
/// ```
#[derive(Clone)]
pub struct Counter {
    counter: OtelCounter<u64>,
    attributes: Arc<[KeyValue]>,
}

impl Counter {
    pub(super) fn new(counter: OtelCounter<u64>) -> Self {
        Self { counter, attributes: Arc::default() }
    }

    /// The same counter with these attributes, and no others. Keep it where the values are known
    /// beforehand: adding to it allocates nothing.
    ///
    /// ```
    /// fn per_country(sales: &obs::instruments::Counter) -> obs::instruments::Counter {
    ///     sales.with([("country", "at")])
    /// }
    /// ```
    #[must_use]
    pub fn with<'a>(&self, attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self { counter: self.counter.clone(), attributes: pairs(attributes) }
    }

    /// Adds; 0 makes the series visible before its first event.
    ///
    /// ```
    /// fn sold(sales: &obs::instruments::Counter) {
    ///     sales.add(1);
    /// }
    /// ```
    pub fn add(&self, count: u64) {
        self.counter.add(count, &self.attributes);
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}
