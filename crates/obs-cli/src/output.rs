//! What a command says: lines for people, or JSON for programs.

use std::{
    fmt::Display,
    io::{self, BufWriter, Stdout, Write},
};

use serde::Serialize;
use serde_json::json;

use crate::error::Failure;

/// Standard output, in one of the two forms.
pub(crate) struct Output {
    json: bool,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: BufWriter::new(io::stdout()) }
    }

    /// One answer: its JSON in a line, or its text.
    pub(crate) fn say<T: Serialize + Display>(&mut self, answer: &T) -> Result<(), Failure> {
        let said = if self.json {
            serde_json::to_writer(&mut self.out, answer).map_err(io::Error::from)
        } else {
            write!(self.out, "{answer}")
        };
        written(said.and_then(|()| self.out.write_all(b"\n")))
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        written(self.out.flush())
    }

    /// What went wrong goes to standard error, after what was said before it.
    pub(crate) fn complain(&mut self, failure: &Failure) {
        // There is nobody left to tell when these fail.
        let _ = self.out.flush();
        let line = failure.line();
        let line =
            if self.json { json!({ "error": line }).to_string() } else { format!("obs: {line}") };
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Whoever reads, as `head` does, may have seen enough.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::machine(
            "cannot write to standard output: give it a place that takes text",
            error,
        )),
        _ => Ok(()),
    }
}
