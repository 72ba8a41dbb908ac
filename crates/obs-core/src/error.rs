//! What can be wrong with what a caller builds.

use std::fmt;

use crate::{page::PageError, policy::PolicyError};

/// A value that cannot be used to build an `Obs`, a kind or a strategy.
///
/// The message names the value, the rule and the way out.
///
/// ```
/// # use obs_core::Obs;
/// let obs = Obs::builder().build()?;
/// let error = obs.kind("dsl").strategy("").version("1").build().unwrap_err();
/// assert_eq!(error.to_string(), "strategy id is empty: name what is executed, e.g. \"welcome-bonus\"");
/// # Ok::<(), obs_core::BuildError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BuildError(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Empty { what: &'static str, example: &'static str },
    TooLong { what: &'static str, value: String, bytes: usize, max: usize },
    MetricName { value: String },
    LabelKey { value: String },
    SameName { what: &'static str, value: String },
    InUse { name: String },
    TraceEntries { value: usize, max: usize },
    Slo { seconds: f64 },
    Slos { count: usize, max: usize },
    Bounds { shown: String },
    RedactKey { value: String, max: usize },
    RedactKeys { count: usize, max: usize },
    Page { what: &'static str, error: PageError },
    Policy { error: PolicyError },
}

/// How much of a bad value an error message shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;

impl BuildError {
    pub(crate) const fn empty(what: &'static str, example: &'static str) -> Self {
        Self(Kind::Empty { what, example })
    }

    pub(crate) fn too_long(what: &'static str, value: &str, max: usize) -> Self {
        Self(Kind::TooLong { what, value: shown(value), bytes: value.len(), max })
    }

    pub(crate) fn metric_name(value: &str) -> Self {
        Self(Kind::MetricName { value: shown(value) })
    }

    pub(crate) fn label_key(value: &str) -> Self {
        Self(Kind::LabelKey { value: shown(value) })
    }

    pub(crate) fn same_name(what: &'static str, value: &str) -> Self {
        Self(Kind::SameName { what, value: shown(value) })
    }

    pub(crate) fn kind_exists(name: &str) -> Self {
        Self(Kind::InUse { name: shown(name) })
    }

    pub(crate) const fn trace_entries(value: usize, max: usize) -> Self {
        Self(Kind::TraceEntries { value, max })
    }

    pub(crate) fn bounds(bounds: &[f64]) -> Self {
        Self(Kind::Bounds { shown: shown(&format!("{bounds:?}")) })
    }

    pub(crate) const fn page(what: &'static str, error: PageError) -> Self {
        Self(Kind::Page { what, error })
    }

    pub(crate) const fn policy(error: PolicyError) -> Self {
        Self(Kind::Policy { error })
    }

    pub(crate) fn redact_key(value: &str, max: usize) -> Self {
        Self(Kind::RedactKey { value: shown(value), max })
    }

    pub(crate) const fn redact_keys(count: usize, max: usize) -> Self {
        Self(Kind::RedactKeys { count, max })
    }

    pub(crate) const fn slo(seconds: f64) -> Self {
        Self(Kind::Slo { seconds })
    }

    pub(crate) const fn slos(count: usize, max: usize) -> Self {
        Self(Kind::Slos { count, max })
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty { what, example } => write!(f, "{what} is empty: {example}"),
            Kind::TooLong { what, value, bytes, max } => write!(
                f,
                "{what} {value:?} has {bytes} bytes, more than {max}: use a shorter one, e.g. a hash of it"
            ),
            Kind::MetricName { value } => write!(
                f,
                "metric name {value:?} is not one that OpenTelemetry accepts: start with a letter, \
                 then up to 254 letters, digits, `_`, `.`, `-` or `/`"
            ),
            Kind::LabelKey { value } => write!(
                f,
                "label key {value:?} cannot be used: take 1 to 128 letters, digits, `_` or `.`, \
                 starting with a letter"
            ),
            Kind::SameName { what, value } => {
                write!(f, "two {what} would both be called {value:?}: rename one or leave it out")
            }
            Kind::InUse { name } => write!(
                f,
                "kind {name:?} is already in use: define it once, before its first strategy is built"
            ),
            Kind::TraceEntries { value, max } => {
                write!(f, "trace entries {value} is more than {max}: use 0 (no trace) to {max}")
            }
            Kind::Bounds { shown } => write!(
                f,
                "bounds {shown} of the duration cannot be used: give 1 to 100 numbers of seconds above 0, in \
                 ascending order"
            ),
            Kind::Page { what, error } => write!(f, "{what} page: {error}"),
            Kind::Policy { error } => write!(f, "policy: {error}"),
            Kind::RedactKey { value, max } => write!(
                f,
                "name {value:?} of a field to redact or allow cannot be used: take at least one letter or \
                 digit, and at most {max} bytes"
            ),
            Kind::RedactKeys { count, max } => write!(
                f,
                "{count} names of fields to redact or allow are more than {max}: a name is found as a part of \
                 others, so `token` is enough for `access_token`"
            ),
            Kind::Slo { seconds } => {
                write!(f, "SLO {seconds} s is not a duration above 0: use e.g. 0.25")
            }
            Kind::Slos { count, max } => write!(
                f,
                "{count} SLOs are more than {max}: each is a bucket of every series, so give those that alerts ask for"
            ),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Page { error, .. } => Some(error),
            Kind::Policy { error } => Some(error),
            _ => None,
        }
    }
}

fn shown(value: &str) -> String {
    value.chars().take(SHOWN_CHARS_MAX).collect()
}
