//! What can be read of a segment's file: all of it, or what lies around the places that its disk does not give back.

use std::{io, ops::Range, path::Path};

use super::{disk::Disk, recover::TAIL, segment::SEGMENT_BYTES};
use crate::platform;

/// What is read at once.
const PIECE: usize = 64 << 10;

/// What a piece is read by that cannot be read at once.
const PAGE: usize = 4 << 10;

/// How many pages of a file are tried in vain before whole pieces of it are given up: each may take its disk seconds.
const PAGES_MAX: usize = 64;

/// What stands where nothing could be read: no frame and no zeros, so whoever scans it finds a damaged place.
const UNREAD: u8 = 0xff;

/// What stands for a file of which nothing could be read: one damaged place.
pub(super) const NOTHING: [u8; 8] = [UNREAD; 8];

/// Reads a segment's file, at most the size of one; returns whether that was all of it.
pub(super) fn read_segment(disk: &dyn Disk, path: &Path, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let file = disk.open(path)?;
    each_piece(|bytes, at| file.pread(bytes, at as u64), |_, _, error| Err(error), buffer)
}

/// What could not be read of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// Where: in order, and no two touch.
    pub(super) places: Vec<Range<usize>>,
    /// In how many of them there was something.
    pub(super) lost: u64,
}

impl Unread {
    /// A file of which nothing can be read.
    pub(super) fn all() -> Self {
        Self { places: std::iter::once(0..usize::MAX).collect(), lost: 1 }
    }
}

/// Reads a segment's file around the places that cannot be read, as long as it may. An error says nothing of the file.
pub(super) fn read_around(
    disk: &dyn Disk,
    path: &Path,
    buffer: &mut Vec<u8>,
    may: impl Fn() -> io::Result<()>,
) -> io::Result<Unread> {
    buffer.clear();
    match disk.open(path) {
        Ok(file) => around(|bytes, at| may().and_then(|()| file.pread(bytes, at as u64)), buffer),
        Err(error) if platform::is_shortage(&error) => Err(error),
        Err(_) => Ok(Unread::all()),
    }
}

/// The same, of what `read` reads.
#[expect(clippy::indexing_slicing, reason = "each place was cut to what was read")]
pub(super) fn around(
    read: impl Fn(&mut [u8], usize) -> io::Result<usize>,
    buffer: &mut Vec<u8>,
) -> io::Result<Unread> {
    let mut places: Vec<Range<usize>> = Vec::new();
    let mut in_vain = 0;
    let by_pages = |piece: &mut [u8], start: usize, error: io::Error| {
        if platform::is_shortage(&error) {
            return Err(error);
        }
        for (page, at) in piece.chunks_mut(PAGE).zip((start..).step_by(PAGE)) {
            if in_vain < PAGES_MAX {
                match read(page, at) {
                    Ok(filled) if filled < page.len() => return Ok(at + filled - start),
                    Ok(_) => continue,
                    Err(error) if platform::is_shortage(&error) => return Err(error),
                    Err(_) => in_vain += 1,
                }
            }
            match places.last_mut() {
                Some(last) if last.end == at => last.end += page.len(),
                _ => places.push(at..at + page.len()),
            }
        }
        Ok(piece.len())
    };
    each_piece(&read, by_pages, buffer)?;
    places.retain_mut(|place| {
        place.end = place.end.min(buffer.len());
        place.start < place.end
    });
    if places.first() == Some(&(0..buffer.len())) {
        return Ok(Unread::all());
    }
    let mut lost = 0;
    // From the back: what is behind a place is known then.
    for place in places.iter().rev() {
        let unused = is_unused(buffer, place);
        lost += u64::from(!unused);
        buffer[place.clone()].fill(if unused { 0 } else { UNREAD });
    }
    Ok(Unread { places, lost })
}

/// Reads piece after piece, and what `instead` makes of those that cannot be read: how much it filled.
#[expect(clippy::indexing_slicing, reason = "the buffer was made longer just before")]
fn each_piece(
    read: impl Fn(&mut [u8], usize) -> io::Result<usize>,
    mut instead: impl FnMut(&mut [u8], usize, io::Error) -> io::Result<usize>,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    buffer.clear();
    loop {
        let at = buffer.len();
        buffer.resize(at + PIECE, 0);
        let filled = match read(&mut buffer[at..], at) {
            Ok(filled) => filled,
            Err(error) => instead(&mut buffer[at..], at, error)?,
        };
        buffer.truncate(at + filled);
        if buffer.len() > SEGMENT_BYTES {
            buffer.truncate(SEGMENT_BYTES);
            return Ok(false);
        }
        if filled < PIECE {
            return Ok(true);
        }
    }
}

/// Whether nothing was ever written there: more zeros before it than any frame ends in, and nothing behind it.
#[expect(clippy::indexing_slicing, reason = "the place lies in the bytes")]
fn is_unused(bytes: &[u8], place: &Range<usize>) -> bool {
    let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let before = place.start.checked_sub(TAIL).map(|from| &bytes[from..place.start]);
    before.is_some_and(zeros) && zeros(&bytes[place.end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file of these bytes is read as, of which these pages cannot be.
    fn read(bytes: &[u8], bad: &[usize]) -> (Unread, Vec<u8>, usize) {
        let (mut buffer, tries) = (Vec::new(), std::cell::Cell::new(0));
        let pread = |into: &mut [u8], at: usize| {
            if bad.iter().any(|page| page * PAGE < at + into.len() && at < (page + 1) * PAGE) {
                tries.set(tries.get() + 1);
                return Err(io::Error::other("a bad sector"));
            }
            let there = bytes.get(at..).unwrap_or_default();
            let count = there.len().min(into.len());
            into[..count].copy_from_slice(&there[..count]);
            Ok(count)
        };
        let unread = around(pread, &mut buffer).unwrap();
        (unread, buffer, tries.get())
    }

    #[test]
    fn what_lies_around_bad_pages_is_read_to_the_byte() {
        let bytes: Vec<u8> = (1..=253).cycle().step_by(2).take(3 * PIECE + 100).collect();
        for bad in [&[][..], &[0], &[20], &[15, 16], &[3, 5, 40], &[47], &[48]] {
            let (unread, buffer, _) = read(&bytes, bad);
            // Nobody knows where a bad page at the end of a file ends.
            let end = bytes.len().next_multiple_of(PAGE);
            assert_eq!(buffer.len(), if bad == [48] { end } else { bytes.len() }, "{bad:?}");
            for (at, (byte, there)) in buffer.iter().zip(&bytes).enumerate() {
                let is_bad = bad.contains(&(at / PAGE));
                assert_eq!(*byte, if is_bad { UNREAD } else { *there }, "{bad:?} at {at}");
                assert_eq!(unread.places.iter().any(|place| place.contains(&at)), is_bad);
            }
            assert_eq!(unread.lost, unread.places.len() as u64);
        }
        let places = read(&bytes, &[15, 16, 40]).0.places;
        assert_eq!(places, [15 * PAGE..17 * PAGE, 40 * PAGE..41 * PAGE], "what touches is one");
    }

    #[test]
    fn where_nothing_was_written_nothing_is_lost() {
        let mut bytes = vec![0; 4 * PIECE];
        bytes[..PIECE + 10].fill(1);
        for (bad, lost) in [
            (&[40][..], 0),
            (&[40, 50, 63], 0),
            // The last frame may go on there.
            (&[17], 0),
            (&[16], 1),
            (&[3, 40], 1),
        ] {
            let (unread, buffer, _) = read(&bytes, bad);
            assert_eq!(unread.lost, lost, "{bad:?}");
            let last = *bad.last().unwrap() * PAGE;
            assert_eq!(buffer[last] == 0, !bad.contains(&16), "{bad:?}");
        }
        // Something is behind it.
        bytes[60 * PAGE] = 1;
        assert_eq!(read(&bytes, &[40]).0.lost, 1);
    }

    #[test]
    fn a_file_of_which_nothing_can_be_read_is_tried_a_bounded_number_of_times() {
        let all: Vec<_> = (0..SEGMENT_BYTES / PAGE).collect();
        let (unread, _, tries) = read(&vec![1; SEGMENT_BYTES], &all);
        assert_eq!((unread, tries), (Unread::all(), SEGMENT_BYTES / PIECE + PAGES_MAX));
        // The rest is there all the same.
        let (unread, buffer, _) = read(&vec![1; SEGMENT_BYTES], &all[..512]);
        assert_eq!((unread.lost, buffer[512 * PAGE], buffer.len()), (1, 1, SEGMENT_BYTES));
    }
}
