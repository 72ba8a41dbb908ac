//! Labels: low-cardinality attributes on metrics, cleaned and bounded before they get there.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    limits::{LABEL_BYTES_MAX, LABEL_VALUES_MAX},
    registry::attribute,
};

/// What a missing or empty value becomes.
pub(crate) const UNKNOWN: &str = "unknown";
/// What a value becomes when there is no room for another one; OpenTelemetry's own word.
pub(crate) const OTHER: &str = "_OTHER";

/// The labels that instruments carry. There is no label for an id but the strategy's, and that
/// only for kinds that ask for it.
///
/// ```
/// use obs_core::Label;
/// assert_eq!(Label::StrategyType.key(), "obs.strategy.type");
/// assert_eq!(Label::from_key("obs.realm"), Some(Label::Realm));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Label {
    /// The family of runs.
    Kind,
    /// The tenant.
    Realm,
    /// The type of the strategy.
    StrategyType,
    /// The strategy's id, where a kind opts in.
    StrategyId,
    /// The strategy's version, where a kind opts in.
    StrategyVersion,
    /// How a run ended.
    Status,
    /// The error's code.
    ErrorType,
    /// The class of a record.
    Class,
    /// Why a record was dropped.
    Reason,
}

impl Label {
    /// Every label.
    pub const ALL: [Self; 9] = [
        Self::Kind,
        Self::Realm,
        Self::StrategyType,
        Self::StrategyId,
        Self::StrategyVersion,
        Self::Status,
        Self::ErrorType,
        Self::Class,
        Self::Reason,
    ];

    /// The attribute key.
    ///
    /// ```
    /// assert_eq!(obs_core::Label::ErrorType.key(), "error.type");
    /// ```
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Kind => attribute::OBS_KIND,
            Self::Realm => attribute::OBS_REALM,
            Self::StrategyType => attribute::OBS_STRATEGY_TYPE,
            Self::StrategyId => attribute::OBS_STRATEGY_ID,
            Self::StrategyVersion => attribute::OBS_STRATEGY_VERSION,
            Self::Status => attribute::OBS_RUN_STATUS,
            Self::ErrorType => attribute::ERROR_TYPE,
            Self::Class => attribute::CLASS,
            Self::Reason => attribute::REASON,
        }
    }

    /// The label with this key.
    ///
    /// ```
    /// assert_eq!(obs_core::Label::from_key("user.id"), None);
    /// ```
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.key() == key)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// A value as it may stand on a metric: trimmed, at most 128 bytes, and `unknown` where nothing is left.
///
/// Pages of others show these values. So there is nothing in them that any markup, shell or query means
/// something by: control characters are left out, and what is neither a letter or digit of ASCII nor one of
/// `_ . : / -` becomes `_`.
pub(crate) fn clean(raw: &str) -> Cow<'_, str> {
    if is_plain_word(raw) {
        return Cow::Borrowed(raw);
    }
    let text = printed(raw);
    if text.is_empty() {
        Cow::Borrowed(UNKNOWN)
    } else if text.bytes().all(|byte| is_plain(char::from(byte))) {
        text
    } else {
        Cow::Owned(text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect())
    }
}

/// The same before characters are replaced: what a pattern may still find a secret in.
pub(crate) fn printed(raw: &str) -> Cow<'_, str> {
    if is_plain_word(raw) {
        return Cow::Borrowed(raw);
    }
    let text = raw.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let head = cut(text, LABEL_BYTES_MAX);
    if !head.contains(char::is_control) {
        // A cut may leave a blank at the end.
        return Cow::Borrowed(head.trim_end());
    }
    let mut printed = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if printed.len() + c.len_utf8() > LABEL_BYTES_MAX {
            break;
        }
        printed.push(c);
    }
    printed.truncate(printed.trim_end().len());
    Cow::Owned(printed)
}

/// Nearly every code is one plain word, which is its own label.
#[expect(clippy::indexing_slicing, reason = "the table has a place for each byte")]
fn is_plain_word(raw: &str) -> bool {
    !raw.is_empty()
        && raw.len() <= LABEL_BYTES_MAX
        && raw.bytes().all(|byte| PLAIN[usize::from(byte)])
}

/// Which bytes are [plain](is_plain): one look at each.
#[expect(clippy::indexing_slicing, reason = "each byte is below the length of the table")]
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = is_plain(byte as u8 as char);
        byte += 1;
    }
    plain
};

const fn is_plain(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' | ':' | '/' | '-')
}

/// The longest beginning of `text` of at most `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The values that each label has taken so far.
#[derive(Debug, Default)]
pub(crate) struct LabelBook {
    values: Mutex<HashMap<Label, HashSet<Arc<str>>>>,
}

impl LabelBook {
    /// The cleaned value, or `None` when the label already has all the values it may have: then
    /// the caller folds it to [`OTHER`] and counts that.
    pub(crate) fn admit(&self, label: Label, raw: &str) -> Option<Arc<str>> {
        let value = clean(raw);
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let known = values.entry(label).or_default();
        if let Some(known) = known.get(&*value) {
            return Some(Arc::clone(known));
        }
        if known.len() >= LABEL_VALUES_MAX {
            return None;
        }
        let value: Arc<str> = value.into();
        known.insert(Arc::clone(&value));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_trimmed_freed_of_control_characters_and_capped() {
        assert_eq!(clean("  acme \n"), "acme");
        assert_eq!(clean("ac\u{7}me\u{0}"), "acme");
        assert_eq!(clean(" \u{7} acme\u{85}\t "), "acme");
        assert_eq!(clean(&"x".repeat(200)), "x".repeat(128));
        assert_eq!(clean(&"ü".repeat(200)), "_".repeat(64));
        assert_eq!(clean(&format!("{}üy", "x".repeat(127))), "x".repeat(127));
        assert_eq!(clean(&format!("{} y", "x".repeat(127))), "x".repeat(127));
        assert_eq!(clean(&format!("\0{}", "x".repeat(200))), "x".repeat(128));
    }

    #[test]
    fn what_markup_shells_and_queries_mean_something_by_becomes_a_low_line() {
        let plain = "AZaz09_.:/-";
        assert_eq!(clean(plain), plain);
        let table = [
            ("<img src=x onerror=alert(1)>", "_img_src_x_onerror_alert_1__"),
            ("a\"b'c`d&e;f$g\\h", "a_b_c_d_e_f_g_h"),
            ("no such\u{a0}field", "no_such_field"),
            ("büro", "b_ro"),
            ("a\u{202e}b\u{feff}c", "a_b_c"),
        ];
        for (raw, cleaned) in table {
            assert_eq!(clean(raw), cleaned);
            assert_eq!(clean(cleaned), cleaned, "once is enough");
        }
    }

    #[test]
    fn empty_values_become_unknown() {
        for empty in ["", "   ", "\t\n", "\u{0}\u{1}", " \u{7} "] {
            assert_eq!(clean(empty), UNKNOWN, "{empty:?}");
        }
    }

    #[test]
    fn a_label_takes_64_values_and_refuses_the_next_but_not_known_ones() {
        let book = LabelBook::default();
        for value in 0..LABEL_VALUES_MAX {
            assert!(book.admit(Label::Realm, &format!("realm-{value}")).is_some());
        }
        assert_eq!(book.admit(Label::Realm, "one-more"), None);
        assert_eq!(book.admit(Label::Realm, " realm-0 ").as_deref(), Some("realm-0"));
        assert!(book.admit(Label::Kind, "one-more").is_some(), "each label has room of its own");
    }
}
