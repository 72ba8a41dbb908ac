//! `obs ledger`: what processes, living or dead, say became of their records.

use std::{fmt, path::Path};

use obs_core::{Class, ClassLedger, Ledger, Timestamp, ledger::PageLedger};
use obs_persist::inspect::{InspectError, SpooledEpoch, epochs};
use serde::Serialize;
use uuid::Uuid;

use crate::{error::Failure, output::Output, text::Time};

pub(crate) fn run(folder: &Path, output: &mut Output) -> Result<(), Failure> {
    let mut bad = None;
    for epoch in epochs(folder).map_err(|error| Failure::inspect(&error))? {
        match epoch.ledger() {
            Ok(page) => output.say(&Line::new(&epoch, &page))?,
            // It was removed meanwhile, or there is none on this system.
            Err(InspectError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound => {}
            // The others are shown all the same.
            Err(error) => bad = bad.or(Some(Failure::inspect(&error))),
        }
    }
    bad.map_or(Ok(()), Err)
}

#[derive(Serialize)]
struct Line<'a> {
    epoch: Uuid,
    pid: u32,
    started_at: Timestamp,
    alive: bool,
    /// Records that were in memory: lost, if the process is dead.
    in_memory: InMemory,
    ledger: Terms<'a>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct InMemory {
    ok: u64,
    error: u64,
}

/// The same object as in a program's own snapshots.
#[derive(Serialize)]
struct Terms<'a> {
    ok: ClassTerms<'a>,
    error: ClassTerms<'a>,
    imbalance: i64,
}

#[derive(Serialize)]
struct ClassTerms<'a> {
    #[serde(flatten)]
    terms: &'a ClassLedger,
    imbalance: i64,
}

impl<'a> Line<'a> {
    fn new(epoch: &SpooledEpoch, page: &'a PageLedger) -> Self {
        let ledger: &'a Ledger = &page.ledger;
        let class = |terms: &'a ClassLedger| ClassTerms { terms, imbalance: terms.imbalance() };
        Self {
            epoch: epoch.epoch,
            pid: page.owner.pid,
            started_at: page.owner.started_at,
            alive: epoch.alive,
            in_memory: InMemory { ok: page.died(Class::Ok), error: page.died(Class::Error) },
            ledger: Terms {
                ok: class(&ledger.ok),
                error: class(&ledger.error),
                imbalance: ledger.imbalance(),
            },
            text: ledger.to_string(),
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, pid, started_at, alive, in_memory: InMemory { ok, error }, text, .. } =
            self;
        let state = if *alive { "alive" } else { "dead" };
        writeln!(f, "{epoch}: process {pid}, since {}, {state}", Time(*started_at))?;
        writeln!(f, "  {text}")?;
        let fate = if *alive { "are in memory" } else { "died in memory" };
        write!(f, "  {ok} ok records and {error} errors {fate}")
    }
}
