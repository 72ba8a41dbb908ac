//! Where errors go that come after the end: a spool of its own, made when the first of them comes.
//!
//! It may not be there for want of a descriptor, a thread or space, which may all be there again later. So
//! only a success is for good.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use obs_core::{Clock, Tick};

/// How long after a failed attempt to make a spool the next one is made, if an error comes.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A spool, once it could be made.
pub(super) struct Successor<S> {
    made: OnceLock<Box<S>>,
    /// Held for as long as an attempt takes.
    making: Mutex<()>,
    /// When the last attempt was over, if it failed; never held for long.
    failed_at: Mutex<Option<Tick>>,
}

impl<S> Successor<S> {
    pub(super) const fn new() -> Self {
        Self { made: OnceLock::new(), making: Mutex::new(()), failed_at: Mutex::new(None) }
    }

    /// If it is there.
    pub(super) fn get(&self) -> Option<&S> {
        self.made.get().map(Box::as_ref)
    }

    /// Whether it is not there although somebody tried.
    pub(super) fn has_failed(&self) -> bool {
        self.get().is_none() && self.failed_at().is_some()
    }

    /// Makes it if it is not there and it is time to try. Whoever comes during the first attempt waits for that;
    /// whoever comes during a later one does not, as it may well fail, too.
    pub(super) fn get_or_make<E: fmt::Display>(
        &self,
        clock: &Clock,
        make: impl FnOnce() -> Result<S, E>,
    ) -> Option<&S> {
        if let Some(made) = self.get() {
            return Some(made);
        }
        let _one = if self.failed_at().is_none() {
            self.making.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            self.making.try_lock().ok()?
        };
        let failed_at = *self.failed_at();
        let is_early = failed_at.is_some_and(|at| clock.now().since(at) < RETRY_AFTER);
        if self.get().is_some() || is_early {
            return self.get();
        }
        match make() {
            Ok(spool) => Some(self.made.get_or_init(|| Box::new(spool)).as_ref()),
            Err(error) => {
                if failed_at.is_none() {
                    tracing::warn!(%error, "errors that end now are lost and counted until there is another spool");
                }
                *self.failed_at() = Some(clock.now());
                None
            }
        }
    }

    fn failed_at(&self) -> MutexGuard<'_, Option<Tick>> {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: fmt::Debug> fmt::Debug for Successor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Successor").field(&self.get()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use obs_core::ManualClock;

    use super::*;

    #[test]
    fn what_failed_is_tried_again_but_not_before_a_second_has_passed_and_what_is_made_stays() {
        let (manual, successor) = (ManualClock::new(), Successor::new());
        let clock = Clock::from(&manual);
        let mut attempts = 0;
        for _ in 0..3 {
            assert_eq!(successor.has_failed(), attempts > 0);
            for _ in 0..10 {
                let made = successor.get_or_make(&clock, || {
                    attempts += 1;
                    Err::<u8, _>("no descriptor is left")
                });
                assert_eq!(made, None);
                manual.advance(RETRY_AFTER / 10 - Duration::from_nanos(1));
            }
            manual.advance(Duration::from_nanos(10));
        }
        assert_eq!(attempts, 3);
        assert_eq!(successor.get_or_make(&clock, || Ok::<_, &str>(7)), Some(&7));
        assert!(!successor.has_failed());
        assert_eq!(successor.get_or_make(&clock, || Ok::<_, &str>(8)), Some(&7));
    }

    #[test]
    fn nobody_waits_for_an_attempt_of_somebody_else_but_for_the_first_one() {
        for failed in [false, true] {
            let (manual, successor) = (ManualClock::new(), Successor::new());
            let clock = &Clock::from(&manual);
            if failed {
                assert_eq!(successor.get_or_make(clock, || Err("not yet")), None);
                manual.advance(RETRY_AFTER);
            }
            let (begun, is_begun) = mpsc::sync_channel(1);
            let (go_on, may_go_on) = mpsc::sync_channel::<()>(1);
            let successor = &successor;
            thread::scope(|scope| {
                let maker = scope.spawn(move || {
                    let made = successor.get_or_make(clock, || {
                        begun.send(()).unwrap();
                        may_go_on.recv().unwrap();
                        Ok::<_, &str>(7)
                    });
                    assert_eq!(made, Some(&7));
                });
                is_begun.recv().unwrap();
                if !failed {
                    go_on.send(()).unwrap();
                }
                let other = successor.get_or_make(clock, || Err("somebody else makes it"));
                assert_eq!(other, (!failed).then_some(&7));
                if failed {
                    go_on.send(()).unwrap();
                }
                maker.join().unwrap();
            });
            assert_eq!(successor.get(), Some(&7));
        }
    }
}
