//! When a store is maintained, and what is said about it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use obs_core::{KeptRows, Timestamp};

use crate::store::Maintained;

/// How long records may be held up by one call of [`Store::maintain`](crate::Store::maintain).
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time between two calls.
const INTERVAL_MICROS: i64 = 3_600_000_000;

/// The time before the next attempt after a problem.
const RETRY_MICROS: i64 = 60_000_000;

/// The time before the next call when one was not enough: batches go first.
const MORE_MICROS: i64 = 1_000_000;

const DAY_MICROS: i64 = 86_400_000_000;

/// With so many whole days of room left, somebody has to be told.
pub(crate) const DAYS_LEFT_WARNING: u32 = 3;

/// The wall time, in microseconds, of the next call; at once in the beginning.
#[derive(Debug, Default)]
pub(crate) struct Due(AtomicI64);

impl Due {
    /// Whether it is time. If so, the next time is that of a retry, so that whatever happens now
    /// (a panic, too) cannot happen again at once.
    pub(crate) fn take(&self, now: Timestamp) -> bool {
        let now = now.as_micros();
        let due = self.0.load(Ordering::Relaxed);
        // Farther away than anything is set: the clock was put back.
        let is_due = now >= due || due.saturating_sub(now) > INTERVAL_MICROS;
        if is_due {
            self.0.store(now.saturating_add(RETRY_MICROS), Ordering::Relaxed);
        }
        is_due
    }

    /// After a call that came to its end: in an hour, or at midnight, or sooner.
    pub(crate) fn set(&self, now: Timestamp, done: &Maintained) {
        let now = now.as_micros();
        let midnight = (now.div_euclid(DAY_MICROS).saturating_add(1)).saturating_mul(DAY_MICROS);
        let due = if done.problem.is_some() {
            now.saturating_add(RETRY_MICROS)
        } else if done.more {
            now.saturating_add(MORE_MICROS)
        } else {
            now.saturating_add(INTERVAL_MICROS).min(midnight)
        };
        self.0.store(due, Ordering::Relaxed);
    }

    /// What is left until then, never zero and never more than the interval.
    pub(crate) fn rest(&self, now: Timestamp) -> Duration {
        let rest = self.0.load(Ordering::Relaxed).saturating_sub(now.as_micros());
        let rest = rest.clamp(1_000, INTERVAL_MICROS);
        Duration::from_micros(rest.unsigned_abs())
    }
}

impl Maintained {
    /// What metrics say of the store from now on.
    pub(crate) fn kept(&self, now: Timestamp) -> KeptRows {
        let tomorrow = now.as_micros().div_euclid(DAY_MICROS).saturating_add(1);
        let until = |days: u32| tomorrow.saturating_add(days.into()).saturating_mul(DAY_MICROS);
        KeptRows {
            room_until: self.days_ahead.map(|days| Timestamp::from_micros(until(days))),
            oldest_ok: self.oldest_ok,
            oldest_error: self.oldest_error,
        }
    }
}

/// What was said in the log: one line per change.
#[derive(Debug, Default)]
pub(crate) struct Said {
    problem: bool,
    few_days: bool,
}

impl Said {
    pub(crate) fn done(&mut self, store: &str, done: &Maintained) {
        if done.dropped > 0 {
            tracing::info!(store, days = done.dropped, "days past their retention are gone");
        }
        if done.rows > 0 {
            tracing::info!(store, rows = done.rows, "rows past their retention are gone");
        }
        self.problem(store, done.problem.as_deref());
        if let Some(days) = done.days_ahead {
            self.days(store, days);
        }
    }

    pub(crate) fn problem(&mut self, store: &str, reason: Option<&str>) {
        match (self.problem, reason) {
            (false, Some(reason)) => tracing::warn!(
                store,
                %reason,
                "days ahead or retention are held up; rows are written all the same, it is tried again"
            ),
            (true, None) => tracing::info!(store, "days ahead and retention work again"),
            _ => {}
        }
        self.problem = reason.is_some();
    }

    fn days(&mut self, store: &str, days: u32) {
        let few = days <= DAYS_LEFT_WARNING;
        match (self.few_days, few) {
            (false, true) => tracing::warn!(
                store,
                days,
                "the partitions run out after so many more days, then no row can be written: GRANT EXECUTE ON \
                 FUNCTION obs.make_day(date) to this role, or let a role that may run `obs migrate` once a day"
            ),
            (true, false) => {
                tracing::info!(store, days, "there are partitions for the days to come again");
            }
            _ => {}
        }
        self.few_days = few;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn the_next_call_is_in_an_hour_or_at_midnight_or_sooner_if_something_is_left() {
        let (noon, evening) = (at(DAY_MICROS / 2), at(DAY_MICROS - 5_000_000));
        let fine = Maintained::default();
        let more = Maintained { more: true, ..Maintained::default() };
        let stuck = Maintained { problem: Some("no".to_owned()), ..Maintained::default() };
        let table =
            [(noon, &fine, 3_600), (evening, &fine, 5), (noon, &more, 1), (noon, &stuck, 60)];
        for (now, done, seconds) in table {
            let due = Due::default();
            assert!(due.take(now));
            due.set(now, done);
            assert_eq!(due.rest(now), Duration::from_secs(seconds), "{done:?}");
            let then = |micros| at(now.as_micros() + seconds.cast_signed() * 1_000_000 + micros);
            assert!(!due.take(then(-1)), "{done:?}");
            assert!(due.take(then(0)), "{done:?}");
        }
    }

    #[test]
    fn a_call_that_never_came_back_is_not_made_again_at_once() {
        let due = Due::default();
        assert!(due.take(at(DAY_MICROS)));
        assert!(!due.take(at(DAY_MICROS + 1)));
        assert!(due.take(at(DAY_MICROS + RETRY_MICROS)));
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_stop_maintenance() {
        let due = Due::default();
        assert!(due.take(at(9 * DAY_MICROS)));
        assert!(due.take(at(DAY_MICROS)));
    }
}
