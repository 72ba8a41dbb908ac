//! Which runs become rows: a pure decision, and the policy it follows.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{consistent::SampleBy, record::Timestamp, status::Status};

/// Why a run was kept.
///
/// ```
/// assert_eq!(obs_core::KeepReason::First.as_str(), "first");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeepReason {
    /// The run failed.
    Failure,
    /// The caller asked for this run.
    Forced,
    /// The run took longer than the SLO.
    Slow,
    /// One of the first runs of a strategy version in this process.
    First,
    /// The run was cancelled, and the rate for cancelled runs chose it.
    Cancelled,
    /// The sample rate chose it.
    Sampled,
}

impl KeepReason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Failure, Self::Forced, Self::Slow, Self::First, Self::Cancelled, Self::Sampled];

    /// The word used in rows.
    ///
    /// ```
    /// assert_eq!(obs_core::KeepReason::Slow.as_str(), "slow");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Forced => "forced",
            Self::Slow => "slow",
            Self::First => "first",
            Self::Cancelled => "cancelled",
            Self::Sampled => "sampled",
        }
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What decides whether a run becomes a row.
///
/// ```
/// use obs_core::{KeepPolicy, Rate};
/// use std::time::Duration;
///
/// let policy = KeepPolicy { ok_rate: Rate::new(0.25)?, slow: Some(Duration::from_millis(100)), ..KeepPolicy::default() };
/// assert_eq!(policy.first, 1);
/// # Ok::<(), obs_core::RateError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeepPolicy {
    /// Runs that take longer than this are kept; `None` switches the rule off. Default 0.25 s.
    pub slow: Option<Duration>,
    /// How many runs of each strategy version are kept at first, in each process. Default 1.
    pub first: u32,
    /// The share of cancelled runs that is kept. Default 1.
    pub cancelled_rate: Rate,
    /// The share of all other ok runs that is kept. Default 0.05.
    pub ok_rate: Rate,
    /// By what the runs are chosen that a rate keeps. Default: by chance.
    pub sample_by: SampleBy,
}

/// The SLO that [`KeepPolicy::default`] uses.
pub const SLO_DEFAULT: Duration = Duration::from_millis(250);

impl Default for KeepPolicy {
    fn default() -> Self {
        Self {
            slow: Some(SLO_DEFAULT),
            first: 1,
            cancelled_rate: Rate(1.0),
            ok_rate: Rate(0.05),
            sample_by: SampleBy::Chance,
        }
    }
}

/// A share of runs, from 0 (none) to 1 (all); both ends are exact.
///
/// ```
/// use obs_core::Rate;
///
/// assert_eq!(Rate::new(0.05)?.get(), 0.05);
/// let error = Rate::new(1.5).unwrap_err();
/// assert_eq!(error.to_string(), "rate 1.5 is not in [0, 1]: use 0 for none, 1 for all, 0.05 for one in twenty");
/// # Ok::<(), obs_core::RateError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(
    // Finite and in [0, 1]: checked by `new`.
    f64,
);

impl Rate {
    /// Every run.
    pub(crate) const ALL: Self = Self(1.0);

    /// Checks a rate.
    ///
    /// # Errors
    /// When the value is not a number in [0, 1].
    ///
    /// ```
    /// assert!(obs_core::Rate::new(f64::NAN).is_err());
    /// ```
    pub fn new(value: f64) -> Result<Self, RateError> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(RateError { value }) }
    }

    /// The rate as a number in [0, 1].
    ///
    /// ```
    /// assert_eq!(obs_core::Rate::new(1.0)?.get(), 1.0);
    /// # Ok::<(), obs_core::RateError>(())
    /// ```
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// As a word; and from one that was a rate.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0.to_bits()
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }

    /// Whether a draw from [0, 1) falls inside the rate.
    fn takes(self, draw: f64) -> bool {
        draw < self.0
    }
}

/// A rate that is not in [0, 1].
///
/// ```
/// let error: obs_core::RateError = obs_core::Rate::new(-1.0).unwrap_err();
/// assert!(error.to_string().starts_with("rate -1 is not in [0, 1]"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateError {
    value: f64,
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rate {} is not in [0, 1]: use 0 for none, 1 for all, 0.05 for one in twenty",
            self.value
        )
    }
}

impl std::error::Error for RateError {}

/// What is known about a run when it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) status: Status,
    pub(crate) nanos: u64,
    pub(crate) forced: bool,
    /// This is one of the first runs of its strategy version.
    pub(crate) first: bool,
    /// Uniform in [0, 1); anything where [`How::draws`] says no.
    pub(crate) draw: f64,
}

/// A run that is kept: why, and with what probability a run like it is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Keep {
    pub(crate) reason: KeepReason,
    pub(crate) probability: f64,
    /// The rate that was in force for runs of this status.
    pub(crate) rate: f64,
    pub(crate) slow: bool,
}

/// What of the policy holds for the runs of one strategy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct KeepRules {
    pub(crate) ok_rate: Rate,
    pub(crate) cancelled_rate: Rate,
    /// Longer runs than this are slow, in nanoseconds.
    pub(crate) slow_above: u64,
    pub(crate) sample_by: SampleBy,
    /// When something else holds, by the wall clock.
    pub(crate) until: Option<Timestamp>,
}

/// What of it decides about a run, once it is known how the run ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) rate: Rate,
    pub(crate) slow_above: u64,
    pub(crate) how: How,
}

/// Whether a draw can decide, and by what it is made: one word, so that a run reckons none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How(u32);

impl How {
    const DRAWS: u32 = 1 << 8;
    const SAMPLE_BY: u32 = Self::DRAWS - 1;

    /// A draw can decide where neither none nor all are kept.
    pub(crate) fn new(Rate(rate): Rate, sample_by: SampleBy) -> Self {
        let draws = if rate > 0.0 && rate < 1.0 { Self::DRAWS } else { 0 };
        Self(sample_by.code() | draws)
    }

    /// As a word; and from one that it was.
    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) const fn draws(self) -> bool {
        self.0 & Self::DRAWS != 0
    }

    /// `None` by chance.
    #[inline(always)]
    pub(crate) const fn by_an_id(self) -> Option<SampleBy> {
        match self.0 & Self::SAMPLE_BY {
            0 => None,
            code => Some(SampleBy::from_code(code)),
        }
    }
}

impl KeepRules {
    pub(crate) fn new(policy: KeepPolicy, until: Option<Timestamp>) -> Self {
        let slow_above = policy.slow.and_then(|slo| u64::try_from(slo.as_nanos()).ok());
        let KeepPolicy { ok_rate, cancelled_rate, sample_by, .. } = policy;
        let slow_above = slow_above.unwrap_or(u64::MAX);
        Self { ok_rate, cancelled_rate, slow_above, sample_by, until }
    }

    pub(crate) fn bar(&self, status: Status) -> Bar {
        let rate = match status {
            Status::Ok => self.ok_rate,
            Status::Cancelled => self.cancelled_rate,
            _ => Rate::ALL,
        };
        Bar { rate, slow_above: self.slow_above, how: How::new(rate, self.sample_by) }
    }
}

/// The decision. No clock, no I/O, no randomness of its own.
#[inline]
pub(crate) fn decide(bar: &Bar, facts: &Facts) -> Option<Keep> {
    let slow = facts.nanos > bar.slow_above;
    let certain = facts.status.is_failure() || facts.forced || slow || facts.first;
    (certain || bar.rate.takes(facts.draw)).then(|| why(bar.rate, facts, slow))
}

/// A run that is kept for certain has probability 1, even when a draw would have chosen it too: the
/// probability belongs to the run's facts, not to the lucky draw.
#[cold]
fn why(rate: Rate, facts: &Facts, slow: bool) -> Keep {
    let rate = rate.get();
    let (reason, probability) = if facts.status.is_failure() {
        (KeepReason::Failure, 1.0)
    } else if facts.forced {
        (KeepReason::Forced, 1.0)
    } else if slow {
        (KeepReason::Slow, 1.0)
    } else if facts.first {
        (KeepReason::First, 1.0)
    } else if facts.status == Status::Cancelled {
        (KeepReason::Cancelled, rate)
    } else {
        (KeepReason::Sampled, rate)
    };
    Keep { reason, probability, rate, slow }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Facts =
        Facts { status: Status::Ok, nanos: 1_000_000, forced: false, first: false, draw: 0.5 };

    fn policy(ok_rate: f64) -> KeepPolicy {
        KeepPolicy { ok_rate: Rate::new(ok_rate).unwrap(), ..KeepPolicy::default() }
    }

    fn reason(policy: &KeepPolicy, facts: Facts) -> Option<(KeepReason, f64)> {
        decide(&KeepRules::new(*policy, None).bar(facts.status), &facts)
            .map(|keep| (keep.reason, keep.probability))
    }

    #[test]
    fn failures_are_kept_at_every_rate_and_with_probability_one() {
        for status in
            [Status::Error, Status::Timeout, Status::Limit, Status::Panicked, Status::Lost]
        {
            for rate in [0.0, 0.05, 1.0] {
                let kept = reason(&policy(rate), Facts { status, draw: 0.999, ..QUIET });
                assert_eq!(kept, Some((KeepReason::Failure, 1.0)), "{status} at {rate}");
            }
        }
    }

    #[test]
    fn rate_zero_keeps_no_ok_run_and_rate_one_keeps_every_one() {
        let largest_draw = 1.0 - f64::EPSILON / 2.0;
        assert_eq!(reason(&policy(0.0), Facts { draw: 0.0, ..QUIET }), None);
        let kept = reason(&policy(1.0), Facts { draw: largest_draw, ..QUIET });
        assert_eq!(kept, Some((KeepReason::Sampled, 1.0)));
    }

    #[test]
    fn a_draw_below_the_rate_keeps_and_one_at_the_rate_does_not() {
        assert_eq!(
            reason(&policy(0.05), Facts { draw: 0.049_999, ..QUIET }),
            Some((KeepReason::Sampled, 0.05))
        );
        assert_eq!(reason(&policy(0.05), Facts { draw: 0.05, ..QUIET }), None);
    }

    #[test]
    fn a_run_as_long_as_the_slo_is_not_slow_and_a_longer_one_is() {
        let at = Facts { nanos: 250_000_000, ..QUIET };
        let past = Facts { nanos: 250_000_001, ..QUIET };
        assert_eq!(reason(&policy(0.0), at), None);
        assert_eq!(reason(&policy(0.0), past), Some((KeepReason::Slow, 1.0)));
        let off = KeepPolicy { slow: None, ..policy(0.0) };
        assert_eq!(reason(&off, past), None);
    }

    #[test]
    fn certain_reasons_win_over_a_lucky_draw() {
        let facts = Facts { first: true, draw: 0.0, ..QUIET };
        assert_eq!(reason(&policy(0.05), facts), Some((KeepReason::First, 1.0)));
        let facts = Facts { forced: true, ..facts };
        assert_eq!(reason(&policy(0.05), facts), Some((KeepReason::Forced, 1.0)));
    }

    #[test]
    fn cancelled_runs_follow_their_own_rate() {
        let cancelled = Facts { status: Status::Cancelled, draw: 0.5, ..QUIET };
        assert_eq!(reason(&policy(0.0), cancelled), Some((KeepReason::Cancelled, 1.0)));
        let half = KeepPolicy { cancelled_rate: Rate::new(0.25).unwrap(), ..policy(1.0) };
        assert_eq!(reason(&half, cancelled), None);
        assert_eq!(
            reason(&half, Facts { draw: 0.2, ..cancelled }),
            Some((KeepReason::Cancelled, 0.25))
        );
    }

    #[test]
    fn a_failure_that_is_slow_says_both() {
        let facts = Facts { status: Status::Timeout, nanos: 1_000_000_000, ..QUIET };
        let keep = decide(&KeepRules::new(policy(0.05), None).bar(facts.status), &facts).unwrap();
        assert_eq!((keep.reason, keep.slow), (KeepReason::Failure, true));
    }
}
