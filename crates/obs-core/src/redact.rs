//! What a row must not say: fields by their names, secrets and personal data by their looks, and
//! whatever a hook of the application knows.
//!
//! R1 A value is redacted while it is encoded, so that nothing behind the encoder can hold it: no lane,
//!    spool, table, quarantine or log. Only runs that are kept are looked at.
//! R2 First the names: what stands under one that is listed is not looked at any further. Then the
//!    looks, in what is left of texts. Then the hook.
//! R3 A hook that panics costs its row the payload, never the row.
//! R4 Work is linear in the text, and bounded, because every text was cut before.

mod glance;
mod keys;
mod known;
mod pan;
mod patterns;

use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    encode::{Sanitized, discard},
    error::BuildError,
    label,
    limits::REDACT_KEYS_MAX,
    outcome::Outcome,
};

pub(crate) use glance::Glance;
use keys::Keys;
pub(crate) use known::{Tag, knows, knows_word};

/// What stands in the place of what was redacted.
pub(crate) const REDACTED: &str = "[redacted]";

/// What is not stored, for [`Builder::redaction`](crate::Builder::redaction).
///
/// By default these are the values of fields whose names contain, in whatever case and spelling,
/// `password`, `passwd`, `passphrase`, `pwd`, `secret`, `token`, `credential`, `api_key`, `access_key`,
/// `private_key`, `authorization`, `cookie`, `session`, `iban`, `card`, `cvv`, `email`, `phone`, or the
/// words `ssn` or `pan`; and in every text JWTs, PEM blocks, keys of AWS, Google, GitHub, GitLab, Slack
/// and Stripe, `user:password` in URLs, `password=…`, card numbers and e-mail addresses.
///
/// ```
/// use obs_core::{Obs, Redaction};
///
/// let redaction = Redaction::default().also(["salary", "=dob"]);
/// let obs = Obs::builder().redaction(redaction).build()?;
/// # let _ = obs;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone)]
#[must_use = "give it to `Builder::redaction`"]
pub struct Redaction {
    keys: Vec<String>,
    allowed: Option<Vec<String>>,
    patterns: bool,
    hook: Option<Hook>,
}

type Hook = Arc<dyn Fn(&Field<'_>) -> Verdict + Send + Sync>;

/// A text or number that is about to be stored, for the hook of a [`Redaction`].
///
/// ```
/// use obs_core::{Redaction, Verdict};
/// let _redaction = Redaction::default().hook(|field| match field.key {
///     Some("iban") => Verdict::Redact,
///     _ => Verdict::Keep,
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field<'a> {
    /// Which part of the row it belongs to.
    pub place: Place,
    /// The name that it stands under, where there is one.
    pub key: Option<&'a str>,
    /// The text, or the number as it is written.
    pub text: &'a str,
}

/// A part of a row.
///
/// ```
/// assert_ne!(obs_core::Place::Input, obs_core::Place::Trace);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// The input.
    Input,
    /// The attributes.
    Attributes,
    /// The trace.
    Trace,
    /// The error's message, also that of a panic.
    ErrorMessage,
}

/// What the hook of a [`Redaction`] decides.
///
/// ```
/// let _verdict = obs_core::Verdict::Replace("someone".to_owned());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is stored.
    Keep,
    /// `[redacted]` is stored.
    Redact,
    /// This is stored.
    Replace(String),
}

impl Default for Redaction {
    fn default() -> Self {
        Self {
            keys: keys::DEFAULT.map(str::to_owned).to_vec(),
            allowed: None,
            patterns: true,
            hook: None,
        }
    }
}

impl Redaction {
    /// Replaces the list of names. One that begins with `=` must be whole words of a name. At most
    /// 256 names of at most 64 bytes.
    ///
    /// ```
    /// let _redaction = obs_core::Redaction::default().keys(["salary"]);
    /// ```
    pub fn keys(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.keys = keys.into_iter().map(Into::into).collect();
        self
    }

    /// Adds to the list of names.
    ///
    /// ```
    /// let _redaction = obs_core::Redaction::default().also(["salary"]);
    /// ```
    pub fn also(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.keys.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Stores values only below fields with these names, in whatever case and spelling; names and
    /// structure are stored all the same. What is listed otherwise stays redacted. The error's message is
    /// stored if `error_message` is one of the names.
    ///
    /// ```
    /// let _redaction = obs_core::Redaction::default().allow_only(["mag", "depth", "error_message"]);
    /// ```
    pub fn allow_only(mut self, keys: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.allowed = Some(keys.into_iter().map(Into::into).collect());
        self
    }

    /// Whether texts are searched for what looks like a secret. Default: yes.
    ///
    /// ```
    /// let _redaction = obs_core::Redaction::default().patterns(false);
    /// ```
    pub const fn patterns(mut self, patterns: bool) -> Self {
        self.patterns = patterns;
        self
    }

    /// Asks about every text and number that the lists leave: on the thread of the run, only for runs
    /// that are kept. If it panics, the row is stored without input, attributes, trace and message, and
    /// that is counted.
    ///
    /// ```
    /// use obs_core::{Place, Redaction, Verdict};
    /// let _redaction = Redaction::default().hook(|field| {
    ///     if field.place == Place::Input && field.text.starts_with("user-") {
    ///         Verdict::Replace("user".to_owned())
    ///     } else {
    ///         Verdict::Keep
    ///     }
    /// });
    /// ```
    pub fn hook(mut self, hook: impl Fn(&Field<'_>) -> Verdict + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// The same if it can be used; [`Builder::build`](crate::Builder::build) checks it, too.
    ///
    /// # Errors
    /// When a name has no letter or digit or is too long, or there are too many.
    ///
    /// ```
    /// assert!(obs_core::Redaction::default().also(["--"]).checked().is_err());
    /// ```
    pub fn checked(self) -> Result<Self, BuildError> {
        self.check().map(|_| self)
    }

    pub(crate) fn check(&self) -> Result<Rules, BuildError> {
        let allowed = self.allowed.as_deref();
        let count = self.keys.len() + allowed.map_or(0, <[String]>::len);
        if count > REDACT_KEYS_MAX {
            return Err(BuildError::redact_keys(count, REDACT_KEYS_MAX));
        }
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Ok(Rules {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            keys: Keys::new(&self.keys)?,
            allowed: allowed.map(Keys::new).transpose()?,
            patterns: self.patterns,
            hook: self.hook.clone(),
        })
    }
}

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction")
            .field("keys", &self.keys)
            .field("allowed", &self.allowed)
            .field("patterns", &self.patterns)
            .field("hook", &self.hook.is_some())
            .finish()
    }
}

/// A checked [`Redaction`].
pub(crate) struct Rules {
    /// No other rules of this process have it.
    number: u64,
    keys: Keys,
    allowed: Option<Keys>,
    patterns: bool,
    hook: Option<Hook>,
}

/// What becomes of the value under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// It is not stored.
    Hidden,
    /// It is stored, with everything below it, where only listed names are.
    Allowed,
    /// It is looked at.
    Neither,
}

impl Rules {
    pub(crate) fn named(&self, name: &[u8]) -> Named {
        if self.keys.find(name) {
            Named::Hidden
        } else if self.allowed.as_ref().is_some_and(|allowed| allowed.is(name)) {
            Named::Allowed
        } else {
            Named::Neither
        }
    }

    /// Whether texts and names are looked at each for itself: no hook is asked, and nothing depends on the
    /// names around them.
    pub(crate) const fn are_simple(&self) -> bool {
        self.allowed.is_none() && self.hook.is_none()
    }

    /// Whether a text may be stored as it is, by its looks; for [simple](Self::are_simple) rules.
    #[inline]
    pub(crate) fn pass(&self, text: &str, glance: Glance) -> bool {
        !glance.has_signs() || !self.patterns || patterns::find(text, 0, &self.keys).is_none()
    }

    /// Whether a name stands in JSON as it is, and its value is looked at as any other; for
    /// [simple](Self::are_simple) rules.
    #[inline]
    pub(crate) fn pass_name(&self, name: &str) -> bool {
        known::passes(self.tag(), name, || {
            let glance = Glance::at(name);
            glance.is_plain() && self.pass(name, glance) && !self.keys.find(name.as_bytes())
        })
    }

    /// Under which this thread [`knows`] names that [pass](Self::pass_name); for [simple](Self::are_simple) rules.
    #[inline]
    pub(crate) const fn tag(&self) -> Tag {
        Tag::of_rules(self.number)
    }

    /// Whether a number of so many bytes may be one that is not stored; for [simple](Self::are_simple)
    /// rules.
    #[inline]
    pub(crate) const fn concern_number(bytes: usize) -> bool {
        bytes >= pan::DIGITS_MIN
    }

    /// Whether only what is listed is stored.
    pub(crate) fn has_allowed(&self) -> bool {
        self.allowed.is_some()
    }

    /// Whether the strings of some JSON text that has no objects below its own must be looked at one by one.
    /// Without a text of which a [`Glance`] has signs, nothing can be found.
    pub(crate) fn concern_json(&self, json: &str, has_signs: bool) -> bool {
        self.allowed.is_some()
            || self.hook.is_some()
            || self.patterns && has_signs && patterns::may_find_in_json(json, &self.keys)
    }

    /// A text as it may be stored, by its looks.
    pub(crate) fn by_looks<'t>(&self, text: &'t str, changed: &mut Sanitized) -> Cow<'t, str> {
        if !Glance::at(text).has_signs() {
            return Cow::Borrowed(text);
        }
        let find = |from| if self.patterns { patterns::find(text, from, &self.keys) } else { None };
        let Some(first) = find(0) else { return Cow::Borrowed(text) };
        let mut clean = String::with_capacity(text.len());
        let (mut from, mut next) = (0, Some(first));
        while let Some(found) = next {
            clean.push_str(&text[from..found.start]);
            clean.push_str(REDACTED);
            changed.redacted += 1;
            from = found.end;
            next = find(from);
        }
        clean.push_str(&text[from..]);
        Cow::Owned(clean)
    }

    /// The same, and what the hook makes of it.
    pub(crate) fn text<'t>(
        &self,
        place: Place,
        key: Option<&str>,
        text: &'t str,
        changed: &mut Sanitized,
    ) -> Cow<'t, str> {
        let text = self.by_looks(text, changed);
        match self.ask(&Field { place, key, text: &text }, changed) {
            Verdict::Keep => text,
            Verdict::Redact => Cow::Borrowed(REDACTED),
            Verdict::Replace(other) => Cow::Owned(other),
        }
    }

    /// What is stored instead of a number, if not the number.
    pub(crate) fn number(
        &self,
        place: Place,
        key: Option<&str>,
        number: &str,
        changed: &mut Sanitized,
    ) -> Option<String> {
        if self.patterns && is_card_number(number) {
            changed.redacted += 1;
            return Some(REDACTED.to_owned());
        }
        match self.ask(&Field { place, key, text: number }, changed) {
            Verdict::Keep => None,
            Verdict::Redact => Some(REDACTED.to_owned()),
            Verdict::Replace(other) => Some(other),
        }
    }

    /// An error's message as it may be stored.
    pub(crate) fn message<'t>(&self, message: &'t str, changed: &mut Sanitized) -> Cow<'t, str> {
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.is(b"error_message")) {
            changed.redacted += 1;
            return Cow::Borrowed(REDACTED);
        }
        self.text(Place::ErrorMessage, None, message, changed)
    }

    /// The outcome with another error type, where its own must not be a label.
    pub(crate) fn outcome<'o>(&self, outcome: &Outcome<'o>) -> Option<Outcome<'o>> {
        self.error_type(outcome.error_type.as_deref()?)
            .map(|safe| Outcome { error_type: Some(Cow::Owned(safe)), ..outcome.clone() })
    }

    /// An error type that may be a label, where its own must not.
    fn error_type(&self, error_type: &str) -> Option<String> {
        // Before characters are replaced, by which an address would no longer look like one.
        let label = label::printed(error_type);
        match self.by_looks(&label, &mut Sanitized::default()) {
            Cow::Borrowed(_) => None,
            Cow::Owned(safe) => Some(safe),
        }
    }

    /// Whether a hook wants to know names.
    pub(crate) fn has_hook(&self) -> bool {
        self.hook.is_some()
    }

    fn ask(&self, field: &Field<'_>, changed: &mut Sanitized) -> Verdict {
        let Some(hook) = &self.hook else { return Verdict::Keep };
        if changed.redactor > 0 {
            // The row has lost its payload already.
            return Verdict::Redact;
        }
        let verdict = catch_unwind(AssertUnwindSafe(|| hook(field))).unwrap_or_else(|payload| {
            discard(payload);
            changed.redactor += 1;
            Verdict::Redact
        });
        changed.redacted += u64::from(verdict != Verdict::Keep);
        verdict
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("keys", &self.keys).finish_non_exhaustive()
    }
}

fn is_card_number(number: &str) -> bool {
    let mut digits = [0; 20];
    let Some(digits) = digits.get_mut(..number.len()) else { return false };
    for (digit, byte) in digits.iter_mut().zip(number.bytes()) {
        if !byte.is_ascii_digit() {
            return false;
        }
        *digit = byte - b'0';
    }
    pan::is_card(digits)
}

#[cfg(test)]
mod tests;
