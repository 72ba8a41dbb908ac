//! Stands in for the configuration: what the state and the worker read of it.

use crate::{
    batch::BatchLimits,
    lanes::{Limit, Limits},
    store::Retention,
};
use std::time::Duration;

/// Those of a model's batch and of its marks.
pub(crate) const BATCH_RECORDS_MAX: usize = 2;

#[derive(Clone, Debug)]
pub struct PersistConfig {
    pub queue_records: usize,
    pub error_records: usize,
    pub batch_records: usize,
    pub linger: Duration,
}

impl PersistConfig {
    pub(crate) const fn lanes(&self) -> Limits {
        Limits {
            ok: Limit { records: self.queue_records, bytes: 1 << 20 },
            reserve: Limit { records: self.error_records, bytes: 1 << 20 },
        }
    }

    pub(crate) const fn batch(&self) -> BatchLimits {
        BatchLimits {
            records: self.batch_records,
            bytes: 1 << 20,
            lane: self.lanes().ok,
            linger: self.linger,
        }
    }
}

pub(crate) const RETENTION: Retention = Retention { ok: None, error: None };
