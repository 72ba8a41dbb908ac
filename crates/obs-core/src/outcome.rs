//! How a run ended, as the run's end sees it.

use std::{
    any::Any,
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::Serialize;

use crate::{
    encode::{EncodeLimits, Encoded, Redact, Sanitized, discard, encode_over},
    limits::{DEPTH_MAX, INPUT_BYTES_MAX, STRING_BYTES_MAX, WALK_BYTES_MAX},
    record::Timestamp,
    run_error::{RunError, RunFailure, fallback_code},
    status::Status,
};

/// Status and error of a run that ends.
#[derive(Clone, Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) status: Status,
    pub(crate) error_type: Option<Cow<'a, str>>,
    pub(crate) message: Option<Cow<'a, str>>,
    pub(crate) node: Option<Cow<'a, str>>,
    /// Given for a run that happened elsewhere; measured otherwise.
    pub(crate) took_nanos: Option<u64>,
    /// Given for a run that happened elsewhere; read from the clock otherwise.
    pub(crate) started_at: Option<Timestamp>,
}

impl<'a> Outcome<'a> {
    /// A status and nothing else; failures get their fixed code.
    pub(crate) fn bare(status: Status) -> Self {
        let error_type = status.is_failure().then(|| Cow::Borrowed(fallback_code(status)));
        Self { status, error_type, message: None, node: None, took_nanos: None, started_at: None }
    }

    pub(crate) fn of_error<E: RunError>(error: &'a E) -> Self {
        let status = Status::from(calm(|| error.status()).unwrap_or_default());
        let error_type = status.is_failure().then(|| {
            calm(|| error.error_type()).unwrap_or_else(|| Cow::Borrowed(fallback_code(status)))
        });
        Self {
            error_type,
            message: calm(|| error.message()).unwrap_or(Some(Cow::Borrowed(UNDESCRIBED))),
            node: calm(|| error.node()).unwrap_or_default(),
            ..Self::bare(status)
        }
    }

    /// A panic; its message is what `panic!` was given, if that was text.
    pub(crate) fn panicked(payload: &'a (dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self { message: text.map(Cow::Borrowed), ..Self::bare(Status::Panicked) }
    }
}

/// The outcome of nearly every run; made once, because each part of another would have to be dropped.
pub(crate) static OK: Outcome<'static> = Outcome {
    status: Status::Ok,
    error_type: None,
    message: None,
    node: None,
    took_nanos: None,
    started_at: None,
};

/// What an error means, where the caller describes it.
pub(crate) fn described<E>(error: &E, describe: impl FnOnce(&E) -> RunFailure) -> RunFailure {
    let undescribed = || RunFailure::error(fallback_code(Status::Error)).message(UNDESCRIBED);
    calm(|| describe(error)).unwrap_or_else(undescribed)
}

/// The message of an error that panicked when it was asked for one.
const UNDESCRIBED: &str = "(the error panicked when it was asked what happened)";

/// Asks code that is not ours. The caller gets its result back, even one that cannot be described.
fn calm<T>(ask: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(discard).ok()
}

/// An input of any type, encoded only if its run is kept.
pub(crate) trait EncodeInput {
    /// Over what `out` held, of which so many bytes are the text then.
    fn encode(
        &self,
        redact: Redact<'_>,
        out: &mut Vec<u8>,
        changed: &mut Sanitized,
    ) -> (Encoded, usize);
}

/// A value as an input.
pub(crate) struct Owned<'a, I>(pub(crate) &'a I);

impl<I: Serialize> EncodeInput for Owned<'_, I> {
    fn encode(
        &self,
        redact: Redact<'_>,
        out: &mut Vec<u8>,
        changed: &mut Sanitized,
    ) -> (Encoded, usize) {
        let limits = EncodeLimits {
            bytes_max: INPUT_BYTES_MAX,
            string_bytes_max: STRING_BYTES_MAX,
            depth_max: DEPTH_MAX,
            walk_bytes_max: WALK_BYTES_MAX,
        };
        encode_over(self.0, (&limits, redact), out, changed)
    }
}
