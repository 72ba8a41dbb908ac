//! Names of fields whose values are not stored.
//!
//! Names are compared without case and without `_`, `-`, `.` and spaces, so that `api_key` also finds
//! `X-Api-Key` and `apiKey`. A rule is found anywhere in a name; one that begins with `=` must be whole
//! words of it: `=pan` finds `card.PAN` and `panNumber`, and leaves `company` alone.

use std::fmt;

use crate::{error::BuildError, limits::REDACT_KEY_BYTES_MAX};

/// What is never stored unless somebody replaces this list.
pub(super) const DEFAULT: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "api_key",
    "access_key",
    "private_key",
    "authorization",
    "cookie",
    "session",
    "iban",
    "card",
    "cvv",
    "email",
    "phone",
    // Inside of `className`, and inside of `company` and `span`.
    "=ssn",
    "=pan",
];

/// Rules about names, ready to be matched.
#[derive(Clone, Default)]
pub(super) struct Keys {
    /// Sorted, so that those with one first character lie together.
    rules: Vec<Rule>,
    /// Where the rules of each first character begin; [`CHARACTERS`] + 1 entries if there are any.
    starts: Vec<usize>,
    /// Which two characters a rule begins with: nearly every place in a name is passed over by that.
    pairs: Vec<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    text: Vec<u8>,
    whole_words: bool,
}

/// Letters, digits, and one for everything else.
const CHARACTERS: usize = 37;

impl Keys {
    #[expect(clippy::indexing_slicing, reason = "a rule without a character was refused")]
    pub(super) fn new(texts: &[String]) -> Result<Self, BuildError> {
        let mut rules = Vec::with_capacity(texts.len());
        for given in texts {
            let (text, whole_words) = match given.trim().strip_prefix('=') {
                Some(text) => (text, true),
                None => (given.as_str(), false),
            };
            let text: Vec<u8> = text
                .bytes()
                .filter(|byte| !is_separator(*byte))
                .map(|byte| byte.to_ascii_lowercase())
                .collect();
            if text.is_empty() || given.len() > REDACT_KEY_BYTES_MAX {
                return Err(BuildError::redact_key(given, REDACT_KEY_BYTES_MAX));
            }
            rules.push(Rule { text, whole_words });
        }
        rules.sort_by(|one, other| (slot(one.text[0]), one).cmp(&(slot(other.text[0]), other)));
        rules.dedup();
        let starts = (0..=CHARACTERS)
            .map(|character| {
                rules
                    .partition_point(|rule| slot(rule.text[0]).is_some_and(|slot| slot < character))
            })
            .collect();
        Ok(Self { pairs: pairs(&rules), rules, starts })
    }

    /// Whether a rule is found in `name`.
    #[expect(clippy::indexing_slicing, reason = "each place of the name is looked at")]
    pub(super) fn find(&self, name: &[u8]) -> bool {
        !self.rules.is_empty()
            && (0..name.len()).any(|at| {
                self.may_begin(name, at)
                    && self.beginning_with(name[at]).iter().any(|rule| {
                        rule.end_in(name, at).is_some_and(|end| {
                            !rule.whole_words || is_edge(name, at) && is_edge(name, end)
                        })
                    })
            })
    }

    /// Whether a rule is `name` as a whole.
    #[expect(
        clippy::indexing_slicing,
        reason = "the place was found in the name, and a rule ends within it"
    )]
    pub(super) fn is(&self, name: &[u8]) -> bool {
        let Some(at) = name.iter().position(|byte| !is_separator(*byte)) else { return false };
        let is_whole = |end: usize| name[end..].iter().all(|byte| is_separator(*byte));
        self.beginning_with(name[at]).iter().any(|rule| rule.end_in(name, at).is_some_and(is_whole))
    }

    #[expect(clippy::indexing_slicing, reason = "the place is one of the name")]
    fn may_begin(&self, name: &[u8], at: usize) -> bool {
        let Some(first) = slot(name[at]) else { return false };
        // What follows a separator is looked at by the rules themselves.
        let Some(second) = name.get(at + 1).copied().and_then(slot) else { return true };
        self.pairs.get(first * CHARACTERS + second).copied().unwrap_or(true)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "where rules begin is at most how many there are, in order"
    )]
    fn beginning_with(&self, first: u8) -> &[Rule] {
        let range = slot(first)
            .and_then(|slot| Some(*self.starts.get(slot)?..*self.starts.get(slot + 1)?))
            .unwrap_or(0..0);
        &self.rules[range]
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| rule.text.escape_ascii())).finish()
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "a rule has a character, and each two characters have a place"
)]
fn pairs(rules: &[Rule]) -> Vec<bool> {
    let mut pairs = vec![false; CHARACTERS * CHARACTERS];
    for rule in rules {
        let begin = slot(rule.text[0]).unwrap_or_default() * CHARACTERS;
        match rule.text.get(1).copied().and_then(slot) {
            Some(second) => pairs[begin + second] = true,
            None => pairs[begin..begin + CHARACTERS].fill(true),
        }
    }
    pairs
}

impl Rule {
    /// Where the rule ends if it is found at `at`, whatever separators are in between.
    #[expect(clippy::indexing_slicing, reason = "the place before is one of the name")]
    fn end_in(&self, name: &[u8], mut at: usize) -> Option<usize> {
        for (count, expected) in self.text.iter().enumerate() {
            if count > 0 {
                at += name[at..].iter().take_while(|byte| is_separator(**byte)).count();
            }
            if name.get(at)?.to_ascii_lowercase() != *expected {
                return None;
            }
            at += 1;
        }
        Some(at)
    }
}

/// Bytes of other alphabets belong to words: nothing of ours matches them.
fn is_separator(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric()
}

/// Whether a word begins or ends at `at`: beside a separator, between letters and digits, where upper
/// case begins (`cardPan`) and where it ends (`PANNumber`).
#[expect(clippy::indexing_slicing, reason = "a place is at most the length of the name")]
fn is_edge(name: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| name[before]) else { return true };
    let Some(byte) = name.get(at).copied() else { return true };
    let next_is_lower = name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
    is_separator(before)
        || is_separator(byte)
        || before.is_ascii_digit() != byte.is_ascii_digit()
        || byte.is_ascii_uppercase() && (!before.is_ascii_uppercase() || next_is_lower)
}

fn slot(byte: u8) -> Option<usize> {
    match byte.to_ascii_lowercase() {
        digit @ b'0'..=b'9' => Some(usize::from(digit - b'0')),
        letter @ b'a'..=b'z' => Some(usize::from(letter - b'a') + 10),
        // Bytes of other alphabets share the last one.
        other => (!other.is_ascii()).then_some(CHARACTERS - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default() -> Keys {
        Keys::new(&DEFAULT.map(str::to_owned)).unwrap()
    }

    #[test]
    fn names_are_found_without_case_and_separators_and_as_a_part() {
        let keys = default();
        for name in [
            "password",
            "PASSWORD",
            "user_password_2",
            "dbPasswd",
            "MYSQL_PWD",
            "client-secret",
            "accessToken",
            "X-Api-Key",
            "apiKey",
            "api key",
            "api_key",
            "apikey",
            "Authorization",
            "Set-Cookie",
            "sessionId",
            "private.key",
            "IBAN",
            "cardNumber",
            "cvv2",
            "e-mail",
            "userEmail",
            "phone_number",
            "AWS_ACCESS_KEY_ID",
            "passphrase",
            "credentials",
        ] {
            assert!(keys.find(name.as_bytes()), "{name}");
        }
        for name in ["pass", "user", "points", "mag", "keyboard", "author", "", "_", "-.-", "größe"]
        {
            assert!(!keys.find(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn whole_words_are_found_as_words_only() {
        let keys = default();
        for name in [
            "ssn",
            "SSN",
            "user_ssn",
            "userSSN",
            "ssnLast4",
            "PAN",
            "pan",
            "card.pan",
            "PANNumber",
            "pan1",
        ] {
            assert!(keys.find(name.as_bytes()), "{name}");
        }
        for name in ["className", "company", "span_id", "expand", "panel", "japan"] {
            assert!(!keys.find(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn the_first_and_the_last_slot_are_reached() {
        let keys = Keys::new(&["0day".to_owned(), "zip".to_owned(), "9".to_owned()]).unwrap();
        for name in ["0day", "a_0day", "zip", "unzip", "x9"] {
            assert!(keys.find(name.as_bytes()), "{name}");
        }
        assert!(!keys.find(b"day"));
    }

    #[test]
    fn a_rule_without_a_letter_or_digit_and_one_too_long_are_refused() {
        for bad in ["", "  ", "=", "_-.", &"x".repeat(REDACT_KEY_BYTES_MAX + 1)] {
            assert!(Keys::new(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
        let keys = Keys::new(&["ключ".to_owned()]).unwrap();
        assert!(keys.find("мой_ключ".as_bytes()) && !keys.find("key".as_bytes()));
    }
}
