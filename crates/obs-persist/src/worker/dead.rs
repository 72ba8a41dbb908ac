//! Asking the store about records that it had been handed by processes that died.

use std::time::Duration;

use super::Worker;
use crate::{
    store::StoreError,
    stored::{Stored, Unsettled},
    sync::{sleep, timeout},
};

/// How long to wait before asking again, while a connection of a dead process is still at work.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(100);

/// How often the worker asks at its end; then it is for the next process to ask.
const ASKS_AT_END: usize = 20;

impl Worker {
    /// Asks if there is something to ask and it is time.
    pub(super) async fn ask_about_dead(&mut self) {
        let now = self.shared.clock.now();
        let is_early = self.asked_at.is_some_and(|last| now.since(last) < ASK_EVERY);
        if is_early || !self.shared.has_question() {
            return;
        }
        if !self.prepared {
            self.insist(None).await;
        }
        if !self.prepared {
            return;
        }
        self.asked_at = Some(self.shared.clock.now());
        let Some(unsettled) = self.shared.question() else { return };
        match self.ask(&unsettled).await {
            Ok(stored) => self.shared.answered(&stored),
            Err(error) => {
                self.prepared = false;
                let (store, reason) = (&self.name, error.chain());
                tracing::warn!(%store, %reason, "the store does not say what a dead process had written");
            }
        }
    }

    /// The last chance to ask, for a worker whose store is up.
    pub(super) async fn ask_at_end(&mut self) {
        for _ in 0..ASKS_AT_END {
            if !self.prepared || !self.shared.has_question() {
                return;
            }
            self.ask_about_dead().await;
            if self.shared.has_question() {
                sleep(ASK_EVERY).await;
            }
        }
    }

    /// How long the worker may rest before it should ask again, or look for others that died.
    pub(super) fn rest_of_dead(&self, rest: Duration) -> Duration {
        if self.shared.has_question() {
            return rest.min(ASK_EVERY);
        }
        let look = self.shared.until_look(self.duties.calendar.wall());
        look.map_or(rest, |look| rest.min(look))
    }

    async fn ask(&self, unsettled: &Unsettled) -> Result<Stored, StoreError> {
        let limit = self.duties.timeouts.write;
        let mut store = self.store.lock().await;
        match timeout(limit, store.stored(unsettled)).await {
            Ok(stored) => stored,
            Err(_) => Err(StoreError::late("asking for rows", limit)),
        }
    }
}
