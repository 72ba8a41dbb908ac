//! Behaviour of the public API, with OpenTelemetry's own SDK on the other side.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

mod acks;
mod adoption;
mod current;
mod durations;
mod exemplars;
mod in_flight;
mod keeping;
mod labels;
mod leaving;
mod ledger;
mod metrics;
mod policy;
mod readers;
mod records;
mod rollups;
mod runs;
mod safety;
mod seeds;
mod sharded;
