//! The runs: each ends, its promise is written down, and only then the thread's next one begins.

use std::{
    fmt, io,
    ops::Range,
    process::abort,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_executor::block_on;
use obs::{Ack, Class, InputRun, Report, RunFailure, Strategy, Telemetry};
use tokio::{runtime, task::JoinError, time};

use crate::{
    acks::Acks,
    args::{Durability, Runtime},
    pace::Pace,
    payload::{Payload, Pool},
    say,
    signals::Stop,
};

/// A run that is not due yet is waited for in steps of this length, so that SIGTERM is seen.
const STEP: Duration = Duration::from_millis(20);

/// Errors are spread over so many nodes, as they are in life.
const NODES: u64 = 256;

/// Rows are spread over so many subjects.
const SUBJECTS: u64 = 100;

/// What all threads share.
pub(crate) struct Work {
    pub(crate) strategy: Strategy,
    pub(crate) error_every: u64,
    pub(crate) durability: Durability,
    pub(crate) pool: Pool,
    pub(crate) acks: Acks,
    pub(crate) pace: Pace,
    pub(crate) stop: Stop,
    pub(crate) log_lines: bool,
    pub(crate) abort_at: Option<u64>,
}

/// The numbers of the runs, each given out once.
struct Seqs {
    next: AtomicU64,
    end: u64,
}

impl Seqs {
    fn take(&self) -> Option<u64> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        (seq < self.end).then_some(seq)
    }
}

impl Work {
    fn on_a_thread(&self, seqs: &Seqs) {
        while let Some(seq) = seqs.take() {
            while let Some(rest) = self.pace.until(seq).filter(|_| !self.stop.is_set()) {
                thread::park_timeout(rest.min(STEP));
            }
            if self.stop.is_set() {
                return;
            }
            self.one(seq);
        }
    }

    /// Awaits only what there is to wait for: without a pace, nothing else of a runtime gets a turn.
    async fn in_a_task(&self, seqs: &Seqs) {
        while let Some(seq) = seqs.take() {
            while let Some(rest) = self.pace.until(seq).filter(|_| !self.stop.is_set()) {
                time::sleep(rest.min(STEP)).await;
            }
            if self.stop.is_set() {
                return;
            }
            if self.durability == Durability::Disk {
                self.one_durable(seq).await;
            } else {
                self.one(seq);
            }
        }
    }

    /// A run that is in flight.
    fn start(&self, seq: u64) -> InputRun<Payload> {
        let mut run = self.strategy.start_with(self.pool.payload(seq));
        run.subject(&format!("user-{}", seq % SUBJECTS)).correlation_id(&seq.to_string());
        run.node("prepare").kind("step");
        run.node("work").kind("step").branch("taken");
        if self.abort_at == Some(seq) {
            say::line(format_args!("open {}", run.id()));
            abort();
        }
        run
    }

    /// How the run of this number ends.
    fn result(&self, seq: u64) -> Result<(), RunFailure> {
        // With 0 there is no remainder, and no error.
        match (seq + 1).checked_rem(self.error_every) {
            Some(0) => Err(RunFailure::error("torture_error")
                .message(format!("run {seq} was to fail"))
                .node(format!("node-{}", seq / self.error_every % NODES))),
            _ => Ok(()),
        }
    }

    fn one(&self, seq: u64) {
        let mut run = self.start(seq);
        let id = run.id();
        let (result, ack) = match self.durability {
            Durability::Disk => block_on(run.finish_durable(self.result(seq))),
            _ => run.finish_ack(self.result(seq)),
        };
        self.log(seq, id, &result, ack);
    }

    async fn one_durable(&self, seq: u64) {
        let mut run = self.start(seq);
        let id = run.id();
        let (result, ack) = run.finish_durable(self.result(seq)).await;
        self.log(seq, id, &result, ack);
    }

    fn log(
        &self,
        seq: u64,
        id: impl fmt::Display,
        result: &Result<(), RunFailure>,
        ack: Option<Ack>,
    ) {
        if self.log_lines {
            tracing::info!(seq, "a run has ended");
        }
        let class = if result.is_ok() { Class::Ok } else { Class::Error };
        if let Some(ack) = ack {
            self.acks.log(seq, id, class, ack);
        }
    }

    /// Runs that nobody ends, numbered from `first` on.
    pub(crate) fn open(&self, first: u64, count: u32) -> Vec<InputRun<Payload>> {
        let open = |seq| {
            let mut run = self.start(seq);
            say::line(format_args!("open {}", run.id()));
            run
        };
        (first..first + u64::from(count)).map(open).collect()
    }
}

/// Where runs are made, and where the end is waited for.
pub(crate) enum Ground {
    Threads,
    Runtime(runtime::Runtime),
}

impl Ground {
    pub(crate) fn new(which: Runtime, threads: u16) -> io::Result<Self> {
        match which {
            Runtime::None => return Ok(Self::Threads),
            Runtime::Current => runtime::Builder::new_current_thread().enable_all().build(),
            Runtime::Multi => runtime::Builder::new_multi_thread()
                .worker_threads(threads.into())
                .enable_all()
                .build(),
        }
        .map(Self::Runtime)
    }

    /// Makes these runs until they are made or SIGTERM comes.
    pub(crate) fn make(
        &self,
        work: &Arc<Work>,
        seqs: Range<u64>,
        threads: u16,
    ) -> Result<(), JoinError> {
        let seqs = Seqs { next: AtomicU64::new(seqs.start), end: seqs.end };
        match self {
            Self::Threads => thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| work.on_a_thread(&seqs));
                }
                Ok(())
            }),
            Self::Runtime(runtime) => {
                let seqs = Arc::new(seqs);
                let task = |_| {
                    let (work, seqs) = (Arc::clone(work), Arc::clone(&seqs));
                    runtime.spawn(async move { work.in_a_task(&seqs).await })
                };
                let tasks: Vec<_> = (0..threads).map(task).collect();
                runtime.block_on(async {
                    for task in tasks {
                        task.await?;
                    }
                    Ok(())
                })
            }
        }
    }

    /// The end, waited for where the runs were made.
    pub(crate) fn shutdown(&self, telemetry: &Telemetry, deadline: Duration) -> Report {
        match self {
            Self::Threads => telemetry.shutdown_blocking(deadline),
            Self::Runtime(runtime) => runtime.block_on(telemetry.shutdown(deadline)),
        }
    }
}

/// On this thread alone, as after a fork.
pub(crate) fn make_here(work: &Work, seqs: Range<u64>) {
    work.on_a_thread(&Seqs { next: AtomicU64::new(seqs.start), end: seqs.end });
}
