//! What a first glance at a text tells: one pass over its bytes, which nearly every text ends with.

/// Something that JSON text has an escape for, or that is not stored.
const ESCAPED: u8 = 1;
/// Something that no secret of fewer than [`LONG`] bytes is without.
const SIGN: u8 = 2;
/// Something that a longer secret may have instead.
const SIGN_OF_LONG: u8 = 4;

/// How long the shortest secret is that has no byte of class [`SIGN`]: the first line of a PEM block.
const LONG: usize = 11;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0..=0x1F | b'"' | b'\\' => ESCAPED,
            // Addresses, URLs, assignments, headers, the `J` of a JWT.
            b'@' | b'/' | b'=' | b':' | b'J' => SIGN,
            // PEM blocks, tokens, keys, card numbers.
            b'-' | b'_' | b'K' | b'S' | b'z' | b'.' | b'0'..=b'9' => SIGN_OF_LONG,
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
        let seen = text.bytes().fold(0, |seen, byte| seen | CLASSES[usize::from(byte)]);
        Self(if text.len() < LONG { seen & !SIGN_OF_LONG } else { seen })
    }

    /// Whether it stands in JSON as it is.
    #[inline]
    pub(crate) const fn is_plain(self) -> bool {
        self.0 & ESCAPED == 0
    }

    /// Whether it has to be searched for secrets.
    #[inline]
    pub(super) const fn has_signs(self) -> bool {
        self.0 & (SIGN | SIGN_OF_LONG) != 0
    }
}

#[cfg(test)]
mod tests {
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
