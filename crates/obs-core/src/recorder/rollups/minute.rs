//! The runs of the open minute, by strategy and status, and which strategy has which number.
//!
//! N1 A number belongs to one strategy for as long as somebody can run it, and after that until its runs
//!    are read and handed over. Two strategies that a rollup cannot tell apart share one.
//! N2 Number 0 is that of all strategies that found none free.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{Ordering, fence},
    },
};

use crate::{label::OTHER, limits::ROLLUP_STRATEGIES_MAX, status::Status};

/// What rollups are told apart by, beside minute and status.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: Arc<str>,
    pub(super) realm: Option<Arc<str>>,
    pub(super) id: Arc<str>,
    pub(super) version: Arc<str>,
}

/// The number of a strategy, held by whoever can run it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) number: usize,
}

/// What was counted in a minute.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) count: u64,
    pub(super) nanos: u128,
    pub(super) nodes: u128,
    /// Runs by the place of their duration; few places of the 2,000 have any.
    pub(super) places: BTreeMap<usize, u64>,
}

impl Sums {
    pub(super) fn add_to_place(&mut self, place: usize, count: u64) {
        *self.places.entry(place).or_default() += count;
    }

    pub(super) fn add(&mut self, count: u64, nanos: u64, nodes: u64) {
        self.count += count;
        self.nanos += u128::from(nanos);
        self.nodes += u128::from(nodes);
    }
}

/// The runs of one strategy that ended with one status.
pub(super) type Entry = (Key, Status, Sums);

type ByStatus = [Option<Box<Sums>>; Status::ALL.len()];

struct Numbered {
    key: Key,
    lease: Weak<Lease>,
    sums: ByStatus,
}

/// The open minute.
pub(super) struct Minute {
    /// Minutes since 1970.
    pub(super) number: i64,
    /// By number; `None` where it is free.
    numbered: Vec<Option<Numbered>>,
    known: HashMap<Key, usize>,
    free: Vec<usize>,
    other: Arc<Lease>,
    /// Strategies that found no number.
    pub(super) folded: u64,
}

impl Minute {
    pub(super) fn new(number: i64) -> Self {
        let other = Arc::new(Lease { number: 0 });
        let everything_else = Key {
            kind: OTHER.into(),
            realm: Some(OTHER.into()),
            id: OTHER.into(),
            version: OTHER.into(),
        };
        let first = Numbered {
            key: everything_else,
            lease: Arc::downgrade(&other),
            sums: ByStatus::default(),
        };
        Self {
            number,
            numbered: vec![Some(first)],
            known: HashMap::new(),
            free: Vec::new(),
            other,
            folded: 0,
        }
    }

    /// The number of a strategy: its own, or that of all others.
    #[expect(clippy::indexing_slicing, reason = "a number is a place in the list")]
    pub(super) fn lease(&mut self, key: Key) -> Arc<Lease> {
        let known = self.known.get(&key).copied();
        let number = match known.or_else(|| self.free.pop()) {
            Some(number) => number,
            None if self.numbered.len() <= ROLLUP_STRATEGIES_MAX => {
                self.numbered.push(None);
                self.numbered.len() - 1
            }
            None => {
                self.folded += 1;
                return Arc::clone(&self.other);
            }
        };
        let place = &mut self.numbered[number];
        if let Some(living) = place.as_ref().and_then(|it| it.lease.upgrade()) {
            return living;
        }
        let made = Arc::new(Lease { number });
        let lease = Arc::downgrade(&made);
        match place {
            Some(dead) => dead.lease = lease,
            None => {
                self.known.insert(key.clone(), number);
                *place = Some(Numbered { key, lease, sums: ByStatus::default() });
            }
        }
        made
    }

    /// Shows `read` the sums of every strategy and status, to add to them. A strategy that nobody can run
    /// any more is shown a last time; then its number is free, if the minute has none of its runs.
    pub(super) fn read(&mut self, mut read: impl FnMut(usize, Status, &mut Option<Box<Sums>>)) {
        for (number, place) in self.numbered.iter_mut().enumerate() {
            let Some(numbered) = place else { continue };
            let is_dead = numbered.lease.strong_count() == 0;
            // Pairs with the release of the last lease: what was counted before is seen.
            fence(Ordering::Acquire);
            for (status, sums) in Status::ALL.into_iter().zip(&mut numbered.sums) {
                read(number, status, sums);
            }
            if is_dead && numbered.sums.iter().all(Option::is_none) {
                self.known.remove(&numbered.key);
                *place = None;
                self.free.push(number);
            }
        }
    }

    /// What was counted so far.
    pub(super) fn so_far(&self) -> Vec<Entry> {
        self.numbered
            .iter()
            .flatten()
            .flat_map(|it| Status::ALL.into_iter().zip(&it.sums).map(move |sums| (&it.key, sums)))
            .filter_map(|(key, (status, sums))| {
                Some((key.clone(), status, sums.as_deref()?.clone()))
            })
            .collect()
    }

    /// Begins another minute; what was counted in this one.
    pub(super) fn close(&mut self, next: i64) -> Vec<Entry> {
        let closed = self.so_far();
        for numbered in self.numbered.iter_mut().flatten() {
            numbered.sums = ByStatus::default();
        }
        self.number = next;
        closed
    }
}
