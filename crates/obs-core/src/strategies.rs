//! The strategies that a kind remembers: bounded, because they may be authored at run time.
//!
//! A thread finds the strategies it used last in a small table of its own, without a lock. Behind
//! it stand two generations: when the young one is full, it becomes the old one, and what of the
//! old one was not used since is forgotten.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::HashMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{limits::STRATEGIES_REMEMBERED, strategy::Strategy, text_hash};

/// Strategies that a thread finds without a lock; a power of two.
const NEAR: usize = 256;

/// What makes a strategy the same as another.
#[derive(Clone, Debug)]
pub(crate) struct StrategyKey<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) version: Cow<'a, str>,
    pub(crate) realm: Option<&'a str>,
    pub(crate) strategy_type: Option<&'a str>,
    pub(crate) hash: Option<&'a str>,
}

impl StrategyKey<'_> {
    /// Absent and empty parts hash alike; the comparison tells them apart.
    fn hash_code(&self) -> u64 {
        let scope = scope(self.realm, self.strategy_type);
        text_hash::hash_pair(scope, &self.id, &self.version)
    }

    fn is(&self, strategy: &Strategy) -> bool {
        text_hash::same(&self.id, strategy.id())
            && text_hash::same(&self.version, strategy.version())
            && text_hash::same_or_none(self.realm, strategy.realm())
            && text_hash::same_or_none(self.strategy_type, strategy.strategy_type())
            && text_hash::same_or_none(self.hash, strategy.hash())
    }
}

/// The part of the hash that all look-ups through one [`Kind`](crate::Kind) have in common.
pub(crate) fn scope(realm: Option<&str>, strategy_type: Option<&str>) -> u64 {
    text_hash::hash_pair(0, realm.unwrap_or_default(), strategy_type.unwrap_or_default())
}

/// The remembered strategies of one kind.
pub(crate) struct Strategies {
    uid: u64,
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, Vec<Strategy>>,
    young_len: usize,
    old: HashMap<u64, Vec<Strategy>>,
}

struct NearEntry {
    owner: u64,
    strategy: Strategy,
}

thread_local! {
    static NEAR_TABLE: RefCell<Vec<Option<NearEntry>>> = const { RefCell::new(Vec::new()) };
}

impl Default for Strategies {
    fn default() -> Self {
        static NEXT_UID: AtomicU64 = AtomicU64::new(0);
        Self { uid: NEXT_UID.fetch_add(1, Ordering::Relaxed), generations: Mutex::default() }
    }
}

impl Strategies {
    /// The remembered strategy with this key, or the one that `make` makes.
    pub(crate) fn get_or_make(
        &self,
        key: &StrategyKey<'_>,
        make: impl FnOnce() -> Strategy,
    ) -> Strategy {
        let hash = key.hash_code();
        if let Some(near) = self.near(key, hash) {
            return near;
        }
        let strategy = self.far(key, hash, make);
        self.remember_near(hash, &strategy);
        strategy
    }

    /// The strategy with this key, if this thread looked it up lately. An id or version that is no valid
    /// one is none of those that strategies have.
    #[inline]
    pub(crate) fn known(&self, scope: u64, key: &StrategyKey<'_>) -> Option<Strategy> {
        self.near(key, text_hash::hash_pair(scope, &key.id, &key.version))
    }

    #[inline]
    fn near(&self, key: &StrategyKey<'_>, hash: u64) -> Option<Strategy> {
        NEAR_TABLE
            .try_with(|table| {
                let table = table.borrow();
                let entry = table.get(slot(hash))?.as_ref()?;
                (entry.owner == self.uid && key.is(&entry.strategy)).then(|| entry.strategy.clone())
            })
            .ok()
            .flatten()
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "a slot is masked by the length of the table, a power of two"
    )]
    fn remember_near(&self, hash: u64, strategy: &Strategy) {
        // A thread that is ending looks nothing up again.
        let _ = NEAR_TABLE.try_with(|table| {
            let mut table = table.borrow_mut();
            if table.is_empty() {
                table.resize_with(NEAR, || None);
            }
            table[slot(hash)] =
                Some(NearEntry { owner: self.uid, strategy: strategy.for_this_thread() });
        });
    }

    fn far(&self, key: &StrategyKey<'_>, hash: u64, make: impl FnOnce() -> Strategy) -> Strategy {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = find(&generations.young, key, hash) {
            return known;
        }
        let strategy = find(&generations.old, key, hash).unwrap_or_else(make);
        if generations.young_len >= STRATEGIES_REMEMBERED {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_len = 0;
        }
        generations.young.entry(hash).or_default().push(strategy.clone());
        generations.young_len += 1;
        strategy
    }

    #[cfg(test)]
    fn remembered(&self) -> usize {
        let generations = self.generations.lock().unwrap();
        generations.young.values().chain(generations.old.values()).map(Vec::len).sum()
    }
}

impl Drop for Strategies {
    /// The kind is gone: this thread lets go of its strategies, and with them of the sink. What other
    /// threads remember stays until they end, or need the place.
    fn drop(&mut self) {
        let gone = NEAR_TABLE.try_with(|table| {
            let mut table = table.try_borrow_mut().ok()?;
            let ours = |entry: &mut NearEntry| entry.owner == self.uid;
            Some(table.iter_mut().filter_map(|entry| entry.take_if(ours)).collect::<Vec<_>>())
        });
        // The last handle may drop a sink, which may do anything: the table is free again.
        drop(gone);
    }
}

impl fmt::Debug for Strategies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strategies").field("uid", &self.uid).finish_non_exhaustive()
    }
}

fn find(
    generation: &HashMap<u64, Vec<Strategy>>,
    key: &StrategyKey<'_>,
    hash: u64,
) -> Option<Strategy> {
    generation.get(&hash)?.iter().find(|strategy| key.is(strategy)).cloned()
}

#[inline]
fn slot(hash: u64) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits are used")]
    let low = hash as usize;
    low & (NEAR - 1)
}

/// The hash that shortened ids end in, so it stays as it is.
#[expect(clippy::indexing_slicing, reason = "a remainder is shorter than a word")]
pub(crate) fn hash_of(parts: &[&str]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = 0_u64;
    let mut mix = |word: u64| {
        hash = (hash.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
        hash ^= hash >> 32;
    };
    for part in parts {
        let mut chunks = part.as_bytes().chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            mix(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        mix(u64::from_le_bytes(word));
        mix(part.len() as u64);
    }
    hash
}

#[cfg(test)]
mod tests {
    use crate::Obs;

    use super::*;

    #[test]
    fn one_key_is_one_strategy_on_every_thread() {
        let obs = Obs::builder().build().unwrap();
        let kind = obs.kind("dsl");
        let here = kind.lookup("rule", "1");
        let there = std::thread::spawn(move || kind.lookup("rule", "1")).join().unwrap();
        assert!(here.same_as(&there));
    }

    #[test]
    fn version_realm_and_kind_tell_strategies_apart() {
        let obs = Obs::builder().build().unwrap();
        let kind = obs.kind("dsl");
        let strategy = kind.lookup("rule", "1");
        assert!(!strategy.same_as(&kind.lookup("rule", "2")));
        assert!(!strategy.same_as(&kind.realm("acme").lookup("rule", "1")));
        assert!(!strategy.same_as(&obs.kind("other").lookup("rule", "1")));
    }

    #[test]
    fn the_memory_for_strategies_is_bounded_and_a_used_one_is_not_forgotten() {
        let obs = Obs::builder().build().unwrap();
        let kind = obs.kind("dsl");
        let strategies = Strategies::default();
        let look_up = |id: String| {
            let key = StrategyKey {
                id: id.into(),
                version: "1".into(),
                realm: None,
                strategy_type: None,
                hash: None,
            };
            strategies.far(&key, key.hash_code(), || kind.lookup(&key.id, "1"))
        };
        let favourite = look_up("favourite".to_owned());
        for number in 0..3 * STRATEGIES_REMEMBERED {
            look_up(format!("rule-{number}"));
            if number % 100 == 0 {
                look_up("favourite".to_owned());
            }
        }
        assert!(strategies.remembered() <= 2 * STRATEGIES_REMEMBERED);
        assert!(favourite.same_as(&look_up("favourite".to_owned())));
    }
}
