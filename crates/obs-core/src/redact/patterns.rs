//! Secrets and personal data that are known by their looks.
//!
//! Scanners by hand, and not a set of regular expressions: a set says that something is found and not
//! where, iterating over matches of one is quadratic in the worst case, and the check digit of a card,
//! a key before `=` or a cut password are no regular expressions anyway. One pass looks up each byte in
//! a table; the few that may be in a secret at a telling place look around, no further than a limit, or
//! ahead over bytes that cannot begin a match themselves. So the work is linear in the text.

use std::ops::Range;

use super::{REDACTED, keys::Keys, pan};

/// The longest beginning of an e-mail address that is looked back over, as RFC 5321 bounds it.
const LOCAL_PART_MAX: usize = 64;
/// The longest domain of an e-mail address.
const DOMAIN_MAX: usize = 255;
/// The longest name before `=` or `:` that is looked back over.
const NAME_MAX: usize = 64;
/// The longest password with unescaped `/`, `?` or `#` that is looked for in a URL.
const LOOSE_PASSWORD_MAX: usize = 256;

/// What a byte may be a sign of.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Sign {
    None,
    /// `@` of an address.
    At,
    /// `/` of `://`.
    Slash,
    /// `=` after a name.
    Equals,
    /// `:` after a name.
    Colon,
    /// `-` of a PEM block or of a token.
    Dash,
    /// `_` of a token.
    Underscore,
    /// `J` of `eyJ`, the beginning of `{"` in base64.
    Jay,
    /// `K` or `S` of `AKIA` and `ASIA`.
    Amazon,
    /// `z` of `AIza`, `.` of `ya29.`.
    Google,
    /// A digit of a card number.
    Digit,
}

#[expect(clippy::indexing_slicing, reason = "each byte is below the length of the table")]
const SIGNS: [Sign; 256] = {
    let mut signs = [Sign::None; 256];
    signs[b'@' as usize] = Sign::At;
    signs[b'/' as usize] = Sign::Slash;
    signs[b'=' as usize] = Sign::Equals;
    signs[b':' as usize] = Sign::Colon;
    signs[b'-' as usize] = Sign::Dash;
    signs[b'_' as usize] = Sign::Underscore;
    signs[b'J' as usize] = Sign::Jay;
    signs[b'K' as usize] = Sign::Amazon;
    signs[b'S' as usize] = Sign::Amazon;
    signs[b'z' as usize] = Sign::Google;
    signs[b'.' as usize] = Sign::Google;
    let mut digit = b'0';
    while digit <= b'9' {
        signs[digit as usize] = Sign::Digit;
        digit += 1;
    }
    signs
};

/// What a look at JSON text stops at: every sign, and escapes.
#[expect(clippy::indexing_slicing, reason = "each byte is below the length of the table")]
const IN_JSON: [bool; 256] = {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < stops.len() {
        stops[byte] = !matches!(SIGNS[byte], Sign::None);
        byte += 1;
    }
    stops[b'\\' as usize] = true;
    stops
};

/// Beginnings of tokens, up to their first `-` or `_`, with what must follow that.
const TOKENS: [(&[u8], &[u8]); 15] = [
    (b"ghp_", b""),
    (b"gho_", b""),
    (b"ghu_", b""),
    (b"ghs_", b""),
    (b"ghr_", b""),
    (b"github_", b"pat_"),
    (b"sk_", b"live_"),
    (b"sk_", b"test_"),
    (b"rk_", b"live_"),
    (b"rk_", b"test_"),
    (b"whsec_", b""),
    (b"glpat-", b""),
    (b"GOCSPX-", b""),
    (b"sk-", b""),
    (b"npm_", b""),
];
/// What must follow the beginning of a token at least, in bytes.
pub(super) const TOKEN_BYTES_MIN: usize = 16;
/// Names of headers after which the rest of a line is not stored.
const HEADERS: [&[u8]; 5] = [b"authorization", b"cookie", b"set-cookie", b"x-api-key", b"api-key"];

/// The first secret in `text` at or after `from`.
#[inline(never)]
#[expect(clippy::indexing_slicing, reason = "the table has a place for each byte")]
pub(super) fn find(text: &str, from: usize, keys: &Keys) -> Option<Range<usize>> {
    let text = Text { bytes: text.as_bytes(), from, keys };
    let mut at = from;
    while let Some(byte) = text.bytes.get(at) {
        let sign = SIGNS[usize::from(*byte)];
        if sign != Sign::None
            && text.is_telling(sign, at)
            && let Some(found) = text.look(sign, at)
        {
            return Some(found);
        }
        at += 1;
    }
    None
}

/// Whether JSON text may hold a secret or an escape: then its strings are looked at one by one. A colon
/// behind a quote is that of a key: in a string it would have an escape before it.
#[expect(
    clippy::indexing_slicing,
    reason = "the table has a place for each byte, which was found in the text"
)]
pub(super) fn may_find_in_json(json: &str, keys: &Keys) -> bool {
    let text = Text { bytes: json.as_bytes(), from: 0, keys };
    let mut at = 0;
    while let Some(skipped) = text.after(at).iter().position(|byte| IN_JSON[usize::from(*byte)]) {
        at += skipped;
        let byte = text.bytes[at];
        let sign = SIGNS[usize::from(byte)];
        let is_of_key = byte == b':' && at > 0 && text.bytes[at - 1] == b'"';
        let may_tell = !is_of_key && text.is_telling(sign, at);
        if byte == b'\\' || may_tell && text.look(sign, at).is_some() {
            return true;
        }
        at += 1;
    }
    false
}

struct Text<'a> {
    bytes: &'a [u8],
    /// What lies before was found already.
    from: usize,
    keys: &'a Keys,
}

#[expect(
    clippy::indexing_slicing,
    reason = "each place was found in the text, and none lies before `from`"
)]
impl Text<'_> {
    /// Whether the bytes beside a sign let it be one: nearly all digits, dashes and underscores end here.
    #[inline]
    fn is_telling(&self, sign: Sign, at: usize) -> bool {
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        let back = |by: usize| at.checked_sub(by).map_or(0, byte);
        match sign {
            Sign::Digit => {
                byte(at + 1).is_ascii_digit() && byte(at + 2).is_ascii_digit() && !is_token(back(1))
            }
            // The ends of heads, see `TOKENS`.
            Sign::Underscore => match (back(2), back(1)) {
                (b'h', last) => matches!(last, b'p' | b'o' | b'u' | b's' | b'r'),
                ends => {
                    matches!(ends, (b'u', b'b') | (b's' | b'r', b'k') | (b'e', b'c') | (b'p', b'm'))
                }
            },
            // A PEM block, `xox?-`, or the end of another head.
            Sign::Dash => {
                let ends = (back(2), back(1));
                byte(at + 1) == b'-'
                    || ends.0 == b'x'
                    || matches!(ends, (b's', b'k') | (b'a', b't') | (b'P', b'X'))
            }
            Sign::Jay => back(1) == b'y',
            Sign::Amazon => back(1) == b'A',
            Sign::Google => matches!((back(1), byte(at)), (b'I', b'z') | (b'9', b'.')),
            _ => true,
        }
    }

    fn look(&self, sign: Sign, at: usize) -> Option<Range<usize>> {
        match sign {
            Sign::None => None,
            Sign::At => self.email(at),
            Sign::Slash => self.user_info(at),
            Sign::Equals => self.assignment(at),
            Sign::Colon => self.header(at).or_else(|| self.quoted_key(at)),
            Sign::Dash => self.pem(at).or_else(|| self.slack(at)).or_else(|| self.token(at)),
            Sign::Underscore => self.token(at),
            Sign::Jay => self.jwt(at),
            Sign::Amazon => self.amazon(at),
            Sign::Google => self.google(at),
            Sign::Digit => pan::end(self.bytes, at).map(|end| at..end),
        }
    }

    fn after(&self, at: usize) -> &[u8] {
        self.bytes.get(at..).unwrap_or_default()
    }

    /// How many of the bytes from `at` on are `part`, up to `max`.
    fn count(&self, at: usize, max: usize, part: impl Fn(u8) -> bool) -> usize {
        self.after(at).iter().take(max).take_while(|byte| part(**byte)).count()
    }

    /// How many of the bytes before `at` are `part`, up to `max`.
    fn count_back(&self, at: usize, max: usize, part: impl Fn(u8) -> bool) -> usize {
        self.bytes[self.from..at].iter().rev().take(max).take_while(|byte| part(**byte)).count()
    }

    /// Whether a word begins at `at`.
    fn begins(&self, at: usize) -> bool {
        at == self.from || !is_token(self.bytes[at - 1])
    }

    fn email(&self, at: usize) -> Option<Range<usize>> {
        let is_local =
            |byte: u8| byte.is_ascii_alphanumeric() || b"%+-_.".contains(&byte) || !byte.is_ascii();
        let back = self.count_back(at, LOCAL_PART_MAX, is_local);
        let is_domain = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') || !byte.is_ascii()
        };
        let ahead = self.count(at + 1, DOMAIN_MAX, is_domain);
        let domain = &self.bytes[at + 1..at + 1 + ahead];
        // A dot or dash at the end belongs to the sentence.
        let sentence = domain.iter().rev().take_while(|byte| matches!(byte, b'.' | b'-')).count();
        let domain = &domain[..domain.len() - sentence];
        let dot = domain.iter().rposition(|byte| *byte == b'.')?;
        let top_level = &domain[dot + 1..];
        let is_address = back > 0
            && dot > 0
            && top_level.len() >= 2
            && !top_level.iter().any(u8::is_ascii_digit);
        is_address.then(|| self.whole_chars(at - back)..self.whole_chars(at + 1 + domain.len()))
    }

    /// The first whole character at or after `at`: looking back may have stopped inside of one.
    fn whole_chars(&self, mut at: usize) -> usize {
        while self.bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80) {
            at += 1;
        }
        at
    }

    /// `user:password` after `scheme://`, also where a cut took the `@` away.
    fn user_info(&self, at: usize) -> Option<Range<usize>> {
        let is_scheme = at > self.from
            && self.bytes[at - 1] == b':'
            && self.after(at + 1).first() == Some(&b'/');
        if !is_scheme {
            return None;
        }
        let start = at + 2;
        let ends_url = |byte: u8| {
            byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`')
        };
        let authority = self.count(start, usize::MAX, |byte| {
            !ends_url(byte) && !matches!(byte, b'/' | b'?' | b'#')
        });
        let text = &self.bytes[start..start + authority];
        if let Some(end) = text.iter().rposition(|byte| *byte == b'@') {
            return Some(start..start + end);
        }
        let after_colon = &text[text.iter().position(|byte| *byte == b':')? + 1..];
        // A port, a bracketed address.
        if after_colon.iter().all(u8::is_ascii_digit) || text.starts_with(b"[") {
            return None;
        }
        let loose = self.count(start, LOOSE_PASSWORD_MAX, |byte| !ends_url(byte));
        let loose_text = &self.bytes[start..start + loose];
        let end = loose_text.iter().rposition(|byte| *byte == b'@').unwrap_or(loose);
        Some(start..self.whole_chars(start + end))
    }

    /// The value in `password=value`, quoted or not.
    fn assignment(&self, at: usize) -> Option<Range<usize>> {
        let blanks = self.count_back(at, 1, |byte| byte == b' ');
        if !self.is_secret_name(at - blanks) {
            return None;
        }
        self.value(at + 1 + self.count(at + 1, 1, |byte| byte == b' '))
    }

    /// The value in `"password": "value"`, in JSON inside of a text.
    fn quoted_key(&self, at: usize) -> Option<Range<usize>> {
        let quotes = self.count_back(at, 2, |byte| matches!(byte, b'"' | b'\'' | b'\\'));
        if quotes == 0 || !self.is_secret_name(at - quotes) {
            return None;
        }
        self.value(at + 1 + self.count(at + 1, 4, |byte| matches!(byte, b' ' | b'\\')))
    }

    /// The rest of the line after `Authorization:` and its like.
    fn header(&self, at: usize) -> Option<Range<usize>> {
        let back = self.count_back(at, NAME_MAX, is_token);
        let name = &self.bytes[at - back..at];
        if !HEADERS.iter().any(|header| header.eq_ignore_ascii_case(name)) {
            return None;
        }
        let start = at + 1 + self.count(at + 1, 4, |byte| byte == b' ');
        let end =
            start + self.count(start, usize::MAX, |byte| !matches!(byte, b'\r' | b'\n' | b'"'));
        (start < end).then_some(start..end)
    }

    fn is_secret_name(&self, end: usize) -> bool {
        let back = self.count_back(end, NAME_MAX, |byte| is_token(byte) || byte == b'.');
        back > 0 && self.keys.find(&self.bytes[end - back..end])
    }

    /// A value: what a pair of quotes holds, or what no separator is in.
    fn value(&self, start: usize) -> Option<Range<usize>> {
        // What was redacted before is not found again.
        if self.after(start).starts_with(REDACTED.as_bytes()) {
            return None;
        }
        let (start, end) = match self.after(start).first() {
            Some(quote @ (b'"' | b'\'')) => {
                let len = self.count(start + 1, usize::MAX, |byte| byte != *quote);
                let end = start + 1 + len;
                // In JSON inside of JSON the quote has a backslash.
                (start + 1, end - usize::from(self.bytes[end - 1] == b'\\'))
            }
            _ => {
                let is_part =
                    |byte: u8| !byte.is_ascii_whitespace() && !b"&;,)}]\"'\\".contains(&byte);
                (start, start + self.count(start, usize::MAX, is_part))
            }
        };
        (start < end).then_some(start..end)
    }

    /// From `-----BEGIN` to the end of the block, or of the text.
    fn pem(&self, at: usize) -> Option<Range<usize>> {
        const END: &[u8] = b"-----END ";
        if !self.after(at).starts_with(b"-----BEGIN ") {
            return None;
        }
        let rest = self.after(at);
        let end = rest.windows(END.len()).position(|window| window == END).map(|end| {
            let after = &rest[end + END.len()..];
            let dashes = after.windows(5).position(|window| window == b"-----");
            end + END.len() + dashes.map_or(after.len(), |dashes| dashes + 5)
        });
        Some(at..at + end.unwrap_or(rest.len()))
    }

    /// `ghp_…` and its like; `at` is the first `-` or `_`.
    fn token(&self, at: usize) -> Option<Range<usize>> {
        let (start, body) = TOKENS.iter().find_map(|(head, tail)| {
            let start = (at + 1).checked_sub(head.len()).filter(|start| *start >= self.from)?;
            let fits = &self.bytes[start..=at] == *head
                && self.after(at + 1).starts_with(tail)
                && self.begins(start);
            fits.then_some((start, at + 1 + tail.len()))
        })?;
        let len = self.count(body, usize::MAX, is_token);
        (len >= TOKEN_BYTES_MIN).then_some(start..body + len)
    }

    /// `xoxb-…`
    fn slack(&self, at: usize) -> Option<Range<usize>> {
        let start = at.checked_sub(4).filter(|start| *start >= self.from && self.begins(*start))?;
        let head = &self.bytes[start..at];
        let fits = head.starts_with(b"xox") && b"abprse".contains(&head[3]);
        let len = || self.count(at + 1, usize::MAX, is_token);
        fits.then(len).filter(|len| *len >= TOKEN_BYTES_MIN).map(|len| start..at + 1 + len)
    }

    /// Two or three parts in base64, of which the first two begin with `{"`; the third may be cut off.
    fn jwt(&self, at: usize) -> Option<Range<usize>> {
        let start = at.checked_sub(2).filter(|start| *start >= self.from && self.begins(*start))?;
        if &self.bytes[start..at] != b"ey" {
            return None;
        }
        let header_end = start + self.count(start, usize::MAX, is_token);
        if !self.after(header_end).starts_with(b".eyJ") {
            return None;
        }
        let mut end = header_end + 1 + self.count(header_end + 1, usize::MAX, is_token);
        // Five parts if it is encrypted.
        for _ in 0..3 {
            if self.after(end).first() == Some(&b'.') {
                let part = self.count(end + 1, usize::MAX, is_token);
                // A dot without a part is the end of a sentence.
                end += if part > 0 { 1 + part } else { 0 };
            }
        }
        Some(start..end)
    }

    /// `AKIA` or `ASIA` and 16 capital letters and digits.
    fn amazon(&self, at: usize) -> Option<Range<usize>> {
        let start = at.checked_sub(1).filter(|start| *start >= self.from && self.begins(*start))?;
        let head = self.after(start);
        let fits = head.starts_with(b"AKIA") || head.starts_with(b"ASIA");
        let len =
            self.count(start + 4, 17, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        (fits && len == 16).then_some(start..start + 20)
    }

    /// `AIza` and 35 more, `ya29.` and a token.
    fn google(&self, at: usize) -> Option<Range<usize>> {
        let (back, head): (_, &[u8]) =
            if self.bytes[at] == b'z' { (2, b"AIza") } else { (4, b"ya29.") };
        let start =
            at.checked_sub(back).filter(|start| *start >= self.from && self.begins(*start))?;
        let fits = self.after(start).starts_with(head);
        let len = || self.count(start + head.len(), usize::MAX, is_token);
        fits.then(len)
            .filter(|len| *len >= TOKEN_BYTES_MIN)
            .map(|len| start..start + head.len() + len)
    }
}

/// What tokens are made of. A token begins only where no such byte is before it, so that each byte of a
/// long run is looked at once.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample};

    use super::*;
    use crate::redact::{Glance, Redaction};

    /// Heads, tails, and what lies between them.
    const PIECES: [&str; 30] = [
        "ghp",
        "gho",
        "ghu",
        "ghs",
        "ghr",
        "github",
        "pat",
        "sk",
        "rk",
        "live",
        "test",
        "whsec",
        "glpat",
        "GOCSPX",
        "npm",
        "xoxb",
        "xox",
        "-----BEGIN ",
        "_",
        "-",
        "--",
        " ",
        ".",
        "eyJ",
        "AKIA",
        "AIza",
        "ya29",
        "4111111111111111",
        "x",
        "4eC39HqLyjWDarjt",
    ];

    fn text() -> impl Strategy<Value = String> {
        collection::vec(sample::select(&PIECES[..]), 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn what_tells_nothing_is_no_sign_of_anything(text in text()) {
            let rules = Redaction::default().check().unwrap();
            let text = Text { bytes: text.as_bytes(), from: 0, keys: &rules.keys };
            for at in 0..text.bytes.len() {
                let sign = SIGNS[usize::from(text.bytes[at])];
                if !text.is_telling(sign, at) {
                    prop_assert_eq!(text.look(sign, at), None, "{} in {:?}", at, text.bytes);
                }
            }
        }

        #[test]
        fn a_text_without_signs_holds_no_secret(text in text(), from in 0_usize..40, len in 0_usize..24) {
            let keys = Redaction::default().check().unwrap().keys;
            // Short ones, too, where more bytes are no sign.
            let cut: String = text.chars().skip(from).take(len).collect();
            for text in [text, cut] {
                if !Glance::at(&text).has_signs() {
                    prop_assert_eq!(find(&text, 0, &keys), None, "{}", text);
                }
            }
        }
    }

    #[test]
    fn every_sign_is_seen_at_a_glance() {
        for byte in 0..=127_u8 {
            let text = char::from(byte).to_string().repeat(40);
            if SIGNS[usize::from(byte)] != Sign::None {
                assert!(Glance::at(&text).has_signs(), "{text}");
            }
        }
    }
}
