//! The checker's locks and atomics, in the place of `obs_core::sync`.

use std::cell::Cell;

pub(crate) use loom::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering, fence},
    },
    thread::LocalKey,
};

/// Nobody forks.
pub(crate) const fn forks() -> u64 {
    0
}

pub(crate) fn lock_after_fork<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    mutex.lock().ok()
}

/// Declares what each thread has for itself, empty at first.
macro_rules! per_thread_slots {
    ($name:ident, $value:ty) => {
        loom::thread_local! {
            static $name: $crate::per_thread::Slots<$value> = $crate::per_thread::Slots::new();
        }
    };
}
pub(crate) use per_thread_slots;

/// A model has one owner of each type.
pub(crate) const fn next_position() -> usize {
    0
}

std::thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// Which shard the calls until the next switch use; all threads of a model are one of the system's.
pub(crate) fn use_shard(shard: usize) {
    SHARD.set(shard);
}

pub(crate) fn thread_index() -> usize {
    SHARD.get()
}
