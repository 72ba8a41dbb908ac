//! What a persister promises, against a store in memory, real SQLite files and a real Postgres.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod audit;
mod callers;
mod cancelled;
mod erasure;
mod faults;
mod file_limit;
mod flush;
mod injection;
mod lanes;
mod outage;
mod places;
mod poison;
mod poolers;
#[path = "../../../obs-stack/tests/it/ports.rs"]
mod ports;
mod postgres;
mod proxy;
mod races;
mod retention;
mod roles;
mod schema;
mod seeds;
mod shutdown;
mod sick;
mod spool;
mod sqlite;
mod sqlite_long;
mod statistics;
mod stored;
mod stores;
mod support;
mod tls;
mod tls_session;
mod worker;
