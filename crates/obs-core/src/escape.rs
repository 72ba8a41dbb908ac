//! Text of others in lines of ours: a line stays one line and says what it seems to say (CWE-117).

use std::fmt::{self, Write as _};

/// How much of a text a line shows, in characters.
const SHOWN_CHARS_MAX: usize = 1_024;

/// A text that somebody else wrote, for a log line or a terminal.
///
/// Control characters, and with them line breaks and colours, are written as escapes, and so are the
/// marks that change the direction of text or cannot be seen. After 1,024 characters it ends in `…`.
///
/// ```
/// use obs_core::Escaped;
///
/// let said_by_a_server = "no such user\n2026-11-21 INFO all is well\u{202E}";
/// assert_eq!(
///     Escaped(said_by_a_server).to_string(),
///     r"no such user\n2026-11-21 INFO all is well\u{202e}"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped<'a>(
    /// The text as it came.
    pub &'a str,
);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shown, character) in self.0.chars().enumerate() {
            if shown == SHOWN_CHARS_MAX {
                return f.write_char('…');
            }
            match character {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                hidden if is_hidden(hidden) => write!(f, "{}", hidden.escape_unicode())?,
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// Controls, separators of lines, marks of direction, and characters without width.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}'
                | '\u{61C}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_forge_a_line_is_escaped_and_the_rest_is_left() {
        for (raw, shown) in [
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\u{1b}[31mred\u{1b}[0m", r"\u{1b}[31mred\u{1b}[0m"),
            ("\u{9b}31m\u{85}", r"\u{9b}31m\u{85}"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            ("\u{202E}txt.exe\u{2066}", r"\u{202e}txt.exe\u{2066}"),
            ("zero\u{200B}width\u{FEFF}", r"zero\u{200b}width\u{feff}"),
            ("größe 日本 \"C:\\x\" 🌋", "größe 日本 \"C:\\x\" 🌋"),
            ("", ""),
        ] {
            assert_eq!(Escaped(raw).to_string(), shown, "{raw:?}");
        }
    }

    #[test]
    fn a_line_has_an_end() {
        let long = "x".repeat(SHOWN_CHARS_MAX);
        assert_eq!(Escaped(&long).to_string(), long);
        assert_eq!(Escaped(&format!("{long}y")).to_string(), format!("{long}…"));
    }

    proptest! {
        #[test]
        fn no_text_leaves_anything_hidden(text: String) {
            let shown = Escaped(&text).to_string();
            prop_assert!(!shown.chars().any(is_hidden), "{:?}", shown);
        }
    }
}
