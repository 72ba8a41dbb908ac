//! Which of Prometheus' texts a scraper prefers.

use http::{HeaderMap, header};

/// The format of an answer to `/metrics`.
///
/// ```
/// use obs_http::MetricsFormat;
/// assert!(MetricsFormat::Classic.content_type().starts_with("text/plain; version=0.0.4"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricsFormat {
    /// Prometheus' text format 0.0.4, which every scraper and every person reads.
    Classic,
    /// OpenMetrics 1.0, which has exemplars.
    OpenMetrics,
}

impl MetricsFormat {
    /// What the request prefers; the classic one where it does not say.
    ///
    /// ```
    /// use obs_http::MetricsFormat;
    /// let request = http::Request::get("/metrics").header("accept", "application/openmetrics-text");
    /// let (parts, ()) = request.body(())?.into_parts();
    /// assert_eq!(MetricsFormat::preferred(&parts.headers), MetricsFormat::OpenMetrics);
    /// # Ok::<(), http::Error>(())
    /// ```
    #[must_use]
    pub fn preferred(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
        let (mut classic, mut openmetrics) = (0, 0);
        for range in accepted.flat_map(|accepted| accepted.split(',')) {
            let (media, weight) = media_range(range);
            match &*media {
                "application/openmetrics-text" => openmetrics = openmetrics.max(weight),
                // Who takes anything is no scraper that knows OpenMetrics.
                "text/plain" | "text/*" | "*/*" => classic = classic.max(weight),
                _ => {}
            }
        }
        if openmetrics > 0 && openmetrics >= classic { Self::OpenMetrics } else { Self::Classic }
    }

    /// The `Content-Type` of an answer.
    ///
    /// ```
    /// use obs_http::MetricsFormat;
    /// let content_type = MetricsFormat::OpenMetrics.content_type();
    /// assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    /// ```
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The media type in lower case, and its weight in thousandths: 0 for a version that we do not have, and
/// for a weight that is no number.
fn media_range(range: &str) -> (String, u32) {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut weight = 1_000;
    for parameter in parts {
        match parameter.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("q" | "Q", value)) => weight = weight.min(thousandths(value)),
            // Before 1.0 it is the same text but for its name.
            Some(("version", version))
                if media == "application/openmetrics-text" && !has_version(version) =>
            {
                weight = 0;
            }
            _ => {}
        }
    }
    (media, weight)
}

fn has_version(version: &str) -> bool {
    ["1.0.0", "0.0.1"].contains(&version.trim_matches('"'))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number between 0 and 1000"
)]
fn thousandths(text: &str) -> u32 {
    let weight: f64 = text.parse().unwrap_or(0.0);
    if (0.0..=1.0).contains(&weight) { (weight * 1_000.0).round() as u32 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferred(accept: &[&str]) -> MetricsFormat {
        let mut headers = HeaderMap::new();
        for accept in accept {
            headers.append(header::ACCEPT, accept.parse().unwrap());
        }
        MetricsFormat::preferred(&headers)
    }

    #[test]
    fn openmetrics_is_for_those_who_prefer_it_in_a_version_that_we_have() {
        // As Prometheus 2 and 3 ask.
        for asks in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "Application/OpenMetrics-Text; charset=utf-8; version=\"1.0.0\"",
            "application/openmetrics-text, text/plain",
        ] {
            assert_eq!(preferred(&[asks]), MetricsFormat::OpenMetrics, "{asks}");
        }
        assert_eq!(
            preferred(&["text/plain;q=0.5", "application/openmetrics-text;q=0.501"]),
            MetricsFormat::OpenMetrics
        );
    }

    #[test]
    fn everybody_else_gets_the_classic_text() {
        for asks in [
            "*/*",
            "text/plain;version=0.0.4",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0,*/*",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.3,text/plain;q=0.4",
            "application/openmetrics-text;q=high",
            "application/openmetrics-text;q=1.5",
            "",
            ",;=,",
        ] {
            assert_eq!(preferred(&[asks]), MetricsFormat::Classic, "{asks}");
        }
        assert_eq!(preferred(&[]), MetricsFormat::Classic);
    }
}
