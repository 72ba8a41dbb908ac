//! The page of slots: its layout, and how a slot is filled, cleared and read.

use uuid::Uuid;

use crate::{
    clock::Tick,
    page::{Format, HEADER_WORDS},
    record::Timestamp,
    sync::{AtomicU64, Ordering, fence},
};

/// So many runs can be in flight with a slot.
pub(super) const SLOTS: usize = 4_096;
/// A thread gets this many slots at a time.
pub(super) const BLOCK_SLOTS: usize = 16;
pub(super) const BLOCKS: usize = SLOTS / BLOCK_SLOTS;
/// One cache line.
const SLOT_WORDS: usize = 8;
/// Room for the texts of strategies: some five thousand of usual length.
pub(super) const TEXT_WORDS: usize = 65_536;

const MISSED_AT: usize = HEADER_WORDS;
const SEEN_AT: usize = HEADER_WORDS + 1;
const SLOTS_AT: usize = HEADER_WORDS + 16;
const TEXTS_AT: usize = SLOTS_AT + SLOTS * SLOT_WORDS;

/// How many words a page for runs in flight has: 769 KiB, of which only what is used is ever touched.
///
/// ```
/// assert!(obs_core::in_flight::PAGE_WORDS * 8 < 1024 * 1024);
/// ```
pub const PAGE_WORDS: usize = TEXTS_AT + TEXT_WORDS;

pub(super) const FORMAT: Format =
    Format { magic: u64::from_be_bytes(*b"OBSSLOTS"), version: 1, words: PAGE_WORDS };

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) run_id: Uuid,
    pub(super) started_at: Timestamp,
    /// The same on the monotonic clock of its process.
    pub(super) tick: Tick,
    /// Where the strategy's texts are, whether there may be a row, and the series.
    pub(super) mark: u64,
}

/// In a mark: no row may be made of the run.
const NO_ROW: u64 = 1 << 31;

pub(super) fn mark(text: u32, series: usize) -> u64 {
    (series as u64) << 32 | u64::from(text)
}

pub(super) const fn with_row(mark: u64, has_row: bool) -> u64 {
    if has_row { mark } else { mark | NO_ROW }
}

pub(super) const fn has_row(mark: u64) -> bool {
    mark & NO_ROW == 0
}

/// Where the texts are, as [`Texts`](super::texts::Texts) gave it.
pub(super) const fn text(mark: u64) -> usize {
    (mark & (NO_ROW - 1)) as usize
}

pub(super) const fn series(mark: u64) -> usize {
    (mark >> 32) as usize
}

/// Of all words that a slot can hold; never 0, which is a free slot's.
const fn seal(words: [u64; 5]) -> u64 {
    let [id_high, id_low, started_at, tick, mark] = words;
    let mixed = id_high.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ id_low.rotate_left(23).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        ^ started_at.rotate_left(41).wrapping_mul(0x94d0_49bb_1331_11eb)
        ^ tick.rotate_left(11).wrapping_mul(0xd6e8_feb8_6659_fd93)
        ^ mark.rotate_left(53).wrapping_mul(0xa076_1d64_78bd_642f);
    (mixed ^ mixed >> 32) | 1
}

impl Entry {
    const fn words(&self) -> [u64; 5] {
        let (high, low) = self.run_id.as_u64_pair();
        [high, low, self.started_at.as_micros().cast_unsigned(), self.tick.as_nanos(), self.mark]
    }

    /// The entry of a slot, if its seal fits.
    fn checked(found: u64, words: [u64; 5]) -> Option<Self> {
        let [high, low, started_at, tick, mark] = words;
        (found == seal(words)).then(|| Self {
            run_id: Uuid::from_u64_pair(high, low),
            started_at: Timestamp::from_micros(started_at.cast_signed()),
            tick: Tick::from_nanos(tick),
            mark,
        })
    }
}

pub(super) const fn at(slot: usize) -> usize {
    SLOTS_AT + slot * SLOT_WORDS
}

/// Whether a slot can be taken; one that there is not cannot.
#[inline]
pub(super) fn is_free(words: &[AtomicU64], slot: usize) -> bool {
    slot < SLOTS && words[at(slot)].load(Ordering::Acquire) == 0
}

/// Takes a free slot: its seal comes last.
#[inline]
pub(super) fn fill(words: &[AtomicU64], slot: usize, entry: &Entry) {
    let slot = &words[at(slot)..at(slot) + SLOT_WORDS];
    let entry = entry.words();
    for (word, value) in slot[1..].iter().zip(entry) {
        word.store(value, Ordering::Release);
    }
    slot[0].store(seal(entry), Ordering::Release);
}

/// Frees a slot.
#[inline]
pub(super) fn clear(words: &[AtomicU64], slot: usize) {
    if slot < SLOTS {
        words[at(slot)].store(0, Ordering::Release);
    }
}

/// What a slot holds, unless it is free, or changes meanwhile.
pub(super) fn read(words: &[AtomicU64], slot: usize) -> Option<Entry> {
    let slot = &words[at(slot)..at(slot) + SLOT_WORDS];
    let found = slot[0].load(Ordering::Acquire);
    if found == 0 {
        return None;
    }
    let read = std::array::from_fn(|word| slot[word + 1].load(Ordering::Relaxed));
    fence(Ordering::Acquire);
    (slot[0].load(Ordering::Relaxed) == found).then(|| Entry::checked(found, read))?
}

/// A slot of a dead process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Free,
    Taken(Entry),
    /// Its words do not belong together.
    Torn,
}

pub(super) fn read_dead(words: &[u64], slot: usize) -> Found {
    let slot = &words[at(slot)..at(slot) + SLOT_WORDS];
    match slot[0] {
        0 => Found::Free,
        found => Entry::checked(found, [slot[1], slot[2], slot[3], slot[4], slot[5]])
            .map_or(Found::Torn, Found::Taken),
    }
}

/// The words for texts.
pub(super) fn texts<W>(words: &[W]) -> &[W] {
    &words[TEXTS_AT..TEXTS_AT + TEXT_WORDS]
}

/// Says how many runs had no slot, and that the process was alive at this time.
pub(super) fn publish(words: &[AtomicU64], missed: u64, now: Timestamp) {
    words[MISSED_AT].store(missed, Ordering::Relaxed);
    words[SEEN_AT].store(now.as_micros().cast_unsigned(), Ordering::Relaxed);
}

pub(super) fn published(words: &[u64]) -> (u64, Timestamp) {
    (words[MISSED_AT], Timestamp::from_micros(words[SEEN_AT].cast_signed()))
}
