//! However a text is made, looking at it takes time in proportion to its length.

use std::time::Duration;

use proptest::prelude::*;

use super::rules;
use crate::encode::Sanitized;

/// Pieces that begin what they do not end.
const HOSTILE: [&str; 32] = [
    "eyJ",
    "eyJa.eyJ",
    ".",
    "-",
    "-----BEGIN ",
    "-----END ",
    "://",
    "://a:b",
    "@",
    "a@",
    "a@b",
    "a@b.",
    "=",
    "token=",
    "token=[redacted",
    "token=\"",
    "\"password\":",
    "\\\"",
    "Authorization:",
    "4",
    "41 ",
    "411-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "ghp_",
    "sk_",
    "sk-",
    "xoxb-",
    "a",
    " ",
];

/// How long one look takes, the best of some.
fn time_of(text: &str) -> Duration {
    let rules = rules();
    let look = |_| {
        let start = time_of_thread();
        let safe = rules.by_looks(text, &mut Sanitized::default());
        std::hint::black_box(&safe);
        time_of_thread() - start
    };
    (0..3).map(look).min().unwrap()
}

/// The time in which this thread was on a processor: others may be busy meanwhile.
fn time_of_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// A text of about this many bytes.
fn repeated(pieces: &[&str], bytes: usize) -> String {
    let unit: String = pieces.concat();
    unit.repeat(bytes / unit.len() + 1)
}

#[test]
fn no_text_takes_more_than_linear_time() {
    // Quadratic work would take 256 times as long for 16 times the text.
    const SHORT: usize = 4 * 1024;
    const RATIO: usize = 16;
    for first in HOSTILE {
        for second in ["", "a", " ", "-", ".", "/"] {
            let pieces = [first, second];
            let (short, long) = (repeated(&pieces, SHORT), repeated(&pieces, RATIO * SHORT));
            let (short_time, long_time) = (time_of(&short), time_of(&long));
            let bound = short_time.max(Duration::from_micros(20)) * RATIO as u32 * 5;
            assert!(long_time < bound, "{pieces:?}: {short_time:?}, then {long_time:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_mixture_of_beginnings_is_looked_at_in_linear_time_and_never_panics(
        pieces in proptest::collection::vec(proptest::sample::select(&HOSTILE[..]), 1..12),
        odd in "\\PC{0,12}",
    ) {
        let mut pieces = pieces;
        pieces.push(&odd);
        let (short, long) = (repeated(&pieces, 4 * 1024), repeated(&pieces, 64 * 1024));
        let (short_time, long_time) = (time_of(&short), time_of(&long));
        let bound = short_time.max(Duration::from_micros(20)) * 16 * 6;
        prop_assert!(long_time < bound, "{:?}: {:?}, then {:?}", pieces, short_time, long_time);
    }
}
