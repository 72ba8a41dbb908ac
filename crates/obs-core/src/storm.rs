//! Error storms: how many errors of one kind are stored in full, so that an outage of the application
//! does not become one of its telemetry.
//!
//! S1 Errors are the same if kind, strategy, version, error type and node are. The first of them opens
//!    a window of a minute, in which 100 are stored in full.
//! S2 Every further one in that window is a row too, without input and trace: there are never fewer
//!    rows.
//! S3 The table holds 1,024 fingerprints, in parts by their hash. Where a part is full of open windows,
//!    further fingerprints share one window: a program that invents a new error code each time gets 100
//!    full rows a minute and part for all those codes.
//! S4 Two fingerprints with the same hash share a window. The hash is seeded by the process, so nobody
//!    can choose them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::Mutex,
};

use crate::{
    clock::Tick,
    limits::{STORM_FINGERPRINTS_MAX, STORM_FULL_MAX, STORM_WINDOW},
    sync::lock_after_fork,
    text_hash,
};

/// Parts of the table, so that storms on several threads rarely meet on a lock.
const PARTS: usize = 8;
const PART_FINGERPRINTS_MAX: usize = STORM_FINGERPRINTS_MAX / PARTS;
const WINDOW_NANOS: u64 = STORM_WINDOW.as_nanos() as u64;

/// What tells errors apart.
pub(crate) type Fingerprint<'a> = [&'a str; 5];

/// The open windows. Only runs that failed and are kept look at them.
#[derive(Debug)]
pub(crate) struct Storms {
    seed: u64,
    parts: [Mutex<Part>; PARTS],
}

impl Default for Storms {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(()), parts: Default::default() }
    }
}

#[derive(Debug, Default)]
struct Part {
    windows: HashMap<u64, Window, BuildHasherDefault<AsItIs>>,
    /// The one of all fingerprints that found no room.
    shared: Option<Window>,
    /// No window closes before this time: until then a full part is not searched for room.
    full_until: Option<Tick>,
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Clone, Copy, Debug)]
struct Window {
    opened: Tick,
    full: u32,
}

impl Storms {
    /// Whether an error that happens now is stored in full; if so, it is counted.
    #[expect(clippy::indexing_slicing, reason = "the part is taken modulo how many there are")]
    pub(crate) fn takes_full(&self, fingerprint: &Fingerprint<'_>, now: Tick) -> bool {
        let hash = fingerprint.iter().fold(self.seed, |base, part| text_hash::hash(base, part));
        // The table uses the lower bits.
        let part = &self.parts[(hash >> 56) as usize % PARTS];
        // A child that cannot know stores its errors nowhere anyway.
        lock_after_fork(part).is_none_or(|mut part| match part.windows.get_mut(&hash) {
            Some(window) => window.takes_full(now),
            None => part.new_window(hash, now).takes_full(now),
        })
    }
}

impl Part {
    #[cold]
    fn new_window(&mut self, hash: u64, now: Tick) -> &mut Window {
        let new = Window { opened: now, full: 0 };
        if self.make_room(now) {
            self.windows.entry(hash).or_insert(new)
        } else {
            self.shared.get_or_insert(new)
        }
    }

    /// Whether there is room for one more, if need be after closed windows were removed.
    fn make_room(&mut self, now: Tick) -> bool {
        if self.windows.len() < PART_FINGERPRINTS_MAX {
            return true;
        }
        if self.full_until.is_some_and(|until| now < until) {
            return false;
        }
        self.windows.retain(|_, window| !window.is_over(now));
        let oldest = self.windows.values().map(|window| window.opened).min();
        self.full_until = oldest.map(|opened| opened.after_nanos(WINDOW_NANOS));
        self.windows.len() < PART_FINGERPRINTS_MAX
    }
}

impl Window {
    fn is_over(&self, now: Tick) -> bool {
        now.nanos_since(self.opened) >= WINDOW_NANOS
    }

    fn takes_full(&mut self, now: Tick) -> bool {
        if self.is_over(now) {
            *self = Self { opened: now, full: 0 };
        }
        let takes = self.full < STORM_FULL_MAX;
        self.full += u32::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    struct Table {
        storms: Storms,
        manual: ManualClock,
        clock: Clock,
    }

    impl Table {
        fn new() -> Self {
            let manual = ManualClock::new();
            Self { storms: Storms::default(), clock: Clock::from(&manual), manual }
        }

        /// How many of `errors` with this code are full.
        fn full(&self, code: &str, errors: usize) -> usize {
            let now = self.clock.now();
            let fingerprint = ["dsl", "bonus", "3", code, "n1"];
            (0..errors).filter(|_| self.storms.takes_full(&fingerprint, now)).count()
        }
    }

    #[test]
    fn a_hundred_a_minute_are_full_and_the_minute_begins_with_the_first() {
        let table = Table::new();
        table.manual.advance(Duration::from_secs(50));
        assert_eq!(table.full("TIMEOUT", 5_000), 100);
        table.manual.advance(STORM_WINDOW - Duration::from_nanos(1));
        assert_eq!(table.full("TIMEOUT", 1), 0);
        table.manual.advance(Duration::from_nanos(1));
        assert_eq!(table.full("TIMEOUT", 5_000), 100);
    }

    #[test]
    fn each_part_of_a_fingerprint_tells_errors_apart() {
        let table = Table::new();
        let base = ["dsl", "bonus", "3", "TIMEOUT", "n1"];
        let now = table.clock.now();
        for changed in 0..base.len() {
            for _ in 0..STORM_FULL_MAX {
                assert!(table.storms.takes_full(&base, now) || changed > 0);
            }
            let mut other = base;
            other[changed] = "another";
            assert!(table.storms.takes_full(&other, now), "{other:?}");
        }
        assert!(table.storms.takes_full(&["ds", "lbonus", "3", "TIMEOUT", "n1"], now));
    }

    #[test]
    fn beyond_the_table_fingerprints_share_a_window_until_room_is_made() {
        let table = Table::new();
        let invented = |count: usize, name: &str| -> usize {
            (0..count).map(|number| table.full(&format!("{name}-{number}"), 1)).sum()
        };
        // Enough to fill every part, whatever the seed.
        let full = invented(20_000, "first");
        assert_eq!(full, STORM_FINGERPRINTS_MAX + PARTS * STORM_FULL_MAX as usize);
        let sizes = || -> usize {
            table.storms.parts.iter().map(|part| part.lock().unwrap().windows.len()).sum()
        };
        assert_eq!(sizes(), STORM_FINGERPRINTS_MAX);
        table.manual.advance(STORM_WINDOW);
        assert_eq!(invented(20_000, "second"), full, "closed windows make room");
        assert_eq!(sizes(), STORM_FINGERPRINTS_MAX);
    }

    #[test]
    fn threads_that_fail_together_share_the_hundred() {
        let storms = Storms::default();
        let now = Clock::from(&ManualClock::new()).now();
        let fingerprint = ["dsl", "bonus", "3", "TIMEOUT", "n1"];
        let full = std::thread::scope(|scope| {
            let count = || (0..1_000).filter(|_| storms.takes_full(&fingerprint, now)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(full, 100);
    }

    proptest! {
        #[test]
        fn no_window_of_a_minute_has_more_than_a_hundred_and_none_denies_the_first(
            steps in proptest::collection::vec((0_u64..40, 1_usize..150), 1..40),
        ) {
            let table = Table::new();
            let (mut opened, mut full) = (0, 0);
            let mut now = 0;
            for (seconds, errors) in steps {
                now += seconds;
                table.manual.advance(Duration::from_secs(seconds));
                if now >= opened + 60 || full == 0 {
                    (opened, full) = (now, 0);
                }
                let expected = errors.min(100 - full);
                prop_assert_eq!(table.full("TIMEOUT", errors), expected);
                full += expected;
            }
        }
    }
}
