//! What a fuzzer calls: bytes of files that anybody may have written, with what must hold of them.

use uuid::Uuid;

use super::{
    codec,
    frame::{self, ALIGN, FLAG_ERROR, FRAME_MAX, HEADER, Seed},
    recover::Scan,
};

/// Of the frames that are made here: payloads of so many bytes, so that small inputs are several.
const PAYLOAD: usize = 40;
/// Without a stretch of zeros, which could be taken for a gap.
const ID: u128 = 0x0101_0101_0101_0101_0101_0101_0101_0101;

/// Walks over a segment that holds these bytes, and returns how many frames are in it; then over a segment in which they
/// are the payloads of whole frames, and over the same with one byte changed.
///
/// # Panics
/// When a frame is not within the bytes, overlaps another, or was not written; or one that was written is not found.
///
/// ```
/// assert_eq!(obs_persist::testing::fuzz::recover(b"no frame"), 0);
/// ```
#[must_use]
#[expect(clippy::indexing_slicing, reason = "the place is taken modulo the length")]
pub fn recover(bytes: &[u8]) -> usize {
    let found = walk(bytes);

    let (mut segment, mut starts) = (Vec::new(), Vec::new());
    for (at, payload) in bytes.chunks(PAYLOAD).enumerate() {
        starts.push(segment.len());
        segment.extend(sealed(at as u128, payload));
    }
    assert_eq!(walk(&segment), starts, "every frame that was written is found");

    if let [first, second, .., value] = *bytes {
        let at = usize::from(u16::from_le_bytes([first, second])) % segment.len();
        let same = std::mem::replace(&mut segment[at], value) == value;
        let before = starts.iter().filter(|start| **start <= at).count() - 1;
        let left = walk(&segment);
        assert_eq!(left.get(..before), starts.get(..before), "what is before a damage is found");
        assert_eq!(left == starts, same, "and what is damaged is not");
    }
    found.len()
}

/// Reads a payload as a record, and says whether it is one.
///
/// # Panics
/// When a record that was read is another once it is written and read again.
///
/// ```
/// assert!(!obs_persist::testing::fuzz::decode(b"no record"));
/// ```
#[must_use]
pub fn decode(payload: &[u8]) -> bool {
    let Ok(record) = codec::decode(payload) else { return false };
    let mut again = Vec::new();
    assert!(codec::encode(&record, &mut again).is_ok(), "a record that was read can be written");
    assert_eq!(codec::decode(&again).ok(), Some(record));
    true
}

fn seed() -> Seed {
    Seed::new(Uuid::from_u128(ID), 1)
}

fn sealed(number: u128, payload: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    frame::begin(&mut buffer, FLAG_ERROR, Uuid::from_u128(ID ^ number));
    buffer.extend_from_slice(payload);
    assert!(frame::finish(&mut buffer), "{PAYLOAD} bytes are a small payload");
    frame::seal(&mut buffer, seed());
    buffer
}

/// Where the frames begin.
fn walk(bytes: &[u8]) -> Vec<usize> {
    let (mut scan, mut starts, mut end) = (Scan::new(bytes, seed()), Vec::new(), 0);
    for (at, frame) in scan.by_ref() {
        assert!(at >= end && at.is_multiple_of(ALIGN), "{at} is no place behind {end}");
        end = at + frame.bytes;
        assert!(end <= bytes.len() && frame.bytes <= FRAME_MAX, "to {end} of {}", bytes.len());
        assert!(HEADER + frame.payload.len() <= frame.bytes, "{}", frame.bytes);
        let _ = decode(frame.payload);
        starts.push(at);
    }
    assert!(scan.cut_off() <= scan.damaged());
    starts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a fuzzer begins with, and changes.
    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode(&obs_core::testing::record("bonus", "1"), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_record_that_was_written_is_one() {
        assert!(decode(&record()));
        assert_eq!(recover(&sealed(1, &record())), 1);
        assert_eq!(recover(&[]), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = (recover(&bytes), decode(&bytes));
        }

        #[test]
        fn a_record_with_changed_bytes_holds(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = record();
            for (at, value) in changes {
                let len = bytes.len();
                bytes[at.index(len)] = value;
            }
            let _ = (recover(&bytes), decode(&bytes), recover(&sealed(1, &bytes)));
        }
    }
}
