//! What is in a segment that somebody else wrote: every frame that is whole, whatever lies between.
//!
//! Zeros are no damage: a thread takes its place in a segment before it writes, so a killed process
//! may leave a gap, and behind the last frame there is nothing but zeros. After damage the search
//! goes on at the next place where a frame may begin, not where a damaged length points to. Pure,
//! never panics, and allocates nothing.

use super::frame::{self, ALIGN, Flaw, Frame, Seed};

/// How many bytes are looked at for checksums that turn out wrong, as a multiple of the segment's
/// size. Bytes made to look like many large frames cost no more than this; what is behind them is
/// damaged.
const WASTE_MAX: usize = 16;

/// What a write that was cut off did not write are zeros. A whole frame ends in fewer of them: those of a record
/// without a payload, of a rate that is 0, and of the padding.
pub(super) const TAIL: usize = 32;

/// Walks over the frames of a segment.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    seed: Seed,
    at: usize,
    /// Stretches of bytes that are neither a frame nor zeros.
    damaged: u64,
    /// Those of them that may be frames whose write was cut off.
    cut_off: u64,
    /// Where the last of them ends, as far as its beginning tells.
    damaged_to: usize,
    waste_left: usize,
    #[cfg(test)]
    pub(super) unchecked: bool,
}

#[expect(
    clippy::indexing_slicing,
    reason = "nothing is looked at that begins behind the last byte, or ends there"
)]
impl<'a> Scan<'a> {
    pub(crate) fn new(bytes: &'a [u8], seed: Seed) -> Self {
        Self {
            bytes,
            seed,
            at: 0,
            damaged: 0,
            cut_off: 0,
            damaged_to: 0,
            waste_left: bytes.len().saturating_mul(WASTE_MAX),
            #[cfg(test)]
            unchecked: false,
        }
    }

    /// How many damaged places were passed so far.
    pub(crate) const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// How many of them may be what a write left that a kill cut off.
    pub(crate) const fn cut_off(&self) -> u64 {
        self.cut_off
    }

    fn read(&self, at: usize) -> Result<Frame<'a>, Flaw> {
        #[cfg(test)]
        if self.unchecked {
            return frame::read_unchecked(&self.bytes[at..]);
        }
        frame::read(&self.bytes[at..], self.seed)
    }

    fn is_zero(&self, at: usize) -> bool {
        let end = (at + ALIGN).min(self.bytes.len());
        self.bytes[at..end].iter().all(|byte| *byte == 0)
    }

    fn damage(&mut self, size: usize) {
        if self.at > self.damaged_to || self.damaged == 0 {
            self.damaged += 1;
            let end = (self.at + size).min(self.bytes.len());
            let tail = &self.bytes[self.at.max(end.saturating_sub(TAIL))..end];
            self.cut_off += u64::from(tail.iter().all(|byte| *byte == 0));
        }
        self.damaged_to = self.damaged_to.max(self.at + size);
    }
}

impl<'a> Iterator for Scan<'a> {
    /// Where the frame begins, and the frame.
    type Item = (usize, Frame<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.bytes.len() {
            if self.is_zero(self.at) {
                self.at += ALIGN;
                continue;
            }
            let at = self.at;
            match self.read(at) {
                Ok(frame) => {
                    self.at += frame.bytes;
                    return Some((at, frame));
                }
                Err(Flaw::NoHeader) => self.damage(ALIGN),
                Err(Flaw::Checksum(size)) => {
                    self.damage(size);
                    let Some(left) = self.waste_left.checked_sub(size) else {
                        self.at = self.bytes.len();
                        return None;
                    };
                    self.waste_left = left;
                }
            }
            self.at += ALIGN;
        }
        None
    }
}

#[cfg(test)]
mod tests;
