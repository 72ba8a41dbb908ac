//! Why a rule gave no score: a fixed code for metrics, a sentence for people.

use std::fmt;

use datalogic_rs::{Error as EngineError, ErrorKind};

/// A run of a rule that ended without a score.
#[derive(Debug, thiserror::Error)]
#[error("{} at node `{node}`: {}", .code.as_str(), .code.advice())]
pub(crate) struct ScoreError {
    pub(crate) code: ErrorCode,
    /// The innermost node that was being evaluated.
    pub(crate) node: String,
    #[source]
    pub(crate) source: EngineError,
}

impl ScoreError {
    /// What the engine adds to the code; its other texts say less than the code does.
    pub(crate) fn detail(&self) -> Option<String> {
        match &self.source.kind {
            ErrorKind::VariableNotFound(name) => Some(name.clone().into_owned()),
            ErrorKind::Custom(cause) => Some(cause.to_string()),
            _ => None,
        }
    }
}

/// A closed list, so that it can be a metric label. Texts of the engine never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ErrorCode {
    MissingField,
    NotANumber,
    InvalidArguments,
    TypeMismatch,
    NodeLimit,
    NotAScore,
    Engine,
}

impl ErrorCode {
    pub(crate) const ALL: [Self; 7] = [
        Self::MissingField,
        Self::NotANumber,
        Self::InvalidArguments,
        Self::TypeMismatch,
        Self::NodeLimit,
        Self::NotAScore,
        Self::Engine,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::MissingField => "MISSING_FIELD",
            Self::NotANumber => "NOT_A_NUMBER",
            Self::InvalidArguments => "INVALID_ARGUMENTS",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::NodeLimit => "NODE_LIMIT",
            Self::NotAScore => "NOT_A_SCORE",
            Self::Engine => "ENGINE",
        }
    }

    /// What whoever wrote the rule can do about it.
    const fn advice(self) -> &'static str {
        match self {
            Self::MissingField => {
                "the event lacks a field that the rule needs; guard it with `if` or fill it in"
            }
            Self::NotANumber => {
                "arithmetic on something that is no number; guard the field with `if`"
            }
            Self::InvalidArguments => {
                "an operator cannot use what it was given; guard the field with `if`"
            }
            Self::TypeMismatch => {
                "an operator was given a value of another type; guard it with `if`"
            }
            Self::NodeLimit => {
                "the rule visited more nodes than it may; narrow it or raise `node_limit`"
            }
            Self::NotAScore => {
                "the rule ended with something that is no finite number; end it with one"
            }
            Self::Engine => "the engine gave up; its own words are the cause",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&EngineError> for ErrorCode {
    fn from(error: &EngineError) -> Self {
        match &error.kind {
            ErrorKind::VariableNotFound(_) => Self::MissingField,
            // The engine's name for arithmetic on null, text or lists, and for a division by zero.
            ErrorKind::Thrown(thrown)
                if thrown.get("type").and_then(|t| t.as_str()) == Some("NaN") =>
            {
                Self::NotANumber
            }
            ErrorKind::InvalidArguments(_) => Self::InvalidArguments,
            ErrorKind::TypeError(_) => Self::TypeMismatch,
            ErrorKind::Custom(cause) if cause.is::<NodeLimit>() => Self::NodeLimit,
            ErrorKind::Custom(cause) if cause.is::<NotAScore>() => Self::NotAScore,
            _ => Self::Engine,
        }
    }
}

/// The rule visited one node too many; raised while it runs.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {limit} nodes")]
pub(crate) struct NodeLimit {
    pub(crate) limit: u64,
}

/// The rule ended with something that cannot be a score.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the result is {result}")]
pub(crate) struct NotAScore {
    pub(crate) result: String,
}
