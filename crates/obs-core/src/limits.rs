//! Every limit of the hot path, by name.

use std::time::Duration;

/// Strategy ids are at most this long, in bytes; also what a store's index can hold.
pub(crate) const STRATEGY_ID_BYTES_MAX: usize = 200;
/// Strategy versions are at most this long, in bytes.
pub(crate) const VERSION_BYTES_MAX: usize = 128;
/// Content hashes are at most this long, in bytes: room for `sha512:` in hexadecimal.
pub(crate) const HASH_BYTES_MAX: usize = 160;
/// Kinds, realms, types and every label value are at most this long, in bytes.
pub(crate) const LABEL_BYTES_MAX: usize = 128;
/// Subjects and correlation ids are at most this long, in bytes.
pub(crate) const SUBJECT_BYTES_MAX: usize = 256;
/// Case names, node ids and the words of a trace entry are at most this long, in bytes.
pub(crate) const WORD_BYTES_MAX: usize = 128;
/// Error messages are at most this long, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// A run has at most this many attributes.
pub(crate) const ATTRIBUTES_MAX: usize = 32;
/// All attributes together are at most this long when encoded, in bytes.
pub(crate) const ATTRIBUTES_BYTES_MAX: usize = 16 * 1024;
/// The details of an audit entry are at most this long when encoded, in bytes.
pub(crate) const AUDIT_DETAILS_BYTES_MAX: usize = 16 * 1024;
/// An encoded input is at most this long, in bytes.
pub(crate) const INPUT_BYTES_MAX: usize = 64 * 1024;
/// One string inside an input or a value is at most this long, in bytes.
pub(crate) const STRING_BYTES_MAX: usize = 16 * 1024;
/// How much of an input or of the attributes is looked at to learn its size, in bytes of JSON.
pub(crate) const WALK_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The same for the value of a trace entry, which every run pays for, kept or not.
pub(crate) const ENTRY_WALK_BYTES_MAX: u64 = 16 * 1024;
/// Documents nest at most this deep.
pub(crate) const DEPTH_MAX: usize = 64;
/// One trace entry is at most this long, in bytes.
pub(crate) const ENTRY_BYTES_MAX: usize = 2 * 1024;
/// The trace of a row is at most this long, in bytes.
pub(crate) const TRACE_BYTES_MAX: usize = 64 * 1024;
/// The default of [`Limits::trace_entries`].
pub(crate) const TRACE_ENTRIES_DEFAULT: usize = 200;
/// The largest [`Limits::trace_entries`]: more cannot fit into a row of [`TRACE_BYTES_MAX`] anyway.
pub(crate) const TRACE_ENTRIES_MAX: usize = 10_000;
/// A policy has at most this many rules, each of which is looked at once for each strategy after a change.
pub(crate) const RULES_MAX: usize = 100;
/// A run has at most this many nodes; sums of 4 billion such runs still fit into 64 bits.
pub(crate) const NODES_MAX: u64 = u32::MAX as u64;
/// A thread keeps at most this many scratch buffers for its next runs.
pub(crate) const SCRATCH_POOL_MAX: usize = 8;
/// A scratch buffer keeps room for at most this much of an encoded input, in bytes.
pub(crate) const SCRATCH_DOCUMENT_BYTES_MAX: usize = 16 * 1024;
/// Kinds that are remembered by name; further ones work, but are made anew at each call.
pub(crate) const KINDS_MAX: usize = 1_000;
/// Strategies that a kind remembers at least; the ones not used for longest are forgotten.
pub(crate) const STRATEGIES_REMEMBERED: usize = 5_000;
/// Distinct values of one label; the rest folds to `_OTHER`.
pub(crate) const LABEL_VALUES_MAX: usize = 64;
/// Combinations of kind, realm, type, id and version; the rest folds to `_OTHER`. With six
/// statuses each, and one folded combination per kind, the duration stays below the 2,000 series
/// that OpenTelemetry allows by default.
pub(crate) const SERIES_MAX: usize = 256;
/// Series of the error counter beyond those that each series has from its start: `_OTHER` and the
/// fixed codes.
pub(crate) const ERROR_SERIES_MAX: usize = 2_000 - 5 * SERIES_MAX;
/// A drain between collections begins with no further series once it has replayed this many runs: it
/// takes about 25 ns for each.
pub(crate) const DRAIN_RUNS_MAX: u64 = 1_000_000;
/// Strategies that are rolled up apart at a time, and so in a minute; the rest folds to `_OTHER`.
pub(crate) const ROLLUP_STRATEGIES_MAX: usize = 4_096;
/// Rollups that are handed over at once.
pub(crate) const ROLLUP_BATCH_MAX: usize = 256;
/// Errors with one fingerprint that are stored in full in a window of [`STORM_WINDOW`]; the rows of
/// further ones are slim.
pub(crate) const STORM_FULL_MAX: u32 = 100;
/// How long the first error of a fingerprint opens its window for.
pub(crate) const STORM_WINDOW: Duration = Duration::from_secs(60);
/// Fingerprints that have a window of their own; further ones of the same minute share one.
pub(crate) const STORM_FINGERPRINTS_MAX: usize = 1_024;
/// A key for hashes of subjects has at least this many bytes.
pub(crate) const SUBJECT_KEY_BYTES_MIN: usize = 16;
/// A key for hashes of subjects has at most this many bytes.
pub(crate) const SUBJECT_KEY_BYTES_MAX: usize = 4 * 1024;
/// Names of fields that are redacted or allowed, in all.
pub(crate) const REDACT_KEYS_MAX: usize = 256;
/// Such a name is at most this long, in bytes.
pub(crate) const REDACT_KEY_BYTES_MAX: usize = 64;
/// A run that happened elsewhere may have started at most this long ago, and have taken at most this
/// long: ten years.
pub(crate) const FINISHED_AGE_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// A run that happened elsewhere may lie at most this far in the future: one day of skew.
pub(crate) const FINISHED_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// The limits that a user may choose.
///
/// ```
/// use obs_core::{Limits, Obs};
/// let limits = Limits { trace_entries: 50, ..Limits::default() };
/// let obs = Obs::builder().limits(limits).build()?;
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many entries of a trace a row keeps at most, 0 to 10,000; 0 switches traces off.
    /// Default 200.
    pub trace_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { trace_entries: TRACE_ENTRIES_DEFAULT }
    }
}
