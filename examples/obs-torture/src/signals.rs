//! SIGTERM: the end, asked for politely.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

/// Set when SIGTERM arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    set: AtomicBool,
    /// Guards nothing: it is held so that nobody sleeps between looking at `set` and waiting.
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// A thread of its own listens, on whatever runtime the runs are. Later signals change nothing: the
    /// shutdown has a deadline already.
    pub(crate) fn on_sigterm() -> io::Result<Self> {
        let stop = Self::default();
        let listener = runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = {
            let _inside = listener.enter();
            signal(SignalKind::terminate())?
        };
        let theirs = stop.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            while listener.block_on(signals.recv()).is_some() {
                theirs.set();
            }
        })?;
        Ok(stop)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }

    pub(crate) fn wait(&self) {
        let mut guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_set() {
            guard = self.0.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn set(&self) {
        let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.set.store(true, Ordering::Release);
        self.0.changed.notify_all();
    }
}
