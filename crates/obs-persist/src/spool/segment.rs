//! A segment: a file of fixed size, the place of a record in it, and what of it is still needed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use obs_core::Timestamp;

use super::{
    adopt::DeadEpoch,
    disk::DiskFile,
    frame::{ALIGN, FRAME_MAX, Seed},
};

/// Places are packed for memory's sake.
const _: () = assert!(FRAME_MAX / ALIGN - 1 <= u16::MAX as usize);

/// The size of a segment, set aside when it is made: 4 MiB.
pub(crate) const SEGMENT_BYTES: usize = 4 << 20;

const NAME_END: &str = ".seg";

/// Where a record is. It stays the record's name when the record has to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// Of this process: adopted segments have numbers of their own.
    pub(super) segment: u64,
    pub(super) offset: u32,
    /// Of the whole frame.
    pub(super) bytes: u32,
}

impl Slot {
    /// By which the place is called: the record may be in another one since.
    pub(crate) const fn segment(self) -> u64 {
        self.segment
    }

    /// Where it is in its segment, in six bytes: both are multiples of what frames are aligned to, and a frame
    /// is not empty.
    pub(crate) fn within(self) -> (u32, u16) {
        let units = (self.bytes as usize / ALIGN).saturating_sub(1);
        (self.offset, u16::try_from(units).unwrap_or(u16::MAX))
    }

    /// The place that was packed so.
    pub(crate) fn from_within(segment: u64, (offset, units): (u32, u16)) -> Self {
        let bytes = (usize::from(units) + 1) * ALIGN;
        Self { segment, offset, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }
    }

    /// What its frame takes up.
    pub(crate) const fn bytes(self) -> usize {
        self.bytes as usize
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) seed: Seed,
    /// Open while it is written or not synced yet.
    pub(super) file: Option<Arc<dyn DiskFile>>,
    /// Where the next frame goes.
    pub(super) used: usize,
    /// Records in it that are not settled, or being written.
    pub(super) outstanding: usize,
    /// Places that are taken and not written yet.
    pub(super) writing: usize,
    /// Nothing is appended any more.
    pub(super) sealed: bool,
    /// A sync failed (S4).
    pub(super) distrusted: bool,
    /// A sync failed that was to make some of it durable, of which nothing was written elsewhere.
    pub(super) untrusted: bool,
    /// Something in it cannot be read.
    pub(super) damaged: bool,
    /// Offsets of the settled ones, while some of it is not synced: those need not move.
    pub(super) settled: Vec<u32>,
    /// When the oldest record that may be outstanding came.
    pub(super) since: Option<Timestamp>,
    /// Whose it was.
    pub(super) dead: Option<Arc<DeadEpoch>>,
}

impl Segment {
    /// A new one of this process.
    pub(super) fn new(path: PathBuf, seed: Seed, file: Arc<dyn DiskFile>) -> Self {
        Self {
            path,
            seed,
            file: Some(file),
            used: 0,
            outstanding: 0,
            writing: 0,
            sealed: false,
            distrusted: false,
            untrusted: false,
            damaged: false,
            settled: Vec::new(),
            since: None,
            dead: None,
        }
    }

    /// One that a dead process left, with this many records.
    pub(super) fn adopted(path: PathBuf, seed: Seed, records: usize) -> Self {
        Self {
            path,
            seed,
            file: None,
            used: SEGMENT_BYTES,
            outstanding: records,
            writing: 0,
            sealed: true,
            distrusted: false,
            untrusted: false,
            damaged: false,
            settled: Vec::new(),
            since: None,
            dead: None,
        }
    }

    /// Whether nobody needs it any more.
    pub(super) const fn is_done(&self) -> bool {
        self.sealed && self.outstanding == 0
    }
}

/// The file of a segment.
pub(super) fn path_of(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}{NAME_END}"))
}

/// The number in the name of a segment's file.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_END)?;
    let plain = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// A frame as it was written, for as long as somebody in this process may need it: it waits in the lanes for the
/// store and here for a sync, in the same memory.
pub(crate) type Written = Arc<[u8]>;

/// The frames that are written and not synced yet, so that a failed sync loses none.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    frames: Vec<(Slot, Written)>,
    /// All of theirs.
    bytes: usize,
    /// The segments that are to be synced.
    pub(super) segments: Vec<u64>,
    /// Those of them with frames of which there is no copy.
    uncopied: Vec<u64>,
}

impl Unsynced {
    /// What one sync may have to write again at most; there is one under way and one to come, so
    /// twice this is held. What does not fit has no copy, and is synced at once.
    pub(super) const BYTES_MAX: usize = 4 << 20;

    /// How many segments one sync has to do with at most, as the file of each stays open until then: one that is
    /// closed before may forget what the system could not write, and the sync of another would say that all is
    /// well.
    pub(super) const SEGMENTS_MAX: usize = 8;

    /// How many places for frames are kept for next time, although few of them were needed: 32 KiB.
    const KEEP: usize = 1_024;

    /// What is kept of those that were needed, as so many times their number: while errors come as they do, no
    /// round takes fresh pages from the system.
    const KEEP_TIMES: usize = 4;

    /// Adds a frame; `false` when it is time for a sync: there is no room for a copy, or for another segment.
    pub(super) fn push(&mut self, slot: Slot, frame: &Written, copy: bool) -> bool {
        add(&mut self.segments, slot.segment);
        let fits = self.bytes + frame.len() <= Self::BYTES_MAX;
        if copy && fits {
            self.bytes += frame.len();
            self.frames.push((slot, Arc::clone(frame)));
        } else {
            add(&mut self.uncopied, slot.segment);
        }
        fits && self.segments.len() <= Self::SEGMENTS_MAX
    }

    /// A segment is not to be synced any more.
    pub(super) fn forget(&mut self, segment: u64) {
        for known in [&mut self.segments, &mut self.uncopied] {
            known.retain(|known| *known != segment);
        }
    }

    /// Whether some of a segment's frames have no copy.
    pub(super) fn lacks_copies_of(&self, segment: u64) -> bool {
        self.uncopied.contains(&segment)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) fn clear(&mut self) {
        let needed = self.frames.len();
        self.frames.clear();
        self.frames.shrink_to(Self::KEEP.max(needed.saturating_mul(Self::KEEP_TIMES)));
        self.bytes = 0;
        self.segments.clear();
        self.uncopied.clear();
    }

    /// The copies of one segment's frames.
    pub(super) fn copies_of(&self, segment: u64) -> Vec<(Slot, Vec<u8>)> {
        let of_it = self.frames.iter().filter(|(slot, _)| slot.segment == segment);
        of_it.map(|(slot, frame)| (*slot, frame.to_vec())).collect()
    }

    /// What a sync that came to nothing has to do again, before what came since.
    pub(super) fn put_back(&mut self, earlier: Self) {
        let later = std::mem::replace(self, earlier);
        for (slot, frame) in later.frames {
            self.push(slot, &frame, true);
        }
        later.segments.into_iter().for_each(|segment| add(&mut self.segments, segment));
        later.uncopied.into_iter().for_each(|segment| add(&mut self.uncopied, segment));
    }
}

fn add(segments: &mut Vec<u64>, segment: u64) {
    if !segments.contains(&segment) {
        segments.push(segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn slot(segment: u64, offset: u32) -> Slot {
        Slot { segment, offset, bytes: 8 }
    }

    #[test]
    fn a_place_is_the_same_after_it_was_packed() {
        for bytes in [ALIGN, 256, FRAME_MAX] {
            for offset in [0, ALIGN, SEGMENT_BYTES - bytes] {
                let (offset, bytes) =
                    (u32::try_from(offset).unwrap(), u32::try_from(bytes).unwrap());
                let slot = Slot { segment: 7, offset, bytes };
                assert_eq!(Slot::from_within(7, slot.within()), slot);
            }
        }
    }

    #[test]
    fn a_segments_name_carries_its_number() {
        let path = path_of(Path::new("d"), 42);
        assert_eq!(path, Path::new("d/00000042.seg"));
        assert_eq!(number_of("00000042.seg"), Some(42));
        assert_eq!(number_of("123456789.seg"), Some(123_456_789));
        for other in ["lock", "42.seg", "0000004x.seg", "00000042.bad", "+0000042.seg"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }

    #[test]
    fn copies_are_bounded_and_the_segment_is_synced_all_the_same() {
        let mut unsynced = Unsynced::default();
        let frame = Written::from(vec![1; 1 << 20]);
        let slot = |segment| Slot { segment, offset: 0, bytes: 1 << 20 };
        for segment in 0..4 {
            assert!(unsynced.push(slot(segment), &frame, true));
        }
        assert!(!unsynced.push(slot(4), &frame, true), "one too many");
        assert_eq!(unsynced.segments, [0, 1, 2, 3, 4]);
        assert_eq!(unsynced.copies_of(3).len(), 1);
        assert_eq!(unsynced.copies_of(4).len(), 0);
        unsynced.clear();
        assert!(unsynced.is_empty());
    }

    #[test]
    fn it_is_time_for_a_sync_when_one_segment_more_waits_than_may_be_open() {
        let mut unsynced = Unsynced::default();
        let frame = Written::from([1; 8]);
        let most = Unsynced::SEGMENTS_MAX as u64;
        for segment in 0..most {
            assert!(unsynced.push(slot(segment, 0), &frame, false), "{segment}");
        }
        assert!(!unsynced.push(slot(most, 0), &frame, false));
        assert!(unsynced.lacks_copies_of(0));
        unsynced.forget(0);
        assert!(!unsynced.lacks_copies_of(0));
        assert!(unsynced.push(slot(most, 8), &frame, false), "one of them is gone");
    }

    #[test]
    fn a_round_finds_the_places_of_the_last_one_and_a_small_one_lets_go_of_many() {
        let mut unsynced = Unsynced::default();
        let frame = Written::from([1; 8]);
        for offset in 0..5_000 {
            assert!(unsynced.push(slot(1, offset), &frame, true));
        }
        let before = unsynced.frames.capacity();
        unsynced.clear();
        assert_eq!(unsynced.frames.capacity(), before);
        unsynced.push(slot(1, 3), &frame, true);
        unsynced.clear();
        assert_eq!(unsynced.frames.capacity(), Unsynced::KEEP);
    }

    #[test]
    fn a_round_that_is_done_holds_no_frame() {
        let mut unsynced = Unsynced::default();
        let frame = Written::from(vec![1; 1 << 20]);
        for _ in 0..2 {
            assert!((0..4).all(|offset| unsynced.push(slot(1, offset), &frame, true)));
            unsynced.clear();
            assert_eq!(Arc::strong_count(&frame), 1);
        }
    }

    #[test]
    fn what_is_put_back_comes_before_what_came_since() {
        let mut earlier = Unsynced::default();
        earlier.push(slot(1, 0), &Written::from([1; 8]), true);
        let mut now = Unsynced::default();
        now.push(slot(1, 8), &Written::from([2; 8]), true);
        now.push(slot(2, 0), &Written::from([3; 8]), true);
        now.put_back(earlier);
        assert_eq!(now.segments, [1, 2]);
        let copies = now.copies_of(1);
        assert_eq!(copies, [(slot(1, 0), vec![1; 8]), (slot(1, 8), vec![2; 8])]);
    }
}
