//! A record as postcard writes it, without asking for room and for the kind of value at each of its bytes: the thread of
//! a failed run waits for this. A test holds every byte against postcard's.
//!
//! What is left of the room goes from function to function in registers; `None` is too little room.

use obs_core::{Json, RunRecord};
use postcard::ser_flavors::Slice;
use serde::Serialize;
use uuid::Uuid;

use super::{EncodeError, SCHEMA, names};

/// Numbers below this are one byte.
const LONG: u64 = 1 << 7;

/// Numbers below this are at most eight.
const LONGEST: u64 = 1 << 56;

/// What a number of 64 bits takes up at most.
const VARINT: usize = 10;

/// Texts up to this are copied without a call.
const SHORT: usize = 32;

/// What is there, its length, and a short text.
const SHORT_ROOM: usize = 2 + SHORT;

/// All but the bytes of texts, at most: the schema, three ids, 17 lengths, eight numbers, three floating ones, 23 bytes that
/// say what is there or which one it is; and that there is room for a short text wherever there may be one.
const FIXED: usize = 1 + 3 * 17 + 17 * VARINT + 8 * VARINT + 3 * 8 + 23 + SHORT_ROOM;

/// How much room a record needs at most.
pub(crate) fn bound(record: &RunRecord) -> usize {
    let names = names(record).map(str::len).sum::<usize>();
    // What it holds itself, which is counted with its own size.
    FIXED + names + record.bytes().saturating_sub(size_of::<RunRecord>())
}

/// Appends the schema and a record.
#[expect(clippy::indexing_slicing, reason = "the buffer was made longer")]
pub(crate) fn encode(record: &RunRecord, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = buffer.len();
    buffer.resize(start + bound(record), 0);
    let bytes = encode_into(record, &mut buffer[start..]);
    buffer.truncate(start + bytes.as_ref().copied().unwrap_or(0));
    bytes.map(|_| ())
}

/// Writes the schema and a record; how many bytes these are.
pub(crate) fn encode_into(record: &RunRecord, room: &mut [u8]) -> Result<usize, EncodeError> {
    let whole = room.len();
    let rest = write(record, room).ok_or(EncodeError)?.len();
    Ok(whole - rest)
}

fn write<'b>(record: &RunRecord, room: &'b mut [u8]) -> Option<&'b mut [u8]> {
    let room = put(room, [SCHEMA])?;
    let room = id(room, record.run_id)?;
    let room = id(room, record.epoch)?;
    let room = text(room, record.kind.as_bytes())?;
    let room = optional(room, record.realm.as_deref().map(str::as_bytes))?;
    let room = text(room, record.strategy_id.as_bytes())?;
    let room = text(room, record.strategy_version.as_bytes())?;
    let room = optional(room, record.strategy_type.as_deref().map(str::as_bytes))?;
    let room = optional(room, record.strategy_hash.as_deref().map(str::as_bytes))?;
    let room = optional(room, record.subject.as_deref().map(str::as_bytes))?;
    let room = optional(room, record.correlation_id.as_deref().map(str::as_bytes))?;
    let room = match record.parent_run_id {
        Some(parent) => id(put(room, [1])?, parent)?,
        None => put(room, [0])?,
    };
    let room = variant(room, &record.status)?;
    let room = optional(room, record.error_type.as_deref().map(str::as_bytes))?;
    let room = optional(room, record.error_message.as_deref().map(str::as_bytes))?;
    let room = optional(room, record.error_node.as_deref().map(str::as_bytes))?;
    let room = match record.value {
        Some(value) => put(put(room, [1])?, value.to_le_bytes())?,
        None => put(room, [0])?,
    };
    let room = optional(room, record.case_name.as_deref().map(str::as_bytes))?;
    let room = figures(room, record)?;
    let room = optional(room, record.trace_id.as_deref().map(str::as_bytes))?;
    let room = optional(room, record.span_id.as_deref().map(str::as_bytes))?;
    documents(room, record)
}

fn figures<'b>(room: &'b mut [u8], record: &RunRecord) -> Option<&'b mut [u8]> {
    let room = number(room, zigzag(record.started_at.as_micros()))?;
    let room = number(room, zigzag(record.finished_at.as_micros()))?;
    let room = number(room, u64::try_from(record.duration.as_nanos()).unwrap_or(u64::MAX))?;
    let room = number(room, record.nodes)?;
    let room = put(room, [u8::from(record.slow)])?;
    let room = variant(room, &record.keep_reason)?;
    let room = put(room, record.inclusion_probability.to_le_bytes())?;
    let room = put(room, record.sample_rate.to_le_bytes())?;
    put(room, [u8::from(record.slim)])
}

fn documents<'b>(room: &'b mut [u8], record: &RunRecord) -> Option<&'b mut [u8]> {
    let room = optional(room, record.input.as_ref().map(Json::as_bytes))?;
    let room = number(room, record.input_bytes)?;
    let room = put(room, [u8::from(record.input_truncated)])?;
    let room = optional(room, record.attributes.as_ref().map(Json::as_bytes))?;
    let room = optional(room, record.trace.as_ref().map(Json::as_bytes))?;
    let room = number(room, record.trace_total)?;
    let room = number(room, record.trace_kept)?;
    let room = number(room, record.trace_bytes)?;
    match &record.audit {
        Some(level) => variant(put(room, [1])?, level),
        None => put(room, [0]),
    }
}

#[inline]
fn put<const N: usize>(room: &mut [u8], bytes: [u8; N]) -> Option<&mut [u8]> {
    let (here, rest) = room.split_first_chunk_mut()?;
    *here = bytes;
    Some(rest)
}

#[inline]
fn id(room: &mut [u8], id: Uuid) -> Option<&mut [u8]> {
    put(put(room, [16])?, id.into_bytes())
}

fn optional<'b>(room: &'b mut [u8], it: Option<&[u8]>) -> Option<&'b mut [u8]> {
    let Some(it) = it else { return put(room, [0]) };
    if it.len() > SHORT {
        return long_text(put(room, [1])?, it);
    }
    let here: &mut [u8; SHORT_ROOM] = room.first_chunk_mut()?;
    [here[0], here[1]] = [1, lowest(it.len() as u64)];
    copy_short(it, &mut here[2..])?;
    room.get_mut(2 + it.len()..)
}

fn text<'b>(room: &'b mut [u8], text: &[u8]) -> Option<&'b mut [u8]> {
    if text.len() > SHORT {
        return long_text(room, text);
    }
    let here: &mut [u8; SHORT_ROOM] = room.first_chunk_mut()?;
    here[0] = lowest(text.len() as u64);
    copy_short(text, &mut here[1..])?;
    room.get_mut(1 + text.len()..)
}

#[inline(never)]
fn long_text<'b>(room: &'b mut [u8], text: &[u8]) -> Option<&'b mut [u8]> {
    let room = number(room, text.len() as u64)?;
    let (here, rest) = room.split_at_mut_checked(text.len())?;
    here.copy_from_slice(text);
    Some(rest)
}

/// As two pieces, which overlap unless the text has the length of both.
#[inline(always)]
fn copy_short(from: &[u8], to: &mut [u8]) -> Option<()> {
    match from.len() {
        0 => Some(()),
        1 => pieces::<1>(from, to),
        2..4 => pieces::<2>(from, to),
        4..8 => pieces::<4>(from, to),
        8..16 => pieces::<8>(from, to),
        _ => pieces::<16>(from, to),
    }
}

#[inline(always)]
fn pieces<const N: usize>(from: &[u8], to: &mut [u8]) -> Option<()> {
    let (first, last) = (from.first_chunk::<N>()?, from.last_chunk()?);
    *to.first_chunk_mut()? = *first;
    *to.get_mut(from.len() - N..)?.first_chunk_mut::<N>()? = *last;
    Some(())
}

/// Which one of an enum it is: postcard knows.
#[inline]
fn variant<'b>(room: &'b mut [u8], value: &impl Serialize) -> Option<&'b mut [u8]> {
    let written = postcard::serialize_with_flavor(value, Slice::new(room)).ok()?.len();
    room.get_mut(written..)
}

const fn zigzag(number: i64) -> u64 {
    (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned()
}

/// Seven bits a byte, from the lowest; the highest bit says that more follow.
#[inline]
fn number(room: &mut [u8], number: u64) -> Option<&mut [u8]> {
    match number {
        ..LONG => put(room, [lowest(number)]),
        LONG..LONGEST => long_number(room, number),
        LONGEST.. => longest_number(room, number),
    }
}

/// All of its bytes at once, of a room for eight.
fn long_number(room: &mut [u8], number: u64) -> Option<&mut [u8]> {
    let bytes = spread(number);
    let last = (u64::BITS - 1 - bytes.leading_zeros()) / 8;
    let more = 0x8080_8080_8080_8080 & !(u64::MAX << (8 * last));
    *room.first_chunk_mut()? = (bytes | more).to_le_bytes();
    room.get_mut(last as usize + 1..)
}

/// Seven bits to a byte of their own: halves, quarters, eighths.
const fn spread(number: u64) -> u64 {
    let halves = (number & 0x0fff_ffff) | ((number & 0x00ff_ffff_f000_0000) << 4);
    let quarters = (halves & 0x0000_3fff_0000_3fff) | ((halves & 0x0fff_c000_0fff_c000) << 2);
    (quarters & 0x007f_007f_007f_007f) | ((quarters & 0x3f80_3f80_3f80_3f80) << 1)
}

#[cold]
fn longest_number(mut room: &mut [u8], mut number: u64) -> Option<&mut [u8]> {
    while number >= LONG {
        room = put(room, [lowest(number) | 0x80])?;
        number >>= 7;
    }
    put(room, [lowest(number)])
}

/// The lowest byte.
const fn lowest(number: u64) -> u8 {
    number.to_le_bytes()[0]
}
