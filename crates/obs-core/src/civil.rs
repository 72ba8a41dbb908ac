//! Timestamps as dates and as text, and back.

use crate::record::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;
/// As far from 0 as years go whose microseconds can be counted.
const YEAR_MAX: i64 = 250_000;

impl Timestamp {
    /// RFC 3339 in UTC, to the microsecond.
    ///
    /// ```
    /// let at = obs_core::Timestamp::from_micros(1_767_225_599_999_999);
    /// assert_eq!(at.to_rfc3339(), "2025-12-31T23:59:59.999999Z");
    /// ```
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        text(self, 6)
    }

    /// RFC 3339 in UTC, to the millisecond.
    ///
    /// ```
    /// let at = obs_core::Timestamp::from_micros(1_767_225_599_999_999);
    /// assert_eq!(at.to_rfc3339_millis(), "2025-12-31T23:59:59.999Z");
    /// ```
    #[must_use]
    pub fn to_rfc3339_millis(self) -> String {
        text(self, 3)
    }

    /// Year, month and day in UTC.
    ///
    /// ```
    /// assert_eq!(obs_core::Timestamp::from_micros(-1).date(), (1969, 12, 31));
    /// ```
    #[must_use]
    pub const fn date(self) -> (i64, i64, i64) {
        civil(self.as_micros().div_euclid(MICROS_PER_DAY))
    }

    /// The beginning of a day in UTC; `None` if there is no such day.
    ///
    /// ```
    /// use obs_core::Timestamp;
    /// let day = Timestamp::from_date(2024, 2, 29);
    /// assert_eq!(day.map(Timestamp::to_rfc3339_millis).as_deref(), Some("2024-02-29T00:00:00.000Z"));
    /// assert_eq!(Timestamp::from_date(2026, 2, 29), None);
    /// ```
    #[must_use]
    pub fn from_date(year: i64, month: i64, day: i64) -> Option<Self> {
        let counted = (-YEAR_MAX..=YEAR_MAX).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day);
        if !counted {
            return None;
        }
        let days = days(year, month, day);
        // A day that its month does not have is another one when it is counted back.
        let valid = civil(days) == (year, month, day);
        valid.then(|| Self::from_micros(days * MICROS_PER_DAY))
    }

    /// A moment of RFC 3339: date, `T`, time to the second or finer, and `Z` or an offset. What is finer than a
    /// microsecond is left out.
    ///
    /// ```
    /// use obs_core::Timestamp;
    /// let noon = Timestamp::from_rfc3339("2026-11-21T14:00:00+02:00");
    /// assert_eq!(noon.map(Timestamp::to_rfc3339_millis).as_deref(), Some("2026-11-21T12:00:00.000Z"));
    /// assert_eq!(Timestamp::from_rfc3339("tomorrow"), None);
    /// ```
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once('T')?;
        let at = rest.find(['Z', '+', '-'])?;
        let (time, zone) = rest.split_at(at);
        let (time, fraction) =
            time.split_once('.').map_or((time, None), |(time, of)| (time, Some(of)));
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        let of_day = hour < 24 && minute < 60 && second < 60;
        let start = Self::from_date(year, month, day).filter(|_| of_day)?;
        let seconds = hour * 3_600 + minute * 60 + second - offset(zone)?;
        let micros = match fraction {
            None => 0,
            Some(digits) => micros(digits)?,
        };
        Some(Self::from_micros(start.as_micros() + seconds * MICROS_PER_SECOND + micros))
    }
}

/// With so many digits of the second's fraction, six at most.
fn text(at: Timestamp, digits: usize) -> String {
    let micros = at.as_micros();
    let (seconds, micros) =
        (micros.div_euclid(MICROS_PER_SECOND), micros.rem_euclid(MICROS_PER_SECOND));
    let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let fraction = micros / 10_i64.pow(6 - digits as u32);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:0digits$}Z")
}

/// The date of a day since 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the leap
/// day is the last of its year and months have lengths that a line fits.
const fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Three numbers with so many digits, and a sign between them.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        *number = whole(parts.next()?, digits)?;
    }
    parts.next().is_none().then_some(numbers)
}

fn whole(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// How many seconds a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let ahead = zone.strip_prefix('+');
    let (hours, minutes) = ahead.or_else(|| zone.strip_prefix('-'))?.split_once(':')?;
    let (hours, minutes) = (whole(hours, 2)?, whole(minutes, 2)?);
    let seconds = hours * 3_600 + minutes * 60;
    let valid = hours < 24 && minutes < 60;
    valid.then_some(if ahead.is_some() { seconds } else { -seconds })
}

/// What stands behind the point of the seconds.
fn micros(digits: &str) -> Option<i64> {
    const DIGITS_MAX: usize = 9;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let nanos = whole(digits, digits.len())? * 10_i64.pow((DIGITS_MAX - digits.len()) as u32);
    Some(nanos / 1_000)
}

/// The day since 1970-01-01 that a date is: what [`civil`] turns back.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_have_their_text() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_767_225_599_999_999, "2025-12-31T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (-1_000, "1969-12-31T23:59:59.999000Z"),
        ] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(at.to_rfc3339(), expected);
            assert_eq!(at.to_rfc3339_millis(), format!("{}Z", &expected[..23]));
            assert_eq!(Timestamp::from_rfc3339(expected), Some(at));
        }
    }

    #[test]
    fn every_day_of_eight_centuries_is_read_back() {
        for day in -146_097..146_097 {
            let (year, month, of_month) = civil(day);
            let at = Timestamp::from_micros(day * MICROS_PER_DAY);
            assert_eq!((at.date(), days(year, month, of_month)), ((year, month, of_month), day));
            assert_eq!(Timestamp::from_date(year, month, of_month), Some(at));
        }
    }

    #[test]
    fn a_date_that_the_calendar_does_not_have_or_nobody_can_count_to_is_none() {
        for (year, month, day) in [
            (2026, 2, 29),
            (1900, 2, 29),
            (2026, 4, 31),
            (2026, 13, 1),
            (2026, 0, 1),
            (2026, 1, 0),
            (2026, -1, 1),
            (2026, 1, 32),
            (YEAR_MAX + 1, 1, 1),
            (i64::MIN, 1, 1),
            (2026, i64::MAX, 1),
            (2026, 1, i64::MAX),
        ] {
            assert_eq!(Timestamp::from_date(year, month, day), None, "{year}-{month}-{day}");
        }
        for year in [-YEAR_MAX, 2000, YEAR_MAX] {
            let day = Timestamp::from_date(year, 2, 28);
            assert_eq!(day.map(|it| it.date().0), Some(year));
        }
    }

    #[test]
    fn a_zone_and_a_fraction_are_understood_and_what_is_no_moment_is_refused() {
        let noon = Timestamp::from_rfc3339("2026-11-21T12:00:00Z");
        for same in [
            "2026-11-21T14:00:00+02:00",
            "2026-11-21T06:30:00-05:30",
            "2026-11-21T12:00:00.000000999Z",
        ] {
            assert_eq!(Timestamp::from_rfc3339(same), noon, "{same}");
        }
        for bad in [
            "",
            "2026-11-21",
            "2026-11-21T12:00:00",
            "2026-11-21 12:00:00Z",
            "2026-11-21T12:00Z",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-11-31T12:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T12:60:00Z",
            "2026-11-21T12:00:60Z",
            "2026-11-21T12:00:00.Z",
            "2026-11-21T12:00:00+2:00",
            "2026-11-21T12:00:00Zulu",
            "2026-11-21T12:00:00Z02:00",
            "+026-11-21T12:00:00Z",
        ] {
            assert_eq!(Timestamp::from_rfc3339(bad), None, "{bad}");
        }
    }
}
