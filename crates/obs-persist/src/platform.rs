//! What is specific to the system, and the only place of this crate with `unsafe` in it.
//!
//! Mapped files, reserved space, how long a file may get, who owns a directory, what a fork leaves
//! behind. Linux is what is tested; other Unixes take the same way without `fallocate`, and anything
//! else a portable one: memory instead of mapped files, no check of owners and modes.

mod directory;
mod file;
mod fork;
mod limit;
mod mapped;

#[cfg(test)]
pub(crate) use directory::SYNCED;
pub(crate) use directory::{
    DirError, Origin, objection, private_dir, private_dir_unsynced, sync_name_of,
};
pub(crate) use file::{
    create, is_shortage, lock, open, open_dir, read_at, reserve, sync_dir, write_at,
};
#[cfg(all(test, unix))]
pub(crate) use fork::fork;
pub(crate) use fork::{HeldLock, Process};
pub(crate) use limit::take_no_signal;
pub(crate) use mapped::{Words, read_words, write_word};
