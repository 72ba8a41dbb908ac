//! Names that this thread has met before, and that may stand with their values in JSON as they are.
//!
//! Documents of one kind have the same names again and again, and a look at each of them is most of what
//! redacting a document costs. So a thread remembers some, for the rules that it asked last: a name of up to
//! 8 bytes is one word, one of up to 16 is two and one of up to 32 is four, which with its length say all of it. What is
//! not remembered is looked at.

#![expect(
    clippy::indexing_slicing,
    reason = "places are taken modulo the length of the table, a power of two"
)]

use std::cell::Cell;

use crate::short::{SHORT_MAX, Short, WORD_BYTES};

/// How many names of a word a thread remembers at most, and of two words; a power of two.
const PLACES: usize = 128;
/// How many longer ones; a power of two.
const LONG_PLACES: usize = 64;
/// Still longer names are looked at each time.
const NAME_BYTES_MAX: usize = 2 * SHORT_MAX;

/// The rules that let a name pass, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    /// So many lengths fit below the number of the rules.
    const LENGTHS: u64 = 256;
    /// Of no name that is remembered.
    pub(crate) const NOBODY: Self = Self(0);

    /// For rules with this number, which is not 0.
    #[inline]
    pub(super) const fn of_rules(number: u64) -> Self {
        Self(number.wrapping_mul(Self::LENGTHS))
    }

    #[inline]
    const fn with_len(self, len: usize) -> u64 {
        self.0 | len as u64
    }
}

const _: () = assert!((NAME_BYTES_MAX as u64) < Tag::LENGTHS);

/// The tag with the length, and all of the name. The word that is left over makes it a power of two in size.
type KnownWord = [u64; 2];
type Known = [u64; 4];
type KnownLong = [u64; 5];

const NOBODY_OF_A_WORD: KnownWord = [0; 2];
const NOBODY: Known = [0; 4];
const NOBODY_LONG: KnownLong = [0; 5];

thread_local! {
    static KNOWN_WORDS: [Cell<KnownWord>; PLACES] =
        const { [const { Cell::new(NOBODY_OF_A_WORD) }; PLACES] };
    static KNOWN: [Cell<Known>; PLACES] = const { [const { Cell::new(NOBODY) }; PLACES] };
    static KNOWN_LONG: [Cell<KnownLong>; LONG_PLACES] =
        const { [const { Cell::new(NOBODY_LONG) }; LONG_PLACES] };
}

/// Whether the rules with this tag let `name` pass, of which `look` makes sure if it is new.
#[inline]
pub(super) fn passes(tag: Tag, name: &str, look: impl FnOnce() -> bool) -> bool {
    let len = name.len();
    let is_known = match Short::of(name.as_bytes()) {
        Some(Short { low, .. }) if len <= WORD_BYTES => {
            knows_word(tag, low, len) || knows_word_beside(tag, low, len)
        }
        Some(short) => knows(tag, short, len) || knows_beside(tag, short, len),
        None => knows_long(tag, name.as_bytes()),
    };
    is_known || meet(tag, name, look)
}

/// Whether this is a name of so many bytes, at most a word, that this thread has met, and these rules let pass.
#[inline]
pub(crate) fn knows_word(tag: Tag, name: u64, len: usize) -> bool {
    let known = [tag.with_len(len), name];
    KNOWN_WORDS.try_with(|places| places[word_place(known)].get() == known).unwrap_or_default()
}

/// The same for one that had to make room for another: two names that fall on one place are both remembered.
fn knows_word_beside(tag: Tag, name: u64, len: usize) -> bool {
    let known = [tag.with_len(len), name];
    KNOWN_WORDS.try_with(|places| places[word_place(known) ^ 1].get() == known).unwrap_or_default()
}

/// The same for one of two words.
#[inline]
pub(crate) fn knows(tag: Tag, name: Short, len: usize) -> bool {
    let tag = tag.with_len(len);
    let is_known = |places: &[Cell<Known>; PLACES]| {
        let [its_tag, low, high, _] = places[place(tag, name)].get();
        its_tag == tag && low == name.low && high == name.high
    };
    KNOWN.try_with(is_known).unwrap_or_default()
}

/// The same for one that had to make room for another.
fn knows_beside(tag: Tag, name: Short, len: usize) -> bool {
    let tag = tag.with_len(len);
    let known = [tag, name.low, name.high, 0];
    KNOWN.try_with(|places| places[place(tag, name) ^ 1].get() == known).unwrap_or_default()
}

fn knows_long(tag: Tag, name: &[u8]) -> bool {
    let Some((known, place)) = long(tag, name) else { return false };
    KNOWN_LONG.try_with(|places| places[place].get() == known).unwrap_or_default()
}

/// Looks at a name, and remembers it if it passes and is short enough.
#[cold]
fn meet(tag: Tag, name: &str, look: impl FnOnce() -> bool) -> bool {
    let passes = look();
    if !passes || tag == Tag::NOBODY {
        return passes;
    }
    if let Some(short) = Short::of(name.as_bytes()) {
        let tag = tag.with_len(name.len());
        if name.len() <= WORD_BYTES {
            let known = [tag, short.low];
            let place = word_place(known);
            let _ =
                KNOWN_WORDS.try_with(|places| places[place ^ 1].set(places[place].replace(known)));
            return passes;
        }
        let (known, place) = ([tag, short.low, short.high, 0], place(tag, short));
        // Who was there makes room, beside which one more may fall.
        let _ = KNOWN.try_with(|places| places[place ^ 1].set(places[place].replace(known)));
    } else if let Some((known, place)) = long(tag, name.as_bytes()) {
        let _ = KNOWN_LONG.try_with(|places| places[place].set(known));
    }
    passes
}

#[inline]
const fn word_place([tag_with_len, name]: KnownWord) -> usize {
    mixed_place(name ^ tag_with_len)
}

#[inline]
const fn mixed_place(mixed: u64) -> usize {
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % PLACES
}

#[inline]
const fn place(tag_with_len: u64, name: Short) -> usize {
    mixed_place(name.low ^ name.high.rotate_left(31) ^ tag_with_len)
}

/// What is remembered of a longer name, if it is not too long, and where.
fn long(tag: Tag, name: &[u8]) -> Option<(KnownLong, usize)> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let head = Short::of(name.first_chunk::<SHORT_MAX>()?)?;
    let tail = Short::of(name.last_chunk::<SHORT_MAX>()?)?;
    let tag = tag.with_len(name.len());
    let mixed = Short {
        low: head.low ^ tail.low.rotate_left(17),
        high: head.high ^ tail.high.rotate_left(17),
    };
    let known = [tag, head.low, head.high, tail.low, tail.high];
    Some((known, place(tag, mixed) % LONG_PLACES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: Tag = Tag::of_rules(u64::MAX);
    const OTHER: Tag = Tag::of_rules(u64::MAX - 1);

    #[test]
    fn a_name_is_looked_at_once_for_each_set_of_rules() {
        for name in ["amount", "", "the amount of it all"] {
            let looks = Cell::new(0);
            let look = || {
                looks.set(looks.get() + 1);
                true
            };
            for _ in 0..3 {
                assert!(passes(ONE, name, look));
                assert!(passes(OTHER, name, look));
            }
            assert_eq!(looks.get(), 2, "{name}");
        }
    }

    #[test]
    fn two_names_that_fall_on_one_place_are_both_remembered() {
        // Of one word, and of two.
        for beginning in ["name-", "short-name-"] {
            let names: Vec<String> = (0..400).map(|at| format!("{beginning}{at}")).collect();
            let place_of = |name: &str| {
                let (tag, short) = (ONE.with_len(name.len()), Short::of(name.as_bytes()).unwrap());
                let is_word = name.len() <= WORD_BYTES;
                if is_word { word_place([tag, short.low]) } else { place(tag, short) }
            };
            let mut pairs = 0;
            for (at, one) in names.iter().enumerate() {
                let is_beside = |other: &&String| place_of(other) == place_of(one);
                let Some(other) = names[at + 1..].iter().find(is_beside) else { continue };
                passes(ONE, one, || true);
                passes(ONE, other, || true);
                for _ in 0..3 {
                    let are_known = [one, other].map(|name| passes(ONE, name, || false));
                    assert_eq!(are_known, [true; 2], "{one}, {other}");
                }
                pairs += 1;
            }
            assert!(pairs > 100, "{pairs}");
        }
    }

    #[test]
    fn a_long_name_and_one_for_nobody_are_looked_at_each_time() {
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            true
        };
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(passes(ONE, &long, look) && passes(ONE, &long, look));
        assert_eq!(looks.get(), 2);
        assert!(passes(Tag::NOBODY, "amount", look) && passes(Tag::NOBODY, "amount", look));
        assert_eq!(looks.get(), 4);
    }

    #[test]
    fn a_name_that_does_not_pass_is_looked_at_each_time() {
        for name in ["password", "the password of it all"] {
            assert!(!passes(ONE, name, || false));
            assert!(passes(ONE, name, || true), "nobody remembered a verdict");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_known_exactly_when_it_was_met(
            one in "[ab]{0,34}", at in 0_usize..34,
        ) {
            passes(ONE, &one, || true);
            let is_known = |name: &str| passes(ONE, name, || false);
            prop_assert_eq!(is_known(&one), one.len() <= NAME_BYTES_MAX);
            if at < one.len() {
                let mut other = one;
                other.replace_range(at..=at, "c");
                prop_assert!(!is_known(&other));
                other.truncate(at);
                other.push('c');
                prop_assert!(!is_known(&other));
            }
        }
    }
}
