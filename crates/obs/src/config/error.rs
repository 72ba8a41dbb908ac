//! What is wrong with a setting.

use std::{error::Error, fmt};

/// How much of a bad value a message shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// A setting with a value that cannot be used.
///
/// The message names the setting, its value, the rule and the way out. Values that may hold a
/// password are never shown.
///
/// ```
/// use obs::Environment;
///
/// let environment = Environment::from_iter([("OBS_SAMPEL_RATE", "0.5")]);
/// let error = obs::builder().environment(environment).init().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "OBS_SAMPEL_RATE is not a setting: did you mean OBS_SAMPLE_RATE? Rename or unset it"
/// );
/// ```
#[derive(Debug)]
pub struct ConfigError {
    setting: String,
    /// `None` where the value is not shown.
    value: Option<String>,
    rule: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConfigError {
    /// The variable or the builder's method that holds the value.
    ///
    /// ```
    /// use obs::{Environment, InitError};
    ///
    /// let environment = Environment::from_iter([("OBS_QUEUE_RECORDS", "0")]);
    /// let Err(InitError::Config(error)) = obs::builder().environment(environment).init() else { panic!() };
    /// assert_eq!(error.setting(), "OBS_QUEUE_RECORDS");
    /// ```
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.setting
    }

    pub(crate) fn new(setting: &str, value: &str, rule: impl Into<String>) -> Self {
        let value = Some(value.chars().take(SHOWN_CHARS_MAX).collect());
        Self { setting: setting.to_owned(), value, rule: rule.into(), source: None }
    }

    /// For values that may hold a password or a token.
    pub(crate) fn hidden(setting: &str, rule: impl Into<String>) -> Self {
        Self { setting: setting.to_owned(), value: None, rule: rule.into(), source: None }
    }

    pub(crate) fn because(
        setting: &str,
        value: &str,
        error: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self { source: Some(Box::new(error)), ..Self::new(setting, value, "") }
            .with_rule_of_source()
    }

    pub(crate) fn secret_because(setting: &str, error: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(error)), ..Self::hidden(setting, "") }.with_rule_of_source()
    }

    fn with_rule_of_source(mut self) -> Self {
        self.rule = self.source.as_ref().map(ToString::to_string).unwrap_or_default();
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, value, rule, .. } = self;
        match value {
            Some(value) => write!(f, "{setting}={value:?}: {rule}"),
            None if rule.starts_with("is ") => write!(f, "{setting} {rule}"),
            None => write!(f, "{setting}: {rule}"),
        }
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The source's sentence is already the rule: only what lies below it is new.
        self.source.as_ref().and_then(|source| source.source())
    }
}
