//! The work: threads that take the next run until there is none, and a line that says how far they are.

use std::{
    io::{IsTerminal, Stderr, Write, stderr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// How often the progress line changes.
const STEPS: u64 = 200;

/// Calls `each` once for every number below `runs`, shared among the threads.
pub(crate) fn share(runs: u64, threads: u64, each: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let progress = Progress::new(runs);
    let take = || {
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= runs {
                return;
            }
            each(run);
            progress.advance();
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(take);
        }
    });
    progress.end();
}

/// Counts finished runs on a terminal, and is silent elsewhere.
#[derive(Debug)]
struct Progress {
    runs: u64,
    done: AtomicU64,
    /// Where the line is written, if there is a terminal. Held while writing, so that the number
    /// never goes back.
    line: Option<Mutex<Stderr>>,
}

impl Progress {
    fn new(runs: u64) -> Self {
        let line = stderr().is_terminal().then(|| Mutex::new(stderr()));
        Self { runs, done: AtomicU64::new(0), line }
    }

    fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(self.runs.div_ceil(STEPS)) {
            self.write(|| format!("\r{} of {} runs", self.done.load(Ordering::Relaxed), self.runs));
        }
    }

    /// Clears the line.
    fn end(&self) {
        self.write(|| format!("\r{:48}\r", ""));
    }

    fn write(&self, text: impl FnOnce() -> String) {
        let Some(line) = &self.line else { return };
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody loses anything when this line cannot be written.
        let _ = line.write_all(text().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_is_made_once_however_many_threads_share_them() {
        for threads in [1, 2, 7] {
            let made = Mutex::new(Vec::new());
            share(100, threads, |run| made.lock().unwrap().push(run));
            let mut made = made.into_inner().unwrap();
            made.sort_unstable();
            assert_eq!(made, (0..100).collect::<Vec<_>>(), "{threads} threads");
        }
    }
}
