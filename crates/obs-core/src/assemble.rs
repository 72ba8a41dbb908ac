//! Puts the record of a kept run together; every value becomes valid here.

use opentelemetry::trace::{SpanId, TraceId};

use crate::{
    encode::{Sanitized, clean_text},
    label::clean,
    limits::{MESSAGE_BYTES_MAX, SUBJECT_BYTES_MAX, WORD_BYTES_MAX},
    outcome::{EncodeInput, Outcome},
    record::{Json, RunRecord},
    run::{Run, end::Ended},
    strategy::StrategyShared,
    subject::SubjectKey,
};

/// What `()` encodes to: no input.
const NO_INPUT: &[u8] = b"null";

/// The input as it stands in the record.
#[derive(Default)]
struct Input {
    json: Option<Json>,
    bytes: u64,
    truncated: bool,
}

impl Run {
    pub(crate) fn assemble(&mut self, strategy: &StrategyShared, ended: &Ended<'_>) -> RunRecord {
        let &Ended { outcome, duration, keep, input } = ended;
        let (run_id, started_at) = self.identity(outcome.started_at, duration);
        let (trace_id, span_id) = self.started_in();
        let (value, nodes) = (self.value, self.nodes);
        let core = &strategy.core;
        let scratch = self.scratch();
        let mut changed = std::mem::take(&mut scratch.changed);
        let slim = is_slim(strategy, outcome);
        changed.slim += u64::from(slim);
        let input = encode_input(input.filter(|_| !slim), &mut changed);
        let attributes = scratch.attributes_json();
        changed += std::mem::take(&mut scratch.changed);
        let trace = scratch.trace.keep(outcome.status.is_failure(), core.limits.trace_entries);
        let (trace_total, trace_bytes) =
            trace.as_ref().map_or((0, 0), |trace| (trace.total, trace.bytes));
        let trace = trace.filter(|_| !slim);
        let record = RunRecord {
            run_id,
            epoch: core.epoch,
            kind: strategy.kind.clone(),
            realm: strategy.realm.clone(),
            strategy_id: strategy.id.clone(),
            strategy_version: strategy.version.clone(),
            strategy_type: strategy.strategy_type.clone(),
            strategy_hash: strategy.hash.clone(),
            subject: text(&scratch.subject, SUBJECT_BYTES_MAX, &mut changed)
                .map(|subject| stored_subject(subject, core.subject_key.as_ref())),
            correlation_id: text(&scratch.correlation_id, SUBJECT_BYTES_MAX, &mut changed),
            parent_run_id: scratch.parent,
            status: outcome.status,
            // Word for word what the metric says, so that one leads to the other.
            error_type: outcome.error_type.as_deref().map(|it| clean(it).into()),
            error_message: outcome
                .message
                .as_deref()
                .and_then(|it| text(it, MESSAGE_BYTES_MAX, &mut changed)),
            error_node: outcome
                .node
                .as_deref()
                .and_then(|it| text(it, WORD_BYTES_MAX, &mut changed)),
            value: finite(value, &mut changed),
            case_name: text(&scratch.case, WORD_BYTES_MAX, &mut changed),
            started_at,
            finished_at: started_at.after(duration),
            duration,
            nodes,
            slow: keep.slow,
            keep_reason: keep.reason,
            inclusion_probability: keep.probability,
            sample_rate: keep.rate,
            slim,
            trace_id: (trace_id != TraceId::INVALID).then(|| trace_id.to_string().into()),
            span_id: (span_id != SpanId::INVALID).then(|| span_id.to_string().into()),
            input: input.json,
            input_bytes: input.bytes,
            input_truncated: input.truncated,
            attributes,
            trace_total,
            trace_kept: trace.as_ref().map_or(0, |trace| trace.kept),
            trace_bytes,
            trace: trace.map(|trace| Json::trusted(trace.json.into())),
        };
        core.recorder.sanitized(&changed);
        record
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

fn encode_input(input: Option<&dyn EncodeInput>, changed: &mut Sanitized) -> Input {
    let Some(input) = input else { return Input::default() };
    let mut out = Vec::new();
    let encoded = input.encode(&mut out, changed);
    if out == NO_INPUT {
        return Input::default();
    }
    Input {
        json: String::from_utf8(out).ok().map(|text| Json::trusted(text.into())),
        bytes: encoded.bytes_total,
        truncated: encoded.truncated,
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
