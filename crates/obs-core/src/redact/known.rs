//! Names that this thread has met before, and that may stand with their values in JSON as they are.
//!
//! Documents of one kind have the same names again and again, and a look at each of them is most of what
//! redacting a document costs. So a thread remembers some, for the rules that it asked last: a name of up to
//! 32 bytes is four words, which with its length say all of it. What is not remembered is looked at.

use std::cell::Cell;

use crate::text_hash;

/// How many names a thread remembers at most; a power of two.
const PLACES: usize = 128;
/// Longer names are looked at each time.
const NAME_BYTES_MAX: usize = 32;
const HALF: usize = NAME_BYTES_MAX / 2;

/// Which rules let a name pass, and all of the name.
#[derive(Clone, Copy)]
struct Known {
    /// 0 belongs to no rules.
    rules: u64,
    len: usize,
    words: [u64; 4],
}

const NOBODY: Known = Known { rules: 0, len: 0, words: [0; 4] };

type Places = [Cell<Known>; PLACES];

thread_local! {
    static KNOWN: Places = const { [const { Cell::new(NOBODY) }; PLACES] };
}

/// Whether the rules with this number let `name` pass, of which `look` makes sure if it is new.
#[inline]
pub(super) fn passes(rules: u64, name: &str, look: impl FnOnce() -> bool) -> bool {
    knows(rules, name) || meet(rules, name, look)
}

/// Whether `name` is one that this thread has met, and these rules let pass.
#[inline]
pub(super) fn knows(rules: u64, name: &str) -> bool {
    if name.len() > NAME_BYTES_MAX {
        return false;
    }
    let known = Known { rules, len: name.len(), words: words(name.as_bytes()) };
    let is_known = |places: &Places| places[known.place()].get().is(&known);
    KNOWN.try_with(is_known).unwrap_or_default()
}

/// Looks at a name, and remembers it if it passes and is short enough.
#[cold]
fn meet(rules: u64, name: &str, look: impl FnOnce() -> bool) -> bool {
    let passes = look();
    if passes && name.len() <= NAME_BYTES_MAX {
        let known = Known { rules, len: name.len(), words: words(name.as_bytes()) };
        let _ = KNOWN.try_with(|places| places[known.place()].set(known));
    }
    passes
}

impl Known {
    /// In words, because these were just put together: a comparison of more at a time would wait for them.
    #[inline]
    const fn is(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.words, other.words);
        let differ = (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h);
        differ | (self.rules ^ other.rules) | (self.len ^ other.len) as u64 == 0
    }

    #[inline]
    const fn place(&self) -> usize {
        let [a, b, c, d] = self.words;
        let mixed = a ^ b.rotate_left(31) ^ c.rotate_left(17) ^ d.rotate_left(47);
        let mixed = mixed.wrapping_add(self.rules).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 48) as usize % PLACES
    }
}

/// All of at most 32 bytes, given their number.
#[inline]
fn words(name: &[u8]) -> [u64; 4] {
    let halves = |all: u128| [all as u64, (all >> 64) as u64];
    if name.len() <= HALF {
        let (first, last) = text_hash::words(name);
        return [first, last, 0, 0];
    }
    match (name.first_chunk::<HALF>(), name.last_chunk::<HALF>()) {
        (Some(head), Some(tail)) => {
            let ([a, b], [c, d]) =
                (halves(u128::from_le_bytes(*head)), halves(u128::from_le_bytes(*tail)));
            [a, b, c, d]
        }
        _ => [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_looked_at_once_for_each_set_of_rules() {
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            true
        };
        for _ in 0..3 {
            assert!(passes(u64::MAX, "amount", look));
            assert!(passes(u64::MAX - 1, "amount", look));
        }
        assert_eq!(looks.get(), 2);
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(passes(u64::MAX, &long, look) && passes(u64::MAX, &long, look));
        assert_eq!(looks.get(), 4, "a long one each time");
    }

    #[test]
    fn a_name_that_does_not_pass_is_looked_at_each_time() {
        assert!(!passes(u64::MAX, "password", || false));
        assert!(passes(u64::MAX, "password", || true), "nobody remembered a verdict");
    }

    proptest! {
        #[test]
        fn names_are_the_same_exactly_when_their_words_and_lengths_are(
            one in "[ab]{0,34}", at in 0_usize..34,
        ) {
            let said = |name: &str| (name.len(), words(name.as_bytes()));
            let mut other = one.clone();
            if at < one.len() && one.len() <= NAME_BYTES_MAX {
                other.replace_range(at..=at, "c");
                prop_assert_ne!(said(&one), said(&other));
            }
        }
    }
}
