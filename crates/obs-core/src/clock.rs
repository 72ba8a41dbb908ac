//! The clock: the one place that reads time.
//!
//! Durations come from the processor's time stamp counter where it is invariant, scaled once to the
//! system's monotonic clock, and from that clock otherwise; `quanta` decides. On a machine without a
//! counter, or after a suspend that reset it, durations are as coarse as the system's, or zero, and
//! never negative.

#![expect(clippy::disallowed_methods, reason = "this is the place that reads time")]

use std::{
    fmt,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::record::Timestamp;

/// Where an [`Obs`](crate::Obs) reads time: the system, or a [`ManualClock`] in tests.
///
/// ```
/// use obs_core::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let manual = ManualClock::new();
/// let clock = Clock::from(&manual);
/// let before = clock.now();
/// manual.advance(Duration::from_millis(5));
/// assert_eq!(clock.now().since(before), Duration::from_millis(5));
/// ```
#[derive(Clone, Debug)]
pub struct Clock(
    // `None` is the system's.
    Option<ManualClock>,
);

/// The system's clock, one for the process: a run reads it without knowing whose run it is. The first
/// use takes a few milliseconds, in which the counter is measured.
static SYSTEM: LazyLock<System> = LazyLock::new(System::new);

struct System {
    clock: quanta::Clock,
    rate: Rate,
}

impl System {
    fn new() -> Self {
        let clock = quanta::Clock::new();
        let rate = Rate::from_word(clock.delta_as_nanos(0, Rate::COUNTS));
        Self { clock, rate }
    }
}

impl Default for Clock {
    fn default() -> Self {
        LazyLock::force(&SYSTEM);
        Self(None)
    }
}

/// A reading in the clock's own unit, which is cheaper than a [`Tick`]; only for differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reading(u64);

/// What a clock's own unit is: one word, so that who reads a dead process's readings knows it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(
    // Nanoseconds in so many counts as below.
    u64,
);

impl Rate {
    const COUNTS: u64 = 1 << 32;
    const NANOSECONDS: Self = Self(Self::COUNTS);

    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// A reading in nanoseconds since the same moment for all readings.
    pub(crate) const fn nanos(self, Reading(counts): Reading) -> u64 {
        (counts as u128 * self.0 as u128 / Self::COUNTS as u128) as u64
    }

    /// How far apart readings are that lie so long apart.
    pub(crate) const fn counts(self, nanos: u64) -> u64 {
        let nanos_of_all = if self.0 == 0 { 1 } else { self.0 };
        (nanos as u128 * Self::COUNTS as u128 / nanos_of_all as u128) as u64
    }
}

impl Reading {
    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }
}

/// A reading of a monotonic clock; only differences mean anything.
///
/// ```
/// use obs_core::Clock;
/// let clock = Clock::default();
/// let before = clock.now();
/// assert!(clock.now() >= before);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(
    // Nanoseconds since some moment that is the same for all readings of a clock.
    u64,
);

impl Clock {
    /// The monotonic time.
    ///
    /// ```
    /// let _start = obs_core::Clock::default().now();
    /// ```
    #[must_use]
    pub fn now(&self) -> Tick {
        match &self.0 {
            None => Tick(SYSTEM.clock.delta_as_nanos(0, SYSTEM.clock.raw())),
            Some(manual) => Tick(manual.monotonic()),
        }
    }

    /// Whether a test moves it.
    pub(crate) const fn is_manual(&self) -> bool {
        self.0.is_some()
    }

    /// Makes it the system's clock, if it is not already: that one holds nothing.
    #[inline]
    pub(crate) fn let_go(&mut self) {
        if self.0.is_some() {
            self.0 = None;
        }
    }

    #[inline]
    pub(crate) fn read(&self) -> Reading {
        match &self.0 {
            None => Reading(SYSTEM.clock.raw()),
            Some(manual) => Reading(manual.monotonic()),
        }
    }

    /// A reading as a tick.
    pub(crate) fn tick(&self, Reading(reading): Reading) -> Tick {
        match &self.0 {
            None => Tick(SYSTEM.clock.delta_as_nanos(0, reading)),
            Some(_) => Tick(reading),
        }
    }

    /// What its readings count.
    pub(crate) fn rate(&self) -> Rate {
        match &self.0 {
            None => SYSTEM.rate,
            Some(_) => Rate::NANOSECONDS,
        }
    }

    /// The nanoseconds since an earlier reading of this clock; 0 if it was later.
    #[inline]
    pub(crate) fn nanos_since(&self, earlier: Reading) -> u64 {
        match &self.0 {
            None => {
                let system = &SYSTEM.clock;
                system.delta_as_nanos(earlier.0, system.raw())
            }
            Some(manual) => manual.monotonic().saturating_sub(earlier.0),
        }
    }

    /// The wall clock, UTC.
    ///
    /// ```
    /// assert!(obs_core::Clock::default().wall().as_micros() > 0);
    /// ```
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        let micros = match &self.0 {
            None => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
                // A clock before 1970 is wrong; a row needs some time all the same.
                Err(_) => 0,
            },
            Some(manual) => manual.0.wall.load(Ordering::Acquire),
        };
        Timestamp::from_micros(micros)
    }
}

impl Tick {
    /// The time that passed since an earlier reading of the same clock; zero if it was later.
    ///
    /// ```
    /// let clock = obs_core::Clock::default();
    /// let (early, late) = (clock.now(), clock.now());
    /// assert_eq!(early.since(late), std::time::Duration::ZERO.min(early.since(late)));
    /// ```
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds: making a `Duration` takes a division.
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The reading so many nanoseconds later.
    pub(crate) const fn after_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// A clock that moves only when told to, for tests. Its wall clock starts at
/// 2026-01-01T00:00:00Z.
///
/// ```
/// use obs_core::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let manual = ManualClock::new();
/// let clock = Clock::from(&manual);
/// let start = clock.wall();
/// manual.advance(Duration::from_secs(1));
/// assert_eq!(clock.wall().as_micros() - start.as_micros(), 1_000_000);
/// manual.jump_wall(-3_600_000_000);
/// assert!(clock.wall() < start);
/// ```
#[derive(Clone, Default)]
pub struct ManualClock(Arc<Hands>);

struct Hands {
    monotonic: AtomicU64,
    wall: AtomicI64,
}

impl Default for Hands {
    fn default() -> Self {
        const START_OF_2026: i64 = 1_767_225_600_000_000;
        Self { monotonic: AtomicU64::new(0), wall: AtomicI64::new(START_OF_2026) }
    }
}

impl ManualClock {
    /// A clock that stands still.
    ///
    /// ```
    /// let clock = obs_core::Clock::from(&obs_core::ManualClock::new());
    /// assert_eq!(clock.now(), clock.now());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves both hands forward.
    ///
    /// ```
    /// obs_core::ManualClock::new().advance(std::time::Duration::from_secs(1));
    /// ```
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.monotonic.fetch_add(nanos, Ordering::AcqRel);
        self.jump_wall(i64::try_from(by.as_micros()).unwrap_or(i64::MAX));
    }

    /// Moves the wall clock alone, forward or back, as an administrator or NTP would.
    ///
    /// ```
    /// obs_core::ManualClock::new().jump_wall(-1_000_000);
    /// ```
    pub fn jump_wall(&self, micros: i64) {
        self.0.wall.fetch_add(micros, Ordering::AcqRel);
    }

    fn monotonic(&self) -> u64 {
        self.0.monotonic.load(Ordering::Acquire)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock")
            .field("monotonic_ns", &self.0.monotonic.load(Ordering::Relaxed))
            .field("wall_us", &self.0.wall.load(Ordering::Relaxed))
            .finish()
    }
}

impl From<&ManualClock> for Clock {
    fn from(manual: &ManualClock) -> Self {
        Self(Some(manual.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_in_nanoseconds_by_the_rate_is_the_tick_to_a_billionth() {
        let manual = ManualClock::new();
        manual.advance(Duration::from_nanos(12_345_678_901));
        for clock in [Clock::default(), Clock::from(&manual)] {
            let reading = clock.read();
            let (by_rate, tick) = (clock.rate().nanos(reading), clock.tick(reading).0);
            assert!(by_rate.abs_diff(tick) <= tick / 1_000_000_000 + 1, "{by_rate} and {tick}");
            let counts = clock.rate().counts(10_000_000);
            let later = Reading::from_word(reading.word() + counts);
            let between = clock.rate().nanos(later) - by_rate;
            assert!(between.abs_diff(10_000_000) <= 2, "{between}");
        }
    }

    #[test]
    fn a_rate_that_cannot_be_divides_by_nothing() {
        let rate = Rate::from_word(0);
        assert_eq!(rate.nanos(Reading::from_word(u64::MAX)), 0);
        assert!(rate.counts(10_000_000) > 0);
    }
}
