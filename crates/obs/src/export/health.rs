//! What becomes of exports: each loss is counted, and each change is said once.

use std::sync::{Mutex, OnceLock, PoisonError};

use obs_core::{
    Escaped,
    registry::{Metric, attribute, metric},
};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};

use super::{ExportError, send::Taken};

/// Where the exports of one signal are counted. Exports work before it is known where.
#[derive(Debug, Default)]
pub(crate) struct Counts(OnceLock<Counters>);

#[derive(Debug)]
struct Counters {
    failures: Counter<u64>,
    rejected: Counter<u64>,
    signal: [KeyValue; 1],
}

impl Counts {
    /// Makes the counters, with zeroes. Called once.
    pub(crate) fn count_on(&self, meter: &Meter, signal: &'static str) {
        let made = |metric: &Metric| {
            let builder = meter.u64_counter(metric.name).with_unit(metric.unit);
            builder.with_description(metric.brief).build()
        };
        let failures = made(&metric::OBS_EXPORT_FAILURES);
        let rejected = made(&metric::OBS_EXPORT_REJECTED);
        let signal = [KeyValue::new(attribute::SIGNAL, signal)];
        failures.add(0, &signal);
        rejected.add(0, &signal);
        // Called once, by `init`.
        let _ = self.0.set(Counters { failures, rejected, signal });
    }

    pub(crate) fn failed(&self, rejected: u64) {
        if let Some(counters) = self.0.get() {
            counters.failures.add(1, &counters.signal);
            counters.rejected.add(rejected, &counters.signal);
        }
    }
}

/// How the exports to one target go.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Works,
    Warned,
    Rejects,
    Fails,
}

impl Health {
    /// Counts a failure, and says when exports begin to fail, when they work again, and when the target
    /// begins to reject or to warn.
    pub(super) fn note(
        &self,
        target: &str,
        exported: &Result<Taken, ExportError>,
        counts: &Counts,
    ) {
        let now = match exported {
            Ok(taken) if taken.said.is_empty() => State::Works,
            Ok(_) => State::Warned,
            Err(ExportError::Rejected { rejected, .. }) => {
                counts.failed(*rejected);
                State::Rejects
            }
            Err(_) => {
                counts.failed(0);
                State::Fails
            }
        };
        let before = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, now)
        };
        if before == now {
            return;
        }
        match exported {
            Ok(taken) if now == State::Warned => {
                tracing::warn!(target: "obs", "{target} took the metrics, and says: {}", taken.said);
            }
            Ok(_) if before != State::Warned => {
                tracing::info!(target: "obs", "metrics reach {target} again");
            }
            Ok(_) => {}
            Err(error) => {
                let error = error.to_string();
                let error = Escaped(&error);
                tracing::warn!(target: "obs", "{error}; trying again at every interval");
            }
        }
    }
}
