//! For how long a server of Sentry wants nothing, as its answers say.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;

/// The pause after a refusal that names none.
const PAUSE_DEFAULT: Duration = Duration::from_secs(60);
/// Longer pauses are cut to this: then one report asks again.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Parts of a header that are looked at.
const PARTS_MAX: usize = 64;
const RATE_LIMITS: &str = "x-sentry-rate-limits";

/// What a server counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    Error,
    Transaction,
}

/// Until when nothing of a category may be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateLimits {
    error: Option<Instant>,
    transaction: Option<Instant>,
}

impl RateLimits {
    pub(super) fn are_in_force(&self, category: Category, now: Instant) -> bool {
        let until = match category {
            Category::Error => self.error,
            Category::Transaction => self.transaction,
        };
        until.is_some_and(|until| until > now)
    }

    /// Notes what an answer asks for: the longest pause, if it asks for any. The server's own header wins, which may
    /// stand on an answer that took something, too.
    pub(super) fn heed(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        now: Instant,
    ) -> Option<Duration> {
        let said = headers.get_all(RATE_LIMITS).iter().filter_map(|value| value.to_str().ok());
        let parts = said.flat_map(|text| text.split(',')).take(PARTS_MAX);
        let longest = parts.filter_map(|part| self.heed_part(part, now)).max();
        if longest.is_some() || status != StatusCode::TOO_MANY_REQUESTS {
            return longest;
        }
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let pause = seconds.and_then(pause).unwrap_or(PAUSE_DEFAULT);
        self.until(&[Category::Error, Category::Transaction], now + pause);
        Some(pause)
    }

    /// `seconds:category;category:scope:reason`; without a category it is about all.
    fn heed_part(&mut self, part: &str, now: Instant) -> Option<Duration> {
        let mut fields = part.split(':');
        let pause = pause(fields.next()?)?;
        let categories = fields.next()?.trim();
        let mut about = Vec::new();
        for (category, name) in [(Category::Error, "error"), (Category::Transaction, "transaction")]
        {
            if categories.is_empty() || categories.split(';').any(|it| it.trim() == name) {
                about.push(category);
            }
        }
        self.until(&about, now + pause);
        (!about.is_empty()).then_some(pause)
    }

    fn until(&mut self, categories: &[Category], until: Instant) {
        for category in categories {
            let of = match category {
                Category::Error => &mut self.error,
                Category::Transaction => &mut self.transaction,
            };
            *of = Some(of.map_or(until, |already| already.max(until)));
        }
    }
}

/// Seconds, perhaps with a fraction; a date is as good as nothing.
fn pause(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    let pause = Duration::try_from_secs_f64(seconds.ceil()).ok()?;
    Some(pause.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is limited after an answer, and the pause.
    fn after(status: u16, headers: &[(&'static str, &str)]) -> (bool, bool, Option<u64>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let (mut limits, now) = (RateLimits::default(), Instant::now());
        let pause = limits.heed(StatusCode::from_u16(status).unwrap(), &map, now);
        let of = |category| limits.are_in_force(category, now);
        (of(Category::Error), of(Category::Transaction), pause.map(|pause| pause.as_secs()))
    }

    #[test]
    fn a_pause_is_about_the_categories_that_it_names_or_about_all() {
        let limits = |text| after(429, &[(RATE_LIMITS, text)]);
        assert_eq!(limits("60:error:organization:quota"), (true, false, Some(60)));
        assert_eq!(limits("60:transaction;session:key"), (false, true, Some(60)));
        assert_eq!(limits("5::organization"), (true, true, Some(5)));
        assert_eq!(limits("5:error:o, 2700.2:transaction:o"), (true, true, Some(2701)));
        assert_eq!(limits("99999999:error:o"), (true, false, Some(86_400)));
    }

    #[test]
    fn a_refusal_without_a_header_of_its_own_is_about_all_and_an_answer_that_took_something_may_have_one()
     {
        assert_eq!(after(429, &[]), (true, true, Some(60)));
        assert_eq!(after(429, &[("retry-after", "7")]), (true, true, Some(7)));
        assert_eq!(
            after(429, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]),
            (true, true, Some(60))
        );
        assert_eq!(after(429, &[(RATE_LIMITS, "nonsense")]), (true, true, Some(60)));
        assert_eq!(after(200, &[(RATE_LIMITS, "60:error:o")]), (true, false, Some(60)));
        assert_eq!(after(200, &[(RATE_LIMITS, "60:attachment:o")]), (false, false, None));
        assert_eq!(after(200, &[("retry-after", "7")]), (false, false, None));
    }

    #[test]
    fn a_pause_ends_and_a_shorter_one_does_not_end_it_earlier() {
        let (mut limits, now) = (RateLimits::default(), Instant::now());
        for seconds in ["60:error:o", "5:error:o"] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(RATE_LIMITS),
                seconds.parse().unwrap(),
            )]);
            limits.heed(StatusCode::OK, &headers, now);
        }
        assert!(limits.are_in_force(Category::Error, now + Duration::from_secs(59)));
        assert!(!limits.are_in_force(Category::Error, now + Duration::from_secs(60)));
    }
}
