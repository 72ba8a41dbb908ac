//! How much of inputs is stored.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
};

use crate::subject::SubjectKey;

/// How much of an input is stored. Giving a run an input is the opt-in; this is what becomes of it.
///
/// ```
/// use obs_core::{Capture, KindSpec, Obs};
///
/// let obs = Obs::builder().capture_input(Capture::Shape).build()?;
/// let replayed = obs.define_kind(KindSpec::new("dsl.execution").capture_input(Capture::Redacted))?;
/// # let _ = replayed;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capture {
    /// The input without what the [`Redaction`](crate::Redaction) takes out.
    #[default]
    Redacted,
    /// Names, types, lengths and keyed hashes: `{"age":"number:6f1d…","name":"string:8:b2c4…"}`. Equal
    /// values have equal hashes, of 64 bits: across processes where a [`SubjectKey`] is configured, and in
    /// one process otherwise.
    Shape,
    /// Nothing.
    Off,
}

impl Capture {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Redacted, Self::Shape, Self::Off];

    /// The word that settings use.
    ///
    /// ```
    /// assert_eq!(obs_core::Capture::Shape.as_str(), "shape");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redacted => "redacted",
            Self::Shape => "shape",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// ```
/// use obs_core::Capture;
/// assert_eq!("off".parse(), Ok(Capture::Off));
/// let error = "all".parse::<Capture>().unwrap_err();
/// assert_eq!(error.to_string(), "\"all\" is not how much of an input is stored: use redacted, shape or off");
/// ```
impl FromStr for Capture {
    type Err = CaptureError;

    fn from_str(text: &str) -> Result<Self, CaptureError> {
        let known = Self::ALL.into_iter().find(|capture| capture.as_str() == text);
        known.ok_or_else(|| CaptureError(text.chars().take(SHOWN_CHARS_MAX).collect()))
    }
}

/// How much of a bad word a message shows.
const SHOWN_CHARS_MAX: usize = 64;

/// A word that is no [`Capture`].
///
/// ```
/// assert!("full".parse::<obs_core::Capture>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureError(String);

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(word) = self;
        write!(f, "{word:?} is not how much of an input is stored: use redacted, shape or off")
    }
}

impl std::error::Error for CaptureError {}

/// What stands in the place of values whose shape alone is stored.
#[derive(Clone, Debug)]
pub(crate) struct Shapes(SubjectKey);

impl Shapes {
    /// With a key of their own: the hash of a value must not be that of a subject.
    pub(crate) fn new(subject_key: Option<&SubjectKey>) -> Self {
        const PURPOSE: &[u8] = b"obs: shapes of inputs";
        let key = match subject_key {
            Some(key) => key.mac(PURPOSE),
            None => random(),
        };
        Self(SubjectKey::of_block(&key))
    }

    pub(crate) fn text(&self, text: &str) -> String {
        format!("string:{}:{}", text.len(), self.hash(text))
    }

    pub(crate) fn number(&self, number: &str) -> String {
        format!("number:{}", self.hash(number))
    }

    fn hash(&self, text: &str) -> String {
        let mac = self.0.mac(text.as_bytes());
        mac[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Bytes that the operating system chose for the hash tables of this process.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let state = RandomState::new();
    for (at, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&state.hash_one(at).to_ne_bytes());
    }
    bytes
}
