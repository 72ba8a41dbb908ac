//! The draw: a uniform number in [0, 1) per run, from a generator that each thread owns.

use std::{
    cell::RefCell,
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

/// The generators of one thread.
#[derive(Default)]
struct Generators {
    entropy: Option<ChaCha8Rng>,
    seeded: Vec<(u64, ChaCha8Rng)>,
}

thread_local! {
    static GENERATORS: RefCell<Generators> = RefCell::default();
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

    /// Uniform in [0, 1), with 53 random bits.
    pub(crate) fn draw(&self) -> f64 {
        GENERATORS
            .try_with(|generators| {
                let mut generators = generators.borrow_mut();
                match &self.seeded {
                    None => unit(generators.entropy.get_or_insert_with(from_entropy)),
                    Some(seeded) => unit(generators.of(seeded)),
                }
            })
            // The thread is ending and its generators are gone: a fresh one serves.
            .unwrap_or_else(|_| unit(&mut from_entropy()))
    }
}

impl Generators {
    fn of(&mut self, seeded: &Seeded) -> &mut ChaCha8Rng {
        if let Some(at) = self.seeded.iter().position(|(uid, _)| *uid == seeded.uid) {
            return &mut self.seeded[at].1;
        }
        if self.seeded.len() == SEEDED_MAX {
            self.seeded.remove(0);
        }
        let mut generator = ChaCha8Rng::seed_from_u64(seeded.seed);
        generator.set_stream(seeded.next_stream.fetch_add(1, Ordering::Relaxed));
        let at = self.seeded.len();
        self.seeded.push((seeded.uid, generator));
        &mut self.seeded[at].1
    }
}

fn unit(generator: &mut ChaCha8Rng) -> f64 {
    const BITS: u32 = 53;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in an f64")]
    let bits = (generator.next_u64() >> (u64::BITS - BITS)) as f64;
    bits / (1_u64 << BITS) as f64
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
