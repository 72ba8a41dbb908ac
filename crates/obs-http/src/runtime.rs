//! What a process knows about itself: who it is, how long it runs, what it was asked, what it
//! delivered. Read as one detached value.

mod deliveries;
mod keyed;
mod requests;
mod snapshot;

use std::{
    collections::BTreeMap,
    fmt, fs, process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use obs_core::{Clock, Obs, Tick, Timestamp};
use uuid::Uuid;

pub use deliveries::{DELIVERY_KINDS_MAX, Deliveries, DeliveriesError, Delivery, NAMES_MAX};
pub use keyed::{KEY_BYTES_MAX, KEYS_MAX};
pub use snapshot::{
    ClassCounts, DeliverySnapshot, DeliveryTotals, KeyCounts, ProcessSnapshot, RequestSnapshot,
    RouteCounts, RuntimeSnapshot,
};

pub(crate) use requests::RequestClass;

use deliveries::DeliveryState;
use requests::RequestState;

/// The counters of a process. Cheap to clone; nothing here is global, and nothing is stored.
///
/// What has many values (callers, names) stays here; what has few is exported, too
/// ([`otel::watch_runtime`](crate::otel::watch_runtime)). Every map is bounded, and says how much went
/// beyond. A process reports itself only: with several, ask each.
///
/// ```
/// use obs_http::{Delivery, Runtime};
///
/// let runtime = Runtime::new();
/// let config = runtime.deliveries("config")?;
/// config.delivered(&Delivery {
///     endpoint: "run-time",
///     target: "website",
///     names: &["Theme", "Locale"],
///     caller: Some("user-7"),
/// });
/// let snapshot = runtime.snapshot();
/// assert_eq!(snapshot.deliveries["config"].totals.values, 2);
/// # Ok::<(), obs_http::DeliveriesError>(())
/// ```
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    clock: Clock,
    instance_id: Option<Uuid>,
    host: Option<String>,
    // One lock, so that a snapshot is one instant across all groups. It is held for a few look-ups,
    // never while anything waits.
    state: Mutex<State>,
}

struct State {
    started: Tick,
    started_at: Timestamp,
    requests: RequestState,
    deliveries: BTreeMap<Arc<str>, DeliveryState>,
}

impl State {
    fn new(clock: &Clock) -> Self {
        Self {
            started: clock.now(),
            started_at: clock.wall(),
            requests: RequestState::default(),
            deliveries: BTreeMap::new(),
        }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime {
    /// Begins to count; make one at the start of the process.
    ///
    /// ```
    /// assert_eq!(obs_http::Runtime::new().snapshot().requests.started, 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::with(Clock::default(), None)
    }

    /// The same, under the id that the process' rows and metrics have.
    ///
    /// ```
    /// let obs = obs_core::Obs::builder().build()?;
    /// let runtime = obs_http::Runtime::of(&obs);
    /// assert_eq!(runtime.snapshot().process.instance_id, Some(obs.epoch()));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    #[must_use]
    pub fn of(obs: &Obs) -> Self {
        Self::with(Clock::default(), Some(obs.epoch()))
    }

    /// The same with a clock, for tests.
    ///
    /// ```
    /// use obs_core::{Clock, ManualClock};
    /// let clock = ManualClock::new();
    /// let runtime = obs_http::Runtime::with_clock(Clock::from(&clock));
    /// clock.advance(std::time::Duration::from_secs(90));
    /// assert_eq!(runtime.snapshot().process.uptime_seconds, 90.0);
    /// ```
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self::with(clock, None)
    }

    fn with(clock: Clock, instance_id: Option<Uuid>) -> Self {
        let state = Mutex::new(State::new(&clock));
        Self(Arc::new(Inner { clock, instance_id, host: host(), state }))
    }

    /// The counter of one kind of delivery, e.g. `config`. The same name gives the same counter.
    ///
    /// # Errors
    /// When there are [`DELIVERY_KINDS_MAX`] kinds already, or the name is empty.
    ///
    /// ```
    /// let runtime = obs_http::Runtime::new();
    /// let error = runtime.deliveries(" ").unwrap_err();
    /// assert_eq!(error.to_string(), "a kind of delivery needs a name: say what is delivered, e.g. \"config\"");
    /// ```
    pub fn deliveries(&self, name: &str) -> Result<Deliveries, DeliveriesError> {
        let name = keyed::clean(name);
        if name.is_empty() {
            return Err(DeliveriesError::Empty);
        }
        let mut state = self.state();
        if !state.deliveries.contains_key(&*name) {
            if state.deliveries.len() >= DELIVERY_KINDS_MAX {
                return Err(DeliveriesError::TooMany { name: name.into_owned() });
            }
            state.deliveries.insert(name.as_ref().into(), DeliveryState::default());
        }
        drop(state);
        Ok(Deliveries::new(self.clone(), name.as_ref().into()))
    }

    /// A copy of everything as of one instant.
    ///
    /// ```
    /// let snapshot = obs_http::Runtime::new().snapshot();
    /// assert_eq!(snapshot.process.pid, std::process::id());
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> RuntimeSnapshot {
        let state = self.state();
        let now = self.0.clock.now();
        RuntimeSnapshot {
            process: ProcessSnapshot {
                instance_id: self.0.instance_id,
                host: self.0.host.clone(),
                pid: process::id(),
                started_at: state.started_at.to_rfc3339_millis(),
                uptime_seconds: now.since(state.started).as_secs_f64(),
            },
            requests: state.requests.snapshot(),
            deliveries: state
                .deliveries
                .iter()
                .map(|(name, delivery)| (name.to_string(), delivery.snapshot(now)))
                .collect(),
        }
    }

    pub(crate) fn request_started(&self) {
        self.state().requests.started += 1;
    }

    pub(crate) fn request_ended(
        &self,
        route: Option<&Arc<str>>,
        class: RequestClass,
        took: Duration,
    ) {
        self.state().requests.ended(route, class, took);
    }

    /// As at the start, but for requests that are still inside.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        let in_flight = state.requests.in_flight();
        let names: Vec<_> = state.deliveries.keys().cloned().collect();
        *state = State::new(&self.0.clock);
        state.requests.started = in_flight;
        state.deliveries = names.into_iter().map(|name| (name, DeliveryState::default())).collect();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("instance_id", &self.0.instance_id).finish_non_exhaustive()
    }
}

/// The host's name where a file tells it.
fn host() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
