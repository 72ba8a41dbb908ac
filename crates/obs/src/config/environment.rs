//! The variables that settings come from, and what a file says in their place.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
};

use super::{error::ConfigError, file::File};

/// The environment variables that a [`Builder`](crate::Builder) reads.
///
/// A file may refer to any variable as `${NAME}`; settings by themselves are `OBS_*` and `OTEL_*`. The
/// `Debug` form shows their names and no values, because values may be passwords.
///
/// ```
/// use obs::Environment;
///
/// let environment = Environment::from_iter([("OBS_SAMPLE_RATE", "1.5")]);
/// let error = obs::builder().environment(environment).init().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "OBS_SAMPLE_RATE=\"1.5\": rate 1.5 is not in [0, 1]: use 0 for none, 1 for all, 0.05 for one in twenty"
/// );
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    /// Those for which a file speaks, and where it does.
    origins: BTreeMap<String, Origin>,
}

/// Where a file says what a variable could say, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) file: String,
    pub(super) line: usize,
    /// From the root: `obs.policy.slo`.
    pub(super) key: String,
    /// As it is written, with its references.
    pub(super) raw: String,
}

/// Variables of which only one may speak.
const TWINS: [(&str, &str); 3] = [
    ("OBS_PROMETHEUS_TOKEN", "OBS_PROMETHEUS_TOKEN_FILE"),
    ("OBS_STORE", "OBS_STORE_FILE"),
    ("OBS_SUBJECT_KEY", "OBS_SUBJECT_KEY_FILE"),
];

impl Environment {
    /// The environment of this process.
    ///
    /// ```
    /// let _environment = obs::Environment::process();
    /// ```
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
    pub fn process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    /// No variables at all: every setting comes from code or is the default.
    ///
    /// ```
    /// assert_eq!(obs::Environment::empty(), obs::Environment::default());
    /// ```
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The same with one variable set, instead of what it was; an empty value counts as unset.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let environment = Environment::empty().with("OBS_STORE", "sqlite:./other.sqlite");
    /// let settings = Configuration::read(None, &environment)?;
    /// assert_eq!(settings.store().unwrap().0.to_string(), "sqlite:./other.sqlite");
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> Self {
        self.variables.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// The value of a variable, trimmed; one that is empty counts as unset.
    pub(super) fn get(&self, name: &'static str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.variables.get(name) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| {
            ConfigError::hidden(
                name,
                "the value is not valid UTF-8: set it to plain text or unset it",
            )
        })?;
        Ok(Some(text.trim()).filter(|text| !text.is_empty()))
    }

    /// The first of several variables that is set, and its name.
    pub(super) fn first(
        &self,
        names: &[&'static str],
    ) -> Result<Option<(&'static str, &str)>, ConfigError> {
        for name in names {
            if let Some(value) = self.get(name)? {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|value| !value.is_empty())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
    }

    /// The value of any variable, untouched, for a reference to it.
    pub(super) fn raw(&self, name: &str) -> Option<Result<&str, ()>> {
        self.variables.get(name).map(|value| value.to_str().ok_or(()))
    }

    /// Where a file says it.
    pub(super) fn origin(&self, name: &str) -> Option<Origin> {
        self.origins.get(name).cloned()
    }

    /// With what a file says below the variables of ours, and without those of OpenTelemetry: its
    /// specification lets a file alone speak.
    pub(super) fn over(&self, file: &File) -> Self {
        let mut over = self.clone();
        over.variables.retain(|name, _| !name.starts_with("OTEL_"));
        for (variable, text, origin) in file.variables() {
            let twin = TWINS.into_iter().find_map(|(one, other)| match variable {
                _ if variable == one => Some(other),
                _ if variable == other => Some(one),
                _ => None,
            });
            if !self.is_set(variable) && twin.is_none_or(|twin| !self.is_set(twin)) {
                over.variables.insert(variable.to_owned(), text.into());
                over.origins.insert(variable.to_owned(), origin);
            }
        }
        over
    }
}

impl<K: Into<String>, V: AsRef<OsStr>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables =
            variables.into_iter().map(|(name, value)| (name.into(), value.as_ref().to_owned()));
        Self { variables: variables.collect(), origins: BTreeMap::new() }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = |name: &&String| name.starts_with("OBS_") || name.starts_with("OTEL_");
        let names: Vec<_> = self.variables.keys().filter(ours).collect();
        f.debug_tuple("Environment").field(&names).finish()
    }
}
