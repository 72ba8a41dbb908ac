//! A text of at most sixteen bytes in two registers: looked up, looked at and written without a call, and read from
//! memory once for all three.

/// The longest such text.
pub(crate) const SHORT_MAX: usize = 16;
/// The longest that one register has all of.
pub(crate) const WORD_BYTES: usize = SHORT_MAX / 2;

/// What stands behind texts that are too short to stand there themselves: no sign of anything.
const FILL: u64 = u64::from_le_bytes([b'x'; 8]);

/// The bytes of a text in their order, the first of them lowest. Behind them are some of them again or `x`, and which,
/// only the text itself settles: given their length, two texts are the same exactly when both words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) low: u64,
    pub(crate) high: u64,
}

impl Short {
    /// `None` for a longer text.
    #[inline]
    pub(crate) fn of(text: &[u8]) -> Option<Self> {
        let len = text.len();
        if len > SHORT_MAX {
            return None;
        }
        // The last bytes begin with some of the first again. Turned round, they end with those.
        let turn = 8 * len as u32;
        if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
            let high = u64::from_le_bytes(*last).rotate_left(turn);
            return Some(Self { low: u64::from_le_bytes(*first), high });
        }
        if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
            let high = u32::from_le_bytes(*last).rotate_left(turn);
            return Some(Self::twice(
                u64::from(u32::from_le_bytes(*first)) | u64::from(high) << 32,
            ));
        }
        let filled = |bytes: &[u8]| {
            let all = bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
            all | FILL << (8 * bytes.len())
        };
        Some(Self::twice(match text {
            [a, b, c] => filled(&[*a, *b, *c]),
            [a, b] => filled(&[*a, *b]),
            [a] => filled(&[*a]),
            _ => FILL,
        }))
    }

    /// Whether U+0000 is in it.
    #[inline]
    pub(crate) const fn has_nul(self) -> bool {
        has_zero(self.low) || has_zero(self.high)
    }

    #[inline]
    const fn twice(low: u64) -> Self {
        Self { low, high: low }
    }
}

/// Whether a byte of a word is zero.
#[inline]
const fn has_zero(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    word.wrapping_sub(ONES) & !word & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_nul_is_found_in_a_short_text(text in "[\0\x01a\x7F\u{80}é]{0,8}") {
            let short = Short::of(text.as_bytes());
            prop_assert_eq!(short.map(Short::has_nul), short.map(|_| text.contains('\0')));
        }

        #[test]
        fn a_short_text_is_its_bytes_and_behind_them_nothing_but_them_and_x(text in "[\\x00-\\x7F]{0,18}") {
            let short = Short::of(text.as_bytes());
            prop_assert_eq!(short.is_some(), text.len() <= SHORT_MAX);
            if let Some(Short { low, high }) = short {
                let all = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
                let (own, behind) = all.split_at(text.len());
                prop_assert_eq!(own, text.as_bytes());
                prop_assert!(behind.iter().all(|byte| *byte == b'x' || own.contains(byte)));
                prop_assert_eq!(Short { low, high }.has_nul(), text.contains('\0'));
            }
        }

        #[test]
        fn texts_of_one_length_are_the_same_exactly_when_their_words_are(
            one in "[abx]{0,16}", at in 0_usize..16,
        ) {
            let again: String = one.chars().collect();
            prop_assert_eq!(Short::of(one.as_bytes()), Short::of(again.as_bytes()));
            if at < one.len() {
                let mut other = one.clone();
                other.replace_range(at..=at, "\0");
                prop_assert_ne!(Short::of(one.as_bytes()), Short::of(other.as_bytes()));
            }
        }
    }
}
