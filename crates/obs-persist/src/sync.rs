//! Locks, wake-ups, tasks and time of the worker and of those who share its state: one place to name
//! them, so that a model checker can put its own in their place.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

pub(crate) use tokio::{
    sync::Notify,
    task::{spawn, spawn_blocking, yield_now},
    time::{sleep, timeout},
};
