//! A gauge that is read when metrics are collected, by a callback that may fail.
//!
//! A callback that panics inside OpenTelemetry's collection ends every later one, too. So nothing leaves
//! the callback but what it read.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use obs_core::Escaped;
use opentelemetry::{KeyValue, metrics::Counter};

use super::pairs;

/// One look gives at most so many readings; it is also OpenTelemetry's default of an instrument's series.
pub const READINGS_MAX: usize = 2_000;

/// A gauge that is read for as long as this lives. Made by
/// [`Instruments::gauge`](super::Instruments::gauge).
///
/// ```
/// struct Queue {
///     length: obs::instruments::Gauge,
/// }
/// ```
#[must_use = "dropping it ends the gauge"]
pub struct Gauge {
    // Collections hold it weakly: OpenTelemetry cannot forget a callback.
    _look: Arc<dyn Fn(Put<'_>) + Send + Sync>,
    name: Arc<str>,
}

/// What a look at a gauge saw.
///
/// ```
/// fn look(readings: &mut obs::instruments::Readings) {
///     readings.add(17.0, [("queue", "orders")]);
/// }
/// ```
#[derive(Debug, Default)]
pub struct Readings {
    seen: Vec<(f64, Arc<[KeyValue]>)>,
    too_many: bool,
}

/// Where readings go.
type Put<'a> = &'a dyn Fn(f64, &[KeyValue]);

impl Readings {
    /// One value. Two of the same attributes are one series, the later one wins. More than
    /// [`READINGS_MAX`] are a failure.
    ///
    /// ```
    /// fn look(readings: &mut obs::instruments::Readings) {
    ///     readings.add(0.5, []);
    /// }
    /// ```
    pub fn add<'a>(
        &mut self,
        value: f64,
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        if self.seen.len() < READINGS_MAX {
            self.seen.push((value, pairs(attributes)));
        } else {
            self.too_many = true;
        }
    }
}

/// The gauge, and what OpenTelemetry calls.
pub(super) fn pair<E: fmt::Display>(
    name: &str,
    failures: &Counter<u64>,
    look: impl Fn(&mut Readings) -> Result<(), E> + Send + Sync + 'static,
) -> (Gauge, impl Fn(Put<'_>) + Send + Sync + 'static) {
    let name: Arc<str> = name.into();
    let notes = Notes {
        name: Arc::clone(&name),
        failures: failures.clone(),
        own: pairs([("instrument", &*name)]),
        failing: AtomicBool::new(false),
    };
    notes.failures.add(0, &notes.own);
    let look: Arc<dyn Fn(Put<'_>) + Send + Sync> = Arc::new(move |put: Put<'_>| {
        let seen = seen(&look);
        notes.note(seen.as_ref().err());
        for (value, attributes) in seen.unwrap_or_default() {
            put(value, &attributes);
        }
    });
    let weak: Weak<dyn Fn(Put<'_>) + Send + Sync> = Arc::downgrade(&look);
    let observe = move |put: Put<'_>| {
        if let Some(look) = weak.upgrade() {
            look(put);
        }
    };
    (Gauge { _look: look, name }, observe)
}

type Seen = Vec<(f64, Arc<[KeyValue]>)>;

/// Calls the callback; all that it read, or why that is not to be had.
fn seen<E: fmt::Display>(
    look: &(impl Fn(&mut Readings) -> Result<(), E> + Send + Sync),
) -> Result<Seen, String> {
    let called = catch_unwind(AssertUnwindSafe(|| {
        let mut readings = Readings::default();
        // Inside, because showing an error is the application's code as well.
        look(&mut readings).map_err(|error| error.to_string())?;
        Ok::<_, String>(readings)
    }));
    let readings = called.unwrap_or_else(|payload| {
        // Dropping what it panicked with may panic again.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        Err("its callback panicked".to_owned())
    })?;
    if readings.too_many {
        return Err(format!("it gave more than {READINGS_MAX} readings"));
    }
    Ok(readings.seen)
}

/// Counts every failure, logs the first of a row.
struct Notes {
    name: Arc<str>,
    failures: Counter<u64>,
    own: Arc<[KeyValue]>,
    failing: AtomicBool,
}

impl Notes {
    fn note(&self, failure: Option<&String>) {
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(why) => {
                self.failures.add(1, &self.own);
                if !was_failing {
                    let why = Escaped(why);
                    tracing::warn!(target: "obs", "the gauge {} cannot be read: {why}", self.name);
                }
            }
            None if was_failing => {
                tracing::info!(target: "obs", "the gauge {} can be read again", self.name);
            }
            None => {}
        }
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge").field("name", &self.name).finish_non_exhaustive()
    }
}
