//! Numbers of payment cards: the right length, a prefix that is issued, and a check digit that fits.
//!
//! One number in ten has a check digit that fits by chance; prefix and length leave one in about
//! twenty-five of those that could be a card at all.

/// The fewest and the most digits of a card number.
pub(super) const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;
/// Groups of digits are at least this long: `4111 1111 1111 1111`, `3782 822463 10005`.
const GROUP_MIN: usize = 3;

/// Where a card number that begins at `start`, which is a digit, ends. Looks at 40 bytes at most.
#[expect(
    clippy::indexing_slicing,
    reason = "the start lies in the text, and there is room for the digits that were counted"
)]
pub(super) fn end(text: &[u8], start: usize) -> Option<usize> {
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+');
    if start.checked_sub(1).is_some_and(|before| is_part(text[before])) {
        return None;
    }
    let mut digits = [0_u8; DIGITS_MAX];
    let (mut count, mut at, mut found) = (0, start, None);
    loop {
        let group_start = at;
        while let Some(digit @ b'0'..=b'9') = text.get(at).copied() {
            // A longer number is none of a card, and neither is a part of it.
            *digits.get_mut(count)? = digit - b'0';
            count += 1;
            at += 1;
        }
        if at - group_start < GROUP_MIN {
            return found;
        }
        let next = text.get(at).copied();
        let after_next = text.get(at + 1).copied();
        let goes_on = matches!(next, Some(b' ' | b'-'))
            && after_next.is_some_and(|byte| byte.is_ascii_digit());
        let ends = next.is_none_or(|byte| {
            !byte.is_ascii_alphanumeric()
                && byte != b'_'
                && (byte == b' '
                    || !after_next.is_some_and(|after| byte != b',' && after.is_ascii_digit()))
        });
        if ends && is_card(&digits[..count]) {
            found = Some(at);
        }
        if !goes_on || count == DIGITS_MAX {
            return found;
        }
        at += 1;
    }
}

/// Whether these digits, each 0 to 9, are the number of a card.
pub(super) fn is_card(digits: &[u8]) -> bool {
    (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) && is_issued(digits) && luhn(digits)
}

#[expect(clippy::indexing_slicing, reason = "the number of digits was checked")]
fn is_issued(digits: &[u8]) -> bool {
    let prefix = |count: usize| {
        digits[..count].iter().fold(0_u32, |sum, digit| 10 * sum + u32::from(*digit))
    };
    match (digits.len(), prefix(2)) {
        (13 | 16 | 19, 40..=49) | (16, 51..=55) | (15, 34 | 37) => true,
        (14..=19, 30 | 36 | 38 | 39) | (16..=19, 35 | 62 | 64 | 65 | 60) => true,
        (13..=19, 50 | 56..=59 | 61 | 63 | 66..=69) => true,
        (16, 22..=27) => (2221..=2720).contains(&prefix(4)),
        _ => false,
    }
}

/// The check digit of ISO/IEC 7812: every second digit from the right counts double.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit @ 0..=4) => 2 * digit,
            (_, digit) => 2 * digit - 9,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        let start = text.bytes().position(|byte| byte.is_ascii_digit())?;
        end(text.as_bytes(), start).map(|end| &text[start..end])
    }

    #[test]
    fn the_cards_of_every_network_are_found() {
        for card in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "6011111111111117",
            "3530111333300000",
            "30569309025904",
            "6304000000000000",
            "6200000000000005",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "3782 822463 10005",
        ] {
            assert_eq!(found(card), Some(card));
            assert_eq!(found(&format!("card {card}, thanks")), Some(card));
            assert_eq!(found(&format!("({card})")), Some(card));
            assert_eq!(found(&format!("{card}.")), Some(card));
        }
        assert_eq!(found("4111 1111 1111 1111 12/27"), Some("4111 1111 1111 1111"));
        assert_eq!(found("4111 1111 1111 1111 123"), Some("4111 1111 1111 1111"));
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for other in [
            "4111111111111112",
            "1763726400000",
            "1763726400000000000",
            "20261121120000",
            "411111111111",
            "41111111111111111111",
            "x4111111111111111",
            "4111111111111111x",
            "1.4111111111111111",
            "-4111111111111111",
            "4111111111111111.5",
            "550e8400-e29b-4111-1111-111111111111",
            "41 11 11 11 11 11 11 11",
            "4111  1111 1111 1111",
            "2026-11-21 12:00:00",
            "0000000000000000",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
