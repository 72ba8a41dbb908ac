//! The one module of this crate that names OpenTelemetry's types: an OpenTelemetry user expects to
//! hand us a `Meter`.
//!
//! ```
//! use obs_core::{Obs, otel::{Metrics, MetricsOptions}};
//! use opentelemetry::metrics::MeterProvider as _;
//! use opentelemetry_sdk::metrics::SdkMeterProvider;
//!
//! let provider = SdkMeterProvider::builder().build();
//! let metrics = Metrics::new(&provider.meter("my-service"), MetricsOptions::default())?;
//! let obs = Obs::builder().metrics(metrics).build()?;
//! # let _ = obs;
//! # Ok::<(), obs_core::BuildError>(())
//! ```

use std::{sync::Arc, time::Duration};

/// OpenTelemetry's own.
pub use opentelemetry::Context;
use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};

use super::{Recorder, instruments::Calls, registry::Registry};
use crate::{
    clock::Clock,
    correlation::CorrelationId,
    error::BuildError,
    keep::SLO_DEFAULT,
    registry::{Metric, attribute, metric},
    store_metrics::{StoreMetrics, WriteRecorder},
};

/// Bounds of the duration histogram, in seconds, before the SLOs are put in.
pub(super) const DURATION_BOUNDS: &[f64] = metric::OBS_RUN_DURATION.bounds;
/// A histogram has at most this many bounds before the SLOs are put in: each is a bucket per series,
/// status and thread.
const BOUNDS_MAX: usize = 100;
/// As many SLOs again, so that the number of a bucket fits into a byte.
const SLOS_MAX: usize = 100;
const _: () = assert!(BOUNDS_MAX + SLOS_MAX < u8::MAX as usize);

/// The metrics of one `Obs`, on a meter that the caller chose.
///
/// ```
/// use obs_core::otel::{Metrics, MetricsOptions};
/// use opentelemetry::{InstrumentationScope, metrics::{Meter, noop::NoopMeterProvider, MeterProvider}};
///
/// let meter = NoopMeterProvider::new().meter("service");
/// let metrics = Metrics::new(&meter, MetricsOptions::default())?;
/// # let _ = metrics;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Metrics {
    recorder: Arc<dyn Recorder>,
    meter: Meter,
    duration_bounds: Vec<f64>,
}

/// How an `Obs` measures.
///
/// ```
/// use obs_core::otel::MetricsOptions;
/// use std::time::Duration;
/// let options = MetricsOptions { slos: vec![Duration::from_millis(180)], ..MetricsOptions::default() };
/// assert!(!options.bound);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsOptions {
    /// Measure through bound instruments, at a sixth of the cost. Only for an SDK that was built
    /// with `experimental_metrics_bound_instruments`: any other swallows the measurements
    /// silently. Default: no.
    pub bound: bool,
    /// Durations that must be bounds of the histogram, because quantiles are interpolated inside
    /// buckets: the SLOs of the process. At most 100 that are no bounds yet, each above 0. Default: 0.25 s.
    pub slos: Vec<Duration>,
    /// Bounds of the duration histogram, in seconds, to which the SLOs are added: 1 to 100 numbers above
    /// 0, in ascending order. Default: 21 bounds from 0.0001 to 10.
    pub bounds: Vec<f64>,
    /// When the instruments are called. Default: before each collection.
    pub measure: Measure,
    /// Whether each bucket of a series remembers its last kept run
    /// ([`Obs::exemplars`](crate::Obs::exemplars)): 100 bytes for each that has one. Default: no.
    pub exemplars: bool,
}

/// When OpenTelemetry's instruments are called.
///
/// ```
/// use obs_core::otel::{Measure, MetricsOptions};
/// let options = MetricsOptions { measure: Measure::EachRun, ..MetricsOptions::default() };
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// At the end of each run.
    EachRun,
    /// Before each collection, from cells that every thread has for itself. Counts and explicit
    /// buckets are exact, sums to 1e-11; a view that changes the buckets, or makes the histogram
    /// exponential, sees the means of our buckets. The minimum and maximum are exact over the life of
    /// the process, so with delta temporality those of an interval are means as well.
    #[default]
    InCells,
}

impl Default for MetricsOptions {
    fn default() -> Self {
        Self {
            bound: false,
            slos: vec![SLO_DEFAULT],
            bounds: DURATION_BOUNDS.to_vec(),
            measure: Measure::default(),
            exemplars: false,
        }
    }
}

impl Metrics {
    /// Creates the instruments that do not depend on a kind.
    ///
    /// # Errors
    /// When an SLO is zero, or there are too many, or the bounds are none, too many, not ascending or not above 0.
    ///
    /// ```
    /// use obs_core::otel::{Metrics, MetricsOptions};
    /// use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    /// use std::time::Duration;
    ///
    /// let meter = NoopMeterProvider::new().meter("service");
    /// let options = MetricsOptions { slos: vec![Duration::ZERO], ..MetricsOptions::default() };
    /// assert!(Metrics::new(&meter, options).is_err());
    /// ```
    pub fn new(meter: &Meter, options: MetricsOptions) -> Result<Self, BuildError> {
        let duration_bounds = duration_bounds(&options.bounds, &options.slos)?;
        let calls = if options.bound { Calls::Bound } else { Calls::Prebuilt };
        let recorder =
            Arc::new(Registry::new(meter.clone(), calls, &options, duration_bounds.clone()));
        Ok(Self { recorder, meter: meter.clone(), duration_bounds })
    }

    /// The handle through which a store's worker reports on itself; creates `obs.store.*`.
    ///
    /// ```
    /// # use obs_core::otel::{Metrics, MetricsOptions};
    /// # use opentelemetry::metrics::{MeterProvider, noop::NoopMeterProvider};
    /// # let meter = NoopMeterProvider::new().meter("service");
    /// let store = Metrics::new(&meter, MetricsOptions::default())?.store();
    /// assert_eq!(store.state(), obs_core::StoreState::Starting);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn store(&self) -> StoreMetrics {
        let duration = self
            .meter
            .f64_histogram(metric::OBS_STORE_WRITE_DURATION.name)
            .with_unit(metric::OBS_STORE_WRITE_DURATION.unit)
            .with_description(metric::OBS_STORE_WRITE_DURATION.brief)
            .with_boundaries(self.duration_bounds.clone())
            .build();
        let size = self
            .meter
            .u64_histogram(metric::OBS_STORE_BATCH_SIZE.name)
            .with_unit(metric::OBS_STORE_BATCH_SIZE.unit)
            .with_description(metric::OBS_STORE_BATCH_SIZE.brief)
            .with_boundaries(metric::OBS_STORE_BATCH_SIZE.bounds.to_vec())
            .build();
        let store = StoreMetrics::exported(Clock::default(), Box::new(Writes { duration, size }));
        self.watch_store(&store);
        self.watch_spool(&store);
        self.watch_kept(&store);
        store
    }

    /// Nothing is observed before the store was maintained, nor of a store that needs no room made.
    fn watch_kept(&self, store: &StoreMetrics) {
        let at = store.clone();
        self.meter
            .u64_observable_gauge(metric::OBS_STORE_DAYS_AHEAD.name)
            .with_unit(metric::OBS_STORE_DAYS_AHEAD.unit)
            .with_description(metric::OBS_STORE_DAYS_AHEAD.brief)
            .with_callback(move |observer| {
                if let Some(days) = at.days_ahead() {
                    observer.observe(days, &[]);
                }
            })
            .build();
        let at = store.clone();
        self.meter
            .f64_observable_gauge(metric::OBS_STORE_OLDEST_AGE.name)
            .with_unit(metric::OBS_STORE_OLDEST_AGE.unit)
            .with_description(metric::OBS_STORE_OLDEST_AGE.brief)
            .with_callback(move |observer| {
                for (class, age) in at.oldest_ages() {
                    if let Some(age) = age {
                        let class = KeyValue::new(attribute::CLASS, class.as_str());
                        observer.observe(age.as_secs_f64(), &[class]);
                    }
                }
            })
            .build();
    }

    /// Nothing is observed while the store has no spool.
    fn watch_spool(&self, store: &StoreMetrics) {
        type Read = fn(&StoreMetrics) -> Option<u64>;
        let gauges: [(Metric, Read); 2] = [
            (metric::OBS_SPOOL_SIZE, |at| Some(at.spool()?.bytes)),
            (metric::OBS_SPOOL_LIMIT, |at| Some(at.spool()?.limit)),
        ];
        for (gauge, read) in gauges {
            let at = store.clone();
            self.meter
                .u64_observable_gauge(gauge.name)
                .with_unit(gauge.unit)
                .with_description(gauge.brief)
                .with_callback(move |observer| {
                    if let Some(bytes) = read(&at) {
                        observer.observe(bytes, &[]);
                    }
                })
                .build();
        }
        let at = store.clone();
        self.meter
            .f64_observable_gauge(metric::OBS_SPOOL_OLDEST_AGE.name)
            .with_unit(metric::OBS_SPOOL_OLDEST_AGE.unit)
            .with_description(metric::OBS_SPOOL_OLDEST_AGE.brief)
            .with_callback(move |observer| {
                if at.spool().is_some() {
                    let age = at.spool_oldest_age().unwrap_or_default();
                    observer.observe(age.as_secs_f64(), &[]);
                }
            })
            .build();
    }

    fn watch_store(&self, store: &StoreMetrics) {
        let at = store.clone();
        self.meter
            .u64_observable_gauge(metric::OBS_STORE_STATE.name)
            .with_description(metric::OBS_STORE_STATE.brief)
            .with_callback(move |observer| observer.observe(at.state() as u64, &[]))
            .build();
        let at = store.clone();
        self.meter
            .f64_observable_gauge(metric::OBS_STORE_LAST_WRITE_AGE.name)
            .with_unit(metric::OBS_STORE_LAST_WRITE_AGE.unit)
            .with_description(metric::OBS_STORE_LAST_WRITE_AGE.brief)
            .with_callback(move |observer| {
                if let Some(age) = at.last_write_age() {
                    observer.observe(age.as_secs_f64(), &[]);
                }
            })
            .build();
    }

    pub(crate) fn into_recorder(self) -> Arc<dyn Recorder> {
        self.recorder
    }
}

/// `context` with a correlation id: runs that start while it is current carry the id.
///
/// ```
/// use obs_core::{CorrelationId, otel};
/// # use obs_core::testing::TestObs;
/// # let test = TestObs::new();
/// # let bonus = test.obs().kind("dsl").strategy("bonus").version("3").build()?;
/// let context = otel::with_correlation_id(&otel::Context::current(), CorrelationId::new("4b0c1f"));
/// let guard = context.attach();
/// let result: Result<(), String> = bonus.observe(&(), |_run| Ok(()));
/// drop(guard);
/// assert_eq!(test.records()[0].correlation_id.as_deref(), Some("4b0c1f"));
/// # let _ = result;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[must_use]
pub fn with_correlation_id(context: &Context, id: CorrelationId) -> Context {
    context.with_value(id)
}

/// The correlation id of a context.
///
/// ```
/// use obs_core::{CorrelationId, otel};
/// let context = otel::with_correlation_id(&otel::Context::new(), CorrelationId::new("4b0c1f"));
/// assert_eq!(otel::correlation_id(&context), Some(&CorrelationId::new("4b0c1f")));
/// ```
#[must_use]
pub fn correlation_id(context: &Context) -> Option<&CorrelationId> {
    context.get::<CorrelationId>()
}

struct Writes {
    duration: Histogram<f64>,
    size: Histogram<u64>,
}

impl WriteRecorder for Writes {
    fn wrote(&self, ok: bool, records: u64, took: Duration) {
        let outcome = [KeyValue::new(attribute::OUTCOME, if ok { "success" } else { "failure" })];
        self.duration.record(took.as_secs_f64(), &outcome);
        self.size.record(records, &outcome);
    }
}

/// The bounds with the SLOs put in.
fn duration_bounds(bounds: &[f64], slos: &[Duration]) -> Result<Vec<f64>, BuildError> {
    let ascending = bounds.is_sorted_by(|one, next| one < next);
    let above_zero = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
    if !ascending || !above_zero || !(1..=BOUNDS_MAX).contains(&bounds.len()) {
        return Err(BuildError::bounds(bounds));
    }
    let room = bounds.len() + SLOS_MAX;
    let mut bounds = bounds.to_vec();
    for slo in slos.iter().map(Duration::as_secs_f64) {
        if slo <= 0.0 {
            return Err(BuildError::slo(slo));
        }
        let at = bounds.partition_point(|bound| *bound < slo);
        if bounds.get(at) != Some(&slo) {
            if bounds.len() == room {
                return Err(BuildError::slos(slos.len(), SLOS_MAX));
            }
            bounds.insert(at, slo);
        }
    }
    Ok(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_slo_becomes_a_bound_in_its_place_and_only_once() {
        let slos = [Duration::from_millis(180), Duration::from_millis(250)];
        let bounds = duration_bounds(DURATION_BOUNDS, &slos).unwrap();
        assert_eq!(bounds.len(), DURATION_BOUNDS.len() + 1);
        let at = bounds.iter().position(|bound| (bound - 0.18).abs() < 1e-12).unwrap();
        assert_eq!((bounds[at - 1], bounds[at + 1]), (0.15, 0.2));
        assert!(bounds.is_sorted());
    }

    #[test]
    fn an_slo_of_zero_is_an_error_that_says_so() {
        let error = duration_bounds(DURATION_BOUNDS, &[Duration::ZERO]).unwrap_err();
        assert!(error.to_string().starts_with("SLO 0 s"), "{error}");
    }

    #[test]
    fn more_slos_than_a_histogram_has_room_for_are_an_error_that_says_how_many_there_may_be() {
        let slos: Vec<Duration> = (1..=101).map(|ms| Duration::from_micros(ms * 7)).collect();
        let error = duration_bounds(DURATION_BOUNDS, &slos).unwrap_err().to_string();
        assert!(error.starts_with("101 SLOs are more than 100"), "{error}");
        assert!(duration_bounds(DURATION_BOUNDS, &slos[..100]).is_ok());
        let same = [Duration::from_millis(250); 101];
        assert!(duration_bounds(DURATION_BOUNDS, &same).is_ok(), "they are one, and there already");
    }

    #[test]
    fn bounds_that_are_none_too_many_unordered_or_not_above_zero_are_an_error_that_shows_them() {
        let too_many: Vec<f64> = (1..=101).map(f64::from).collect();
        for bad in [&[][..], &[1.0, 1.0], &[2.0, 1.0], &[0.0, 1.0], &[-1.0], &[f64::NAN], &too_many]
        {
            let error = duration_bounds(bad, &[]).unwrap_err().to_string();
            assert!(error.starts_with("bounds ["), "{error}");
        }
        assert_eq!(duration_bounds(&too_many[..100], &[]).unwrap().len(), 100);
    }
}
