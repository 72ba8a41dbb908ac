//! The draw: a uniform number in [0, 1) per run, from a generator that each thread owns.

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

/// Draws that are made at once: what the generator computes in one go.
const BLOCK: usize = 64;

/// The draws of one thread from the system's entropy. Without a destructor, so that a thread that is
/// ending can draw, and so that finding it is one instruction.
struct Entropy {
    next: Cell<usize>,
    block: [Cell<u32>; BLOCK],
}

thread_local! {
    static ENTROPY: Entropy = const {
        Entropy {
            next: Cell::new(BLOCK),
            block: [const { Cell::new(0) }; BLOCK],
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

    /// Uniform in [0, 1).
    #[inline(always)]
    pub(crate) fn draw(&self) -> f64 {
        match &self.seeded {
            None => ENTROPY.with(|entropy| unit(|| entropy.next())),
            Some(seeded) => seeded.draw(),
        }
    }
}

impl Entropy {
    #[inline]
    fn next(&self) -> u32 {
        let mut at = self.next.get();
        if at >= BLOCK {
            self.refill();
            at = 0;
        }
        self.next.set(at + 1);
        self.block[at].get()
    }

    #[cold]
    #[inline(never)]
    fn refill(&self) {
        let fill = |generator: &mut ChaCha8Rng| {
            self.block.iter().for_each(|bits| bits.set(generator.next_u32()));
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
    fn draw(&self) -> f64 {
        SEEDED
            .try_with(|seeded| {
                let mut seeded = seeded.borrow_mut();
                let generator = self.generator_in(&mut seeded);
                unit(|| generator.next_u32())
            })
            // The thread is ending and its generators are gone: a fresh one serves.
            .unwrap_or_else(|_| {
                let mut fresh = from_entropy();
                unit(|| fresh.next_u32())
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

/// A number in [0, 1), from 32 random bits, or from 64 where the first say that it is small.
#[inline]
fn unit(mut next: impl FnMut() -> u32) -> f64 {
    const STEP: f64 = 1.0 / (1_u64 << u32::BITS) as f64;
    let high = next();
    if high >= SMALL {
        return f64::from(high) * STEP;
    }
    (f64::from(high) + f64::from(next()) * STEP) * STEP
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

    fn draws(sampler: &Sampler, count: usize) -> Vec<f64> {
        (0..count).map(|_| sampler.draw()).collect()
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
        let alternating: Vec<_> = (0..50).flat_map(|_| [one.draw(), two.draw()]).collect();
        for pair in alternating.chunks(2) {
            assert_eq!(pair[0], pair[1]);
        }
    }

    #[test]
    fn draws_lie_in_the_unit_interval_and_average_one_half() {
        let sample = draws(&Sampler::new(None), 10_000);
        assert!(sample.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = sample.iter().sum::<f64>() / 10_000.0;
        // Six standard errors of the mean of 10,000 uniform draws are 0.0173.
        assert!((mean - 0.5).abs() < 0.0174, "{mean}");
    }

    #[test]
    fn threads_of_one_seed_draw_from_different_streams() {
        let sampler = Sampler::new(Some(7));
        let here = draws(&sampler, 10);
        let there = std::thread::scope(|scope| scope.spawn(|| draws(&sampler, 10)).join().unwrap());
        assert_ne!(here, there);
    }
}
