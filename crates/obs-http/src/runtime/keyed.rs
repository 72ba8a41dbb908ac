//! A bounded map of counters.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::snapshot::KeyCounts;

/// Keys that one map counts apart; the rest is counted together.
pub const KEYS_MAX: usize = 500;

/// A key is at most this long, in bytes; the rest is cut off.
pub const KEY_BYTES_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Keyed {
    counts: HashMap<Arc<str>, u64>,
    other: u64,
}

impl Keyed {
    /// Adds to a key, or, where there is no room for a new one, to all others.
    pub(super) fn add(&mut self, key: &str, count: u64) {
        if let Some(known) = self.counts.get_mut(key) {
            *known = known.saturating_add(count);
        } else if self.counts.len() < KEYS_MAX {
            self.counts.insert(key.into(), count);
        } else {
            self.other = self.other.saturating_add(count);
        }
    }

    pub(super) fn add_other(&mut self, count: u64) {
        self.other = self.other.saturating_add(count);
    }

    pub(super) fn snapshot(&self) -> KeyCounts {
        let counts = self.counts.iter().map(|(key, count)| (key.to_string(), *count)).collect();
        KeyCounts { counts, other: self.other }
    }
}

/// A key without blanks around it and without control characters, of a bounded length.
pub(super) fn clean(key: &str) -> Cow<'_, str> {
    let key = key.trim();
    let key = &key[..key.floor_char_boundary(KEY_BYTES_MAX)];
    if key.contains(char::is_control) {
        key.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned().into()
    } else {
        key.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_past_the_last_one_is_counted_with_the_others_and_nothing_is_lost() {
        let mut keyed = Keyed::default();
        for number in 0..=KEYS_MAX {
            keyed.add(&number.to_string(), 2);
        }
        keyed.add("0", 3);
        let snapshot = keyed.snapshot();
        assert_eq!((snapshot.counts.len(), snapshot.counts["0"], snapshot.other), (KEYS_MAX, 5, 2));
        assert_eq!(snapshot.total(), 2 * (KEYS_MAX as u64 + 1) + 3);
    }

    #[test]
    fn keys_are_trimmed_cut_and_have_no_control_characters() {
        assert_eq!(clean(" a\u{1b}b\n "), "ab");
        assert_eq!(clean(&"ü".repeat(100)).len(), KEY_BYTES_MAX);
    }
}
