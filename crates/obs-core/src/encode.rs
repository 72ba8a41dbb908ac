//! Turns any [`Serialize`] value into JSON text that every store takes: bounded, always valid.
//!
//! Whatever a value does, what comes out parses as JSON, and Postgres takes it as `json` and casts
//! it to `jsonb`. What had to be changed for that is counted in [`Sanitized`]:
//!
//! | found | becomes | counted as |
//! |---|---|---|
//! | NaN, an infinity; in raw JSON a number that no `f64` holds, or of absurd length | `null` | `non_finite` |
//! | U+0000 in a text or key | U+FFFD | `nul` |
//! | half of a surrogate pair (only raw JSON can hold one) | U+FFFD | `surrogate` |
//! | a text or key above [`EncodeLimits::string_bytes_max`] | its beginning | `size` |
//! | an array or object below [`EncodeLimits::depth_max`] others | `{"$truncated":{"depth":64}}` | `depth` |
//! | a whole above [`EncodeLimits::bytes_max`] | `{"$truncated":{"bytes":N,"kept":K},"$head":"…"}` | `size` |
//! | a value whose `Serialize` fails, panics or breaks serde's protocol | `{"$unencodable":{"reason":"serialize"}}` | `encode` |
//!
//! What must not be stored at all becomes `"[redacted]"` on the way, and is counted as `redacted`; see
//! `redact.rs`.
//!
//! `$head` holds the first K bytes of the JSON text that would have been N bytes long. A value may
//! use such keys itself, so the flag in [`Encoded`] is what counts, not the look of the text.
//! Everything else is, byte for byte, what `serde_json` writes.

mod clean;
mod container;
mod decimal;
mod encoder;
mod guard;
mod limit;
mod raw;
#[cfg(test)]
mod tests;
mod text;

use std::{
    any::Any,
    borrow::Cow,
    ops::AddAssign,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::Serialize;

use crate::{
    capture::Shapes,
    redact::{Glance, Place, Rules},
    short::Short,
};

use encoder::Encoder;
use limit::Bounded;
use text::Text;

/// The deepest nesting that [`EncodeLimits::depth_max`] can ask for: `serde_json` reads no more
/// than 127 levels back, and a marker and the trace around a value need a few of them.
pub(crate) const DEPTH_CEILING: usize = 120;

/// The smallest value that [`EncodeLimits::bytes_max`] can ask for: every marker fits into it.
pub(crate) const BYTES_FLOOR: usize = 96;

/// How large an encoded value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncodeLimits {
    /// The longest JSON text, in bytes; at least [`BYTES_FLOOR`].
    pub(crate) bytes_max: usize,
    /// The longest text or key inside, in bytes of UTF-8, not counting escapes.
    pub(crate) string_bytes_max: usize,
    /// How many arrays and objects may lie inside each other; at most [`DEPTH_CEILING`]. A marker
    /// in the place of a deeper one adds two levels of its own.
    pub(crate) depth_max: usize,
    /// How much of a value is looked at to learn its size, in bytes of JSON, before the walk is given
    /// up. Without it a value that never ends would never return.
    pub(crate) walk_bytes_max: u64,
}

/// What had to be changed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sanitized {
    /// Numbers that became `null`.
    pub(crate) non_finite: u64,
    /// NUL characters that were replaced.
    pub(crate) nul: u64,
    /// Halves of surrogate pairs that were replaced.
    pub(crate) surrogate: u64,
    /// Texts, keys and whole values that were cut.
    pub(crate) size: u64,
    /// Arrays and objects that were too deep.
    pub(crate) depth: u64,
    /// Values that could not be encoded at all.
    pub(crate) encode: u64,
    /// Starts of runs that happened elsewhere, at a time that cannot be.
    pub(crate) clock: u64,
    /// Values and parts of texts that must not be stored.
    pub(crate) redacted: u64,
    /// Times that the hook of the redaction panicked; in the figures, rows without payload for that.
    pub(crate) redactor: u64,
    /// Rows of an error storm that were left without input and trace.
    pub(crate) slim: u64,
}

impl Sanitized {
    /// Every count with the word that metrics use for it.
    pub(crate) const fn reasons(&self) -> [(&'static str, u64); 10] {
        [
            ("non_finite", self.non_finite),
            ("nul", self.nul),
            ("surrogate", self.surrogate),
            ("size", self.size),
            ("depth", self.depth),
            ("encode", self.encode),
            ("clock", self.clock),
            ("redacted", self.redacted),
            ("redactor", self.redactor),
            ("slim", self.slim),
        ]
    }
}

impl AddAssign for Sanitized {
    fn add_assign(&mut self, other: Self) {
        self.non_finite += other.non_finite;
        self.nul += other.nul;
        self.surrogate += other.surrogate;
        self.size += other.size;
        self.depth += other.depth;
        self.encode += other.encode;
        self.clock += other.clock;
        self.redacted += other.redacted;
        self.redactor += other.redactor;
        self.slim += other.slim;
    }
}

/// The rules for what must not be stored, and which part of a row they are asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redact<'r> {
    pub(crate) rules: &'r Rules,
    pub(crate) place: Place,
    /// Types, lengths and hashes stand in the place of values.
    pub(crate) shapes: Option<&'r Shapes>,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The size of the whole encoding, also where less was stored. It is a lower bound where the
    /// walk had to end early: past [`EncodeLimits::walk_bytes_max`], below `depth_max`, in a text that a
    /// `Display` writes, or in a value that cannot be encoded. What a string limit cuts off counts
    /// without the escapes it would have needed.
    pub(crate) bytes_total: u64,
    /// Whether the stored text holds less than the value, for whichever reason.
    pub(crate) truncated: bool,
}

/// Appends `value` to `out` as one JSON value.
///
/// It neither fails nor panics: a `Serialize` that panics is caught, also while another panic
/// unwinds (the panic hook still reports it; with `panic = "abort"` nothing can be caught). `out`
/// grows by `limits.bytes_max` at most and keeps what it held before.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    value: &T,
    limits: &EncodeLimits,
    out: &mut Vec<u8>,
    changed: &mut Sanitized,
) -> Encoded {
    walk(value, &mut Encoder::new(out, limits), changed)
}

/// The same without what must not be stored.
pub(crate) fn encode_redacted<T: Serialize + ?Sized>(
    value: &T,
    (limits, redact): (&EncodeLimits, Redact<'_>),
    out: &mut Vec<u8>,
    changed: &mut Sanitized,
) -> Encoded {
    walk(value, &mut Encoder::guarded(out, limits, redact), changed)
}

/// The same over what `out` held: so many of its bytes are the text. Behind them lies what was written there before,
/// so that nothing need be filled before it is written to.
pub(crate) fn encode_over<T: Serialize + ?Sized>(
    value: &T,
    (limits, redact): (&EncodeLimits, Redact<'_>),
    out: &mut Vec<u8>,
    changed: &mut Sanitized,
) -> (Encoded, usize) {
    let mut encoder = Encoder::over(out, limits, redact);
    let encoded = walk(value, &mut encoder, changed);
    (encoded, encoder.sink.stored())
}

fn walk<T: Serialize + ?Sized>(
    value: &T,
    encoder: &mut Encoder<'_>,
    changed: &mut Sanitized,
) -> Encoded {
    // After a panic only the bytes and counts are looked at, and `finish` replaces them.
    let walk = catch_unwind(AssertUnwindSafe(|| value.serialize(encoder.serializer()).is_ok()));
    let returned_ok = walk.unwrap_or_else(|payload| {
        discard(payload);
        false
    });
    encoder.finish(returned_ok, changed)
}

/// The JSON text of a trace without what must not be stored. It may get longer.
pub(crate) fn redact_trace(json: &str, rules: &Rules, changed: &mut Sanitized) -> String {
    let limits = EncodeLimits {
        bytes_max: usize::MAX,
        string_bytes_max: usize::MAX,
        depth_max: DEPTH_CEILING,
        walk_bytes_max: u64::MAX,
    };
    let mut out = Vec::with_capacity(json.len());
    let redact = Redact { rules, place: Place::Trace, shapes: None };
    let mut encoder = Encoder::guarded(&mut out, &limits, redact);
    // It has no limit that could stop it.
    let done = raw::rewrite(&mut encoder, json).is_ok();
    debug_assert!(done, "nothing stops a rewrite without limits");
    *changed += encoder.changed;
    drop(encoder);
    String::from_utf8(out).unwrap_or_default()
}

/// Text that a text column takes: without NUL, at most `bytes_max` bytes, whole characters.
#[inline]
pub(crate) fn clean_text<'t>(
    text: &'t str,
    bytes_max: usize,
    changed: &mut Sanitized,
) -> Cow<'t, str> {
    let is_clean =
        text.len() <= bytes_max && Short::of(text.as_bytes()).is_some_and(|short| !short.has_nul());
    if is_clean { Cow::Borrowed(text) } else { long_clean_text(text, bytes_max, changed) }
}

fn long_clean_text<'t>(text: &'t str, bytes_max: usize, changed: &mut Sanitized) -> Cow<'t, str> {
    let head = &text[..text.floor_char_boundary(bytes_max)];
    if !head.contains('\0') {
        changed.size += u64::from(head.len() < text.len());
        return Cow::Borrowed(head);
    }
    let mut clean = String::with_capacity((head.len() + text::REPLACEMENT.len()).min(bytes_max));
    let mut left = bytes_max;
    let cut = text::pieces(text, &mut left, &mut changed.nul, |piece| clean.push_str(piece));
    changed.size += u64::from(cut > 0);
    Cow::Owned(clean)
}

/// Appends `text` to `out` as one JSON string, cleaned as by [`clean_text`]. Escapes come on top of
/// `bytes_max`: `out` grows by six times as much at most, and the quotes.
pub(crate) fn write_json_str(
    out: &mut Vec<u8>,
    text: &str,
    bytes_max: usize,
    changed: &mut Sanitized,
) {
    if text.len() <= bytes_max && Glance::at(text).is_plain() {
        // Nearly every word of a trace is short and plain.
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let mut sink = Bounded::new(out, bytes_max.saturating_mul(6).saturating_add(2), u64::MAX);
    let mut string = Text::begin(&mut sink, changed, bytes_max);
    string.push(text);
    string.end();
}

/// Drops what a panic left behind. Dropping it runs code of whoever panicked, which may panic once
/// more; what that leaves is leaked, because there is no end to this otherwise.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        Box::leak(another);
    }
}
