//! One record in a segment: a header, the payload, and a checksum over both.
//!
//! ```text
//! magic u16 | flags u16 | len u32 | crc32c u32 | id [16] | payload [len] | zeros to 8 bytes
//! ```
//!
//! Little-endian. The checksum covers everything but itself, and begins with a [`Seed`] made of the
//! epoch and the segment's number: a block of another file, which a file system may show after a
//! crash, does not pass.

use crc32c::crc32c_append;
use uuid::Uuid;

/// What a frame begins with.
const MAGIC: u16 = 0x0b5f;

/// Bytes before the payload.
pub(crate) const HEADER: usize = 28;

/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// The largest frame. Nothing that is read from a disk makes us allocate more for one record.
pub(crate) const FRAME_MAX: usize = 256 << 10;

/// The record is of class `error`.
pub(crate) const FLAG_ERROR: u16 = 1;

const FLAGS: std::ops::Range<usize> = 2..4;
const LEN: std::ops::Range<usize> = 4..8;
const CRC: std::ops::Range<usize> = 8..12;

/// Where the checksum of a segment's frames begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(epoch: Uuid, segment: u64) -> Self {
        Self(crc32c(0, [epoch.as_bytes(), &segment.to_le_bytes()]))
    }

    /// The same for every segment: what a test plants.
    #[cfg(test)]
    pub(crate) const fn none() -> Self {
        Self(0)
    }
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) flags: u16,
    pub(crate) id: Uuid,
    pub(crate) payload: &'a [u8],
    /// What it takes up, with its padding.
    pub(crate) bytes: usize,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It does not look like one.
    NoHeader,
    /// It looks like one of this many bytes, but the checksum is another.
    Checksum(usize),
}

/// The frame of a payload of so many bytes that is in `buffer` behind [`HEADER`] others; as many as [`ALIGN`] must follow
/// it there. `None` when it is too large.
pub(crate) fn around(
    buffer: &mut [u8],
    payload: usize,
    (flags, id): (u16, Uuid),
) -> Option<&mut [u8]> {
    let end = HEADER.checked_add(payload)?;
    let size = end.checked_next_multiple_of(ALIGN).filter(|size| *size <= FRAME_MAX)?;
    let header: &mut [u8; HEADER] = buffer.first_chunk_mut()?;
    header[..FLAGS.start].copy_from_slice(&MAGIC.to_le_bytes());
    header[FLAGS].copy_from_slice(&flags.to_le_bytes());
    header[LEN].copy_from_slice(&u32::try_from(payload).ok()?.to_le_bytes());
    header[CRC].fill(0);
    header[CRC.end..].copy_from_slice(id.as_bytes());
    *buffer.get_mut(end..)?.first_chunk_mut()? = [0; ALIGN];
    buffer.get_mut(..size)
}

/// Starts a frame in an empty buffer: the payload is what is appended next.
#[expect(clippy::indexing_slicing, reason = "a header was made just before")]
pub(crate) fn begin(buffer: &mut Vec<u8>, flags: u16, id: Uuid) {
    buffer.clear();
    buffer.resize(HEADER, 0);
    buffer[FLAGS].copy_from_slice(&flags.to_le_bytes());
    buffer[CRC.end..].copy_from_slice(id.as_bytes());
}

/// Ends it. `false` when it is too large.
#[must_use]
#[expect(clippy::indexing_slicing, reason = "the length was compared with that of a header")]
pub(crate) fn finish(buffer: &mut Vec<u8>) -> bool {
    let Some(payload) = buffer.len().checked_sub(HEADER) else { return false };
    let flags = u16::from_le_bytes([buffer[FLAGS.start], buffer[FLAGS.start + 1]]);
    let Ok(id) = Uuid::from_slice(&buffer[CRC.end..HEADER]) else { return false };
    buffer.resize(buffer.len() + ALIGN, 0);
    let Some(size) = around(buffer, payload, (flags, id)).map(|frame| frame.len()) else {
        return false;
    };
    buffer.truncate(size);
    true
}

/// Gives it the checksum of the segment that it goes to.
#[expect(clippy::indexing_slicing, reason = "a frame has a header")]
pub(crate) fn seal(frame: &mut [u8], seed: Seed) {
    let crc = checksum(frame, seed).to_le_bytes();
    frame[CRC].copy_from_slice(&crc);
}

#[expect(clippy::indexing_slicing, reason = "a frame has a header")]
fn checksum(frame: &[u8], Seed(seed): Seed) -> u32 {
    crc32c(seed, [&frame[..CRC.start], &frame[CRC.end..]])
}

/// What the sum `before` becomes with two parts behind it.
fn crc32c(before: u32, parts: [&[u8]; 2]) -> u32 {
    parts.into_iter().fold(before, crc32c_append)
}

/// The frame that `bytes` begin with.
#[expect(clippy::indexing_slicing, reason = "the bytes hold a frame of this size")]
pub(crate) fn read(bytes: &[u8], seed: Seed) -> Result<Frame<'_>, Flaw> {
    let (header, size) = plausible(bytes).ok_or(Flaw::NoHeader)?;
    if checksum(&bytes[..size], seed) != header.crc {
        return Err(Flaw::Checksum(size));
    }
    Ok(header.frame(bytes, size))
}

/// The same without looking at the checksum: of a frame that has been in memory all the time.
pub(crate) fn read_unchecked(bytes: &[u8]) -> Result<Frame<'_>, Flaw> {
    let (header, size) = plausible(bytes).ok_or(Flaw::NoHeader)?;
    Ok(header.frame(bytes, size))
}

struct Header {
    flags: u16,
    len: usize,
    crc: u32,
    id: Uuid,
}

impl Header {
    #[expect(clippy::indexing_slicing, reason = "the bytes hold the frame of this header")]
    fn frame<'a>(&self, bytes: &'a [u8], size: usize) -> Frame<'a> {
        let payload = &bytes[HEADER..HEADER + self.len];
        Frame { flags: self.flags, id: self.id, payload, bytes: size }
    }
}

/// A header, and the size of its frame, which `bytes` hold.
fn plausible(bytes: &[u8]) -> Option<(Header, usize)> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let [m0, m1, f0, f1, rest @ ..] = header;
    if u16::from_le_bytes([*m0, *m1]) != MAGIC {
        return None;
    }
    let (len, rest) = rest.split_first_chunk()?;
    let (crc, id) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let size = HEADER.checked_add(len)?.checked_next_multiple_of(ALIGN)?;
    if size > FRAME_MAX || size > bytes.len() {
        return None;
    }
    let header = Header {
        flags: u16::from_le_bytes([*f0, *f1]),
        len,
        crc: u32::from_le_bytes(*crc),
        id: Uuid::from_slice(id).ok()?,
    };
    Some((header, size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: Uuid = Uuid::from_u128(7);

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![9; 3];
        begin(&mut buffer, FLAG_ERROR, Uuid::from_u128(42));
        buffer.extend_from_slice(payload);
        assert!(finish(&mut buffer));
        seal(&mut buffer, Seed::new(EPOCH, 3));
        buffer
    }

    #[test]
    fn a_frame_is_read_as_it_was_written_and_is_aligned() {
        for len in [0, 1, 3, 4, 5, 1_000] {
            let bytes = frame(&vec![1; len]);
            assert_eq!(bytes.len() % ALIGN, 0);
            let read = read(&bytes, Seed::new(EPOCH, 3)).unwrap();
            assert_eq!((read.flags, read.id), (FLAG_ERROR, Uuid::from_u128(42)));
            assert_eq!((read.payload, read.bytes), (&vec![1; len][..], bytes.len()));
        }
    }

    /// Of RFC 3720, appendix B.4.
    #[test]
    fn the_checksum_is_that_of_the_standard_however_the_bytes_are_parted() {
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        let table = [
            (vec![0; 32], 0x8a91_36aa),
            (vec![0xff; 32], 0x62a8_ab43),
            (up, 0x46dd_794e),
            (down, 0x113f_db5c),
            (b"123456789".to_vec(), 0xe306_9283),
        ];
        for (bytes, sum) in table {
            for at in 0..bytes.len() {
                let (first, second) = bytes.split_at(at);
                assert_eq!(crc32c(0, [first, second]), sum);
                assert_eq!(crc32c(crc32c(0, [first, &[]]), [&[], second]), sum);
            }
        }
    }

    proptest! {
        /// Other lengths are summed by other instructions, which a processor may have or not.
        #[test]
        fn the_checksum_of_any_length_is_that_of_one_bit_after_the_other(
            bytes in prop::collection::vec(any::<u8>(), 0..3_000),
            cut in any::<prop::sample::Index>(),
        ) {
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            let of_a_bit = |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
            let of_a_byte = |sum, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), of_a_bit);
            prop_assert_eq!(crc32c(7, [first, second]), !bytes.iter().fold(!7, of_a_byte));
        }
    }

    #[test]
    fn what_was_in_the_room_before_is_in_no_frame() {
        for len in [0, 1, 3, 4, 5, 1_000] {
            let mut room = vec![0xee; HEADER + len + ALIGN];
            room[HEADER..][..len].fill(1);
            let about = (FLAG_ERROR, Uuid::from_u128(42));
            let made = around(&mut room, len, about).unwrap();
            seal(made, Seed::new(EPOCH, 3));
            assert_eq!(made, frame(&vec![1; len]));
            assert_eq!(around(&mut room[1..], len, about), None, "too little room");
        }
    }

    #[test]
    fn any_changed_bit_is_noticed_and_so_is_a_missing_byte() {
        let bytes = frame(b"some payload");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&changed, Seed::new(EPOCH, 3)).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len], Seed::new(EPOCH, 3)), Err(Flaw::NoHeader), "{len}");
        }
    }

    #[test]
    fn a_frame_of_another_segment_or_epoch_does_not_pass() {
        let bytes = frame(b"some payload");
        let size = bytes.len();
        for other in [Seed::new(EPOCH, 4), Seed::new(Uuid::from_u128(8), 3), Seed::none()] {
            assert_eq!(read(&bytes, other), Err(Flaw::Checksum(size)));
        }
    }

    #[test]
    fn a_frame_is_at_most_256_kib() {
        let mut buffer = Vec::new();
        for (len, fits) in [(FRAME_MAX - HEADER, true), (FRAME_MAX - HEADER + 1, false)] {
            begin(&mut buffer, 0, EPOCH);
            buffer.resize(HEADER + len, 1);
            assert_eq!(finish(&mut buffer), fits);
        }
        buffer[LEN].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read(&buffer, Seed::none()), Err(Flaw::NoHeader));
    }
}
