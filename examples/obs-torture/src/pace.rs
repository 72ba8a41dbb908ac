//! When the next run is due.

use std::time::Duration;

use obs::{Clock, Tick};

/// A rate over all threads, from the first run on.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: u32,
    clock: Clock,
    start: Tick,
}

impl Pace {
    /// `rate` runs a second; 0 is as fast as possible.
    pub(crate) fn new(rate: u32) -> Self {
        let clock = Clock::default();
        Self { rate, start: clock.now(), clock }
    }

    /// How long it is until a run is due; nothing when it is due already, or there is no pace.
    pub(crate) fn until(&self, seq: u64) -> Option<Duration> {
        let due = due(seq, self.rate)?;
        due.checked_sub(self.clock.now().since(self.start)).filter(|rest| !rest.is_zero())
    }
}

fn due(seq: u64, rate: u32) -> Option<Duration> {
    let whole = seq.checked_div(u64::from(rate))?;
    let part = u32::try_from(seq % u64::from(rate)).ok()?;
    Some(Duration::from_secs(whole) + Duration::from_secs(u64::from(part)) / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_due_evenly() {
        let seconds = [0, 1, 199, 200, 301].map(|seq| due(seq, 200).unwrap().as_secs_f64());
        assert_eq!(seconds, [0.0, 0.005, 0.995, 1.0, 1.505]);
        assert_eq!(due(u64::MAX, 0), None);
        assert!(due(u64::MAX, u32::MAX).is_some());
    }
}
