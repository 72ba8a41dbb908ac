//! W3C `traceparent` and `tracestate`, read as the recommendation says: what is malformed is as if it
//! were not there; and written.

use std::str::FromStr;

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A longer `tracestate` is left out: the recommendation asks for 512 characters at least.
const TRACE_STATE_BYTES_MAX: usize = 512;

/// `sampled`, and `random`: the last 56 bits of the trace id are.
const FLAGS_KNOWN: TraceFlags = TraceFlags::new(0b11);

/// The flags of a trace that begins here: its id is random, and what becomes of it is decided at the end.
pub(crate) const FLAGS_OF_OURS: TraceFlags = FLAGS_KNOWN;

/// Version, trace id, span id and flags with their hyphens.
const VERSION_0_BYTES: usize = 55;

/// The caller's span, if exactly one valid `traceparent` was sent.
pub(crate) fn read(headers: &HeaderMap) -> Option<SpanContext> {
    let mut sent = headers.get_all("traceparent").iter();
    let (Some(parent), None) = (sent.next(), sent.next()) else { return None };
    let (trace_id, span_id, flags) = parse(parent.to_str().ok()?.trim())?;
    Some(SpanContext::new(trace_id, span_id, flags, true, state(headers)))
}

fn parse(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut parts = text.splitn(5, '-');
    let version = lower_hex(parts.next()?, 2)?;
    let trace_id = lower_hex(parts.next()?, 32)?;
    let span_id = lower_hex(parts.next()?, 16)?;
    let flags = lower_hex(parts.next()?, 2)?;
    // Version 255 is forbidden; later versions than 0 may say more.
    if version == "ff" || (version == "00" && text.len() != VERSION_0_BYTES) {
        return None;
    }
    let trace_id = TraceId::from_hex(trace_id).ok().filter(|id| *id != TraceId::INVALID)?;
    let span_id = SpanId::from_hex(span_id).ok().filter(|id| *id != SpanId::INVALID)?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some((trace_id, span_id, flags & FLAGS_KNOWN))
}

/// Says to whom is called that this span calls. A context without one says nothing.
pub(crate) fn write(headers: &mut HeaderMap, span: &SpanContext) {
    if !span.is_valid() {
        return;
    }
    let flags = span.trace_flags().to_u8();
    let text = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    // Hexadecimal digits and hyphens.
    let Ok(parent) = HeaderValue::try_from(text) else { return };
    headers.insert("traceparent", parent);
    headers.remove("tracestate");
    let state = span.trace_state().header();
    if !state.is_empty()
        && let Ok(state) = HeaderValue::try_from(state)
    {
        headers.insert("tracestate", state);
    }
}

fn lower_hex(text: &str, length: usize) -> Option<&str> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == length && text.bytes().all(hex)).then_some(text)
}

fn state(headers: &HeaderMap) -> TraceState {
    let mut sent = headers.get_all("tracestate").iter();
    let (Some(state), None) = (sent.next(), sent.next()) else { return TraceState::default() };
    let text = state.to_str().unwrap_or_default();
    if text.len() > TRACE_STATE_BYTES_MAX {
        return TraceState::default();
    }
    TraceState::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(sent: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_valid_parent_is_read_with_its_flags_and_state() {
        let span = read(&headers(&[("traceparent", VALID), ("tracestate", "vendor=1")])).unwrap();
        assert_eq!(span.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.span_id().to_string(), "00f067aa0ba902b7");
        assert!(span.is_remote() && span.is_sampled());
        assert_eq!(span.trace_state().get("vendor"), Some("1"));
        assert!(
            !read(&headers(&[("traceparent", &VALID.replace("-01", "-00"))])).unwrap().is_sampled()
        );
    }

    #[test]
    fn a_later_version_may_say_more_and_version_zero_may_not() {
        let later = format!("{}-more", VALID.replacen("00", "01", 1));
        assert!(read(&headers(&[("traceparent", &later)])).is_some());
        assert!(read(&headers(&[("traceparent", &format!("{VALID}-more"))])).is_none());
    }

    #[test]
    fn what_is_malformed_is_as_if_it_were_not_there() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            &VALID.to_uppercase(),
            &VALID.replacen("00", "ff", 1),
            &VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &VALID.replace('-', "_"),
            &VALID.replace("-01", "-+1"),
        ] {
            assert!(read(&headers(&[("traceparent", bad)])).is_none(), "{bad:?}");
        }
        assert!(read(&headers(&[("traceparent", VALID), ("traceparent", VALID)])).is_none());
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let sent =
            headers(&[("traceparent", &VALID.replace("-01", "-03")), ("tracestate", "a=1,b=2")]);
        let mut again = headers(&[("tracestate", "of somebody else")]);
        write(&mut again, &read(&sent).unwrap());
        assert_eq!(again, sent);
        let mut none = HeaderMap::new();
        write(&mut none, &SpanContext::NONE);
        assert!(none.is_empty());
    }

    #[test]
    fn a_state_that_is_too_long_is_left_out_and_the_parent_stays() {
        let long = format!("vendor={}", "x".repeat(512));
        let span = read(&headers(&[("traceparent", VALID), ("tracestate", &long)])).unwrap();
        assert_eq!(span.trace_state().get("vendor"), None);
    }
}
