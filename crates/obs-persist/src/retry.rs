//! How long to wait before the next attempt.

use std::time::Duration;

/// The wait after the first failure, before jitter.
pub(crate) const FIRST: Duration = Duration::from_millis(50);

/// From here on waits grow slowly, by [`GROWTH`].
const SLOWLY: Duration = Duration::from_millis(1_600);

/// By a 13th: the next wait is about a tenth of the outage so far, so that a store that was away for a minute is found
/// again within some eight seconds, and not after as long again.
const GROWTH: u32 = 13;

/// The longest wait, before jitter: an hour of outage costs about 200 attempts.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);

/// More attempts than it takes to get to [`LONGEST`].
const STEPS_MAX: u32 = 64;

/// How long to wait after failure number `attempt` (the first is 0).
///
/// Twice as long each time from [`FIRST`] to [`SLOWLY`], then by and by to [`LONGEST`]; half of it is fixed
/// and half is `random`, so that many processes that lost one server do not come back in step, and none of
/// them at once.
pub(crate) fn after(attempt: u32, random: u64) -> Duration {
    let mut whole = FIRST;
    for _ in 0..attempt.min(STEPS_MAX) {
        whole += if whole < SLOWLY { whole } else { whole / GROWTH };
    }
    let half = u64::try_from(whole.min(LONGEST).as_nanos() / 2).unwrap_or(u64::MAX);
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
    fn waits_double_at_first_and_grow_slowly_to_the_longest() {
        let most = |attempt| after(attempt, 0) * 2;
        assert_eq!(most(0), FIRST);
        assert_eq!(most(1), FIRST * 2);
        assert_eq!(most(5), SLOWLY);
        assert!((4.1..4.3).contains(&most(18).as_secs_f64()), "{:?}", most(18));
        for attempt in [STEPS_MAX - 10, STEPS_MAX, STEPS_MAX + 1, u32::MAX] {
            assert_eq!(most(attempt), LONGEST);
        }
        assert!((0..STEPS_MAX).all(|attempt| most(attempt) <= most(attempt + 1)));
    }

    /// The waits of an outage, each with what had passed before it.
    fn outage(seed: u64, seconds: u64) -> Vec<(Duration, Duration)> {
        let (mut jitter, mut spent, mut waits) = (Jitter::seeded(seed), Duration::ZERO, Vec::new());
        while spent < Duration::from_secs(seconds) {
            let wait = after(waits.len().try_into().unwrap(), jitter.next());
            waits.push((spent, wait));
            spent += wait;
        }
        waits
    }

    #[test]
    fn an_hour_of_outage_costs_at_most_250_attempts() {
        for seed in 0..100 {
            let attempts = outage(seed, 3_600).len();
            assert!((120..=250).contains(&attempts), "{attempts}");
        }
    }

    #[test]
    fn what_was_away_for_a_minute_is_looked_for_within_ten_seconds_and_never_more_than_once_a_second()
     {
        for seed in 0..1_000 {
            let waits = outage(seed, 60);
            let (before, last) = waits[waits.len() - 1];
            assert!(last < Duration::from_secs(10), "{last:?}, {before:?} after the beginning");
            for (before, _) in &waits {
                let second = *before..*before + Duration::from_secs(1);
                let attempts = waits.iter().filter(|(at, _)| second.contains(at)).count();
                let warm_up = if *before < Duration::from_secs(3) { 5 } else { 0 };
                assert!(
                    attempts <= 2 + warm_up,
                    "{attempts} in a second, {before:?} after the beginning"
                );
            }
        }
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
