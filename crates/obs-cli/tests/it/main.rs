//! The command as an operator runs it: the real binary, on real SQLite files, a real Postgres and a real Collector.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so")]

mod calls;
mod collector;
mod config;
mod doctor;
mod erase;
#[path = "../../../obs-stack/tests/it/ports.rs"]
mod ports;
mod quarantine;
mod schema;
mod settings;
mod spool;
mod support;
