//! Runs in flight: a slot for each, in memory that may outlive the process.
//!
//! F1 A thread has blocks of slots for itself. The run that it starts takes a free one: the words are
//!    written first, the seal over them last, so a slot is either free or whole.
//! F2 Whoever ends the run, on whatever thread, clears the seal: one store. Only then is the slot free
//!    for the thread that has its block.
//! F3 Blocks go from thread to thread through a pool, with the slots that are still taken in them: of
//!    threads that have ended, and, where the pool is empty, of threads that have more than they use.
//! F4 A run that finds no slot goes without one, and is counted. A start looks at few slots, never waits
//!    for another thread's run, and takes a lock only where its own block is full.
//!
//! The next process makes a row of each slot that is still taken, with the run's own id: so with slots
//! what the id is made of is settled at the start of a run, and stands in its slot. It is put together when
//! somebody asks.

mod dead;
mod lane;
mod slots;
mod texts;

use std::{
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use uuid::Uuid;

use crate::{
    clock::{Clock, Rate, Reading},
    ids::{Id, Seed},
    page::{Page, PageError, PageOwner},
    per_thread::PerThread,
    record::Timestamp,
    recorder::Series,
    strategies::StrategyKey,
    sync::{AtomicU64, Mutex, Ordering},
};

pub use dead::{LostRuns, OpenRun, read_page};
use lane::{ANCHOR_NANOS, Lane};
pub use slots::PAGE_WORDS;
use slots::{BLOCK_SLOTS, BLOCKS, Entry, FORMAT, FreeSlot, SLOTS};
use texts::Texts;

/// A start looks at this many slots of its thread at most, before it asks for more.
const PROBES_MAX: usize = 8 * BLOCK_SLOTS;
/// A start takes this many blocks from the pool at most until it finds a free slot: those of ended
/// threads may be full of runs that go on elsewhere.
const CLAIMS_MAX: usize = 4;
/// While the pool is empty, a thread that has no free slot asks it again at each so many starts. It gives back what
/// it does not use when it reads the wall clock.
const ASKS_EVERY: u64 = 64;
/// The series whose oldest runs are measured; more than a recorder makes.
const SERIES_MAX: usize = 4_096;

/// The slots of one [`Obs`](crate::Obs).
pub(crate) struct InFlight {
    page: Arc<dyn Page>,
    clock: Clock,
    /// [`ANCHOR_NANOS`] in the clock's unit.
    anchor_counts: u64,
    lanes: PerThread<Lane>,
    pool: Mutex<Pool>,
    /// The pool was empty when somebody asked last.
    exhausted: AtomicBool,
    /// Blocks that were ever taken: the others need not be looked at.
    used: AtomicUsize,
    known: Mutex<Known>,
}

/// Blocks that no thread has.
#[derive(Debug, Default)]
struct Pool {
    returned: Vec<u16>,
    fresh: u16,
    /// Runs without a slot of threads that have ended.
    missed: u64,
}

/// What strategies have told about themselves.
#[derive(Default)]
struct Known {
    texts: Texts,
    series: Vec<Arc<Series>>,
}

/// What a strategy's runs write into their slots.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark(u64);

/// A run's slot, for whoever ends the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot(u16);

/// A run's slot, for whoever ends the run and knows the slots as long as it lasts: whoever stores 0 there frees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a> {
    seal: &'a AtomicU64,
    pub(crate) slot: Slot,
}

impl<'a> Taken<'a> {
    #[inline(always)]
    fn of(free: FreeSlot<'a>, slot: usize, entry: &Entry) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer slots")]
        let slot = Slot(slot as u16);
        Self { seal: free.take(entry), slot }
    }

    /// The run in this slot has ended.
    #[inline(always)]
    pub(crate) fn leave(self) {
        self.seal.store(0, Ordering::Release);
    }
}

impl Slot {
    pub(crate) const NONE: Self = Self(u16::MAX);
}

const _: () = assert!(SLOTS < u16::MAX as usize);

/// A run that is in flight now.
///
/// ```
/// # use obs_core::testing::TestObs;
/// let test = TestObs::with(|builder| builder.in_flight(true))?;
/// let bonus = test.obs().kind("dsl").lookup("bonus", "3");
/// let mut run = bonus.start();
/// let listed = test.obs().in_flight(10);
/// assert_eq!(listed[0].run.run_id, run.id());
/// assert_eq!(&*listed[0].run.strategy_id, "bonus");
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InFlightRun {
    /// How long it has been running.
    pub age: Duration,
    /// Which it is.
    pub run: OpenRun,
}

/// What found no room, since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Untracked {
    pub(crate) runs: u64,
    pub(crate) strategies: u64,
}

#[inline(always)]
const fn entry(seed: Seed, mark: u64, now: Reading) -> Entry {
    Entry { seed: seed.words(), reading: now.word(), mark }
}

impl Entry {
    /// The run's id and start, on a clock with this rate.
    fn identity(&self, rate: Rate) -> (Uuid, Timestamp) {
        let nanos = rate.nanos(Reading::from_word(self.reading));
        Seed::from_words(self.seed).id_at(nanos)
    }
}

impl InFlight {
    pub(crate) fn on(
        page: Arc<dyn Page>,
        owner: &PageOwner,
        clock: &Clock,
    ) -> Result<Self, PageError> {
        FORMAT.check_blank(page.words())?;
        slots::publish_rate(page.words(), clock.rate().word());
        FORMAT.begin(page.words(), owner);
        Ok(Self {
            page,
            anchor_counts: clock.rate().counts(ANCHOR_NANOS),
            clock: clock.clone(),
            lanes: PerThread::new(|_| Lane::default()),
            pool: Mutex::default(),
            exhausted: AtomicBool::new(false),
            used: AtomicUsize::new(0),
            known: Mutex::default(),
        })
    }

    /// What the runs of a strategy write: where its texts are, and its series.
    pub(crate) fn mark(&self, kind: &str, key: &StrategyKey<'_>, series: &Arc<Series>) -> Mark {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let text = known.texts.intern(slots::texts(self.page.words()), kind, key);
        let place = match known.series.iter().position(|it| Arc::ptr_eq(it, series)) {
            Some(place) => place,
            None if known.series.len() < SERIES_MAX => {
                known.series.push(Arc::clone(series));
                known.series.len() - 1
            }
            None => SERIES_MAX,
        };
        Mark(slots::mark(text, place))
    }

    /// A run starts: what its id is made of, and its slot if there is one, written where they stay. `has_row` says
    /// whether it becomes a row when the process dies.
    #[inline(always)]
    pub(crate) fn enter<'a>(
        &'a self,
        (mark, has_row): (Mark, bool),
        now: Reading,
        (id, taken): (&mut Id, &mut Option<Taken<'a>>),
    ) {
        let mark = slots::with_row(mark.0, has_row);
        // In the closure only what needs the lane: the compiler takes it apart while it is small.
        let lane = |lane: &Lane| lane.seed_and_last(now, self.anchor_counts);
        let Some((seed, last)) = self.lanes.with_known(lane).flatten() else {
            return self.enter_any(None, (mark, now), (id, taken));
        };
        match slots::free(self.page.words(), last) {
            Some(free) => {
                *id = Id::Seeded(seed);
                *taken = Some(Taken::of(free, last, &entry(seed, mark, now)));
            }
            None => self.enter_any(Some(seed), (mark, now), (id, taken)),
        }
    }

    /// The same for any run.
    #[cold]
    #[inline(never)]
    fn enter_any<'a>(
        &'a self,
        seed: Option<Seed>,
        (mark, now): (u64, Reading),
        (id, taken): (&mut Id, &mut Option<Taken<'a>>),
    ) {
        let (seed, found) = self.lanes.with(|lane| {
            let seed = seed.unwrap_or_else(|| {
                self.catch_up(lane, now);
                lane.seed()
            });
            let words = self.page.words();
            let free = slots::free(words, lane.last()).or_else(|| self.search(lane, words));
            let take = |free| Taken::of(free, lane.last(), &entry(seed, mark, now));
            (seed, free.map(take))
        });
        (*id, *taken) = (Id::Seeded(seed), found);
    }

    /// What a thread does now and then.
    fn catch_up(&self, lane: &Lane, now: Reading) {
        lane.anchor(&self.clock, now);
        if self.exhausted.load(Ordering::Relaxed) {
            self.relieve(lane);
        }
    }

    /// The run in this slot has ended.
    #[inline]
    pub(crate) fn leave(&self, slot: Slot) {
        slots::clear(self.page.words(), slot.0.into());
    }

    /// A free slot among the others of this thread, or in a block that nobody has.
    #[cold]
    #[inline(never)]
    #[expect(clippy::indexing_slicing, reason = "a place is taken modulo the slots of all blocks")]
    fn search<'a>(&self, lane: &Lane, words: &'a [AtomicU64]) -> Option<FreeSlot<'a>> {
        let mut blocks = lane.blocks();
        let own = blocks.len() * BLOCK_SLOTS;
        let at = |place: usize| {
            usize::from(blocks[place / BLOCK_SLOTS]) * BLOCK_SLOTS + place % BLOCK_SLOTS
        };
        let last = lane.last();
        let start = blocks.iter().position(|block| usize::from(*block) == last / BLOCK_SLOTS);
        let start = start.map_or(0, |block| block * BLOCK_SLOTS + last % BLOCK_SLOTS + 1);
        let mut probed = last;
        for place in (start..start + own.min(PROBES_MAX)).map(|place| place % own) {
            probed = at(place);
            if let Some(free) = slots::free(words, probed) {
                lane.set_last(probed);
                return Some(free);
            }
        }
        // The next start looks on from here.
        lane.set_last(probed);
        if self.exhausted.load(Ordering::Relaxed) && !lane.is_nth_search(ASKS_EVERY) {
            lane.miss();
            return None;
        }
        for _ in 0..CLAIMS_MAX {
            let Some(block) = self.claim() else { break };
            blocks.push(block);
            let first = usize::from(block) * BLOCK_SLOTS;
            for slot in first..first + BLOCK_SLOTS {
                if let Some(free) = slots::free(words, slot) {
                    lane.set_last(slot);
                    return Some(free);
                }
            }
        }
        lane.miss();
        None
    }

    fn claim(&self) -> Option<u16> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.returned.is_empty() && usize::from(pool.fresh) == BLOCKS {
            for ended in self.lanes.take_ended() {
                pool.missed += ended.missed();
                pool.returned.append(&mut ended.blocks());
            }
        }
        let block = pool.returned.pop().or_else(|| {
            (usize::from(pool.fresh) < BLOCKS).then(|| {
                pool.fresh += 1;
                self.used.store(pool.fresh.into(), Ordering::Release);
                pool.fresh - 1
            })
        });
        self.exhausted.store(block.is_none(), Ordering::Relaxed);
        block
    }

    /// Gives back the blocks of this thread that hold no run, but for the one that it uses.
    #[cold]
    fn relieve(&self, lane: &Lane) {
        let words = self.page.words();
        let current = lane.last() / BLOCK_SLOTS;
        let mut blocks = lane.blocks();
        let idle = blocks.extract_if(.., |block| {
            let first = usize::from(*block) * BLOCK_SLOTS;
            usize::from(*block) != current
                && (first..first + BLOCK_SLOTS).all(|slot| slots::is_free(words, slot))
        });
        let idle: Vec<u16> = idle.collect();
        if !idle.is_empty() {
            self.pool.lock().unwrap_or_else(PoisonError::into_inner).returned.extend(idle);
            self.exhausted.store(false, Ordering::Relaxed);
        }
    }

    /// The runs in flight, the oldest first, at most `runs_max`.
    #[expect(
        clippy::indexing_slicing,
        reason = "texts are decoded from words within the length given for them"
    )]
    pub(crate) fn list(&self, runs_max: usize) -> Vec<InFlightRun> {
        let words = self.page.words();
        let now = self.clock.now();
        let mut entries: Vec<Entry> = self.entries(words).collect();
        entries.sort_by_key(|entry| entry.reading);
        entries.truncate(runs_max);
        entries
            .iter()
            .map(|entry| InFlightRun {
                age: now.since(self.clock.tick(Reading::from_word(entry.reading))),
                run: OpenRun::of(entry, entry.identity(self.clock.rate()), |word| {
                    slots::texts(words)[word].load(Ordering::Acquire)
                }),
            })
            .collect()
    }

    fn entries<'a>(&self, words: &'a [AtomicU64]) -> impl Iterator<Item = Entry> + use<'a> {
        let used = self.used.load(Ordering::Acquire) * BLOCK_SLOTS;
        (0..used).filter_map(|slot| slots::read(words, slot))
    }

    /// Measures the oldest run of each series, and says on the page how far this process has come.
    pub(crate) fn measure(&self) {
        let words = self.page.words();
        let now = self.clock.now();
        let series = self.known.lock().unwrap_or_else(PoisonError::into_inner).series.clone();
        let mut ages = vec![Duration::ZERO; series.len()];
        for entry in self.entries(words) {
            if let Some(age) = ages.get_mut(slots::series(entry.mark)) {
                let started = self.clock.tick(Reading::from_word(entry.reading));
                *age = now.since(started).max(*age);
            }
        }
        for (series, age) in series.iter().zip(ages) {
            series.oldest(age);
        }
        slots::publish(words, self.untracked().runs, self.clock.wall());
    }

    /// What found no room.
    pub(crate) fn untracked(&self) -> Untracked {
        let living: u64 = self.lanes.living().iter().map(|lane| lane.missed()).sum();
        let ended = {
            let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            for ended in self.lanes.take_ended() {
                pool.missed += ended.missed();
                pool.returned.append(&mut ended.blocks());
            }
            pool.missed
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Untracked { runs: living + ended, strategies: known.texts.refused() }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("page", &self.page).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
