//! A heartbeat: a run of its own kind each so often, that is always kept. Off by default.
//!
//! It takes the way of every other run: through the queue, the worker and the store, with their limits and their
//! account, and on the metrics of its kind. So a row says that all of that worked, a gap between rows that something did
//! not, and a last row `stopped` that the process ended in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use obs_core::{BuildError, Clock, KindSpec, Obs, Strategy, Tick};
use obs_persist::StoreWatch;

/// The kind of these runs.
const KIND: &str = "obs.heartbeat";
/// Their strategy.
const STRATEGY: &str = "process";
/// The version where the resource says none.
const NO_VERSION: &str = "unknown";
/// The case of the last one, where the process ends in order.
const STOPPED: &str = "stopped";
/// The case where there is no store of rows.
const NO_STORE: &str = "none";

/// The thread that beats. Dropping it is a stop.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    thread: Thread,
    stopped: Arc<AtomicBool>,
    heart: Arc<Heart>,
}

#[derive(Debug)]
struct Heart {
    strategy: Strategy,
    store: Option<StoreWatch>,
    clock: Clock,
    start: Tick,
}

impl Heartbeat {
    /// Starts beating; `None` where the system gives no thread.
    pub(crate) fn start(
        obs: &Obs,
        version: Option<&str>,
        store: Option<StoreWatch>,
        interval: Duration,
    ) -> Result<Option<Self>, BuildError> {
        let heart = Arc::new(Heart::new(obs, version, store, Clock::default())?);
        let stopped = Arc::new(AtomicBool::new(false));
        let (beating, is_stopped) = (Arc::clone(&heart), Arc::clone(&stopped));
        let spawned = thread::Builder::new().name("obs-heartbeat".to_owned()).spawn(move || {
            let mut next = interval;
            while !is_stopped.load(Ordering::Acquire) {
                beating.beat(None);
                // By the clock of the process, so that beats do not drift; those that were missed are not made up for.
                while !is_stopped.load(Ordering::Acquire) && beating.uptime() < next {
                    thread::park_timeout(next.saturating_sub(beating.uptime()));
                }
                next = following(next, beating.uptime(), interval);
            }
        });
        match spawned {
            Ok(handle) => Ok(Some(Self { thread: handle.thread().clone(), stopped, heart })),
            Err(error) => {
                tracing::warn!(target: "obs", "the system gave no thread for heartbeats, so there are none: {error}");
                Ok(None)
            }
        }
    }

    /// The last beat; the thread ends, and nobody waits for it. Only the first call does anything.
    pub(crate) fn stop(&self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
            self.heart.beat(Some(STOPPED));
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The first moment after `now` of those that lie so far apart.
fn following(last: Duration, now: Duration, interval: Duration) -> Duration {
    let missed = now.saturating_sub(last).as_nanos() / interval.as_nanos().max(1);
    let missed = u32::try_from(missed).unwrap_or(u32::MAX);
    last.saturating_add(interval.saturating_mul(missed)).saturating_add(interval)
}

impl Heart {
    fn new(
        obs: &Obs,
        version: Option<&str>,
        store: Option<StoreWatch>,
        clock: Clock,
    ) -> Result<Self, BuildError> {
        let kind = obs.define_kind(KindSpec::new(KIND))?;
        let strategy = kind.strategy(STRATEGY).version(version.unwrap_or(NO_VERSION)).build()?;
        let start = clock.now();
        Ok(Self { strategy, store, clock, start })
    }

    fn uptime(&self) -> Duration {
        self.clock.now().since(self.start)
    }

    /// One run: its value is the uptime in seconds, its case the state of the store.
    fn beat(&self, case: Option<&str>) {
        let store = || self.store.as_ref().map_or(NO_STORE, |store| store.state().as_str());
        let mut run = self.strategy.start();
        run.keep();
        run.value(self.uptime().as_secs_f64());
        run.case(case.unwrap_or_else(store));
        // It cannot fail.
        let _: Result<(), &str> = run.finish(Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use obs_core::testing::TestObs;

    use super::*;

    #[test]
    fn a_beat_is_a_kept_run_with_the_uptime_of_a_monotonic_clock() {
        let test = TestObs::with(|builder| {
            builder.policy(obs_core::KeepPolicy {
                ok_rate: obs_core::Rate::new(0.0).unwrap(),
                first: 0,
                ..Default::default()
            })
        })
        .unwrap();
        let heart = Heart::new(test.obs(), Some("1.4.0"), None, Clock::from(test.clock())).unwrap();
        heart.beat(None);
        test.clock().advance(Duration::from_secs(90));
        test.clock().jump_wall(-3_600_000_000);
        heart.beat(Some(STOPPED));
        let records = test.records();
        let seen: Vec<_> = records
            .iter()
            .map(|row| (&*row.kind, &*row.strategy_version, row.value, row.case_name.as_deref()))
            .collect();
        let expected = [
            (KIND, "1.4.0", Some(0.0), Some(NO_STORE)),
            (KIND, "1.4.0", Some(90.0), Some(STOPPED)),
        ];
        assert_eq!(seen, expected);
        test.assert_balanced();
    }

    #[test]
    fn beats_that_were_missed_are_not_made_up_for() {
        let seconds = Duration::from_secs;
        assert_eq!(following(seconds(60), seconds(60), seconds(60)), seconds(120));
        assert_eq!(following(seconds(60), seconds(61), seconds(60)), seconds(120));
        assert_eq!(following(seconds(60), seconds(605), seconds(60)), seconds(660));
    }
}
