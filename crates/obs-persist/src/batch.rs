//! When to write a batch: the worker's decision, without its loop.
//!
//! A statement and its commit cost what a hundred rows cost. So while few records come, and all of them are
//! `ok`, batch after batch waits longer, up to [`LINGERS_MAX`] lingers; a full one ends that. Errors never wait
//! longer than one linger. A batch is full when it holds what it may, or when the ok lane does: whatever came
//! then would be refused.

use std::time::Duration;

use crate::lanes::Limit;

/// What bounds a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// What the ok lane holds: it may be less than a batch.
    pub(crate) lane: Limit,
    /// How long the first record of a batch waits for others.
    pub(crate) linger: Duration,
}

impl BatchLimits {
    /// What need not wait for more. The next record may be large: it finds half of the lane's bytes free.
    const fn full(&self) -> Limit {
        let Limit { records, bytes } = self.lane;
        Limit {
            records: if records < self.records { records } else { self.records },
            bytes: if bytes / 2 < self.bytes { bytes / 2 } else { self.bytes },
        }
    }
}

/// So many lingers are the most that ok records wait for others while few come.
const LINGERS_MAX: u32 = 10;

/// A batch of less than this part of what it may hold waits longer the next time.
const SMALL_PART: usize = 4;

/// The longest time for which the worker looks for the next record by itself after a batch. No longer than a
/// linger, and it has other things to do.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// How long ok records wait for others, as the flow of them was so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    lingers: u32,
    /// A batch was just written.
    wrote: bool,
    /// The worker looks again within a linger, so a first record need not wake it.
    looks_again: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { lingers: 1, wrote: false, looks_again: false }
    }
}

impl Pace {
    /// Learns from a batch that is about to be written. One that could not wait is small for that.
    fn learn(&mut self, full: Limit, facts: &Facts) {
        if is_full(full, facts) {
            *self = Self::default();
        } else if !facts.hurry()
            && facts.records < full.records / SMALL_PART
            && facts.bytes < full.bytes / SMALL_PART
        {
            self.lingers = (self.lingers * 2).min(LINGERS_MAX);
        }
    }
}

/// What the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Records that wait in the lanes.
    pub(crate) records: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
    /// How long the oldest of them has waited.
    pub(crate) age: Duration,
    /// There are errors among them.
    pub(crate) errors: bool,
    /// Somebody waits for a flush, or for room.
    pub(crate) flushing: bool,
    /// No record can come any more.
    pub(crate) closing: bool,
}

impl Facts {
    /// They cannot wait as long as ok records can.
    const fn hurry(&self) -> bool {
        self.errors || self.flushing || self.closing
    }
}

/// What the worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take a batch and write it.
    Write,
    /// Wait this long, or until something happens.
    Linger(Duration),
    /// Wait until something happens.
    Idle,
    /// Nothing is left and nothing can come.
    Stop,
}

/// What the worker does next. `pace` learns from it.
pub(crate) fn next(limits: &BatchLimits, pace: &mut Pace, facts: &Facts) -> Step {
    let wrote = std::mem::take(&mut pace.wrote);
    pace.looks_again = false;
    if facts.records == 0 {
        if facts.closing {
            return Step::Stop;
        }
        let look = limits.linger.min(LOOK_MAX);
        pace.looks_again = wrote && !look.is_zero();
        return if pace.looks_again { Step::Linger(look) } else { Step::Idle };
    }
    let lingers = if facts.errors { 1 } else { pace.lingers };
    let rest = limits.linger.saturating_mul(lingers).saturating_sub(facts.age);
    let full = limits.full();
    let now = is_full(full, facts) || facts.flushing || facts.closing || rest.is_zero();
    if !now {
        return Step::Linger(rest);
    }
    pace.learn(full, facts);
    pace.wrote = true;
    Step::Write
}

const fn is_full(full: Limit, facts: &Facts) -> bool {
    facts.records >= full.records || facts.bytes >= full.bytes
}

/// Whether the worker must be woken when the lanes went from `before` to `after` (records, bytes):
/// something came, or the first error did, or a batch became full. In between it lingers anyway; and after a
/// batch it lingers once more, because to wake a thread costs its waker more than all else that a record does.
pub(crate) const fn wakes(
    limits: &BatchLimits,
    pace: &Pace,
    before: (usize, usize),
    after: (usize, usize),
    first_error: bool,
) -> bool {
    let first = (before.0 == 0 || first_error) && !pace.looks_again;
    let full = limits.full();
    let filled_records = before.0 < full.records && after.0 >= full.records;
    let filled_bytes = before.1 < full.bytes && after.1 >= full.bytes;
    first || filled_records || filled_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(100);
    const LANE: Limit = Limit { records: 1_000, bytes: 8 << 20 };
    const LIMITS: BatchLimits =
        BatchLimits { records: 256, bytes: 1 << 20, lane: LANE, linger: LINGER };
    const ONE: Facts = Facts {
        records: 1,
        bytes: 500,
        age: Duration::ZERO,
        errors: false,
        flushing: false,
        closing: false,
    };
    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_batch_is_written_when_it_is_full_or_old_enough_or_somebody_waits() {
        let table = [
            ("nothing waits", Facts { records: 0, bytes: 0, ..ONE }, Step::Idle),
            ("nothing to flush", Facts { records: 0, bytes: 0, flushing: true, ..ONE }, Step::Idle),
            ("the end", Facts { records: 0, bytes: 0, closing: true, ..ONE }, Step::Stop),
            ("one fresh record", ONE, Step::Linger(LINGER)),
            ("one older record", Facts { age: MS(99), ..ONE }, Step::Linger(MS(1))),
            ("linger is over", Facts { age: MS(100), ..ONE }, Step::Write),
            ("linger is long over", Facts { age: MS(5_000), ..ONE }, Step::Write),
            ("one less than full", Facts { records: 255, ..ONE }, Step::Linger(LINGER)),
            ("full", Facts { records: 256, ..ONE }, Step::Write),
            (
                "one byte less than full",
                Facts { bytes: (1 << 20) - 1, ..ONE },
                Step::Linger(LINGER),
            ),
            ("full of bytes", Facts { bytes: 1 << 20, ..ONE }, Step::Write),
            ("a flush", Facts { flushing: true, ..ONE }, Step::Write),
            ("closing", Facts { closing: true, ..ONE }, Step::Write),
        ];
        for (name, facts, step) in table {
            assert_eq!(next(&LIMITS, &mut Pace::default(), &facts), step, "{name}");
        }
    }

    /// How long a record that comes alone waits now; then it is written.
    fn wait_of_one(pace: &mut Pace, facts: Facts) -> Duration {
        let Step::Linger(rest) = next(&LIMITS, pace, &facts) else { panic!("it waits") };
        let just_before = Facts { age: rest - Duration::from_nanos(1), ..facts };
        assert!(matches!(next(&LIMITS, pace, &just_before), Step::Linger(_)));
        assert_eq!(next(&LIMITS, pace, &Facts { age: rest, ..facts }), Step::Write);
        rest
    }

    #[test]
    fn while_few_ok_records_come_each_batch_waits_longer_but_no_longer_than_ten_lingers() {
        let mut pace = Pace::default();
        let waits: Vec<Duration> = (0..7).map(|_| wait_of_one(&mut pace, ONE)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000, 1_000].map(MS));
    }

    #[test]
    fn an_error_waits_one_linger_however_long_ok_records_do() {
        let mut pace = Pace::default();
        for _ in 0..5 {
            wait_of_one(&mut pace, ONE);
        }
        let error = Facts { errors: true, ..ONE };
        assert_eq!(wait_of_one(&mut pace, error), LINGER);
        // It comes to ok records that have waited for longer than that already.
        let late = Facts { records: 7, age: MS(300), ..error };
        assert_eq!(next(&LIMITS, &mut pace, &late), Step::Write);
    }

    #[test]
    fn a_batch_is_full_when_the_lane_is_or_half_of_its_bytes_are() {
        for (name, lane, full) in [
            ("a large lane", LANE, (256, 1 << 20)),
            ("few places", Limit { records: 8, ..LANE }, (8, 1 << 20)),
            ("few bytes", Limit { bytes: 1 << 20, ..LANE }, (256, 1 << 19)),
        ] {
            let limits = BatchLimits { lane, ..LIMITS };
            let (less, bytes_less) = (full.0 - 1, full.1 - 1);
            let facts = [(less, 1), (full.0, 1), (1, bytes_less), (1, full.1)];
            let writes = facts.map(|(records, bytes)| {
                let facts = Facts { records, bytes, ..ONE };
                next(&limits, &mut Pace { lingers: 8, ..Pace::default() }, &facts) == Step::Write
            });
            assert_eq!(writes, [false, true, false, true], "{name}");
            let wakes = |before, after| wakes(&limits, &Pace::default(), before, after, false);
            assert!(wakes((less, 500), (full.0, 501)), "{name}");
            assert!(wakes((2, bytes_less), (3, full.1)), "{name}");
        }
    }

    #[test]
    fn a_batch_that_somebody_waits_for_or_with_an_error_in_it_says_nothing_about_the_flow() {
        let old = Facts { age: MS(5_000), ..ONE };
        for (name, facts) in [
            ("an error", Facts { errors: true, ..old }),
            ("a flush", Facts { flushing: true, ..old }),
            ("the end", Facts { closing: true, ..old }),
        ] {
            let mut pace = Pace { lingers: 4, ..Pace::default() };
            assert_eq!(next(&LIMITS, &mut pace, &facts), Step::Write, "{name}");
            assert_eq!(next(&LIMITS, &mut pace, &ONE), Step::Linger(MS(400)), "{name}");
            let full = Facts { records: 256, ..facts };
            assert_eq!(next(&LIMITS, &mut pace, &full), Step::Write, "{name}");
            assert_eq!(next(&LIMITS, &mut pace, &ONE), Step::Linger(MS(100)), "{name}, and full");
        }
    }

    #[test]
    fn a_full_batch_ends_the_long_waits_and_a_middling_one_keeps_them() {
        let limits = BatchLimits { records: 256, ..LIMITS };
        for (name, records, bytes, expected) in [
            ("full", 256, 500, 100),
            ("full of bytes", 9, 1 << 20, 100),
            ("more than a quarter", 64, 500, 400),
            ("more than a quarter of the bytes", 9, 1 << 18, 400),
            ("less than a quarter", 63, 500, 800),
        ] {
            let mut pace = Pace { lingers: 4, ..Pace::default() };
            let facts = Facts { records, bytes, age: MS(5_000), ..ONE };
            assert_eq!(next(&limits, &mut pace, &facts), Step::Write, "{name}");
            assert_eq!(wait_of_one(&mut pace, ONE), MS(expected), "{name}");
        }
    }

    #[test]
    fn the_worker_is_woken_for_the_first_record_the_first_error_and_a_full_batch_only() {
        let table = [
            ("first", (0, 0), (1, 500), false, true),
            ("second", (1, 500), (2, 1_000), false, false),
            ("first error", (1, 500), (2, 1_000), true, true),
            ("fills", (255, 500), (256, 1_000), false, true),
            ("beyond full", (256, 500), (257, 1_000), false, false),
            ("fills by bytes", (7, (1 << 20) - 1), (8, 1 << 20), false, true),
            ("beyond full by bytes", (8, 1 << 20), (9, (1 << 20) + 1), false, false),
        ];
        for (name, before, after, first_error, wakes_up) in table {
            assert_eq!(
                wakes(&LIMITS, &Pace::default(), before, after, first_error),
                wakes_up,
                "{name}"
            );
        }
    }

    #[test]
    fn after_a_batch_the_worker_looks_once_more_by_itself_and_no_record_has_to_wake_it_until_then()
    {
        let none = Facts { records: 0, bytes: 0, ..ONE };
        // An error: such a batch says nothing about the flow.
        let old = Facts { age: LINGER, errors: true, ..ONE };
        let mut pace = Pace::default();
        let first = |pace: &Pace, error| wakes(&LIMITS, pace, (0, 0), (1, 500), error);
        assert_eq!(next(&LIMITS, &mut pace, &none), Step::Idle, "nothing was written yet");
        assert!(first(&pace, false) && first(&pace, true));
        assert_eq!(next(&LIMITS, &mut pace, &old), Step::Write);
        assert_eq!(next(&LIMITS, &mut pace, &none), Step::Linger(LINGER));
        assert!(!first(&pace, false) && !first(&pace, true));
        assert!(wakes(&LIMITS, &pace, (255, 500), (256, 1_000), false), "a full batch does");
        assert_eq!(next(&LIMITS, &mut pace, &none), Step::Idle);
        assert!(first(&pace, false) && first(&pace, true));
        // One that came meanwhile waits for the rest of its linger.
        assert_eq!(next(&LIMITS, &mut pace, &old), Step::Write);
        assert_eq!(next(&LIMITS, &mut pace, &none), Step::Linger(LINGER));
        let error = Facts { age: MS(70), errors: true, ..ONE };
        assert_eq!(next(&LIMITS, &mut pace, &error), Step::Linger(MS(30)));
        let again = wakes(&LIMITS, &pace, (1, 500), (2, 1_000), true);
        assert!(again, "a first error among ok records that wait");
    }

    #[test]
    fn nobody_looks_for_longer_than_a_linger_or_at_the_end() {
        let none = Facts { records: 0, bytes: 0, ..ONE };
        for (linger, step) in [
            (MS(5), Step::Linger(MS(5))),
            (Duration::from_secs(60), Step::Linger(LOOK_MAX)),
            (Duration::ZERO, Step::Idle),
        ] {
            let limits = BatchLimits { linger, ..LIMITS };
            let mut pace = Pace { wrote: true, ..Pace::default() };
            assert_eq!(next(&limits, &mut pace, &none), step);
        }
        let mut pace = Pace { wrote: true, ..Pace::default() };
        assert_eq!(next(&LIMITS, &mut pace, &Facts { closing: true, ..none }), Step::Stop);
    }
}
