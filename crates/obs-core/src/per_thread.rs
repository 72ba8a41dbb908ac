//! Values that each thread has for itself, and that one reader can see all of.
//!
//! P1 A thread finds its value by a position in a list of its own: no lock, no shared cache line.
//! P2 The list of all values is locked only when a thread makes its first one, and by the reader.
//! P3 A value that only that list still holds belongs to a thread that has ended.
//! P4 Whoever reads two things, of which the first implies the second, lists the values anew for the
//!    second: between the two a thread may have come that is in neither list otherwise.
//! P5 In a forked child whose parent held the list's lock nothing can be listed any more, and nobody waits.

use std::{cell::OnceCell, fmt};

pub(crate) use crate::sync::thread_index;
use crate::sync::{Arc, LocalKey, Mutex, Ordering, fence, lock_after_fork, next_position};

/// A type of value that threads have for themselves.
pub(crate) trait Local: Sized + Send + Sync + 'static {
    /// Where this type's values of a thread are; a `thread_local!` of the implementer.
    fn own() -> &'static LocalKey<Slots<Self>>;
}

/// A value of a thread, as the thread and the list of all of them hold it.
pub(crate) type Own<T> = Arc<T>;

/// A thread's values of one type, by the position of their owner. Each chunk is as long as all before
/// it together and made at its first use, so that looking a value up neither moves nor borrows anything.
pub(crate) struct Slots<T> {
    chunks: [OnceCell<Chunk<T>>; CHUNKS],
}

type Chunk<T> = Box<[OnceCell<Arc<T>>]>;

/// Room for 4 billion owners.
const CHUNKS: usize = 32;

/// The place of an owner's value in each thread's slots. Whoever has it need not know the owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    chunk: u32,
    at: u32,
}

impl Position {
    /// Where no owner's value is.
    pub(crate) const NOWHERE: Self = Self { chunk: CHUNKS as u32 - 1, at: u32::MAX };

    fn new(number: usize) -> Self {
        let number = number + 1;
        let chunk = number.ilog2().min(CHUNKS as u32 - 1);
        let at = u32::try_from(number - (1 << chunk)).unwrap_or(u32::MAX);
        Self { chunk, at }
    }
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: [const { OnceCell::new() }; CHUNKS] }
    }

    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "a chunk is taken modulo how many there are")]
    fn get(&self, position: Position) -> Option<&Arc<T>> {
        // The mask changes nothing: it lets the compiler see that there is such a chunk.
        self.chunks[position.chunk as usize % CHUNKS].get()?.get(position.at as usize)?.get()
    }

    /// The value at a position, made at the first call.
    #[expect(
        clippy::indexing_slicing,
        reason = "each position lies in its chunk: there is room for 4 billion owners"
    )]
    fn get_or_make(&self, position: Position, make: impl FnOnce() -> Arc<T>) -> &Arc<T> {
        let chunk = self.chunks[position.chunk as usize]
            .get_or_init(|| (0..1_usize << position.chunk).map(|_| OnceCell::new()).collect());
        chunk[position.at as usize].get_or_init(make)
    }
}

/// Shows `write` this thread's value at a position; `None` where it has none yet, and nothing was written.
#[inline(always)]
pub(crate) fn with_known_at<T: Local, R>(
    position: Position,
    write: impl FnOnce(&T) -> R,
) -> Option<R> {
    T::own().try_with(|slots| slots.get(position).map(|own| write(own))).ok().flatten()
}

/// One value per thread.
pub(crate) struct PerThread<T> {
    /// The position in every thread's list; no two owners in a process share one.
    position: Position,
    all: Mutex<Vec<Arc<T>>>,
    /// For threads that are ending and have lost their lists; used under its lock.
    shared: Mutex<Arc<T>>,
    make: Box<dyn Fn(Whose) -> T + Send + Sync>,
}

/// Whom a value is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The thread that makes it.
    ThisThread,
    /// Threads that are ending, one after another.
    EndingThreads,
}

impl<T: Local> PerThread<T> {
    pub(crate) fn new(make: impl Fn(Whose) -> T + Send + Sync + 'static) -> Self {
        Self {
            position: Position::new(next_position()),
            all: Mutex::default(),
            shared: Mutex::new(Arc::new(make(Whose::EndingThreads))),
            make: Box::new(make),
        }
    }

    /// Shows `write` the value of this thread, which nobody else writes to meanwhile.
    pub(crate) fn with<R>(&self, write: impl Fn(&T) -> R) -> R {
        self.with_known(&write).unwrap_or_else(|| self.with_new_or_shared(&write))
    }

    /// The same where this thread has its value already; `None` where not, and nothing was written.
    #[inline(always)]
    pub(crate) fn with_known<R>(&self, write: impl FnOnce(&T) -> R) -> Option<R> {
        with_known_at(self.position, write)
    }

    /// Where this owner's values are.
    pub(crate) const fn position(&self) -> Position {
        self.position
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn with_new_or_shared<R>(&self, write: &dyn Fn(&T) -> R) -> R {
        if let Some(own) = self.own() {
            return write(&own);
        }
        match lock_after_fork(&self.shared) {
            Some(shared) => write(&shared),
            None => write(&(self.make)(Whose::EndingThreads)),
        }
    }

    /// This thread's value, made if need be; `None` where the thread is ending.
    pub(crate) fn own(&self) -> Option<Arc<T>> {
        T::own()
            .try_with(|slots| Arc::clone(slots.get_or_make(self.position, || self.make_own())))
            .ok()
    }

    fn make_own(&self) -> Arc<T> {
        let own = Arc::new((self.make)(Whose::ThisThread));
        if let Some(mut all) = lock_after_fork(&self.all) {
            all.push(Arc::clone(&own));
        }
        own
    }

    /// The values of all threads: those of threads that have ended since the last call, which are
    /// handed out this once, and the others.
    pub(crate) fn take_ended_and_see_living(&self) -> (Vec<Arc<T>>, Vec<Arc<T>>) {
        (self.take_ended(), self.living())
    }

    /// The values of threads that have ended since the last call, which are handed out this once.
    pub(crate) fn take_ended(&self) -> Vec<Arc<T>> {
        let Some(mut all) = lock_after_fork(&self.all) else { return Vec::new() };
        let ended = all.extract_if(.., |value| Arc::strong_count(value) == 1).collect();
        // Pairs with the release of the last reference: what the thread wrote before is seen.
        fence(Ordering::Acquire);
        ended
    }

    /// The values that were not handed out as ended, as of now.
    pub(crate) fn living(&self) -> Vec<Arc<T>> {
        let mut living = lock_after_fork(&self.all).map(|all| all.clone()).unwrap_or_default();
        living.extend(lock_after_fork(&self.shared).map(|shared| Arc::clone(&shared)));
        living
    }
}

impl<T> fmt::Debug for PerThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerThread").field("position", &self.position).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicU64, thread};

    use super::*;

    #[derive(Debug, Default)]
    struct Counter(AtomicU64);

    impl Local for Counter {
        fn own() -> &'static LocalKey<Slots<Self>> {
            thread_local! {
                static OWN: Slots<Counter> = const { Slots::new() };
            }
            &OWN
        }
    }

    fn add(counters: &PerThread<Counter>) {
        counters.with(|own| own.0.store(own.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed));
    }

    fn sum(values: &[Arc<Counter>]) -> u64 {
        values.iter().map(|value| value.0.load(Ordering::Relaxed)).sum()
    }

    #[test]
    fn every_thread_writes_to_a_value_of_its_own_and_the_reader_sees_all() {
        let counters = Arc::new(PerThread::new(|_| Counter::default()));
        add(&counters);
        let other = Arc::clone(&counters);
        thread::spawn(move || (0..5).for_each(|_| add(&other))).join().unwrap();
        let (ended, living) = counters.take_ended_and_see_living();
        assert_eq!((ended.len(), sum(&ended)), (1, 5));
        assert_eq!(sum(&living), 1);
        let (ended_again, _) = counters.take_ended_and_see_living();
        assert!(ended_again.is_empty(), "a value is handed out once");
    }

    #[test]
    fn two_owners_on_one_thread_have_two_values() {
        let (one, two) =
            (PerThread::new(|_| Counter::default()), PerThread::new(|_| Counter::default()));
        add(&one);
        add(&one);
        add(&two);
        assert_eq!(sum(&one.take_ended_and_see_living().1), 2);
        assert_eq!(sum(&two.take_ended_and_see_living().1), 1);
    }
}
