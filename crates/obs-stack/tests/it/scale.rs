//! Past one machine: distributed engines behind the gateways, on loopback, and what is in them after a part of them was
//! killed. Minutes long, so run by `just scale`.

mod brokers;
mod kafka;
mod receivers;
mod thanos;

use std::io::Write as _;

/// A figure for whoever runs the tests: said by no macro, because those speak for tests that fail only.
fn say(figure: &str) {
    let _ = writeln!(std::io::stderr(), "  {figure}");
}
