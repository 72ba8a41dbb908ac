//! What of the policy holds for one strategy, where its runs find it without a lock.
//!
//! A run reads the number of the policy in force and compares it with the number that the copy was made of; only where
//! they differ is the policy itself asked. The copy is written in one piece for whoever reads it: its number is
//! [`WRITING`] meanwhile, and a reader that sees another number before and after has read no part of two policies. Each
//! copy has a number of its own, so that two can never be mistaken for each other.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

use crate::{
    keep::{Bar, How, KeepRules, Rate},
    record::Timestamp,
    status::Status,
};

/// The number of a copy that is being written. No policy has it.
pub(super) const WRITING: u32 = 0;

/// The words of a copy. What an ok run reads comes first.
#[repr(C)]
pub(crate) struct Cached {
    /// The number of the policy that it is made of; where the rule that decided has an end, that is the last word, and
    /// this one says [`WRITING`], so that each run looks at the clock.
    number: AtomicU32,
    ok_how: AtomicU32,
    ok_rate: AtomicU64,
    slow_above: AtomicU64,
    cancelled_rate: AtomicU64,
    until: AtomicI64,
    cancelled_how: AtomicU32,
    number_until: AtomicU32,
}

impl Cached {
    /// How much of it an ok run reads, in bytes from its beginning.
    pub(crate) const HOT_BYTES: usize = std::mem::offset_of!(Self, cancelled_rate);

    pub(crate) fn new((number, rules): (u32, &KeepRules)) -> Self {
        let cached = Self {
            number: AtomicU32::new(WRITING),
            ok_how: AtomicU32::new(0),
            ok_rate: AtomicU64::new(0),
            slow_above: AtomicU64::new(0),
            cancelled_rate: AtomicU64::new(0),
            until: AtomicI64::new(0),
            cancelled_how: AtomicU32::new(0),
            number_until: AtomicU32::new(WRITING),
        };
        cached.write(number, rules);
        cached
    }

    /// What decides about a run that ends so; `None` where the policy must be asked.
    #[inline(always)]
    pub(crate) fn bar(&self, in_force: u32, status: Status) -> Option<Bar> {
        Self::whole(&self.number, in_force, || self.read(status))
    }

    /// The same where the rule may have an end, which lies after `now`.
    #[cold]
    pub(crate) fn bar_at(&self, in_force: u32, status: Status, now: Timestamp) -> Option<Bar> {
        if let Some(bar) = self.bar(in_force, status) {
            return Some(bar);
        }
        let until = || Timestamp::from_micros(self.until.load(Ordering::Relaxed));
        let both = Self::whole(&self.number_until, in_force, || (self.read(status), until()));
        both.filter(|(_, until)| *until > now).map(|(bar, _)| bar)
    }

    /// What is read while the copy has this number, if it still has it then: nobody wrote meanwhile.
    #[inline(always)]
    fn whole<T>(number: &AtomicU32, in_force: u32, read: impl FnOnce() -> T) -> Option<T> {
        if number.load(Ordering::Acquire) != in_force {
            return None;
        }
        let read = read();
        fence(Ordering::Acquire);
        (number.load(Ordering::Relaxed) == in_force).then_some(read)
    }

    #[inline(always)]
    fn read(&self, status: Status) -> Bar {
        let rate = |bits: &AtomicU64| Rate::from_bits(bits.load(Ordering::Relaxed));
        let how = |bits: &AtomicU32| How::from_bits(bits.load(Ordering::Relaxed));
        let slow_above = self.slow_above.load(Ordering::Relaxed);
        let (rate, how) = match status {
            Status::Ok => (rate(&self.ok_rate), how(&self.ok_how)),
            Status::Cancelled => (rate(&self.cancelled_rate), how(&self.cancelled_how)),
            _ => (Rate::ALL, How::new(Rate::ALL, Default::default())),
        };
        Bar { rate, slow_above, how }
    }

    /// Writes a copy. One writer at a time: whoever holds the lock of the policy in force.
    pub(super) fn write(&self, number: u32, rules: &KeepRules) {
        self.number.store(WRITING, Ordering::Relaxed);
        self.number_until.store(WRITING, Ordering::Relaxed);
        fence(Ordering::Release);
        let words = [
            (Status::Ok, &self.ok_rate, &self.ok_how),
            (Status::Cancelled, &self.cancelled_rate, &self.cancelled_how),
        ];
        for (status, rate, how) in words {
            let bar = rules.bar(status);
            rate.store(bar.rate.to_bits(), Ordering::Relaxed);
            how.store(bar.how.to_bits(), Ordering::Relaxed);
        }
        self.slow_above.store(rules.slow_above, Ordering::Relaxed);
        let until = rules.until.map_or(0, Timestamp::as_micros);
        self.until.store(until, Ordering::Relaxed);
        let numbered = if rules.until.is_some() { &self.number_until } else { &self.number };
        numbered.store(number, Ordering::Release);
    }

    /// The copy as it is, for a process in which the policy cannot be asked any more.
    #[cold]
    pub(super) fn as_it_is(&self, status: Status) -> Bar {
        self.read(status)
    }
}
