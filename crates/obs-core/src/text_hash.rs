//! Hashing and comparing the short texts that strategies are known by, without a call for each.
//!
//! A text of up to 16 bytes is two words, which with its length say all of it. Longer ones are hashed in
//! steps of 16 bytes and compared as usual. Whoever could choose texts that collide only makes their own
//! look-ups slower: each is compared in full before it is taken for the same.

const SEEDS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];
const SHORT_MAX: usize = 16;

/// The hash of two texts, in an order, on top of another hash.
#[inline]
pub(crate) fn hash_pair(base: u64, one: &str, two: &str) -> u64 {
    hash(hash(base, one), two)
}

/// A hash of `text` on top of another hash.
#[inline]
pub(crate) fn hash(base: u64, text: &str) -> u64 {
    let mut bytes = text.as_bytes();
    let mut base = base ^ SEEDS[2] ^ bytes.len() as u64;
    while bytes.len() > SHORT_MAX {
        let (step, rest) = bytes.split_at(SHORT_MAX);
        let (first, last) = words(step);
        base = fold(base ^ first ^ SEEDS[0], last ^ SEEDS[1]);
        bytes = rest;
    }
    let (first, last) = words(bytes);
    fold(base ^ first ^ SEEDS[0], last ^ SEEDS[1])
}

/// Whether two texts are the same.
#[inline]
pub(crate) fn same(one: &str, two: &str) -> bool {
    let (one, two) = (one.as_bytes(), two.as_bytes());
    one.len() == two.len()
        && if one.len() <= SHORT_MAX { words(one) == words(two) } else { one == two }
}

/// The same where both may be missing; what is missing is not the same as what is empty.
#[inline]
pub(crate) fn same_or_none(one: Option<&str>, two: Option<&str>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => same(one, two),
        (one, two) => one.is_none() && two.is_none(),
    }
}

/// All of at most 16 bytes, given their number.
#[inline]
#[expect(clippy::indexing_slicing, reason = "half of a length is below it")]
pub(crate) fn words(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
    }
    match bytes {
        [] => (0, 0),
        [first, .., last] => {
            (u64::from(*first) << 8 | u64::from(bytes[bytes.len() / 2]), (*last).into())
        }
        [only] => ((*only).into(), 0),
    }
}

/// All of at most 16 bytes in their order, the first of them lowest, and zeros behind them; `None` for more.
#[inline]
pub(crate) fn padded(bytes: &[u8]) -> Option<u128> {
    let len = bytes.len();
    if len > SHORT_MAX {
        return None;
    }
    // In the upper half of the number, or of half of it, the last bytes lie too high.
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let last = u128::from(u64::from_le_bytes(*last)) << 64;
        return Some(u128::from(u64::from_le_bytes(*first)) | last >> (8 * (SHORT_MAX - len)));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let last = u64::from(u32::from_le_bytes(*last)) << 32;
        let all = u64::from(u32::from_le_bytes(*first)) | last >> (8 * (SHORT_MAX / 2 - len));
        return Some(all.into());
    }
    let byte = |at: usize| bytes.get(at).map_or(0, |byte| u32::from(*byte) << (8 * at));
    Some((byte(0) | byte(1) | byte(2)).into())
}

/// Copies at most 16 bytes without a call, and leaves what is behind them; `false`, and nothing, for more.
#[inline]
#[expect(clippy::indexing_slicing, reason = "the length was compared with that of the array")]
pub(crate) fn copy_short(bytes: &[u8], to: &mut [u8; SHORT_MAX]) -> bool {
    let len = bytes.len();
    if len > SHORT_MAX {
        return false;
    }
    // The last bytes may be some of the first again.
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        to[..8].copy_from_slice(first);
        to[len - 8..len].copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        to[..4].copy_from_slice(first);
        to[len - 4..len].copy_from_slice(last);
    } else if let ([first, ..], [.., last]) = (bytes, bytes) {
        to[0] = *first;
        to[len / 2] = bytes[len / 2];
        to[len - 1] = *last;
    }
    true
}

#[inline]
fn fold(one: u64, two: u64) -> u64 {
    let product = u128::from(one) * u128::from(two);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_the_same_exactly_when_they_are_equal(
            one in "[ab]{0,20}", two in "[ab]{0,20}", at in 0_usize..20,
        ) {
            prop_assert_eq!(same(&one, &two), one == two);
            let again: String = one.chars().collect();
            prop_assert!(same(&one, &again));
            prop_assert_eq!(hash(7, &one), hash(7, &again));
            if let Some((at, _)) = one.char_indices().nth(at) {
                let mut other = one.clone();
                other.replace_range(at..=at, "c");
                prop_assert!(!same(&one, &other));
            }
        }
    }

    #[test]
    fn a_short_text_is_a_number_with_its_bytes_in_their_order() {
        let text: Vec<u8> = (1..=17).collect();
        for len in 0..=SHORT_MAX {
            let mut expected = [0; SHORT_MAX];
            expected[..len].copy_from_slice(&text[..len]);
            assert_eq!(padded(&text[..len]).map(u128::to_le_bytes), Some(expected));
        }
        assert_eq!(padded(&text), None);
    }

    #[test]
    fn a_short_text_is_copied_and_nothing_else_is_touched() {
        const BEHIND: u8 = 99;
        let text: Vec<u8> = (1..=17).collect();
        for len in 0..=SHORT_MAX {
            let mut expected = [BEHIND; SHORT_MAX];
            expected[..len].copy_from_slice(&text[..len]);
            let mut to = [BEHIND; SHORT_MAX];
            assert!(copy_short(&text[..len], &mut to));
            assert_eq!(to, expected);
        }
        assert!(!copy_short(&text, &mut [0; SHORT_MAX]));
    }

    #[test]
    fn what_is_missing_is_not_what_is_empty() {
        assert!(same_or_none(None, None) && same_or_none(Some("a"), Some("a")));
        assert!(!same_or_none(None, Some("")) && !same_or_none(Some(""), None));
    }

    #[test]
    fn ids_that_count_up_spread_over_a_table() {
        const IDS: usize = 20_000;
        let slots: HashSet<u64> =
            (0..IDS).map(|id| hash_pair(0, &format!("tenant-rule-{id}"), "1") % 65_536).collect();
        // Of 20,000 random draws from 65,536 about 17,200 are distinct.
        assert!(slots.len() > 16_500, "{}", slots.len());
    }

    #[test]
    fn where_one_text_ends_and_the_next_begins_makes_a_difference() {
        assert_ne!(hash_pair(0, "ab", "c"), hash_pair(0, "a", "bc"));
        assert_ne!(hash_pair(0, "a", ""), hash_pair(0, "", "a"));
    }
}
