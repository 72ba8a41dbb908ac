//! What a run was given: words, of a known size, from a seed.

use serde::Serialize;

/// One text of an input; obs cuts longer ones.
const PART_BYTES: usize = 1_024;

/// As much text as the largest input takes from any offset.
const POOL_BYTES: usize = 128 << 10;

/// The text that all inputs are parts of: short words in lower case, which nothing redacts.
#[derive(Debug)]
pub(crate) struct Pool {
    text: String,
    row_bytes: usize,
}

/// The input of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Payload {
    seq: u64,
    text: Vec<String>,
}

impl Pool {
    pub(crate) fn new(seed: u64, row_bytes: u32) -> Self {
        let mut state = seed;
        let mut text = String::with_capacity(POOL_BYTES);
        while text.len() < POOL_BYTES {
            let mut bits = next(&mut state);
            for _ in 0..2 + bits % 6 {
                let letter = u8::try_from(bits / 8 % 26).map_or('a', |at| char::from(b'a' + at));
                text.push(letter);
                bits /= 37;
            }
            text.push(' ');
        }
        Self { text, row_bytes: row_bytes as usize }
    }

    /// The same for the same seed, size and number.
    pub(crate) fn payload(&self, seq: u64) -> Payload {
        let room = self.text.len() - self.row_bytes;
        let mut state = seq;
        let at = usize::try_from(next(&mut state) % room as u64).unwrap_or(0);
        let text = self.text.get(at..at + self.row_bytes).unwrap_or_default();
        // All of it is ASCII, so that any place is one to cut at.
        let parts = (0..text.len()).step_by(PART_BYTES);
        let part = |at: usize| text.get(at..text.len().min(at + PART_BYTES)).unwrap_or_default();
        Payload { seq, text: parts.map(|at| part(at).to_owned()).collect() }
    }
}

/// SplitMix64.
const fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_the_size_that_was_asked_for_and_comes_from_the_seed() {
        for bytes in [0, 1, 1_024, 1_025, 60_000] {
            let pool = Pool::new(7, bytes);
            for seq in [0, 1, u64::MAX] {
                let size: usize = pool.payload(seq).text.iter().map(String::len).sum();
                assert_eq!(size, bytes as usize);
            }
        }
        let json = |seed, seq| serde_json::to_string(&Pool::new(seed, 64).payload(seq)).unwrap();
        assert_eq!(json(7, 3), json(7, 3));
        assert_ne!(json(7, 3), json(8, 3));
    }
}
