//! One attribute set of one synchronous instrument, called or bound.
//!
//! A bound instrument costs a sixth of a call, but an SDK without the feature swallows what is
//! recorded through it, silently. So only whoever brings the SDK along may choose it.

use std::sync::{Arc, OnceLock};

use opentelemetry::{
    KeyValue,
    metrics::{
        BoundCounter, BoundHistogram, BoundUpDownCounter, Counter, Histogram, UpDownCounter,
    },
};

/// How measurements reach their instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// With prebuilt attributes, through any SDK.
    Prebuilt,
    /// Through bound instruments, which our own SDK has.
    Bound,
}

/// A counter's point.
pub(super) enum Count {
    Called(Counter<u64>, Arc<[KeyValue]>),
    Bound(BoundCounter<u64>),
}

impl Count {
    /// A point that is exported from now on, with 0: a rate over its first increment needs that.
    pub(super) fn zeroed(
        counter: &Counter<u64>,
        attributes: Arc<[KeyValue]>,
        calls: Calls,
    ) -> Self {
        let count = match calls {
            Calls::Prebuilt => Self::Called(counter.clone(), attributes),
            Calls::Bound => Self::Bound(counter.bind(&attributes)),
        };
        count.add(0);
        count
    }

    pub(super) fn add(&self, value: u64) {
        match self {
            Self::Called(counter, attributes) => counter.add(value, attributes),
            Self::Bound(bound) => bound.add(value),
        }
    }
}

/// A level that goes up and down, with the same attributes both ways.
pub(super) enum Level {
    Called(UpDownCounter<i64>, Arc<[KeyValue]>),
    Bound(BoundUpDownCounter<i64>),
}

impl Level {
    pub(super) fn zeroed(
        counter: &UpDownCounter<i64>,
        attributes: Arc<[KeyValue]>,
        calls: Calls,
    ) -> Self {
        let level = match calls {
            Calls::Prebuilt => Self::Called(counter.clone(), attributes),
            Calls::Bound => Self::Bound(counter.bind(&attributes)),
        };
        level.add(0);
        level
    }

    pub(super) fn add(&self, value: i64) {
        match self {
            Self::Called(counter, attributes) => counter.add(value, attributes),
            Self::Bound(bound) => bound.add(value),
        }
    }
}

/// A histogram's point. It is bound at its first value: one that is bound and never used is
/// exported with a minimum of 1.8e308.
pub(super) struct Spread<T> {
    histogram: Histogram<T>,
    attributes: Arc<[KeyValue]>,
    bound: Option<OnceLock<BoundHistogram<T>>>,
}

/// The values that a histogram takes.
pub(super) trait Measured: Copy {}

impl Measured for f64 {}

impl Measured for u64 {}

impl<T: Measured> Spread<T> {
    pub(super) fn new(histogram: &Histogram<T>, attributes: Arc<[KeyValue]>, calls: Calls) -> Self {
        let bound = (calls == Calls::Bound).then(OnceLock::new);
        Self { histogram: histogram.clone(), attributes, bound }
    }

    pub(super) fn record(&self, value: T) {
        match &self.bound {
            None => self.histogram.record(value, &self.attributes),
            Some(bound) => {
                bound.get_or_init(|| self.histogram.bind(&self.attributes)).record(value);
            }
        }
    }
}
