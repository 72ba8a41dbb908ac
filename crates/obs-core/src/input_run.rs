//! A run in flight that has its input with it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use serde::Serialize;

use crate::{
    outcome::Owned,
    run::Run,
    run_error::{RunError, RunFailure},
    sink::Ack,
};

/// A run in flight with its input; everything that [`Run`] can do.
///
/// ```
/// # use obs_core::testing::TestObs;
/// # let test = TestObs::new();
/// # let bonus = test.obs().kind("dsl").strategy("bonus").version("3").build()?;
/// let mut run = bonus.start_with("event");
/// run.keep();
/// run.finish(Ok::<_, String>(()))?;
/// assert_eq!(test.records()[0].input.as_ref().map(|json| json.as_str()), Some("\"event\""));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a run without finishing it records it as `cancelled`"]
pub struct InputRun<I: Serialize> {
    run: Run,
    input: I,
}

impl<I: Serialize> InputRun<I> {
    pub(crate) fn new(run: Run, input: I) -> Self {
        Self { run, input }
    }

    /// The input.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// assert_eq!(*bonus.start_with(7).input(), 7);
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub const fn input(&self) -> &I {
        &self.input
    }

    /// Ends the run with its result, and returns the result unchanged.
    ///
    /// # Errors
    /// Whatever `result` holds.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// assert_eq!(bonus.start_with(7).finish(Ok::<_, String>(1)), Ok(1));
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn finish<T, E: RunError>(mut self, result: Result<T, E>) -> Result<T, E> {
        self.run.end_as(&result, Some(&Owned(&self.input)));
        result
    }

    /// As [`finish`](Self::finish), and says what is promised of the run's record; `None` when the run is
    /// not kept, and so has none.
    ///
    /// ```
    /// # use obs_core::{Ack, testing::TestObs};
    /// # let test = TestObs::new();
    /// # let bonus = test.obs().kind("dsl").strategy("bonus").version("3").build()?;
    /// let (result, ack) = bonus.start_with(7).finish_ack(Err::<(), _>("no".to_owned()));
    /// assert_eq!(ack, Some(Ack::Memory));
    /// # let _ = result;
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn finish_ack<T, E: RunError>(
        mut self,
        result: Result<T, E>,
    ) -> (Result<T, E>, Option<Ack>) {
        let ack = self.run.end_as(&result, Some(&Owned(&self.input)));
        (result, ack)
    }

    /// As [`finish_ack`](Self::finish_ack), and waits until the record is on the disk, where the sink
    /// can do that: then the answer is [`Ack::Disk`]. The run ends now, not when the future is polled; the
    /// future needs no runtime.
    ///
    /// ```
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// let durable = bonus.start_with(7).finish_durable(Err::<(), _>("no".to_owned()));
    /// # let answer =
    /// async {
    ///     let (result, ack) = durable.await;
    /// };
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn finish_durable<T, E: RunError>(
        mut self,
        result: Result<T, E>,
    ) -> impl Future<Output = (Result<T, E>, Option<Ack>)> + use<T, E, I> {
        let ack = self.run.end_as(&result, Some(&Owned(&self.input)));
        self.run.durable(result, ack)
    }

    /// Ends the run with a result whose error cannot implement [`RunError`].
    ///
    /// # Errors
    /// Whatever `result` holds.
    ///
    /// ```
    /// # use obs_core::RunFailure;
    /// # let obs = obs_core::Obs::builder().build()?;
    /// # let bonus = obs.kind("dsl").strategy("bonus").version("3").build()?;
    /// let parsed = bonus.start_with("x").finish_with("x".parse::<u32>(), |_| RunFailure::error("NOT_A_NUMBER"));
    /// assert!(parsed.is_err());
    /// # Ok::<(), obs_core::BuildError>(())
    /// ```
    pub fn finish_with<T, E>(
        mut self,
        result: Result<T, E>,
        describe: impl FnOnce(&E) -> RunFailure,
    ) -> Result<T, E> {
        self.run.end_described(&result, describe, Some(&Owned(&self.input)));
        result
    }
}

impl<I: Serialize> Deref for InputRun<I> {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}

impl<I: Serialize> DerefMut for InputRun<I> {
    fn deref_mut(&mut self) -> &mut Run {
        &mut self.run
    }
}

impl<I: Serialize> Drop for InputRun<I> {
    fn drop(&mut self) {
        self.run.let_go(Some(&Owned(&self.input)));
    }
}

impl<I: Serialize> fmt::Debug for InputRun<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.run.fmt(f)
    }
}
