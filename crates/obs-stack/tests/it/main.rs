//! The registry against what programs export, and the stack's files against the programs that read them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod collectors;
mod compose;
mod drift;
mod e2e;
mod generated;
mod links;
mod ports;
mod programs;
mod rules;
mod runbook;
mod scale;
mod stack;
