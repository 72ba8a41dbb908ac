//! Locks and atomics of what several threads write to at once: one place to name them, so that a
//! model checker can put its own in their place.

pub(crate) use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering, fence},
    },
    thread::LocalKey,
};

use std::sync::atomic::AtomicUsize;

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
