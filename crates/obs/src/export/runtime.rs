//! A runtime of our own, on a thread of its own.

use std::{io, thread};

use opentelemetry::Context;
use tokio::runtime::{Handle, Runtime};

/// Threads of a private runtime for what blocks: collecting, and looking up host names.
const BLOCKING_THREADS_MAX: usize = 4;

/// A runtime that may be dropped anywhere, also inside another one, and that waits for nobody.
#[derive(Debug)]
pub(crate) struct PrivateRuntime {
    pub(crate) handle: Handle,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
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
