//! Numbers with at most two decimals, which is what amounts, prices and rates are: written in a third of the
//! instructions that finding the shortest text of any number takes.

/// Above this, and for what has more decimals, the text is searched for as usual.
const MAX: f64 = 1e9;

/// Hundredths are whole.
const HUNDREDTHS: u64 = 100;

/// Nine digits, a point, and two more.
const BYTES_MAX: usize = 12;

/// The text of a number.
pub(super) struct Decimal {
    bytes: [u8; BYTES_MAX],
    start: usize,
    end: usize,
}

impl Decimal {
    /// The shortest text that reads as `value`, if it is that of a number of hundredths. Two texts of so few
    /// digits never read as the same number, so there is no shorter one.
    #[inline]
    pub(super) fn of(value: f64) -> Option<Self> {
        if !(0.01..MAX).contains(&value) {
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
        const POINT: usize = BYTES_MAX - 3;
        let (mut whole, fraction) = (hundredths / HUNDREDTHS, hundredths % HUNDREDTHS);
        let digit = |number: u64| b'0' + (number % 10) as u8;
        let mut bytes = [b'0'; BYTES_MAX];
        [bytes[POINT], bytes[POINT + 1], bytes[POINT + 2]] =
            [b'.', digit(fraction / 10), digit(fraction)];
        let mut start = POINT;
        while start > 0 {
            start -= 1;
            bytes[start] = digit(whole);
            whole /= 10;
            if whole == 0 {
                break;
            }
        }
        Self { bytes, start, end: BYTES_MAX - usize::from(fraction % 10 == 0) }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> Option<String> {
        let decimal = Decimal::of(value)?;
        Some(String::from_utf8(decimal.as_bytes().to_vec()).unwrap())
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
            (999_999_999.99, "999999999.99"),
        ] {
            assert_eq!(text(value).as_deref(), Some(expected));
        }
        let others =
            [0.0, -0.0, -1.5, 0.001, 0.015, 1.234, 1e9, 1e300, f64::NAN, f64::INFINITY, 5e-324];
        assert!(others.into_iter().all(|value| text(value).is_none()));
        for amount in [0.01_f64, 0.1, 12.5, 19.99, 100.05, 999_999_999.99] {
            let beside = [amount.next_down(), amount.next_up()];
            assert!(beside.into_iter().all(|value| text(value).is_none()), "{amount}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_serde_json_writes(
            hundredths in 0_u64..200_000_000_000, off in -2_i64..=2, any in any::<f64>(),
        ) {
            let near = hundredths as f64 / 100.0;
            let beside = f64::from_bits(near.to_bits().saturating_add_signed(off));
            for value in [near, beside, any, near.trunc(), 1.0 / near] {
                if let Some(text) = text(value) {
                    prop_assert_eq!(text, serde_json::to_string(&value).unwrap());
                }
            }
            prop_assert_eq!(text(near).is_some(), (1..100_000_000_000).contains(&hundredths));
        }
    }
}
