//! Headers of requests: names that exist, values that are secrets.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::parse;

/// How much of a bad name a message shows.
const SHOWN_CHARS_MAX: usize = 32;

/// `key=value,key=value`, percent-encoded. No message shows a value.
pub(super) fn list(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in parse::pairs(text)? {
        let (name, value) = header(&name, &value)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// One header. No message shows the value.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let header = HeaderName::try_from(name).map_err(|_| {
        let name: String = name.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
        format!("{name:?} is not the name of a header: use e.g. x-api-key")
    })?;
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        format!(
            "the value of {header:?} has characters that a header cannot carry: use plain ASCII"
        )
    })?;
    value.set_sensitive(true);
    Ok((header, value))
}
