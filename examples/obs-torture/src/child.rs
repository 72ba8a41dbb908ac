//! A fork, as servers do that prepare themselves before they multiply.

use std::{error::Error, io, process::exit, thread, time::Duration};

use fork::{
    Fork, ProcessId, Signal, WEXITSTATUS, WIFEXITED, fork, signal_process, waitpid, waitpid_nohang,
};
use obs::Clock;

const POLL: Duration = Duration::from_millis(10);

/// The child, seen from its parent.
pub(crate) struct Child(i32);

impl Child {
    /// The child does `work` and ends; only the parent returns from here.
    pub(crate) fn fork(work: impl FnOnce() -> Result<u8, Box<dyn Error>>) -> io::Result<Self> {
        match fork()? {
            Fork::Parent(pid) => Ok(Self(pid)),
            Fork::Child => {
                let code = work().unwrap_or_else(|error| {
                    eprintln!("child: error: {error}");
                    1
                });
                end(code)
            }
        }
    }

    /// The exit status; -1 for a child that was killed, by whomever: one that has not ended after so
    /// long never will, and is killed here.
    pub(crate) fn wait(self, longest: Duration) -> io::Result<i32> {
        let clock = Clock::default();
        let start = clock.now();
        loop {
            if let Some(status) = waitpid_nohang(self.0)? {
                return Ok(if WIFEXITED(status) { WEXITSTATUS(status) } else { -1 });
            }
            if clock.now().since(start) > longest {
                signal_process(
                    ProcessId::try_from(self.0).map_err(io::Error::other)?,
                    Signal::KILL,
                )?;
                waitpid(self.0)?;
                return Ok(-1);
            }
            thread::park_timeout(POLL);
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the child has only this thread; nothing that its parent holds may be dropped twice"
)]
fn end(code: u8) -> ! {
    exit(code.into())
}
