//! Values that each thread has for itself, and that one reader can see all of.
//!
//! P1 A thread finds its value by a position in a list of its own: no lock, no shared cache line.
//! P2 The list of all values is locked only when a thread makes its first one, and by the reader.
//! P3 A value that only that list still holds belongs to a thread that has ended.
//! P4 Whoever reads two things, of which the first implies the second, lists the values anew for the
//!    second: between the two a thread may have come that is in neither list otherwise.

use std::{cell::RefCell, fmt, sync::PoisonError};

pub(crate) use crate::sync::thread_index;
use crate::sync::{Arc, LocalKey, Mutex, Ordering, fence, next_position};

/// A type of value that threads have for themselves.
pub(crate) trait Local: Sized + Send + Sync + 'static {
    /// Where this type's values of a thread are; a `thread_local!` of the implementer.
    fn own() -> &'static LocalKey<Slots<Self>>;
}

/// A thread's values of one type, by the position of their owner.
pub(crate) type Slots<T> = RefCell<Vec<Option<Arc<T>>>>;

/// One value per thread.
pub(crate) struct PerThread<T> {
    /// The position in every thread's list; no two owners in a process share one.
    position: usize,
    all: Mutex<Vec<Arc<T>>>,
    /// For threads that are ending and have lost their lists; used under its lock.
    shared: Mutex<Arc<T>>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

impl<T: Local> PerThread<T> {
    pub(crate) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self {
            position: next_position(),
            all: Mutex::default(),
            shared: Mutex::new(Arc::new(make())),
            make: Box::new(make),
        }
    }

    /// Shows `write` the value of this thread, which nobody else writes to meanwhile.
    #[inline]
    pub(crate) fn with<R>(&self, write: impl Fn(&T) -> R) -> R {
        let written = T::own().try_with(|slots| {
            let known = slots.borrow();
            match known.get(self.position) {
                Some(Some(own)) => write(own),
                _ => {
                    drop(known);
                    write(&self.first(slots))
                }
            }
        });
        written.unwrap_or_else(|_| {
            let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            write(&shared)
        })
    }

    /// Makes this thread's value.
    #[cold]
    fn first(&self, slots: &Slots<T>) -> Arc<T> {
        let own = Arc::new((self.make)());
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&own));
        let mut slots = slots.borrow_mut();
        if slots.len() <= self.position {
            slots.resize_with(self.position + 1, || None);
        }
        slots[self.position] = Some(Arc::clone(&own));
        own
    }

    /// The values of all threads: those of threads that have ended since the last call, which are
    /// handed out this once, and the others.
    pub(crate) fn take_ended_and_see_living(&self) -> (Vec<Arc<T>>, Vec<Arc<T>>) {
        (self.take_ended(), self.living())
    }

    /// The values of threads that have ended since the last call, which are handed out this once.
    pub(crate) fn take_ended(&self) -> Vec<Arc<T>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = all.extract_if(.., |value| Arc::strong_count(value) == 1).collect();
        // Pairs with the release of the last reference: what the thread wrote before is seen.
        fence(Ordering::Acquire);
        ended
    }

    /// The values that were not handed out as ended, as of now.
    pub(crate) fn living(&self) -> Vec<Arc<T>> {
        let mut living = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        living.push(Arc::clone(&self.shared.lock().unwrap_or_else(PoisonError::into_inner)));
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
                static OWN: Slots<Counter> = const { RefCell::new(Vec::new()) };
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
        let counters = Arc::new(PerThread::new(Counter::default));
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
        let (one, two) = (PerThread::new(Counter::default), PerThread::new(Counter::default));
        add(&one);
        add(&one);
        add(&two);
        assert_eq!(sum(&one.take_ended_and_see_living().1), 2);
        assert_eq!(sum(&two.take_ended_and_see_living().1), 1);
    }
}
