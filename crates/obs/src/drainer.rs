//! Brings the instruments up to date between collections, so that a collection after a minute has no
//! more to do than one after a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use obs_core::{Drained, Obs};

/// How often the cells of runs are drained: what a collection has left to do is at most what runs counted
/// in this time.
const DRAIN_INTERVAL: Duration = Duration::from_secs(1);
/// Calls in a row; where even these leave something, the next interval goes on.
const CALLS_MAX: usize = 16;

/// The thread that drains. Dropping it is a stop.
#[derive(Debug)]
pub(crate) struct Drainer {
    thread: Thread,
    stopped: Arc<AtomicBool>,
}

impl Drainer {
    /// Starts draining; `None` where the system gives no thread, and all is left to the collections.
    pub(crate) fn start(obs: &Obs) -> Option<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let (obs, is_stopped) = (obs.clone(), Arc::clone(&stopped));
        let spawned = thread::Builder::new().name("obs-drain".to_owned()).spawn(move || {
            while !is_stopped.load(Ordering::Acquire) {
                drain(&obs);
                thread::park_timeout(DRAIN_INTERVAL);
            }
        });
        match spawned {
            Ok(handle) => Some(Self { thread: handle.thread().clone(), stopped }),
            Err(error) => {
                tracing::warn!(target: "obs", "the system gave no thread to drain runs on, so exports take longer: {error}");
                None
            }
        }
    }

    /// Ends the thread, and does not wait for it.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Drop for Drainer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn drain(obs: &Obs) {
    for _ in 0..CALLS_MAX {
        if obs.drain() == Drained::Done {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use obs_core::{
        Clock,
        otel::{Metrics, MetricsOptions},
    };
    use opentelemetry::{
        KeyValue,
        metrics::{Counter, InstrumentBuilder, InstrumentProvider, Meter, SyncInstrument},
    };

    use super::*;

    /// Counts what `obs.run.started` is told, and collects nothing ever.
    #[derive(Clone, Default)]
    struct Started(Arc<AtomicU64>);

    impl SyncInstrument<u64> for Started {
        fn measure(&self, measurement: u64, _attributes: &[KeyValue]) {
            self.0.fetch_add(measurement, Ordering::AcqRel);
        }
    }

    impl InstrumentProvider for Started {
        fn u64_counter(&self, builder: InstrumentBuilder<'_, Counter<u64>>) -> Counter<u64> {
            match &*builder.name {
                "obs.run.started" => Counter::new(Arc::new(self.clone())),
                _ => Counter::new(Arc::new(Self::default())),
            }
        }
    }

    #[test]
    fn runs_reach_their_instruments_without_a_collection_until_the_thread_is_stopped() {
        let started = Started::default();
        let metrics =
            Metrics::new(&Meter::new(Arc::new(started.clone())), MetricsOptions::default());
        let obs = Obs::builder().metrics(metrics.unwrap()).build().unwrap();
        let strategy = obs.kind("dsl").lookup("bonus", "1");
        let drainer = Drainer::start(&obs).unwrap();
        for _ in 0..10 {
            strategy.start().finish(Ok::<_, String>(())).unwrap();
        }
        let clock = Clock::default();
        let start = clock.now();
        while started.0.load(Ordering::Acquire) < 10 {
            assert!(clock.now().since(start) < 30 * DRAIN_INTERVAL, "nothing was drained");
            thread::yield_now();
        }
        drop(drainer);
    }
}
