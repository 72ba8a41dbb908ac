//! Choosing runs by an id that others know too, so that services keep the same ones.

/// The bits of a trace id that are random, as W3C has it.
const RANDOM_BITS: u32 = 56;
/// The bits of a draw that a float holds exactly.
const DRAW_BITS: u32 = 53;

/// By what the runs that a rate keeps are chosen. The rate, and so the inclusion probability of a row, is the same
/// whatever is chosen by.
///
/// ```
/// use obs_core::{KeepPolicy, SampleBy};
/// let policy = KeepPolicy { sample_by: SampleBy::Trace, ..KeepPolicy::default() };
/// # let _ = policy;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SampleBy {
    /// A draw of its own for each run.
    #[default]
    Chance,
    /// The trace id, by OpenTelemetry's rule of consistent probability: services with one rate keep runs of the same
    /// traces, and whoever has a higher rate keeps those too. A run outside of every trace is drawn for.
    Trace,
    /// The correlation id. A run without one is drawn for.
    Correlation,
}

impl SampleBy {
    /// As a number; and from one that it was.
    pub(crate) const fn code(self) -> u32 {
        self as u32
    }

    pub(crate) const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Trace,
            2 => Self::Correlation,
            _ => Self::Chance,
        }
    }
}

/// Whether a trace is one of this share of all traces, by OpenTelemetry's rule: its last 56 bits are at least the
/// threshold, which is the share that is left out.
///
/// ```
/// use obs_core::trace_is_within;
/// assert!(trace_is_within(0x00ff_ffff_ffff_ffff, 0.01));
/// assert!(!trace_is_within(0, 0.99));
/// assert!(trace_is_within(0, 1.0) && !trace_is_within(u128::MAX, 0.0));
/// ```
#[must_use]
pub fn trace_is_within(trace_id: u128, share: f64) -> bool {
    draw_of_trace(trace_id) < share
}

/// Uniform in [0, 1), if trace ids are random; the higher the last bits, the lower.
pub(crate) fn draw_of_trace(trace_id: u128) -> f64 {
    const MASK: u64 = (1 << RANDOM_BITS) - 1;
    let random = trace_id as u64 & MASK;
    unit((MASK - random) >> (RANDOM_BITS - DRAW_BITS))
}

/// Uniform in [0, 1) over ids that differ. It is part of what services agree on, and so never changes: FNV-1a with 64
/// bits, and the finalizer of SplitMix64.
pub(crate) fn draw_of_text(id: &str) -> f64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    unit(crate::span_ids::finalized(hash) >> (64 - DRAW_BITS))
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
fn unit(bits: u64) -> f64 {
    bits as f64 / (1_u64 << DRAW_BITS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace_id_of;

    #[test]
    fn the_share_of_traces_and_of_ids_that_is_within_is_the_rate() {
        const COUNT: u32 = 100_000;
        let runs = (0..u128::from(COUNT)).map(|nth| uuid::Uuid::from_u128(0x019a << 112 | nth));
        let traces: Vec<u128> = runs.map(trace_id_of).collect();
        for rate in [0.01, 0.25, 0.9] {
            let within = traces.iter().filter(|trace| trace_is_within(**trace, rate)).count();
            let texts = (0..COUNT).filter(|nth| draw_of_text(&format!("req-{nth}")) < rate).count();
            for seen in [within, texts] {
                let expected = f64::from(COUNT) * rate;
                // Six standard deviations.
                let slack = 6.0 * (expected * (1.0 - rate)).sqrt();
                assert!((seen as f64 - expected).abs() < slack, "{seen} at {rate}");
            }
        }
    }

    #[test]
    fn a_choice_is_the_same_after_it_was_a_number() {
        for by in [SampleBy::Chance, SampleBy::Trace, SampleBy::Correlation] {
            assert_eq!(SampleBy::from_code(by.code()), by);
        }
    }

    #[test]
    fn what_a_low_rate_keeps_a_higher_one_keeps_too() {
        for nth in 0..1_000_u128 {
            let trace = trace_id_of(uuid::Uuid::from_u128(nth));
            assert!(!trace_is_within(trace, 0.1) || trace_is_within(trace, 0.2));
        }
    }

    #[test]
    fn the_rule_is_opentelemetrys_and_the_hash_never_changes() {
        // A quarter is kept: the threshold is three quarters of 2^56.
        let threshold = 3_u128 << 54;
        assert!(trace_is_within(threshold, 0.25));
        assert!(!trace_is_within(threshold - 8, 0.25));
        assert!(trace_is_within(0xffff << 112 | threshold, 0.25), "the other bits say nothing");
        assert_eq!(format!("{:.9}", draw_of_text("4b0c1f")), "0.220406128");
    }
}
