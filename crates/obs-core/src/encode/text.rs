//! JSON strings: no NUL, no more than a limit, escaped as `serde_json` escapes them.

use std::fmt;

use super::{Sanitized, limit::Bounded};

/// What stands in the place of a character that cannot be stored.
pub(super) const REPLACEMENT: &str = "\u{FFFD}";

/// One JSON string on its way out. It can be written in pieces.
pub(super) struct Text<'a, 'o> {
    sink: &'a mut Bounded<'o>,
    changed: &'a mut Sanitized,
    /// Bytes that the limit still allows; 0 after the cut, so that nothing follows it.
    left: usize,
    cut: bool,
}

impl<'a, 'o> Text<'a, 'o> {
    pub(super) fn begin(
        sink: &'a mut Bounded<'o>,
        changed: &'a mut Sanitized,
        bytes_max: usize,
    ) -> Self {
        sink.put_byte(b'"');
        Self { sink, changed, left: bytes_max, cut: false }
    }

    pub(super) fn push(&mut self, text: &str) {
        let Self { sink, changed, left, cut } = self;
        let omitted = pieces(text, left, &mut changed.nul, |piece| escape(sink, piece));
        sink.omit(omitted);
        if omitted > 0 && !*cut {
            changed.size += 1;
            *cut = true;
        }
    }

    /// Writes U+FFFD for half of a surrogate pair.
    pub(super) fn push_lone_surrogate(&mut self) {
        self.push(REPLACEMENT);
        self.changed.surrogate += u64::from(!self.cut);
    }

    /// Whether the limit was reached.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn end(self) {
        self.sink.put_byte(b'"');
    }
}

/// For values that are a `Display`: those stop as soon as nothing more is stored.
impl fmt::Write for Text<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Hands on `text` with U+FFFD for NUL, in whole characters, as far as `left` bytes go, and returns
/// how many bytes of it were left out. What is left out is not looked at.
pub(super) fn pieces<'t>(
    text: &'t str,
    left: &mut usize,
    nul: &mut u64,
    mut emit: impl FnMut(&'t str),
) -> usize {
    let mut rest = text;
    loop {
        let window = &rest[..rest.floor_char_boundary(*left)];
        let Some(at) = window.find('\0') else {
            emit(window);
            let omitted = rest.len() - window.len();
            *left = if omitted > 0 { 0 } else { *left - window.len() };
            return omitted;
        };
        emit(&window[..at]);
        if *left - at < REPLACEMENT.len() {
            *left = 0;
            return rest.len() - at;
        }
        emit(REPLACEMENT);
        *nul += 1;
        *left -= at + REPLACEMENT.len();
        rest = &rest[at + 1..];
    }
}

#[expect(clippy::indexing_slicing, reason = "a byte was found there, and half of one is below 16")]
fn escape(sink: &mut Bounded<'_>, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, 0..=0x1F | b'"' | b'\\')) {
        sink.put(&rest.as_bytes()[..at]);
        let byte = rest.as_bytes()[at];
        match byte {
            b'"' | b'\\' => sink.put(&[b'\\', byte]),
            0x08 => sink.put(b"\\b"),
            b'\t' => sink.put(b"\\t"),
            b'\n' => sink.put(b"\\n"),
            0x0C => sink.put(b"\\f"),
            b'\r' => sink.put(b"\\r"),
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                sink.put(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xF)]);
            }
        }
        rest = &rest[at + 1..];
    }
    sink.put(rest.as_bytes());
}
