//! The limit of a process on how long a file may get: `ulimit -f`, RLIMIT_FSIZE.
//!
//! Whoever writes beyond it gets an error and a signal, SIGXFSZ, which ends the process unless somebody ignores it. So
//! a thread of the application asks before it makes a file longer, and a thread of ours takes the error alone.

use std::io;

/// The error that the system would give if a file got this long, without its signal.
#[cfg(unix)]
pub(super) fn may_reach(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, getrlimit};

    match getrlimit(Resource::Fsize).current {
        Some(most) if bytes > most => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!(
                "it would have {bytes} bytes, and no file of this process may have more than {most}: raise its \
                 limit (RLIMIT_FSIZE, `ulimit -f`)"
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
pub(super) fn may_reach(_bytes: u64) -> io::Result<()> {
    Ok(())
}

/// From now on this thread, and each that it starts, gets the error alone. For threads of our own, and for what is
/// written there by code that does not ask, as SQLite's.
#[cfg(unix)]
#[expect(unsafe_code, reason = "the mask of a thread is the C library's")]
pub(crate) fn take_no_signal() {
    // SAFETY: the set is zeroed memory, made an empty set before anything else looks at it, and lives as long as the
    // calls; the mask that was is not asked for. No call fails with these arguments.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGXFSZ);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
    }
}

#[cfg(not(unix))]
pub(crate) fn take_no_signal() {}
