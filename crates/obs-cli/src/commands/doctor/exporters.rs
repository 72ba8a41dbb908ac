//! Where telemetry goes: each destination by itself, with something that really goes there.

use obs::{Configuration, Destination};

use super::{Finding, HOP_DEADLINE};

pub(super) fn findings(settings: &Configuration) -> Vec<Finding> {
    let destinations = settings.destinations();
    if destinations.is_empty() {
        return vec![Finding::off("exporter", "nothing is sent anywhere")];
    }
    destinations.iter().map(finding).collect()
}

fn finding(destination: &Destination) -> Finding {
    let (signal, target) = (destination.signal(), destination.target());
    match destination.try_out(HOP_DEADLINE) {
        Ok(done) => Finding::ok(signal, target, done),
        Err(unreached) => Finding::bad(signal, target, unreached.hop, unreached.reason),
    }
}
