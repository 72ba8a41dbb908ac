//! Delivering one batch: all of its good records into the store, the others aside.

use std::{ops::Range, sync::Arc, time::Duration};

use obs_core::{DropReason, RunRecord};

use super::Worker;
use crate::{
    bisect::{Bisection, Next},
    canary,
    store::StoreError,
    sync::{spawn_blocking, timeout, yield_now},
    waiters::Fate,
};

/// A refusal that takes this much longer than two canaries is the store's, not the record's: it
/// waited for a lock, or until a timeout of the server's.
const VERDICT_PATIENCE: Duration = Duration::from_millis(500);

/// Records on their way into the store.
pub(super) struct Batch {
    records: Arc<[RunRecord]>,
    bisection: Bisection,
    refusal: Option<Refusal>,
    /// The records come from the quarantine: the ledger has counted them, their files are theirs.
    retried: bool,
}

/// What the store last said about a part of the batch.
struct Refusal {
    error: StoreError,
    took: Duration,
}

/// Why a batch does not get on.
pub(super) enum Setback {
    /// The store, or its connection, failed.
    Failed(StoreError),
    /// It took too long, so there is no point in hurrying.
    Slow(StoreError),
}

impl Setback {
    pub(super) const fn is_slow(&self) -> bool {
        matches!(self, Self::Slow(_))
    }

    pub(super) const fn error(&self) -> &StoreError {
        match self {
            Self::Failed(error) | Self::Slow(error) => error,
        }
    }
}

impl Batch {
    pub(super) fn new(records: Vec<RunRecord>) -> Self {
        let bisection = Bisection::of(records.len());
        Self { records: records.into(), bisection, refusal: None, retried: false }
    }

    pub(super) fn retried(records: Vec<RunRecord>) -> Self {
        Self { retried: true, ..Self::new(records) }
    }

    pub(super) fn into_records(self) -> Arc<[RunRecord]> {
        self.records
    }

    /// How many records are neither written nor set aside.
    pub(super) fn left(&self) -> usize {
        self.bisection.left()
    }

    pub(super) fn store_failed(&mut self) {
        self.bisection.store_failed();
    }

    #[expect(clippy::indexing_slicing, reason = "a part lies within its batch")]
    fn part(&self, part: &Range<usize>) -> Arc<[RunRecord]> {
        if part.len() == self.records.len() {
            return Arc::clone(&self.records);
        }
        // Only after a failure, so rarely.
        self.records[part.clone()].into()
    }
}

impl Worker {
    /// Until every record of the batch is settled, or the store fails.
    pub(super) async fn deliver(&mut self, batch: &mut Batch) -> Result<(), Setback> {
        loop {
            match batch.bisection.next() {
                Next::Done => return Ok(()),
                Next::Write(part) => self.write_part(batch, part).await?,
                Next::Canary(at) => self.try_canary(batch, at).await?,
                Next::Convict(at) => {
                    let fate = self.set_aside(batch, at).await;
                    if let Some(fate) = fate.filter(|_| !batch.retried) {
                        self.shared.settle(at..at + 1, fate);
                    }
                    batch.bisection.settled();
                }
            }
        }
    }

    #[expect(clippy::indexing_slicing, reason = "a part lies within its batch")]
    async fn write_part(&mut self, batch: &mut Batch, part: Range<usize>) -> Result<(), Setback> {
        let limit = self.duties.timeouts.write;
        let start = self.shared.clock.now();
        let spent = self.spent.take();
        let mut store = self.store.lock().await;
        let write = timeout(limit, store.write(batch.part(&part)));
        let clock = &self.shared.clock;
        let (result, took) =
            freeing(spent, async { (write.await, clock.now().since(start)) }).await;
        drop(store);
        let records = u64::try_from(part.len()).unwrap_or(u64::MAX);
        let outcome = if matches!(result, Ok(Ok(()))) { Ok(records) } else { Err(records) };
        self.shared.wrote(outcome, took);
        match result {
            Ok(Ok(())) => {
                if batch.retried {
                    self.returned(&batch.records[part]).await;
                } else {
                    self.shared.settle(part, Fate::Persisted);
                }
                batch.bisection.settled();
                Ok(())
            }
            Ok(Err(error)) => {
                batch.bisection.refused();
                batch.refusal = Some(Refusal { error, took });
                Ok(())
            }
            Err(_) => {
                batch.bisection.too_slow();
                Err(Setback::Slow(StoreError::late("writing a batch", limit)))
            }
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the record is one of its batch")]
    async fn try_canary(&mut self, batch: &mut Batch, at: usize) -> Result<(), Setback> {
        let canary = canary::like(&batch.records[at], &mut self.jitter);
        let limit = self.duties.timeouts.write;
        let start = self.shared.clock.now();
        let result = {
            let mut store = self.store.lock().await;
            timeout(limit, store.canary(canary)).await
        };
        let took = self.shared.clock.now().since(start);
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Setback::Failed(error)),
            Err(_) => return Err(Setback::Slow(StoreError::late("trying a canary", limit))),
        }
        let patience = took * 2 + VERDICT_PATIENCE;
        let on_trial = batch.bisection.is_on_trial();
        match batch.refusal.take() {
            Some(refusal) if on_trial && refusal.took > patience => {
                Err(Setback::Slow(refusal.error))
            }
            refusal => {
                batch.refusal = refusal;
                batch.bisection.canary_passed();
                Ok(())
            }
        }
    }

    /// What becomes of a record that the store does not take; nothing yet if it waits in the spool.
    #[expect(clippy::indexing_slicing, reason = "the record is one of its batch")]
    async fn set_aside(&mut self, batch: &mut Batch, at: usize) -> Option<Fate> {
        let reason = batch.refusal.take().map_or_else(String::new, |refusal| refusal.error.chain());
        let Some(quarantine) = self.duties.quarantine.clone() else {
            self.set_aside.lost(&self.name, &reason, "there is no folder for a quarantine");
            return Some(Fate::Lost(DropReason::Encode));
        };
        let (now, believed) = (self.duties.calendar.wall(), self.duties.believed());
        let records = Arc::clone(&batch.records);
        let (place, error) = (Arc::clone(&quarantine), reason.clone());
        let filed = spawn_blocking(move || {
            let put = place.put(&records[at], &error, (now, believed));
            // All that may be missing is that its name is on the disk.
            (put.is_ok() || place.holds(records[at].run_id), put)
        });
        let (is_there, error) = match filed.await {
            Ok((_, Ok(()))) => {
                self.set_aside.kept(&self.name, &reason, quarantine.folder());
                self.shared.quarantine_works();
                return Some(Fate::Quarantined);
            }
            Ok((is_there, Err(error))) => (is_there, error),
            Err(panic) => {
                self.set_aside.left(&self.name, &reason, &panic.to_string());
                return Some(Fate::Lost(DropReason::Abandoned));
            }
        };
        let (drop, passes) = (error.reason(), error.may_pass());
        let why = StoreError::permanent_because("it cannot be set aside", error).chain();
        if passes && !batch.retried && self.shared.waits_for_quarantine(at) {
            self.set_aside.waits(&self.name, &reason, &why);
            None
        } else if is_there {
            self.set_aside.kept(&self.name, &reason, quarantine.folder());
            Some(Fate::Quarantined)
        } else {
            self.set_aside.lost(&self.name, &reason, &why);
            Some(Fate::Lost(drop))
        }
    }
}

/// Writes, and frees what is spent meanwhile: once the store has begun, and what it handed to others is on its way.
async fn freeing<T>(spent: Option<Arc<[RunRecord]>>, write: impl Future<Output = T>) -> T {
    let free = async {
        yield_now().await;
        drop(spent);
    };
    tokio::join!(write, free).0
}
