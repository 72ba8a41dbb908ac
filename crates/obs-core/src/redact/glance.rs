//! What a first glance at a text tells: one pass over its bytes, which nearly every text ends with.
//!
//! The last sixteen bytes are looked at all at once. Of what makes a text suspicious they hold little: no key or
//! token, because sixteen bytes follow on the sign of one; of a PEM block no more than its first line, which has a
//! dash and a space; and a card number only if nearly all of them are digits.

use std::array;

use super::pan;
use crate::{short::Short, text_hash::padded};

/// Something that JSON text has an escape for, or that is not stored.
const ESCAPED: u8 = 1;
/// Something that no secret of fewer than [`LONG`] bytes is without.
const SIGN: u8 = 2;
/// Something that a longer secret may have instead, before its last [`AT_ONCE`] bytes.
const SIGN_OF_LONG: u8 = 16;
/// No signs by themselves.
const DASH: u8 = 4;
const SPACE: u8 = 8;
const DIGIT: u8 = 32;

/// So many bytes are looked at at once.
const AT_ONCE: usize = size_of::<u128>();
/// What stands behind the sign of a token is longer than what is looked at without these signs.
const _: () = assert!(super::patterns::TOKEN_BYTES_MIN >= AT_ONCE);
const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;

/// How long the shortest secret is that has no byte of class [`SIGN`]: the first line of a PEM block.
const LONG: usize = 11;

#[expect(clippy::indexing_slicing, reason = "each byte is below the length of the table")]
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0..=0x1F | b'"' | b'\\' => ESCAPED,
            // Addresses, URLs, assignments, headers, the `J` of a JWT.
            b'@' | b'/' | b'=' | b':' | b'J' => SIGN,
            // PEM blocks, tokens, keys.
            b'-' | b'_' | b'K' | b'S' | b'z' | b'.' => SIGN_OF_LONG,
            b'0'..=b'9' => DIGIT,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// What is in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance(u8);

impl Glance {
    #[inline]
    pub(crate) fn at(text: &str) -> Self {
        Self::at_bytes(text.as_bytes())
    }

    /// The same for a text of at most 16 bytes, with zeros behind it. Not inlined, because the compiler would
    /// take the bytes apart as they were put together, one by one.
    #[inline(never)]
    #[expect(
        clippy::indexing_slicing,
        reason = "no length or place is above that of what is looked at at once"
    )]
    pub(crate) fn at_short(padded: u128, len: usize) -> Self {
        let (bytes, filled) = (padded.to_le_bytes(), &FILLED[len.min(AT_ONCE)]);
        let (one, other) = halves(array::from_fn(|at| class_in_short(bytes[at] | filled[at])));
        let classes = one | other;
        let is_in = |class: u8| classes & (EVERY_BYTE * u64::from(class)) != 0;
        let is_suspicious = (is_in(DASH) & is_in(SPACE))
            || len >= pan::DIGITS_MIN && digits(padded) >= pan::DIGITS_MIN;
        let escaped = if is_in(ESCAPED) { ESCAPED } else { 0 };
        Self(escaped | if is_in(SIGN) || is_suspicious { SIGN } else { 0 })
    }

    /// Whether a text of at most 16 bytes stands in JSON as it is, and need not be searched for secrets; `false`
    /// also where that takes another glance.
    #[inline]
    pub(crate) const fn sees_nothing(text: Short, len: usize) -> bool {
        let Short { low, high } = text;
        // What fits into the first word is in the second once more.
        let is_in_low = len <= size_of::<u64>();
        is_plain_word(low)
            && (is_in_low || is_plain_word(high))
            && (len < LONG || !(has(text, b'-') && has(text, b' ')))
            && (len < pan::DIGITS_MIN || digits_in(low) + digits_in(high) < pan::DIGITS_MIN as u64)
    }

    /// The same for a text of at most eight bytes, which one word is.
    #[inline]
    pub(crate) const fn sees_nothing_in_word(text: Short) -> bool {
        is_plain_word(text.low)
    }

    /// At a number, truth or text as it is written in JSON; an escape may stand for anything.
    pub(crate) fn at_json(scalar: &[u8]) -> Self {
        let text = scalar.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
        let Self(seen) = Self::at_bytes(text.unwrap_or(scalar));
        Self(if seen & ESCAPED == 0 { seen } else { seen | SIGN })
    }

    #[inline]
    fn at_bytes(bytes: &[u8]) -> Self {
        // Of fewer, looking at one after the other costs less.
        if bytes.len() < LONG {
            return Self(seen_in(bytes) & (ESCAPED | SIGN));
        }
        match (Short::of(bytes), padded(bytes)) {
            (Some(short), _) if Self::sees_nothing(short, bytes.len()) => Self(0),
            (_, Some(short)) => Self::at_short(short, bytes.len()),
            _ => Self::at_long(bytes),
        }
    }

    #[inline]
    fn at_long(bytes: &[u8]) -> Self {
        let Some((head, tail)) = bytes.split_last_chunk() else { return Self(SIGN) };
        let tail = u128::from_le_bytes(*tail);
        let seen = seen_in(head);
        let has_number = seen & DIGIT != 0 && {
            let in_head = head.iter().filter(|byte| byte.is_ascii_digit()).count();
            in_head + digits(tail) >= pan::DIGITS_MIN
        };
        let Self(seen_in_tail) = Self::at_short(tail, AT_ONCE);
        let seen = (seen & (ESCAPED | SIGN | SIGN_OF_LONG)) | seen_in_tail;
        Self(if has_number { seen | SIGN } else { seen })
    }

    /// Whether it stands in JSON as it is.
    #[inline]
    pub(crate) const fn is_plain(self) -> bool {
        self.0 & ESCAPED == 0
    }

    /// Whether it has to be searched for secrets.
    #[inline]
    pub(crate) const fn has_signs(self) -> bool {
        self.0 & (SIGN | SIGN_OF_LONG) != 0
    }
}

#[inline]
#[expect(clippy::indexing_slicing, reason = "the table has a place for each byte")]
fn seen_in(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |seen, byte| seen | CLASSES[usize::from(*byte)])
}

/// Whether no byte of a word is of class [`ESCAPED`] or [`SIGN`]; `false` also for some others that are rare, and for
/// all that are not ASCII. Of those that are, additions to one leave the next alone.
#[inline]
const fn is_plain_word(word: u64) -> bool {
    const HIGHEST: u64 = every(0x80);
    // The highest bit of each byte says whether it passes. A quote changes places with the space, the first that is
    // no control.
    let is_no_control_or_quote = (word ^ every(b'"' ^ b' ')).wrapping_add(every(0x80 - b'!'));
    let is_above_colon = word.wrapping_add(every(0x80 - b':'));
    let is_above_at = word.wrapping_add(every(0x80 - b'A'));
    let passes = is_no_control_or_quote
        & (is_above_at | !is_above_colon)
        & is_not(word, b'\\')
        & is_not(word, b'/')
        & is_not(word, b'J');
    passes & !word & HIGHEST == HIGHEST
}

/// Whether this byte is in a text of nothing but ASCII.
#[inline]
const fn has(Short { low, high }: Short, byte: u8) -> bool {
    is_not(low, byte) & is_not(high, byte) & every(0x80) != every(0x80)
}

/// How many bytes of a word are digits, for bytes of ASCII.
#[inline]
const fn digits_in(word: u64) -> u64 {
    let is_above_slash = word.wrapping_add(every(0x80 - b'0'));
    let is_above_nine = word.wrapping_add(every(0x80 - b':'));
    let digits = (is_above_slash & !is_above_nine & every(0x80)) >> 7;
    // The product has the sum of all bytes in its highest one.
    digits.wrapping_mul(EVERY_BYTE) >> 56
}

/// The highest bit of each byte that is not this one, for bytes of ASCII.
#[inline]
const fn is_not(word: u64, byte: u8) -> u64 {
    (word ^ every(byte)).wrapping_add(every(0x7f))
}

const fn every(byte: u8) -> u64 {
    EVERY_BYTE * byte as u64
}

/// By comparisons, which processors make sixteen of at once, and not by a table.
#[inline]
fn class_in_short(byte: u8) -> u8 {
    let class = |is_one: bool, class: u8| if is_one { class } else { 0 };
    class((byte < 0x20) | (byte == b'"') | (byte == b'\\'), ESCAPED)
        | class(
            (byte == b'@') | (byte == b'/') | (byte == b'=') | (byte == b':') | (byte == b'J'),
            SIGN,
        )
        | class(byte == b'-', DASH)
        | class(byte == b' ', SPACE)
}

#[inline(never)]
fn digits(bytes: u128) -> usize {
    let is_digit = |byte: u8| u8::from(byte.is_ascii_digit());
    let (one, other) = halves(bytes.to_le_bytes().map(is_digit));
    // The product has the sum of all bytes in its highest one.
    ((one + other).wrapping_mul(EVERY_BYTE) >> 56) as usize
}

#[inline]
fn halves(bytes: [u8; AT_ONCE]) -> (u64, u64) {
    let all = u128::from_le_bytes(bytes);
    (all as u64, (all >> 64) as u64)
}

/// For each length, something in the place of the zeros that is no sign of anything.
#[expect(clippy::indexing_slicing, reason = "both places are below the lengths")]
const FILLED: [[u8; AT_ONCE]; AT_ONCE + 1] = {
    let mut filled = [[b'x'; AT_ONCE]; AT_ONCE + 1];
    let mut len = 0;
    while len < filled.len() {
        let mut at = 0;
        while at < len {
            filled[len][at] = 0;
            at += 1;
        }
        len += 1;
    }
    filled
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::redact::{Redaction, patterns};

    #[test]
    fn what_stands_in_json_as_it_is_is_what_serde_json_does_not_escape() {
        for byte in 0..=127_u8 {
            let text = char::from(byte).to_string();
            let escaped = serde_json::to_string(&text).unwrap() != format!("\"{text}\"");
            // U+007F has no escape there.
            assert_eq!(Glance::at(&text).is_plain(), !escaped, "{byte}");
        }
        assert!(Glance::at("é\u{10FFFF}").is_plain());
    }

    #[test]
    fn nothing_is_seen_only_where_a_longer_glance_sees_nothing() {
        let sees_nothing = |text: &str| {
            Short::of(text.as_bytes()).is_some_and(|short| Glance::sees_nothing(short, text.len()))
        };
        let is_safe = |text: &str| {
            let glance = Glance::at(text);
            glance.is_plain() && !glance.has_signs()
        };
        for at in 0..=17 {
            for byte in '\0'..='\u{FF}' {
                let text = format!("{}{byte}", &"book-7 or so more"[..at]);
                assert!(!sees_nothing(&text) || is_safe(&text), "{text:?}");
            }
        }
        for common in [
            "",
            "a",
            "web",
            "book-17",
            "user_1234",
            "12.5 %",
            "2026-11-22",
            "big-spender",
            "division by zero",
            "1,234,567 of 99",
            "Zoë",
        ] {
            assert_eq!(sees_nothing(common), common.is_ascii(), "{common}");
            assert!(is_safe(common));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_seen_in_no_text_in_which_a_longer_glance_sees_something(
            text in "[\\x00-\\x7F]{0,17}", digits in "[0-9 -]{0,17}",
        ) {
            for text in [text, digits] {
                let short = Short::of(text.as_bytes());
                let sees_nothing = short.is_some_and(|it| Glance::sees_nothing(it, text.len()));
                let glance = Glance::at(&text);
                prop_assert!(!sees_nothing || glance.is_plain() && !glance.has_signs());
            }
        }
    }

    #[test]
    fn the_shortest_secret_of_each_sort_is_seen_at_a_glance() {
        let keys = Redaction::default().check().unwrap().keys;
        let shortest = [
            "a@b.co",
            "pwd=x",
            "pwd=\"x\"",
            "\"pwd\":1",
            "cookie:x",
            "//x:y://u:p@h",
            "x://u:p@h",
            "eyJ.eyJ",
            "-----BEGIN ",
            "4222222222222",
            "npm_0123456789abcdef",
            "sk-0123456789abcdef",
            "xoxb-0123456789abcdef",
            "AKIA0123456789ABCDEF",
            "ya29.0123456789abcdef",
            "AIza0123456789abcdef",
        ];
        for secret in shortest {
            assert!(patterns::find(secret, 0, &keys).is_some(), "{secret}");
            assert!(Glance::at(secret).has_signs(), "{secret}");
        }
    }
}
