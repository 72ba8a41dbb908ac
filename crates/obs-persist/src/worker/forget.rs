//! Records that have been in the quarantine for longer than they may.

use std::time::Duration;

use super::Worker;
use crate::sync::spawn_blocking;

/// How often the worker looks for them.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

impl Worker {
    /// Deletes them, when it is time; records of somebody who was erased elsewhere may be among them.
    pub(super) async fn forget_old(&mut self) {
        let Some(quarantine) = self.duties.quarantine.clone() else { return };
        let now = self.duties.calendar.now();
        if self.swept_at.is_some_and(|last| now.since(last) < SWEEP_EVERY) {
            return;
        }
        self.swept_at = Some(now);
        let now = self.duties.believed();
        match spawn_blocking(move || quarantine.sweep(now)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(records)) => {
                tracing::warn!(store = %self.name, records, "records of the quarantine are past their age, and gone");
            }
            Ok(Err(error)) => self.set_aside.stuck(&self.name, &error),
            Err(panic) => self.set_aside.stuck(&self.name, &panic),
        }
    }
}
