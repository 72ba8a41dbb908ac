//! Settings by code, and the set-up that they lead to.

use std::time::Duration;

use obs_core::{Capture, KeepPolicy, Redaction, SubjectKey};
use obs_persist::Migrations;

use crate::{
    config::{self, ConfigError, Environment, Exporter, Given, Protocol, Retain},
    error::InitError,
    init::set_up,
    telemetry::Telemetry,
};

/// Sets telemetry up from the environment alone: `OBS_*` and `OTEL_*`; works with none of them.
///
/// # Errors
/// When a setting has a value that cannot be used. A store or a Collector that cannot be reached
/// is no error: see [`InitError`].
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let telemetry = obs::init()?;
/// let bonus = telemetry.kind("dsl.execution").strategy("welcome-bonus").version("3").build()?;
/// let points: Result<f64, String> = bonus.observe(&"event", |run| {
///     run.subject("user-7");
///     Ok(12.5)
/// });
/// println!("{points:?}; {}", telemetry.shutdown_blocking(Duration::from_secs(5)));
/// # Ok(())
/// # }
/// ```
pub fn init() -> Result<Telemetry, InitError> {
    builder().init()
}

/// Settings by code, which win over the environment.
///
/// ```
/// # use obs::Environment;
/// let telemetry = obs::builder()
///     .service_name("orders")
///     .sample_rate(0.1)
/// #   .environment(Environment::empty())
///     .rows(false)
///     .init()?;
/// # Ok::<(), obs::InitError>(())
/// ```
pub fn builder() -> Builder {
    Builder::default()
}

/// Settings by code. Whatever is not set comes from the environment, and then from the default.
///
/// Nothing is checked before [`init`](Self::init).
///
/// ```
/// let builder = obs::builder().store("sqlite:./runs.sqlite").sample_rate(1.0);
/// # let _ = builder;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing before `init`"]
pub struct Builder {
    pub(crate) given: Given,
    pub(crate) environment: Option<Environment>,
    pub(crate) seed: Option<u64>,
    pub(crate) snapshots: bool,
    pub(crate) logs: bool,
}

impl Builder {
    /// Reads these variables instead of the environment of the process.
    ///
    /// ```
    /// let builder = obs::builder().environment(obs::Environment::empty());
    /// # let _ = builder;
    /// ```
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Reads this file of settings, in OpenTelemetry's declarative format with a block `obs`. Variable
    /// `OTEL_CONFIG_FILE`. Code wins over the file, and so do variables `OBS_*`; of OpenTelemetry's
    /// variables those count that the file refers to.
    ///
    /// ```
    /// # use obs::Environment;
    /// let error = obs::builder()
    /// #   .environment(Environment::empty())
    ///     .config_file("nowhere/obs.yaml")
    ///     .check()
    ///     .unwrap_err();
    /// assert!(error.to_string().starts_with("Builder::config_file=\"nowhere/obs.yaml\": cannot be read"), "{error}");
    /// ```
    pub fn config_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.given.file = Some(path.into());
        self
    }

    /// Where rows are stored: `sqlite:PATH`, `postgres://…`, or `otlp`, as log events at the Collector of
    /// OpenTelemetry's variables for logs. Variable `OBS_STORE`, or
    /// `OBS_STORE_FILE` for the first line of a file; default `sqlite:./obs.sqlite`.
    ///
    /// ```
    /// let builder = obs::builder().store("sqlite:/var/lib/orders/runs.sqlite");
    /// # let _ = builder;
    /// ```
    pub fn store(mut self, url: impl Into<String>) -> Self {
        self.given.store = Some(url.into().into());
        self
    }

    /// Whether `init` fails when the store is not ready. Variable `OBS_STORE_REQUIRED`, default
    /// no: start degraded and go on trying.
    ///
    /// ```
    /// let builder = obs::builder().store_required(true);
    /// # let _ = builder;
    /// ```
    pub const fn store_required(mut self, required: bool) -> Self {
        self.given.store_required = Some(required);
        self
    }

    /// Whether runs become rows at all; metrics go on without. Variable `OBS_ENABLED`, default
    /// yes.
    ///
    /// ```
    /// let builder = obs::builder().rows(false);
    /// # let _ = builder;
    /// ```
    pub const fn rows(mut self, rows: bool) -> Self {
        self.given.rows = Some(rows);
        self
    }

    /// The share of ok runs that is kept, in \[0, 1\]. Variable `OBS_SAMPLE_RATE`, default 0.05.
    ///
    /// ```
    /// let builder = obs::builder().sample_rate(1.0);
    /// # let _ = builder;
    /// ```
    pub const fn sample_rate(mut self, rate: f64) -> Self {
        self.given.sample_rate = Some(rate);
        self
    }

    /// How long a run may take before it is slow: slow runs are kept, and the SLO is a bound of
    /// the duration histogram. Variable `OBS_SLO`, default 0.25 s.
    ///
    /// ```
    /// let builder = obs::builder().slo(std::time::Duration::from_millis(100));
    /// # let _ = builder;
    /// ```
    pub const fn slo(mut self, slo: Duration) -> Self {
        self.given.slo = Some(slo);
        self
    }

    /// The whole keep policy, instead of `OBS_SAMPLE_RATE`, `OBS_SAMPLE_BY` and `OBS_SLO`. Rules of a file are
    /// exceptions from it all the same.
    ///
    /// ```
    /// use obs::KeepPolicy;
    /// let builder = obs::builder().policy(KeepPolicy { slow: None, first: 10, ..KeepPolicy::default() });
    /// # let _ = builder;
    /// ```
    pub const fn policy(mut self, policy: KeepPolicy) -> Self {
        self.given.policy = Some(policy);
        self
    }

    /// Who brings the store's schema up to date. Variable `OBS_STORE_MIGRATE`: `start`, the default,
    /// or `external` for a role that may not, beside `obs migrate` by one that may.
    ///
    /// ```
    /// let builder = obs::builder().migrations(obs::Migrations::External);
    /// # let _ = builder;
    /// ```
    pub const fn migrations(mut self, migrations: Migrations) -> Self {
        self.given.migrations = Some(migrations);
        self
    }

    /// How many ok records wait for the store at most, 1 to 1,000,000. Variable
    /// `OBS_QUEUE_RECORDS`, default 1,000.
    ///
    /// ```
    /// let builder = obs::builder().queue_records(10_000);
    /// # let _ = builder;
    /// ```
    pub const fn queue_records(mut self, records: usize) -> Self {
        self.given.queue_records = Some(records);
        self
    }

    /// The folder of the spool, in which errors wait for the store. Variable `OBS_SPOOL_DIR`.
    ///
    /// ```
    /// let builder = obs::builder().spool_dir("/var/lib/orders/spool");
    /// # let _ = builder;
    /// ```
    pub fn spool_dir(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.given.spool_dir = Some(folder.into());
        self
    }

    /// How long ok rows are kept, 1 to 36,500 days; `None` is for ever. Postgres drops whole UTC
    /// days once all of them is older, SQLite deletes rows. Variable `OBS_RETENTION_OK` (days, or
    /// `off`), default 30 days.
    ///
    /// ```
    /// let week = std::time::Duration::from_secs(7 * 86_400);
    /// let builder = obs::builder().retention_ok(Some(week));
    /// # let _ = builder;
    /// ```
    pub const fn retention_ok(mut self, time: Option<Duration>) -> Self {
        self.given.retention_ok = Some(retain(time));
        self
    }

    /// The same for errors. Variable `OBS_RETENTION_ERROR`, default 180 days.
    ///
    /// ```
    /// let builder = obs::builder().retention_error(None);
    /// # let _ = builder;
    /// ```
    pub const fn retention_error(mut self, time: Option<Duration>) -> Self {
        self.given.retention_error = Some(retain(time));
        self
    }

    /// How many entries of a trace a row keeps at most, 0 to 10,000. Variable
    /// `OBS_TRACE_ENTRIES`, default 200.
    ///
    /// ```
    /// let builder = obs::builder().trace_entries(50);
    /// # let _ = builder;
    /// ```
    pub const fn trace_entries(mut self, entries: usize) -> Self {
        self.given.trace_entries = Some(entries);
        self
    }

    /// How much of inputs is stored, where a kind says nothing else. Variable `OBS_CAPTURE_INPUT`
    /// (`redacted`, `shape` or `off`), default redacted.
    ///
    /// ```
    /// let builder = obs::builder().capture_input(obs::Capture::Shape);
    /// # let _ = builder;
    /// ```
    pub const fn capture_input(mut self, capture: Capture) -> Self {
        self.given.capture = Some(capture);
        self
    }

    /// What is not stored. Variables `OBS_REDACT_KEYS` (names that replace the list, or add to it if
    /// each begins with `+`), `OBS_REDACT_ALLOW` (the only names whose values are stored) and
    /// `OBS_REDACT_PATTERNS` (whether texts are searched for secrets), of which none counts then.
    ///
    /// ```
    /// let builder = obs::builder().redaction(obs::Redaction::default().also(["salary"]));
    /// # let _ = builder;
    /// ```
    pub fn redaction(mut self, redaction: Redaction) -> Self {
        self.given.redaction = Some(redaction);
        self
    }

    /// Stores subjects as keyed hashes. Variable `OBS_SUBJECT_KEY`, or `OBS_SUBJECT_KEY_FILE` for the
    /// first line of a file; without a key subjects are stored as they are given.
    ///
    /// ```
    /// let key = obs::SubjectKey::new(b"a secret of at least 16 bytes")?;
    /// let builder = obs::builder().subject_key(key);
    /// # let _ = builder;
    /// # Ok::<(), obs::SubjectKeyError>(())
    /// ```
    pub fn subject_key(mut self, key: SubjectKey) -> Self {
        self.given.subject_key = Some(key);
        self
    }

    /// A server of Sentry that failed, panicked and timed-out runs are reported to, as its project's settings show
    /// it: `https://KEY@HOST/PROJECT`. Variables `OBS_SENTRY_DSN` and `OBS_SENTRY_DSN_FILE`; by default none. Needs the
    /// feature `sentry`.
    ///
    /// ```
    /// let builder = obs::builder().sentry("https://0123456789abcdef@sentry.example/42");
    /// assert!(!format!("{builder:?}").contains("0123456789abcdef"));
    /// ```
    pub fn sentry(mut self, dsn: impl Into<String>) -> Self {
        self.given.sentry = Some(dsn.into().into());
        self
    }

    /// Where metrics go. Variable `OTEL_METRICS_EXPORTER`; by default OTLP if an endpoint is set,
    /// and nowhere otherwise.
    ///
    /// ```
    /// let builder = obs::builder().exporter(obs::Exporter::Console);
    /// # let _ = builder;
    /// ```
    pub const fn exporter(mut self, exporter: Exporter) -> Self {
        self.given.exporter = Some(exporter);
        self
    }

    /// The base address of the Collector. Variables `OTEL_EXPORTER_OTLP_ENDPOINT` (a base, too)
    /// and `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` (complete).
    ///
    /// ```
    /// let builder = obs::builder().endpoint("http://collector:4318");
    /// # let _ = builder;
    /// ```
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.given.endpoint = Some(endpoint.into().into());
        self
    }

    /// How OTLP travels. Variable `OTEL_EXPORTER_OTLP_PROTOCOL`, default HTTP with protobuf.
    ///
    /// ```
    /// let builder = obs::builder().endpoint("http://collector:4317").protocol(obs::Protocol::Grpc);
    /// # let _ = builder;
    /// ```
    pub const fn protocol(mut self, protocol: Protocol) -> Self {
        self.given.protocol = Some(protocol);
        self
    }

    /// How often metrics are exported. Variable `OTEL_METRIC_EXPORT_INTERVAL` (milliseconds),
    /// default 60 s.
    ///
    /// ```
    /// let builder = obs::builder().export_interval(std::time::Duration::from_secs(10));
    /// # let _ = builder;
    /// ```
    pub const fn export_interval(mut self, interval: Duration) -> Self {
        self.given.export_interval = Some(interval);
        self
    }

    /// How long one collection and its export may take. Variable `OTEL_METRIC_EXPORT_TIMEOUT`
    /// (milliseconds), default 30 s.
    ///
    /// ```
    /// let builder = obs::builder().export_timeout(std::time::Duration::from_secs(5));
    /// # let _ = builder;
    /// ```
    pub const fn export_timeout(mut self, timeout: Duration) -> Self {
        self.given.export_timeout = Some(timeout);
        self
    }

    /// What the service is called. Variable `OTEL_SERVICE_NAME`, default `unknown_service:` and
    /// the name of the executable.
    ///
    /// ```
    /// let builder = obs::builder().service_name("orders");
    /// # let _ = builder;
    /// ```
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.given.service_name = Some(name.into());
        self
    }

    /// Something else that is true of this process as a whole. Variable
    /// `OTEL_RESOURCE_ATTRIBUTES`; the same key in code wins.
    ///
    /// ```
    /// let builder = obs::builder().resource_attribute("deployment.environment.name", "staging");
    /// # let _ = builder;
    /// ```
    pub fn resource_attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.given.resource_attributes.push((key.into(), value.into()));
        self
    }

    /// Makes the draws of the keep decision repeatable, for tests and demonstrations. On one
    /// thread, one seed keeps the same runs.
    ///
    /// ```
    /// let builder = obs::builder().seed(7);
    /// # let _ = builder;
    /// ```
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether [`Telemetry::snapshot`] works. Off by default: it needs a reader, which costs time
    /// in every measurement where there is no exporter, or one that is not cumulative.
    ///
    /// ```
    /// let builder = obs::builder().snapshots(true);
    /// # let _ = builder;
    /// ```
    pub const fn snapshots(mut self, snapshots: bool) -> Self {
        self.snapshots = snapshots;
        self
    }

    /// Checks the settings, and starts nothing: for a test of a deployment's variables.
    ///
    /// # Errors
    /// When a setting has a value that cannot be used.
    ///
    /// ```
    /// use obs::Environment;
    /// let environment = Environment::from_iter([("OBS_SLO", "fast")]);
    /// let error = obs::builder().environment(environment).check().unwrap_err();
    /// assert!(error.to_string().starts_with("OBS_SLO=\"fast\": "), "{error}");
    /// ```
    pub fn check(&self) -> Result<(), ConfigError> {
        let process;
        let environment = match &self.environment {
            Some(environment) => environment,
            None => {
                process = Environment::process();
                &process
            }
        };
        config::check(&self.given, environment).map(drop)
    }

    /// Makes `tracing`'s events of the whole process lines on the standard error output, before anything else is
    /// set up: as [`install_logs`](Telemetry::install_logs), and as that one an error where the process has a
    /// subscriber already. Off by default.
    ///
    /// ```
    /// let builder = obs::builder().logs(true);
    /// # let _ = builder;
    /// ```
    pub const fn logs(mut self, install: bool) -> Self {
        self.logs = install;
        self
    }

    /// Sets telemetry up. Returns at once, without waiting for store or Collector; with
    /// `OBS_STORE_REQUIRED=true` it waits for the store, at most
    /// [`STORE_WAIT`](crate::STORE_WAIT).
    ///
    /// # Errors
    /// When a setting has a value that cannot be used, or a required store is not ready.
    ///
    /// ```
    /// # use obs::Environment;
    /// let error = obs::builder()
    /// #   .environment(Environment::empty())
    ///     .store("redis://localhost")
    ///     .init()
    ///     .unwrap_err();
    /// assert!(error.to_string().starts_with("Builder::store: "), "{error}");
    /// ```
    pub fn init(self) -> Result<Telemetry, InitError> {
        set_up(self)
    }
}

const fn retain(time: Option<Duration>) -> Retain {
    match time {
        Some(time) => Retain::For(time),
        None => Retain::Forever,
    }
}
