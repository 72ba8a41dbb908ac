//! The row-shaped value of a kept run.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    audit::AuditLevel,
    keep::KeepReason,
    status::{Class, Status},
};

/// Everything a row says about one kept run, or about one entry of the audit trail.
///
/// An entry has [`audit`](Self::audit) set and uses a few fields in its own way: `run_id` is its id,
/// `strategy_id` its module, `subject` its actor, `error_message` its message, `attributes` its details,
/// `parent_run_id` the run that it was written in, and both times are when it was. The rest says nothing.
///
/// Values are valid by construction: no NUL, no lone surrogate, no non-finite number, every text
/// and document within its limit. A store may therefore write them as they are.
///
/// ```
/// # use obs_core::testing::TestObs;
/// let test = TestObs::new();
/// let strategy = test.obs().kind("dsl").strategy("bonus").version("3").build()?;
/// let mut run = strategy.start();
/// run.keep();
/// run.finish(Ok::<_, String>(1))?;
/// let record = &test.records()[0];
/// assert_eq!((&*record.strategy_id, &*record.strategy_version), ("bonus", "3"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunRecord {
    /// UUIDv7: the run's start in milliseconds, then random bits and a counter.
    pub run_id: Uuid,
    /// The process that recorded the run.
    pub epoch: Uuid,
    /// The family of runs.
    pub kind: Arc<str>,
    /// The tenant, if one was given.
    pub realm: Option<Arc<str>>,
    /// What was executed.
    pub strategy_id: Arc<str>,
    /// Its version, as text.
    pub strategy_version: Arc<str>,
    /// Its type, e.g. `chain`, if one was given.
    pub strategy_type: Option<Arc<str>>,
    /// A hash of its content, if one was given.
    pub strategy_hash: Option<Arc<str>>,
    /// Whose run it is: as given, or [hashed](crate::SubjectKey::hash) where a key is configured.
    pub subject: Option<Box<str>>,
    /// The caller's correlation id.
    pub correlation_id: Option<Box<str>>,
    /// The run that started this one.
    pub parent_run_id: Option<Uuid>,
    /// How the run ended.
    pub status: Status,
    /// The error's low-cardinality code; only for failures.
    pub error_type: Option<Box<str>>,
    /// The error's message.
    pub error_message: Option<Box<str>>,
    /// The node that failed.
    pub error_node: Option<Box<str>>,
    /// The number that the run produced, e.g. points.
    pub value: Option<f64>,
    /// The case that the run chose.
    pub case_name: Option<Box<str>>,
    /// When the run started.
    pub started_at: Timestamp,
    /// When the run ended.
    pub finished_at: Timestamp,
    /// How long it took, on a monotonic clock, in nanoseconds.
    #[serde(rename = "duration_ns", with = "nanos")]
    pub duration: Duration,
    /// How many nodes it executed.
    pub nodes: u64,
    /// Whether it took longer than the SLO.
    pub slow: bool,
    /// Why it was kept.
    pub keep_reason: KeepReason,
    /// The probability with which a run like this one is kept, in (0, 1].
    pub inclusion_probability: f64,
    /// The rate in force for runs of this status, in [0, 1].
    pub sample_rate: f64,
    /// Whether input and trace were left out, because the same error had come too often in that
    /// minute.
    pub slim: bool,
    /// W3C trace id of the span in which the run started: 32 hexadecimal digits.
    pub trace_id: Option<Box<str>>,
    /// W3C span id of that span: 16 hexadecimal digits.
    pub span_id: Option<Box<str>>,
    /// The input, encoded.
    pub input: Option<Json>,
    /// The size of the whole encoded input, also where `input` holds less.
    pub input_bytes: u64,
    /// Whether `input` holds less than the whole input.
    pub input_truncated: bool,
    /// Further attributes, as one JSON object.
    pub attributes: Option<Json>,
    /// The executed nodes, as a JSON array of entries.
    pub trace: Option<Json>,
    /// How many entries the whole trace had.
    pub trace_total: u64,
    /// How many of them `trace` holds.
    pub trace_kept: u64,
    /// The size of the whole trace in bytes, before truncation.
    pub trace_bytes: u64,
    /// The level of an entry of the audit trail; `None` for a run.
    pub audit: Option<AuditLevel>,
}

impl RunRecord {
    /// The class of this record: that of its status; entries of the audit trail are treated as errors.
    ///
    /// ```
    /// # use obs_core::{Class, testing::record};
    /// assert_eq!(record("bonus", "1").class(), Class::Ok);
    /// ```
    #[must_use]
    pub const fn class(&self) -> Class {
        if self.audit.is_some() { Class::Error } else { self.status.class() }
    }

    /// Roughly how much memory the record holds, in bytes; the lanes are bounded by it.
    ///
    /// ```
    /// # use obs_core::testing::record;
    /// assert!(record("bonus", "1").bytes() >= std::mem::size_of::<obs_core::RunRecord>());
    /// ```
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.subject,
            &self.correlation_id,
            &self.error_type,
            &self.error_message,
            &self.error_node,
            &self.case_name,
            &self.trace_id,
            &self.span_id,
        ];
        let documents = [&self.input, &self.attributes, &self.trace];
        size_of::<Self>()
            + texts.iter().filter_map(|text| text.as_deref()).map(str::len).sum::<usize>()
            + documents
                .iter()
                .filter_map(|json| json.as_ref())
                .map(|json| json.0.len())
                .sum::<usize>()
    }
}

/// JSON text that is known to be valid.
///
/// It is held as bytes: whoever wrote it knows that they are UTF-8, and only who reads it asks.
///
/// ```
/// let json = obs_core::Json::parse(r#"{"a":1}"#)?;
/// assert_eq!(json.as_str(), r#"{"a":1}"#);
/// assert_eq!(serde_json::to_string(&[json])?, r#"[{"a":1}]"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Box<[u8]>);

impl Json {
    /// Checks JSON text.
    ///
    /// # Errors
    /// When the text is not one JSON value.
    ///
    /// ```
    /// assert!(obs_core::Json::parse("{").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        Self::parse_bytes(text.as_bytes())
    }

    fn parse_bytes(text: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: Box<RawValue> = serde_json::from_slice(text)?;
        Ok(Self(Box::<str>::from(raw).into()))
    }

    /// Takes text that an encoder of this crate wrote.
    pub(crate) fn trusted(text: Box<[u8]>) -> Self {
        debug_assert!(Self::parse_bytes(&text).is_ok(), "not JSON: {}", text.escape_ascii());
        Self(text)
    }

    /// The text. Each call goes through its bytes.
    ///
    /// ```
    /// assert_eq!(obs_core::Json::parse("[1]")?.as_str(), "[1]");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It was written by an encoder of texts, or parsed.
        str::from_utf8(&self.0).unwrap_or("null")
    }

    /// The bytes of the text, for who writes them somewhere.
    ///
    /// ```
    /// assert_eq!(obs_core::Json::parse("[1]")?.as_bytes(), b"[1]");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Json {
    /// A document in a document; in a binary format, the bytes of its text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let text = <&[u8]>::deserialize(deserializer)?;
            return Self::parse_bytes(text).map_err(de::Error::custom);
        }
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(de::Error::custom)?;
        Ok(Self(Box::<str>::from(raw).into()))
    }
}

/// A point in time: microseconds since the Unix epoch, UTC.
///
/// ```
/// let at = obs_core::Timestamp::from_micros(1_700_000_000_000_000);
/// assert_eq!(at.as_micros(), 1_700_000_000_000_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    ///
    /// ```
    /// assert_eq!(obs_core::Timestamp::from_micros(-1).as_micros(), -1);
    /// ```
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    ///
    /// ```
    /// assert_eq!(obs_core::Timestamp::from_micros(7).as_micros(), 7);
    /// ```
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time that lies `duration` before this one.
    pub(crate) fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time that lies `duration` after this one.
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

mod nanos {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_nanos)
    }
}
