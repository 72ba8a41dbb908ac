//! Values as people read them.

use std::fmt::{self, Write};

use obs_core::Timestamp;

/// The most characters of a text in a list.
const SHORT_CHARS_MAX: usize = 200;

/// A text that somebody else wrote, on one line, as it can do no harm: what would move the cursor, end
/// the line or turn its direction is escaped.
pub(crate) struct Shown<'a> {
    text: &'a str,
    chars_max: usize,
}

impl<'a> Shown<'a> {
    /// Its beginning.
    pub(crate) const fn short(text: &'a str) -> Self {
        Self { text, chars_max: SHORT_CHARS_MAX }
    }

    pub(crate) const fn whole(text: &'a str) -> Self {
        Self { text, chars_max: usize::MAX }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, char) in self.text.chars().enumerate() {
            if at == self.chars_max {
                return f.write_char('…');
            }
            if char.is_control() || is_invisible(char) {
                write!(f, "{}", char.escape_unicode())?;
            } else {
                f.write_char(char)?;
            }
        }
        Ok(())
    }
}

/// Separators of lines, marks of direction, and what takes no room.
const fn is_invisible(char: char) -> bool {
    matches!(char,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// `2026-11-21T12:30:00Z`.
pub(crate) struct Time(pub(crate) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_rfc3339_millis();
        let seconds = text.split_once('.').map_or(&*text, |(seconds, _)| seconds);
        write!(f, "{seconds}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_forge_a_line_is_escaped() {
        let text = "a\nb\x1b[31mc\u{202e}d\u{2028}e\u{85}é\0";
        assert_eq!(
            Shown::whole(text).to_string(),
            r"a\u{a}b\u{1b}[31mc\u{202e}d\u{2028}e\u{85}é\u{0}"
        );
        assert_eq!(Shown::short(&"x".repeat(300)).to_string().chars().count(), SHORT_CHARS_MAX + 1);
    }

    #[test]
    fn times_are_gregorian() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_868_799_000_000, "2000-02-29T23:59:59Z"),
            (1_795_264_200_000_000, "2026-11-21T12:30:00Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00Z"),
        ];
        for (micros, text) in table {
            assert_eq!(Time(Timestamp::from_micros(micros)).to_string(), text);
        }
    }
}
