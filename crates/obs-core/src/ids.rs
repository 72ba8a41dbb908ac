//! Run ids: UUIDv7 in form, put together only when somebody needs one.
//!
//! The layout is RFC 9562's: 48 bits of Unix milliseconds, version, 12 bits, variant, 62 bits. Our
//! 74 free bits are a random base per thread plus a counter, so that making an id costs an
//! addition, ids of one thread never repeat, and ids of two threads meet only if two random 74-bit
//! numbers lie within a millisecond's count of each other.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use uuid::Uuid;

use crate::record::Timestamp;

const FREE_BITS: u32 = 74;
const LOW_BITS: u32 = 62;

thread_local! {
    // `None` until the thread makes its first id.
    static NEXT: Cell<Option<u128>> = const { Cell::new(None) };
}

/// How often this process, or one that it was forked from, was forked and said so.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Says that this process is a child that was just forked. Without it, a child that goes on starting
/// runs notices within 10 ms, and in these its ids may be those of its parent. It may be called in a
/// handler of `pthread_atfork`: it does nothing but count.
///
/// ```
/// obs_core::after_fork();
/// ```
pub fn after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Whether somebody says so of every fork.
static ARE_FORKS_TOLD: AtomicBool = AtomicBool::new(false);

/// Says that every child of this process calls [`after_fork`], whoever makes it: then the system need not be
/// asked for the process's id whenever a run is kept. obs-persist says so where it has a spool.
///
/// ```
/// // After `pthread_atfork` was given a handler for the child that calls `after_fork`.
/// obs_core::forks_are_told();
/// ```
pub fn forks_are_told() {
    ARE_FORKS_TOLD.store(true, Ordering::Relaxed);
}

/// The id of this process: another one in a child that was forked from it. Cheap where
/// [forks are told](forks_are_told); else the system is asked.
///
/// ```
/// assert_eq!(obs_core::process_id(), std::process::id());
/// ```
#[must_use]
pub fn process_id() -> u32 {
    PROCESS.id(ARE_FORKS_TOLD.load(Ordering::Relaxed), forks())
}

pub(crate) fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed) & u64::from(u32::MAX)
}

/// The process's id in the lower half, and how many forks there were by then, plus one, in the upper.
#[derive(Default)]
struct KnownProcess(AtomicU64);

static PROCESS: KnownProcess = KnownProcess(AtomicU64::new(0));

impl KnownProcess {
    /// Asks the system unless nobody can have forked since it was asked last.
    fn id(&self, are_forks_told: bool, forks: u64) -> u32 {
        let upper = (forks + 1) << 32;
        let known = self.0.load(Ordering::Relaxed);
        if are_forks_told && known & !u64::from(u32::MAX) == upper {
            return known as u32;
        }
        let id = std::process::id();
        self.0.store(upper | u64::from(id), Ordering::Relaxed);
        id
    }
}

/// What a run's id and start are put together from when somebody needs them, in two words that cost nothing to
/// copy: together with a reading of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    /// How many microseconds the wall clock is ahead of the monotonic one, enough until 2112; below them the upper
    /// free bits.
    base: u64,
    /// The lower free bits, counted up from run to run.
    low: u64,
}

const HIGH_BITS: u32 = FREE_BITS - LOW_BITS;
const HIGH_MASK: u64 = (1 << HIGH_BITS) - 1;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;
const AHEAD_MAX: u64 = u64::MAX >> HIGH_BITS;

/// What is known of a run's id and start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Id {
    Unknown,
    /// This makes them, with the start on the run's clock. It stands in the run's slot, too.
    Seeded(Seed),
    Known(Uuid, Timestamp),
}

impl Seed {
    pub(crate) const fn from_words([base, low]: [u64; 2]) -> Self {
        Self { base, low }
    }

    pub(crate) const fn words(self) -> [u64; 2] {
        [self.base, self.low]
    }

    pub(crate) fn random() -> Self {
        let free = random();
        Self { base: (free >> 64) as u64 & HIGH_MASK, low: free as u64 }
    }

    /// The same where the wall clock says this so many nanoseconds after what the monotonic one counts from.
    pub(crate) fn anchored(self, wall: Timestamp, nanos: u64) -> Self {
        let wall = wall.as_micros().max(0).cast_unsigned();
        let ahead = wall.saturating_sub(nanos / 1_000).min(AHEAD_MAX);
        Self { base: ahead << HIGH_BITS | self.base & HIGH_MASK, ..self }
    }

    /// Id and start of the run that started so many nanoseconds after what the monotonic clock counts from.
    pub(crate) const fn id_at(self, nanos: u64) -> (Uuid, Timestamp) {
        let micros = (self.base >> HIGH_BITS) + nanos / 1_000;
        let high = (micros / 1_000) << 16 | 7 << 12 | self.base & HIGH_MASK;
        let id = Uuid::from_u64_pair(high, 2 << LOW_BITS | self.low & LOW_MASK);
        (id, Timestamp::from_micros(micros.cast_signed()))
    }
}

/// A new run id of a run that starts now or at some other time, for one that is
/// [recorded](crate::Strategy::record) when it has ended.
///
/// ```
/// use obs_core::{Clock, new_run_id};
/// assert_eq!(new_run_id(Clock::default().wall()).get_version_num(), 7);
/// ```
#[must_use]
pub fn new_run_id(started_at: Timestamp) -> Uuid {
    run_id(started_at)
}

/// Whether this is the id of a run that started in about this second.
pub(crate) fn is_of(run_id: Uuid, started_at: Timestamp) -> bool {
    const MILLIS_APART_MAX: i64 = 1_000;
    let millis = i64::try_from(run_id.as_u128() >> 80).unwrap_or(i64::MAX);
    run_id.get_version_num() == 7
        && run_id.get_variant() == uuid::Variant::RFC4122
        && millis.abs_diff(started_at.as_micros() / 1_000) <= MILLIS_APART_MAX.unsigned_abs()
}

/// A new id whose time is `started_at`.
pub(crate) fn run_id(started_at: Timestamp) -> Uuid {
    let free = NEXT
        .try_with(|next| {
            let free = next.get().unwrap_or_else(random);
            next.set(Some(free.wrapping_add(1)));
            free
        })
        .unwrap_or_else(|_| random());
    put_together(started_at, forked(free))
}

/// A random id for a process.
pub(crate) fn epoch() -> Uuid {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn put_together(started_at: Timestamp, free: u128) -> Uuid {
    let millis = u128::from(started_at.as_micros().max(0).unsigned_abs() / 1_000) & ((1 << 48) - 1);
    let free = free & ((1 << FREE_BITS) - 1);
    let (high, low) = (free >> LOW_BITS, free & ((1 << LOW_BITS) - 1));
    Uuid::from_u128(millis << 80 | 7 << 76 | high << 64 | 2 << LOW_BITS | low)
}

/// A forked child inherits base and counter, but not the process id.
fn forked(free: u128) -> u128 {
    free ^ (u128::from(process_id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) << 24)
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

fn fill(bytes: &mut [u8; 16]) {
    if getrandom::fill(bytes).is_err() {
        // No entropy from the system: the standard library's per-process keys are the next best.
        let keys = [RandomState::new().hash_one(0), RandomState::new().hash_one(1)];
        bytes[..8].copy_from_slice(&keys[0].to_le_bytes());
        bytes[8..].copy_from_slice(&keys[1].to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_763_715_600_123_456);

    #[test]
    fn an_id_is_a_version_7_uuid_that_carries_its_start_in_milliseconds() {
        let id = run_id(AT);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.as_u128() >> 80, 1_763_715_600_123);
    }

    #[test]
    fn a_seed_makes_the_id_and_the_start_that_the_clocks_said_when_it_was_anchored() {
        const NANOS: u64 = 7_000_000_123;
        let seed = Seed::from_words([0xabc, 5]).anchored(AT, NANOS);
        let (id, started_at) = seed.id_at(NANOS);
        assert_eq!(started_at, AT);
        assert!(is_of(id, AT), "{id}");
        let (later, a_second_later) = seed.id_at(NANOS + 1_000_000_000);
        assert_eq!(a_second_later.as_micros() - AT.as_micros(), 1_000_000);
        let free = |id: Uuid| id.as_u128() & ((0xfff << 64) | u128::from(LOW_MASK));
        assert_eq!(free(id), 0xabc << 64 | 5, "the rest of an id is not of its time");
        assert_eq!(free(later), free(id));
        let again = seed.anchored(AT.before(std::time::Duration::from_secs(9)), 5);
        assert_eq!(free(again.id_at(5).0), free(id));
        for wall in [i64::MIN, -1, i64::MAX] {
            // Whatever the clocks say, it is a version 7 UUID.
            let (id, _) = seed.anchored(Timestamp::from_micros(wall), u64::MAX).id_at(u64::MAX);
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        }
    }

    #[test]
    fn the_system_is_asked_for_the_process_again_after_a_fork() {
        // As a child sees what its parent knew.
        let inherited = || KnownProcess(AtomicU64::new(4 << 32 | 7));
        assert_eq!(inherited().id(true, 3), 7, "nobody forked");
        assert_eq!(inherited().id(true, 4), std::process::id());
        assert_eq!(inherited().id(false, 3), std::process::id(), "somebody may have forked");
        let known = KnownProcess::default();
        assert_eq!([known.id(true, 0), known.id(true, 0)], [std::process::id(); 2]);
    }

    #[test]
    fn ids_of_one_time_are_unique_within_and_across_threads() {
        const PER_THREAD: usize = 50_000;
        let threads: Vec<_> = (0..4)
            .map(|_| thread::spawn(|| (0..PER_THREAD).map(|_| run_id(AT)).collect::<Vec<_>>()))
            .collect();
        let ids: Vec<Uuid> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let distinct: HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), 4 * PER_THREAD);
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_repeat_an_id() {
        let before = run_id(AT);
        let jumped = run_id(AT.before(std::time::Duration::from_secs(3600)));
        let again = run_id(AT);
        assert_ne!(before, jumped);
        assert_ne!(before, again);
    }

    #[test]
    fn a_time_before_1970_is_taken_as_1970() {
        assert_eq!(run_id(Timestamp::from_micros(-5)).as_u128() >> 80, 0);
    }
}
