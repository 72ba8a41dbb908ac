//! Writes lines on a thread of its own: a pipe that nobody reads stops that thread, and never the one that logs.
//!
//! Lines wait in one buffer, which the thread takes as a whole. A line that finds no room is counted, and how
//! many there were is the next line that is written.
//!
//! A forked child has neither the thread nor a say in the lock, which the thread may have held at the fork: it
//! touches nothing here, and its lines are counted.

use std::{
    io::Write,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use obs_core::process_id;

/// What may wait while the target stalls.
pub(super) const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the thread takes at once keeps at most so much memory afterwards.
const KEPT_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The target, until the thread that writes to it is started by the first line.
    target: Mutex<Option<Box<dyn Write + Send>>>,
    started: OnceLock<bool>,
    /// Whose thread it is.
    process: u32,
    /// Lines of children of that process.
    forked: AtomicU64,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Lines came, or the writer is gone.
    changed: Condvar,
    /// Lines were written.
    written: Condvar,
    refused: AtomicU64,
    failed: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// Refused since this was last said.
    unsaid: u64,
    /// All that ever came in, and what of it was written or failed.
    taken: u64,
    settled: u64,
    closed: bool,
}

impl Writer {
    pub(super) fn new(target: Box<dyn Write + Send>) -> Self {
        let shared = Shared {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            written: Condvar::new(),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            target: Mutex::new(Some(target)),
            started: OnceLock::new(),
            process: process_id(),
            forked: AtomicU64::new(0),
        }
    }

    /// Takes a line, which ends in a line break. Waits for nothing but other lines that are taken.
    pub(super) fn write(&self, line: &[u8]) {
        if self.is_forked() {
            self.forked.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if !self.started.get_or_init(|| self.start()) {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut waiting = self.shared.waiting();
        if waiting.bytes.len() + line.len() > WAITING_BYTES_MAX {
            waiting.unsaid += 1;
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        waiting.taken += 1;
        drop(waiting);
        self.shared.changed.notify_one();
    }

    /// Waits until every line so far is written, but not longer.
    pub(super) fn flush(&self, deadline: Duration) {
        if self.is_forked() {
            return;
        }
        let waiting = self.shared.waiting();
        let until = waiting.taken;
        // Whether it was in time shows in what is lost, and nobody can do anything about it.
        let _ = self
            .shared
            .written
            .wait_timeout_while(waiting, deadline, |waiting| waiting.settled < until);
    }

    /// Lines that found no room.
    pub(super) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Lines that the target did not take.
    pub(super) fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Lines of a child, which has nobody to write them.
    pub(super) fn forked(&self) -> u64 {
        self.forked.load(Ordering::Relaxed)
    }

    fn is_forked(&self) -> bool {
        process_id() != self.process
    }

    fn start(&self) -> bool {
        let Some(target) = self.target.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return false;
        };
        let shared = Arc::clone(&self.shared);
        let spawned = thread::Builder::new().name("obs-log".to_owned()).spawn(move || {
            shared.write_to(target);
        });
        spawned.is_ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        self.shared.waiting().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut target: Box<dyn Write + Send>) {
        let mut bytes = Vec::new();
        loop {
            let idle = |waiting: &mut Waiting| {
                waiting.lines == 0 && waiting.unsaid == 0 && !waiting.closed
            };
            let waiting = self.changed.wait_while(self.waiting(), idle);
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            let (lines, unsaid) =
                (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.unsaid));
            if lines == 0 && unsaid == 0 {
                return;
            }
            std::mem::swap(&mut waiting.bytes, &mut bytes);
            drop(waiting);
            let written = target.write_all(&bytes).and_then(|()| target.flush());
            if written.is_err() {
                self.failed.fetch_add(lines, Ordering::Relaxed);
            }
            bytes.clear();
            bytes.shrink_to(KEPT_BYTES_MAX);
            self.waiting().settled += lines;
            self.written.notify_all();
            if unsaid > 0 {
                tracing::warn!(target: "obs", lost = unsaid, "log lines were lost: what reads them does not keep up");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::mpsc};

    use super::*;

    #[test]
    fn a_child_that_was_forked_counts_its_lines_and_touches_no_lock() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let mut writer = Writer::new(Box::new(io::sink()));
        // Somebody else's: what a child sees of its parent.
        writer.process += 1;
        let shared = Arc::clone(&writer.shared);
        let _held = shared.waiting();
        let (say, hear) = mpsc::sync_channel(1);
        thread::spawn(move || {
            writer.write(b"a line\n");
            writer.flush(PATIENCE);
            let lost = (writer.forked(), writer.refused());
            drop(writer);
            say.send(lost).unwrap();
        });
        assert_eq!(hear.recv_timeout(PATIENCE), Ok((1, 0)));
    }
}
