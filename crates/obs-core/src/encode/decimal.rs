//! Numbers of a few digits, whole or with at most two decimals, which is what counts, amounts, prices and rates are:
//! written in a third of the instructions that finding the shortest text of any number takes.
//!
//! The digits are put together in a register and stored at once: a text that is stored byte by byte cannot be copied
//! before all of its bytes have arrived in the cache, which takes longer than making it.

/// From here on, and for what has more decimals, the text is made as usual: eight digits fill a word.
const MAX: u64 = 100_000_000;

/// Hundredths are whole.
const HUNDREDTHS: u64 = 100;

/// Eight digits, a point, and two more.
const BYTES_MAX: usize = 11;

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The text of a number.
#[derive(Clone, Copy)]
pub(super) struct Decimal {
    /// Its bytes, the first of them lowest, and zeros behind them.
    text: u128,
    len: usize,
}

impl Decimal {
    /// The text of a whole number, if it has at most eight digits.
    #[inline]
    pub(super) fn of_whole(number: u64) -> Option<Self> {
        (number < MAX).then(|| Self::of_digits(number))
    }

    /// The shortest text that reads as `value`, if it is that of a number of hundredths. Two texts of so few
    /// digits never read as the same number, so there is no shorter one.
    #[inline]
    pub(super) fn of(value: f64) -> Option<Self> {
        if !(0.01..MAX as f64).contains(&value) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is in a range that fits")]
        let hundredths = (value * HUNDREDTHS as f64 + 0.5) as i64;
        #[expect(clippy::float_cmp, reason = "the text must read as this very number")]
        let is_it = hundredths as f64 / HUNDREDTHS as f64 == value;
        is_it.then(|| Self::of_hundredths(hundredths.cast_unsigned()))
    }

    #[inline]
    fn of_hundredths(hundredths: u64) -> Self {
        let (whole, fraction) = (hundredths / HUNDREDTHS, hundredths % HUNDREDTHS);
        let Self { text, len } = Self::of_digits(whole);
        let (tenths, rest) = (fraction / 10, fraction % 10);
        let end = u64::from(b'.') | (ZEROS & 0xff00 | tenths << 8);
        let (end, digits) =
            if rest == 0 { (end, 2) } else { (end | (ZEROS & 0xff_0000 | rest << 16), 3) };
        Self { text: text | u128::from(end) << (8 * len), len: len + digits }
    }

    /// Halves of the number in halves of a word, and so on down to a digit a byte, the first of them lowest.
    #[inline]
    const fn of_digits(number: u64) -> Self {
        let fours = (number / 10_000) | (number % 10_000) << 32;
        let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
        let twos = hundreds | (fours - hundreds * 100) << 16;
        let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
        let ones = tens | (twos - tens * 10) << 8;
        // The last digit of zero stays.
        let leading = (ones.trailing_zeros() / 8) as usize;
        let leading = if leading < 7 { leading } else { 7 };
        Self { text: ((ones | ZEROS) >> (8 * leading)) as u128, len: 8 - leading }
    }

    #[inline]
    pub(super) const fn len(self) -> usize {
        self.len
    }

    /// Its bytes, the first of them lowest, and zeros behind them.
    #[inline]
    pub(super) const fn text(self) -> u128 {
        self.text
    }
}

const _: () = assert!(BYTES_MAX <= size_of::<u128>());

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> Option<String> {
        Decimal::of(value).map(written)
    }

    fn written(decimal: Decimal) -> String {
        let padded = decimal.text().to_le_bytes();
        assert!(padded[decimal.len()..].iter().all(|byte| *byte == 0));
        String::from_utf8(padded[..decimal.len()].to_vec()).unwrap()
    }

    #[test]
    fn amounts_are_written_and_all_else_is_left_to_others() {
        for (value, expected) in [
            (12.5, "12.5"),
            (1.0, "1.0"),
            (0.01, "0.01"),
            (0.1, "0.1"),
            (19.99, "19.99"),
            (100.05, "100.05"),
            (99_999_999.99, "99999999.99"),
        ] {
            assert_eq!(text(value).as_deref(), Some(expected));
        }
        let others = [
            0.0,
            -0.0,
            -1.5,
            0.001,
            0.015,
            1.234,
            1e8,
            1e9,
            1e300,
            f64::NAN,
            f64::INFINITY,
            5e-324,
        ];
        assert!(others.into_iter().all(|value| text(value).is_none()));
        for amount in [0.01_f64, 0.1, 12.5, 19.99, 100.05, 99_999_999.99] {
            let beside = [amount.next_down(), amount.next_up()];
            assert!(beside.into_iter().all(|value| text(value).is_none()), "{amount}");
        }
    }

    #[test]
    fn whole_numbers_are_written_up_to_eight_digits() {
        for number in [0, 1, 9, 10, 99, 100, 1_000, 9_999, 10_000, 1_000_000, 99_999_999] {
            assert_eq!(Decimal::of_whole(number).map(written), Some(number.to_string()));
        }
        assert!([MAX, u64::MAX].into_iter().all(|number| Decimal::of_whole(number).is_none()));
    }

    proptest! {
        #[test]
        fn a_whole_number_is_written_as_everybody_writes_it(number in 0..MAX, digits in 0_u32..8) {
            let number = number / 10_u64.pow(digits);
            prop_assert_eq!(Decimal::of_whole(number).map(written), Some(number.to_string()));
        }

        #[test]
        fn what_is_written_is_what_serde_json_writes(
            hundredths in 0_u64..20_000_000_000, off in -2_i64..=2, any in any::<f64>(),
        ) {
            let near = hundredths as f64 / 100.0;
            let beside = f64::from_bits(near.to_bits().saturating_add_signed(off));
            for value in [near, beside, any, near.trunc(), 1.0 / near] {
                if let Some(text) = text(value) {
                    prop_assert_eq!(text, serde_json::to_string(&value).unwrap());
                }
            }
            prop_assert_eq!(text(near).is_some(), (1..10_000_000_000).contains(&hundredths));
        }
    }
}
