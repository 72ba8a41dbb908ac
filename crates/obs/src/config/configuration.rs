//! Settings by themselves: checked, shown, described, without starting anything.

use std::path::{Path, PathBuf};

use obs_core::SubjectKey;
use obs_persist::{Migrations, Retention, SpoolDir, StoreUrl};

use super::{
    CONFIG_FILE, Checked, ConfigError, Environment, Given, Rows, StoreAddress, effective,
    file::{self, File},
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
    pub(crate) checked: Checked,
    /// What is in effect of variables, with what the file says in their place.
    environment: Environment,
    /// The file and the variables that it was made of.
    pub(crate) file: Option<Box<File>>,
    pub(crate) variables: Environment,
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
        let named = match file {
            Some(path) => Some(("the file", path)),
            None => environment.get(CONFIG_FILE)?.map(|path| (CONFIG_FILE, Path::new(path))),
        };
        let file = named.map(|(setting, path)| File::read(setting, path, environment));
        Self::of(file.transpose()?, environment)
    }

    fn of(file: Option<File>, variables: &Environment) -> Result<Self, ConfigError> {
        let file = file.map(Box::new);
        let given = Given { read: file.clone(), ..Given::default() };
        let (checked, environment) = effective(&given, variables)?;
        Ok(Self { checked, environment, file, variables: variables.clone() })
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
        let file = File::parse(name, text.to_owned(), environment)?;
        Self::of(Some(file), environment)
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

    /// The store of rows, and who migrates it; `None` where there are no rows, or where they leave as
    /// log events.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let settings = Configuration::read(None, &Environment::empty())?;
    /// assert_eq!(settings.store().unwrap().0.to_string(), "sqlite:./obs.sqlite");
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn store(&self) -> Option<(&StoreUrl, Migrations)> {
        match &self.checked.rows {
            Rows::On { store: StoreAddress::Url(url), migrations, .. } => Some((url, *migrations)),
            _ => None,
        }
    }

    /// Whether anybody said where the store is: otherwise it is the default, a file in the working directory.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let nobody = Environment::empty();
    /// assert!(!Configuration::read(None, &nobody)?.names_store());
    /// let somebody = nobody.with("OBS_STORE", "sqlite:./obs.sqlite");
    /// assert!(Configuration::read(None, &somebody)?.names_store());
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn names_store(&self) -> bool {
        let named = self.environment.first(&["OBS_STORE", "OBS_STORE_FILE"]);
        named.is_ok_and(|named| named.is_some())
    }

    /// How long rows are kept; `None` where there are none.
    ///
    /// ```
    /// use obs::{Class, Configuration, Environment};
    ///
    /// let environment = Environment::from_iter([("OBS_RETENTION_ERROR", "off")]);
    /// let retention = Configuration::read(None, &environment)?.retention().unwrap();
    /// assert_eq!(retention.of(Class::Error), None);
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn retention(&self) -> Option<Retention> {
        let Rows::On { limits, .. } = &self.checked.rows else { return None };
        Some(limits.retention())
    }

    /// The key of the hashes that stand for subjects, if there is one. Whoever looks for a subject needs it.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let environment = Environment::from_iter([("OBS_SUBJECT_KEY", "0123456789abcdef0123456789abcdef")]);
    /// assert!(Configuration::read(None, &environment)?.subject_key().is_some());
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn subject_key(&self) -> Option<&SubjectKey> {
        self.checked.safety.subject_key.as_ref()
    }

    /// The folder of the spool, if there is to be one.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let settings = Configuration::read(None, &Environment::empty())?;
    /// assert_eq!(settings.spool_dir(), Some("./obs.sqlite.spool".into()));
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn spool_dir(&self) -> Option<PathBuf> {
        let Rows::On { limits, .. } = &self.checked.rows else { return None };
        match limits.spool_dir.as_ref()? {
            SpoolDir::Given(folder) | SpoolDir::Default(folder) => Some(folder.clone()),
            _ => None,
        }
    }

    /// Why errors would wait in memory only, although there is a folder for them.
    ///
    /// ```
    /// use obs::{Configuration, Environment};
    ///
    /// let environment = Environment::from_iter([("OBS_SPOOL", "off")]);
    /// assert_eq!(Configuration::read(None, &environment)?.spool_objection(), None);
    /// # Ok::<(), obs::ConfigError>(())
    /// ```
    #[must_use]
    pub fn spool_objection(&self) -> Option<String> {
        let Rows::On { limits, .. } = &self.checked.rows else { return None };
        limits.spool_dir.as_ref()?.objection()
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
