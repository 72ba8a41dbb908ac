//! Who is told of a kept run before its record goes to the store: spans, reports of errors.
//!
//! The record is whole and redacted by then, and the run has ended, so that errors and slow runs are told of
//! whatever the rates are. Entries of the audit trail are no runs: nobody is told of them.

use std::{fmt, sync::Arc};

use obs_core::{Ack, Adopter, Class, DropReason, Durable, Kept, RunRecord, Sink};

/// Hears of kept runs. It must neither wait nor fail.
pub(crate) trait Hears: fmt::Debug + Send + Sync {
    fn kept(&self, record: &RunRecord);
}

/// A sink that tells others first.
#[derive(Debug)]
struct Told {
    /// `None` where no rows are stored.
    store: Option<Arc<dyn Sink>>,
    others: Vec<Arc<dyn Hears>>,
}

/// Where records go; `None` where there is nobody to tell and nothing to store.
pub(crate) fn told(
    store: Option<Arc<dyn Sink>>,
    others: Vec<Arc<dyn Hears>>,
) -> Option<Arc<dyn Sink>> {
    if others.is_empty() { store } else { Some(Arc::new(Told { store, others })) }
}

impl Sink for Told {
    fn submit(&self, kept: Kept) -> Ack {
        if kept.record.audit.is_none() {
            for other in &self.others {
                other.kept(&kept.record);
            }
        }
        match &self.store {
            Some(store) => store.submit(kept),
            None => {
                kept.ticket.dropped(DropReason::Disabled);
                Ack::Refused(DropReason::Disabled)
            }
        }
    }

    fn capacity(&self, class: Class) -> u64 {
        self.store.as_ref().map_or(0, |store| store.capacity(class))
    }

    fn attach(&self, books: Adopter) {
        if let Some(store) = &self.store {
            store.attach(books);
        }
    }

    fn durable(&self, ack: Ack) -> Durable {
        match &self.store {
            Some(store) => store.durable(ack),
            None => Box::pin(std::future::ready(ack)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use obs_core::Obs;

    use super::*;

    #[derive(Debug, Default)]
    struct Counts(AtomicUsize);

    impl Hears for Counts {
        fn kept(&self, _record: &RunRecord) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn of_an_audit_entry_nobody_is_told_who_hears_of_runs() {
        let counts = Arc::new(Counts::default());
        let sink = told(None, vec![Arc::clone(&counts) as Arc<dyn Hears>]).unwrap();
        let obs = Obs::builder().sink(sink).build().unwrap();
        obs.audit("points").error("refused", &());
        assert_eq!(counts.0.load(Ordering::Relaxed), 0);
        let failed: Result<(), String> =
            obs.kind("dsl").lookup("bonus", "3").observe(&(), |_| Err("no".to_owned()));
        failed.unwrap_err();
        assert_eq!(counts.0.load(Ordering::Relaxed), 1);
    }
}
