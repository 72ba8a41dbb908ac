//! The layer of `tracing`: an event, the spans around it and the ids of the moment become a line.

use std::sync::atomic::Ordering;

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    Logs,
    line::{Ids, Line, Said, Value},
    own::{Verdict, is_own},
};

pub(super) struct LogLayer(Logs);

/// What a span was told, for the lines inside.
struct SpanFields(Said);

impl LogLayer {
    pub(super) const fn new(logs: Logs) -> Self {
        Self(logs)
    }

    /// Whether a line of ours may be written, and after how many that may not.
    fn judge(&self, event: &Event<'_>) -> Option<u64> {
        let metadata = event.metadata();
        if !is_own(metadata.target()) {
            return Some(0);
        }
        let shared = &self.0.0;
        match shared.own.judge(metadata.callsite(), shared.clock.now()) {
            Verdict::Write { held_back } => Some(held_back),
            Verdict::HoldBack => {
                shared.held_back.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut said = Said::default();
        attributes.record(&mut said);
        span.extensions_mut().insert(SpanFields(said));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(said)) = span.extensions_mut().get_mut() {
            values.record(said);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(held_back) = self.judge(event) else { return };
        let metadata = event.metadata();
        let mut said = Said::default();
        event.record(&mut said);
        // From the innermost out: what is nearer is said first and stays.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(around)) = span.extensions().get() {
                said.take_over(&around.fields);
            }
        }
        if held_back > 0 {
            said.add("held_back", Value::Unsigned(held_back));
        }
        self.0.take(&Line {
            at: self.0.0.clock.wall(),
            level: *metadata.level(),
            logger: metadata.target(),
            ids: Ids::here(),
            span: context.event_span(event).map(|span| span.metadata().name()),
            said,
        });
    }
}
