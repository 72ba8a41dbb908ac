//! The draw: one per run, with the chance that a rate gives it, from a generator that each thread owns.

use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// A thread remembers the generators of at most this many seeded samplers; only tests have any.
const SEEDED_MAX: usize = 64;

/// Where draws come from: the operating system's entropy, or a seed.
#[derive(Debug)]
pub(crate) struct Sampler {
    seeded: Option<Seeded>,
}

#[derive(Debug)]
struct Seeded {
    uid: u64,
    seed: u64,
    /// Threads take the streams of the seed in the order of their first draw.
    next_stream: AtomicU64,
}

/// Random words of a thread that are made at once: two goes of the generator.
const WORDS: usize = 64;
/// A decision looks at 64 bits from here at the latest.
const LAST_BIT: usize = (WORDS - 1) * 64;

/// Random bits of one thread from the system's entropy. Without a destructor, so that a thread that is
/// ending can draw, and so that finding them is one instruction.
///
/// Whether a number is below a limit is known at the first bit in which they differ, so a decision uses up
/// two bits on average, exact as it is, and one run in two thousand makes new ones.
struct Entropy {
    next_bit: Cell<usize>,
    words: [Cell<u64>; WORDS],
}

thread_local! {
    static ENTROPY: Entropy = const {
        Entropy {
            next_bit: Cell::new(LAST_BIT),
            words: [const { Cell::new(0) }; WORDS],
        }
    };
    static GENERATOR: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
    /// The generators of seeded samplers, by their uid.
    static SEEDED: RefCell<Vec<(u64, ChaCha8Rng)>> = const { RefCell::new(Vec::new()) };
}

impl Sampler {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        static NEXT_UID: AtomicU64 = AtomicU64::new(0);
        let seeded = seed.map(|seed| Seeded {
            uid: NEXT_UID.fetch_add(1, Ordering::Relaxed),
            seed,
            next_stream: AtomicU64::new(0),
        });
        Self { seeded }
    }

    /// Whether a number that is drawn now, of all of 64 bits, is below `limit`; `u64::MAX` is above all.
    #[inline(always)]
    pub(crate) fn draws_below(&self, limit: u64) -> bool {
        let below = match &self.seeded {
            None => ENTROPY.with(|entropy| entropy.draws_below(limit)),
            Some(seeded) => seeded.draw() < limit,
        };
        below || limit == u64::MAX
    }
}

impl Entropy {
    #[inline]
    fn draws_below(&self, limit: u64) -> bool {
        let mut at = self.next_bit.get();
        if at >= LAST_BIT {
            self.refill();
            at = 0;
        }
        let (word, skipped) = (at / 64, at % 64);
        let following = self.words[word + 1].get() >> 1 >> (63 - skipped);
        let drawn = self.words[word].get() << skipped | following;
        let same_bits = (drawn ^ limit).leading_zeros() as usize;
        // The bits after the one that differs decided nothing: they are left for the next draw.
        self.next_bit.set(at + same_bits + 1);
        drawn < limit
    }

    #[cold]
    #[inline(never)]
    fn refill(&self) {
        let fill = |generator: &mut ChaCha8Rng| {
            self.words.iter().for_each(|word| word.set(generator.next_u64()));
        };
        let known = GENERATOR.try_with(|generator| {
            fill(generator.borrow_mut().get_or_insert_with(from_entropy));
        });
        // The thread is ending and its generator is gone: a fresh one serves.
        if known.is_err() {
            fill(&mut from_entropy());
        }
    }
}

impl Seeded {
    #[cold]
    #[inline(never)]
    fn draw(&self) -> u64 {
        SEEDED
            .try_with(|seeded| {
                let mut seeded = seeded.borrow_mut();
                let generator = self.generator_in(&mut seeded);
                uniform(|| generator.next_u32())
            })
            // The thread is ending and its generators are gone: a fresh one serves.
            .unwrap_or_else(|_| {
                let mut fresh = from_entropy();
                uniform(|| fresh.next_u32())
            })
    }

    fn generator_in<'g>(&self, known: &'g mut Vec<(u64, ChaCha8Rng)>) -> &'g mut ChaCha8Rng {
        if let Some(at) = known.iter().position(|(uid, _)| *uid == self.uid) {
            return &mut known[at].1;
        }
        if known.len() == SEEDED_MAX {
            known.remove(0);
        }
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(self.next_stream.fetch_add(1, Ordering::Relaxed));
        let at = known.len();
        known.push((self.uid, generator));
        &mut known[at].1
    }
}

/// Draws below this many 2^-32 get 32 bits more: then a rate of one in a million is met as exactly as
/// one of a half, to a millionth of itself.
const SMALL: u32 = 1 << 20;

/// A number of 64 bits, of which 32 are drawn, or all where the first say that it is small.
#[inline]
fn uniform(mut next: impl FnMut() -> u32) -> u64 {
    let high = next();
    let low = if high < SMALL { next() } else { 0 };
    u64::from(high) << u32::BITS | u64::from(low)
}

fn from_entropy() -> ChaCha8Rng {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        // No entropy from the system: the standard library's per-process keys are the next best.
        for (at, chunk) in seed.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&RandomState::new().hash_one(at).to_le_bytes());
        }
    }
    ChaCha8Rng::from_seed(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half of all draws.
    const HALF: u64 = 1 << 63;

    fn draws(sampler: &Sampler, count: usize) -> Vec<bool> {
        (0..count).map(|_| sampler.draws_below(HALF)).collect()
    }

    fn share(sampler: &Sampler, limit: u64, count: u32) -> f64 {
        f64::from((0..count).map(|_| u32::from(sampler.draws_below(limit))).sum::<u32>())
            / f64::from(count)
    }

    #[test]
    fn one_seed_gives_one_sequence_and_another_seed_another() {
        let first = draws(&Sampler::new(Some(7)), 100);
        assert_eq!(first, draws(&Sampler::new(Some(7)), 100));
        assert_ne!(first, draws(&Sampler::new(Some(8)), 100));
    }

    #[test]
    fn two_samplers_on_one_thread_do_not_disturb_each_other() {
        let (one, two) = (Sampler::new(Some(7)), Sampler::new(Some(7)));
        let alternating: Vec<_> =
            (0..50).flat_map(|_| [one.draws_below(HALF), two.draws_below(HALF)]).collect();
        for pair in alternating.chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
    }

    #[test]
    fn draws_fall_below_a_limit_as_often_as_it_says() {
        const COUNT: u32 = 200_000;
        for sampler in [Sampler::new(None), Sampler::new(Some(7))] {
            for chance in [0.5_f64, 0.05, 0.3, 0.95, 0.001] {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "within"
                )]
                let limit = (chance * 2_f64.powi(64)) as u64;
                let share = share(&sampler, limit, COUNT);
                // Six standard errors: one failure in 500 million.
                let most = 6.0 * (chance * (1.0 - chance) / f64::from(COUNT)).sqrt();
                assert!((share - chance).abs() < most, "{share} instead of {chance}");
            }
        }
    }

    #[test]
    fn one_decision_says_nothing_about_the_next() {
        const COUNT: u32 = 200_000;
        let sampler = Sampler::new(None);
        // A third: its binary digits alternate, so decisions end at any bit.
        let limit = u64::MAX / 3;
        let mut pairs = [0_u32; 4];
        for _ in 0..COUNT {
            let pair = [sampler.draws_below(limit), sampler.draws_below(limit)].map(usize::from);
            pairs[pair[0] * 2 + pair[1]] += 1;
        }
        for (seen, chance) in pairs.into_iter().zip([4.0 / 9.0, 2.0 / 9.0, 2.0 / 9.0, 1.0 / 9.0]) {
            let share = f64::from(seen) / f64::from(COUNT);
            let most = 6.0 * (chance * (1.0 - chance) / f64::from(COUNT)).sqrt();
            assert!((share - chance).abs() < most, "{pairs:?}");
        }
    }

    #[test]
    fn no_draw_is_below_zero_and_all_are_below_the_largest_limit() {
        for sampler in [Sampler::new(None), Sampler::new(Some(7))] {
            assert!((0..10_000).all(|_| !sampler.draws_below(0)));
            assert!((0..10_000).all(|_| sampler.draws_below(u64::MAX)));
        }
    }

    #[test]
    fn a_seeded_draw_that_is_small_has_all_its_bits() {
        let mut words = [7, 0x8000_0001].into_iter();
        assert_eq!(uniform(|| words.next().unwrap()), 7 << 32 | 0x8000_0001);
        assert_eq!(uniform(|| SMALL), u64::from(SMALL) << 32, "32 bits are enough");
    }

    #[test]
    fn threads_of_one_seed_draw_from_different_streams() {
        let sampler = Sampler::new(Some(7));
        let here = draws(&sampler, 64);
        let there = std::thread::scope(|scope| scope.spawn(|| draws(&sampler, 64)).join().unwrap());
        assert_ne!(here, there);
    }
}
