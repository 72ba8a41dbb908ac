//! The wall time, as far as it is believed when something is about to be deleted because of it.
//!
//! A clock that is set far ahead, by a bad time server or by hand, must not empty a store in the minutes until
//! somebody puts it right. So a jump ahead counts once it has lasted for a day, by the monotonic clock; until then as
//! much time has passed as that clock says. Going back is believed at once: nothing gets old by it.
//!
//! What a clock says when the process starts is believed, for there is nothing to hold it against.

use std::time::Duration;

use obs_core::{Clock, Tick, Timestamp};

/// How far ahead a clock may be set, and be believed at once: time servers mend such errors.
const AT_ONCE: Duration = Duration::from_hours(1);

/// For how long it has to stay there before it is believed otherwise.
const LASTING: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub(crate) struct Believed {
    last: Reading,
    /// When the clock was found too far ahead, if it still is.
    ahead: Option<Reading>,
}

/// What two clocks said at the same moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Timestamp,
    tick: Tick,
}

impl Reading {
    /// What the wall's would say at this tick if nobody set it.
    fn expected(self, tick: Tick) -> Timestamp {
        later(self.wall, tick.since(self.tick))
    }
}

impl Believed {
    /// For a process that starts now.
    pub(crate) fn from(clock: &Clock) -> Self {
        Self { last: Reading { wall: clock.wall(), tick: clock.now() }, ahead: None }
    }

    /// The time by which it may be said what is old.
    pub(crate) fn now(&mut self, clock: &Clock) -> Timestamp {
        self.at(clock.wall(), clock.now())
    }

    /// The same of a wall time that somebody else has read just now.
    pub(crate) fn at(&mut self, wall: Timestamp, tick: Tick) -> Timestamp {
        let (reading, expected) = (Reading { wall, tick }, self.last.expected(tick));
        if wall > later(expected, AT_ONCE) {
            let ahead = *self.ahead.get_or_insert(reading);
            if wall > later(ahead.expected(tick), AT_ONCE) {
                // Once more, and farther: that has yet to last.
                self.ahead = Some(reading);
                return expected;
            }
            if tick.since(ahead.tick) < LASTING {
                return expected;
            }
        }
        *self = Self { last: reading, ahead: None };
        wall
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.as_micros().saturating_add(micros))
}

#[cfg(test)]
mod tests {
    use obs_core::ManualClock;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const YEAR_MICROS: i64 = 365 * 86_400_000_000;

    #[test]
    fn time_that_passes_is_believed_however_long_nobody_asked() {
        let hands = ManualClock::new();
        let clock = Clock::from(&hands);
        let mut believed = Believed::from(&clock);
        for _ in 0..3 {
            assert_eq!(believed.now(&clock), clock.wall());
            hands.advance(400 * 24 * HOUR);
        }
    }

    #[test]
    fn a_clock_that_is_set_years_ahead_is_believed_after_a_day_and_not_before() {
        let hands = ManualClock::new();
        let clock = Clock::from(&hands);
        let mut believed = Believed::from(&clock);
        let start = clock.wall();
        hands.jump_wall(YEAR_MICROS);
        for hours in 0..24 {
            assert_eq!(believed.now(&clock), later(start, hours * HOUR), "{hours}");
            hands.advance(HOUR);
        }
        assert_eq!(believed.now(&clock), clock.wall());
    }

    #[test]
    fn a_clock_that_is_set_ahead_once_more_has_to_stay_there_for_a_day_as_well() {
        let hands = ManualClock::new();
        let clock = Clock::from(&hands);
        let mut believed = Believed::from(&clock);
        let start = clock.wall();
        hands.jump_wall(2 * 3_600_000_000);
        assert_eq!(believed.now(&clock), start);
        hands.advance(23 * HOUR);
        hands.jump_wall(YEAR_MICROS);
        for hours in 23..47 {
            assert_eq!(believed.now(&clock), later(start, hours * HOUR), "{hours}");
            hands.advance(HOUR);
        }
        assert_eq!(believed.now(&clock), clock.wall());
    }

    #[test]
    fn a_clock_that_is_put_right_was_never_ahead() {
        let hands = ManualClock::new();
        let clock = Clock::from(&hands);
        let mut believed = Believed::from(&clock);
        for _ in 0..3 {
            let right = believed.now(&clock);
            hands.jump_wall(YEAR_MICROS);
            hands.advance(20 * HOUR);
            assert_eq!(believed.now(&clock), later(right, 20 * HOUR));
            hands.jump_wall(-YEAR_MICROS);
            assert_eq!(believed.now(&clock), clock.wall());
        }
    }

    #[test]
    fn small_steps_ahead_and_any_step_back_are_believed_at_once() {
        let hands = ManualClock::new();
        let clock = Clock::from(&hands);
        let mut believed = Believed::from(&clock);
        for step in [1, 3_600_000_000, -1, -YEAR_MICROS] {
            hands.jump_wall(step);
            assert_eq!(believed.now(&clock), clock.wall(), "{step}");
        }
        hands.jump_wall(3_600_000_001);
        assert!(believed.now(&clock) < clock.wall());
    }
}
