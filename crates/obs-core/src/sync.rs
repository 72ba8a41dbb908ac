//! Locks and atomics of what several threads write to at once: one place to name them, so that a
//! model checker can put its own in their place.

pub(crate) use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::LocalKey,
};

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
