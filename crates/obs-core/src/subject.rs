//! Subjects as keyed hashes: rows of one person belong together, and only who has the key can say to
//! whom.

use std::{fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};

use crate::{
    encode::{Sanitized, clean_text},
    limits::{SUBJECT_BYTES_MAX, SUBJECT_KEY_BYTES_MAX, SUBJECT_KEY_BYTES_MIN},
};

/// What stands before the hexadecimal digits of a hash.
const PREFIX: &str = "hmac-sha256:";

/// The key of the hashes that stand in the place of subjects. It is wiped from memory when its last
/// clone is dropped, and never shown.
///
/// Without the key nobody can tell whose rows they are; with it, erasure finds them, because
/// [`hash`](Self::hash) gives the same text each time. Another key gives other hashes: who changes it
/// erases the rows written before with the old one.
///
/// ```
/// use obs_core::SubjectKey;
///
/// let key = SubjectKey::new(b"a secret of at least 16 bytes")?;
/// assert!(key.hash("user-7").starts_with("hmac-sha256:"));
/// assert_eq!(key.hash("user-7"), key.hash("user-7"));
/// assert_eq!(format!("{key:?}"), "SubjectKey(..)");
/// # Ok::<(), obs_core::SubjectKeyError>(())
/// ```
#[derive(Clone)]
pub struct SubjectKey(
    // As a block of the hash function, which is how HMAC takes it.
    Arc<SecretBox<[u8; BLOCK_BYTES]>>,
);

/// The block of SHA-256.
const BLOCK_BYTES: usize = 64;

impl SubjectKey {
    /// A key of 16 to 4,096 bytes; 32 random bytes are a good one.
    ///
    /// # Errors
    /// When the secret is too short to be one, or too long.
    ///
    /// ```
    /// let error = obs_core::SubjectKey::new(b"short").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "a subject key of 5 bytes is outside 16 to 4096: take 32 random bytes, e.g. from `openssl rand -hex 32`"
    /// );
    /// ```
    #[expect(clippy::indexing_slicing, reason = "a digest is half of a block")]
    pub fn new(secret: &[u8]) -> Result<Self, SubjectKeyError> {
        if !(SUBJECT_KEY_BYTES_MIN..=SUBJECT_KEY_BYTES_MAX).contains(&secret.len()) {
            return Err(SubjectKeyError { bytes: secret.len() });
        }
        let mut block = Box::new([0; BLOCK_BYTES]);
        // As RFC 2104 says: a key that is longer than a block is hashed first.
        match block.get_mut(..secret.len()) {
            Some(start) => start.copy_from_slice(secret),
            None => block[..32].copy_from_slice(&Sha256::digest(secret)),
        }
        Ok(Self(Arc::new(SecretBox::new(block))))
    }

    /// A key that was derived from another one, or is random.
    #[expect(clippy::indexing_slicing, reason = "the start is half of a block")]
    pub(crate) fn of_block(start: &[u8; 32]) -> Self {
        let mut block = Box::new([0; BLOCK_BYTES]);
        block[..32].copy_from_slice(start);
        Self(Arc::new(SecretBox::new(block)))
    }

    /// What is stored for a subject: `hmac-sha256:` and 64 hexadecimal digits, the HMAC of the subject
    /// as it would be stored without a key (at most 256 bytes, no NUL).
    ///
    /// ```
    /// # use obs_core::SubjectKey;
    /// let key = SubjectKey::new(b"what do ya want for nothing?")?;
    /// assert_eq!(key.hash("user-7").len(), 76);
    /// # Ok::<(), obs_core::SubjectKeyError>(())
    /// ```
    #[must_use]
    pub fn hash(&self, subject: &str) -> Box<str> {
        self.hash_clean(&clean_text(subject, SUBJECT_BYTES_MAX, &mut Sanitized::default()))
    }

    /// The same for a subject that is clean already.
    #[expect(clippy::indexing_slicing, reason = "half of a byte is below 16")]
    pub(crate) fn hash_clean(&self, subject: &str) -> Box<str> {
        let mut text = String::with_capacity(PREFIX.len() + 64);
        text.push_str(PREFIX);
        for byte in self.mac(subject.as_bytes()) {
            for nibble in [byte >> 4, byte & 0xF] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        text.into()
    }

    /// The whole HMAC-SHA-256 of some bytes.
    pub(crate) fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new(self.0.expose_secret().into());
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

/// What is stored for a subject without a key: at most 256 bytes of it, and no NUL.
///
/// ```
/// assert_eq!(&*obs_core::stored_subject("user-7"), "user-7");
/// assert_eq!(obs_core::stored_subject(&"x".repeat(300)).len(), 256);
/// ```
#[must_use]
pub fn stored_subject(subject: &str) -> Box<str> {
    clean_text(subject, SUBJECT_BYTES_MAX, &mut Sanitized::default()).into()
}

/// A secret that cannot be the key of hashes: too short or too long. It is not shown.
///
/// ```
/// assert!(obs_core::SubjectKey::new(&[0; 5_000]).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectKeyError {
    bytes: usize,
}

impl fmt::Display for SubjectKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a subject key of {} bytes is outside {SUBJECT_KEY_BYTES_MIN} to {SUBJECT_KEY_BYTES_MAX}: \
             take 32 random bytes, e.g. from `openssl rand -hex 32`",
            self.bytes
        )
    }
}

impl std::error::Error for SubjectKeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 2 of RFC 4231 has a key that we call too short; these are its cases 6 and 7, and one
    /// of a short key that was computed with Python's `hmac`.
    #[test]
    fn it_is_the_hmac_that_everybody_computes() {
        let long = SubjectKey::new(&[0xaa; 131]).unwrap();
        assert_eq!(
            &*long.hash("Test Using Larger Than Block-Size Key - Hash Key First"),
            "hmac-sha256:60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(
            &*long.hash(
                "This is a test using a larger than block-size key and a larger than block-size data. \
                 The key needs to be hashed before being used by the HMAC algorithm."
            ),
            "hmac-sha256:9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
        );
        let short = SubjectKey::new(b"0123456789abcdef").unwrap();
        assert_eq!(&*short.hash("user-7"), PYTHON);
    }

    const PYTHON: &str =
        "hmac-sha256:5c29e327f461d4e7a07e76567bfedd4526cf4b8a167ba1eb30d80468e0600889";

    #[test]
    fn what_is_hashed_is_what_would_have_been_stored() {
        let key = SubjectKey::new(b"0123456789abcdef").unwrap();
        assert_eq!(key.hash(&"x".repeat(300)), key.hash(&"x".repeat(256)));
        assert_ne!(key.hash(&"x".repeat(255)), key.hash(&"x".repeat(256)));
        assert_eq!(key.hash("a\0b"), key.hash("a\u{FFFD}b"));
    }

    #[test]
    fn keys_differ_and_lengths_are_bounded() {
        let (one, two) = ([1_u8; 16], [2_u8; 16]);
        assert_ne!(
            SubjectKey::new(&one).unwrap().hash("user-7"),
            SubjectKey::new(&two).unwrap().hash("user-7")
        );
        assert!(SubjectKey::new(&[1; 15]).is_err());
        assert!(SubjectKey::new(&[1; 4_096]).is_ok());
        assert!(SubjectKey::new(&[1; 4_097]).is_err());
    }
}
