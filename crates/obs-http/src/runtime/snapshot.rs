//! Snapshots: plain values, detached from the counters they were read from.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

/// Everything as of one instant.
///
/// ```
/// let snapshot = obs_http::Runtime::new().snapshot();
/// let json = serde_json::to_value(&snapshot)?;
/// assert_eq!(json["requests"]["in_flight"], 0);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RuntimeSnapshot {
    /// Who and since when.
    pub process: ProcessSnapshot,
    /// What was asked.
    pub requests: RequestSnapshot,
    /// What was delivered, by kind.
    pub deliveries: BTreeMap<String, DeliverySnapshot>,
}

/// The identity and the age of the process.
///
/// ```
/// assert!(obs_http::Runtime::new().snapshot().process.uptime_seconds >= 0.0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProcessSnapshot {
    /// The id of this process lifetime, as rows and metrics have it.
    pub instance_id: Option<Uuid>,
    /// The host's name, where it can be learned.
    pub host: Option<String>,
    /// The process id.
    pub pid: u32,
    /// When counting began, UTC, RFC 3339.
    pub started_at: String,
    /// Time since then by a monotonic clock: a clock that is set does not change it.
    pub uptime_seconds: f64,
}

/// Requests. `started = finished + in_flight`, and the routes, the unrouted and the others add up to
/// `finished`, in every snapshot.
///
/// ```
/// let requests = obs_http::Runtime::new().snapshot().requests;
/// assert_eq!(requests.classes().total(), requests.finished);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RequestSnapshot {
    /// Requests that came.
    pub started: u64,
    /// Requests that ended, one way or another.
    pub finished: u64,
    /// Requests inside.
    pub in_flight: u64,
    /// By route template; raw paths never get here.
    pub by_route: BTreeMap<String, RouteCounts>,
    /// Those that match no route.
    pub unrouted: RouteCounts,
    /// Those of routes for which there was no room.
    pub other: RouteCounts,
}

impl RequestSnapshot {
    /// All finished requests by class.
    ///
    /// ```
    /// assert_eq!(obs_http::Runtime::new().snapshot().requests.classes().success, 0);
    /// ```
    #[must_use]
    pub fn classes(&self) -> ClassCounts {
        let mut sum = ClassCounts::default();
        for counts in self.by_route.values().chain([&self.unrouted, &self.other]) {
            for (total, (_, count)) in sum.each_mut().into_iter().zip(counts.classes.each()) {
                *total += count;
            }
        }
        sum
    }
}

/// The requests of one route.
///
/// ```
/// assert_eq!(obs_http::Runtime::new().snapshot().requests.unrouted.seconds, 0.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouteCounts {
    /// How they ended.
    pub classes: ClassCounts,
    /// How long they took together.
    pub seconds: f64,
}

/// Requests by how they ended.
///
/// ```
/// let classes = obs_http::Runtime::new().snapshot().requests.classes();
/// assert_eq!(classes.total(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClassCounts {
    /// Status 100 to 199.
    pub informational: u64,
    /// Status 200 to 299.
    pub success: u64,
    /// Status 300 to 399.
    pub redirection: u64,
    /// Status 400 to 499.
    pub client_error: u64,
    /// Status 500 and above.
    pub server_error: u64,
    /// Given up by the caller before the answer was whole.
    pub cancelled: u64,
    /// A panic, or an answer that broke off.
    pub failed: u64,
}

impl ClassCounts {
    /// All of them.
    ///
    /// ```
    /// assert_eq!(obs_http::Runtime::new().snapshot().requests.classes().total(), 0);
    /// ```
    #[must_use]
    pub fn total(&self) -> u64 {
        self.each().iter().map(|(_, count)| count).sum()
    }

    /// Each with the word that stands on the metric.
    pub(crate) const fn each(&self) -> [(&'static str, u64); 7] {
        [
            ("1xx", self.informational),
            ("2xx", self.success),
            ("3xx", self.redirection),
            ("4xx", self.client_error),
            ("5xx", self.server_error),
            ("cancelled", self.cancelled),
            ("failed", self.failed),
        ]
    }

    const fn each_mut(&mut self) -> [&mut u64; 7] {
        [
            &mut self.informational,
            &mut self.success,
            &mut self.redirection,
            &mut self.client_error,
            &mut self.server_error,
            &mut self.cancelled,
            &mut self.failed,
        ]
    }
}

/// The deliveries of one kind.
///
/// ```
/// # let runtime = obs_http::Runtime::new();
/// runtime.deliveries("config")?;
/// assert_eq!(runtime.snapshot().deliveries["config"].last_at, None);
/// # Ok::<(), obs_http::DeliveriesError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeliverySnapshot {
    /// All of them.
    pub totals: DeliveryTotals,
    /// Responses by endpoint.
    pub by_endpoint: KeyCounts,
    /// Responses by target.
    pub by_target: KeyCounts,
    /// Responses by caller.
    pub by_caller: KeyCounts,
    /// Values by target.
    pub values_by_target: KeyCounts,
    /// Values by caller.
    pub values_by_caller: KeyCounts,
    /// Values by name.
    pub values_by_name: KeyCounts,
    /// When the last one was, UTC, RFC 3339.
    pub last_at: Option<String>,
    /// How long ago that is, by a monotonic clock.
    pub last_age_seconds: Option<f64>,
    /// By endpoint and target, as exported.
    #[serde(skip)]
    pub(crate) pairs: BTreeMap<(String, String), DeliveryTotals>,
}

/// Sums over deliveries.
///
/// ```
/// assert_eq!(obs_http::DeliveryTotals::default().responses, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeliveryTotals {
    /// Successful deliveries.
    pub responses: u64,
    /// Values in them.
    pub values: u64,
    /// Deliveries that were denied or failed.
    pub refused: u64,
}

/// Counts by key.
///
/// ```
/// assert_eq!(obs_http::KeyCounts::default().total(), 0);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyCounts {
    /// At most [`KEYS_MAX`](crate::KEYS_MAX) keys.
    pub counts: BTreeMap<String, u64>,
    /// The sum over keys for which there was no room.
    pub other: u64,
}

impl KeyCounts {
    /// The sum over all keys, with those that had no room.
    ///
    /// ```
    /// assert_eq!(obs_http::KeyCounts::default().total(), 0);
    /// ```
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.other
    }
}
