//! Records that somebody took out of the quarantine and gave back to the worker.

use std::{sync::Arc, time::Duration};

use obs_core::RunRecord;
use uuid::Uuid;

use super::{Worker, deliver::Batch};
use crate::sync::spawn_blocking;

/// How often the worker looks for such records, while nothing else waits.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How many it takes at once.
const RECORDS_MAX: usize = 64;

impl Worker {
    /// How long the worker may rest before it should look again.
    pub(super) fn rest(&self, rest: Duration) -> Duration {
        if self.duties.quarantine.is_some() { rest.min(LOOK_EVERY) } else { rest }
    }

    /// Offers what is there to the store; for a worker that has nothing else to do.
    pub(super) async fn deliver_retried(&mut self) {
        let Some(quarantine) = self.duties.quarantine.clone() else { return };
        let now = self.shared.clock.now();
        if !self.prepared || self.looked_at.is_some_and(|last| now.since(last) < LOOK_EVERY) {
            return;
        }
        self.looked_at = Some(now);
        let found = spawn_blocking(move || quarantine.retried(RECORDS_MAX)).await;
        match found {
            Ok(Ok(records)) if records.is_empty() => {}
            Ok(Ok(records)) => {
                let count = records.len();
                self.insist(Some(&mut Batch::retried(records))).await;
                tracing::info!(store = %self.name, records = count, "records of the quarantine were tried again");
            }
            Ok(Err(error)) => self.set_aside.stuck(&self.name, &error),
            Err(panic) => self.set_aside.stuck(&self.name, &panic),
        }
    }

    /// The store has these records. A file that stays is offered again, which changes nothing.
    pub(super) async fn returned(&mut self, records: &[RunRecord]) {
        let Some(quarantine) = self.duties.quarantine.as_ref().map(Arc::clone) else { return };
        let run_ids: Vec<Uuid> = records.iter().map(|record| record.run_id).collect();
        match spawn_blocking(move || quarantine.returned(&run_ids)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.set_aside.stuck(&self.name, &error),
            Err(panic) => self.set_aside.stuck(&self.name, &panic),
        }
    }
}
