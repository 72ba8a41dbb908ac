//! Behaviour of the layer and its friends, through real sockets and OpenTelemetry's own SDK.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

mod cancelled;
mod conventions;
mod correlation;
mod endpoints;
mod listener;
mod panics;
mod records;
mod runtime;
