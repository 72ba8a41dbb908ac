//! The run in whose body a thread is: what a log line asks for when it is written.
//!
//! Only where an [`Obs`](crate::Obs) was told so. Then entering a body notes where the run is and when it
//! started; an id is put together by the first who asks, and stays the run's.

use std::cell::Cell;

use uuid::Uuid;

use crate::{
    clock::{Clock, Reading},
    ids,
    record::Timestamp,
};

/// A run's id, and the start that it carries.
pub(crate) type Made = (Uuid, Timestamp);

thread_local! {
    // `None` outside of every body.
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// A run in whose body a thread is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current {
    /// Its address, which no other has while its body runs. Only ever compared.
    run: usize,
    started: Reading,
    made: Option<Made>,
}

impl Current {
    /// A run at this address. The id of one whose clock a test moves is made now, since that clock cannot be
    /// asked later.
    pub(crate) fn new(run: usize, clock: &Clock, started: Reading, made: Option<Made>) -> Self {
        let made = made.or_else(|| clock.is_manual().then(|| make(clock, started)));
        Self { run, started, made }
    }

    /// Makes it the current one; answers which one was.
    pub(crate) fn enter(self) -> Option<Self> {
        CURRENT.try_with(|current| current.replace(Some(self))).unwrap_or_default()
    }

    /// Makes that one current again which was; answers the id that somebody asked for meanwhile.
    pub(crate) fn leave(outer: Option<Self>) -> Option<Made> {
        CURRENT.try_with(|current| current.replace(outer)).unwrap_or_default()?.made
    }

    /// The id that somebody asked for of the run at this address, if its body is where this thread is.
    pub(crate) fn made(run: usize) -> Option<Made> {
        let current = CURRENT.try_with(Cell::get).unwrap_or_default()?;
        (current.run == run).then_some(current.made)?
    }

    /// Says which id the run at this address has.
    pub(crate) fn tell(run: usize, made: Made) {
        // A thread that ends has no current run.
        let _ = CURRENT.try_with(|current| {
            if let Some(own) = current.get().filter(|current| current.run == run) {
                current.set(Some(Self { made: Some(made), ..own }));
            }
        });
    }
}

/// The id of the run in whose body this thread is: [`Strategy::observe`](crate::Strategy::observe), or
/// `observe_async` while it is polled, of an `Obs` that was [told so](crate::Builder::current_run). It is the id
/// that the run's record has, if there is one.
///
/// ```
/// use obs_core::{Obs, current_run_id};
///
/// let obs = Obs::builder().current_run(true).build()?;
/// let bonus = obs.kind("dsl").lookup("bonus", "3");
/// let points: Result<f64, String> = bonus.observe(&(), |run| {
///     assert_eq!(current_run_id(), Some(run.id()));
///     Ok(12.5)
/// });
/// assert_eq!(current_run_id(), None);
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[must_use]
pub fn current_run_id() -> Option<Uuid> {
    CURRENT
        .try_with(|current| {
            let own = current.get()?;
            let made = own.made.unwrap_or_else(|| make(&Clock::default(), own.started));
            current.set(Some(Current { made: Some(made), ..own }));
            Some(made.0)
        })
        .unwrap_or_default()
}

#[cold]
fn make(clock: &Clock, started: Reading) -> Made {
    let age = std::time::Duration::from_nanos(clock.nanos_since(started));
    let started_at = clock.wall().before(age);
    (ids::run_id(started_at), started_at)
}
