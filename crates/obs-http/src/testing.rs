//! For tests: a process snapshot whose clock stands still, and that can go back to zero.

use obs_core::{Clock, ManualClock};

use crate::runtime::Runtime;

/// A [`Runtime`] with a manual clock, and the only way to set one back.
///
/// ```
/// use obs_http::testing::TestRuntime;
/// use std::time::Duration;
///
/// let test = TestRuntime::new();
/// test.clock().advance(Duration::from_secs(5));
/// assert_eq!(test.runtime().snapshot().process.uptime_seconds, 5.0);
/// test.reset();
/// assert_eq!(test.runtime().snapshot().process.uptime_seconds, 0.0);
/// ```
#[derive(Debug)]
pub struct TestRuntime {
    clock: ManualClock,
    runtime: Runtime,
}

impl Default for TestRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl TestRuntime {
    /// A runtime of its own: tests run side by side.
    ///
    /// ```
    /// let test = obs_http::testing::TestRuntime::new();
    /// # let _ = test;
    /// ```
    #[must_use]
    pub fn new() -> Self {
        let clock = ManualClock::new();
        let runtime = Runtime::with_clock(Clock::from(&clock));
        Self { clock, runtime }
    }

    /// What the code under test gets.
    ///
    /// ```
    /// # let test = obs_http::testing::TestRuntime::new();
    /// assert_eq!(test.runtime().snapshot().requests.started, 0);
    /// ```
    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The hands of its clock.
    ///
    /// ```
    /// # let test = obs_http::testing::TestRuntime::new();
    /// test.clock().advance(std::time::Duration::from_millis(1));
    /// ```
    #[must_use]
    pub const fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Clears every counter and every map and starts the uptime again. Requests that are inside stay
    /// inside; kinds of delivery stay known.
    ///
    /// ```
    /// # let test = obs_http::testing::TestRuntime::new();
    /// let config = test.runtime().deliveries("config")?;
    /// config.refused("run-time", "website");
    /// test.reset();
    /// assert_eq!(test.runtime().snapshot().deliveries["config"].totals.refused, 0);
    /// # Ok::<(), obs_http::DeliveriesError>(())
    /// ```
    pub fn reset(&self) {
        self.runtime.reset();
    }
}
