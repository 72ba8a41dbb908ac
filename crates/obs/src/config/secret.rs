//! Secrets: from a variable, or from the file that another one names.

use std::{fs::File, io::Read as _};

use secrecy::SecretString;

use super::{Environment, error::ConfigError};

/// The largest file that is taken for a secret.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A secret, and the variable that it came from.
pub(super) type Named = (&'static str, SecretString);

/// The value of `variable`, or the first line of the file that `file_variable` names.
pub(super) fn secret(
    environment: &Environment,
    variable: &'static str,
    file_variable: &'static str,
) -> Result<Option<Named>, ConfigError> {
    match (environment.get(variable)?, environment.get(file_variable)?) {
        (Some(_), Some(_)) => {
            let rule = format!("is set, and {variable} too: unset one of them");
            Err(ConfigError::hidden(file_variable, rule))
        }
        (Some(value), None) => Ok(Some((variable, value.into()))),
        (None, Some(path)) => Ok(Some((file_variable, first_line(file_variable, path)?))),
        (None, None) => Ok(None),
    }
}

fn first_line(variable: &'static str, path: &str) -> Result<SecretString, ConfigError> {
    let refuse = |rule: String| ConfigError::new(variable, path, rule);
    let unreadable =
        |error| refuse(format!("cannot be read ({error}): name a file that this process may read"));
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!(
            "is longer than {FILE_BYTES_MAX} bytes: name a file that holds the secret and nothing else"
        )));
    }
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err(refuse("has an empty first line: write the secret there".to_owned()));
    }
    Ok(line.into())
}
