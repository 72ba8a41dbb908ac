//! The worker behind obs: bounded lanes, batches, Postgres and SQLite stores.
//!
//! A [`Persister`] takes the records of kept runs through its [`sink`](Persister::sink), which
//! never waits, and writes them to a [`Store`] from threads of its own. Every record is in exactly
//! one term of the ledger of `obs-core`, whatever happens to the store.

#![deny(clippy::indexing_slicing, clippy::panic)]
#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod batch;
mod believed;
mod bisect;
mod canary;
mod columns;
mod config;
mod erasure;
mod lanes;
mod maintenance;
mod migrations;
mod persister;
mod platform;
mod postgres;
pub mod quarantine;
mod report;
mod retry;
mod said;
mod shared;
mod spool;
mod sqlite;
mod store;
mod stored;
mod sync;
mod url;
mod waiters;
mod watch;
mod worker;

/// What is in the folder of a spool, for an operator: read, never changed, and trusted in nothing.
pub use spool::inspect;

#[cfg(feature = "testing")]
pub mod testing;

pub use config::{
    BATCH_RECORDS_MAX, ConfigError, PersistConfig, QUARANTINE_RECORDS_MAX, RECORDS_MAX,
    RETENTION_LEAST, RETENTION_MOST, SPOOL_BYTES_LEAST, SPOOL_BYTES_MOST, SpoolDir,
};
pub use erasure::{
    ERASURE_GRACE, EraseFuture, Erased, Erasure, SUBJECT_FORMS_MAX, TOMBSTONE_LIFE, erase,
};
pub use migrations::Migrations;
pub use persister::{DROP_DEADLINE, Persister, StartError};
pub use report::{Drops, FlushReport, ShutdownReport};
pub use shared::Room;
pub use spool::Fsync;
pub use store::{MaintainFuture, Maintained, Retention, Store, StoreError, StoreFuture};
pub use stored::{Stored, StoredFuture, Unsettled};
pub use url::{StoreUrl, StoreUrlError};
pub use watch::StoreWatch;
