//! What an application sees: settings, exports, deadlines, shutdown, and the real Collector.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod deadlines;
mod environment;
mod exports;
mod support;
