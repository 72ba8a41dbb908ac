//! A bounded queue whose items leave in batches: log records, spans, reports of errors.
//!
//! Whoever puts something in never waits; what finds no room is counted. A task on a private runtime takes
//! batches out, by their number or when it is time. A batch that does not reach its target is tried again at the
//! next turn, and given up, and counted, after [`TRIES_MAX`] of them.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use obs_core::{Escaped, process_id, registry::metric};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::export::{Again, ExportError, PrivateRuntime, Refusal, Stop};

/// How often a batch is sent before it is given up.
const TRIES_MAX: u32 = 3;
/// What waits in one queue, whatever its limit of items is.
const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
const MINUTE: Duration = Duration::from_secs(60);

/// Where batches go.
pub(crate) trait Target<T>: fmt::Debug + Send + Sync + 'static {
    /// What it is, for people.
    fn name(&self) -> &str;

    /// Sends a batch; answers how many of its items the target rejected. The error is a sentence.
    fn send<'a>(&'a self, batch: &'a [T]) -> Sending<'a>;

    /// Items that were not sent because the target had said that it wants none; `None` where it cannot say so.
    fn limited(&self) -> Option<u64> {
        None
    }

    /// How many items from the beginning of the batch that was sent last are settled, and how many of those the
    /// target rejected, also where sending was cut. Says so once, and only of a batch that did not arrive whole.
    fn take_settled(&self) -> (usize, u64) {
        (0, 0)
    }
}

pub(crate) type Sending<'a> = Pin<Box<dyn Future<Output = Result<u64, SendError>> + Send + 'a>>;

/// Why a batch did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SendError {
    pub(crate) reason: String,
    /// Whether sending it again could help.
    pub(crate) again: bool,
}

impl SendError {
    pub(crate) const fn new(reason: String, again: bool) -> Self {
        Self { reason, again }
    }
}

impl From<Refusal> for SendError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.reason, refusal.again != Again::No)
    }
}

/// How much waits, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) delay: Duration,
    pub(crate) timeout: Duration,
    pub(crate) queue_max: usize,
    pub(crate) batch_max: usize,
    /// How many items are taken in a minute.
    pub(crate) per_minute: Option<u32>,
}

/// The end where items are put in. Clones are the same.
pub(crate) struct Queue<T>(Arc<Shared<T>>);

struct Shared<T> {
    signal: &'static str,
    limits: Limits,
    waiting: Mutex<Waiting<T>>,
    full: Notify,
    lost: Losses,
    /// Whose thread takes batches out.
    process: u32,
}

struct Waiting<T> {
    /// Each with its size.
    items: VecDeque<(usize, T)>,
    bytes: usize,
    closed: bool,
    /// When the minute began, and how many items were taken in it.
    minute: Option<(Instant, u32)>,
}

/// Items that did not reach their target, by the place that decided so.
#[derive(Debug, Default)]
struct Losses {
    queue_full: AtomicU64,
    export: AtomicU64,
    shutdown: AtomicU64,
    rate: AtomicU64,
    /// In a child that was forked from the process whose thread takes batches out.
    forked: AtomicU64,
}

/// The running task. Dropping it is a stop.
pub(crate) struct Batches {
    signal: &'static str,
    runtime: Handle,
    work: Arc<dyn Drain>,
    stop: Stop,
}

/// What is known of a signal when everything is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Drained {
    pub(crate) signal: &'static str,
    pub(crate) lost: u64,
    pub(crate) failure: Option<String>,
}

type Draining = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

trait Drain: Send + Sync {
    /// Sends all that waits by now.
    fn drain(self: Arc<Self>, deadline: Duration) -> Draining;
    fn lost(&self) -> u64;
    /// Takes nothing more in, and counts what is left.
    fn close(&self);
    fn count(self: Arc<Self>, meter: &Meter);
}

struct Work<T, X> {
    queue: Queue<T>,
    target: X,
    /// One batch at a time, and how often it was tried: a flush waits for the one that is under way.
    turn: tokio::sync::Mutex<Turn<T>>,
    failures: OnceLock<Counter<u64>>,
    failing: AtomicBool,
}

struct Turn<T> {
    batch: Vec<T>,
    tries: u32,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("signal", &self.0.signal).finish_non_exhaustive()
    }
}

impl<T> Queue<T> {
    /// Takes an item of about so many bytes; never waits for room.
    pub(crate) fn put(&self, item: T, bytes: usize) {
        let shared = &self.0;
        if shared.is_forked() {
            // Before the lock: a thread of the parent may have held it.
            shared.lost.forked.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut waiting = shared.waiting();
        if waiting.closed {
            shared.lost.shutdown.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(most) = shared.limits.per_minute
            && !waiting.within(most, Instant::now())
        {
            shared.lost.rate.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let fits = waiting.items.len() < shared.limits.queue_max
            && waiting.bytes + bytes <= QUEUE_BYTES_MAX;
        if !fits {
            shared.lost.queue_full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.items.push_back((bytes, item));
        waiting.bytes += bytes;
        let enough = waiting.items.len() == shared.limits.batch_max;
        drop(waiting);
        if enough {
            shared.full.notify_one();
        }
    }

    fn len(&self) -> usize {
        self.0.waiting().items.len()
    }

    fn take(&self, into: &mut Vec<T>) {
        let mut waiting = self.0.waiting();
        let count = waiting.items.len().min(self.0.limits.batch_max);
        let mut bytes = 0;
        into.extend(waiting.items.drain(..count).map(|(size, item)| {
            bytes += size;
            item
        }));
        waiting.bytes -= bytes;
    }
}

impl<T> Waiting<T> {
    /// Whether one more is within so many a minute; counts it if it is.
    fn within(&mut self, most: u32, now: Instant) -> bool {
        let of_minute = self.minute.filter(|(begin, _)| now.duration_since(*begin) < MINUTE);
        let (begin, taken) = of_minute.unwrap_or((now, 0));
        self.minute = Some((begin, taken.saturating_add(1)));
        taken < most
    }
}

impl<T> Shared<T> {
    fn is_forked(&self) -> bool {
        process_id() != self.process
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batches {
    /// Starts the task on a thread of its own. `target` is made inside of the runtime.
    pub(crate) fn start<T, X, E>(
        signal: &'static str,
        limits: Limits,
        target: impl FnOnce() -> Result<X, E>,
    ) -> Result<(Queue<T>, Self), E>
    where
        T: Send + Sync + 'static,
        X: Target<T>,
        E: From<io::Error>,
    {
        let runtime = PrivateRuntime::new(0)?;
        let target = {
            let _inside = runtime.handle.enter();
            target()?
        };
        let queue = Queue(Arc::new(Shared {
            signal,
            limits,
            waiting: Mutex::new(Waiting {
                items: VecDeque::new(),
                bytes: 0,
                closed: false,
                minute: None,
            }),
            full: Notify::new(),
            lost: Losses::default(),
            process: process_id(),
        }));
        let work = Arc::new(Work {
            queue: queue.clone(),
            target,
            turn: tokio::sync::Mutex::new(Turn { batch: Vec::new(), tries: 0 }),
            failures: OnceLock::new(),
            failing: AtomicBool::new(false),
        });
        let (stop, stopped) = Stop::new();
        let handle = runtime.handle.clone();
        let periodic = Arc::clone(&work).periodic(stopped);
        runtime.spawn(&format!("obs-{signal}"), periodic)?;
        Ok((queue, Self { signal, runtime: handle, work, stop }))
    }

    /// Sends all that waits by now. The future may be awaited on any executor, or dropped. In a forked child it is
    /// done at once: there is no thread that could send, and what was put in there is counted.
    pub(crate) fn flush(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Drained> + Send + 'static {
        let spawn = || self.runtime.spawn(Arc::clone(&self.work).drain(deadline));
        let drained = (!self.stop.is_forked()).then(spawn);
        let (work, signal) = (Arc::clone(&self.work), self.signal);
        async move {
            let stopped = || Err("exports have stopped: flush before shutdown".to_owned());
            let failure = match drained {
                Some(drained) => drained.await.unwrap_or_else(|_| stopped()).err(),
                None => Some(format!("{signal} are not exported: {}", ExportError::Forked)),
            };
            Drained { signal, lost: work.lost(), failure }
        }
    }

    /// Ends the task. What still waits is counted as lost.
    pub(crate) fn stop(&self) {
        if self.stop.is_forked() {
            // What waits is the parent's, and so may be its lock.
            return;
        }
        self.work.close();
        self.stop.stop();
    }

    /// Items that were lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.work.lost()
    }

    /// Shows what is lost, and counts batches that fail.
    pub(crate) fn count(&self, meter: &Meter) {
        Arc::clone(&self.work).count(meter);
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("signal", &self.signal).field("lost", &self.lost()).finish()
    }
}

impl<T: Send + Sync + 'static, X: Target<T>> Work<T, X> {
    async fn periodic(self: Arc<Self>, stopped: oneshot::Receiver<()>) {
        tokio::select! {
            _ = stopped => {}
            () = self.turns() => {}
        }
        // The batch that was under way.
        let mut turn = self.turn.lock().await;
        self.settle(&mut turn);
        let left = std::mem::take(&mut turn.batch).len() as u64;
        self.queue.0.lost.shutdown.fetch_add(left, Ordering::Relaxed);
    }

    async fn turns(&self) {
        let limits = self.queue.0.limits;
        loop {
            tokio::select! {
                () = tokio::time::sleep(limits.delay) => {}
                () = self.queue.0.full.notified() => {}
            }
            // Its result is noted where it is made.
            let _ = self.send_all(Instant::now() + limits.timeout).await;
        }
    }

    /// Sends what waits by now, batch by batch, and stops at the first that fails: its target is asked again
    /// at the next turn.
    async fn send_all(&self, until: Instant) -> Result<(), String> {
        let mut turn = self.turn.lock().await;
        // Whatever cut the last one.
        self.settle(&mut turn);
        let mut left = turn.batch.len() + self.queue.len();
        while left > 0 {
            if turn.batch.is_empty() {
                turn.tries = 0;
                self.queue.take(&mut turn.batch);
            }
            if turn.batch.is_empty() {
                break;
            }
            turn.tries += 1;
            let sent = match tokio::time::timeout_at(until, self.target.send(&turn.batch)).await {
                Ok(sent) => sent,
                Err(_) => Err(SendError::new("there was no more time".to_owned(), true)),
            };
            self.note(&sent);
            match sent {
                Ok(rejected) => {
                    self.queue.0.lost.export.fetch_add(rejected, Ordering::Relaxed);
                    left = left.saturating_sub(turn.batch.len());
                    turn.batch.clear();
                }
                Err(error) => {
                    self.settle(&mut turn);
                    if !error.again || turn.tries >= TRIES_MAX {
                        self.give_up(&mut turn.batch);
                    }
                    return Err(format!(
                        "{} did not reach {}: {}",
                        self.queue.0.signal,
                        self.target.name(),
                        error.reason
                    ));
                }
            }
        }
        Ok(())
    }

    /// Takes out what is settled, and need not be sent again. Where something is, what comes next was tried once.
    fn settle(&self, turn: &mut Turn<T>) {
        let (done, rejected) = self.target.take_settled();
        let done = done.min(turn.batch.len());
        if done > 0 {
            turn.batch.drain(..done);
            turn.tries = 1;
        }
        self.queue.0.lost.export.fetch_add(rejected, Ordering::Relaxed);
    }

    fn give_up(&self, batch: &mut Vec<T>) {
        self.queue.0.lost.export.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.clear();
    }

    /// Counts a failure, and logs when a target begins to fail and when it works again.
    fn note(&self, sent: &Result<u64, SendError>) {
        let (failing, signal) = (sent.is_err(), self.queue.0.signal);
        if let (true, Some(failures)) = (failing, self.failures.get()) {
            failures.add(1, &[KeyValue::new("signal", signal)]);
        }
        let was_failing = self.failing.swap(failing, Ordering::Relaxed);
        let target = self.target.name();
        match sent {
            Err(error) if !was_failing => {
                let reason = Escaped(&error.reason);
                tracing::warn!(target: "obs", "{signal} do not reach {target}: {reason}; trying again");
            }
            Ok(_) if was_failing => {
                tracing::info!(target: "obs", "{signal} reach {target} again");
            }
            _ => {}
        }
    }
}

impl<T: Send + Sync + 'static, X: Target<T>> Drain for Work<T, X> {
    fn drain(self: Arc<Self>, deadline: Duration) -> Draining {
        Box::pin(async move {
            let until = Instant::now() + deadline;
            // A turn under way may take longer than that.
            match tokio::time::timeout_at(until, self.send_all(until)).await {
                Ok(sent) => sent,
                Err(_) => Err(format!(
                    "{} did not reach {} within {deadline:?}",
                    self.queue.0.signal,
                    self.target.name()
                )),
            }
        })
    }

    fn lost(&self) -> u64 {
        let Losses { queue_full, export, shutdown, rate, forked } = &self.queue.0.lost;
        let lost = [queue_full, export, shutdown, rate, forked];
        let lost = lost.map(|lost| lost.load(Ordering::Relaxed));
        lost.iter().sum::<u64>() + self.target.limited().unwrap_or(0)
    }

    fn close(&self) {
        if self.queue.0.is_forked() {
            return;
        }
        let mut waiting = self.queue.0.waiting();
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.items).len() as u64;
        waiting.bytes = 0;
        drop(waiting);
        self.queue.0.lost.shutdown.fetch_add(left, Ordering::Relaxed);
    }

    fn count(self: Arc<Self>, meter: &Meter) {
        let failures = meter
            .u64_counter(metric::OBS_EXPORT_FAILURES.name)
            .with_description(metric::OBS_EXPORT_FAILURES.brief)
            .with_unit(metric::OBS_EXPORT_FAILURES.unit)
            .build();
        failures.add(0, &[KeyValue::new("signal", self.queue.0.signal)]);
        // Called once, by `init`.
        let _ = self.failures.set(failures);
        meter
            .u64_observable_counter(metric::OBS_EXPORT_DROPPED.name)
            .with_description(metric::OBS_EXPORT_DROPPED.brief)
            .with_unit(metric::OBS_EXPORT_DROPPED.unit)
            .with_callback(move |observer| {
                let Losses { queue_full, export, shutdown, rate, forked } = &self.queue.0.lost;
                let now = |lost: &AtomicU64| Some(lost.load(Ordering::Relaxed));
                let rate = self.queue.0.limits.per_minute.and_then(|_| now(rate));
                let reasons = [
                    ("queue_full", now(queue_full)),
                    ("export", now(export)),
                    ("shutdown", now(shutdown)),
                    ("forked", now(forked)),
                    ("rate", rate),
                    ("rate_limited", self.target.limited()),
                ];
                for (reason, lost) in reasons {
                    let Some(lost) = lost else { continue };
                    let attributes = [
                        KeyValue::new("signal", self.queue.0.signal),
                        KeyValue::new("reason", reason),
                    ];
                    observer.observe(lost, &attributes);
                }
            })
            .build();
    }
}

#[cfg(test)]
mod tests;
