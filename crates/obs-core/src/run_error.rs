//! What an error says about the run that ended with it.

use std::{borrow::Cow, convert::Infallible, error::Error, io};

use crate::status::Status;

/// The statuses that an error can give a run.
///
/// ```
/// use obs_core::{ErrorStatus, Status};
/// assert_eq!(Status::from(ErrorStatus::Limit), Status::Limit);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorStatus {
    /// The run failed.
    #[default]
    Error,
    /// The run exceeded its time budget.
    Timeout,
    /// The run exceeded a budget of nodes, depth or size.
    Limit,
    /// The run was told to stop; not a failure.
    Cancelled,
}

impl From<ErrorStatus> for Status {
    fn from(status: ErrorStatus) -> Self {
        match status {
            ErrorStatus::Error => Self::Error,
            ErrorStatus::Timeout => Self::Timeout,
            ErrorStatus::Limit => Self::Limit,
            ErrorStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// The `error.type` of a failure that names none: a fixed code, never the name of a type.
/// `_OTHER` is OpenTelemetry's own word for it.
pub(crate) const fn fallback_code(status: Status) -> &'static str {
    match status {
        Status::Timeout => "timeout",
        Status::Limit => "limit",
        Status::Panicked => "panicked",
        Status::Lost => "lost",
        Status::Ok | Status::Error | Status::Cancelled => "_OTHER",
    }
}

/// An error that says how its run ended.
///
/// Implemented for `String`, `&str`, [`io::Error`], boxed errors and [`Infallible`]; a type of
/// somebody else, that can have no implementation, goes through
/// [`Run::finish_with`](crate::Run::finish_with).
///
/// ```
/// use obs_core::{ErrorStatus, RunError};
/// use std::borrow::Cow;
///
/// enum ScoreError { DivisionByZero { node: String }, TooManyNodes }
///
/// impl RunError for ScoreError {
///     fn status(&self) -> ErrorStatus {
///         match self {
///             Self::DivisionByZero { .. } => ErrorStatus::Error,
///             Self::TooManyNodes => ErrorStatus::Limit,
///         }
///     }
///     fn error_type(&self) -> Cow<'_, str> {
///         match self {
///             Self::DivisionByZero { .. } => "DIV_BY_ZERO".into(),
///             Self::TooManyNodes => "NODE_LIMIT".into(),
///         }
///     }
///     fn node(&self) -> Option<Cow<'_, str>> {
///         match self {
///             Self::DivisionByZero { node } => Some(node.into()),
///             Self::TooManyNodes => None,
///         }
///     }
/// }
/// ```
pub trait RunError {
    /// How the run ended. Default: [`ErrorStatus::Error`].
    fn status(&self) -> ErrorStatus {
        ErrorStatus::Error
    }

    /// A stable, low-cardinality code for metrics and rows. Default: `_OTHER`, `timeout` or
    /// `limit`, by the status.
    fn error_type(&self) -> Cow<'_, str> {
        Cow::Borrowed(fallback_code(self.status().into()))
    }

    /// What happened, for the row only.
    fn message(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The node that failed, for the row only.
    fn node(&self) -> Option<Cow<'_, str>> {
        None
    }
}

impl RunError for String {
    fn message(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self))
    }
}

impl RunError for &str {
    fn message(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self))
    }
}

impl RunError for io::Error {
    fn status(&self) -> ErrorStatus {
        match self.kind() {
            io::ErrorKind::TimedOut => ErrorStatus::Timeout,
            _ => ErrorStatus::Error,
        }
    }

    fn message(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Owned(self.to_string()))
    }
}

impl RunError for Box<dyn Error> {
    fn message(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Owned(self.to_string()))
    }
}

impl RunError for Box<dyn Error + Send + Sync> {
    fn message(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Owned(self.to_string()))
    }
}

impl RunError for Infallible {}

/// What [`Run::finish_with`](crate::Run::finish_with) is told about an error.
///
/// ```
/// use obs_core::RunFailure;
/// let failure = RunFailure::timeout("BUDGET_EXCEEDED").message("500 ms were not enough").node("n7");
/// # let _ = failure;
/// ```
#[derive(Clone, Debug)]
pub struct RunFailure {
    status: ErrorStatus,
    error_type: Cow<'static, str>,
    message: Option<String>,
    node: Option<String>,
}

impl RunFailure {
    /// The run failed, with this code.
    ///
    /// ```
    /// let _failure = obs_core::RunFailure::error("DIV_BY_ZERO");
    /// ```
    pub fn error(error_type: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorStatus::Error, error_type.into())
    }

    /// The run exceeded its time budget.
    ///
    /// ```
    /// let _failure = obs_core::RunFailure::timeout("TIMEOUT");
    /// ```
    pub fn timeout(error_type: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorStatus::Timeout, error_type.into())
    }

    /// The run exceeded a budget of nodes, depth or size.
    ///
    /// ```
    /// let _failure = obs_core::RunFailure::limit("NODE_LIMIT");
    /// ```
    pub fn limit(error_type: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorStatus::Limit, error_type.into())
    }

    /// The run was told to stop; not a failure.
    ///
    /// ```
    /// let _failure = obs_core::RunFailure::cancelled();
    /// ```
    #[must_use]
    pub const fn cancelled() -> Self {
        Self::new(ErrorStatus::Cancelled, Cow::Borrowed("_OTHER"))
    }

    const fn new(status: ErrorStatus, error_type: Cow<'static, str>) -> Self {
        Self { status, error_type, message: None, node: None }
    }

    /// What happened, for the row only.
    ///
    /// ```
    /// let _failure = obs_core::RunFailure::error("IO").message("connection refused");
    /// ```
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// The node that failed, for the row only.
    ///
    /// ```
    /// let _failure = obs_core::RunFailure::error("IO").node("fetch-profile");
    /// ```
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }
}

impl RunError for RunFailure {
    fn status(&self) -> ErrorStatus {
        self.status
    }

    fn error_type(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.error_type)
    }

    fn message(&self) -> Option<Cow<'_, str>> {
        self.message.as_deref().map(Cow::Borrowed)
    }

    fn node(&self) -> Option<Cow<'_, str>> {
        self.node.as_deref().map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_code_is_fixed_and_never_a_type_name() {
        struct VerySpecificError;
        impl RunError for VerySpecificError {}
        assert_eq!(VerySpecificError.error_type(), "_OTHER");
        let boxed: Box<dyn Error> = "x".into();
        assert_eq!(boxed.error_type(), "_OTHER");
        assert_eq!(String::from("secret user 7").error_type(), "_OTHER");
    }

    #[test]
    fn an_io_timeout_is_a_timeout() {
        let error = io::Error::new(io::ErrorKind::TimedOut, "late");
        assert_eq!((error.status(), &*error.error_type()), (ErrorStatus::Timeout, "timeout"));
        assert_eq!(error.message().as_deref(), Some("late"));
    }
}
