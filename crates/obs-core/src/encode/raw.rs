//! JSON text inside a value (`serde_json::value::RawValue`), rewritten under the same rules.
//!
//! `serde_json` guarantees its grammar and nothing else: it may hold `\u0000`, halves of surrogate
//! pairs, numbers like `1e999999` and a million brackets. A parser into values would stop at each of
//! these, and would turn large integers into floats. So this goes through the text itself, without
//! recursion: strings are decoded and written anew, numbers are kept as they are spelled or become
//! `null`, white space goes.

use serde_json::value::RawValue;

use super::{
    encoder::{Encoder, Stop},
    text::Text,
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
            b'"' => string(encoder, &rest[1..]),
            b'{' | b'[' if encoder.open(&rest.as_bytes()[..1]) => &rest[1..],
            b'{' | b'[' => after_container(rest),
            b'}' | b']' => {
                encoder.close(&rest.as_bytes()[..1]);
                &rest[1..]
            }
            b',' | b':' => {
                encoder.sink.put(&rest.as_bytes()[..1]);
                &rest[1..]
            }
            b'-' | b'0'..=b'9' => number(encoder, rest),
            b'a'..=b'z' => word(encoder, rest),
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
    let mut rest = after_quote;
    while let Some(at) = rest.find(['"', '\\']) {
        text.push(&rest[..at]);
        let is_end = rest.as_bytes()[at] == b'"';
        rest = &rest[at + 1..];
        if is_end {
            text.end();
            return rest;
        }
        rest = escape(&mut text, rest);
    }
    // Only text that was not checked gets here.
    text.push(rest);
    text.end();
    ""
}

/// Writes the character whose backslash was just read; returns what follows it.
fn escape<'t>(text: &mut Text<'_, '_>, after_backslash: &'t str) -> &'t str {
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

fn unicode_escape<'t>(text: &mut Text<'_, '_>, digits: &'t str) -> &'t str {
    let Some((unit, rest)) = code_unit(digits) else { return digits };
    if let Some(Ok(plain)) = char::decode_utf16([unit]).next() {
        text.push_char(plain);
        return rest;
    }
    if let Some((low, after_pair)) = rest.strip_prefix("\\u").and_then(code_unit)
        && let Some(Ok(pair)) = char::decode_utf16([unit, low]).next()
    {
        text.push_char(pair);
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
