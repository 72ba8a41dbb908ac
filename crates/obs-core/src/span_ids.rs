//! The trace and span ids of a run, from its run id: whoever knows one knows the other, so that log lines,
//! spans and rows agree without a word between them.

use opentelemetry::trace::{SpanId, TraceId};
use uuid::Uuid;

/// One for each 64 bits that are made: they must not follow from each other.
const SALTS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0x8cb9_2ba7_2f3d_8dd7];

/// The trace id of a run that was started outside of every trace. All its bits are as random as the run id, as
/// W3C's flag `random` wants it of the last 56.
///
/// ```
/// let run_id = uuid::Uuid::from_u128(7);
/// assert_ne!(obs_core::trace_id_of(run_id), 0);
/// assert_eq!(obs_core::trace_id_of(run_id), obs_core::trace_id_of(run_id));
/// ```
#[must_use]
pub fn trace_id_of(run_id: Uuid) -> u128 {
    u128::from(mixed(run_id, SALTS[0])) << 64 | u128::from(mixed(run_id, SALTS[1]))
}

/// The id of the span that a run is.
///
/// ```
/// let run_id = uuid::Uuid::from_u128(7);
/// assert_ne!(obs_core::span_id_of(run_id), 0);
/// ```
#[must_use]
pub fn span_id_of(run_id: Uuid) -> u64 {
    mixed(run_id, SALTS[2])
}

/// Both, as OpenTelemetry has them.
pub(crate) fn own(run_id: Uuid) -> (TraceId, SpanId) {
    let (trace, span) = (trace_id_of(run_id).to_be_bytes(), span_id_of(run_id).to_be_bytes());
    (TraceId::from_bytes(trace), SpanId::from_bytes(span))
}

/// An id as rows and headers have it: lowercase hexadecimal. The formatter of `fmt` takes several times as long.
pub(crate) fn hex(id: &[u8]) -> Box<str> {
    const BYTES_MAX: usize = 16;
    debug_assert!(id.len() <= BYTES_MAX && id.len().is_multiple_of(4), "no id is longer or odd");
    let mut text = [0; 2 * BYTES_MAX];
    for (digits, bytes) in text.as_chunks_mut().0.iter_mut().zip(id.as_chunks().0) {
        *digits = eight_digits(u32::from_be_bytes(*bytes)).to_be_bytes();
    }
    let text = text.get(..2 * id.len()).unwrap_or_default();
    str::from_utf8(text).unwrap_or_default().into()
}

/// All at once: halves of the number in halves of a word, and so on down to a digit a byte; then those above nine
/// are moved on to the letters.
const fn eight_digits(number: u32) -> u64 {
    let all = number as u64;
    let fours = (all | (all << 16)) & 0x0000_ffff_0000_ffff;
    let twos = (fours | (fours << 8)) & 0x00ff_00ff_00ff_00ff;
    let ones = (twos | (twos << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    let is_letter = ((ones + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    const TO_LETTERS: u64 = (b'a' - b'9' - 1) as u64;
    ones + 0x3030_3030_3030_3030 + is_letter * TO_LETTERS
}

/// Run ids of a thread are counted up, so each bit of theirs must reach all of these. 0 is no id.
fn mixed(run_id: Uuid, salt: u64) -> u64 {
    let (high, low) = run_id.as_u64_pair();
    finalized(finalized(high ^ salt).wrapping_add(low) ^ salt.rotate_left(32)).max(1)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) const fn finalized(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_written_as_opentelemetry_writes_them() {
        for number in 0..500_u128 {
            let trace = TraceId::from_bytes((number * 0x0123_4567_89ab_cdef_fedc).to_be_bytes());
            assert_eq!(*hex(&trace.to_bytes()), *trace.to_string());
            let span = SpanId::from_bytes(finalized(number as u64).to_be_bytes());
            assert_eq!(*hex(&span.to_bytes()), *span.to_string());
        }
    }

    #[test]
    fn run_ids_that_are_counted_up_make_ids_that_are_spread_evenly() {
        const COUNT: u32 = 10_000;
        let first = 0x019a_bcde_f012_7000_8000_0000_0000_0000_u128;
        let runs = (0..u128::from(COUNT)).map(|nth| Uuid::from_u128(first + nth));
        let traces: Vec<u128> = runs.clone().map(trace_id_of).collect();
        assert_eq!(traces.iter().collect::<HashSet<_>>().len(), COUNT as usize);
        assert_eq!(runs.map(span_id_of).collect::<HashSet<_>>().len(), COUNT as usize);
        for bit in 0..128 {
            let ones = traces.iter().filter(|trace| *trace >> bit & 1 == 1).count();
            assert!((4_700..5_300).contains(&ones), "bit {bit} is set in {ones} of {COUNT}");
        }
    }
}
