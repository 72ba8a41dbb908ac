//! Puts the record of a kept run together; every value becomes valid here.

use opentelemetry::trace::{SpanId, TraceId};
use uuid::Uuid;

use crate::{
    encode::{Sanitized, clean_text},
    label::clean,
    ledger::Ticket,
    limits::SUBJECT_BYTES_MAX,
    outcome::Outcome,
    payload::{Payload, Sources},
    record::{RunRecord, Timestamp},
    run::{Run, end::Ended},
    sink::Kept,
    span_ids::hex,
    strategy::StrategyShared,
    subject::SubjectKey,
};

impl Run {
    pub(crate) fn assemble(
        &mut self,
        strategy: &StrategyShared,
        (ended, ticket): (&Ended<'_>, Ticket),
        (run_id, started_at): (Uuid, Timestamp),
        (trace_id, span_id): (TraceId, SpanId),
    ) -> Kept {
        let &Ended { outcome, duration, keep, input } = ended;
        let (value, nodes) = (self.value, self.nodes);
        let core = &strategy.core;
        let trace_entries = self.entries_max();
        let scratch = self.scratch();
        let mut changed = Sanitized::default();
        let slim = is_slim(strategy, outcome);
        changed.slim += u64::from(slim);
        let sources = Sources {
            outcome,
            input,
            scratch,
            rules: &core.rules,
            capture: strategy.capture,
            shapes: &core.shapes,
            trace_entries,
        };
        let payload = Payload::of(sources, slim, &mut changed);
        let scratch = self.scratch();
        let subject = text(&scratch.subject, SUBJECT_BYTES_MAX, &mut changed)
            .map(|subject| stored_subject(subject, core.subject_key.as_ref()));
        let correlation_id = text(&scratch.correlation_id, SUBJECT_BYTES_MAX, &mut changed);
        let value = finite(value, &mut changed);
        if changed != Sanitized::default() {
            core.recorder.sanitized(&changed);
        }
        // The last thing, so that it is put together where it is wanted.
        let record = RunRecord {
            run_id,
            epoch: core.epoch,
            kind: strategy.kind.clone(),
            realm: strategy.realm.clone(),
            strategy_id: strategy.id.clone(),
            strategy_version: strategy.version.clone(),
            strategy_type: strategy.strategy_type.clone(),
            strategy_hash: strategy.hash.clone(),
            subject,
            correlation_id,
            parent_run_id: scratch.parent,
            status: outcome.status,
            // Word for word what the metric says, so that one leads to the other.
            error_type: outcome.error_type.as_deref().map(|it| clean(it).into()),
            error_message: payload.error_message,
            error_node: payload.error_node,
            value,
            case_name: payload.case_name,
            started_at,
            finished_at: started_at.after(duration),
            duration,
            nodes,
            slow: keep.slow,
            keep_reason: keep.reason,
            inclusion_probability: keep.probability,
            sample_rate: keep.rate,
            slim,
            trace_id: Some(hex(&trace_id.to_bytes())),
            span_id: (span_id != SpanId::INVALID).then(|| hex(&span_id.to_bytes())),
            input: payload.input,
            input_bytes: payload.input_bytes,
            input_truncated: payload.input_truncated,
            attributes: payload.attributes,
            trace: payload.trace,
            trace_total: payload.trace_total,
            trace_kept: payload.trace_kept,
            trace_bytes: payload.trace_bytes,
            audit: None,
        };
        Kept { record, ticket }
    }
}

/// Whether the same error came so often that its row must do without input and trace.
fn is_slim(strategy: &StrategyShared, outcome: &Outcome<'_>) -> bool {
    outcome.status.is_failure() && {
        let core = &strategy.core;
        let error_type = outcome.error_type.as_deref().unwrap_or_default();
        let node = outcome.node.as_deref().unwrap_or_default();
        let fingerprint = [&strategy.kind, &strategy.id, &strategy.version, error_type, node];
        !core.storms.takes_full(&fingerprint, core.clock.now())
    }
}

/// Text of a run that may be missing.
fn text(text: &str, bytes_max: usize, changed: &mut Sanitized) -> Option<Box<str>> {
    (!text.is_empty()).then(|| clean_text(text, bytes_max, changed).into())
}

fn stored_subject(subject: Box<str>, key: Option<&SubjectKey>) -> Box<str> {
    match key {
        Some(key) => key.hash_clean(&subject),
        None => subject,
    }
}

fn finite(value: Option<f64>, changed: &mut Sanitized) -> Option<f64> {
    let finite = value.filter(|value| value.is_finite());
    changed.non_finite += u64::from(value.is_some() && finite.is_none());
    finite
}
