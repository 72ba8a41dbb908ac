//! How the process is doing, in words for a probe and in figures for an operator. Everything is read
//! from memory: asking never waits for the store.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use obs_core::{ClassLedger, DropReason, LivePolicy, Obs, PolicyState, StoreState};
use obs_persist::StoreWatch;
use serde::Serialize;

use crate::{panic::discard, redact::redacted};

/// All that a caller learns who is not authorised.
///
/// ```
/// assert_eq!(serde_json::to_string(&obs_http::HealthStatus::Degraded)?, "\"degraded\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HealthStatus {
    /// Everything works.
    Up,
    /// It works, but rows wait because the store does not.
    Degraded,
    /// Something that is needed does not work.
    Down,
}

/// The figures, for callers who are authorised.
///
/// ```
/// use obs_core::Obs;
/// use obs_http::{Access, Endpoints, HealthStatus};
///
/// let obs = Obs::builder().build()?;
/// let endpoints = Endpoints::builder(Access::Open).obs(&obs).build();
/// let health = endpoints.health();
/// assert_eq!((health.status, health.imbalance), (HealthStatus::Up, Some(0)));
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// In one word.
    pub status: HealthStatus,
    /// Records on their way, by class.
    pub queue: BTreeMap<&'static str, QueueHealth>,
    /// Must be 0: records that the ledger cannot account for.
    pub imbalance: Option<i64>,
    /// The store, where there is one.
    pub store: Option<StoreHealth>,
    /// Which runs are kept, as that may change while the process runs.
    pub policy: Option<PolicyHealth>,
    /// What the application checks: `ok`, or why not.
    pub checks: BTreeMap<String, String>,
}

/// The records of one class.
///
/// ```
/// # use obs_http::{Access, Endpoints};
/// # let obs = obs_core::Obs::builder().build()?;
/// let health = Endpoints::builder(Access::Open).obs(&obs).build().health();
/// assert_eq!(health.queue["error"].in_queue, 0);
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueHealth {
    /// Waiting in memory.
    pub in_queue: u64,
    /// Waiting on disk.
    pub spooled: u64,
    /// Written.
    pub persisted: u64,
    /// Lost, by reason; reasons without a loss are left out.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// The store.
///
/// ```
/// # use obs_http::{Access, Endpoints};
/// assert!(Endpoints::builder(Access::Open).build().health().store.is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoreHealth {
    /// `starting`, `up`, `down` or `stopped`.
    pub state: &'static str,
    /// What is promised of an error that ends now: `disk`, `os`, or `memory` where there is no spool.
    pub error_ack: &'static str,
    /// How long ago a batch was written last.
    pub last_write_age_seconds: Option<f64>,
    /// Why it is down, without credentials, at most
    /// [`ERROR_BYTES_MAX`](crate::ERROR_BYTES_MAX) bytes.
    pub last_error: Option<String>,
}

/// The policy.
///
/// ```
/// # use obs_http::{Access, Endpoints};
/// let obs = obs_core::Obs::builder().build()?;
/// let health = Endpoints::builder(Access::Open).obs(&obs).build().health();
/// assert_eq!(health.policy.map(|policy| (policy.changes, policy.rules, policy.problem)), Some((0, 0, None)));
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PolicyHealth {
    /// How often another one was put in force since the start.
    pub changes: u64,
    /// How many rules hold now.
    pub rules: usize,
    /// How often one was refused.
    pub refused: u64,
    /// Why the last one was, while it has not been mended, without credentials, at most
    /// [`ERROR_BYTES_MAX`](crate::ERROR_BYTES_MAX) bytes.
    pub problem: Option<String>,
}

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What health is put together from.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) obs: Option<Obs>,
    pub(crate) store: Option<StoreWatch>,
    pub(crate) needs_store: bool,
    pub(crate) checks: BTreeMap<String, Check>,
}

impl Sources {
    pub(crate) fn health(&self) -> Health {
        let ledger = self.obs.as_ref().map(Obs::ledger);
        let queue = ledger.iter().flat_map(|ledger| [("ok", &ledger.ok), ("error", &ledger.error)]);
        let checks: BTreeMap<_, _> =
            self.checks.iter().map(|(name, check)| (name.clone(), run(check))).collect();
        let failed = checks.values().any(Result::is_err);
        let status = if failed { HealthStatus::Down } else { self.store_status() };
        Health {
            status,
            queue: queue.map(|(class, of_class)| (class, of_class.into())).collect(),
            imbalance: ledger.as_ref().map(obs_core::Ledger::imbalance),
            store: self.store.as_ref().map(|store| StoreHealth {
                state: store.state().as_str(),
                error_ack: store.error_ack().as_str(),
                last_write_age_seconds: store.last_write_age().map(|age| age.as_secs_f64()),
                last_error: store.last_error().map(|error| redacted(&error)),
            }),
            policy: self.obs.as_ref().map(|obs| obs.policy().into()),
            checks: checks
                .into_iter()
                .map(|(name, checked)| match checked {
                    Ok(()) => (name, "ok".to_owned()),
                    Err(why) => (name, redacted(&why)),
                })
                .collect(),
        }
    }

    fn store_status(&self) -> HealthStatus {
        match &self.store {
            None => HealthStatus::Up,
            Some(store) if store.state() == StoreState::Up => HealthStatus::Up,
            Some(_) if self.needs_store => HealthStatus::Down,
            // A store that has not been asked for anything yet is no reason to worry.
            Some(store) if store.state() == StoreState::Starting => HealthStatus::Up,
            Some(_) => HealthStatus::Degraded,
        }
    }
}

/// A check that panics has failed.
fn run(check: &Check) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| check())).unwrap_or_else(|payload| {
        discard(payload);
        Err("the check panicked".to_owned())
    })
}

impl From<LivePolicy> for PolicyHealth {
    fn from(policy: LivePolicy) -> Self {
        let PolicyState { changes, refused, problem, .. } = policy.state();
        let rules = policy.current().rules.len();
        Self { changes, rules, refused, problem: problem.map(|problem| redacted(&problem)) }
    }
}

impl From<&ClassLedger> for QueueHealth {
    fn from(ledger: &ClassLedger) -> Self {
        let dropped = DropReason::ALL
            .into_iter()
            .map(|reason| (reason.as_str(), ledger.dropped.of(reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Self {
            in_queue: ledger.in_queue,
            spooled: ledger.spooled,
            persisted: ledger.persisted,
            dropped,
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("store", &self.store)
            .field("needs_store", &self.needs_store)
            .field("checks", &self.checks.keys())
            .finish_non_exhaustive()
    }
}
