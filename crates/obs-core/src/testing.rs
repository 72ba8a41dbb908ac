//! For tests: a clock that stands still, a seeded sampler, a sink that keeps what it is given.

pub mod fuzz;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use uuid::Uuid;

use crate::{
    adopter::Adopter,
    audit::AuditLevel,
    clock::{Clock, ManualClock},
    error::BuildError,
    ids,
    keep::KeepReason,
    ledger::SeriesDrops,
    obs::{Builder, Obs},
    record::{Json, RunRecord},
    sink::{Ack, Kept, Sink},
    status::{Class, Status},
};

/// The seed of every [`TestObs`].
pub const SEED: u64 = 1;

/// An `Obs` whose records can be looked at: manual clock, seeded sampler, capturing sink.
///
/// ```
/// use obs_core::{KeepReason, testing::TestObs};
///
/// let test = TestObs::new();
/// let bonus = test.obs().kind("dsl").strategy("bonus").version("3").build()?;
/// let _: Result<(), String> = bonus.observe(&(), |_run| Ok(()));
/// assert_eq!(test.records()[0].keep_reason, KeepReason::First);
/// test.assert_balanced();
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Debug)]
pub struct TestObs {
    obs: Obs,
    clock: ManualClock,
    sink: Arc<CapturingSink>,
    drops: Arc<SeriesDrops>,
}

impl Default for TestObs {
    fn default() -> Self {
        Self::new()
    }
}

impl TestObs {
    /// With the default policy.
    ///
    /// ```
    /// let test = obs_core::testing::TestObs::new();
    /// assert!(test.records().is_empty());
    /// ```
    ///
    /// # Panics
    /// Never: the defaults are valid.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the defaults are valid; for tests only")]
    pub fn new() -> Self {
        Self::with(|builder| builder).expect("the defaults are valid")
    }

    /// With whatever `change` makes of the builder.
    ///
    /// # Errors
    /// When what `change` made cannot be built.
    ///
    /// ```
    /// use obs_core::{KeepPolicy, testing::TestObs};
    /// let test = TestObs::with(|builder| builder.policy(KeepPolicy { first: 0, ..KeepPolicy::default() }))?;
    /// # let _ = test;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn with(change: impl FnOnce(Builder) -> Builder) -> Result<Self, BuildError> {
        let clock = ManualClock::new();
        let sink = Arc::new(CapturingSink::default());
        let builder = Obs::builder()
            .clock(Clock::from(&clock))
            .seed(SEED)
            .sink(Arc::clone(&sink) as Arc<dyn Sink>);
        let obs = change(builder).build()?;
        Ok(Self { obs, clock, sink, drops: Arc::default() })
    }

    /// The handle to instrument with.
    ///
    /// ```
    /// let test = obs_core::testing::TestObs::new();
    /// let _kind = test.obs().kind("dsl");
    /// ```
    #[must_use]
    pub const fn obs(&self) -> &Obs {
        &self.obs
    }

    /// The clock.
    ///
    /// ```
    /// let test = obs_core::testing::TestObs::new();
    /// test.clock().advance(std::time::Duration::from_millis(5));
    /// ```
    #[must_use]
    pub const fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The records of all runs that were kept so far, in the order of their ends.
    ///
    /// ```
    /// assert_eq!(obs_core::testing::TestObs::new().records().len(), 0);
    /// ```
    #[must_use]
    pub fn records(&self) -> Vec<RunRecord> {
        self.sink.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A record with its ticket, as a sink would be given it: recorded and in the queue of this
    /// ledger, until somebody settles it.
    ///
    /// ```
    /// let test = obs_core::testing::TestObs::new();
    /// let kept = test.kept("bonus", "1");
    /// assert_eq!(test.obs().ledger().ok.in_queue, 1);
    /// kept.ticket.persisted();
    /// ```
    pub fn kept(&self, strategy_id: &str, strategy_version: &str) -> Kept {
        self.kept_record(record(strategy_id, strategy_version))
    }

    /// The same with a record of the caller's.
    ///
    /// ```
    /// use obs_core::{Status, testing::{TestObs, record}};
    /// let test = TestObs::new();
    /// let mut failed = record("bonus", "1");
    /// failed.status = Status::Error;
    /// test.kept_record(failed).ticket.persisted();
    /// assert_eq!(test.obs().ledger().error.persisted, 1);
    /// ```
    pub fn kept_record(&self, record: RunRecord) -> Kept {
        let book = &self.obs.core().book;
        if record.audit.is_some() {
            return Kept { ticket: book.audited(&self.drops), record };
        }
        book.started();
        Kept { ticket: book.kept(record.status, &self.drops), record }
    }

    /// What a sink of this `Obs` is given to enter records of dead processes.
    ///
    /// ```
    /// use obs_core::{Class, testing::TestObs};
    /// let test = TestObs::new();
    /// test.adopter().crashed(Class::Ok, 3);
    /// assert_eq!(test.obs().ledger().ok.adopted, 3);
    /// ```
    #[must_use]
    pub fn adopter(&self) -> Adopter {
        let core = self.obs.core();
        Adopter::new(&core.book, &core.recorder)
    }

    /// Asserts that the ledger balances and no run is in flight.
    ///
    /// # Panics
    /// When it does not.
    ///
    /// ```
    /// obs_core::testing::TestObs::new().assert_balanced();
    /// ```
    pub fn assert_balanced(&self) {
        assert_balanced(&self.obs);
    }
}

/// Asserts that the ledger balances and no run is in flight.
///
/// # Panics
/// When it does not.
///
/// ```
/// let obs = obs_core::Obs::builder().build()?;
/// obs_core::testing::assert_balanced(&obs);
/// # Ok::<(), obs_core::BuildError>(())
/// ```
pub fn assert_balanced(obs: &Obs) {
    let ledger = obs.ledger();
    for class in Class::ALL {
        assert_eq!(ledger.class(class).imbalance(), 0, "class {class}: {ledger}");
    }
    assert_eq!(ledger.runs.active, 0, "runs in flight: {ledger}");
    assert_eq!(
        ledger.runs.finished,
        ledger.ok.recorded + ledger.error.recorded - ledger.audit,
        "every run is recorded once: {ledger}"
    );
}

/// A valid record of a run that ended `ok` just now, with an id of its own.
///
/// ```
/// let record = obs_core::testing::record("bonus", "1");
/// assert_eq!(record.run_id.get_version_num(), 7);
/// ```
#[must_use]
pub fn record(strategy_id: &str, strategy_version: &str) -> RunRecord {
    const TOOK: Duration = Duration::from_millis(3);
    let finished_at = Clock::default().wall();
    let started_at = finished_at.before(TOOK);
    RunRecord {
        run_id: ids::run_id(started_at),
        epoch: Uuid::nil(),
        kind: "test".into(),
        realm: Some("acme".into()),
        strategy_id: strategy_id.into(),
        strategy_version: strategy_version.into(),
        strategy_type: Some("chain".into()),
        strategy_hash: None,
        subject: None,
        correlation_id: None,
        parent_run_id: None,
        status: Status::Ok,
        error_type: None,
        error_message: None,
        error_node: None,
        value: None,
        case_name: None,
        started_at,
        finished_at,
        duration: TOOK,
        nodes: 0,
        slow: false,
        keep_reason: KeepReason::Sampled,
        inclusion_probability: 0.05,
        sample_rate: 0.05,
        slim: false,
        trace_id: None,
        span_id: None,
        input: None,
        input_bytes: 0,
        input_truncated: false,
        attributes: None,
        trace: None,
        trace_total: 0,
        trace_kept: 0,
        trace_bytes: 0,
        audit: None,
    }
}

/// The record of an entry of the audit trail, with a value in every field that entries use but the actor.
///
/// ```
/// use obs_core::{Class, testing::audit_entry};
/// assert_eq!(audit_entry("points", "assigned").class(), Class::Error);
/// ```
#[must_use]
pub fn audit_entry(module: &str, message: &str) -> RunRecord {
    let at = Clock::default().wall();
    RunRecord {
        run_id: ids::run_id(at),
        kind: "audit".into(),
        realm: None,
        strategy_type: None,
        correlation_id: Some("order-17".into()),
        parent_run_id: Some(ids::run_id(at)),
        error_message: Some(message.into()),
        started_at: at,
        finished_at: at,
        duration: Duration::ZERO,
        keep_reason: KeepReason::Forced,
        inclusion_probability: 1.0,
        sample_rate: 1.0,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        span_id: Some("b7ad6b7169203331".into()),
        attributes: Json::parse(r#"{"points":12}"#).ok(),
        audit: Some(AuditLevel::Success),
        ..record(module, "")
    }
}

/// A sink that keeps every record, and counts it as persisted.
#[derive(Default)]
struct CapturingSink {
    records: Mutex<Vec<RunRecord>>,
}

impl Sink for CapturingSink {
    fn submit(&self, kept: Kept) -> Ack {
        let (record, ticket) = kept.into_parts();
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        ticket.persisted();
        Ack::Memory
    }

    fn capacity(&self, _class: Class) -> u64 {
        u64::MAX
    }
}

impl fmt::Debug for CapturingSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapturingSink")
    }
}
