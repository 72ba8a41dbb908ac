//! What a row holds of somebody else's data: input, attributes, trace and texts, as they may be stored.

use crate::{
    capture::{Capture, Shapes},
    encode::{Redact, Sanitized, clean_text, redact_trace},
    label::cut,
    limits::{MESSAGE_BYTES_MAX, TRACE_BYTES_MAX, WORD_BYTES_MAX},
    outcome::{EncodeInput, Outcome},
    record::Json,
    redact::{Place, Rules},
    scratch::Scratch,
    trace::{self, fitting},
};

/// What `()` encodes to: no input.
const NO_INPUT: &[u8] = b"null";

#[derive(Default)]
pub(crate) struct Payload {
    pub(crate) input: Option<Json>,
    pub(crate) input_bytes: u64,
    pub(crate) input_truncated: bool,
    pub(crate) attributes: Option<Json>,
    pub(crate) trace: Option<Json>,
    pub(crate) trace_kept: u64,
    pub(crate) trace_total: u64,
    pub(crate) trace_bytes: u64,
    pub(crate) error_message: Option<Box<str>>,
    pub(crate) error_node: Option<Box<str>>,
    pub(crate) case_name: Option<Box<str>>,
}

/// Where a payload comes from.
pub(crate) struct Sources<'a> {
    pub(crate) outcome: &'a Outcome<'a>,
    pub(crate) input: Option<&'a dyn EncodeInput>,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) rules: &'a Rules,
    pub(crate) capture: Capture,
    pub(crate) shapes: &'a Shapes,
    pub(crate) trace_entries: usize,
}

impl Payload {
    /// `slim` leaves input and trace out.
    pub(crate) fn of(sources: Sources<'_>, slim: bool, changed: &mut Sanitized) -> Self {
        let Sources { outcome, input, scratch, rules, capture, shapes, trace_entries } = sources;
        *changed += std::mem::take(&mut scratch.changed);
        let mut payload = Self {
            attributes: scratch.attributes_json(rules),
            error_message: message(outcome, rules, changed),
            error_node: outcome.node.as_deref().and_then(|node| word(node, rules, changed)),
            case_name: word(&scratch.case, rules, changed),
            ..Self::default()
        };
        *changed += std::mem::take(&mut scratch.changed);
        if let Some(input) = input.filter(|_| !slim && capture != Capture::Off) {
            let shapes = (capture == Capture::Shape).then_some(shapes);
            let redact = Redact { rules, place: Place::Input, shapes };
            payload.take_input(input, redact, &mut scratch.document, changed);
        }
        let failed = outcome.status.is_failure();
        if let Some(trace) = scratch.trace.keep(failed, trace_entries) {
            payload.trace_total = trace.total;
            payload.trace_bytes = trace.bytes;
            if !slim {
                payload.take_trace(trace, (failed, scratch), rules, changed);
            }
        }
        if changed.redactor > 0 {
            // Nobody knows what the hook would have taken out.
            changed.redactor = 1;
            payload.forget();
        }
        payload
    }

    /// `buffer` is what the thread's last run encoded into.
    fn take_input(
        &mut self,
        input: &dyn EncodeInput,
        redact: Redact<'_>,
        buffer: &mut Vec<u8>,
        changed: &mut Sanitized,
    ) {
        let (encoded, len) = input.encode(redact, buffer, changed);
        let text = buffer.get(..len).unwrap_or_default();
        if text != NO_INPUT {
            self.input = Some(Json::trusted(text.into()));
            self.input_bytes = encoded.bytes_total;
            self.input_truncated = encoded.truncated;
        }
    }

    fn take_trace(
        &mut self,
        trace: trace::Kept,
        (failed, scratch): (bool, &Scratch),
        rules: &Rules,
        changed: &mut Sanitized,
    ) {
        let (mut json, mut kept) = (trace.json, trace.kept);
        if scratch.has_documents || rules.concern_json(&json, scratch.has_signs) {
            json = redact_trace(&json, rules, changed);
            if json.len() > TRACE_BYTES_MAX {
                (json, kept) = fitting(&json, failed);
            }
        }
        self.trace_kept = kept;
        self.trace = Some(Json::trusted(json.into_bytes().into()));
    }

    fn forget(&mut self) {
        self.input = None;
        (self.input_bytes, self.input_truncated) = (0, false);
        self.attributes = None;
        (self.trace, self.trace_kept) = (None, 0);
        self.error_message = None;
    }
}

fn message(outcome: &Outcome<'_>, rules: &Rules, changed: &mut Sanitized) -> Option<Box<str>> {
    let message = outcome.message.as_deref().filter(|message| !message.is_empty())?;
    Some(safe_message(message, rules, changed))
}

/// The message of an error or of an audit entry.
pub(crate) fn safe_message(message: &str, rules: &Rules, changed: &mut Sanitized) -> Box<str> {
    let head = cut(message, MESSAGE_BYTES_MAX);
    changed.size += u64::from(head.len() < message.len());
    let safe = rules.message(head, changed);
    clean_text(&safe, MESSAGE_BYTES_MAX, changed).into()
}

/// A text of few bytes, e.g. a name.
fn word(text: &str, rules: &Rules, changed: &mut Sanitized) -> Option<Box<str>> {
    let head = cut(text, WORD_BYTES_MAX);
    changed.size += u64::from(head.len() < text.len());
    let safe = rules.by_looks(head, changed);
    (!safe.is_empty()).then(|| clean_text(&safe, WORD_BYTES_MAX, changed).into())
}
