//! A record as bytes: one byte for the schema, then postcard.
//!
//! Postcard is positional, so a changed [`RunRecord`] is another schema; a test with bytes from
//! before says so. What is read is trusted no more than anything else on a disk: lengths are bounded
//! by the bytes that are there, documents are parsed, and what a store could not take is refused.

mod encode;

use obs_core::RunRecord;

pub(crate) use encode::{bound, encode, encode_into};

/// The fields of a [`RunRecord`] as they are now.
const SCHEMA: u8 = 2;

/// Why a payload is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the bytes are no frame")]
    NoFrame,
    #[error("an empty payload is no record")]
    Empty,
    #[error(
        "schema {0} is unknown here, {SCHEMA} is known: read it with the release that wrote it"
    )]
    Schema(u8),
    #[error("the payload is no record of schema {SCHEMA}")]
    Malformed(#[source] postcard::Error),
    #[error("{0} bytes follow the record")]
    Rest(usize),
    #[error("{0} is not what a record can hold")]
    Value(&'static str),
}

/// A record that is not encoded, for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record has more bytes than there is room for")]
pub(crate) struct EncodeError;

/// The record that a payload is, which may come from anywhere.
pub(crate) fn decode(payload: &[u8]) -> Result<RunRecord, DecodeError> {
    let record = decode_own(payload)?;
    check(&record)?;
    Ok(record)
}

/// The record of a payload that this process made and kept: whatever was said in it, e.g. by somebody who changed a
/// record on its way here, is for the store to judge.
pub(crate) fn decode_own(payload: &[u8]) -> Result<RunRecord, DecodeError> {
    let (&schema, rest) = payload.split_first().ok_or(DecodeError::Empty)?;
    if schema != SCHEMA {
        return Err(DecodeError::Schema(schema));
    }
    let (record, rest) =
        postcard::take_from_bytes::<RunRecord>(rest).map_err(DecodeError::Malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::Rest(rest.len()));
    }
    Ok(record)
}

/// The schema of a payload, if it is one that this release does not know.
pub(crate) fn other_schema(payload: &[u8]) -> Option<u8> {
    payload.first().copied().filter(|schema| *schema != SCHEMA)
}

/// The texts that a record shares with others.
fn names(record: &RunRecord) -> impl Iterator<Item = &str> {
    let names = [
        Some(&record.kind),
        record.realm.as_ref(),
        Some(&record.strategy_id),
        Some(&record.strategy_version),
        record.strategy_type.as_ref(),
        record.strategy_hash.as_ref(),
    ];
    names.into_iter().flatten().map(|name| &**name)
}

/// A record is valid by construction where it is made; these bytes may come from elsewhere.
fn check(record: &RunRecord) -> Result<(), DecodeError> {
    let own = [
        &record.subject,
        &record.correlation_id,
        &record.error_type,
        &record.error_message,
        &record.error_node,
        &record.case_name,
        &record.trace_id,
        &record.span_id,
    ];
    let mut texts = names(record).chain(own.into_iter().filter_map(|text| text.as_deref()));
    if texts.any(|text| text.contains('\0')) {
        return Err(DecodeError::Value("a text with NUL"));
    }
    if record.value.is_some_and(|value| !value.is_finite()) {
        return Err(DecodeError::Value("a value that is not finite"));
    }
    let rates = [record.inclusion_probability, record.sample_rate];
    if !rates.iter().all(|rate| (0.0..=1.0).contains(rate)) {
        return Err(DecodeError::Value("a probability outside of 0 to 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
