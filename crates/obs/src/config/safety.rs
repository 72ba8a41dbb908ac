//! What rows may hold of somebody else's data.

use obs_core::{Capture, Redaction, SubjectKey};
use secrecy::ExposeSecret as _;

use super::{Environment, Given, error::ConfigError, parse, secret::secret};

/// How much of inputs is stored, what is redacted, and the key of the hashes of subjects.
#[derive(Clone, Debug)]
pub(crate) struct Safety {
    pub(crate) capture: Capture,
    pub(crate) redaction: Redaction,
    pub(crate) subject_key: Option<SubjectKey>,
}

pub(super) fn check(given: &Given, environment: &Environment) -> Result<Safety, ConfigError> {
    Ok(Safety {
        capture: match given.capture {
            Some(capture) => capture,
            None => capture_variable(environment)?,
        },
        redaction: match &given.redaction {
            Some(redaction) => redaction.clone(),
            None => redaction_variables(environment)?,
        },
        subject_key: match &given.subject_key {
            Some(key) => Some(key.clone()),
            None => subject_key(environment)?,
        },
    })
}

fn capture_variable(environment: &Environment) -> Result<Capture, ConfigError> {
    const NAME: &str = "OBS_CAPTURE_INPUT";
    let Some(text) = environment.get(NAME)? else { return Ok(Capture::default()) };
    text.to_ascii_lowercase().parse().map_err(|_| {
        ConfigError::new(NAME, text, "not how much of inputs is stored: use redacted, shape or off")
    })
}

fn redaction_variables(environment: &Environment) -> Result<Redaction, ConfigError> {
    const KEYS: &str = "OBS_REDACT_KEYS";
    const ALLOWED: &str = "OBS_REDACT_ALLOW";
    let mut redaction = Redaction::default();
    if let Some(text) = environment.get(KEYS)? {
        let names = names(text);
        let added = names.iter().filter(|name| name.starts_with('+')).count();
        if added > 0 && added < names.len() {
            let rule = "either every name adds to the list and begins with +, or none does and they replace it: \
                        use e.g. +salary,+birthday";
            return Err(ConfigError::new(KEYS, text, rule));
        }
        let plain = names.iter().map(|name| name.strip_prefix('+').unwrap_or(name));
        redaction = if added > 0 { redaction.also(plain) } else { redaction.keys(plain) };
        redaction = checked(KEYS, text, redaction)?;
    }
    if let Some(text) = environment.get(ALLOWED)? {
        redaction = checked(ALLOWED, text, redaction.allow_only(names(text)))?;
    }
    let patterns = parse::boolean(environment, "OBS_REDACT_PATTERNS")?;
    Ok(redaction.patterns(patterns.unwrap_or(true)))
}

fn names(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn checked(name: &'static str, text: &str, redaction: Redaction) -> Result<Redaction, ConfigError> {
    redaction.checked().map_err(|error| ConfigError::because(name, text, error))
}

fn subject_key(environment: &Environment) -> Result<Option<SubjectKey>, ConfigError> {
    let Some((name, key)) = secret(environment, "OBS_SUBJECT_KEY", "OBS_SUBJECT_KEY_FILE")? else {
        return Ok(None);
    };
    SubjectKey::new(key.expose_secret().as_bytes())
        .map(Some)
        .map_err(|error| ConfigError::secret_because(name, error))
}
