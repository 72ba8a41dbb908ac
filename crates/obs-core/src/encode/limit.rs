//! A writer that stores as much as a limit allows and only counts what comes after.

use std::io::{self, Write as _};

use crate::{
    short::{SHORT_MAX, Short},
    text_hash::copy_short,
};

/// The longest text before `$head`, with two numbers of 20 digits.
const FRAME_BYTES_MAX: usize = 96;

/// What closes the marker after `$head`.
const FRAME_END: &[u8] = b"\"}";

/// So many bytes are written without a call where there is room for them: a short text with its quotes, and the colon
/// behind a name.
const AT_ONCE: usize = SHORT_MAX + 8;

/// The longest text. Where it ends is known to be so near that nothing need be asked before it is added to.
const TEXT_BYTES_MAX: usize = u32::MAX as usize;

/// At least so many bytes are made writable at a time: filling them with zeros costs less than asking again.
const STEP: usize = 512;

/// Appends to a buffer, which grows by `limit` at most.
///
/// Ahead of the text lie bytes without a meaning, none of them beyond the limit or where the walk is given up: whether
/// there is room, and whether the walk goes on behind it, is whether they are there, one question for most of what is
/// written. They are taken away at the end.
pub(super) struct Bounded<'o> {
    /// Whose buffer it is, which gets it back: one step less to each byte.
    owner: &'o mut Vec<u8>,
    out: Vec<u8>,
    /// Where this value begins; what lies before is not ours.
    start: usize,
    /// Where the text ends.
    at: usize,
    /// What lies behind the text is left there at the end.
    keeps_rest: bool,
    limit: usize,
    /// How much of the value is looked at, in bytes of JSON, before the walk is given up.
    walk_max: u64,
    /// Bytes that were written and not stored.
    lost: u64,
    /// Bytes that a string limit left out.
    omitted: u64,
    /// Work that left no bytes, e.g. elements of an array that is too deep.
    idle: u64,
}

/// A place in the text.
#[derive(Clone, Copy)]
pub(super) struct Mark(usize);

impl<'o> Bounded<'o> {
    pub(super) fn new(owner: &'o mut Vec<u8>, limit: usize, walk_max: u64) -> Self {
        let (start, out) = (owner.len(), std::mem::take(owner));
        let limit = limit.min(TEXT_BYTES_MAX.saturating_sub(start));
        Self {
            owner,
            out,
            start,
            at: start,
            keeps_rest: false,
            limit,
            walk_max,
            lost: 0,
            omitted: 0,
            idle: 0,
        }
    }

    /// Begins where the buffer begins, over what it holds, which is left behind the text.
    pub(super) fn begin_anew(&mut self) {
        (self.start, self.at, self.keeps_rest) = (0, 0, true);
        self.out.truncate(self.limit);
        self.narrow();
    }

    /// How much is stored.
    pub(super) const fn stored(&self) -> usize {
        self.at - self.start
    }

    /// Writes bytes; whole characters only, because a cut looks for a boundary.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.ahead().is_some_and(|to| copy_short(bytes, to)) {
            self.at += bytes.len();
        } else {
            self.put_any(bytes);
        }
    }

    /// Writes one character of ASCII.
    #[inline]
    pub(super) fn put_byte(&mut self, byte: u8) {
        if !self.put_byte_at_once(byte) {
            self.put_any(&[byte]);
        }
    }

    /// The same; `false`, and nothing, where that takes a call, or the walk may not go on behind it.
    #[inline]
    pub(super) fn put_byte_at_once(&mut self, byte: u8) -> bool {
        let at = self.at;
        let Some(to) = self.out.get_mut(at) else { return false };
        *to = byte;
        self.at = at + 1;
        true
    }

    /// Writes the first bytes of a text of at most eight, the lowest first; `false` as above.
    #[inline]
    pub(super) fn put_first_at_once(&mut self, text: u64, len: usize) -> bool {
        let Some(to) = self.ahead() else { return false };
        *to = text.to_le_bytes();
        self.at += len;
        true
    }

    /// Writes a short string of so many bytes that needs no escape, and the colon behind a name; `false` as above.
    #[inline]
    pub(super) fn put_short_at_once(&mut self, plain: Short, len: usize, is_name: bool) -> bool {
        let Some(to) = self.ahead::<AT_ONCE>() else { return false };
        to[0] = b'"';
        to[1..9].copy_from_slice(&plain.low.to_le_bytes());
        to[9..17].copy_from_slice(&plain.high.to_le_bytes());
        // A text keeps the quote of that.
        let Some(end) = to.get_mut(len + 1..len + 3) else { return false };
        end.copy_from_slice(b"\":");
        self.at += len + QUOTES + usize::from(is_name);
        true
    }

    #[inline(never)]
    #[expect(clippy::indexing_slicing, reason = "no more is stored than there is")]
    fn put_any(&mut self, bytes: &[u8]) {
        let stored = bytes.len().min(self.room());
        let lost = bytes.len() - stored;
        self.put_stored(&bytes[..stored]);
        if lost > 0 {
            self.lost += lost as u64;
            self.narrow();
        }
    }

    /// Writes bytes that there is room for.
    #[expect(clippy::indexing_slicing, reason = "what is written to was made writable above")]
    fn put_stored(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if self.out.len() < end && !self.widen(bytes.len()) {
            return;
        }
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    /// Writes a string that needs no escape, and the colon behind a name; `false`, and nothing, where it is
    /// not sure that there is room for all of it, and that the walk goes on behind it.
    #[inline(never)]
    pub(super) fn put_quoted(&mut self, plain: &[u8], is_name: bool) -> bool {
        let len = plain.len() + QUOTES + usize::from(is_name);
        if self.overflowed()
            || self.walk_left() < len as u64
            || self.out.len() - self.at < len && !self.widen(len)
        {
            return false;
        }
        self.put_byte(b'"');
        self.put(plain);
        self.put(if is_name { b"\":" } else { b"\"" });
        true
    }

    /// The next bytes, where they are there.
    #[inline]
    fn ahead<const BYTES: usize>(&mut self) -> Option<&mut [u8; BYTES]> {
        let at = self.at & TEXT_BYTES_MAX;
        self.out.get_mut(at..at.wrapping_add(BYTES))?.first_chunk_mut()
    }

    /// Makes so many bytes writable behind the text, and some more, behind which the walk goes on; `false` where the
    /// limit has no room for them.
    #[cold]
    #[inline(never)]
    fn widen(&mut self, bytes: usize) -> bool {
        if self.room() < bytes {
            return false;
        }
        let ceiling = self.start.saturating_add(self.limit);
        let wanted = STEP.max(self.at - self.start);
        let end = self.at.saturating_add(wanted).min(self.walk_end()).min(ceiling);
        let end = end.max(self.at + bytes).max(self.out.len());
        if self.out.capacity() < end {
            let capacity = (2 * self.out.capacity()).min(ceiling).max(end);
            self.out.reserve_exact(capacity - self.out.len());
        }
        self.out.resize(end, 0);
        true
    }

    /// Where the walk is given up if nothing else happens.
    fn walk_end(&self) -> usize {
        let bytes_max = self.walk_max.saturating_sub(self.lost + self.idle);
        self.start.saturating_add(usize::try_from(bytes_max).unwrap_or(usize::MAX))
    }

    /// Takes away what lies ahead of the text and behind the end of the walk, which came nearer, or further from the
    /// text.
    fn narrow(&mut self) {
        self.out.truncate(self.walk_end().max(self.at));
    }

    #[inline]
    fn room(&self) -> usize {
        self.limit - (self.at - self.start)
    }

    /// Where the text is now.
    #[inline]
    pub(super) const fn mark(&self) -> Mark {
        Mark(self.at)
    }

    /// What was stored since then.
    #[inline]
    pub(super) fn since(&self, Mark(mark): Mark) -> &[u8] {
        self.out.get(mark..self.at).unwrap_or_default()
    }

    /// Takes back what was written since then, all of which was stored.
    pub(super) fn rewind(&mut self, Mark(mark): Mark) {
        self.at = self.at.min(mark);
        self.narrow();
    }

    /// Counts bytes that a string limit left out.
    pub(super) fn omit(&mut self, bytes: usize) {
        self.omitted += bytes as u64;
    }

    /// Counts work that left no bytes.
    pub(super) fn spend(&mut self, work: usize) {
        self.idle += work as u64;
        self.narrow();
    }

    /// Bytes that were written so far, stored or not.
    #[inline]
    pub(super) const fn written(&self) -> u64 {
        (self.at - self.start) as u64 + self.lost
    }

    /// The size of the encoding as if there were no limits, as far as it is known.
    pub(super) fn total(&self) -> u64 {
        self.written() + self.omitted
    }

    /// How much more of the value may be looked at.
    #[inline]
    pub(super) const fn walk_left(&self) -> u64 {
        self.walk_max.saturating_sub(self.written() + self.idle)
    }

    /// Whether the value must not be looked at any further.
    #[inline]
    pub(super) const fn is_exhausted(&self) -> bool {
        self.written() + self.idle > self.walk_max
    }

    /// Whether something was not stored.
    #[inline]
    pub(super) const fn overflowed(&self) -> bool {
        self.lost > 0
    }

    /// Throws away what was stored and stores `marker`, which must fit, instead.
    pub(super) fn replace(&mut self, marker: &[u8]) {
        self.at = self.start;
        self.put_stored(marker);
    }

    /// Wraps what was stored into the marker for a value that is too large, inside the limit and
    /// without another buffer.
    #[expect(
        clippy::indexing_slicing,
        reason = "what is ahead is writable, and has room for the whole marker"
    )]
    pub(super) fn wrap_head(&mut self) {
        let stored = &self.out[self.start..self.at];
        // `kept` is not known yet; it has as many digits as this or fewer.
        let frame_len = frame(self.total(), stored.len()).1;
        let room = self.limit.saturating_sub(frame_len + FRAME_END.len());
        let (kept, quoted_len) = fitting(stored, room);
        let (frame, frame_len) = frame(self.total(), kept);
        let len = frame_len + quoted_len + FRAME_END.len();

        self.at = self.start;
        if self.out.len() - self.start < len && !self.widen(len) {
            return;
        }
        self.at += len;
        let text = &mut self.out[self.start..self.at];
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
}

impl Drop for Bounded<'_> {
    fn drop(&mut self) {
        if !self.keeps_rest {
            self.out.truncate(self.at);
        }
        *self.owner = std::mem::take(&mut self.out);
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

/// How many quotes a string has.
const QUOTES: usize = 2;

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
#[expect(clippy::indexing_slicing, reason = "so many of its bytes were counted")]
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
