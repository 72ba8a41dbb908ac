//! W3C `baggage`, read and written within limits of its own.

use http::{HeaderMap, HeaderValue};
use obs_core::otel::Context;
use opentelemetry::baggage::{BaggageExt as _, BaggageMetadata, KeyValueMetadata};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Members that are taken or sent; the recommendation asks for 64 at least.
const MEMBERS_MAX: usize = 64;
/// Bytes of the header; the recommendation asks for 8,192 at least.
const BYTES_MAX: usize = 8_192;

/// What a value cannot have as it is.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');

/// The context with what the caller says. What is malformed is left out.
pub(crate) fn read(context: Context, headers: &HeaderMap) -> Context {
    let mut bytes = 0;
    let mut members = Vec::new();
    for value in headers.get_all("baggage") {
        bytes += value.len();
        let Some(text) = value.to_str().ok().filter(|_| bytes <= BYTES_MAX) else { continue };
        members.extend(text.split(',').filter_map(member));
    }
    members.truncate(MEMBERS_MAX);
    if members.is_empty() { context } else { context.with_baggage(members) }
}

fn member(text: &str) -> Option<KeyValueMetadata> {
    let (pair, properties) = text.split_once(';').unwrap_or((text, ""));
    let (key, value) = pair.split_once('=')?;
    let key = key.trim();
    let is_token = !key.is_empty() && key.bytes().all(is_token);
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    is_token.then(|| {
        KeyValueMetadata::new(
            key.to_owned(),
            value.into_owned(),
            BaggageMetadata::from(properties.trim()),
        )
    })
}

/// A character of a token, as HTTP has it.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Tells whom is called what this context carries.
pub(crate) fn write(headers: &mut HeaderMap, context: &Context) {
    let mut text = String::new();
    for (key, (value, metadata)) in context.baggage().iter().take(MEMBERS_MAX) {
        let value = value.as_str();
        let value = utf8_percent_encode(value, ENCODED);
        let separator = if text.is_empty() { "" } else { "," };
        let mut member = format!("{separator}{key}={value}");
        if !metadata.as_str().is_empty() {
            member.push(';');
            member.push_str(metadata.as_str());
        }
        if text.len() + member.len() <= BYTES_MAX {
            text.push_str(&member);
        }
    }
    headers.remove("baggage");
    if !text.is_empty()
        && let Ok(value) = HeaderValue::try_from(text)
    {
        headers.insert("baggage", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(sent: &str) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.append("baggage", HeaderValue::from_bytes(sent.as_bytes()).unwrap());
        let context = read(Context::new(), &headers);
        let mut pairs: Vec<_> = (context.baggage().iter())
            .map(|(key, (value, _))| (key.to_string(), value.as_str().to_owned()))
            .collect();
        pairs.sort();
        pairs
    }

    #[test]
    fn members_are_taken_decoded_and_what_is_malformed_is_left_out() {
        let pairs = carried("user=al%20ice;private, tenant = acme,novalue,=x,a b=1,bad=%ff");
        let expected = [("tenant", "acme"), ("user", "al ice")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn members_and_bytes_beyond_their_limit_are_left_out() {
        let many: Vec<String> = (0..=MEMBERS_MAX).map(|nth| format!("k{nth}=1")).collect();
        assert_eq!(carried(&many[..MEMBERS_MAX].join(",")).len(), MEMBERS_MAX);
        assert_eq!(carried(&many.join(",")).len(), MEMBERS_MAX);
        let fits = format!("k={}", "x".repeat(BYTES_MAX - 2));
        assert_eq!((carried(&fits).len(), carried(&(fits + "x")).len()), (1, 0));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let context =
            Context::new().with_baggage([opentelemetry::KeyValue::new("user", "al, ice;\u{fc}%")]);
        let mut headers = HeaderMap::new();
        write(&mut headers, &context);
        let text = headers["baggage"].to_str().unwrap();
        assert_eq!(carried(text), [("user".to_owned(), "al, ice;\u{fc}%".to_owned())]);
        write(&mut headers, &Context::new());
        assert!(headers.is_empty(), "nothing of another request stays");
    }
}
