//! The ids of a request: taken from the caller if they are valid, generated otherwise, and echoed.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderValue};
use obs_core::{Clock, CorrelationId, Timestamp, otel::Context, span_id_of, trace_id_of};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceId, TraceState};
use uuid::Uuid;

use crate::{propagation::Propagation, traceparent};

/// A correlation id that is taken from a caller has at most this many bytes.
pub const CORRELATION_ID_BYTES_MAX: usize = 128;

/// The headers that are looked at, in this order.
const HEADERS: [&str; 2] = ["x-request-id", "x-correlation-id"];

/// Where the correlation id of a request comes from.
///
/// ```
/// assert_eq!(obs_http::Provenance::Replaced.as_str(), "replaced");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provenance {
    /// The caller sent it.
    Taken,
    /// The caller sent none.
    Generated,
    /// What the caller sent is too long or has characters that are not allowed; this one was
    /// generated instead.
    Replaced,
}

impl Provenance {
    /// The word that stands in rows and log lines.
    ///
    /// ```
    /// assert_eq!(obs_http::Provenance::Taken.as_str(), "taken");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Generated => "generated",
            Self::Replaced => "replaced",
        }
    }
}

/// The ids of one request. [`HttpLayer`](crate::HttpLayer) puts them into the request's extensions and
/// into OpenTelemetry's context, from which runs take them by themselves.
///
/// The correlation id is for people who search. It is text that a caller chose: never use it as an
/// idempotency key, because two requests may well carry the same one.
///
/// ```
/// use http::HeaderMap;
/// use obs_http::{Provenance, RequestIds};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("x-request-id", "4b0c1f".parse()?);
/// let ids = RequestIds::from_headers(&headers);
/// assert_eq!((ids.correlation_id().as_str(), ids.provenance()), ("4b0c1f", Provenance::Taken));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequestIds {
    id: CorrelationId,
    provenance: Provenance,
    /// Of the request as a run.
    run_id: Uuid,
    /// The span that the request is part of: the caller's, or the one that is current around it.
    parent: Option<SpanContext>,
    /// Whether that is of this process, and so the nearest one to whatever happens inside.
    within: bool,
    // Which of `HEADERS` the answer carries.
    echoed: [bool; HEADERS.len()],
}

impl RequestIds {
    /// Reads `X-Request-Id`, then `X-Correlation-Id`, then W3C `traceparent`. The first valid id is
    /// taken: 1 to [`CORRELATION_ID_BYTES_MAX`] letters, digits and `-_.:/+=@~`.
    ///
    /// ```
    /// use obs_http::{Provenance, RequestIds};
    /// let ids = RequestIds::from_headers(&http::HeaderMap::new());
    /// assert_eq!(ids.provenance(), Provenance::Generated);
    /// ```
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self::read(headers, Propagation::default(), Clock::default().wall())
    }

    pub(crate) fn read(headers: &HeaderMap, propagation: Propagation, now: Timestamp) -> Self {
        let sent = HEADERS.map(|name| headers.contains_key(name));
        let taken = HEADERS.iter().find_map(|name| valid(headers.get(*name)?));
        let any = sent.contains(&true);
        let (id, provenance) = match taken {
            Some(id) => (CorrelationId::new(id), Provenance::Taken),
            None if any => (generated(), Provenance::Replaced),
            None => (generated(), Provenance::Generated),
        };
        let echoed = if any { sent } else { [true, false] };
        let (parent, within) = match current_span() {
            Some(span) => (Some(span), true),
            None => (propagation.caller(headers), false),
        };
        let run_id = obs_core::new_run_id(now);
        Self { id, provenance, run_id, parent, within, echoed }
    }

    /// The ids of the request inside which this is called; `None` outside, and in tasks that were
    /// spawned without [`in_request`](crate::in_request).
    ///
    /// ```
    /// assert!(obs_http::RequestIds::current().is_none());
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        Context::map_current(|context| context.get::<Self>().cloned())
    }

    /// The id that runs and rows of this request carry.
    ///
    /// ```
    /// # let ids = obs_http::RequestIds::from_headers(&http::HeaderMap::new());
    /// assert_eq!(ids.correlation_id().as_str().len(), 36);
    /// ```
    #[must_use]
    pub const fn correlation_id(&self) -> &CorrelationId {
        &self.id
    }

    /// Whether the caller chose it.
    ///
    /// ```
    /// # let ids = obs_http::RequestIds::from_headers(&http::HeaderMap::new());
    /// assert_eq!(ids.provenance().as_str(), "generated");
    /// ```
    #[must_use]
    pub const fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The W3C trace id of the request, 32 hexadecimal digits: the one of the span around it, or the caller's, or
    /// one of its own.
    ///
    /// ```
    /// # use obs_http::RequestIds;
    /// let mut headers = http::HeaderMap::new();
    /// assert_eq!(RequestIds::from_headers(&headers).trace_id().len(), 32);
    /// let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// headers.insert("traceparent", sent.parse()?);
    /// let ids = RequestIds::from_headers(&headers);
    /// assert_eq!(ids.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace())
    }

    fn trace(&self) -> u128 {
        match &self.parent {
            Some(parent) => u128::from_be_bytes(parent.trace_id().to_bytes()),
            None => trace_id_of(self.run_id),
        }
    }

    /// The request as a run: its id, its trace, and the span it was started in.
    pub(crate) fn as_run(&self) -> (Uuid, u128, Option<u64>) {
        let parent = self.parent.as_ref();
        let parent = parent.map(|parent| u64::from_be_bytes(parent.span_id().to_bytes()));
        (self.run_id, self.trace(), parent)
    }

    /// The current context with these ids. Where no span of this process is current already, e.g. of a tracing
    /// layer outside, the request is the span that runs inside of it start in.
    pub(crate) fn context(&self) -> Context {
        let mut context = Context::current();
        if !self.within {
            context = context.with_remote_span_context(self.own_span());
        }
        let context = obs_core::otel::with_correlation_id(&context, self.id.clone());
        context.with_value(self.clone())
    }

    fn own_span(&self) -> SpanContext {
        let (flags, state) = match &self.parent {
            Some(parent) => (parent.trace_flags(), parent.trace_state().clone()),
            None => (traceparent::FLAGS_OF_OURS, TraceState::default()),
        };
        let trace = TraceId::from_bytes(self.trace().to_be_bytes());
        let own = SpanId::from_bytes(span_id_of(self.run_id).to_be_bytes());
        SpanContext::new(trace, own, flags, false, state)
    }

    /// Puts the id into an answer, under each header that the caller sent.
    pub(crate) fn echo(&self, headers: &mut HeaderMap) {
        // Both the valid ones and ours have visible ASCII only.
        let Ok(value) = HeaderValue::from_str(self.id.as_str()) else { return };
        for (name, echoed) in HEADERS.into_iter().zip(self.echoed) {
            if echoed {
                headers.insert(name, value.clone());
            }
        }
    }
}

fn current_span() -> Option<SpanContext> {
    Context::map_current(|context| {
        let span = context.span();
        Some(span.span_context().clone()).filter(SpanContext::is_valid)
    })
}

fn valid(value: &HeaderValue) -> Option<&str> {
    let id = value.to_str().ok()?.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(&byte);
    let fits = (1..=CORRELATION_ID_BYTES_MAX).contains(&id.len());
    (fits && id.bytes().all(allowed)).then_some(id)
}

/// A random UUID.
fn generated() -> CorrelationId {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Seeded by the standard library, which has a way of its own when the system has none.
        let (high, low) = (RandomState::new().hash_one(0_u8), RandomState::new().hash_one(1_u8));
        bytes = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
    }
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    CorrelationId::new(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(sent: &[(&'static str, &str)]) -> RequestIds {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        RequestIds::from_headers(&headers)
    }

    fn echo(ids: &RequestIds) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        ids.echo(&mut headers);
        let texts = |(name, value): (&http::HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        headers.iter().map(texts).collect()
    }

    #[test]
    fn an_id_of_128_bytes_is_taken_and_one_of_129_is_replaced() {
        let (at, past) = ("a".repeat(128), "a".repeat(129));
        let taken = ids(&[("x-request-id", &at)]);
        assert_eq!((taken.id.as_str(), taken.provenance), (at.as_str(), Provenance::Taken));
        let replaced = ids(&[("x-request-id", &past)]);
        assert_eq!((replaced.id.as_str().len(), replaced.provenance), (36, Provenance::Replaced));
    }

    #[test]
    fn only_harmless_characters_are_taken() {
        for bad in ["", "  ", "a b", "a\tb", "a\"b", "<script>", "a;b", "a\u{fc}", "a{b}", "a,b"] {
            let replaced = ids(&[("x-request-id", bad)]);
            assert_eq!(replaced.provenance, Provenance::Replaced, "{bad:?}");
            assert_ne!(replaced.id.as_str(), bad);
        }
        let taken = ids(&[("x-request-id", " Az09-_.:/+=@~ ")]);
        assert_eq!(taken.id.as_str(), "Az09-_.:/+=@~");
    }

    #[test]
    fn the_first_valid_header_wins_and_every_one_that_was_sent_is_echoed() {
        let both = ids(&[("x-correlation-id", "flow"), ("x-request-id", "request")]);
        let echoed = |name: &str, id: &str| (name.to_owned(), id.to_owned());
        assert_eq!(
            echo(&both),
            [echoed("x-request-id", "request"), echoed("x-correlation-id", "request")]
        );
        let second = ids(&[("x-correlation-id", "flow"), ("x-request-id", "not valid")]);
        assert_eq!((second.id.as_str(), second.provenance), ("flow", Provenance::Taken));
        let only = ids(&[("x-correlation-id", "flow")]);
        assert_eq!(echo(&only), [echoed("x-correlation-id", "flow")]);
        let none = ids(&[]);
        assert_eq!(echo(&none), [echoed("x-request-id", none.id.as_str())]);
    }

    #[test]
    fn generated_ids_differ() {
        assert_ne!(ids(&[]).id, ids(&[]).id);
    }
}
