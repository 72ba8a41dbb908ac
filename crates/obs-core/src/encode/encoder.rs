//! The state of one walk through a value, and how the walk ends.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    io::Write as _,
};

use serde::{Serialize, ser};

use crate::{
    redact::{Glance, REDACTED, Tag, knows, knows_word},
    short::{SHORT_MAX, Short, WORD_BYTES},
};

use super::{
    BYTES_FLOOR, DEPTH_CEILING, EncodeLimits, Encoded, Redact, Sanitized,
    clean::{Clean, Place},
    guard::Guard,
    limit::{Bounded, Mark},
    text::Text,
};

/// What a value becomes that cannot be encoded. The error's own text is not shown: it may hold
/// anything.
const UNENCODABLE: &[u8] = br#"{"$unencodable":{"reason":"serialize"}}"#;

/// The state of one walk through a value.
pub(super) struct Encoder<'o> {
    pub(super) sink: Bounded<'o>,
    pub(super) changed: Sanitized,
    /// What must not be stored, where that is asked.
    pub(super) guard: Option<Guard<'o>>,
    /// The next string is the beginning of a value that was too large.
    pub(super) is_in_head: bool,
    /// This is such a beginning itself.
    pub(super) is_in_piece: bool,
    /// The name that was written last needs no second look.
    name_passed: bool,
    /// Each text and number is looked at for itself, and so some are written at once.
    pub(super) is_simple: bool,
    /// Short texts are, too: the limit cuts none.
    has_short_texts: bool,
    /// Under which names are known that are written at once.
    names: Tag,
    pub(super) string_bytes_max: usize,
    depth_max: usize,
    /// Arrays and objects that are open.
    depth: usize,
    /// `Some` and newtype structs that are open.
    pub(super) wrappers: usize,
    /// Values and containers that were begun and not finished. A `Serialize` may swallow the error
    /// or the panic of a part and go on; the text is valid only if this is 0 at the end.
    pub(super) unfinished: usize,
}

impl<'o> Encoder<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>, limits: &EncodeLimits) -> Self {
        Self {
            sink: Bounded::new(out, limits.bytes_max.max(BYTES_FLOOR), limits.walk_bytes_max),
            changed: Sanitized::default(),
            guard: None,
            is_in_head: false,
            is_in_piece: false,
            name_passed: false,
            is_simple: true,
            has_short_texts: limits.string_bytes_max >= SHORT_MAX,
            names: Tag::NOBODY,
            string_bytes_max: limits.string_bytes_max,
            depth_max: limits.depth_max.min(DEPTH_CEILING),
            depth: 0,
            wrappers: 0,
            unfinished: 0,
        }
    }

    pub(super) fn guarded(out: &'o mut Vec<u8>, limits: &EncodeLimits, redact: Redact<'o>) -> Self {
        let mut encoder = Self::new(out, limits);
        encoder.ask(Guard::new(redact));
        encoder
    }

    /// As [`guarded`](Self::guarded), over what `out` held, which is left behind the text.
    pub(super) fn over(out: &'o mut Vec<u8>, limits: &EncodeLimits, redact: Redact<'o>) -> Self {
        let mut encoder = Self::guarded(out, limits, redact);
        encoder.sink.begin_anew();
        encoder
    }

    /// Asks from here on.
    pub(super) fn ask(&mut self, guard: Guard<'o>) {
        self.is_simple = guard.is_simple;
        self.has_short_texts &= guard.is_simple;
        self.names = if self.has_short_texts { guard.tag() } else { Tag::NOBODY };
        self.guard = Some(guard);
    }

    /// Looks at everything, as if that could not be left out.
    #[cfg(test)]
    pub(super) fn look_at_everything(&mut self) {
        (self.is_simple, self.has_short_texts, self.names) = (false, false, Tag::NOBODY);
        if let Some(guard) = &mut self.guard {
            guard.is_simple = false;
        }
    }

    pub(super) fn serializer(&mut self) -> Clean<'_, 'o> {
        Clean::new(self, Place::Value)
    }

    /// Settles what the buffer holds after the walk.
    pub(super) fn finish(&mut self, returned_ok: bool, changed: &mut Sanitized) -> Encoded {
        let bytes_total = self.sink.total();
        // A walk that was given up looks like a failure, but its beginning is good.
        let given_up = self.sink.is_exhausted();
        let complete = returned_ok && self.unfinished == 0;
        if !complete && !given_up {
            self.sink.replace(UNENCODABLE);
            changed.encode += 1;
            changed.redactor += self.changed.redactor;
            return Encoded { bytes_total, truncated: true };
        }
        if self.sink.overflowed() || given_up {
            self.sink.wrap_head();
            self.changed.size += 1;
        }
        *changed += self.changed;
        Encoded { bytes_total, truncated: self.changed.size + self.changed.depth > 0 }
    }

    /// Begins an array or object, or writes a marker in its place and returns false.
    #[inline]
    pub(super) fn open(&mut self, bracket: u8) -> bool {
        let fits = self.depth < self.depth_max;
        if fits {
            self.depth += 1;
            self.sink.put_byte(bracket);
        } else {
            self.mark_too_deep();
        }
        fits
    }

    /// Ends as many arrays and objects as there are brackets.
    #[inline(never)]
    pub(super) fn close(&mut self, brackets: &[u8]) -> Result<(), Stop> {
        self.depth = self.depth.saturating_sub(brackets.len());
        brackets.iter().for_each(|bracket| self.sink.put_byte(*bracket));
        // Simple rules take no note of what stands where.
        if let Some(guard) = self.guard.as_mut().filter(|guard| !guard.is_simple) {
            guard.closed(self.depth);
        }
        self.check()
    }

    /// Ends one array or object; `false`, and nothing happens, where that takes a call, or the walk may not go on.
    #[inline]
    pub(super) fn close_at_once(&mut self, bracket: u8) -> bool {
        let closes = self.is_simple && self.sink.put_byte_at_once(bracket);
        self.depth = self.depth.saturating_sub(usize::from(closes));
        closes
    }

    /// Begins a string.
    pub(super) fn text(&mut self) -> Text<'_, 'o> {
        Text::begin(&mut self.sink, &mut self.changed, self.string_bytes_max)
    }

    /// Counts work that leaves no bytes.
    pub(super) fn spend(&mut self, work: usize) -> Result<(), Stop> {
        self.sink.spend(work);
        self.check()
    }

    /// Whether the walk may go on.
    #[inline]
    pub(super) fn check(&self) -> Result<(), Stop> {
        if self.sink.is_exhausted() { Err(Stop) } else { Ok(()) }
    }

    /// Writes a whole string, or what may be stored of it.
    #[inline]
    pub(super) fn string(&mut self, value: &str, place: Place) -> Result<(), Stop> {
        if place == Place::Key { self.name(value) } else { self.value(value) }
    }

    /// A name; apart from values, because nearly each is known, and then nothing is called and no register saved.
    fn name(&mut self, name: &str) -> Result<(), Stop> {
        if name.len() <= WORD_BYTES
            && let Some(short) = Short::of(name.as_bytes())
            && knows_word(self.names, short.low, name.len())
            && self.sink.put_short_at_once(short, name.len(), true)
        {
            self.name_passed = true;
            return Ok(());
        }
        self.longer_name(name)
    }

    #[inline(never)]
    fn longer_name(&mut self, name: &str) -> Result<(), Stop> {
        if name.len() > WORD_BYTES
            && let Some(short) = Short::of(name.as_bytes())
            && knows(self.names, short, name.len())
            && self.sink.put_short_at_once(short, name.len(), true)
        {
            self.name_passed = true;
            return Ok(());
        }
        self.new_name(name)
    }

    #[inline(never)]
    fn new_name(&mut self, name: &str) -> Result<(), Stop> {
        let passes = name.len() <= self.string_bytes_max
            && match &self.guard {
                Some(guard) => guard.passes_name(name),
                None => Glance::at(name).is_plain(),
            };
        if passes && self.sink.put_quoted(name.as_bytes(), true) {
            self.name_passed = true;
            return Ok(());
        }
        self.looked_at_string(name, Place::Key)
    }

    /// A text; one of at most eight bytes is looked at and written in one register.
    fn value(&mut self, value: &str) -> Result<(), Stop> {
        if value.len() <= WORD_BYTES
            && self.has_short_texts
            && let Some(short) = Short::of(value.as_bytes())
            && Glance::sees_nothing_in_word(short)
            && self.sink.put_short_at_once(short, value.len(), false)
        {
            return Ok(());
        }
        self.short_value(value)
    }

    #[inline(never)]
    fn short_value(&mut self, value: &str) -> Result<(), Stop> {
        if self.has_short_texts
            && let Some(short) = Short::of(value.as_bytes())
            && Glance::sees_nothing(short, value.len())
            && self.sink.put_short_at_once(short, value.len(), false)
        {
            return Ok(());
        }
        self.long_value(value)
    }

    #[inline(never)]
    fn long_value(&mut self, value: &str) -> Result<(), Stop> {
        if value.len() <= self.string_bytes_max
            && self.passes(value)
            && self.sink.put_quoted(value.as_bytes(), false)
        {
            return Ok(());
        }
        self.looked_at_string(value, Place::Value)
    }

    /// Whether a text may be written as it is, without a second look.
    #[inline]
    fn passes(&self, value: &str) -> bool {
        let glance = Glance::at(value);
        glance.is_plain() && self.guard.as_ref().is_none_or(|guard| guard.passes(value, glance))
    }

    #[cold]
    #[inline(never)]
    fn looked_at_string(&mut self, value: &str, place: Place) -> Result<(), Stop> {
        self.name_passed = false;
        // What is not stored is not looked at.
        let guard = self.guard.as_ref().filter(|_| !self.sink.overflowed());
        let Some(guard) = guard else { return self.plain_string(value, 0) };
        if place != Place::Key && guard.hides_here() {
            return self.hide();
        }
        if let Some(shape) = (place != Place::Key).then(|| guard.shape_of_text(value)).flatten() {
            return self.plain_string(&shape, 0);
        }
        let head = crate::label::cut(value, self.string_bytes_max);
        let safe = match place {
            Place::Key => guard.name(head, &mut self.changed),
            _ => guard.text(head, &mut self.changed),
        };
        match safe {
            Cow::Borrowed(same) if same.len() == head.len() => self.plain_string(value, 0),
            other => self.plain_string(&other, value.len() - head.len()),
        }
    }

    /// Writes a string; so many bytes behind it are known to be left out.
    pub(super) fn plain_string(&mut self, value: &str, omitted: usize) -> Result<(), Stop> {
        let mut text = self.text();
        text.push(value);
        text.end();
        self.sink.omit(omitted);
        self.changed.size += u64::from(omitted > 0);
        self.check()
    }

    /// Writes what stands in the place of something that must not be stored.
    pub(super) fn hide(&mut self) -> Result<(), Stop> {
        self.changed.redacted += 1;
        self.plain_string(REDACTED, 0)
    }

    /// Writes the colon behind the name that was written since `before`. Whether the value must not be stored.
    #[inline]
    pub(super) fn hides_value_of_name(&mut self, before: Mark) -> bool {
        // With one that passes, the colon was written.
        !std::mem::take(&mut self.name_passed) && self.hides_value_of_looked_at(before)
    }

    fn hides_value_of_looked_at(&mut self, before: Mark) -> bool {
        let hides = self.hides_value_of(before);
        self.sink.put_byte(b':');
        hides
    }

    fn hides_value_of(&mut self, before: Mark) -> bool {
        let Some(guard) = &mut self.guard else { return false };
        let name = self.sink.since(before);
        let name = name.strip_prefix(b"\"").unwrap_or(name);
        guard.names(name.strip_suffix(b"\"").unwrap_or(name), self.depth)
    }

    /// Looks at a number, truth or null that was written since `before`.
    #[inline]
    pub(super) fn guard_scalar(&mut self, before: Mark) -> Result<(), Stop> {
        let bytes = self.sink.since(before).len();
        if self.guard.as_ref().is_none_or(|guard| guard.passes_scalar(bytes)) {
            return self.check();
        }
        self.looked_at_scalar(before)
    }

    fn looked_at_scalar(&mut self, before: Mark) -> Result<(), Stop> {
        const NULL: &str = "null";
        let Some(guard) = self.guard.as_ref().filter(|_| !self.sink.overflowed()) else {
            return self.check();
        };
        let text = str::from_utf8(self.sink.since(before)).unwrap_or(NULL);
        if text == NULL {
            return self.check();
        }
        if guard.hides_here() {
            self.sink.rewind(before);
            return self.hide();
        }
        match guard.scalar(text, &mut self.changed) {
            Some(other) => {
                self.sink.rewind(before);
                self.plain_string(&other, 0)
            }
            None => self.check(),
        }
    }

    /// Writes what stands in the place of something that is too deep.
    pub(super) fn mark_too_deep(&mut self) {
        let depth_max = self.depth_max;
        let marked = write!(self.sink, r#"{{"$truncated":{{"depth":{depth_max}}}}}"#);
        debug_assert!(marked.is_ok(), "a bounded writer takes everything");
        self.changed.depth += 1;
    }

    /// Serializes a part. An error or a panic inside leaves it unfinished for good.
    #[inline]
    pub(super) fn part<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        place: Place,
    ) -> Result<(), Stop> {
        self.unfinished += 1;
        value.serialize(Clean::new(self, place))?;
        self.unfinished -= 1;
        Ok(())
    }
}

/// The walk ended early: the value failed, or the sink is exhausted, which the sink knows.
#[derive(Debug)]
pub(super) struct Stop;

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value cannot be encoded")
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: Display>(_message: T) -> Self {
        Self
    }
}
