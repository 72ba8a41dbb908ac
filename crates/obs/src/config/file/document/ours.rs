//! The block `obs`: what OpenTelemetry has no words for. Each key has a variable `OBS_…`, which wins.
//!
//! The values are texts here: the same rules read them, whether a file or a variable says them. What
//! the schema and the documentation say of their form stands at each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Rule, Secret, filled_if_any};
use crate::config::file::de::ANY_SCALAR;

/// Any single value, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text(pub(crate) String);

/// What OpenTelemetry has no words for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Obs {
    /// Whether runs become rows; metrics go on without.
    #[schemars(with = "bool", extend("default" = true, "x-variable" = "OBS_ENABLED"))]
    pub(crate) enabled: Option<Text>,
    /// Which runs become rows, and how much of them. Read again when the file changes, within a second or two.
    pub(crate) policy: Option<Policy>,
    /// How often the process leaves a row of itself: 1 s to a day, or `off`.
    #[schemars(with = "NumberOrText", extend("default" = "off", "x-unit" = "s", "x-variable" = "OBS_HEARTBEAT"))]
    pub(crate) heartbeat: Option<Text>,
    /// Where rows go.
    pub(crate) store: Option<Store>,
    /// What waits for the store.
    pub(crate) queue: Option<Queue>,
    /// How long rows stay.
    pub(crate) retention: Option<Retention>,
    /// A folder in which errors wait for the store, and outlive the process.
    pub(crate) spool: Option<Spool>,
    /// Whether the next process finds the runs that this one did not end.
    #[schemars(with = "OnOff", extend("default" = "on", "x-variable" = "OBS_LOST_RUNS"))]
    pub(crate) lost_runs: Option<Text>,
    /// Log lines.
    pub(crate) log: Option<Log>,
    /// How much of inputs is stored, where a kind says nothing else.
    #[schemars(with = "Captured", extend("default" = "redacted", "x-variable" = "OBS_CAPTURE_INPUT"))]
    pub(crate) capture_input: Option<Text>,
    /// What is not stored.
    pub(crate) redact: Option<Redact>,
    /// How subjects are stored.
    pub(crate) subject: Option<Subject>,
    /// What concerns every OTLP exporter.
    pub(crate) otlp: Option<Otlp>,
    /// Who may read the page for Prometheus.
    pub(crate) prometheus: Option<Scraper>,
    /// Failed runs as events of Sentry. Needs the feature `sentry`.
    pub(crate) sentry: Option<Sentry>,
}

/// Who may read the page for Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Scraper {
    /// The bearer token of who scrapes, 16 to 256 bytes; needed where others than this machine can.
    #[schemars(with = "Secret", extend("x-variable" = "OBS_PROMETHEUS_TOKEN"))]
    pub(crate) token: Option<Text>,
    /// A file whose first line is the token, instead of `token`.
    #[schemars(with = "String", extend("x-variable" = "OBS_PROMETHEUS_TOKEN_FILE"))]
    pub(crate) token_file: Option<Text>,
}

/// Failed runs as events of Sentry.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sentry {
    /// Where reports go, as the project's settings show it: `https://KEY@HOST/PROJECT`. Without it there are none.
    #[schemars(with = "Secret", extend("x-variable" = "OBS_SENTRY_DSN"))]
    pub(crate) dsn: Option<Text>,
    /// A file whose first line is the DSN, instead of `dsn`.
    #[schemars(with = "String", extend("x-variable" = "OBS_SENTRY_DSN_FILE"))]
    pub(crate) dsn_file: Option<Text>,
    /// A PEM file of the authority that is trusted, instead of those of the machine.
    #[schemars(with = "String", extend("x-variable" = "OBS_SENTRY_CERTIFICATE"))]
    pub(crate) certificate: Option<Text>,
    /// Where the service runs; without it `deployment.environment.name` of the resource.
    #[schemars(with = "String", extend("x-variable" = "OBS_SENTRY_ENVIRONMENT"))]
    pub(crate) environment: Option<Text>,
    /// What runs; without it `service.name@service.version` of the resource, where it has a version.
    #[schemars(with = "String", extend("x-variable" = "OBS_SENTRY_RELEASE"))]
    pub(crate) release: Option<Text>,
    /// The share of traces whose kept runs are transactions, too.
    #[schemars(with = "super::Share", extend("default" = 0.0, "x-variable" = "OBS_SENTRY_TRACE_RATE"))]
    pub(crate) trace_rate: Option<Text>,
    /// Whether reports have the subject and the redacted input of their run.
    #[schemars(with = "bool", extend("default" = false, "x-variable" = "OBS_SENTRY_PERSONAL_DATA"))]
    pub(crate) personal_data: Option<Text>,
}

/// Which runs become rows.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// The share of ok runs that is kept.
    #[schemars(with = "super::Share", extend("default" = 0.05, "x-variable" = "OBS_SAMPLE_RATE"))]
    pub(crate) sample_rate: Option<Text>,
    /// By what the runs are chosen that the rate keeps: each by itself, or by an id, so that services keep the same.
    #[schemars(with = "SampleBy", extend("default" = "chance", "x-variable" = "OBS_SAMPLE_BY"))]
    pub(crate) sample_by: Option<Text>,
    /// Slower runs are kept: seconds, or a number with `us`, `ms` or `s`; or `off`.
    #[schemars(with = "NumberOrText", extend("default" = 0.25, "x-unit" = "s", "x-variable" = "OBS_SLO"))]
    pub(crate) slo: Option<Text>,
    /// Entries of a trace in a row; 0 switches traces off.
    #[schemars(with = "super::Whole<0, 10_000>", extend("default" = 200, "x-variable" = "OBS_TRACE_ENTRIES"))]
    pub(crate) trace_entries: Option<Text>,
    /// Exceptions, at most 100. The first that matches a run and has not ended decides about it.
    pub(crate) rules: Option<Vec<Rule>>,
}

/// Where rows go.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// `sqlite:PATH` or `postgres://…`; a password in it is a secret. Or `otlp`: as log events, to the first
    /// Collector of `logger_provider`.
    #[schemars(with = "Secret", extend("default" = "sqlite:./obs.sqlite", "x-variable" = "OBS_STORE"))]
    pub(crate) url: Option<Text>,
    /// A file whose first line is the address, instead of `url`.
    #[schemars(with = "String", extend("x-variable" = "OBS_STORE_FILE"))]
    pub(crate) url_file: Option<Text>,
    /// Who migrates: `start`, the first that connects; `external`: somebody else, with `obs migrate`.
    #[schemars(with = "Migrate", extend("default" = "start", "x-variable" = "OBS_STORE_MIGRATE"))]
    pub(crate) migrate: Option<Text>,
    /// Whether the start fails if the store is not ready.
    #[schemars(with = "bool", extend("default" = false, "x-variable" = "OBS_STORE_REQUIRED"))]
    pub(crate) required: Option<Text>,
}

/// What waits for the store.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Queue {
    /// Ok records that wait for the store in memory.
    #[schemars(with = "super::Whole<1, 1_000_000>", extend("default" = 1000, "x-variable" = "OBS_QUEUE_RECORDS"))]
    pub(crate) records: Option<Text>,
}

/// How long rows stay.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// Rows of ok runs, 1 to 36500 days, or `off` for ever.
    #[schemars(with = "NumberOrText", extend("default" = 30, "x-unit" = "days", "x-variable" = "OBS_RETENTION_OK"))]
    pub(crate) ok: Option<Text>,
    /// Rows of errors, 1 to 36500 days, or `off` for ever.
    #[schemars(with = "NumberOrText", extend("default" = 180, "x-unit" = "days", "x-variable" = "OBS_RETENTION_ERROR"))]
    pub(crate) error: Option<Text>,
}

/// A folder in which errors wait for the store.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Spool {
    /// What waits there: `errors`, or `off`.
    #[schemars(with = "SpoolMode", extend("default" = "errors", "x-variable" = "OBS_SPOOL"))]
    pub(crate) mode: Option<Text>,
    /// The folder; without it beside the file of the store, or where services keep their state.
    #[schemars(with = "String", extend("x-variable" = "OBS_SPOOL_DIR"))]
    pub(crate) dir: Option<Text>,
    /// The largest it may be. An error that waits there takes 32 bytes of memory.
    #[schemars(with = "super::Whole<8_388_608, 68_719_476_736>", extend("default" = 268_435_456, "x-unit" = "bytes", "x-variable" = "OBS_SPOOL_BYTES_MAX"))]
    pub(crate) bytes_max: Option<Text>,
    /// When it is made safe against a loss of power.
    #[schemars(with = "Fsync", extend("default" = "interval", "x-variable" = "OBS_SPOOL_FSYNC"))]
    pub(crate) fsync: Option<Text>,
}

/// Log lines.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// Which are written: `info`, `info,hyper=warn,orders::db=debug`; without it `RUST_LOG`.
    #[schemars(with = "String", extend("default" = "info", "x-variable" = "OBS_LOG"))]
    pub(crate) level: Option<Text>,
    /// How they look; `auto` is text on a terminal, JSON elsewhere.
    #[schemars(with = "LogFormat", extend("default" = "auto", "x-variable" = "OBS_LOG_FORMAT"))]
    pub(crate) format: Option<Text>,
}

/// What is not stored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Redact {
    /// Names whose values are not stored; they replace the usual list, or add to it if each begins with `+`.
    #[schemars(length(min = 1), extend("x-variable" = "OBS_REDACT_KEYS"))]
    #[serde(deserialize_with = "filled_if_any")]
    pub(crate) keys: Option<Vec<String>>,
    /// The only names whose values are stored.
    #[schemars(length(min = 1), extend("x-variable" = "OBS_REDACT_ALLOW"))]
    #[serde(deserialize_with = "filled_if_any")]
    pub(crate) allow: Option<Vec<String>>,
    /// Whether texts are searched for secrets.
    #[schemars(with = "bool", extend("default" = true, "x-variable" = "OBS_REDACT_PATTERNS"))]
    pub(crate) patterns: Option<Text>,
}

/// How subjects are stored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Subject {
    /// The key that hashes subjects, at least 16 bytes; without one they are stored as they are given.
    #[schemars(with = "Secret", extend("x-variable" = "OBS_SUBJECT_KEY"))]
    pub(crate) key: Option<Text>,
    /// A file whose first line is the key, instead of `key`.
    #[schemars(with = "String", extend("x-variable" = "OBS_SUBJECT_KEY_FILE"))]
    pub(crate) key_file: Option<Text>,
}

/// What concerns every OTLP exporter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Otlp {
    /// A file whose first line is `key=value,key=value`: headers of every OTLP exporter that has none.
    #[schemars(with = "String", extend("x-variable" = "OBS_OTLP_HEADERS_FILE"))]
    pub(crate) headers_file: Option<Text>,
}

/// Words that the schema names; the rules that read them are those of the variables.
macro_rules! words {
    ($($name:ident [$($word:literal),+]),+ $(,)?) => { $(
        pub(crate) struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    )+ };
}

words! {
    OnOff ["on", "off"],
    Captured ["redacted", "shape", "off"],
    SampleBy ["chance", "trace", "correlation"],
    Migrate ["start", "external"],
    LogFormat ["auto", "text", "json"],
    SpoolMode ["errors", "off"],
    Fsync ["interval", "always", "never"],
}

/// A number, or a word.
pub(crate) struct NumberOrText;

impl JsonSchema for NumberOrText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NumberOrText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["number", "string"] })
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;

        impl serde::de::Visitor<'_> for AnyText {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a single value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
        }

        deserializer.deserialize_newtype_struct(ANY_SCALAR, AnyText)
    }
}

/// As a number or a switch where it is one, so that the schema accepts what is written.
impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.as_str();
        // Only what would be written in the same way.
        let same = |value: &serde_json::Value| {
            (value.is_boolean() || value.is_number()) && value.to_string().as_str() == text
        };
        match serde_json::from_str(text).ok().filter(same) {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(text),
        }
    }
}
