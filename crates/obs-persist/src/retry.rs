//! How long to wait before the next attempt.

use std::time::Duration;

/// The wait after the first failure, before jitter.
pub(crate) const FIRST: Duration = Duration::from_millis(50);

/// The longest wait, before jitter: an hour of outage costs about 150 attempts.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait after failure number `attempt` (the first is 0).
///
/// Exponential from [`FIRST`] to [`LONGEST`]; half of it is fixed and half is `random`, so that
/// many processes that lost one server do not come back in step, and none of them at once.
pub(crate) fn after(attempt: u32, random: u64) -> Duration {
    let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
    let whole = FIRST.saturating_mul(factor).min(LONGEST);
    let half = u64::try_from(whole.as_nanos() / 2).unwrap_or(u64::MAX);
    Duration::from_nanos(half + random % (half + 1))
}

/// A small generator for jitter (SplitMix64): seeded once, never asked for secrets.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded by the system; if that has no randomness to give, by an address, which differs from
    /// process to process.
    pub(crate) fn from_system() -> Self {
        let mut seed = [0; 8];
        match getrandom::fill(&mut seed) {
            Ok(()) => Self::seeded(u64::from_ne_bytes(seed)),
            Err(_) => Self::seeded(std::ptr::from_ref(&seed).addr() as u64),
        }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_from_the_first_to_the_longest() {
        let most = |attempt| {
            let half = after(attempt, 0);
            (half, half * 2)
        };
        assert_eq!(most(0).1, FIRST);
        assert_eq!(most(1).1, FIRST * 2);
        assert_eq!(most(9).1, Duration::from_millis(25_600));
        assert_eq!(most(10).1, LONGEST);
        assert_eq!(most(31).1, LONGEST);
        assert_eq!(most(32).1, LONGEST);
        assert_eq!(most(u32::MAX).1, LONGEST);
    }

    #[test]
    fn an_hour_of_outage_costs_at_most_250_attempts() {
        let mut jitter = Jitter::seeded(7);
        let mut spent = Duration::ZERO;
        let mut attempts = 0;
        while spent < Duration::from_secs(3_600) {
            spent += after(attempts, jitter.next());
            attempts += 1;
        }
        assert!(attempts <= 250, "{attempts}");
    }

    proptest! {
        #[test]
        fn jitter_stays_between_half_and_the_whole(attempt in 0..64_u32, random: u64) {
            let least = after(attempt, 0);
            let wait = after(attempt, random);
            prop_assert!(least <= wait && wait <= least * 2);
            prop_assert!(wait <= LONGEST);
        }
    }

    #[test]
    fn two_seeds_do_not_wait_in_step() {
        let waits = |seed| {
            let mut jitter = Jitter::seeded(seed);
            (0..5).map(|attempt| after(attempt, jitter.next())).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1));
    }
}
