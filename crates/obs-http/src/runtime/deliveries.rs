//! Deliveries of any domain: what was handed out, where, for whom, and when last.

use std::{collections::HashMap, sync::Arc};

use obs_core::{Tick, Timestamp};

use super::{
    Runtime,
    keyed::{Keyed, clean},
    snapshot::{DeliverySnapshot, DeliveryTotals},
};
use crate::routes::OTHER;

/// Kinds of delivery in one process.
pub const DELIVERY_KINDS_MAX: usize = 16;

/// Names of one delivery that are counted one by one; the rest of them is counted together.
pub const NAMES_MAX: usize = 1_000;

/// Pairs of endpoint and target of one kind that are exported apart; the rest folds to `_OTHER`. With
/// [`DELIVERY_KINDS_MAX`] kinds and two outcomes, the series stay below the 2,000 that OpenTelemetry
/// allows by default.
const PAIRS_MAX: usize = 50;

/// One delivery: a successful answer with values of the domain.
///
/// ```
/// let _delivery = obs_http::Delivery {
///     endpoint: "run-time",
///     target: "website",
///     names: &["Theme"],
///     caller: None,
/// };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Which category of endpoint: a few words, exported. Trimmed and lower-cased.
    pub endpoint: &'a str,
    /// For what: a few words, exported. Trimmed and lower-cased.
    pub target: &'a str,
    /// What was delivered, by name; stays in the snapshot. Case matters.
    pub names: &'a [&'a str],
    /// Who asked; stays in the snapshot. Trimmed and lower-cased. `local:` and the target if it is
    /// not known.
    pub caller: Option<&'a str>,
}

/// Why there is no counter for a kind of delivery.
///
/// ```
/// assert!(obs_http::Runtime::new().deliveries("").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveriesError {
    /// It has no name.
    #[error("a kind of delivery needs a name: say what is delivered, e.g. \"config\"")]
    Empty,
    /// There are too many kinds.
    #[error(
        "kind of delivery {name:?} is one more than {DELIVERY_KINDS_MAX}: use a few fixed names, and \
         put the rest into endpoint, target or names"
    )]
    TooMany {
        /// The one that has no room.
        name: String,
    },
}

/// Counts the deliveries of one kind. Cheap to clone.
///
/// ```
/// # let runtime = obs_http::Runtime::new();
/// let config = runtime.deliveries("config")?;
/// config.refused("run-time", "website");
/// assert_eq!(runtime.snapshot().deliveries["config"].totals.refused, 1);
/// # Ok::<(), obs_http::DeliveriesError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Deliveries {
    runtime: Runtime,
    kind: Arc<str>,
}

impl Deliveries {
    pub(super) const fn new(runtime: Runtime, kind: Arc<str>) -> Self {
        Self { runtime, kind }
    }

    /// Counts a delivery; the one call for snapshot and metrics.
    ///
    /// ```
    /// # use obs_http::Delivery;
    /// # let runtime = obs_http::Runtime::new();
    /// let config = runtime.deliveries("config")?;
    /// let (endpoint, target) = ("run-time", "website");
    /// config.delivered(&Delivery { endpoint, target, names: &["Theme"], caller: None });
    /// let snapshot = &runtime.snapshot().deliveries["config"];
    /// assert_eq!(snapshot.by_caller.counts["local:website"], 1);
    /// # Ok::<(), obs_http::DeliveriesError>(())
    /// ```
    pub fn delivered(&self, delivery: &Delivery<'_>) {
        let (endpoint, target) = (word(delivery.endpoint), word(delivery.target));
        let caller = match delivery.caller.map(word) {
            Some(caller) if !caller.is_empty() => caller,
            _ => format!("local:{target}"),
        };
        let runtime = &self.runtime.0;
        let mut state = self.runtime.state();
        // The clocks are read inside, so that of two deliveries the later one is the last.
        let last = (runtime.clock.now(), runtime.clock.wall());
        let Some(counts) = state.deliveries.get_mut(&self.kind) else { return };
        counts.delivered(&endpoint, &target, &caller, delivery.names);
        counts.last = Some(last);
    }

    /// Counts a delivery that was denied or failed.
    ///
    /// ```
    /// # let runtime = obs_http::Runtime::new();
    /// let config = runtime.deliveries("config")?;
    /// config.refused("run-time", "website");
    /// let snapshot = &runtime.snapshot().deliveries["config"];
    /// assert_eq!((snapshot.totals.refused, snapshot.totals.responses), (1, 0));
    /// # Ok::<(), obs_http::DeliveriesError>(())
    /// ```
    pub fn refused(&self, endpoint: &str, target: &str) {
        let (endpoint, target) = (word(endpoint), word(target));
        let mut state = self.runtime.state();
        let Some(counts) = state.deliveries.get_mut(&self.kind) else { return };
        counts.totals.refused += 1;
        counts.pair(&endpoint, &target).refused += 1;
    }
}

#[derive(Debug, Default)]
pub(super) struct DeliveryState {
    totals: DeliveryTotals,
    by_endpoint: Keyed,
    by_target: Keyed,
    by_caller: Keyed,
    values_by_target: Keyed,
    values_by_caller: Keyed,
    values_by_name: Keyed,
    pairs: HashMap<(Arc<str>, Arc<str>), DeliveryTotals>,
    last: Option<(Tick, Timestamp)>,
}

impl DeliveryState {
    fn delivered(&mut self, endpoint: &str, target: &str, caller: &str, names: &[&str]) {
        let values = names.len() as u64;
        self.by_endpoint.add(endpoint, 1);
        self.by_target.add(target, 1);
        self.by_caller.add(caller, 1);
        self.values_by_target.add(target, values);
        self.values_by_caller.add(caller, values);
        for name in names.iter().take(NAMES_MAX) {
            self.values_by_name.add(&clean(name), 1);
        }
        self.values_by_name.add_other(names.len().saturating_sub(NAMES_MAX) as u64);
        self.totals.responses += 1;
        self.totals.values += values;
        let pair = self.pair(endpoint, target);
        pair.responses += 1;
        pair.values += values;
    }

    fn pair(&mut self, endpoint: &str, target: &str) -> &mut DeliveryTotals {
        let pair = (Arc::<str>::from(endpoint), Arc::<str>::from(target));
        let folded = self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&pair);
        let pair = if folded { (OTHER.into(), OTHER.into()) } else { pair };
        self.pairs.entry(pair).or_default()
    }

    pub(super) fn snapshot(&self, now: Tick) -> DeliverySnapshot {
        let pairs = self.pairs.iter().map(|((endpoint, target), totals)| {
            ((endpoint.to_string(), target.to_string()), *totals)
        });
        DeliverySnapshot {
            totals: self.totals,
            by_endpoint: self.by_endpoint.snapshot(),
            by_target: self.by_target.snapshot(),
            by_caller: self.by_caller.snapshot(),
            values_by_target: self.values_by_target.snapshot(),
            values_by_caller: self.values_by_caller.snapshot(),
            values_by_name: self.values_by_name.snapshot(),
            last_at: self.last.map(|(_, at)| at.to_rfc3339_millis()),
            last_age_seconds: self.last.map(|(at, _)| now.since(at).as_secs_f64()),
            pairs: pairs.collect(),
        }
    }
}

/// As keys are compared, wherever they come from.
fn word(text: &str) -> String {
    clean(text).to_lowercase()
}
