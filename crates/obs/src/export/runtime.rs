//! A runtime of our own, on a thread of its own.

use std::{
    io,
    mem::ManuallyDrop,
    sync::{Mutex, PoisonError},
    thread,
};

use obs_core::process_id;
use opentelemetry::Context;
use tokio::{
    runtime::{Handle, Runtime},
    sync::oneshot,
};

/// Threads of a private runtime for what blocks: collecting, and looking up host names.
const BLOCKING_THREADS_MAX: usize = 4;

/// A runtime that may be dropped anywhere, also inside another one, and that waits for nobody.
#[derive(Debug)]
pub(crate) struct PrivateRuntime {
    pub(crate) handle: Handle,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// Ends what runs on a private runtime. Dropping it does, too.
#[derive(Debug)]
pub(crate) struct Stop {
    /// `None` once stopped.
    word: Mutex<Option<oneshot::Sender<()>>>,
    /// Whose thread it is that ends.
    process: u32,
}

impl PrivateRuntime {
    /// With room for so many blocking calls that may never end, besides those that do.
    pub(crate) fn new(stuck_max: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX + stuck_max)
            .thread_name("obs-export-blocking")
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs until `work` is done, on a thread of that name.
    pub(crate) fn spawn(
        self,
        name: &str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        thread::Builder::new().name(name.to_owned()).spawn(move || self.run(work)).map(drop)
    }

    fn run(self, work: impl Future<Output = ()>) {
        // What we do on this thread must not be observed, or it would cause itself.
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        if let Some(runtime) = &self.runtime {
            runtime.block_on(work);
        }
    }
}

impl Drop for PrivateRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Stop {
    /// And who hears of it.
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (word, stopped) = oneshot::channel();
        (Self { word: Mutex::new(Some(word)), process: process_id() }, stopped)
    }

    /// Whether the thread stayed in the process that this one was forked from: whoever waits for it waits for ever.
    pub(crate) fn is_forked(&self) -> bool {
        process_id() != self.process
    }

    /// Does nothing in a forked child, and when called again.
    pub(crate) fn stop(&self) {
        if self.is_forked() {
            // Neither said nor dropped: either would wake the parent's task, by locks that its thread may have held.
            if let Ok(mut word) = self.word.try_lock() {
                let _left = ManuallyDrop::new(word.take());
            }
            return;
        }
        let word = self.word.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(word) = word {
            // A thread that is gone already needs no word.
            let _ = word.send(());
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[test]
    fn a_task_hears_the_end_from_its_own_process_and_nothing_from_a_forked_child() {
        let (mut stop, mut stopped) = Stop::new();
        // Somebody else's: what a child sees of its parent.
        stop.process += 1;
        stop.stop();
        drop(stop);
        assert_eq!(stopped.try_recv(), Err(TryRecvError::Empty));
        let (stop, mut stopped) = Stop::new();
        stop.stop();
        assert_eq!(stopped.try_recv(), Ok(()));
        let (stop, mut stopped) = Stop::new();
        drop(stop);
        assert_eq!(stopped.try_recv(), Ok(()), "dropping it does, too");
    }
}
