//! What an application sees: settings, exports, deadlines, shutdown, and the real Collector.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod collector;
mod deadlines;
mod environment;
mod exporters;
mod exports;
mod grpc;
mod heartbeat;
mod http;
mod logs;
mod matrix;
mod partial;
mod payloads;
mod policy;
#[path = "../../../obs-stack/tests/it/ports.rs"]
mod ports;
mod prometheus;
mod promtool;
mod secrets;
mod seeds;
mod sentry;
mod startup;
mod support;
mod tasks;
mod tls;
