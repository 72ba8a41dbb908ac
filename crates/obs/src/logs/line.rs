//! A line before it is written: what happened, where, and in which run and request.

use std::{fmt, fmt::Write as _, panic::AssertUnwindSafe};

use obs_core::{CorrelationId, Timestamp, current_run_id, otel::Context, span_id_of, trace_id_of};
use opentelemetry::trace::TraceContextExt as _;
use tracing::{
    Level,
    field::{Field, Visit},
};
use uuid::Uuid;

/// Fields of a line, those of its spans among them; further ones are counted in `fields_left_out`.
pub(super) const FIELDS_MAX: usize = 64;
/// Text of one field, and of the message.
pub(super) const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Text of all fields and the message of a line.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// One event.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) at: Timestamp,
    pub(crate) level: Level,
    pub(crate) logger: &'a str,
    pub(crate) ids: Ids,
    /// The innermost span.
    pub(crate) span: Option<&'a str>,
    pub(crate) said: Said,
}

/// The message and the fields, within their limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) message: String,
    pub(crate) fields: Vec<(&'static str, Value)>,
    pub(crate) left_out: u64,
    bytes: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// What a line has in common with spans and rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace: Option<u128>,
    pub(crate) span: Option<u64>,
    pub(crate) correlation: Option<CorrelationId>,
    pub(crate) run: Option<Uuid>,
}

impl Ids {
    /// Of the run and the request that this thread is in. Inside of a run, the span is the run's own.
    pub(crate) fn here() -> Self {
        let run = current_run_id();
        let (around, correlation) = Context::map_current(|context| {
            let span = context.span();
            let ids = span.span_context();
            let around = ids.is_valid().then(|| {
                (
                    u128::from_be_bytes(ids.trace_id().to_bytes()),
                    u64::from_be_bytes(ids.span_id().to_bytes()),
                )
            });
            (around, context.get::<CorrelationId>().cloned())
        });
        let trace = around.map(|(trace, _)| trace).or_else(|| run.map(trace_id_of));
        let span = run.map(span_id_of).or_else(|| around.map(|(_, span)| span));
        Self { trace, span, correlation, run }
    }
}

impl Said {
    /// A message of our own, without fields.
    pub(super) fn message(message: &str) -> Self {
        Self { message: message.to_owned(), bytes: message.len(), ..Self::default() }
    }

    /// Takes over what the spans around an event were told, but for what the event says itself.
    pub(crate) fn take_over(&mut self, fields: &[(&'static str, Value)]) {
        for (name, value) in fields {
            if !self.fields.iter().any(|(known, _)| known == name) {
                self.add(name, value.clone());
            }
        }
    }

    /// What it takes up.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn add(&mut self, name: &'static str, value: Value) {
        let bytes = name.len() + if let Value::Text(text) = &value { text.len() } else { 8 };
        if self.fields.len() == FIELDS_MAX || self.bytes + bytes > LINE_BYTES_MAX {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes;
        match self.fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.fields.push((name, value)),
        }
    }

    fn text(&mut self, field: &Field, text: &dyn fmt::Display) {
        let mut cut = Cut(String::new());
        // The text of others' values may panic; its line is written all the same.
        let written = std::panic::catch_unwind(AssertUnwindSafe(|| {
            // It fails where the text is cut.
            let _ = write!(cut, "{text}");
        }));
        if written.is_err() {
            cut.0.push_str("<panicked>");
        }
        if field.name() == "message" {
            self.bytes += cut.0.len();
            self.message = cut.0;
        } else {
            self.add(field.name(), Value::Text(cut.0));
        }
    }
}

impl Visit for Said {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), Value::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, &value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &Chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format_args!("{value:?}"));
    }
}

/// An error and what caused it.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        // Ends with the text at the latest.
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The beginning of a text; refuses what is beyond, so that nobody goes on making it.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES_MAX - self.0.len().min(TEXT_BYTES_MAX);
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        self.0.push('…');
        Err(fmt::Error)
    }
}
