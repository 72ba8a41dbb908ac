//! The log of what was promised: the oracle that a test holds against the store.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
};

use obs::{Ack, Class};

/// A descriptor that somebody else opened for us, if there is one.
#[derive(Debug)]
pub(crate) struct Acks(Option<File>);

impl Acks {
    /// Opens what the descriptor stands for once more: a pipe is the same pipe; a file is appended to,
    /// so that no line of a thread or child overwrites another's.
    pub(crate) fn open(fd: Option<u32>) -> io::Result<Self> {
        let open = |fd| {
            OpenOptions::new().append(true).open(format!("/dev/fd/{fd}")).map_err(|error| {
                let what = format!("descriptor {fd} of --ack-fd cannot be written ({error}): open it, e.g. {fd}>acks");
                io::Error::new(error.kind(), what)
            })
        };
        fd.map(open).transpose().map(Self)
    }

    /// One call. A file system may still end it at a page of the file when the process is killed: then the
    /// last line has no end, and was not said.
    pub(crate) fn log(&self, seq: u64, id: impl std::fmt::Display, class: Class, ack: Ack) {
        let Some(mut file) = self.0.as_ref() else { return };
        let line = format!("{seq} {id} {class} {ack}\n");
        // Whoever reads has gone: then nobody checks any more.
        let _ = file.write_all(line.as_bytes());
    }
}
