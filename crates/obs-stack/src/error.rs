//! Why a registry cannot be read or written out.

use std::{io, path::PathBuf};

/// Why a registry cannot be read or written out.
///
/// ```
/// let error = obs_stack::Registry::read("/nowhere".as_ref()).unwrap_err();
/// assert!(error.to_string().contains("/nowhere"), "{error}");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A file or folder that cannot be read.
    #[error("{path}: cannot be read: run this inside a checkout of the repository", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not in the form of a semantic convention.
    #[error("{path}: not in the form of a semantic convention, see registry/README.md", path = .path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<serde_saphyr::Error>,
    },
    /// A rule of ours that an entry breaks.
    #[error("{entry}: {rule}")]
    Rule {
        /// The entry's name.
        entry: String,
        /// What it must be, and the way out.
        rule: String,
    },
    /// A template that cannot be filled in.
    #[error(
        "registry/templates/{template}: cannot be filled in: look at the line that the source names"
    )]
    Template {
        /// Which.
        template: &'static str,
        /// Why.
        source: Box<minijinja::Error>,
    },
    /// A generated dashboard that is not JSON.
    #[error("{path}: what the template makes is not JSON")]
    Json {
        /// Which.
        path: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl RegistryError {
    pub(crate) fn rule(entry: &str, rule: impl Into<String>) -> Self {
        Self::Rule { entry: entry.to_owned(), rule: rule.into() }
    }
}
