//! The page of slots: its layout, and how a slot is filled, cleared and read.

#![expect(
    clippy::indexing_slicing,
    reason = "the length of a page is checked, and a slot is one of those that it has"
)]

use crate::{
    page::{Format, HEADER_WORDS, PageError},
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
pub(super) const RATE_AT: usize = HEADER_WORDS + 2;
const SLOTS_AT: usize = HEADER_WORDS + 16;
const TEXTS_AT: usize = SLOTS_AT + SLOTS * SLOT_WORDS;

const _: () = assert!(SLOTS_AT.is_multiple_of(SLOT_WORDS));

/// How many words a page for runs in flight has: 769 KiB, of which only what is used is ever touched.
///
/// ```
/// assert!(obs_core::in_flight::PAGE_WORDS * 8 < 1024 * 1024);
/// ```
pub const PAGE_WORDS: usize = TEXTS_AT + TEXT_WORDS;

pub(super) const FORMAT: Format =
    Format { magic: u64::from_be_bytes(*b"OBSSLOTS"), version: 2, words: PAGE_WORDS };

/// What a slot holds: what a run has at hand when it starts. Who reads it puts id and time together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What the run's id is made of.
    pub(super) seed: [u64; 2],
    /// When it started, in the unit of its process's clock.
    pub(super) reading: u64,
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
#[inline(always)]
const fn seal(words: [u64; 4]) -> u64 {
    let [base, low, reading, mark] = words;
    let mixed = base.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ low.rotate_left(23).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        ^ reading.rotate_left(41).wrapping_mul(0x94d0_49bb_1331_11eb)
        ^ mark.rotate_left(53).wrapping_mul(0xa076_1d64_78bd_642f);
    mixed | 1
}

impl Entry {
    #[inline(always)]
    const fn words(&self) -> [u64; 4] {
        let [base, low] = self.seed;
        [base, low, self.reading, self.mark]
    }

    /// The entry of a slot, if its seal fits.
    fn checked(found: u64, words: [u64; 4]) -> Option<Self> {
        let [base, low, reading, mark] = words;
        (found == seal(words)).then_some(Self { seed: [base, low], reading, mark })
    }
}

pub(super) const fn at(slot: usize) -> usize {
    SLOTS_AT + slot * SLOT_WORDS
}

/// A slot that nobody has.
#[derive(Clone, Copy)]
pub(super) struct FreeSlot<'a>(&'a [AtomicU64; SLOT_WORDS]);

/// This slot if it can be taken; one that there is not cannot.
#[inline(always)]
pub(super) fn free(words: &[AtomicU64], slot: usize) -> Option<FreeSlot<'_>> {
    let (lines, _) = words.as_chunks();
    // Past the slots lie the texts: no thread has such a block.
    let slot = lines.get(SLOTS_AT / SLOT_WORDS + slot)?;
    (slot[0].load(Ordering::Acquire) == 0).then_some(FreeSlot(slot))
}

pub(super) fn is_free(words: &[AtomicU64], slot: usize) -> bool {
    free(words, slot).is_some()
}

impl<'a> FreeSlot<'a> {
    /// Takes it: its seal comes last. Who stores 0 there frees it.
    #[inline(always)]
    pub(super) fn take(self, entry: &Entry) -> &'a AtomicU64 {
        let entry = entry.words();
        let [own, words @ ..] = self.0;
        for (word, value) in words.iter().zip(entry) {
            word.store(value, Ordering::Release);
        }
        own.store(seal(entry), Ordering::Release);
        own
    }
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
        found => Entry::checked(found, [slot[1], slot[2], slot[3], slot[4]])
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

/// Says what readings of the clock count: before anything else, and once.
pub(super) fn publish_rate(words: &[AtomicU64], rate: u64) {
    words[RATE_AT].store(rate, Ordering::Relaxed);
}

/// It is there before the page says what it is: none is damage, with which every start would be the same.
pub(super) const fn published_rate(words: &[u64]) -> Result<u64, PageError> {
    match words[RATE_AT] {
        0 => Err(PageError::Value { word: RATE_AT, value: 0 }),
        rate => Ok(rate),
    }
}
