//! Where reports of errors go, and what they say of us.

use std::{fmt, path::PathBuf};

use http::Uri;
use opentelemetry::Value;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Environment, Given, error::ConfigError, model::Resource, parse, secret};

/// Longer names of an environment or a release are not taken by Sentry's servers, in characters.
const NAME_CHARS_MAX: usize = 64;
/// What a key looks like where it is shown.
const MASK: &str = "****************";

/// Reports to a server of Sentry.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(any(feature = "sentry", test)),
    expect(dead_code, reason = "read by what sends reports")
)]
pub(crate) struct SentrySettings {
    pub(crate) dsn: Dsn,
    /// A PEM file: who is trusted instead of whom the machine trusts.
    pub(crate) authority: Option<PathBuf>,
    /// Where the service runs, e.g. `production`.
    pub(crate) environment: Option<String>,
    /// What of the service runs.
    pub(crate) release: Option<String>,
    /// The share of traces whose kept runs are transactions, 0 to 1.
    pub(crate) trace_rate: f64,
    /// Whether a report has the subject and the input of its run.
    pub(crate) personal_data: bool,
}

/// An address of Sentry: `https://KEY@HOST/PROJECT`. What it shows of itself has no key.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(any(feature = "sentry", test)),
    expect(dead_code, reason = "read by what sends reports")
)]
pub(crate) struct Dsn {
    key: SecretString,
    endpoint: Uri,
    /// With a mask in place of the key.
    masked: String,
}

/// A DSN that cannot be used. Its text is not shown, because it has a key in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a DSN of Sentry: copy it from the project's settings, https://KEY@HOST/PROJECT")]
pub(crate) struct DsnError;

/// The settings; `None` where no DSN is set.
pub(super) fn check(
    given: &Given,
    environment: &Environment,
    resource: &Resource,
) -> Result<Option<SentrySettings>, ConfigError> {
    let trace_rate = share(environment, "OBS_SENTRY_TRACE_RATE")?;
    let personal_data = parse::boolean(environment, "OBS_SENTRY_PERSONAL_DATA")?;
    let runs_in = name(environment, "OBS_SENTRY_ENVIRONMENT")?;
    let release = name(environment, "OBS_SENTRY_RELEASE")?;
    let named = match &given.sentry {
        Some(dsn) => Some(("Builder::sentry", dsn.clone())),
        None => secret::secret(environment, "OBS_SENTRY_DSN", "OBS_SENTRY_DSN_FILE")?,
    };
    let Some((setting, dsn)) = named else { return Ok(None) };
    let dsn = Dsn::parse(dsn.expose_secret().trim())
        .map_err(|error| ConfigError::secret_because(setting, error))?;
    Ok(Some(SentrySettings {
        dsn,
        authority: environment.get("OBS_SENTRY_CERTIFICATE")?.map(PathBuf::from),
        environment: runs_in.or_else(|| text(resource, "deployment.environment.name")),
        release: release.or_else(|| release_of(resource)),
        trace_rate: trace_rate.unwrap_or(0.0),
        personal_data: personal_data.unwrap_or(false),
    }))
}

fn share(environment: &Environment, name: &'static str) -> Result<Option<f64>, ConfigError> {
    let Some((setting, shown, share)) = parse::number(environment, name)? else { return Ok(None) };
    obs_core::Rate::new(share)
        .map(|rate| Some(rate.get()))
        .map_err(|error| ConfigError::because(setting, &shown, error))
}

/// A name that Sentry takes.
fn name(environment: &Environment, name: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(text) = environment.get(name)? else { return Ok(None) };
    if !is_name(text) {
        let rule = format!(
            "not a name that Sentry takes: use 1 to {NAME_CHARS_MAX} characters, without spaces and slashes"
        );
        return Err(ConfigError::new(name, text, rule));
    }
    Ok(Some(text.to_owned()))
}

fn is_name(text: &str) -> bool {
    let fits = !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX;
    fits && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/' || c == '\\')
}

/// An attribute of the resource that Sentry takes as a name; others stay at home.
fn text(resource: &Resource, key: &str) -> Option<String> {
    let value = resource.attributes.get(key).map(Value::to_string)?;
    is_name(&value).then_some(value)
}

/// `service@version`, as Sentry's own tools name releases.
fn release_of(resource: &Resource) -> Option<String> {
    let version = text(resource, "service.version")?;
    let service = resource.service_name.clone().or_else(|| text(resource, "service.name"));
    let release = match service {
        Some(service) => format!("{service}@{version}"),
        None => version,
    };
    is_name(&release).then_some(release)
}

impl Dsn {
    pub(crate) fn parse(text: &str) -> Result<Self, DsnError> {
        let uri: Uri = text.parse().map_err(|_| DsnError)?;
        let scheme =
            uri.scheme_str().filter(|it| ["http", "https"].contains(it)).ok_or(DsnError)?;
        let authority = uri.authority().ok_or(DsnError)?.as_str();
        let (user, host) = authority.rsplit_once('@').ok_or(DsnError)?;
        // Old ones have a secret after the key, which nobody needs any more.
        let key = user.split(':').next().unwrap_or_default();
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'*';
        let (path, project) = uri.path().trim_end_matches('/').rsplit_once('/').ok_or(DsnError)?;
        let is_project = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_whole = !key.is_empty() && !project.is_empty() && !host.is_empty();
        let is_plain = key.bytes().all(is_key) && project.bytes().all(is_project);
        if !is_whole || !is_plain || uri.query().is_some() {
            return Err(DsnError);
        }
        let endpoint = format!("{scheme}://{host}{path}/api/{project}/envelope/");
        let endpoint = endpoint.parse().map_err(|_| DsnError)?;
        let masked = format!("{scheme}://{MASK}@{host}{path}/{project}");
        Ok(Self { key: key.to_owned().into(), endpoint, masked })
    }

    #[cfg(feature = "sentry")]
    pub(crate) fn key(&self) -> &str {
        self.key.expose_secret()
    }

    /// Where envelopes are posted.
    #[cfg(feature = "sentry")]
    pub(crate) const fn endpoint(&self) -> &Uri {
        &self.endpoint
    }
}

/// The address, with a mask in place of the key.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Option<SentrySettings>, ConfigError> {
        let environment: Environment = variables.iter().copied().collect();
        super::super::check(&Given::default(), &environment).map(|checked| checked.sentry)
    }

    const DSN: &str = "https://abc123@o1.ingest.example/42";

    #[test]
    fn a_dsn_is_an_address_and_a_key_that_nothing_shows() {
        for (text, endpoint, masked) in [
            (
                DSN,
                "https://o1.ingest.example/api/42/envelope/",
                "https://****************@o1.ingest.example/42",
            ),
            (
                "http://abc123:old@[::1]:9000/sentry/42/",
                "http://[::1]:9000/sentry/api/42/envelope/",
                "http://****************@[::1]:9000/sentry/42",
            ),
        ] {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!(
                (dsn.key.expose_secret(), dsn.endpoint.to_string().as_str()),
                ("abc123", endpoint)
            );
            assert_eq!(dsn.to_string(), masked);
            assert!(!format!("{dsn:?} {dsn}").contains("abc123"));
            assert_eq!(
                Dsn::parse(masked).unwrap().to_string(),
                masked,
                "what is shown is accepted"
            );
        }
    }

    #[test]
    fn what_is_no_dsn_is_refused_without_showing_it() {
        for text in [
            "",
            "abc",
            "https://o1.ingest.example/42",
            "https://@o1.ingest.example/42",
            "https://abc123@o1.ingest.example",
            "https://abc123@o1.ingest.example/",
            "ftp://abc123@o1.ingest.example/42",
            "https://abc,123@o1.ingest.example/42",
            "https://abc123@o1.ingest.example/42?x=1",
        ] {
            assert_eq!(Dsn::parse(text).unwrap_err(), DsnError, "{text}");
        }
        let error = settings(&[("OBS_SENTRY_DSN", "https://hunter2@o1")]).unwrap_err().to_string();
        assert!(error.starts_with("OBS_SENTRY_DSN: not a DSN of Sentry"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn nothing_is_reported_without_a_dsn_and_a_bad_value_is_refused_all_the_same() {
        assert!(settings(&[("OBS_SENTRY_TRACE_RATE", "0.5")]).unwrap().is_none());
        assert!(settings(&[("OBS_SENTRY_TRACE_RATE", "2")]).is_err());
        assert!(settings(&[("OBS_SENTRY_RELEASE", "a/b")]).is_err());
    }

    #[test]
    fn by_default_there_are_no_traces_and_no_personal_data_and_the_names_are_those_of_the_resource()
    {
        let resource =
            "deployment.environment.name=staging,service.version=1.4.0,service.name=orders";
        let of = |more: &[(&str, &str)]| {
            let both = [("OBS_SENTRY_DSN", DSN), ("OTEL_RESOURCE_ATTRIBUTES", resource)];
            settings(&[&both, more].concat()).unwrap().unwrap()
        };
        let quiet = of(&[]);
        assert_eq!((quiet.trace_rate, quiet.personal_data), (0.0, false));
        assert_eq!(quiet.authority, None);
        assert_eq!(quiet.environment.as_deref(), Some("staging"));
        assert_eq!(quiet.release.as_deref(), Some("orders@1.4.0"));
        let named = of(&[("OBS_SENTRY_ENVIRONMENT", "eu"), ("OBS_SENTRY_RELEASE", "r7")]);
        assert_eq!(
            (named.environment.as_deref(), named.release.as_deref()),
            (Some("eu"), Some("r7"))
        );
    }
}
