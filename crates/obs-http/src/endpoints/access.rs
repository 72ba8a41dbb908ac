//! Who may see the details.

use http::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// A token has at least this many bytes, so that it cannot be guessed.
pub const TOKEN_BYTES_MIN: usize = 16;

/// A token has at most this many bytes.
pub const TOKEN_BYTES_MAX: usize = 256;

/// Who is authorised.
///
/// ```
/// use obs_http::Access;
/// let access = Access::token("0123456789abcdef0123")?;
/// assert!(!format!("{access:?}").contains("0123"));
/// # Ok::<(), obs_http::TokenError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Access {
    /// Everybody who gets here: for a listener on loopback, and where a layer of yours decides.
    Open,
    /// Who sends `Authorization: Bearer` and the token. Make one with [`Access::token`].
    #[non_exhaustive]
    Token {
        /// The token.
        token: SecretToken,
    },
}

/// A token that never shows.
///
/// ```
/// fn is_named(_: fn(obs_http::SecretToken)) {}
/// ```
#[derive(Clone, Debug)]
pub struct SecretToken(SecretString);

/// Why a text is no token.
///
/// ```
/// let error = obs_http::Access::token("short").unwrap_err();
/// assert!(error.to_string().starts_with("the token has 5 bytes"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is too short or too long.
    #[error(
        "the token has {bytes} bytes, it must have {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX}: make one with \
         `openssl rand -hex 32`"
    )]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// A header cannot carry it.
    #[error(
        "the token has a character that a header cannot carry: use visible ASCII without blanks"
    )]
    Character,
}

impl Access {
    /// Lets in who knows the token.
    ///
    /// # Errors
    /// When it is shorter than [`TOKEN_BYTES_MIN`], longer than [`TOKEN_BYTES_MAX`], or not visible
    /// ASCII.
    ///
    /// ```
    /// use obs_http::Access;
    /// assert!(Access::token("with a blank inside of it").is_err());
    /// assert!(Access::token("0123456789abcdef0123").is_ok());
    /// ```
    pub fn token(token: &str) -> Result<Self, TokenError> {
        if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
            return Err(TokenError::Length { bytes: token.len() });
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Character);
        }
        Ok(Self::Token { token: SecretToken(token.into()) })
    }

    pub(crate) fn lets_in(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Open => true,
            Self::Token { token } => {
                sent(headers).is_some_and(|sent| same(sent, token.0.expose_secret()))
            }
        }
    }
}

fn sent(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Takes the same time for every token that was sent, so that answers do not help to guess.
fn same(sent: &str, token: &str) -> bool {
    let lengths = sent.len().ct_eq(&token.len());
    (padded(sent).ct_eq(&padded(token)) & lengths).into()
}

fn padded(token: &str) -> [u8; TOKEN_BYTES_MAX] {
    let mut bytes = [0; TOKEN_BYTES_MAX];
    bytes.iter_mut().zip(token.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123";

    fn lets_in(authorization: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        Access::token(TOKEN).unwrap().lets_in(&headers)
    }

    #[test]
    fn only_the_whole_token_lets_in() {
        assert!(lets_in(&format!("Bearer {TOKEN}")));
        assert!(lets_in(&format!("bearer  {TOKEN}")));
        for wrong in [
            TOKEN.to_owned(),
            format!("Basic {TOKEN}"),
            "Bearer ".to_owned(),
            format!("Bearer {}", &TOKEN[1..]),
            format!("Bearer {TOKEN}0"),
            format!("Bearer {}4", &TOKEN[..19]),
            format!("Bearer {TOKEN}{}", "0".repeat(300)),
        ] {
            assert!(!lets_in(&wrong), "{wrong}");
        }
        let access = Access::token(&"t".repeat(TOKEN_BYTES_MAX)).unwrap();
        let mut longer = HeaderMap::new();
        let text = format!("Bearer {}", "t".repeat(TOKEN_BYTES_MAX + 1));
        longer.insert(header::AUTHORIZATION, text.parse().unwrap());
        assert!(!access.lets_in(&longer));
        assert!(!access.lets_in(&HeaderMap::new()));
    }

    #[test]
    fn a_token_of_16_to_256_bytes_will_do() {
        for (bytes, will_do) in [(0, false), (15, false), (16, true), (256, true), (257, false)] {
            assert_eq!(Access::token(&"t".repeat(bytes)).is_ok(), will_do, "{bytes}");
        }
    }
}
