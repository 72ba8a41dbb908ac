//! Lines on standard output, for whoever still reads.

use std::{
    fmt,
    io::{self, Write},
};

/// A reader that is gone has seen enough; what is promised is in the log of acks.
pub(crate) fn line(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
