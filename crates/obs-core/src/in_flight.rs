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
//! the id is put together at the start of a run.

mod dead;
mod lane;
mod slots;
mod texts;

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use uuid::Uuid;

use crate::{
    clock::{Clock, Tick},
    page::{Page, PageError, PageOwner},
    per_thread::PerThread,
    record::Timestamp,
    recorder::Series,
    strategies::StrategyKey,
    sync::{AtomicU64, Mutex, Ordering},
};

pub use dead::{LostRuns, OpenRun, read_page};
use lane::Lane;
pub use slots::PAGE_WORDS;
use slots::{BLOCK_SLOTS, BLOCKS, Entry, FORMAT, SLOTS};
use texts::Texts;

/// A start looks at this many slots of its thread at most, before it asks for more.
const PROBES_MAX: usize = 8 * BLOCK_SLOTS;
/// A start takes this many blocks from the pool at most until it finds a free slot: those of ended
/// threads may be full of runs that go on elsewhere.
const CLAIMS_MAX: usize = 4;
/// While the pool is empty, a thread asks it again, and gives back what it does not use, each so many
/// starts.
const ASKS_EVERY: u64 = 64;
/// The series whose oldest runs are measured; more than a recorder makes.
const SERIES_MAX: usize = 4_096;

/// The slots of one [`Obs`](crate::Obs).
pub(crate) struct InFlight {
    page: Arc<dyn Page>,
    clock: Clock,
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

/// A run's id and start, once they are known.
pub(crate) type Id = Option<(Uuid, Timestamp)>;

impl Slot {
    pub(crate) const NONE: Self = Self(u16::MAX);

    pub(crate) const fn is_some(self) -> bool {
        self.0 != Self::NONE.0
    }
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

impl InFlight {
    pub(crate) fn on(
        page: Arc<dyn Page>,
        owner: &PageOwner,
        clock: &Clock,
    ) -> Result<Self, PageError> {
        FORMAT.check_blank(page.words())?;
        FORMAT.begin(page.words(), owner);
        Ok(Self {
            page,
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

    /// A run starts: its slot if there is one, and its id and start, written where they stay. `has_row`
    /// says whether it becomes a row when the process dies.
    #[inline(always)]
    pub(crate) fn enter(&self, mark: Mark, has_row: bool, now: Tick, id: &mut Id) -> Slot {
        let mark = slots::with_row(mark.0, has_row);
        let known = self.lanes.with_known(|lane| self.enter_in(lane, mark, now, id));
        known.unwrap_or_else(|| self.enter_first(mark, now, id))
    }

    /// The same where this thread has no lane yet.
    #[cold]
    #[inline(never)]
    fn enter_first(&self, mark: u64, now: Tick, id: &mut Id) -> Slot {
        let made = Cell::new(None);
        let slot = self.lanes.with_new_or_shared(&|lane| {
            let mut id = None;
            let slot = self.enter_in(lane, mark, now, &mut id);
            made.set(id);
            slot
        });
        *id = made.get();
        slot
    }

    #[inline(never)]
    fn enter_in(&self, lane: &Lane, mark: u64, now: Tick, id: &mut Id) -> Slot {
        let (run_id, started_at) = lane.identity(&self.clock, now);
        *id = Some((run_id, started_at));
        if self.exhausted.load(Ordering::Relaxed) && lane.is_nth_start(ASKS_EVERY) {
            self.relieve(lane);
        }
        let words = self.page.words();
        let last = lane.last();
        let slot = if slots::is_free(words, last) { Some(last) } else { self.search(lane, words) };
        let Some(slot) = slot else {
            return Slot::NONE;
        };
        slots::fill(words, slot, &Entry { run_id, started_at, mark, tick: now });
        #[expect(clippy::cast_possible_truncation, reason = "there are fewer slots")]
        let slot = Slot(slot as u16);
        slot
    }

    /// The run in this slot has ended.
    #[inline]
    pub(crate) fn leave(&self, slot: Slot) {
        slots::clear(self.page.words(), slot.0.into());
    }

    /// A free slot among the others of this thread, or in a block that nobody has.
    #[cold]
    fn search(&self, lane: &Lane, words: &[AtomicU64]) -> Option<usize> {
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
            if slots::is_free(words, probed) {
                lane.set_last(probed);
                return Some(probed);
            }
        }
        // The next start looks on from here.
        lane.set_last(probed);
        if self.exhausted.load(Ordering::Relaxed) && !lane.is_nth_start(ASKS_EVERY) {
            lane.miss();
            return None;
        }
        for _ in 0..CLAIMS_MAX {
            let Some(block) = self.claim() else { break };
            blocks.push(block);
            let first = usize::from(block) * BLOCK_SLOTS;
            if let Some(free) =
                (first..first + BLOCK_SLOTS).find(|slot| slots::is_free(words, *slot))
            {
                lane.set_last(free);
                return Some(free);
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
    pub(crate) fn list(&self, runs_max: usize) -> Vec<InFlightRun> {
        let words = self.page.words();
        let now = self.clock.now();
        let mut entries: Vec<Entry> = self.entries(words).collect();
        entries.sort_by_key(|entry| entry.tick);
        entries.truncate(runs_max);
        entries
            .iter()
            .map(|entry| InFlightRun {
                age: now.since(entry.tick),
                run: OpenRun::of(entry, |word| slots::texts(words)[word].load(Ordering::Acquire)),
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
                *age = now.since(entry.tick).max(*age);
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
