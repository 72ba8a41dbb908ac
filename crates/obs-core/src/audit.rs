//! The audit trail: who did what, as entries that no rate thins out.
//!
//! A1 An entry travels as a [`RunRecord`] with [`audit`](RunRecord::audit) set: the lanes, the spool, the
//!    worker and the ledger treat it as they treat an error, and a store writes it to a table of its own.
//! A2 It is no run: nothing is measured, no decision is asked, and no status is counted.
//! A3 Whoever writes one pays for encoding it and for one write to the spool, and waits for nobody.
//! A4 It is not a part of the caller's transaction: it says what was tried or done, whatever becomes of that.

use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use opentelemetry::{
    Context,
    trace::{SpanId, TraceContextExt, TraceId},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    adopter::RecordLabels,
    correlation::CorrelationId,
    current::current_run_id,
    encode::{EncodeLimits, Redact, Sanitized, clean_text, discard, encode_redacted},
    ids,
    keep::KeepReason,
    label::{clean, cut},
    ledger::SeriesDrops,
    limits::{
        AUDIT_DETAILS_BYTES_MAX, DEPTH_MAX, STRING_BYTES_MAX, SUBJECT_BYTES_MAX, WALK_BYTES_MAX,
    },
    obs::Core,
    payload::safe_message,
    record::{Json, RunRecord},
    recording::Recording,
    redact::{Place, REDACTED, Rules},
    sink::{Ack, Kept},
    span_ids,
    status::{DropReason, Status},
};

/// The kind of an entry's record: what lost entries are told apart by in `obs.record.dropped`.
const KIND: &str = "audit";

/// What `()` encodes to: no details.
const NO_DETAILS: &[u8] = b"null";

/// How an entry is meant.
///
/// ```
/// use obs_core::AuditLevel;
/// assert_eq!(AuditLevel::Success.as_str(), "success");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditLevel {
    /// Something begins, or is worth knowing.
    Info,
    /// Something was done.
    Success,
    /// Something was done, and somebody should look at it.
    Warn,
    /// Something failed or was refused.
    Error,
}

impl AuditLevel {
    /// Every level, from the mildest.
    pub const ALL: [Self; 4] = [Self::Info, Self::Success, Self::Warn, Self::Error];

    /// The word in a row.
    ///
    /// ```
    /// assert_eq!(obs_core::AuditLevel::Warn.as_str(), "warn");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for AuditLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes entries of one module into the audit trail. Cheap to clone; made by [`Obs::audit`](crate::Obs::audit).
///
/// An entry is never sampled, and is kept as an error is: [`Ack`] says what is promised of it. It is written
/// beside the caller's transaction and not in it: an entry can be there though the transaction was rolled back,
/// and the other way round after a loss. Whoever needs both or none writes a row of their own in the transaction.
///
/// The correlation id is that of the request that the thread is in, the run that in whose body it is (see
/// [`current_run_id`]), and the trace the current one.
///
/// ```
/// use obs_core::{AuditLevel, testing::TestObs};
/// use serde_json::json;
///
/// let test = TestObs::new();
/// let audit = test.obs().audit("points").actor("key-7f3a");
/// audit.info("assigning points", &json!({"user": "user-7", "points": 12}));
/// audit.success("points assigned", &());
///
/// let entries = test.records();
/// assert_eq!(entries[0].audit, Some(AuditLevel::Info));
/// assert_eq!(entries[1].subject.as_deref(), Some("key-7f3a"));
/// assert_eq!(test.obs().ledger().audit, 2);
/// ```
#[derive(Clone)]
#[must_use = "it writes nothing by itself"]
pub struct Audit {
    core: Arc<Core>,
    kind: Arc<str>,
    module: Arc<str>,
    drops: Arc<SeriesDrops>,
    actor: Option<Box<str>>,
    correlation_id: Option<Box<str>>,
}

/// Where an entry was written.
struct Surroundings {
    correlation_id: Option<Box<str>>,
    run_id: Option<Uuid>,
    span: (TraceId, SpanId),
}

impl Audit {
    pub(crate) fn new(core: &Arc<Core>, module: &str) -> Self {
        let labels = RecordLabels { kind: KIND, realm: None, strategy_type: None };
        Self {
            core: Arc::clone(core),
            kind: KIND.into(),
            module: clean(module).into(),
            drops: core.recorder.drops(&labels),
            actor: None,
            correlation_id: None,
        }
    }

    /// Who acts: the id of a key, or a subject; at most 256 bytes. Never the key itself: what looks like a
    /// secret is stored as `[redacted]`. Where subjects are stored as keyed hashes, so is this, and erasing a
    /// subject erases its entries.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let audit = obs.audit("points").actor("key-7f3a");
    /// # let _ = audit;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn actor(mut self, actor: &str) -> Self {
        self.actor = noted(actor);
        self
    }

    /// The caller's correlation id, instead of that of the request that the thread is in; at most 256 bytes.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// let audit = obs.audit("points").correlation_id("4b0c1f");
    /// # let _ = audit;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn correlation_id(mut self, id: &str) -> Self {
        self.correlation_id = noted(id);
        self
    }

    /// Something begins, or is worth knowing. `&()` is no details.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// obs.audit("points").info("assigning points", &());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn info<D: Serialize + ?Sized>(&self, message: &str, details: &D) -> Ack {
        self.write(AuditLevel::Info, message, details)
    }

    /// Something was done.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// obs.audit("points").success("points assigned", &serde_json::json!({"points": 12}));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn success<D: Serialize + ?Sized>(&self, message: &str, details: &D) -> Ack {
        self.write(AuditLevel::Success, message, details)
    }

    /// Something was done, and somebody should look at it.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// obs.audit("points").warn("points assigned twice", &());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn warn<D: Serialize + ?Sized>(&self, message: &str, details: &D) -> Ack {
        self.write(AuditLevel::Warn, message, details)
    }

    /// Something failed or was refused.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// obs.audit("points").error("no such user", &());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn error<D: Serialize + ?Sized>(&self, message: &str, details: &D) -> Ack {
        self.write(AuditLevel::Error, message, details)
    }

    /// An entry of any level. The message has at most 4 KiB and the details at most 16 KiB; what is longer is
    /// cut, as it is in rows, and counted. Both are redacted as an error's message and as attributes are.
    ///
    /// ```
    /// use obs_core::{Ack, AuditLevel, DropReason};
    /// let obs = obs_core::Obs::builder().build()?;
    /// let ack = obs.audit("points").write(AuditLevel::Info, "assigning points", &());
    /// assert_eq!(ack, Ack::Refused(DropReason::Disabled), "there is no store");
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn write<D: Serialize + ?Sized>(
        &self,
        level: AuditLevel,
        message: &str,
        details: &D,
    ) -> Ack {
        let core = &*self.core;
        if core.recording == Recording::Nothing {
            return Ack::Refused(DropReason::Disabled);
        }
        let ticket = core.book.audited(&self.drops);
        if core.recording == Recording::MetricsOnly {
            ticket.dropped(DropReason::Disabled);
            return Ack::Refused(DropReason::Disabled);
        }
        // If a sink panics, the ticket it held counts the entry as abandoned.
        let handed = catch_unwind(AssertUnwindSafe(|| {
            let mut changed = Sanitized::default();
            let details = encode(details, &core.rules, &mut changed);
            let record = self.assemble(level, message, details, &mut changed);
            if changed != Sanitized::default() {
                core.recorder.sanitized(&changed);
            }
            core.sink.submit(Kept { record, ticket })
        }));
        handed.unwrap_or_else(|payload| {
            discard(payload);
            Ack::Refused(DropReason::Abandoned)
        })
    }

    fn assemble(
        &self,
        level: AuditLevel,
        message: &str,
        details: Option<Json>,
        changed: &mut Sanitized,
    ) -> RunRecord {
        let core = &*self.core;
        let at = core.clock.wall();
        let Surroundings { correlation_id, run_id, span: (trace, span) } = Surroundings::look();
        let correlation_id = self.correlation_id.clone().or(correlation_id);
        let mut message = safe_message(message, &core.rules, changed);
        let mut attributes = details;
        if changed.redactor > 0 {
            // Nobody knows what the hook would have taken out.
            changed.redactor = 1;
            (message, attributes) = (REDACTED.into(), None);
        }
        RunRecord {
            run_id: ids::run_id(at),
            epoch: core.epoch,
            kind: Arc::clone(&self.kind),
            realm: None,
            strategy_id: Arc::clone(&self.module),
            strategy_version: "".into(),
            strategy_type: None,
            strategy_hash: None,
            subject: self.actor.as_deref().map(|actor| self.stored_actor(actor, changed)),
            correlation_id: correlation_id
                .map(|id| clean_text(&id, SUBJECT_BYTES_MAX, changed).into()),
            parent_run_id: run_id,
            status: if level == AuditLevel::Error { Status::Error } else { Status::Ok },
            error_type: None,
            error_message: Some(message),
            error_node: None,
            value: None,
            case_name: None,
            started_at: at,
            finished_at: at,
            duration: Duration::ZERO,
            nodes: 0,
            slow: false,
            keep_reason: KeepReason::Forced,
            inclusion_probability: 1.0,
            sample_rate: 1.0,
            slim: false,
            trace_id: (trace != TraceId::INVALID).then(|| span_ids::hex(&trace.to_bytes())),
            span_id: (span != SpanId::INVALID).then(|| span_ids::hex(&span.to_bytes())),
            input: None,
            input_bytes: 0,
            input_truncated: false,
            attributes,
            trace: None,
            trace_total: 0,
            trace_kept: 0,
            trace_bytes: 0,
            audit: Some(level),
        }
    }

    /// In the form in which subjects are stored, so that both are erased together.
    fn stored_actor(&self, actor: &str, changed: &mut Sanitized) -> Box<str> {
        let actor = clean_text(actor, SUBJECT_BYTES_MAX, changed);
        match &self.core.subject_key {
            Some(key) => key.hash_clean(&actor),
            None if self.is_secret(&actor, changed) => REDACTED.into(),
            None => actor.into(),
        }
    }

    fn is_secret(&self, actor: &str, changed: &mut Sanitized) -> bool {
        let mut looks_secret =
            |text: &str| matches!(self.core.rules.by_looks(text, changed), Cow::Owned(_));
        if is_address(actor) {
            // An address is who somebody is, in many places; what stands on a side of its `@` may be a key.
            actor.split('@').any(looks_secret)
        } else {
            looks_secret(actor)
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("module", &self.module).finish_non_exhaustive()
    }
}

impl Surroundings {
    /// A run outside of every trace is a trace of its own.
    fn look() -> Self {
        let run_id = current_run_id();
        let (correlation_id, span) = Context::map_current(|context| {
            let id = context.get::<CorrelationId>().and_then(|id| noted(id.as_str()));
            let span = context.span();
            let ids = span.span_context();
            (id, (ids.trace_id(), ids.span_id()))
        });
        let span = match (span, run_id) {
            ((TraceId::INVALID, _), Some(run_id)) => span_ids::own(run_id),
            (span, _) => span,
        };
        Self { correlation_id, run_id, span }
    }
}

/// A little more than a stored text may have, so that cutting it can still be counted.
fn noted(text: &str) -> Option<Box<str>> {
    const NOTE_BYTES_MAX: usize = 2 * SUBJECT_BYTES_MAX;
    (!text.is_empty()).then(|| cut(text, NOTE_BYTES_MAX).into())
}

/// Nothing but an e-mail address: no address of a server with a password in it.
fn is_address(text: &str) -> bool {
    text.contains('@') && !text.contains([':', '/', '=', ' '])
}

fn encode<D: Serialize + ?Sized>(
    details: &D,
    rules: &Rules,
    changed: &mut Sanitized,
) -> Option<Json> {
    let limits = EncodeLimits {
        bytes_max: AUDIT_DETAILS_BYTES_MAX,
        string_bytes_max: STRING_BYTES_MAX,
        depth_max: DEPTH_MAX,
        walk_bytes_max: WALK_BYTES_MAX,
    };
    let mut out = Vec::new();
    let redact = Redact { rules, place: Place::Attributes, shapes: None };
    encode_redacted(details, (&limits, redact), &mut out, changed);
    if out == NO_DETAILS {
        return None;
    }
    Some(Json::trusted(out.into()))
}

#[cfg(test)]
mod tests;
