//! What is wrong with a setting.

use std::{error::Error, fmt};

use obs_core::Escaped;

use super::Origin;

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
    /// The file and the line that hold the value, where a file does.
    place: Option<(String, usize)>,
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
        Self { setting: setting.to_owned(), value, rule: rule.into(), place: None, source: None }
    }

    /// For values that may hold a password or a token.
    pub(crate) fn hidden(setting: &str, rule: impl Into<String>) -> Self {
        Self {
            setting: setting.to_owned(),
            value: None,
            rule: rule.into(),
            place: None,
            source: None,
        }
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

    /// For a file: where it is, what it says, what is wrong with it.
    pub(super) fn in_file(
        file: &str,
        line: usize,
        path: &str,
        value: Option<String>,
        rule: String,
    ) -> Self {
        let mut error = Self::hidden(path, rule);
        error.value = value.map(|value| value.chars().take(SHOWN_CHARS_MAX).collect());
        error.place = Some((file.to_owned(), line));
        error
    }

    /// The same, if the setting is a variable for which a file speaks: in terms of the file.
    pub(super) fn of_file(mut self, origin: impl FnOnce(&str) -> Option<Origin>) -> Self {
        if let Some(origin) = origin(&self.setting) {
            self.setting = origin.key;
            // What a reference stands for is not shown.
            self.value = self.value.map(|_| origin.raw.chars().take(SHOWN_CHARS_MAX).collect());
            self.place = Some((origin.file, origin.line));
        }
        self
    }

    /// What is wrong, for whoever knows the place.
    pub(super) fn rule(&self) -> &str {
        &self.rule
    }

    /// The file and the line that hold the value; `None` where a variable or code does.
    ///
    /// ```
    /// use obs::Environment;
    ///
    /// let error = obs::builder()
    ///     .environment(Environment::from_iter([("OBS_SLO", "fast")]))
    ///     .check()
    ///     .unwrap_err();
    /// assert_eq!(error.place(), None);
    /// ```
    #[must_use]
    pub fn place(&self) -> Option<(&str, usize)> {
        self.place.as_ref().map(|(file, line)| (file.as_str(), *line))
    }

    fn with_rule_of_source(mut self) -> Self {
        self.rule = self.source.as_ref().map(ToString::to_string).unwrap_or_default();
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, value, rule, place, .. } = self;
        if let Some((file, line)) = place {
            write!(f, "{}:{line}: ", Escaped(file))?;
        }
        // A key, and what a rule quotes, are the words of whoever wrote the file.
        let is_a_sentence = rule.starts_with("is ");
        let (setting, rule) = (Escaped(setting), Escaped(rule));
        match value {
            Some(value) if setting.0.is_empty() => write!(f, "{value:?}: {rule}"),
            None if setting.0.is_empty() => write!(f, "{rule}"),
            Some(value) => write!(f, "{setting}={value:?}: {rule}"),
            None if is_a_sentence => write!(f, "{setting} {rule}"),
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
