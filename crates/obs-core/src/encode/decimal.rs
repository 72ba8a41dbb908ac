//! Numbers of a few digits, whole or with at most two decimals, which is what counts, amounts, prices and rates are:
//! written in a fifth of the instructions that finding the shortest text of any number takes.
//!
//! The digits are put together in a register and stored at once: a text that is stored byte by byte cannot be copied
//! before all of its bytes have arrived in the cache, which takes longer than making it.

/// From here on the text is made as usual: eight digits fill a word.
const WHOLE_MAX: u64 = 100_000_000;

/// Up to here the halves of four digits are enough.
const FOUR_DIGITS: u64 = 10_000;

/// From here on, and for what has more decimals, the text is made as usual: five digits, a point and two more fill a
/// word.
const VALUE_MAX: f64 = 100_000.0;
const VALUE_MIN: f64 = 0.01;

/// Hundredths are whole.
const HUNDREDTHS: f64 = 100.0;

/// Above it every number is whole, so that adding it rounds, and what was added stands in the lowest bits.
const ROUNDING: f64 = (1_u64 << 52) as f64;

const BYTES: usize = size_of::<u64>();
const ZEROS: u64 = 0x3030_3030_3030_3030;
/// The text of hundredths, before leading zeros are left out: where its digits, the point and the decimals are.
const WHOLE: u64 = 0xff_ffff_ffff;
const POINT: u64 = 0x2e << 40;
const DECIMALS: u64 = 0xffff << 48;
const ZEROS_BESIDE_POINT: u64 = ZEROS & (WHOLE | DECIMALS);

/// The text of a number.
#[derive(Clone, Copy)]
pub(super) struct Decimal {
    /// Its bytes, the first of them lowest.
    text: u64,
    len: usize,
}

impl Decimal {
    /// The text of a whole number, if it has at most eight digits.
    #[inline]
    pub(super) fn of_whole(number: u64) -> Option<Self> {
        if number < FOUR_DIGITS {
            let ones = four_digits(number);
            // The last digit of zero stays.
            let leading = (ones | 1 << 24).trailing_zeros() / 8;
            return Some(Self { text: (ones | ZEROS) >> (8 * leading), len: 4 - leading as usize });
        }
        (number < WHOLE_MAX).then(|| {
            let ones = eight_digits(number);
            let leading = ones.trailing_zeros() / 8;
            Self { text: (ones | ZEROS) >> (8 * leading), len: BYTES - leading as usize }
        })
    }

    /// The shortest text that reads as `value`, if it is that of a number of hundredths. Two texts of so few
    /// digits never read as the same number, so there is no shorter one.
    #[inline]
    pub(super) fn of(value: f64) -> Option<Self> {
        // Of numbers that are not negative, the order is that of their bits.
        if !(VALUE_MIN.to_bits()..VALUE_MAX.to_bits()).contains(&value.to_bits()) {
            return None;
        }
        let rounded = value * HUNDREDTHS + ROUNDING;
        #[expect(clippy::float_cmp, reason = "the text must read as this very number")]
        let is_it = (rounded - ROUNDING) / HUNDREDTHS == value;
        is_it.then(|| Self::of_hundredths(rounded.to_bits() - ROUNDING.to_bits()))
    }

    /// The same for a larger one, up to eight digits before the point: those, and the point and the rest.
    pub(super) fn of_large(value: f64) -> Option<[Self; 2]> {
        if !(VALUE_MAX..WHOLE_MAX as f64).contains(&value) {
            return None;
        }
        let rounded = value * HUNDREDTHS + ROUNDING;
        #[expect(clippy::float_cmp, reason = "the text must read as this very number")]
        let is_it = (rounded - ROUNDING) / HUNDREDTHS == value;
        let hundredths = rounded.to_bits() - ROUNDING.to_bits();
        let whole = Self::of_whole(hundredths / 100).filter(|_| is_it)?;
        let (tenths, rest) = (hundredths % 100 / 10, hundredths % 10);
        let text = [b'.'.into(), tenths + u64::from(b'0'), rest + u64::from(b'0')];
        let text = text[0] | text[1] << 8 | text[2] << 16;
        Some([whole, Self { text, len: if rest == 0 { 2 } else { 3 } }])
    }

    /// Of at most seven digits.
    #[inline]
    fn of_hundredths(hundredths: u64) -> Self {
        let ones = eight_digits(hundredths);
        let text = (ones >> 8) & WHOLE | ones & DECIMALS | POINT | ZEROS_BESIDE_POINT;
        // The last digit before the point stays, and the first behind it.
        let leading = ((ones >> 8) | 1 << 32).trailing_zeros() / 8;
        let ends_in_zero = usize::from(ones >> 56 == 0);
        Self { text: text >> (8 * leading), len: BYTES - leading as usize - ends_in_zero }
    }

    #[inline]
    pub(super) const fn len(self) -> usize {
        self.len
    }

    /// Its bytes, the first of them lowest, and anything behind them.
    #[inline]
    pub(super) const fn text(self) -> u64 {
        self.text
    }
}

/// Halves of the number in halves of a word, and so on down to a digit a byte, the first of them lowest.
#[inline]
const fn eight_digits(number: u64) -> u64 {
    let fours = (number / 10_000) | (number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - tens * 10) << 8
}

/// The same for half a word.
#[inline]
const fn four_digits(number: u64) -> u64 {
    let hundreds = (number * 10_486) >> 20;
    let twos = hundreds | (number - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f;
    tens | (twos - tens * 10) << 8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> Option<String> {
        let large = || Some(Decimal::of_large(value)?.map(written).concat());
        Decimal::of(value).map(written).or_else(large)
    }

    fn written(decimal: Decimal) -> String {
        String::from_utf8(decimal.text().to_le_bytes()[..decimal.len()].to_vec()).unwrap()
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
            (0.5, "0.5"),
            (9.99, "9.99"),
            (10.0, "10.0"),
            (99_999.99, "99999.99"),
            (1e5, "100000.0"),
            (100_000.05, "100000.05"),
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
        for amount in [0.01_f64, 0.1, 12.5, 19.99, 100.05, 99_999.99, 100_000.01, 99_999_999.99] {
            let beside = [amount.next_down(), amount.next_up()];
            assert!(beside.into_iter().all(|value| text(value).is_none()), "{amount}");
        }
    }

    #[test]
    fn whole_numbers_are_written_up_to_eight_digits() {
        for number in (0..20_000).chain([99_999, 100_000, 1_000_000, 9_999_999, 99_999_999]) {
            assert_eq!(Decimal::of_whole(number).map(written), Some(number.to_string()));
        }
        assert!(
            [WHOLE_MAX, u64::MAX].into_iter().all(|number| Decimal::of_whole(number).is_none())
        );
    }

    #[test]
    fn every_number_of_hundredths_is_written_as_everybody_writes_it() {
        // All up to a thousand, and beyond it one in a hundred and one.
        for hundredths in (1..100_000).chain((100_000..10_000_000).step_by(101)) {
            let value = f64::from(hundredths) / 100.0;
            assert_eq!(text(value), Some(serde_json::to_string(&value).unwrap()));
        }
    }

    proptest! {
        #[test]
        fn a_whole_number_is_written_as_everybody_writes_it(number in 0..WHOLE_MAX, digits in 0_u32..8) {
            let number = number / 10_u64.pow(digits);
            prop_assert_eq!(Decimal::of_whole(number).map(written), Some(number.to_string()));
        }

        #[test]
        fn what_is_written_is_what_serde_json_writes(
            hundredths in prop_oneof![0_u64..20_000_000, 0_u64..20_000_000_000], off in -2_i64..=2, any in any::<f64>(),
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
