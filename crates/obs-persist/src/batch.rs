//! When to write a batch: the worker's decision, without its loop.

use std::time::Duration;

/// What bounds a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// How long the first record of a batch waits for others.
    pub(crate) linger: Duration,
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
    /// Somebody waits for a flush, or for room.
    pub(crate) flushing: bool,
    /// No record can come any more.
    pub(crate) closing: bool,
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

/// What the worker does next.
pub(crate) fn next(limits: &BatchLimits, facts: &Facts) -> Step {
    if facts.records == 0 {
        return if facts.closing { Step::Stop } else { Step::Idle };
    }
    let full = facts.records >= limits.records || facts.bytes >= limits.bytes;
    if full || facts.flushing || facts.closing {
        return Step::Write;
    }
    match limits.linger.checked_sub(facts.age) {
        None | Some(Duration::ZERO) => Step::Write,
        Some(rest) => Step::Linger(rest),
    }
}

/// Whether the worker must be woken when the lanes went from `before` to `after` (records, bytes):
/// something came, or a batch became full. In between it lingers anyway.
pub(crate) const fn wakes(
    limits: &BatchLimits,
    before: (usize, usize),
    after: (usize, usize),
) -> bool {
    let first = before.0 == 0;
    let filled_records = before.0 < limits.records && after.0 >= limits.records;
    let filled_bytes = before.1 < limits.bytes && after.1 >= limits.bytes;
    first || filled_records || filled_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(100);
    const LIMITS: BatchLimits = BatchLimits { records: 256, bytes: 1 << 20, linger: LINGER };
    const ONE: Facts =
        Facts { records: 1, bytes: 500, age: Duration::ZERO, flushing: false, closing: false };

    #[test]
    fn a_batch_is_written_when_it_is_full_or_old_enough_or_somebody_waits() {
        let ms = Duration::from_millis;
        let table = [
            ("nothing waits", Facts { records: 0, bytes: 0, ..ONE }, Step::Idle),
            ("nothing to flush", Facts { records: 0, bytes: 0, flushing: true, ..ONE }, Step::Idle),
            ("the end", Facts { records: 0, bytes: 0, closing: true, ..ONE }, Step::Stop),
            ("one fresh record", ONE, Step::Linger(LINGER)),
            ("one older record", Facts { age: ms(99), ..ONE }, Step::Linger(ms(1))),
            ("linger is over", Facts { age: ms(100), ..ONE }, Step::Write),
            ("linger is long over", Facts { age: ms(5_000), ..ONE }, Step::Write),
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
            assert_eq!(next(&LIMITS, &facts), step, "{name}");
        }
    }

    #[test]
    fn the_worker_is_woken_for_the_first_record_and_for_a_full_batch_only() {
        let table = [
            ("first", (0, 0), (1, 500), true),
            ("second", (1, 500), (2, 1_000), false),
            ("fills", (255, 500), (256, 1_000), true),
            ("beyond full", (256, 500), (257, 1_000), false),
            ("fills by bytes", (7, (1 << 20) - 1), (8, 1 << 20), true),
            ("beyond full by bytes", (8, 1 << 20), (9, (1 << 20) + 1), false),
        ];
        for (name, before, after, wakes_up) in table {
            assert_eq!(wakes(&LIMITS, before, after), wakes_up, "{name}");
        }
    }
}
