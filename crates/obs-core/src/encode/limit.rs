//! A writer that stores as much as a limit allows and only counts what comes after.

use std::io::{self, Write as _};

use crate::text_hash::padded;

/// The longest text before `$head`, with two numbers of 20 digits.
const FRAME_BYTES_MAX: usize = 96;

/// What closes the marker after `$head`.
const FRAME_END: &[u8] = b"\"}";

/// So many bytes are written by one store where there is room, and what was too many is taken back.
const AT_ONCE: usize = size_of::<u128>();

/// Appends to a buffer, which grows by `limit` at most.
pub(super) struct Bounded<'o> {
    out: &'o mut Vec<u8>,
    /// Where this value begins; what lies before is not ours.
    start: usize,
    limit: usize,
    /// How much of the value is looked at, in bytes of JSON, before the walk is given up.
    walk_max: u64,
    /// Bytes that were written, stored or not.
    written: u64,
    /// Bytes that a string limit left out.
    omitted: u64,
    /// Work that left no bytes, e.g. elements of an array that is too deep.
    idle: u64,
}

/// A place in the text.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    len: usize,
    written: u64,
}

impl<'o> Bounded<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, limit: usize, walk_max: u64) -> Self {
        Self { start: out.len(), out, limit, walk_max, written: 0, omitted: 0, idle: 0 }
    }

    /// Writes bytes; whole characters only, because a cut looks for a boundary.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.room() >= AT_ONCE
            && let Some(short) = padded(bytes)
        {
            return self.put_at_once(short, bytes.len());
        }
        self.written += bytes.len() as u64;
        let stored = &bytes[..bytes.len().min(self.room())];
        self.reserve(stored.len());
        self.out.extend_from_slice(stored);
    }

    /// Writes one character of ASCII.
    #[inline]
    pub(super) fn put_byte(&mut self, byte: u8) {
        self.written += 1;
        if self.room() > 0 {
            self.reserve(1);
            self.out.push(byte);
        }
    }

    /// Writes a string that needs no escape, and the colon behind a name; `false`, and nothing, where it is
    /// not sure that there is room for all of it, and that the walk goes on behind it.
    #[inline]
    pub(super) fn put_quoted(&mut self, plain: &[u8], is_name: bool) -> bool {
        const QUOTES: usize = 2;
        let len = plain.len() + QUOTES + usize::from(is_name);
        let ends = self.room() < len.max(AT_ONCE) || self.walk_left() < len as u64;
        if ends || self.overflowed() {
            return false;
        }
        if len <= AT_ONCE
            && let Some(text) = padded(plain)
        {
            let end = u128::from(u16::from_le_bytes(*b"\":")) << (8 * (plain.len() + 1));
            // A text keeps the quote of that.
            self.put_at_once(u128::from(b'"') | text << 8 | end, len);
            return true;
        }
        self.written += len as u64;
        self.reserve(len);
        self.out.push(b'"');
        self.out.extend_from_slice(plain);
        self.out.extend_from_slice(if is_name { b"\":" } else { b"\"" });
        true
    }

    /// Writes the lowest bytes of a number, without a call. There is room for all of it.
    #[inline]
    fn put_at_once(&mut self, bytes: u128, len: usize) {
        self.written += len as u64;
        self.reserve(AT_ONCE);
        let end = self.out.len() + len;
        self.out.extend_from_slice(&bytes.to_le_bytes());
        self.out.truncate(end);
    }

    #[inline]
    fn room(&self) -> usize {
        self.limit - (self.out.len() - self.start)
    }

    /// Where the text is now.
    pub(super) fn mark(&self) -> Mark {
        Mark { len: self.out.len(), written: self.written }
    }

    /// What was stored since then.
    pub(super) fn since(&self, mark: Mark) -> &[u8] {
        self.out.get(mark.len..).unwrap_or_default()
    }

    /// Takes back what was written since then, all of which was stored.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.len);
        self.written = mark.written;
    }

    /// Counts bytes that a string limit left out.
    pub(super) fn omit(&mut self, bytes: usize) {
        self.omitted += bytes as u64;
    }

    /// Counts work that left no bytes.
    pub(super) fn spend(&mut self, work: usize) {
        self.idle += work as u64;
    }

    /// Bytes that were written so far, stored or not.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The size of the encoding as if there were no limits, as far as it is known.
    pub(super) fn total(&self) -> u64 {
        self.written + self.omitted
    }

    /// How much more of the value may be looked at.
    #[inline]
    pub(super) fn walk_left(&self) -> u64 {
        self.walk_max.saturating_sub(self.written + self.idle)
    }

    /// Whether the value must not be looked at any further.
    pub(super) fn is_exhausted(&self) -> bool {
        self.written + self.idle > self.walk_max
    }

    /// Whether something was not stored.
    pub(super) fn overflowed(&self) -> bool {
        self.written > self.limit as u64
    }

    /// Throws away what was stored and stores `marker`, which must fit, instead.
    pub(super) fn replace(&mut self, marker: &[u8]) {
        self.out.truncate(self.start);
        self.reserve(marker.len());
        self.out.extend_from_slice(marker);
    }

    /// Wraps what was stored into the marker for a value that is too large, inside the limit and
    /// without another buffer.
    pub(super) fn wrap_head(&mut self) {
        let stored = &self.out[self.start..];
        // `kept` is not known yet; it has as many digits as this or fewer.
        let frame_len = frame(self.total(), stored.len()).1;
        let room = self.limit.saturating_sub(frame_len + FRAME_END.len());
        let (kept, quoted_len) = fitting(stored, room);
        let (frame, frame_len) = frame(self.total(), kept);
        let len = frame_len + quoted_len + FRAME_END.len();

        self.out.truncate(self.start + kept);
        self.reserve(len - kept);
        self.out.resize(self.start + len, 0);
        let text = &mut self.out[self.start..];
        let mut to = frame_len + quoted_len;
        text[to..].copy_from_slice(FRAME_END);
        // From the back, because a byte never moves towards the front.
        for from in (0..kept).rev() {
            let byte = text[from];
            to -= 1;
            text[to] = byte;
            if needs_escape(byte) {
                to -= 1;
                text[to] = b'\\';
            }
        }
        text[..frame_len].copy_from_slice(&frame[..frame_len]);
    }

    #[inline]
    fn reserve(&mut self, more: usize) {
        if self.out.capacity() - self.out.len() < more {
            self.grow(more);
        }
    }

    /// Makes room by doubling, but never beyond the limit.
    #[cold]
    fn grow(&mut self, more: usize) {
        let len = self.out.len();
        let ceiling = self.start.saturating_add(self.limit);
        let capacity = (2 * self.out.capacity()).max(64).min(ceiling).max(len + more);
        self.out.reserve_exact(capacity - len);
    }
}

/// The formatter of `serde_json` writes numbers through this.
impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The marker up to the text of `$head`, and its length.
fn frame(total: u64, kept: usize) -> ([u8; FRAME_BYTES_MAX], usize) {
    let mut buffer = [0; FRAME_BYTES_MAX];
    let mut rest = &mut buffer[..];
    let fits = write!(rest, r#"{{"$truncated":{{"bytes":{total},"kept":{kept}}},"$head":""#);
    debug_assert!(fits.is_ok(), "20 digits each fit");
    let len = FRAME_BYTES_MAX - rest.len();
    (buffer, len)
}

/// How much of `json` fits into `room` as the content of a JSON string, in whole characters, and
/// how long it is then.
fn fitting(json: &[u8], room: usize) -> (usize, usize) {
    let mut quoted_len = 0;
    let fits = json.iter().take_while(|byte| {
        quoted_len += 1 + usize::from(needs_escape(**byte));
        quoted_len <= room
    });
    let fits = &json[..fits.count()];
    let kept = match str::from_utf8(fits) {
        Ok(_) => fits.len(),
        Err(cut) => cut.valid_up_to(),
    };
    let escapes = fits[..kept].iter().filter(|byte| needs_escape(**byte)).count();
    (kept, kept + escapes)
}

/// JSON text that we wrote contains no control characters, so these two are all.
fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\')
}
