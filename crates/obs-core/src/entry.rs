//! An entry of a trace while it is written: a word, a value, two numbers, at the end of the trace's own text.
//!
//! Every traced node of every run comes by here, kept or not. So a short word, which nearly all are, is taken
//! into a register once, looked at there, and written by one store; and what was seen in the words says at
//! the end whether a kept trace has to be searched for secrets at all.

use serde::Serialize;

use crate::{
    encode::{EncodeLimits, encode_into, write_json_str},
    limits::{DEPTH_MAX, ENTRY_BYTES_MAX, ENTRY_WALK_BYTES_MAX, STRING_BYTES_MAX, WORD_BYTES_MAX},
    redact::Glance,
    scratch::Scratch,
    text_hash::padded,
};

/// Room for `,"seq":` and `,"offset_us":` with 20 digits each, and `},`.
const END_BYTES_MAX: usize = 62;
/// Room that the words of an entry leave for its value: what the encoder's markers need.
const VALUE_BYTES_MIN: usize = 128;

/// A name in an entry, up to the quote with which its word begins.
pub(crate) const TYPE: &[u8; 9] = b",\"type\":\"";
pub(crate) const PHASE: &[u8; 10] = b",\"phase\":\"";
pub(crate) const BRANCH: &[u8; 11] = b",\"branch\":\"";
const NODE: &[u8; 9] = b"{\"node\":\"";

impl Scratch {
    /// What is left of an entry that never ended is gone then.
    #[inline]
    pub(crate) fn begin_entry(&mut self, node: &str) {
        self.trace.begin();
        self.write_word(NODE, node);
    }

    /// Adds a word such as a type or a branch. Words are capped, so they fit, unless nearly every
    /// character of them needs an escape: such a word is left out.
    #[inline]
    pub(crate) fn entry_word<const N: usize>(&mut self, name: &[u8; N], word: &str) {
        let before = self.trace.written();
        self.write_word(name, word);
        if self.trace.written() > ENTRY_BYTES_MAX - END_BYTES_MAX - VALUE_BYTES_MIN {
            self.trace.shorten(before);
            self.changed.size += 1;
        }
    }

    #[inline]
    fn write_word<const N: usize>(&mut self, name: &[u8; N], word: &str) {
        let out = self.trace.open();
        out.extend_from_slice(name);
        let Some(short) = padded(word.as_bytes()) else { return self.write_odd_word(word) };
        let glance = Glance::at_short(short, word.len());
        if !glance.is_plain() {
            return self.write_odd_word(word);
        }
        self.has_signs |= glance.has_signs();
        // What was too many is taken back.
        let end = out.len() + word.len();
        out.extend_from_slice(&short.to_le_bytes());
        out.truncate(end);
        out.push(b'"');
    }

    /// One that is long, or has to be escaped or cut; its quote is written already.
    #[inline(never)]
    fn write_odd_word(&mut self, word: &str) {
        let out = self.trace.open();
        out.truncate(out.len() - 1);
        let start = out.len();
        write_json_str(out, word, WORD_BYTES_MAX, &mut self.changed);
        self.has_signs |= Glance::at_json(out.get(start..).unwrap_or_default()).has_signs();
    }

    /// Adds the value, in the room that the words have left.
    pub(crate) fn entry_value<T: Serialize + ?Sized>(&mut self, value: &T) {
        let room = {
            self.trace.open().extend_from_slice(b",\"value\":");
            ENTRY_BYTES_MAX.saturating_sub(self.trace.written() + END_BYTES_MAX)
        };
        let limits = EncodeLimits {
            bytes_max: room,
            string_bytes_max: STRING_BYTES_MAX,
            depth_max: DEPTH_MAX,
            walk_bytes_max: ENTRY_WALK_BYTES_MAX,
        };
        let out = self.trace.open();
        let start = out.len();
        encode_into(value, &limits, out, &mut self.changed);
        let value = out.get(start..).unwrap_or_default();
        if matches!(value.first(), Some(b'{' | b'[')) {
            // It is gone through in any case.
            self.has_documents = true;
        } else {
            self.has_signs = self.has_signs || Glance::at_json(value).has_signs();
        }
    }

    pub(crate) fn end_entry(&mut self, offset_micros: u64, entries_max: usize) {
        let nth = self.trace.total();
        let out = self.trace.open();
        out.extend_from_slice(b",\"seq\":");
        push_number(out, nth);
        out.extend_from_slice(b",\"offset_us\":");
        push_number(out, offset_micros);
        out.extend_from_slice(b"},");
        self.trace.end(entries_max);
    }
}

/// Decimal digits without an allocation.
#[inline]
fn push_number(out: &mut Vec<u8>, number: u64) {
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..EIGHT_DIGITS => {
            let (digits, count) = eight_digits(number);
            let end = out.len() + count;
            out.extend_from_slice(&digits.to_le_bytes());
            out.truncate(end);
        }
        _ => push_long_number(out, number),
    }
}

const EIGHT_DIGITS: u64 = 100_000_000;

/// Of a number above 0: its digits, the first of them lowest, and how many they are. All digits at once: halves
/// of the number in halves of a word, then hundreds in quarters, then tens in bytes.
const fn eight_digits(number: u64) -> (u64, usize) {
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | ((twos - 10 * tens) << 8);
    let zeros = ones.trailing_zeros() / 8;
    ((ones | 0x3030_3030_3030_3030) >> (8 * zeros), 8 - zeros as usize)
}

#[cold]
#[expect(clippy::indexing_slicing, reason = "no number has more than 20 digits")]
fn push_long_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        let digit = (number % 10) as u8;
        digits[at] = b'0' + digit;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(number: u64) -> String {
        let mut out = b"x".to_vec();
        push_number(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_they_are_everywhere() {
        let ends = (0..20).flat_map(|power| {
            let ten = 10_u64.pow(power);
            [ten - 1, ten, ten + 1, 5 * (ten / 10), u64::MAX / ten]
        });
        for number in ends.chain(0..20_000) {
            assert_eq!(printed(number), format!("x{number}"));
        }
    }

    proptest! {
        #[test]
        fn any_number_is_written_as_it_is_everywhere(number: u64, shift in 0_u32..64) {
            let number = number >> shift;
            prop_assert_eq!(printed(number), format!("x{number}"));
        }
    }
}
