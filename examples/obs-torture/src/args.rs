//! The command line: the contract with whoever tests obs from outside.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

const CONTRACT: &str = "\
Every run is kept, so every run has a line on --ack-fd, written by one call after the promise is known
and before the thread's next run begins:

  SEQ ID CLASS ACK     e.g. `17 019aa5b2-7c1e-7b0c-8f57-3a1c9e5d2b44 error os`

SEQ counts from 0 over all threads; every --error-every-th run is an error. CLASS is ok or error; ACK is
disk, os, memory or refused. The descriptor is written as it was given: a file, which is appended to, a pipe
or a Unix socket (of another a thread's line may end within one of another thread).

Each row's subject is `user-N` (N is SEQ modulo 100), its correlation id is SEQ, its input has about
--row-bytes. Open runs of --inflight-at-end are printed as `open ID`, and have no line.

At the end, or on SIGTERM, it shuts down within --shutdown-ms and prints `report: …`, which counts the rows
since the shutdown began, and `ledger: …`, which counts all of them; a second SIGTERM changes nothing. All other settings come from OBS_* and OTEL_*, as for any program.

Exit codes: 0 everything settled, 1 it could not start or a file could not be written, 2 a wrong call,
3 the deadline of the shutdown came first, or with --runs 0 something of a dead process was left.";

/// Makes runs, says what obs promised of each, and dies on request.
#[derive(Clone, Debug, Parser)]
#[command(name = "obs-torture", version, after_help = CONTRACT)]
pub(crate) struct Args {
    /// How many runs. With 0: start, adopt what dead processes left, drain, end.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) runs: u64,
    /// Runs a second over all threads; 0 is as fast as possible, without ever yielding.
    #[arg(long, value_name = "R", default_value_t = 0)]
    pub(crate) rate: u32,
    /// How many threads or tasks share the runs.
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// Every K-th run is an error; 0 is none.
    #[arg(long, value_name = "K", default_value_t = 10)]
    pub(crate) error_every: u64,
    /// After the last run, open M runs and wait to be killed.
    #[arg(long, value_name = "M", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) inflight_at_end: u32,
    /// Bytes of each run's input, more or less.
    #[arg(long, value_name = "B", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) row_bytes: u32,
    /// What the inputs are made from.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The folder of the spool.
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
    /// The store: postgres://… or sqlite:PATH. Without it there are no rows, and every ack is refused.
    #[arg(long, value_name = "URL")]
    pub(crate) db: Option<String>,
    /// What errors wait for: `memory` spools nothing, `os` writes before the run has ended, `disk`
    /// syncs, too [default: os with --spool, else memory].
    #[arg(long, value_name = "WHAT")]
    durability: Option<Durability>,
    /// The deadline of the shutdown, in milliseconds.
    #[arg(long, value_name = "X", default_value_t = 5_000)]
    pub(crate) shutdown_ms: u64,
    /// Where runs are made: on a tokio runtime with many threads or with one, or on plain threads.
    #[arg(long, value_name = "WHICH", default_value = "none")]
    pub(crate) runtime: Runtime,
    /// Fork after half of the runs: parent and child both make as many again, the child's numbered
    /// from N on. The child ends by itself, prints `child report: …`, and leaves its ledger in
    /// FILE.child; the parent waits for it.
    #[arg(long)]
    pub(crate) fork: bool,
    /// Abort inside the run of this number, as a panic does where it does not unwind; it is printed as
    /// `open ID`, and has no line.
    #[arg(long, value_name = "SEQ")]
    pub(crate) abort_at: Option<u64>,
    /// Log a line for each run, on standard error.
    #[arg(long)]
    pub(crate) log_lines: bool,
    /// Every 100 ms, and at the end, this file is replaced by the ledger as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_file: Option<PathBuf>,
    /// The descriptor for the lines about each run, e.g. 3.
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(u32).range(1..=1_023))]
    pub(crate) ack_fd: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    Memory,
    Os,
    Disk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    Multi,
    Current,
    None,
}

impl Args {
    /// What does not fit together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.durability() != Durability::Memory && self.spool.is_none() {
            return Err(
                "`--durability` promises what only a spool can keep: add `--spool DIR`".to_owned()
            );
        }
        Ok(())
    }

    pub(crate) fn durability(&self) -> Durability {
        let usual = if self.spool.is_some() { Durability::Os } else { Durability::Memory };
        self.durability.unwrap_or(usual)
    }

    pub(crate) const fn shutdown(&self) -> Duration {
        Duration::from_millis(self.shutdown_ms)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Args {
        Args::try_parse_from(["obs-torture"].into_iter().chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_whole_contract_is_taken() {
        let args = parse(
            "--runs 5 --rate 2 --threads 4 --error-every 3 --inflight-at-end 1 --row-bytes 10 --seed 9 --spool d \
             --db sqlite:x --durability disk --shutdown-ms 50 --runtime multi --fork --abort-at 4 --log-lines --metrics-file f --ack-fd 3",
        );
        assert_eq!(args.check(), Ok(()));
        assert_eq!(args.durability(), Durability::Disk);
        assert_eq!((args.runs, args.ack_fd, args.runtime), (5, Some(3), Runtime::Multi));
        assert_eq!(args.abort_at, Some(4));
    }

    #[test]
    fn a_promise_that_needs_a_spool_is_refused_without_one() {
        assert_eq!(parse("").durability(), Durability::Memory);
        assert_eq!(parse("--spool d").durability(), Durability::Os);
        for line in ["--durability os", "--durability disk"] {
            assert!(parse(line).check().unwrap_err().contains("--spool DIR"), "{line}");
        }
    }
}
