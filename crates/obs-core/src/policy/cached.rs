//! What of the policy holds for one strategy, where its runs find it without a lock.
//!
//! A run reads the number of the policy in force and compares it with the number that the copy was made of; only where
//! they differ is the policy itself asked. The copy is written in one piece for whoever reads it: its number is
//! [`WRITING`] meanwhile, and a reader that sees another number before and after has read no part of two policies. Each
//! copy has a number of its own, so that two can never be mistaken for each other.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

use crate::{
    consistent::SampleBy,
    keep::{Bar, KeepRules, Rate},
    record::Timestamp,
    status::Status,
};

/// The number of a copy that is being written. No policy has it.
pub(super) const WRITING: u32 = 0;
/// In `how`: the rule that decided has an end.
const ENDS: u32 = 1 << 8;
/// In `how`: by what the runs are chosen.
const SAMPLE_BY: u32 = ENDS - 1;

/// The words of a copy. What an ok run reads comes first.
#[repr(C)]
pub(crate) struct Cached {
    /// The number of the policy that it is made of.
    number: AtomicU32,
    how: AtomicU32,
    ok_rate: AtomicU64,
    slow_above: AtomicU64,
    cancelled_rate: AtomicU64,
    until: AtomicI64,
}

impl Cached {
    /// How much of it an ok run reads, in bytes from its beginning.
    pub(crate) const HOT_BYTES: usize = std::mem::offset_of!(Self, cancelled_rate);

    pub(crate) fn new((number, rules): (u32, &KeepRules)) -> Self {
        let cached = Self {
            number: AtomicU32::new(WRITING),
            how: AtomicU32::new(0),
            ok_rate: AtomicU64::new(0),
            slow_above: AtomicU64::new(0),
            cancelled_rate: AtomicU64::new(0),
            until: AtomicI64::new(0),
        };
        cached.write(number, rules);
        cached
    }

    /// What decides about a run that ends so; `None` where the policy must be asked.
    #[inline(always)]
    pub(crate) fn bar(&self, in_force: u32, status: Status) -> Option<Bar> {
        let number = self.number.load(Ordering::Acquire);
        let how = self.how.load(Ordering::Relaxed);
        if number != in_force || how & ENDS != 0 {
            return None;
        }
        let bar = self.read(how, status);
        self.is_still(number).then_some(bar)
    }

    /// The same where the rule may have an end, which lies after `now`.
    #[cold]
    pub(crate) fn bar_at(&self, in_force: u32, status: Status, now: Timestamp) -> Option<Bar> {
        let number = self.number.load(Ordering::Acquire);
        let how = self.how.load(Ordering::Relaxed);
        let bar = self.read(how, status);
        let until = Timestamp::from_micros(self.until.load(Ordering::Relaxed));
        let holds = number == in_force && (how & ENDS == 0 || until > now);
        (holds && self.is_still(number)).then_some(bar)
    }

    #[inline(always)]
    fn read(&self, how: u32, status: Status) -> Bar {
        let rate = |bits: &AtomicU64| Rate::from_bits(bits.load(Ordering::Relaxed));
        Bar {
            rate: match status {
                Status::Ok => rate(&self.ok_rate),
                Status::Cancelled => rate(&self.cancelled_rate),
                _ => Rate::ALL,
            },
            slow_above: self.slow_above.load(Ordering::Relaxed),
            sample_by: SampleBy::from_code(how & SAMPLE_BY),
        }
    }

    /// Whether nobody has written since the number was read.
    #[inline(always)]
    fn is_still(&self, number: u32) -> bool {
        fence(Ordering::Acquire);
        self.number.load(Ordering::Relaxed) == number
    }

    /// Writes a copy. One writer at a time: whoever holds the lock of the policy in force.
    pub(super) fn write(&self, number: u32, rules: &KeepRules) {
        self.number.store(WRITING, Ordering::Relaxed);
        fence(Ordering::Release);
        let ends = if rules.until.is_some() { ENDS } else { 0 };
        self.how.store(rules.sample_by.code() | ends, Ordering::Relaxed);
        self.ok_rate.store(rules.ok_rate.to_bits(), Ordering::Relaxed);
        self.slow_above.store(rules.slow_above, Ordering::Relaxed);
        self.cancelled_rate.store(rules.cancelled_rate.to_bits(), Ordering::Relaxed);
        let until = rules.until.map_or(0, Timestamp::as_micros);
        self.until.store(until, Ordering::Relaxed);
        self.number.store(number, Ordering::Release);
    }

    /// The copy as it is, for a process in which the policy cannot be asked any more.
    #[cold]
    pub(super) fn as_it_is(&self, status: Status) -> Bar {
        self.read(self.how.load(Ordering::Relaxed), status)
    }
}
