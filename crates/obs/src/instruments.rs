//! The application's own instruments, on the provider that ours are on: they leave by the same exporters,
//! with the same resource.
//!
//! OpenTelemetry turns an instrument with a wrong name into one that does nothing, and gives two of one
//! name to whoever asks twice in different words; both show nowhere. Here both are errors.

mod active;
mod counter;
mod gauge;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    metrics::{Counter as OtelCounter, Meter, MeterProvider as _},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use crate::provider;

pub use active::{Active, ActiveCounter};
pub use counter::Counter;
pub use gauge::{Gauge, READINGS_MAX, Readings};

/// How many instruments an application may have: the SDK sets memory aside for each.
pub const INSTRUMENTS_MAX: usize = 1_000;
/// OpenTelemetry's limit of an instrument's name.
pub const INSTRUMENT_NAME_BYTES_MAX: usize = 255;
/// OpenTelemetry's limit of a unit.
pub const UNIT_BYTES_MAX: usize = 63;
/// What begins like this is ours.
const RESERVED: &str = "obs.";

/// Makes instruments of one part of the application. Cheap to clone.
///
/// ```
/// # use obs::Environment;
/// let telemetry = obs::builder().environment(Environment::empty()).rows(false).snapshots(true).init()?;
/// let shop = telemetry.instruments("shop");
///
/// let checkouts = shop.counter("cart.checkouts", "{checkout}", "Carts that were paid")?;
/// checkouts.with([("country", "at")]).add(1);
///
/// let open = shop.active("cart.open", "{cart}", "Carts in use")?;
/// let cart = open.enter();
/// assert_eq!(telemetry.snapshot()?.metric("cart.open").map(|it| it.series.len()), Some(1));
/// drop(cart);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Instruments {
    meter: Meter,
    book: Arc<Book>,
}

/// Why there is no such instrument.
///
/// ```
/// # use obs::Environment;
/// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
/// let error = telemetry.instruments("shop").counter("cart checkouts", "", "").unwrap_err();
/// assert!(error.to_string().starts_with("instrument \"cart checkouts\": "), "{error}");
/// # Ok::<(), obs::InitError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstrumentError {
    /// OpenTelemetry does not take the name.
    #[error(
        "instrument {name:?}: a name begins with a letter and has at most {INSTRUMENT_NAME_BYTES_MAX} letters, \
         digits and _ . - /: write it like `cart.checkouts`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The name could be one of ours.
    #[error(
        "instrument {name:?}: names that begin with `{RESERVED}` are reserved: use a prefix of your own"
    )]
    Reserved {
        /// The name.
        name: String,
    },
    /// OpenTelemetry does not take the unit.
    #[error(
        "instrument {name:?}: the unit {unit:?} is not ASCII of at most {UNIT_BYTES_MAX} bytes: use a UCUM unit, \
         e.g. `s`, `By` or `{{cart}}`"
    )]
    Unit {
        /// The name.
        name: String,
        /// The unit.
        unit: String,
    },
    /// There is another instrument of this name.
    #[error(
        "instrument {name:?} exists as {existing}: use the same type, unit and description, or another name"
    )]
    Conflict {
        /// The name.
        name: String,
        /// What there is.
        existing: String,
    },
    /// The application has too many instruments.
    #[error(
        "instrument {name:?} would be one more than {INSTRUMENTS_MAX}: use attributes to tell series apart, not names"
    )]
    TooMany {
        /// The name.
        name: String,
    },
}

impl Instruments {
    pub(crate) fn new(book: &Arc<Book>, scope: &'static str) -> Self {
        let scope = InstrumentationScope::builder(scope).build();
        Self { meter: book.provider.meter_with_scope(scope), book: Arc::clone(book) }
    }

    /// A sum that only grows.
    ///
    /// # Errors
    /// When OpenTelemetry would not take the name or unit, or the name is taken.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let checkouts = telemetry.instruments("shop").counter("cart.checkouts", "{checkout}", "Carts paid")?;
    /// checkouts.add(1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn counter(
        &self,
        name: &str,
        unit: &str,
        description: &str,
    ) -> Result<Counter, InstrumentError> {
        self.book.admit(name, Made::new("a counter", unit, description))?;
        let (name, unit) = (name.to_owned(), unit.to_owned());
        let builder = self.meter.u64_counter(name).with_unit(unit);
        Ok(Counter::new(builder.with_description(description.to_owned()).build()))
    }

    /// How many of something there are: up when one begins, down when its guard is dropped.
    ///
    /// # Errors
    /// When OpenTelemetry would not take the name or unit, or the name is taken.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let open = telemetry.instruments("shop").active("cart.open", "{cart}", "Carts in use")?;
    /// let cart = open.enter();
    /// drop(cart);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn active(
        &self,
        name: &str,
        unit: &str,
        description: &str,
    ) -> Result<ActiveCounter, InstrumentError> {
        self.book.admit(name, Made::new("an up-down counter", unit, description))?;
        let (name, unit) = (name.to_owned(), unit.to_owned());
        let builder = self.meter.i64_up_down_counter(name).with_unit(unit);
        Ok(ActiveCounter::new(builder.with_description(description.to_owned()).build()))
    }

    /// A level that is looked at when metrics are collected. `look` may run on several threads at once,
    /// never inside a run; it should not wait. When it fails or panics, this gauge has no value in that
    /// collection, everything else has; `obs.instrument.failures` counts it. It must not make instruments.
    ///
    /// # Errors
    /// When OpenTelemetry would not take the name or unit, or the name is taken.
    ///
    /// ```
    /// # use obs::Environment;
    /// # let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
    /// let shop = telemetry.instruments("shop");
    /// let load = shop.gauge("shop.load", "1", "What a minute asks of one core", |readings| {
    ///     let text = std::fs::read_to_string("/proc/loadavg").map_err(|error| error.to_string())?;
    ///     let load = text.split(' ').next().unwrap_or_default();
    ///     readings.add(load.parse().map_err(|_| format!("{load:?} is no number"))?, []);
    ///     Ok::<_, String>(())
    /// })?;
    /// # drop(load);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gauge<E: fmt::Display>(
        &self,
        name: &str,
        unit: &str,
        description: &str,
        look: impl Fn(&mut Readings) -> Result<(), E> + Send + Sync + 'static,
    ) -> Result<Gauge, InstrumentError> {
        self.book.admit(name, Made::new("a gauge", unit, description))?;
        let (gauge, observe) = gauge::pair(name, &self.book.failures, look);
        let (name, unit) = (name.to_owned(), unit.to_owned());
        let builder = self.meter.f64_observable_gauge(name).with_unit(unit);
        builder
            .with_description(description.to_owned())
            .with_callback(move |observer| observe(&|value, own| observer.observe(value, own)))
            .build();
        Ok(gauge)
    }
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruments").finish_non_exhaustive()
    }
}

/// The names that are taken, and where failures of callbacks are counted.
pub(crate) struct Book {
    provider: SdkMeterProvider,
    names: Mutex<BTreeMap<String, Made>>,
    /// Made beforehand: a callback that makes an instrument waits for itself.
    failures: OtelCounter<u64>,
}

/// What an instrument is, besides its name.
#[derive(Clone, PartialEq, Eq)]
struct Made {
    kind: &'static str,
    unit: String,
    description: String,
}

impl Made {
    fn new(kind: &'static str, unit: &str, description: &str) -> Self {
        Self { kind, unit: unit.to_owned(), description: description.to_owned() }
    }
}

impl Book {
    pub(crate) fn new(provider: &SdkMeterProvider) -> Arc<Self> {
        let failures = provider::meter(provider)
            .u64_counter("obs.instrument.failures")
            .with_unit("{failure}")
            .with_description("Gauges of the application that could not be read")
            .build();
        Arc::new(Self { provider: provider.clone(), names: Mutex::default(), failures })
    }

    fn admit(&self, name: &str, made: Made) -> Result<(), InstrumentError> {
        let owned = || name.to_owned();
        if !is_name(name) {
            return Err(InstrumentError::Name { name: owned() });
        }
        if name.to_ascii_lowercase().starts_with(RESERVED) {
            return Err(InstrumentError::Reserved { name: owned() });
        }
        if !made.unit.is_ascii() || made.unit.len() > UNIT_BYTES_MAX {
            return Err(InstrumentError::Unit { name: owned(), unit: made.unit });
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = names.len() >= INSTRUMENTS_MAX;
        // OpenTelemetry's names are the same in any case.
        match names.entry(name.to_ascii_lowercase()) {
            Entry::Occupied(known) if *known.get() == made => Ok(()),
            Entry::Occupied(known) => {
                let Made { kind, unit, description } = known.get();
                let existing = format!("{kind} in {unit:?}, {description:?}");
                Err(InstrumentError::Conflict { name: owned(), existing })
            }
            Entry::Vacant(_) if is_full => Err(InstrumentError::TooMany { name: owned() }),
            Entry::Vacant(free) => {
                free.insert(made);
                Ok(())
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    name.len() <= INSTRUMENT_NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(may)
}

/// Attributes as OpenTelemetry has them.
fn pairs<'a>(attributes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<[KeyValue]> {
    let pair = |(key, value): (&str, &str)| KeyValue::new(key.to_owned(), value.to_owned());
    attributes.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests;
