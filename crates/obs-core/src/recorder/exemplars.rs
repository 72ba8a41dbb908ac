//! The last kept run of each bucket of a series. Only kept runs write here, after their record was taken;
//! a run that finds somebody else here leaves it at that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::Duration,
};

use opentelemetry::trace::{SpanId, TraceId};
use uuid::Uuid;

use super::sharded::DurationTable;
use crate::{exemplar::Exemplar, record::Timestamp, status::Status};

/// What a kept run leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptRun {
    pub(crate) status: Status,
    pub(crate) duration: Duration,
    pub(crate) run_id: Uuid,
    /// As the row has it.
    pub(crate) span: (TraceId, SpanId),
    pub(crate) at: Timestamp,
}

/// Bounded by its keys: a status and a bucket.
pub(super) struct BucketExemplars {
    table: Arc<DurationTable>,
    last: Mutex<BTreeMap<(usize, usize), KeptRun>>,
}

impl BucketExemplars {
    pub(super) fn new(table: Arc<DurationTable>) -> Self {
        Self { table, last: Mutex::default() }
    }

    pub(super) fn kept(&self, run: &KeptRun) {
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let nanos = u64::try_from(run.duration.as_nanos()).unwrap_or(u64::MAX);
        last.insert((run.status.index(), self.table.find(nanos).0), *run);
    }

    /// Of one status, in the order of buckets.
    pub(super) fn of(&self, status: Status) -> Vec<Exemplar> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let all = (status.index(), 0)..=(status.index(), usize::MAX);
        last.range(all).map(|(_, run)| Exemplar::from(run)).collect()
    }
}

impl From<&KeptRun> for Exemplar {
    fn from(run: &KeptRun) -> Self {
        let (trace_id, span_id) = run.span;
        Self {
            seconds: run.duration.as_secs_f64(),
            run_id: run.run_id,
            trace_id: (trace_id != TraceId::INVALID).then(|| trace_id.to_string().into()),
            span_id: (span_id != SpanId::INVALID).then(|| span_id.to_string().into()),
            at: run.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: Status, nanos: u64) -> KeptRun {
        KeptRun {
            status,
            duration: Duration::from_nanos(nanos),
            run_id: Uuid::from_u128(u128::from(nanos)),
            span: (TraceId::INVALID, SpanId::INVALID),
            at: Timestamp::from_micros(7),
        }
    }

    #[test]
    fn a_bucket_has_its_last_run_and_a_status_has_its_own_buckets() {
        let exemplars = BucketExemplars::new(Arc::new(DurationTable::new(vec![0.001, 0.1])));
        for nanos in [5, 1_000_000, 1_000_001, 2_000_000, 200_000_000] {
            exemplars.kept(&run(Status::Ok, nanos));
        }
        exemplars.kept(&run(Status::Error, 9));
        let seconds = |status| -> Vec<f64> {
            exemplars.of(status).iter().map(|exemplar| exemplar.seconds).collect()
        };
        assert_eq!(seconds(Status::Ok), [0.001, 0.002, 0.2]);
        assert_eq!(seconds(Status::Error), [9e-9]);
        assert!(seconds(Status::Panicked).is_empty());
    }

    #[test]
    fn a_run_that_finds_somebody_reading_does_not_wait() {
        let exemplars = BucketExemplars::new(Arc::new(DurationTable::new(vec![0.1])));
        let reading = exemplars.last.lock().unwrap();
        exemplars.kept(&run(Status::Ok, 5));
        drop(reading);
        assert!(exemplars.of(Status::Ok).is_empty());
    }
}
