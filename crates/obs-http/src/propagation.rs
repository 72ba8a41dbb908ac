//! How a trace and a request cross processes: in headers, both ways.

use http::{HeaderMap, HeaderValue};
use obs_core::{CorrelationId, current_run_id, otel::Context, span_id_of, trace_id_of};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceId, TraceState};

use crate::{baggage, traceparent};

/// Which of W3C's headers are read and written.
///
/// ```
/// use obs_http::Propagation;
/// let propagation = Propagation { baggage: false, ..Propagation::default() };
/// assert!(propagation.trace_context);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `traceparent` and `tracestate`.
    pub trace_context: bool,
    /// `baggage`.
    pub baggage: bool,
}

impl Default for Propagation {
    fn default() -> Self {
        Self { trace_context: true, baggage: true }
    }
}

impl Propagation {
    /// Puts what whom we call should know into the headers of a request that is about to be sent: the trace,
    /// with the run in whose body this is called as the span that calls, or else the current span; the baggage;
    /// and the correlation id, as `x-request-id`, which needs no setting.
    ///
    /// ```
    /// use http::Request;
    /// use obs_http::Propagation;
    ///
    /// let mut request = Request::get("http://stock.internal/items").body(()).unwrap();
    /// Propagation::default().inject(request.headers_mut());
    /// assert!(request.headers().is_empty(), "outside of every run and request there is nothing to say");
    /// ```
    pub fn inject(self, headers: &mut HeaderMap) {
        Context::map_current(|context| {
            if self.trace_context {
                traceparent::write(headers, &calling(context));
            }
            if self.baggage {
                baggage::write(headers, context);
            }
            let id = context.get::<CorrelationId>();
            let id = id.and_then(|id| HeaderValue::from_str(id.as_str()).ok());
            if let Some(id) = id {
                headers.insert("x-request-id", id);
            }
        });
    }

    /// The caller's span, if headers are to be believed.
    pub(crate) fn caller(self, headers: &HeaderMap) -> Option<SpanContext> {
        self.trace_context.then(|| traceparent::read(headers))?
    }

    /// The context with the caller's baggage.
    pub(crate) fn with_baggage(self, context: Context, headers: &HeaderMap) -> Context {
        if self.baggage { baggage::read(context, headers) } else { context }
    }
}

/// The span that calls: the run in whose body this thread is, or the current one.
fn calling(context: &Context) -> SpanContext {
    let span = context.span();
    let around = span.span_context();
    let Some(run) = current_run_id() else { return around.clone() };
    let own = SpanId::from_bytes(span_id_of(run).to_be_bytes());
    if around.is_valid() {
        let state = around.trace_state().clone();
        SpanContext::new(around.trace_id(), own, around.trace_flags(), false, state)
    } else {
        let trace = TraceId::from_bytes(trace_id_of(run).to_be_bytes());
        let flags = traceparent::FLAGS_OF_OURS;
        SpanContext::new(trace, own, flags, false, TraceState::default())
    }
}

/// As [`Propagation::inject`] with everything that W3C has.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// obs_http::inject(&mut headers);
/// ```
pub fn inject(headers: &mut HeaderMap) {
    Propagation::default().inject(headers);
}
