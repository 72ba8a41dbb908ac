//! Batches that nobody lived to settle: those of processes that died.

use std::sync::Arc;

use super::{Shared, spilling::Adoption};
use crate::stored::{Stored, Unsettled};

impl Shared {
    /// What follows is written through this connection.
    pub(crate) fn writes_through(&self, session: Option<u64>) {
        if let Some(session) = session {
            self.lock().under_way.through(session);
        }
    }

    /// Whether the store is to be asked something.
    pub(crate) fn has_question(&self) -> bool {
        matches!(&*self.adoption(), Adoption::Running(_, orphans) if orphans.has_question())
    }

    /// What to ask next, if anything.
    pub(crate) fn question(&self) -> Option<Arc<Unsettled>> {
        let mut adoption = self.adoption();
        let Adoption::Running(books, orphans) = &mut *adoption else { return None };
        orphans.ask(books)
    }

    /// What the store said to the last question.
    pub(crate) fn answered(&self, stored: &Stored) {
        let mut adoption = self.adoption();
        let Adoption::Running(books, orphans) = &mut *adoption else { return };
        orphans.answered(stored, books);
    }
}
