//! Settings by themselves: checked, shown, described, without starting anything.

use std::path::Path;

use super::{
    Checked, ConfigError, Environment, Given, effective,
    file::{self, File},
    with_file,
};

/// Settings that are valid: those of a file, or of variables alone.
///
/// ```
/// use obs::{Configuration, Environment};
///
/// let environment = Environment::from_iter([("OBS_SAMPLE_RATE", "0.5")]);
/// let shown = Configuration::read(None, &environment)?.show();
/// assert!(shown.contains("sample_rate: 0.5"), "{shown}");
/// # Ok::<(), obs::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Configuration {
    checked: Checked,
    /// What is in effect of variables, with what the file says in their place.
    environment: Environment,
}

impl Configuration {
    /// Reads a file, or the one that `OTEL_CONFIG_FILE` names, or variables alone.
    ///
    /// # Errors
    /// When a setting has a value that cannot be used: the message names the file and the line, or the
    /// variable.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let error = Configuration::read(Some("nowhere.yaml".as_ref()), &Environment::empty()).unwrap_err();
    /// assert!(error.to_string().contains("cannot be read"), "{error}");
    /// ```
    pub fn read(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let given = Given { file: file.map(Path::to_owned), ..Given::default() };
        let (checked, environment) = effective(&given, environment)?;
        Ok(Self { checked, environment })
    }

    /// Reads the text of a file; `name` stands for it in messages.
    ///
    /// # Errors
    /// When a setting has a value that cannot be used.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let text = "file_format: \"1.0\"\nobs: { policy: { slo: fast } }";
    /// let error = Configuration::parse("obs.yaml", text, &Environment::empty()).unwrap_err();
    /// assert_eq!(error.place(), Some(("obs.yaml", 2)));
    /// assert_eq!(error.setting(), "obs.policy.slo");
    /// ```
    pub fn parse(name: &str, text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        super::known::no_unknown_names(environment)?;
        let file = File::parse(name, text.to_owned(), environment)?;
        let (checked, environment) = with_file(&Given::default(), environment, &file)?;
        Ok(Self { checked, environment })
    }

    /// The effective values, defaults included, as a file that says the same; secrets are masked.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let shown = Configuration::read(None, &Environment::empty())?.show();
    /// assert!(shown.starts_with("file_format: \"1.0\"\n"), "{shown}");
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn show(&self) -> String {
        file::show(&self.checked, &self.environment)
    }

    /// Variables of OpenTelemetry that are set and change nothing, because the file does not refer to
    /// them.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let environment = Environment::from_iter([("OTEL_SERVICE_NAME", "orders")]);
    /// assert!(Configuration::read(None, &environment)?.ignored().is_empty());
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.checked.ignored
    }

    /// The JSON schema of the file, for editors.
    ///
    /// ```
    /// assert!(obs::Configuration::schema().contains("\"meter_provider\""));
    /// ```
    #[must_use]
    pub fn schema() -> String {
        let mut text = serde_json::to_string_pretty(&file::schema()).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Every key with its variable, type, unit, range, default and meaning, as tables in Markdown.
    ///
    /// ```
    /// assert!(obs::Configuration::reference().contains("| `obs.store.url` | `OBS_STORE` |"));
    /// ```
    #[must_use]
    pub fn reference() -> String {
        file::reference()
    }
}
