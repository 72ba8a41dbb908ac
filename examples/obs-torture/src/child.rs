//! A fork, as servers do that prepare themselves before they multiply.

use std::{
    error::Error,
    io::{self, Write},
    process::exit,
};

use fork::{Fork, WEXITSTATUS, WIFEXITED, fork, waitpid};

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
                let _ = io::stdout().flush();
                end(code)
            }
        }
    }

    /// The exit status; that of a child that was killed is -1.
    pub(crate) fn wait(self) -> io::Result<i32> {
        let status = waitpid(self.0)?;
        Ok(if WIFEXITED(status) { WEXITSTATUS(status) } else { -1 })
    }
}

#[expect(
    clippy::exit,
    reason = "the child has only this thread; nothing that its parent holds may be dropped twice"
)]
fn end(code: u8) -> ! {
    exit(code.into())
}
