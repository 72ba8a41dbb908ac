//! Why a command did not do what it was asked, and the exit code that says so.

use std::{borrow::Cow, error::Error, io};

use obs_persist::{StoreError, inspect::InspectError};

/// What went wrong. The message names the value, the rule and the way out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{name} {problem}")]
    Setting { name: &'static str, problem: Cow<'static, str> },
    #[error(transparent)]
    Config(#[from] obs::ConfigError),
    #[error("{store}: {}", .source.chain())]
    Store { store: String, source: Box<StoreError> },
    /// What was asked for is not there, or is damaged.
    #[error("{0}")]
    Bad(String),
    /// A folder cannot be used.
    #[error("{0}")]
    Folder(String),
    #[error("{what}")]
    Machine { what: Cow<'static, str>, source: io::Error },
}

impl Failure {
    pub(crate) fn setting(name: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::Setting { name, problem: problem.into() }
    }

    /// What cannot be looked at is a folder that cannot be used; what is no ledger is bad.
    pub(crate) fn inspect(error: &InspectError) -> Self {
        let mut what = error.to_string();
        if let Some(source) = error.source() {
            what = format!("{what}: {source}");
        }
        match error {
            InspectError::Page { .. } => Self::Bad(what),
            _ => Self::Folder(what),
        }
    }

    pub(crate) fn machine(what: impl Into<Cow<'static, str>>, source: io::Error) -> Self {
        Self::Machine { what: what.into(), source }
    }

    /// See `obs --help`.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Bad(_) => 1,
            Self::Setting { .. } | Self::Config(_) => 2,
            Self::Store { .. } | Self::Folder(_) | Self::Machine { .. } => 3,
        }
    }

    /// The whole chain in one line. That of a store is part of its message.
    pub(crate) fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = match self {
            Self::Machine { source, .. } => Some(source as &dyn Error),
            Self::Config(error) => error.source(),
            _ => None,
        };
        while let Some(error) = cause {
            line = format!("{line}: {error}");
            cause = error.source();
        }
        line
    }
}
