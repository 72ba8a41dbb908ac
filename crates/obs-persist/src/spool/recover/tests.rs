use proptest::prelude::*;
use uuid::Uuid;

use super::{
    super::{
        codec,
        frame::{FRAME_MAX, HEADER, begin, finish, seal},
    },
    *,
};

fn seed() -> Seed {
    Seed::new(Uuid::from_u128(5), 1)
}

/// As in the ids of runs, no stretch of zeros that could be taken for a gap.
const DENSE: u128 = 0x0101_0101_0101_0101_0101_0101_0101_0100;

fn frame(id: u128, payload: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    begin(&mut buffer, 0, Uuid::from_u128(DENSE | id));
    buffer.extend_from_slice(payload);
    assert!(finish(&mut buffer));
    seal(&mut buffer, seed());
    buffer
}

/// Frames of different sizes, and where each begins and ends.
fn segment(count: u128) -> (Vec<u8>, Vec<(usize, usize)>) {
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for id in 0..count {
        let payload: Vec<u8> = (0..id * 7 % 90).map(|at| (at % 251) as u8 + 1).collect();
        let at = bytes.len();
        bytes.extend(frame(id, &payload));
        places.push((at, bytes.len()));
    }
    (bytes, places)
}

fn ids(bytes: &[u8]) -> (Vec<u128>, u64) {
    let mut scan = Scan::new(bytes, seed());
    let ids = scan.by_ref().map(|(_, frame)| frame.id.as_u128() ^ DENSE).collect();
    (ids, scan.damaged())
}

#[test]
fn a_segment_that_is_cut_anywhere_gives_exactly_the_frames_before_the_cut() {
    let (bytes, places) = segment(64);
    for cut in 0..=bytes.len() {
        let whole = places.iter().filter(|(_, end)| *end <= cut).count() as u128;
        let (found, damaged) = ids(&bytes[..cut]);
        assert_eq!(found, (0..whole).collect::<Vec<_>>(), "cut at {cut}");
        let torn = places.iter().any(|(at, end)| *at < cut && cut < *end);
        assert_eq!(damaged, u64::from(torn), "cut at {cut}");
    }
}

#[test]
fn a_frame_of_which_only_the_beginning_was_written_looks_like_it_and_one_with_a_wrong_bit_does_not()
{
    let mut record = obs_core::testing::record("bonus", "1");
    (record.status, record.sample_rate) = (obs_core::Status::Error, 0.0);
    let mut payload = Vec::new();
    codec::encode(&record, &mut payload).unwrap();
    for padding in 0..ALIGN {
        let mut payload = payload.clone();
        payload.extend(vec![0; padding]);
        let whole = frame(1, &payload);
        for written in (ALIGN..whole.len() - TAIL).step_by(ALIGN) {
            let mut bytes = whole.clone();
            bytes[written..].fill(0);
            let mut scan = Scan::new(&bytes, seed());
            assert_eq!(scan.next(), None);
            assert_eq!((scan.damaged(), scan.cut_off()), (1, 1), "{written} of {}", whole.len());
        }
        for wrong in 0..whole.len() - TAIL {
            let mut bytes = whole.clone();
            bytes[wrong] ^= 1;
            let mut scan = Scan::new(&bytes, seed());
            assert_eq!(scan.next(), None);
            // A wrong length may end anywhere.
            let expected = if (4..8).contains(&wrong) { 0..=1 } else { 0..=0 };
            assert!(expected.contains(&scan.cut_off()) && scan.damaged() > 0, "byte {wrong}");
        }
    }
}

#[test]
fn what_is_behind_a_damaged_frame_or_a_gap_is_found() {
    let (bytes, places) = segment(10);
    for (lost, (at, end)) in places.iter().enumerate() {
        let rest: Vec<u128> = (0..10).filter(|id| *id != lost as u128).collect();
        for place in *at..*end {
            let mut changed = bytes.clone();
            changed[place] ^= 0x40;
            assert_eq!(ids(&changed), (rest.clone(), 1), "frame {lost}, byte {place}");
        }
        let mut gap = bytes.clone();
        gap[*at..*end].fill(0);
        assert_eq!(ids(&gap), (rest, 0), "frame {lost}");
    }
}

#[test]
fn two_damaged_frames_apart_are_two_and_side_by_side_are_one() {
    let (bytes, places) = segment(10);
    for (frames, damaged) in [([3, 7], 2), ([3, 4], 1)] {
        let mut changed = bytes.clone();
        for frame in frames {
            changed[places[frame].0 + HEADER - 1] ^= 1;
        }
        assert_eq!(ids(&changed).1, damaged, "{frames:?}");
        assert_eq!(ids(&changed).0.len(), 8);
    }
}

#[test]
fn zeros_are_an_empty_segment() {
    assert_eq!(ids(&[0; 4_096]), (Vec::new(), 0));
    assert_eq!(ids(&[]), (Vec::new(), 0));
}

/// Headers at every place where one may be, each of a frame of the largest size.
#[test]
fn bytes_made_to_cost_much_cost_a_bounded_number_of_checksums() {
    let len = u32::try_from(FRAME_MAX - 64).unwrap();
    let mut bytes = vec![0; 2 << 20];
    for at in (0..bytes.len() - ALIGN).step_by(ALIGN) {
        bytes[at..at + 2].copy_from_slice(&0x0b5f_u16.to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
    }
    let mut scan = Scan::new(&bytes, seed());
    assert!(scan.next().is_none());
    assert_eq!(scan.damaged(), 1);
    // Without the bound it would be 250,000 checksums of 256 KiB.
    assert!(scan.waste_left < FRAME_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_bytes_are_walked_to_their_end(mut bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        ids(&bytes);
        for at in (0..bytes.len().saturating_sub(8)).step_by(64) {
            bytes[at..at + 2].copy_from_slice(&0x0b5f_u16.to_le_bytes());
            bytes[at + 6..at + 8].fill(0);
        }
        ids(&bytes);
    }

    #[test]
    fn overwritten_bytes_cost_only_the_frames_that_they_hit(
        start in 0_usize..3_000, len in 1_usize..200, byte in any::<u8>(),
    ) {
        let (mut bytes, places) = segment(40);
        let end = (start + len).min(bytes.len());
        let start = start.min(end);
        let before = bytes.clone();
        bytes[start..end].fill(byte);
        let untouched: Vec<u128> = places.iter().zip(0..)
            .filter(|((at, end), _)| bytes[*at..*end] == before[*at..*end])
            .map(|(_, id)| id)
            .collect();
        prop_assert_eq!(ids(&bytes).0, untouched);
    }
}
