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
