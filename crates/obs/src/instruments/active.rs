//! An up-down counter that cannot be left up: what counts up is a guard, and its drop counts down.

use std::{fmt, sync::Arc};

use opentelemetry::{KeyValue, metrics::UpDownCounter};

use super::pairs;

/// How many of something there are, of one set of attributes. Made by
/// [`Instruments::active`](super::Instruments::active); cheap to clone.
///
/// ```
/// fn handle(open: &obs::instruments::ActiveCounter) {
///     let _cart = open.with([("country", "at")]).enter();
///     // … and whatever happens here, it counts down at the end.
/// }
/// ```
#[derive(Clone)]
pub struct ActiveCounter {
    counter: UpDownCounter<i64>,
    attributes: Arc<[KeyValue]>,
}

/// One of them. Dropping it counts down, once, with the attributes that it counted up with: also when the
/// thread unwinds or a future is cancelled.
///
/// ```
/// fn hand_over(cart: obs::instruments::Active) {
///     std::thread::spawn(move || drop(cart));
/// }
/// ```
#[must_use = "dropping it counts down at once"]
pub struct Active {
    counter: UpDownCounter<i64>,
    attributes: Arc<[KeyValue]>,
}

impl ActiveCounter {
    pub(super) fn new(counter: UpDownCounter<i64>) -> Self {
        Self { counter, attributes: Arc::default() }
    }

    /// The same counter with these attributes, and no others.
    ///
    /// ```
    /// fn per_country(open: &obs::instruments::ActiveCounter) -> obs::instruments::ActiveCounter {
    ///     open.with([("country", "at")])
    /// }
    /// ```
    #[must_use]
    pub fn with<'a>(&self, attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self { counter: self.counter.clone(), attributes: pairs(attributes) }
    }

    /// One more, until the guard is dropped.
    ///
    /// ```
    /// fn handle(open: &obs::instruments::ActiveCounter) {
    ///     let _cart = open.enter();
    /// }
    /// ```
    pub fn enter(&self) -> Active {
        self.counter.add(1, &self.attributes);
        Active { counter: self.counter.clone(), attributes: Arc::clone(&self.attributes) }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.counter.add(-1, &self.attributes);
    }
}

impl fmt::Debug for ActiveCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveCounter")
            .field("attributes", &self.attributes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Active").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}
