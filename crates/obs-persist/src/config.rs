//! What a persister can be told, and the check that it makes sense.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use uuid::Uuid;

use crate::{
    batch::BatchLimits,
    lanes::{Limit, Limits},
    platform::{self, Origin},
    quarantine::{self, Quarantine},
    spool::{Fsync, SEGMENT_BYTES, SpoolConfig},
    store::Retention,
};

/// The most records that a lane may be told to hold: its places are set aside at the start, at
/// about a kilobyte each.
pub const RECORDS_MAX: usize = 1_000_000;

/// The most records that a quarantine may be told to hold: it is listed whenever one is added.
pub const QUARANTINE_RECORDS_MAX: usize = 10_000;

/// The most records that a batch may be told to hold.
pub const BATCH_RECORDS_MAX: usize = 10_000;

const DAY: Duration = Duration::from_secs(86_400);

/// The shortest retention: a run that began yesterday may still be on its way.
pub const RETENTION_LEAST: Duration = DAY;

/// The smallest spool: two segments, the one that is written and the one made ahead.
pub const SPOOL_BYTES_LEAST: u64 = 2 * SEGMENT_BYTES as u64;

/// The largest spool, 64 GiB: it takes hours to write that to a store.
pub const SPOOL_BYTES_MOST: u64 = 64 << 30;

/// The longest retention, a hundred years; `None` is for ever.
pub const RETENTION_MOST: Duration = DAY.saturating_mul(36_500);

/// The limits of a persister. Plain data, checked once by [`Persister::start`](crate::Persister::start).
///
/// ```
/// use obs_persist::PersistConfig;
///
/// let mut config = PersistConfig::default();
/// config.queue_records = 5_000;
/// config.check()?;
///
/// config.queue_records = 0;
/// assert_eq!(
///     config.check().unwrap_err().to_string(),
///     "queue_records is 0, but must be between 1 and 1000000: the default is 1000"
/// );
/// # Ok::<(), obs_persist::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersistConfig {
    /// Records that the ok lane holds, waiting or being written; the newest is refused (1,000).
    pub queue_records: usize,
    /// Bytes that the ok lane holds (8 MiB).
    pub queue_bytes: usize,
    /// Error records with room of their own, before they use free room of the ok lane (256).
    pub error_records: usize,
    /// Bytes of that room (4 MiB).
    pub error_bytes: usize,
    /// Records in a batch (256).
    pub batch_records: usize,
    /// Bytes in a batch; a single larger record is a batch of its own (1 MiB).
    pub batch_bytes: usize,
    /// How long the first record of a batch waits for others (100 ms). While few come, and none is an error,
    /// batches wait longer step by step: ten times as long at most, and not once the ok lane is full.
    pub linger: Duration,
    /// Deadline for connecting, migrating and making partitions (60 s; each address of the
    /// server has 5 s of them, and the next attempt goes on where they ended).
    pub prepare_timeout: Duration,
    /// Deadline for writing one batch; past it the connection is thrown away (12 s).
    pub write_timeout: Duration,
    /// How long ok rows are kept at least; `None` is for ever (30 days). Postgres drops whole UTC
    /// days, when their last moment is older than this; SQLite deletes rows.
    pub retention_ok: Option<Duration>,
    /// The same for errors (180 days).
    pub retention_error: Option<Duration>,
    /// The folder of records that the store does not take although it works (`quarantine` in the
    /// spool's folder). It is made for its owner only. Without a spool and without this folder they
    /// are lost, and counted as `encode`.
    pub quarantine_dir: Option<PathBuf>,
    /// Records in that folder; further ones are lost, and counted as `spool_full` (1,000).
    pub quarantine_records: usize,
    /// Bytes in that folder (64 MiB).
    pub quarantine_bytes: usize,
    /// How long a record stays there at least (7 days); older ones are deleted.
    pub quarantine_age: Duration,
    /// Where error records are written before `submit` returns, so that they survive the process
    /// (nowhere). Each process has a directory of its own in there. When it cannot be used, the
    /// persister says so once and does without.
    pub spool_dir: Option<SpoolDir>,
    /// Bytes of the spool on the disk (256 MiB), in segments of 4 MiB; the newest error is refused
    /// when they and the lanes are full. An error that waits there takes 32 bytes of memory.
    pub spool_bytes: u64,
    /// When what is in the spool is made safe against the loss of power (every 100 ms).
    pub spool_fsync: Fsync,
    /// The id of this process lifetime, which names its directory in the spool; random by default.
    pub epoch: Option<Uuid>,
}

/// Where the spool is, and who says so.
///
/// ```
/// let mut config = obs_persist::PersistConfig::default();
/// config.spool_dir = Some(obs_persist::SpoolDir::Given("/var/lib/orders/spool".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolDir {
    /// Somebody named it.
    Given(PathBuf),
    /// Nobody did: it is not used below a directory that everybody can write to.
    Default(PathBuf),
}

impl SpoolDir {
    /// Why errors would wait in memory instead of there: who owns the folder, who else may write to it or, where
    /// nobody named it, above it. Makes nothing, so that a folder that cannot be made is not found out.
    ///
    /// ```
    /// let named = obs_persist::SpoolDir::Given("./orders.spool".into());
    /// assert_eq!(named.objection(), None);
    /// ```
    #[must_use]
    pub fn objection(&self) -> Option<String> {
        let (root, origin) = self.parts();
        platform::objection(root, origin).err().map(|error| error.to_string())
    }

    fn parts(&self) -> (&Path, Origin) {
        match self {
            Self::Given(root) => (root, Origin::Given),
            Self::Default(root) => (root, Origin::Default),
        }
    }
}

impl Default for PersistConfig {
    fn default() -> Self {
        Self {
            queue_records: 1_000,
            queue_bytes: 8 << 20,
            error_records: 256,
            error_bytes: 4 << 20,
            batch_records: 256,
            batch_bytes: 1 << 20,
            linger: Duration::from_millis(100),
            prepare_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(12),
            retention_ok: Some(DAY.saturating_mul(30)),
            retention_error: Some(DAY.saturating_mul(180)),
            quarantine_dir: None,
            quarantine_records: 1_000,
            quarantine_bytes: 64 << 20,
            spool_dir: None,
            spool_bytes: 256 << 20,
            spool_fsync: Fsync::Interval,
            epoch: None,
            quarantine_age: DAY.saturating_mul(7),
        }
    }
}

/// A value that cannot work: its name, the rule, and the default as the way out.
///
/// ```
/// let mut config = obs_persist::PersistConfig::default();
/// config.batch_bytes = 0;
/// assert!(config.check().unwrap_err().to_string().starts_with("batch_bytes is 0"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, but must be between {least} and {most}: the default is {default}")]
pub struct ConfigError {
    name: &'static str,
    value: String,
    least: String,
    most: String,
    default: String,
}

impl PersistConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The first value that is out of its range.
    ///
    /// ```
    /// obs_persist::PersistConfig::default().check()?;
    /// # Ok::<(), obs_persist::ConfigError>(())
    /// ```
    pub fn check(&self) -> Result<(), ConfigError> {
        const BYTES_LEAST: usize = 1 << 10;
        const BYTES_MOST: usize = 1 << 40;
        let usual = Self::default();
        let counts = [
            ("queue_records", self.queue_records, 1, RECORDS_MAX, usual.queue_records),
            ("queue_bytes", self.queue_bytes, BYTES_LEAST, BYTES_MOST, usual.queue_bytes),
            ("error_records", self.error_records, 1, RECORDS_MAX, usual.error_records),
            ("error_bytes", self.error_bytes, BYTES_LEAST, BYTES_MOST, usual.error_bytes),
            ("batch_records", self.batch_records, 1, BATCH_RECORDS_MAX, usual.batch_records),
            ("batch_bytes", self.batch_bytes, BYTES_LEAST, BYTES_MOST, usual.batch_bytes),
            (
                "quarantine_records",
                self.quarantine_records,
                1,
                QUARANTINE_RECORDS_MAX,
                usual.quarantine_records,
            ),
            (
                "quarantine_bytes",
                self.quarantine_bytes,
                BYTES_LEAST,
                BYTES_MOST,
                usual.quarantine_bytes,
            ),
        ];
        for (name, value, least, most, default) in counts {
            in_range(name, value, (least, most), default, |value| value.to_string())?;
        }
        let millisecond = Duration::from_millis(1);
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        let waits = [
            ("linger", self.linger, Duration::ZERO, minute, usual.linger),
            ("prepare_timeout", self.prepare_timeout, millisecond, hour, usual.prepare_timeout),
            ("write_timeout", self.write_timeout, millisecond, hour, usual.write_timeout),
        ];
        for (name, value, least, most, default) in waits {
            in_range(name, value, (least, most), default, |value| format!("{value:?}"))?;
        }
        let bytes = (self.spool_bytes, usual.spool_bytes);
        in_range(
            "spool_bytes",
            bytes.0,
            (SPOOL_BYTES_LEAST, SPOOL_BYTES_MOST),
            bytes.1,
            u64::to_string,
        )?;
        let retentions = [
            ("retention_ok", self.retention_ok, usual.retention_ok),
            ("retention_error", self.retention_error, usual.retention_error),
        ];
        for (name, value, default) in retentions {
            if let (Some(value), Some(default)) = (value, default) {
                in_range(name, value, (RETENTION_LEAST, RETENTION_MOST), default, days)?;
            }
        }
        let (age, usual) = (self.quarantine_age, usual.quarantine_age);
        in_range("quarantine_age", age, (RETENTION_LEAST, RETENTION_MOST), usual, days)
    }

    /// How long rows are kept, for a [`Store`](crate::Store).
    ///
    /// ```
    /// let retention = obs_persist::PersistConfig::default().retention();
    /// assert!(retention.of(obs_core::Class::Error).is_some());
    /// ```
    #[must_use]
    pub const fn retention(&self) -> Retention {
        Retention { ok: self.retention_ok, error: self.retention_error }
    }

    pub(crate) fn quarantine(&self) -> Option<Quarantine> {
        let limits = quarantine::Limits {
            records: self.quarantine_records,
            bytes: u64::try_from(self.quarantine_bytes).unwrap_or(u64::MAX),
            age: self.quarantine_age,
        };
        let in_spool = || self.spool().map(|spool| spool.root.join("quarantine"));
        let dir = self.quarantine_dir.clone().or_else(in_spool)?;
        Some(Quarantine::with_limits(dir, limits))
    }

    /// Where the spool is, if there is to be one.
    pub(crate) fn spool(&self) -> Option<SpoolConfig> {
        let (root, origin) = self.spool_dir.as_ref()?.parts();
        Some(SpoolConfig {
            root: root.to_owned(),
            origin,
            bytes: self.spool_bytes,
            fsync: self.spool_fsync,
        })
    }

    pub(crate) const fn lanes(&self) -> Limits {
        Limits {
            ok: Limit { records: self.queue_records, bytes: self.queue_bytes },
            reserve: Limit { records: self.error_records, bytes: self.error_bytes },
        }
    }

    pub(crate) const fn batch(&self) -> BatchLimits {
        BatchLimits {
            records: self.batch_records,
            bytes: self.batch_bytes,
            lane: self.lanes().ok,
            linger: self.linger,
        }
    }
}

fn days(time: &Duration) -> String {
    format!("{} days", time.as_secs_f64() / DAY.as_secs_f64())
}

fn in_range<T: PartialOrd>(
    name: &'static str,
    value: T,
    (least, most): (T, T),
    default: T,
    show: fn(&T) -> String,
) -> Result<(), ConfigError> {
    if least <= value && value <= most {
        return Ok(());
    }
    let [value, least, most, default] = [value, least, most, default].map(|value| show(&value));
    Err(ConfigError { name, value, least, most, default })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_out_of_range_is_an_error_that_names_it_the_rule_and_the_way_out() {
        type Break = fn(&mut PersistConfig);
        let table: [(Break, &str); 8] = [
            (
                |c| c.queue_records = 0,
                "queue_records is 0, but must be between 1 and 1000000: the default is 1000",
            ),
            (
                |c| c.queue_records = RECORDS_MAX + 1,
                "queue_records is 1000001, but must be between 1 and 1000000: the default is 1000",
            ),
            (
                |c| c.queue_bytes = 10,
                "queue_bytes is 10, but must be between 1024 and 1099511627776: the default is 8388608",
            ),
            (
                |c| c.batch_records = 0,
                "batch_records is 0, but must be between 1 and 10000: the default is 256",
            ),
            (
                |c| c.linger = Duration::from_secs(61),
                "linger is 61s, but must be between 0ns and 60s: the default is 100ms",
            ),
            (
                |c| c.write_timeout = Duration::ZERO,
                "write_timeout is 0ns, but must be between 1ms and 3600s: the default is 12s",
            ),
            (
                |c| c.retention_ok = Some(DAY / 2),
                "retention_ok is 0.5 days, but must be between 1 days and 36500 days: the default is 30 days",
            ),
            (
                |c| c.retention_error = Some(DAY * 36_501),
                "retention_error is 36501 days, but must be between 1 days and 36500 days: the default is 180 days",
            ),
        ];
        for (spoil, message) in table {
            let mut config = PersistConfig::default();
            spoil(&mut config);
            assert_eq!(config.check().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_quarantine_is_in_the_spool_unless_it_has_a_folder_of_its_own() {
        let folder = |config: &PersistConfig| Some(config.quarantine()?.folder().to_owned());
        let mut config = PersistConfig::default();
        assert_eq!(folder(&config), None);
        config.spool_dir = Some(SpoolDir::Given("/spool".into()));
        assert_eq!(folder(&config), Some("/spool/quarantine".into()));
        config.quarantine_dir = Some("/aside".into());
        assert_eq!(folder(&config), Some("/aside".into()));
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = PersistConfig::default();
        assert_eq!(config.check(), Ok(()));
        assert_eq!((config.queue_records, config.queue_bytes), (1_000, 8 << 20));
        assert_eq!((config.error_records, config.batch_records), (256, 256));
    }
}
