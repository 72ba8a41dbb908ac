//! How a store's worker reports on itself, without knowing OpenTelemetry.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, Tick},
    record::Timestamp,
    status::Class,
};

/// What the worker knows about its store.
///
/// ```
/// assert_eq!(obs_core::StoreState::Down.as_str(), "down");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum StoreState {
    /// Not tried yet.
    Starting = 0,
    /// The last attempt worked.
    Up = 1,
    /// The last attempt failed; the worker tries again.
    Down = 2,
    /// The worker has stopped.
    Stopped = 3,
}

impl StoreState {
    /// Every state; the metric `obs.store.state` is the position in this list.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Up, Self::Down, Self::Stopped];

    /// The word for people.
    ///
    /// ```
    /// assert_eq!(obs_core::StoreState::Up.as_str(), "up");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for StoreState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The worker's reports on its store: a cheap handle, shared by the worker and the metrics.
///
/// Made by [`otel::Metrics::store`](crate::otel::Metrics::store), or unexported by `default`.
///
/// ```
/// use obs_core::{StoreMetrics, StoreState};
/// use std::time::Duration;
///
/// let store = StoreMetrics::default();
/// assert_eq!(store.state(), StoreState::Starting);
/// store.wrote(Ok(256), Duration::from_millis(5));
/// assert_eq!(store.state(), StoreState::Up);
/// assert!(store.last_write_age().is_some());
/// store.wrote(Err(256), Duration::from_millis(5));
/// assert_eq!(store.state(), StoreState::Down);
/// ```
#[derive(Clone, Default)]
pub struct StoreMetrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: AtomicU8,
    clock: Clock,
    born: OnceLock<Tick>,
    /// Nanoseconds from `born` to the last write that worked, plus one; 0 is never.
    last_write: AtomicU64,
    exported: Option<Box<dyn WriteRecorder>>,
    spool: OnceLock<SpoolGauge>,
    kept: Mutex<KeptRows>,
}

/// Where the use of a spool is read.
type SpoolGauge = Box<dyn Fn() -> SpoolUse + Send + Sync>;

/// What a spool holds: `obs.spool.size`, `obs.spool.limit` and `obs.spool.oldest.age`.
///
/// ```
/// let used = obs_core::SpoolUse { bytes: 8 << 20, limit: 256 << 20, oldest: None };
/// assert!(used.bytes < used.limit);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUse {
    /// Bytes that it takes up on the disk.
    pub bytes: u64,
    /// Bytes that it may take up.
    pub limit: u64,
    /// When the oldest record came that may not be settled yet.
    pub oldest: Option<Timestamp>,
}

/// From when to when a store has rows and room, as its last maintenance found it.
///
/// ```
/// let kept = obs_core::KeptRows { room_until: None, ..obs_core::KeptRows::default() };
/// assert_eq!(kept.oldest_error, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptRows {
    /// When a store runs out of room that has to be made for rows of each day; `None` for one that
    /// needs none made.
    pub room_until: Option<Timestamp>,
    /// No ok row began before this; `None` if there is none.
    pub oldest_ok: Option<Timestamp>,
    /// No error began before this; `None` if there is none.
    pub oldest_error: Option<Timestamp>,
}

/// Where the histograms of a store go.
pub(crate) trait WriteRecorder: Send + Sync {
    fn wrote(&self, ok: bool, records: u64, took: Duration);
}

impl StoreMetrics {
    pub(crate) fn exported(clock: Clock, recorder: Box<dyn WriteRecorder>) -> Self {
        let born = OnceLock::from(clock.now());
        Self(Arc::new(Inner { clock, born, exported: Some(recorder), ..Inner::default() }))
    }

    /// One attempt to write a batch: how many records, whether it worked, how long it took.
    ///
    /// ```
    /// obs_core::StoreMetrics::default().wrote(Ok(1), std::time::Duration::from_millis(1));
    /// ```
    pub fn wrote(&self, records: Result<u64, u64>, took: Duration) {
        let (ok, count) = match records {
            Ok(count) => (true, count),
            Err(count) => (false, count),
        };
        self.set_state(if ok { StoreState::Up } else { StoreState::Down });
        if ok {
            let now = self.0.clock.now();
            let born = *self.0.born.get_or_init(|| now);
            let nanos = u64::try_from(now.since(born).as_nanos()).unwrap_or(u64::MAX - 1);
            self.0.last_write.store(nanos.saturating_add(1), Ordering::Release);
        }
        if let Some(recorder) = &self.0.exported {
            recorder.wrote(ok, count, took);
        }
    }

    /// A change of state that is not a write: connected, lost, stopped.
    ///
    /// ```
    /// let store = obs_core::StoreMetrics::default();
    /// store.set_state(obs_core::StoreState::Stopped);
    /// assert_eq!(store.state(), obs_core::StoreState::Stopped);
    /// ```
    pub fn set_state(&self, state: StoreState) {
        self.0.state.store(state as u8, Ordering::Release);
    }

    /// Says where the use of the store's spool is read from now on; only the first call counts.
    ///
    /// ```
    /// use obs_core::{SpoolUse, StoreMetrics};
    /// let store = StoreMetrics::default();
    /// assert_eq!(store.spool(), None);
    /// store.watch_spool(|| SpoolUse { bytes: 4 << 20, ..SpoolUse::default() });
    /// assert_eq!(store.spool().map(|used| used.bytes), Some(4 << 20));
    /// ```
    pub fn watch_spool(&self, read: impl Fn() -> SpoolUse + Send + Sync + 'static) {
        let _ = self.0.spool.set(Box::new(read));
    }

    /// What the store's spool holds, if it has one.
    ///
    /// ```
    /// assert_eq!(obs_core::StoreMetrics::default().spool(), None);
    /// ```
    #[must_use]
    pub fn spool(&self) -> Option<SpoolUse> {
        self.0.spool.get().map(|read| read())
    }

    /// How old the oldest record in the store's spool is, if there is one.
    pub(crate) fn spool_oldest_age(&self) -> Option<Duration> {
        let micros = self.0.clock.wall().as_micros() - self.spool()?.oldest?.as_micros();
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }

    /// What maintenance found: `obs.store.days.ahead` and `obs.store.oldest.age` are read from it until
    /// the next one says otherwise, and go on with the clock if none does.
    ///
    /// ```
    /// use obs_core::{KeptRows, StoreMetrics, Timestamp};
    ///
    /// let store = StoreMetrics::default();
    /// assert_eq!(store.days_ahead(), None);
    /// let room_until = Some(Timestamp::from_micros(0));
    /// store.set_kept(KeptRows { room_until, ..KeptRows::default() });
    /// assert_eq!(store.days_ahead(), Some(0), "since 1970");
    /// ```
    pub fn set_kept(&self, kept: KeptRows) {
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// What maintenance found last.
    ///
    /// ```
    /// assert_eq!(obs_core::StoreMetrics::default().kept().oldest_ok, None);
    /// ```
    #[must_use]
    pub fn kept(&self) -> KeptRows {
        *self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how many whole days after today there is room, in a store that needs room made.
    ///
    /// ```
    /// assert_eq!(obs_core::StoreMetrics::default().days_ahead(), None);
    /// ```
    #[must_use]
    pub fn days_ahead(&self) -> Option<u64> {
        const DAY_MICROS: i64 = 86_400_000_000;
        let until = self.kept().room_until?.as_micros().div_euclid(DAY_MICROS);
        let today = self.0.clock.wall().as_micros().div_euclid(DAY_MICROS);
        Some(u64::try_from(until - today - 1).unwrap_or(0))
    }

    /// How old the oldest rows of each class may be, where there are any.
    pub(crate) fn oldest_ages(&self) -> [(Class, Option<Duration>); 2] {
        let (kept, now) = (self.kept(), self.0.clock.wall());
        let age = |then: Timestamp| {
            let micros = now.as_micros().saturating_sub(then.as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        };
        [(Class::Ok, kept.oldest_ok.map(age)), (Class::Error, kept.oldest_error.map(age))]
    }

    /// The state of the store.
    ///
    /// ```
    /// assert_eq!(obs_core::StoreMetrics::default().state(), obs_core::StoreState::Starting);
    /// ```
    #[must_use]
    pub fn state(&self) -> StoreState {
        let state = usize::from(self.0.state.load(Ordering::Acquire));
        StoreState::ALL.get(state).copied().unwrap_or(StoreState::Starting)
    }

    /// The time since a batch was last written, if one ever was.
    ///
    /// ```
    /// assert_eq!(obs_core::StoreMetrics::default().last_write_age(), None);
    /// ```
    #[must_use]
    pub fn last_write_age(&self) -> Option<Duration> {
        let nanos = self.0.last_write.load(Ordering::Acquire).checked_sub(1)?;
        let born = *self.0.born.get()?;
        Some(self.0.clock.now().since(born).saturating_sub(Duration::from_nanos(nanos)))
    }
}

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMetrics")
            .field("state", &self.state())
            .field("last_write_age", &self.last_write_age())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::ManualClock;

    use super::*;

    #[test]
    fn the_days_for_which_a_store_has_room_become_fewer_by_themselves() {
        const DAY: Duration = Duration::from_secs(86_400);
        let (clock, day) = (ManualClock::new(), DAY.as_micros() as i64);
        let inner = Inner { clock: Clock::from(&clock), ..Inner::default() };
        let store = StoreMetrics(Arc::new(inner));
        let today = store.0.clock.wall().as_micros().div_euclid(day);
        // Tables for today and the seven days after it.
        let room_until = Some(Timestamp::from_micros((today + 8) * day));
        store.set_kept(KeptRows { room_until, ..KeptRows::default() });
        for ahead in [7, 6, 5, 4, 3, 2, 1, 0, 0, 0] {
            assert_eq!(store.days_ahead(), Some(ahead));
            clock.advance(DAY);
        }
    }
}
