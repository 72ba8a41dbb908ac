//! The policy of the file of settings, read again when the file changes.
//!
//! A thread of its own looks each second whether the file has another length or time, and each tenth time whether
//! it has another text, for a file that was replaced by one of the same length and time. What is in it is checked as
//! it is at the start, as a whole: then the policy takes effect, or nothing does. The rest of the file counts at the
//! next start. What can be read only once, as a pipe, is not looked at again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, SystemTime},
};

use obs_core::{LivePolicy, Policy};

use crate::config::{self, Environment, Given};

/// How often the file's length and time are looked at: a change takes effect within this, and a little.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Each how many looks the text is read, whatever length and time say.
const LOOKS_PER_READ: u32 = 10;

/// How the policy of the file of settings is doing.
///
/// ```
/// # use obs::Environment;
/// let telemetry = obs::builder().environment(Environment::empty()).rows(false).init()?;
/// assert!(telemetry.policy_file().is_none(), "there is no file");
/// # Ok::<(), obs::InitError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyFile {
    /// The file.
    pub path: PathBuf,
    /// How often its policy changed, and took effect.
    pub applied: u64,
    /// How often it changed and was refused.
    pub refused: u64,
    /// Why what it says now is not in force, while that is so; the policy before it still is.
    pub problem: Option<String>,
}

/// The thread that looks. Dropping it is a stop.
#[derive(Debug)]
pub(crate) struct PolicyWatch {
    thread: Thread,
    stopped: Arc<AtomicBool>,
    state: Arc<Mutex<PolicyFile>>,
}

/// What is watched, and by which settings it is read.
pub(crate) struct Watched {
    pub(crate) path: PathBuf,
    pub(crate) given: Given,
    pub(crate) environment: Environment,
    /// What the file said at the start.
    pub(crate) policy: Policy,
    pub(crate) live: LivePolicy,
}

impl PolicyWatch {
    /// Starts looking; `None` where the system gives no thread, and the policy stays as it is.
    pub(crate) fn start(watched: Watched) -> Option<Self> {
        let mut reader = Reader::new(watched);
        let state = Arc::clone(&reader.state);
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stopped);
        let spawned = thread::Builder::new().name("obs-policy".to_owned()).spawn(move || {
            for look in 0_u32.. {
                if is_stopped.load(Ordering::Acquire) {
                    return;
                }
                reader.look(look.is_multiple_of(LOOKS_PER_READ));
                thread::park_timeout(LOOK_INTERVAL);
            }
        });
        match spawned {
            Ok(handle) => Some(Self { thread: handle.thread().clone(), stopped, state }),
            Err(error) => {
                tracing::warn!(target: "obs", "the system gave no thread to read the policy again on, so a change of its file waits for the next start: {error}");
                None
            }
        }
    }

    pub(crate) fn state(&self) -> PolicyFile {
        lock(&self.state).clone()
    }

    /// Ends the thread, and does not wait for it.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for PolicyWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Length and time of a file.
type Stamp = (u64, Option<SystemTime>);

struct Reader {
    watched: Watched,
    stamp: Option<Stamp>,
    /// What was read last; `None` where that failed.
    text: Option<String>,
    state: Arc<Mutex<PolicyFile>>,
}

impl Reader {
    fn new(watched: Watched) -> Self {
        let path = watched.path.clone();
        let state = PolicyFile { path, applied: 0, refused: 0, problem: None };
        Self { watched, stamp: None, text: None, state: Arc::new(Mutex::new(state)) }
    }

    /// Reads the file if it looks different, or `anyway`.
    fn look(&mut self, anyway: bool) {
        let stamp = stamp(&self.watched.path);
        if anyway || stamp.is_none() || stamp != self.stamp {
            self.stamp = stamp;
            self.read();
        }
    }

    fn read(&mut self) {
        let Watched { path, given, environment, .. } = &self.watched;
        let text = match config::text_of_file("the file of settings", path) {
            Ok(text) => text,
            Err(error) => {
                self.text = None;
                return self.refuse(error.to_string());
            }
        };
        if self.text.as_ref() == Some(&text) {
            return;
        }
        self.text = Some(text.clone());
        match config::policy_of(given, environment, (path.as_path(), text)) {
            Ok(policy) => self.apply(policy),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    /// Puts a policy in force that is another than the file's before: one that the program has set meanwhile is left
    /// alone by a change of something else.
    fn apply(&mut self, policy: Policy) {
        let changed = policy != self.watched.policy;
        if changed {
            if let Err(error) = self.watched.live.set(policy.clone()) {
                self.note_refusal(error.to_string());
                return;
            }
            self.watched.policy = policy;
        }
        let mut state = lock(&self.state);
        state.applied += u64::from(changed);
        let was_refused = state.problem.take().is_some();
        drop(state);
        if was_refused {
            self.watched.live.mended();
        }
        if changed || was_refused {
            let path = self.watched.path.display();
            tracing::info!(target: "obs", "the policy of {path} is in force");
        }
    }

    fn refuse(&self, problem: String) {
        if self.note_refusal(problem.clone()) {
            self.watched.live.refused(&problem);
        }
    }

    /// Whether it is another problem than the last one.
    fn note_refusal(&self, problem: String) -> bool {
        let mut state = lock(&self.state);
        if state.problem.as_ref() == Some(&problem) {
            return false;
        }
        state.refused += 1;
        state.problem = Some(problem.clone());
        drop(state);
        tracing::warn!(target: "obs", "the policy stays as it was, because the file of settings cannot be used: {problem}");
        true
    }
}

/// Whether it is a pipe, a terminal or the like: what was read there is gone. A link is what it leads to.
pub(crate) fn can_be_read_only_once(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| !it.is_file())
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

fn lock(state: &Mutex<PolicyFile>) -> MutexGuard<'_, PolicyFile> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
