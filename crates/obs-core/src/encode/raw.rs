//! JSON text inside a value (`serde_json::value::RawValue`), rewritten under the same rules.
//!
//! `serde_json` guarantees its grammar and nothing else: it may hold `\u0000`, halves of surrogate
//! pairs, numbers like `1e999999` and a million brackets. A parser into values would stop at each of
//! these, and would turn large integers into floats. So this goes through the text itself, without
//! recursion: strings are decoded and written anew, numbers are kept as they are spelled or become
//! `null`, white space goes.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    DEPTH_CEILING, EncodeLimits,
    clean::Place,
    encoder::{Encoder, Stop},
    text::{REPLACEMENT, Text},
};

/// Structs with these names have one field, which is JSON text. The second is how a number arrives
/// when somebody else in the build turns on `serde_json/arbitrary_precision`.
pub(super) const TOKENS: [&str; 2] =
    ["$serde_json::private::RawValue", "$serde_json::private::Number"];

/// The longest number that is kept, in bytes. The exact decimal expansion of every `f64` fits.
const NUMBER_BYTES_MAX: usize = 1_100;

/// The largest exponent that is kept, either way. Postgres takes no more than 16,383 digits after
/// the point, which with [`NUMBER_BYTES_MAX`] cannot come near.
const EXPONENT_MAX: i32 = 1_100;

/// A number without an exponent and no longer than this is finite, whatever its digits are.
const NUMBER_BYTES_FINITE: usize = 300;

/// Writes the JSON value that `text` is.
pub(super) fn transcode(encoder: &mut Encoder<'_>, text: &str) -> Result<(), Stop> {
    let walk_left = usize::try_from(encoder.sink.walk_left()).unwrap_or(usize::MAX);
    if text.len() > walk_left {
        // Too long even to check. Its beginning is still worth having: it ends up in `$head`,
        // where it need not be complete.
        let head = &text[..text.floor_char_boundary(walk_left)];
        rewrite(encoder, head)?;
        encoder.sink.omit(text.len() - head.len());
        return encoder.spend(text.len());
    }
    // Anybody can name a struct like that, so the grammar is checked.
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| Stop)?;
    let before = encoder.sink.written();
    rewrite(encoder, raw.get())?;
    let written = usize::try_from(encoder.sink.written() - before).unwrap_or(usize::MAX);
    encoder.spend(text.len().saturating_sub(written))
}

/// Must not panic on any text, because of the one that is too long to check.
pub(super) fn rewrite(encoder: &mut Encoder<'_>, text: &str) -> Result<(), Stop> {
    let mut rest = text;
    while let Some(&first) = rest.as_bytes().first() {
        rest = match first {
            b'"' if encoder.guard.is_some() => guarded_string(encoder, &rest[1..])?,
            b'"' => string(encoder, &rest[1..]),
            b'{' | b'[' if encoder.open(first) => &rest[1..],
            b'{' | b'[' => after_container(rest),
            b'}' | b']' => {
                encoder.close(&[first])?;
                &rest[1..]
            }
            b',' | b':' => {
                encoder.sink.put_byte(first);
                &rest[1..]
            }
            b'-' | b'0'..=b'9' => scalar(encoder, rest, number)?,
            b'a'..=b'z' => scalar(encoder, rest, word)?,
            b' ' | b'\t' | b'\n' | b'\r' => rest.trim_ascii_start(),
            // Only text that was not checked gets here.
            _ => skip_char(rest),
        };
        encoder.check()?;
    }
    Ok(())
}

/// Writes the string whose opening quote was just read; returns what follows it.
fn string<'t>(encoder: &mut Encoder<'_>, after_quote: &'t str) -> &'t str {
    let mut text = encoder.text();
    let rest = unescaped(&mut text, after_quote);
    text.end();
    rest
}

/// Hands the string whose opening quote was just read to `text`; returns what follows it.
fn unescaped<'t>(text: &mut impl Pieces, after_quote: &'t str) -> &'t str {
    let mut rest = after_quote;
    while let Some(at) = rest.find(['"', '\\']) {
        text.push(&rest[..at]);
        let is_end = rest.as_bytes().get(at) == Some(&b'"');
        rest = &rest[at + 1..];
        if is_end {
            return rest;
        }
        rest = escape(text, rest);
    }
    // Only text that was not checked gets here.
    text.push(rest);
    ""
}

/// What takes a string in pieces.
trait Pieces {
    fn push(&mut self, piece: &str);
    /// Takes U+FFFD for half of a surrogate pair.
    fn push_lone_surrogate(&mut self);
}

impl Pieces for Text<'_, '_> {
    fn push(&mut self, piece: &str) {
        Text::push(self, piece);
    }

    fn push_lone_surrogate(&mut self) {
        Text::push_lone_surrogate(self);
    }
}

/// A string that is put together.
struct Plain {
    text: String,
    surrogates: u64,
}

impl Pieces for Plain {
    fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
    }

    fn push_lone_surrogate(&mut self) {
        self.text.push_str(REPLACEMENT);
        self.surrogates += 1;
    }
}

/// A string that is passed over.
struct Nowhere;

impl Pieces for Nowhere {
    fn push(&mut self, _piece: &str) {}

    fn push_lone_surrogate(&mut self) {}
}

/// The same where names and texts must be looked at: they are put together first.
fn guarded_string<'t>(encoder: &mut Encoder<'_>, after_quote: &'t str) -> Result<&'t str, Stop> {
    let (text, rest) = decoded(encoder, after_quote);
    let Some(after_colon) = rest.trim_ascii_start().strip_prefix(':') else {
        match std::mem::take(&mut encoder.is_in_head) {
            true => head(encoder, &text)?,
            false => encoder.string(&text, Place::Value)?,
        }
        return Ok(rest);
    };
    let before = encoder.sink.mark();
    encoder.string(&text, Place::Key)?;
    if encoder.hides_value_of_name(before) {
        encoder.hide()?;
        return Ok(after_value(after_colon));
    }
    encoder.is_in_head = !encoder.is_in_piece && text == HEAD;
    Ok(after_colon)
}

/// The name under which a value that was too large has its beginning, which is JSON again.
const HEAD: &str = "$head";

/// Writes the beginning of a value without what must not be stored. One inside of it is a text like
/// any other.
fn head(encoder: &mut Encoder<'_>, piece: &str) -> Result<(), Stop> {
    let Some(guard) = &encoder.guard else { return encoder.string(piece, Place::Value) };
    let limits = EncodeLimits {
        bytes_max: usize::MAX,
        string_bytes_max: usize::MAX,
        depth_max: DEPTH_CEILING,
        walk_bytes_max: u64::MAX,
    };
    let mut out = Vec::with_capacity(piece.len());
    let mut inner = Encoder::new(&mut out, &limits);
    inner.ask(guard.of_piece());
    inner.is_in_piece = true;
    rewrite(&mut inner, piece)?;
    let changed = inner.changed;
    drop(inner);
    encoder.changed += changed;
    encoder.plain_string(str::from_utf8(&out).map_err(|_| Stop)?, 0)
}

/// The string whose opening quote was just read, and what follows it.
fn decoded<'t>(encoder: &mut Encoder<'_>, after_quote: &'t str) -> (Cow<'t, str>, &'t str) {
    let end = after_quote.find(['"', '\\']).unwrap_or(after_quote.len());
    if after_quote.as_bytes().get(end) != Some(&b'\\') {
        return (
            Cow::Borrowed(&after_quote[..end]),
            after_quote.get(end + 1..).unwrap_or_default(),
        );
    }
    let mut plain = Plain { text: String::new(), surrogates: 0 };
    let rest = unescaped(&mut plain, after_quote);
    encoder.changed.surrogate += plain.surrogates;
    (Cow::Owned(plain.text), rest)
}

/// Writes what `write` makes of the number or word that `text` begins with; returns what follows it.
fn scalar<'t>(
    encoder: &mut Encoder<'_>,
    text: &'t str,
    write: impl FnOnce(&mut Encoder<'_>, &'t str) -> &'t str,
) -> Result<&'t str, Stop> {
    let before = encoder.sink.mark();
    let rest = write(encoder, text);
    if encoder.guard.is_some() {
        encoder.guard_scalar(before)?;
    }
    Ok(rest)
}

/// What follows the value that `text` begins with.
fn after_value(text: &str) -> &str {
    let text = text.trim_ascii_start();
    match text.as_bytes().first() {
        Some(b'"') => unescaped(&mut Nowhere, &text[1..]),
        Some(b'{' | b'[') => after_container(text),
        _ => {
            let end = text.find([',', '}', ']', ' ', '\t', '\n', '\r']);
            &text[end.unwrap_or(text.len())..]
        }
    }
}

/// Writes the character whose backslash was just read; returns what follows it.
fn escape<'t>(text: &mut impl Pieces, after_backslash: &'t str) -> &'t str {
    let rest = skip_char(after_backslash);
    let plain = match &after_backslash[..after_backslash.len() - rest.len()] {
        "u" => return unicode_escape(text, rest),
        "b" => "\u{8}",
        "f" => "\u{C}",
        "n" => "\n",
        "r" => "\r",
        "t" => "\t",
        // `"`, `\` and `/` stand for themselves.
        itself => itself,
    };
    text.push(plain);
    rest
}

fn unicode_escape<'t>(text: &mut impl Pieces, digits: &'t str) -> &'t str {
    let Some((unit, rest)) = code_unit(digits) else { return digits };
    if let Some(Ok(plain)) = char::decode_utf16([unit]).next() {
        text.push(plain.encode_utf8(&mut [0; 4]));
        return rest;
    }
    if let Some((low, after_pair)) = rest.strip_prefix("\\u").and_then(code_unit)
        && let Some(Ok(pair)) = char::decode_utf16([unit, low]).next()
    {
        text.push(pair.encode_utf8(&mut [0; 4]));
        return after_pair;
    }
    text.push_lone_surrogate();
    rest
}

/// Four hexadecimal digits, and what follows them.
fn code_unit(digits: &str) -> Option<(u16, &str)> {
    let (digits, rest) = digits.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

/// Writes the number that `text` begins with, or `null`; returns what follows it.
fn number<'t>(encoder: &mut Encoder<'_>, text: &'t str) -> &'t str {
    let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let len = text.bytes().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let (number, rest) = text.split_at(len);
    if is_storable(number) {
        encoder.sink.put(number.as_bytes());
    } else {
        encoder.sink.put(b"null");
        encoder.changed.non_finite += 1;
    }
    rest
}

/// Whether Postgres takes the number, and whether `serde_json` reads it back.
fn is_storable(number: &str) -> bool {
    let exponent = number.split_once(['e', 'E']).map(|(_, exponent)| exponent.parse::<i32>());
    let exponent_fits = match exponent {
        None if number.len() <= NUMBER_BYTES_FINITE => return true,
        None => true,
        Some(exponent) => {
            exponent.is_ok_and(|exponent| (-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent))
        }
    };
    exponent_fits
        && number.len() <= NUMBER_BYTES_MAX
        && serde_json::from_str::<f64>(number).is_ok_and(f64::is_finite)
}

/// Writes `true`, `false` or `null`; returns what follows it.
fn word<'t>(encoder: &mut Encoder<'_>, text: &'t str) -> &'t str {
    let len = text.bytes().position(|byte| !byte.is_ascii_lowercase()).unwrap_or(text.len());
    let (word, rest) = text.split_at(len);
    encoder.sink.put(word.as_bytes());
    rest
}

/// What follows the array or object that `text` begins with.
fn after_container(text: &str) -> &str {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            // The next byte is not a quote that ends the string.
            b'\\' => drop(bytes.next()),
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            // Here `byte` is a bracket, so this is a character boundary.
            return &text[at + 1..];
        }
    }
    ""
}

fn skip_char(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}
