//! Locks and atomics of what several threads write to at once: one place to name them, so that a
//! model checker can put its own in their place.

pub(crate) use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering, fence},
    },
    thread::LocalKey,
};

use std::{
    hint,
    sync::{PoisonError, TryLockError, atomic::AtomicUsize},
    thread,
};

pub(crate) use crate::ids::forks;

/// How often a child looks whether a lock is free: some 10 µs where it is not, and more than all that is
/// ever done under such a lock.
const LOOKS: u32 = 1_000;
/// Between so many looks it gives way, to whom may have the lock. Not more often: where many processes want
/// the processor, each time costs the turns of all of them.
const LOOKS_A_TURN: u32 = 250;

/// Locks what may have been held when this process was forked, by a thread that it does not have: such a
/// lock never comes free. `None` is one that is taken to be so.
pub(crate) fn lock_after_fork<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    if forks() == 0 {
        return Some(mutex.lock().unwrap_or_else(PoisonError::into_inner));
    }
    for look in 1..=LOOKS {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if look % LOOKS_A_TURN == 0 => thread::yield_now(),
            Err(TryLockError::WouldBlock) => hint::spin_loop(),
        }
    }
    None
}

/// A number that no other owner of values per thread has.
pub(crate) fn next_position() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A number of this thread: threads are numbered in the order in which they ask first.
pub(crate) fn thread_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // During the destruction of a thread's locals any number serves.
    INDEX.try_with(|index| *index).unwrap_or(0)
}

/// Declares what each thread has for itself, empty at first.
macro_rules! per_thread_slots {
    ($name:ident, $value:ty) => {
        thread_local! {
            static $name: $crate::per_thread::Slots<$value> =
                const { $crate::per_thread::Slots::new() };
        }
    };
}
pub(crate) use per_thread_slots;
