//! Configuration: raw values from code and environment, lifted once into checked ones.
//!
//! Code wins over the environment, the environment over a file for what is ours, and all of them over
//! the default. With a file, OpenTelemetry's variables count only where it refers to them. Only
//! `environment.rs` reads the process environment; everything else works on an [`Environment`] value.

mod configuration;
mod endpoint;
mod environment;
mod error;
mod file;
mod headers;
mod known;
mod logs;
pub(crate) mod model;
mod parse;
mod safety;
mod secret;
mod sentry;
mod spool;
mod variables;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use obs_core::{Capture, KeepPolicy, KeepRule, Limits, Policy, Rate, Redaction, SubjectKey};
use obs_persist::{Migrations, PersistConfig, RETENTION_LEAST, RETENTION_MOST, StoreUrl};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{logs::LogSettings, provider};
use file::File;

pub use configuration::Configuration;
pub use environment::Environment;
use environment::Origin;
pub use error::ConfigError;
pub(crate) use model::{MeterProvider, Model, Otlp};
pub(crate) use safety::Safety;
pub(crate) use sentry::SentrySettings;
pub(crate) use spool::SpoolUse;

/// Names the file of settings.
const CONFIG_FILE: &str = "OTEL_CONFIG_FILE";
/// The `OBS_STORE` that sends rows to the Collector of OpenTelemetry's variables for logs.
pub(crate) const STORE_OTLP: &str = "otlp";
/// The default of `OBS_STORE`.
pub(crate) const STORE_DEFAULT: &str = "sqlite:./obs.sqlite";
/// The default of `OBS_QUEUE_RECORDS`.
pub(crate) const QUEUE_RECORDS_DEFAULT: usize = 1_000;
/// The largest `OBS_QUEUE_RECORDS`: beyond it, memory and not the lane would be the limit.
pub(crate) const QUEUE_RECORDS_MAX: usize = 1_000_000;
/// The largest `OBS_TRACE_ENTRIES`; a row has no room for more.
pub(crate) const TRACE_ENTRIES_MAX: usize = 10_000;

/// The least and the most time between two heartbeats.
const HEARTBEATS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// Where metrics go.
///
/// ```
/// let builder = obs::builder().exporter(obs::Exporter::Console);
/// # let _ = builder;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exporter {
    /// To an OpenTelemetry Collector, or whatever else speaks OTLP.
    Otlp,
    /// To standard output, as a table for people.
    Console,
    /// To whom scrapes it: a page on `OTEL_EXPORTER_PROMETHEUS_HOST` and `…_PORT`, by default
    /// <http://localhost:9464/metrics>. Needs the feature `http`.
    Prometheus,
    /// Nowhere. Rows, the ledger and snapshots work all the same.
    None,
}

/// How OTLP travels.
///
/// ```
/// let builder = obs::builder().endpoint("http://localhost:4317").protocol(obs::Protocol::Grpc);
/// # let _ = builder;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// gRPC, usually on port 4317.
    Grpc,
    /// Protobuf over HTTP, usually on port 4318. The default.
    HttpProtobuf,
}

/// What code asked for; `None` leaves it to the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) file: Option<PathBuf>,
    /// A file that was read already, instead.
    pub(crate) read: Option<Box<File>>,
    /// Leaves out every way out but this one: it is tried out.
    pub(crate) only: Option<model::Only>,
    pub(crate) store: Option<SecretString>,
    pub(crate) store_required: Option<bool>,
    pub(crate) migrations: Option<Migrations>,
    pub(crate) rows: Option<bool>,
    pub(crate) policy: Option<KeepPolicy>,
    pub(crate) sample_rate: Option<f64>,
    pub(crate) slo: Option<Duration>,
    pub(crate) spool_dir: Option<PathBuf>,
    pub(crate) queue_records: Option<usize>,
    pub(crate) retention_ok: Option<Retain>,
    pub(crate) retention_error: Option<Retain>,
    pub(crate) trace_entries: Option<usize>,
    pub(crate) capture: Option<Capture>,
    pub(crate) redaction: Option<Redaction>,
    pub(crate) subject_key: Option<SubjectKey>,
    pub(crate) sentry: Option<SecretString>,
    pub(crate) exporter: Option<Exporter>,
    pub(crate) endpoint: Option<SecretString>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) export_interval: Option<Duration>,
    pub(crate) export_timeout: Option<Duration>,
    pub(crate) service_name: Option<String>,
    pub(crate) resource_attributes: Vec<(String, String)>,
}

/// How long rows of a class are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retain {
    For(Duration),
    Forever,
}

/// Everything `init` needs to know, valid by construction.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) rows: Rows,
    pub(crate) policy: KeepPolicy,
    pub(crate) slo: Option<Duration>,
    pub(crate) limits: Limits,
    /// Exceptions from the policy, which only a file can have.
    pub(crate) rules: Vec<KeepRule>,
    pub(crate) safety: Safety,
    pub(crate) logs: LogSettings,
    /// How often the process leaves a row of itself.
    pub(crate) heartbeat: Option<Duration>,
    /// Where reports of errors go.
    pub(crate) sentry: Option<SentrySettings>,
    /// Where everything else goes, and who we are.
    pub(crate) model: Model,
    /// Who may read the page for Prometheus; `None`: everybody on this machine.
    pub(crate) prometheus_token: Option<SecretString>,
    /// Variables that are set, concern metrics, and have no effect: named in one warning.
    pub(crate) ignored: Vec<String>,
}

/// Whether and where rows are stored.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    Off,
    On {
        store: StoreAddress,
        migrations: Migrations,
        required: bool,
        limits: Box<PersistConfig>,
        spool: SpoolUse,
    },
}

/// What is stored where.
#[derive(Clone, Debug)]
pub(crate) enum StoreAddress {
    Url(StoreUrl),
    /// As log events, at a Collector.
    Otlp(Box<Otlp>),
}

impl StoreAddress {
    /// The file, if it is one.
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Url(url) => url.file(),
            Self::Otlp(_) => None,
        }
    }
}

/// Without a password.
impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::Otlp(otlp) => write!(f, "otlp {}", otlp.endpoint),
        }
    }
}

/// Lifts the raw values, or says which one is wrong.
pub(crate) fn check(given: &Given, environment: &Environment) -> Result<Checked, ConfigError> {
    effective(given, environment).map(|(checked, _)| checked)
}

/// The same, with the variables that are in effect, a file's included.
fn effective(
    given: &Given,
    environment: &Environment,
) -> Result<(Checked, Environment), ConfigError> {
    known::no_unknown_names(environment)?;
    if let Some(file) = &given.read {
        return with_file(given, environment, file);
    }
    match file_named(given, environment)? {
        None => Ok((lift(given, environment, None)?, environment.clone())),
        Some((setting, path)) => {
            let file = File::read(setting, path, environment)?;
            with_file(given, environment, &file)
        }
    }
}

/// The file of settings, if there is to be one, and what names it.
pub(crate) fn file_named<'a>(
    given: &'a Given,
    environment: &'a Environment,
) -> Result<Option<(&'static str, &'a Path)>, ConfigError> {
    Ok(match &given.file {
        Some(path) => Some(("Builder::config_file", path.as_path())),
        None => environment.get(CONFIG_FILE)?.map(|path| (CONFIG_FILE, Path::new(path))),
    })
}

/// What stands in the file of settings.
pub(crate) fn text_of_file(setting: &str, path: &Path) -> Result<String, ConfigError> {
    File::text(setting, path)
}

/// The policy of a file that says this, if all of it is valid.
pub(crate) fn policy_of(
    given: &Given,
    environment: &Environment,
    (path, text): (&Path, String),
) -> Result<Policy, ConfigError> {
    let file = File::parse(&path.to_string_lossy(), text, environment)?;
    with_file(given, environment, &file).map(|(checked, _)| checked.live())
}

impl Checked {
    /// Where errors are reported to: nowhere, where everything that is exported is switched off.
    pub(crate) fn reports(&self) -> Option<&SentrySettings> {
        self.sentry.as_ref().filter(|_| !self.model.disabled)
    }

    /// What of it may change later.
    pub(crate) fn live(&self) -> Policy {
        Policy { keep: self.policy, limits: self.limits, rules: self.rules.clone() }
    }
}

fn with_file(
    given: &Given,
    environment: &Environment,
    file: &File,
) -> Result<(Checked, Environment), ConfigError> {
    let over = environment.over(file);
    let mut checked = lift(given, &over, Some(file))
        .map_err(|error| error.of_file(|setting| over.origin(setting)))?;
    checked.rules = file.rules()?;
    checked.ignored = known::without_effect(environment, file);
    Ok((checked, over))
}

fn lift(
    given: &Given,
    environment: &Environment,
    file: Option<&File>,
) -> Result<Checked, ConfigError> {
    let mut model = match file {
        Some(file) => variables::over_file(given, environment, file.model())?,
        None => variables::model(given, environment)?,
    };
    refuse_unsupported(&model, environment, file)?;
    refuse_impossible(&model.meter_provider, file)?;
    let Some(only) = given.only else { return lift_rest(given, environment, model) };
    model.keep_only(only);
    let mut checked = lift_rest(given, environment, model)?;
    // Whoever tries one way out is not the service.
    checked.heartbeat = None;
    if matches!(only, model::Only::Reader(_) | model::Only::Spans(_) | model::Only::Logs(_)) {
        checked.sentry = None;
    }
    Ok(checked)
}

/// What is ours.
fn lift_rest(
    given: &Given,
    environment: &Environment,
    model: Model,
) -> Result<Checked, ConfigError> {
    let (policy, slo) = policy(given, environment)?;
    Ok(Checked {
        rows: rows(given, environment, &model)?,
        policy,
        slo,
        limits: limits(given, environment)?,
        rules: Vec::new(),
        safety: safety::check(given, environment)?,
        logs: logs::check(environment, model.log_level)?,
        heartbeat: parse::interval(environment, "OBS_HEARTBEAT", HEARTBEATS)?,
        sentry: sentry::check(given, environment, &model.resource)?,
        model,
        prometheus_token: secret::secret(
            environment,
            "OBS_PROMETHEUS_TOKEN",
            "OBS_PROMETHEUS_TOKEN_FILE",
        )?
        .map(|(_, token)| token),
        ignored: Vec::new(),
    })
}

/// What is right by itself and impossible together, and what the SDK would leave out without a word.
fn refuse_impossible(settings: &MeterProvider, file: Option<&File>) -> Result<(), ConfigError> {
    let clash = settings.clash().map(|rule| ("meter_provider.readers", rule.to_owned()));
    let problem = || Some(("meter_provider.views", provider::views::problem(settings)?));
    let Some((path, rule)) = clash.or_else(problem) else { return Ok(()) };
    Err(match file {
        Some(file) => ConfigError::in_file(&file.name, file.line_of(path), path, None, rule),
        None => ConfigError::hidden("OTEL_METRICS_EXPORTER", rule),
    })
}

/// What the model holds and nothing consumes yet must not look as if it worked.
fn refuse_unsupported(
    model: &Model,
    environment: &Environment,
    file: Option<&File>,
) -> Result<(), ConfigError> {
    let Some(unsupported) = model::supported::unsupported(model) else { return Ok(()) };
    const RULE: &str = "is not supported yet: leave it out";
    Err(match (environment.first(unsupported.variables)?, file) {
        (Some((name, value)), _) => ConfigError::new(name, value, RULE),
        (None, Some(file)) => {
            let line = file.line_of(unsupported.path);
            ConfigError::in_file(&file.name, line, unsupported.path, None, RULE.to_owned())
        }
        (None, None) => ConfigError::hidden(unsupported.path, RULE),
    })
}

fn policy(
    given: &Given,
    environment: &Environment,
) -> Result<(KeepPolicy, Option<Duration>), ConfigError> {
    let mut policy = given.policy.unwrap_or_default();
    let rate = match given.sample_rate {
        Some(rate) => Some(("Builder::sample_rate", rate.to_string(), rate)),
        None if given.policy.is_some() => None,
        None => parse::number(environment, "OBS_SAMPLE_RATE")?,
    };
    if let Some((setting, shown, rate)) = rate {
        policy.ok_rate =
            Rate::new(rate).map_err(|error| ConfigError::because(setting, &shown, error))?;
    }
    if given.policy.is_none() {
        let by = parse::sample_by(environment, "OBS_SAMPLE_BY")?;
        policy.sample_by = by.unwrap_or_default();
    }
    match (given.slo, given.policy) {
        (Some(Duration::ZERO), _) => {
            return Err(ConfigError::new(
                "Builder::slo",
                "0 s",
                "an SLO is longer than 0: use e.g. 250 ms",
            ));
        }
        (Some(slo), _) => policy.slow = Some(slo),
        (None, Some(_)) => {}
        (None, None) => match environment.get("OBS_SLO")? {
            None => {}
            Some("off") => policy.slow = None,
            Some(text) => policy.slow = Some(parse::duration("OBS_SLO", text)?),
        },
    }
    Ok((policy, policy.slow))
}

fn rows(given: &Given, environment: &Environment, model: &Model) -> Result<Rows, ConfigError> {
    let on = match given.rows {
        Some(rows) => rows,
        None => parse::boolean(environment, "OBS_ENABLED")?.unwrap_or(true),
    };
    let required = match given.store_required {
        Some(required) => required,
        None => parse::boolean(environment, "OBS_STORE_REQUIRED")?.unwrap_or(false),
    };
    let store = store(given, environment, model)?;
    let migrations = match (given.migrations, environment.get("OBS_STORE_MIGRATE")?) {
        (Some(migrations), _) => migrations,
        (None, None | Some("start")) => Migrations::AtStart,
        (None, Some("external")) => Migrations::External,
        (None, Some(other)) => {
            let rule = "not who migrates: use start, or external where `obs migrate` does";
            return Err(ConfigError::new("OBS_STORE_MIGRATE", other, rule));
        }
    };
    let (setting, queue_records) = match given.queue_records {
        Some(records) => ("Builder::queue_records", Some(records)),
        None => ("OBS_QUEUE_RECORDS", parse::whole(environment, "OBS_QUEUE_RECORDS")?),
    };
    let queue_records = queue_records.unwrap_or(QUEUE_RECORDS_DEFAULT);
    parse::within(
        setting,
        queue_records,
        (1, QUEUE_RECORDS_MAX),
        "a queue holds at least one record",
    )?;
    let mut limits = PersistConfig::default();
    limits.queue_records = queue_records;
    let ok = ("Builder::retention_ok", given.retention_ok, limits.retention_ok);
    limits.retention_ok = retention(environment, "OBS_RETENTION_OK", ok)?;
    let error = ("Builder::retention_error", given.retention_error, limits.retention_error);
    limits.retention_error = retention(environment, "OBS_RETENTION_ERROR", error)?;
    let spool = spool::check(given, environment, &store, &mut limits)?;
    let limits = Box::new(limits);
    let rows = Rows::On { store, migrations, required, limits, spool };
    Ok(if on { rows } else { Rows::Off })
}

fn store(
    given: &Given,
    environment: &Environment,
    model: &Model,
) -> Result<StoreAddress, ConfigError> {
    let (setting, url) = match &given.store {
        Some(url) => ("Builder::store", url.clone()),
        None => secret::secret(environment, "OBS_STORE", "OBS_STORE_FILE")?
            .unwrap_or_else(|| ("OBS_STORE", STORE_DEFAULT.into())),
    };
    if url.expose_secret().trim() == STORE_OTLP {
        // A file says it where it says everything about log records.
        let otlp = match model.logger_provider.otlp() {
            Some(otlp) => otlp.clone(),
            None => variables::logs_target(given, environment)?,
        };
        return Ok(StoreAddress::Otlp(Box::new(otlp)));
    }
    // The value may hold a password: the store's own message shows what it may.
    StoreUrl::parse(url.expose_secret())
        .map(StoreAddress::Url)
        .map_err(|error| ConfigError::secret_because(setting, error))
}

/// `None` is for ever.
fn retention(
    environment: &Environment,
    name: &'static str,
    (method, given, default): (&'static str, Option<Retain>, Option<Duration>),
) -> Result<Option<Duration>, ConfigError> {
    let retain = match given {
        Some(Retain::For(time)) if !(RETENTION_LEAST..=RETENTION_MOST).contains(&time) => {
            let rule = "outside 1 to 36500 days: use a value inside, or None to keep rows for ever";
            return Err(ConfigError::new(method, &format!("{time:?}"), rule));
        }
        Some(retain) => Some(retain),
        None => environment.get(name)?.map(|text| parse::days(name, text)).transpose()?,
    };
    Ok(match retain {
        Some(Retain::For(time)) => Some(time),
        Some(Retain::Forever) => None,
        None => default,
    })
}

fn limits(given: &Given, environment: &Environment) -> Result<Limits, ConfigError> {
    let mut limits = Limits::default();
    let (setting, entries) = match given.trace_entries {
        Some(entries) => ("Builder::trace_entries", Some(entries)),
        None => ("OBS_TRACE_ENTRIES", parse::whole(environment, "OBS_TRACE_ENTRIES")?),
    };
    if let Some(entries) = entries {
        parse::within(setting, entries, (0, TRACE_ENTRIES_MAX), "0 switches traces off")?;
        limits.trace_entries = entries;
    }
    Ok(limits)
}

#[cfg(test)]
mod tests;
