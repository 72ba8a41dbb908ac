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
    /// Only in tests. Apart, so that what every run needs fits into one cache line.
    seeded: Option<Box<Seeded>>,
}

#[derive(Debug)]
struct Seeded {
    uid: u64,
    seed: u64,
    /// Threads take the streams of the seed in the order of their first draw.
    next_stream: AtomicU64,
}

thread_local! {
    /// Where this thread is in its sequence of draws from the system's entropy; 0 before the first. Without
    /// a destructor, so that a thread that is ending can draw, and so that finding it is one instruction.
    static STATE: Cell<u64> = const { Cell::new(0) };
    /// The generators of seeded samplers, by their uid.
    static SEEDED: RefCell<Vec<(u64, ChaCha8Rng)>> = const { RefCell::new(Vec::new()) };
}

impl Sampler {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        static NEXT_UID: AtomicU64 = AtomicU64::new(0);
        let seeded = seed.map(|seed| {
            let uid = NEXT_UID.fetch_add(1, Ordering::Relaxed);
            Box::new(Seeded { uid, seed, next_stream: AtomicU64::new(0) })
        });
        Self { seeded }
    }

    /// Uniform in [0, 1) where `matters` says that the decision depends on it. A seeded sampler draws for
    /// every run all the same, so that one certain run does not shift the choice of all later ones.
    #[inline(always)]
    pub(crate) fn draw(&self, matters: bool) -> f64 {
        match &self.seeded {
            Some(seeded) => seeded.draw(),
            None if matters => STATE.with(next),
            None => 0.0,
        }
    }
}

/// The next of a thread's draws, by wyrand (Wang Yi): a step, a multiplication and its two halves. What decides
/// which rows are kept must be uniform and cheap, every time; nobody's secret depends on it.
#[inline(always)]
fn next(state: &Cell<u64>) -> f64 {
    const STEP: u64 = 0xa076_1d64_78bd_642f;
    const TWIST: u64 = 0xe703_7ed1_a0b4_28db;
    let at = match state.get() {
        0 => first(),
        at => at,
    };
    let at = at.wrapping_add(STEP);
    state.set(at);
    let product = u128::from(at) * u128::from(at ^ TWIST);
    unit((product >> 64) as u64 ^ product as u64)
}

/// Where a thread's sequence begins.
#[cold]
#[inline(never)]
fn first() -> u64 {
    from_entropy().next_u64()
}

impl Seeded {
    #[cold]
    #[inline(never)]
    fn draw(&self) -> f64 {
        SEEDED
            .try_with(|seeded| {
                let mut seeded = seeded.borrow_mut();
                let generator = self.generator_in(&mut seeded);
                unit(generator.next_u64())
            })
            // The thread is ending and its generators are gone: a fresh one serves.
            .unwrap_or_else(|_| {
                let mut fresh = from_entropy();
                unit(fresh.next_u64())
            })
    }

    #[expect(clippy::indexing_slicing, reason = "it was found there, or has just been added")]
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

/// A number in [0, 1), a multiple of 2^-53: as many as such numbers can be told apart.
#[inline(always)]
fn unit(bits: u64) -> f64 {
    const ULP: f64 = 1.0 / (1_u64 << 53) as f64;
    (bits >> 11) as f64 * ULP
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
        (0..count).map(|_| sampler.draw(true)).collect()
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
        let alternating: Vec<_> = (0..50).flat_map(|_| [one.draw(true), two.draw(true)]).collect();
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
    fn a_seeded_sampler_draws_also_where_nothing_depends_on_it() {
        let (all, some) = (Sampler::new(Some(7)), Sampler::new(Some(7)));
        let expected = draws(&all, 20);
        let drawn: Vec<f64> = (0..20).map(|at| some.draw(at % 3 == 0)).collect();
        assert_eq!(drawn, expected);
    }

    #[test]
    fn two_threads_draw_different_numbers_from_the_systems_entropy() {
        let sampler = Sampler::new(None);
        let here = draws(&sampler, 10);
        let there = std::thread::scope(|scope| scope.spawn(|| draws(&sampler, 10)).join().unwrap());
        assert_ne!(here, there);
    }

    #[test]
    fn draws_fall_evenly_into_a_thousand_parts_and_do_not_follow_the_one_before() {
        const PARTS: usize = 1_000;
        const COUNT: usize = 1_000_000;
        let sample = draws(&Sampler::new(None), COUNT);
        let chi_square = |parts: &mut dyn Iterator<Item = usize>| {
            let mut counts = [0_u32; PARTS];
            parts.for_each(|part| counts[part] += 1);
            let expected = COUNT as f64 / PARTS as f64;
            counts
                .iter()
                .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                .sum::<f64>()
        };
        let of = |draw: f64| ((draw * PARTS as f64) as usize).min(PARTS - 1);
        // 999 degrees of freedom: mean 999, standard deviation 44.7; seven of those above is 1,312.
        let alone = chi_square(&mut sample.iter().map(|draw| of(*draw)));
        assert!(alone < 1_312.0, "{alone}");
        // The difference of neighbours, modulo 1, is uniform if they are independent.
        let pairs =
            chi_square(&mut sample.windows(2).map(|pair| of((pair[1] - pair[0]).rem_euclid(1.0))));
        assert!(pairs < 1_312.0, "{pairs}");
    }

    #[test]
    fn threads_of_one_seed_draw_from_different_streams() {
        let sampler = Sampler::new(Some(7));
        let here = draws(&sampler, 10);
        let there = std::thread::scope(|scope| scope.spawn(|| draws(&sampler, 10)).join().unwrap());
        assert_ne!(here, there);
    }
}
