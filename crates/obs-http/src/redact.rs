//! Error texts as an operator may see them: without credentials, on one line, short.

/// An error in a health answer has at most this many bytes.
pub const ERROR_BYTES_MAX: usize = 256;

/// What is looked at of an error text, in bytes.
const LOOKED_AT_MAX: usize = 4 * 1024;

/// Words before a `=` or `:` whose value is nobody's business.
const SECRETS: [&str; 7] =
    ["password", "passwd", "pwd", "secret", "token", "apikey", "authorization"];

const HIDDEN: &str = "***";

pub(crate) fn redacted(error: &str) -> String {
    let error = &error[..error.floor_char_boundary(LOOKED_AT_MAX)];
    let line: String = error.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut shown = without_user_info(&line);
    shown = shown.split(' ').map(without_value).collect::<Vec<_>>().join(" ");
    let end = shown.floor_char_boundary(ERROR_BYTES_MAX);
    shown.truncate(end);
    shown
}

/// `scheme://user:word@host` becomes `scheme://***@host`.
fn without_user_info(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (scheme, after) = rest.split_at(at + 3);
        shown.push_str(scheme);
        // A password may have any character but these, as it is or by mistake.
        let end = after.find([' ', '"', '\'']).unwrap_or(after.len());
        match after[..end].rfind('@') {
            Some(user_info) => {
                shown.push_str(HIDDEN);
                rest = &after[user_info..];
            }
            None => rest = after,
        }
    }
    shown.push_str(rest);
    shown
}

/// `password=word` becomes `password=***`.
fn without_value(word: &str) -> String {
    let Some(at) = word.find(['=', ':']) else { return word.to_owned() };
    let key = word[..at].to_ascii_lowercase();
    if SECRETS.iter().any(|secret| key.contains(secret)) && at + 1 < word.len() {
        format!("{}{HIDDEN}", &word[..=at])
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden_and_the_rest_stays() {
        for (error, shown) in [
            (
                "cannot connect to postgres://app:s3cret@db:5432/obs: refused",
                "cannot connect to postgres://***@db:5432/obs: refused",
            ),
            ("postgres://app:p@ss/w@db/obs", "postgres://***@db/obs"),
            ("host=db password=s3cret user=app", "host=db password=*** user=app"),
            ("Authorization:abc", "Authorization:***"),
            ("see https://example.org/a", "see https://example.org/a"),
            ("relation \"obs.run_ok\" does not exist", "relation \"obs.run_ok\" does not exist"),
        ] {
            assert_eq!(redacted(error), shown);
        }
    }

    #[test]
    fn an_error_is_one_short_line() {
        assert_eq!(redacted("a\r\nb\u{1b}[31m"), "a  b [31m");
        assert_eq!(redacted(&"ü".repeat(10_000)).len(), ERROR_BYTES_MAX);
    }
}
