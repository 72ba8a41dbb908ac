//! The bounded list of nodes, written eagerly because nobody knows yet how the run ends.
//!
//! T1 Entries go to the head until it has as many as a row may keep, or as many bytes; from the
//!    first one that does not fit, all go to the tail, which forgets its oldest.
//! T2 So the head holds the beginning of the run, the tail its end, and neither overlaps.
//! T3 The entry that is being written stands behind the head; only one that does not belong there is copied.
//! T4 An ok run keeps the head. A failed run that did not fit keeps half of the room for the
//!    beginning and half for the end, because the failing end matters.

use std::collections::VecDeque;

use serde_json::value::RawValue;

use crate::limits::{ENTRY_BYTES_MAX, TRACE_BYTES_MAX};

/// Entries as JSON, each followed by a comma.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    head: Entries,
    tail: Entries,
    head_closed: bool,
    total: u64,
    bytes: u64,
}

/// What a row keeps of a trace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) json: String,
    pub(crate) kept: u64,
    pub(crate) total: u64,
    pub(crate) bytes: u64,
}

/// A run of entries: their text from `start` to `end`, and the length of each.
#[derive(Debug, Default)]
struct Entries {
    text: Vec<u8>,
    start: usize,
    end: usize,
    lengths: VecDeque<usize>,
}

impl Trace {
    /// Begins an entry.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.head.text.truncate(self.head.end);
    }

    /// Where the entry is written.
    #[inline]
    pub(crate) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.head.text
    }

    /// How much of it was written so far.
    #[inline]
    pub(crate) fn written(&self) -> usize {
        self.head.text.len() - self.head.end
    }

    /// Takes back what was written since so much of it was.
    pub(crate) fn shorten(&mut self, written: usize) {
        self.head.text.truncate(self.head.end + written);
    }

    /// The entry is written, with its comma; `entries_max` is what a row may keep.
    #[expect(clippy::indexing_slicing, reason = "entries end within their text")]
    pub(crate) fn end(&mut self, entries_max: usize) {
        let written = self.written();
        debug_assert!(written <= ENTRY_BYTES_MAX + 1);
        self.total += 1;
        self.bytes += written as u64;
        let fits = self.head.lengths.len() < entries_max
            && self.head.text.len() <= TRACE_BYTES_MAX - BRACKETS;
        if fits && !self.head_closed {
            self.head.end();
            return;
        }
        self.head_closed = true;
        self.tail.text.extend_from_slice(&self.head.text[self.head.end..]);
        self.tail.end();
        let (entries_half, bytes_half) = (entries_max.div_ceil(2), TRACE_BYTES_MAX / 2);
        while self.tail.lengths.len() > entries_half || self.tail.bytes() > bytes_half {
            self.tail.forget_oldest();
        }
    }

    /// What a row keeps, or `None` when nothing was written.
    pub(crate) fn keep(&self, failed: bool, entries_max: usize) -> Option<Kept> {
        if self.total == 0 {
            return None;
        }
        // What ends with a bracket ended with a comma, so this is all of it where only the head is kept.
        let mut json = String::with_capacity(self.head.bytes().min(TRACE_BYTES_MAX) + 1);
        json.push('[');
        let kept = if failed && self.head_closed {
            self.keep_both_ends(&mut json, entries_max)
        } else {
            self.head.write_to(&mut json, 0, self.head.lengths.len());
            self.head.lengths.len()
        };
        if json.ends_with(',') {
            json.pop();
        }
        json.push(']');
        Some(Kept { json, kept: kept as u64, total: self.total, bytes: self.bytes })
    }

    /// Half of the room for the beginning; the rest for the end, which may reach into the head.
    fn keep_both_ends(&self, json: &mut String, entries_max: usize) -> usize {
        let (entries_half, bytes_half) = (entries_max / 2, TRACE_BYTES_MAX / 2 - BRACKETS);
        let first = self.head.first_within(entries_half, bytes_half);
        self.head.write_to(json, 0, first);
        let room_entries = (entries_max - first).saturating_sub(self.tail.lengths.len());
        let room_bytes = (TRACE_BYTES_MAX - BRACKETS)
            .saturating_sub(self.tail.bytes())
            .saturating_sub(json.len());
        let last = self.head.last_within(room_entries, room_bytes, first);
        self.head.write_to(json, self.head.lengths.len() - last, last);
        self.tail.write_to(json, 0, self.tail.lengths.len());
        first + last + self.tail.lengths.len()
    }

    /// How many entries there were so far.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.tail.clear();
        self.head_closed = false;
        self.total = 0;
        self.bytes = 0;
    }
}

/// Room for `[` and `]`.
const BRACKETS: usize = 2;

/// As many entries of the JSON text of a trace as a row has room for, and how many they are.
#[expect(clippy::indexing_slicing, reason = "no entry is taken twice, so no more than there are")]
pub(crate) fn fitting(json: &str, failed: bool) -> (String, u64) {
    let entries: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
    let lengths: VecDeque<usize> = entries.iter().map(|entry| entry.get().len() + 1).collect();
    let room = TRACE_BYTES_MAX - BRACKETS;
    let first = within(lengths.iter(), usize::MAX, if failed { room / 2 } else { room });
    let left = if failed { room - lengths.iter().take(first).sum::<usize>() } else { 0 };
    let last = within(lengths.iter().skip(first).rev(), usize::MAX, left);
    let kept = entries[..first].iter().chain(&entries[entries.len() - last..]);
    let texts: Vec<&str> = kept.map(|entry| entry.get()).collect();
    (format!("[{}]", texts.join(",")), texts.len() as u64)
}

impl Entries {
    fn bytes(&self) -> usize {
        self.end - self.start
    }

    /// What stands behind the entries is one, too.
    #[inline]
    fn end(&mut self) {
        self.lengths.push_back(self.text.len() - self.end);
        self.end = self.text.len();
    }

    fn forget_oldest(&mut self) {
        self.start += self.lengths.pop_front().unwrap_or_default();
        // Moving the rest to the front once it is the smaller half costs each byte one move.
        if self.start > self.text.len() / 2 {
            self.text.drain(..self.start);
            (self.start, self.end) = (0, self.text.len());
        }
    }

    /// How many of the first entries lie within both bounds.
    fn first_within(&self, entries_max: usize, bytes_max: usize) -> usize {
        within(self.lengths.iter(), entries_max, bytes_max)
    }

    /// How many of the last entries, not counting the first `taken`, lie within both bounds.
    fn last_within(&self, entries_max: usize, bytes_max: usize, taken: usize) -> usize {
        within(self.lengths.iter().skip(taken).rev(), entries_max, bytes_max)
    }

    #[expect(clippy::indexing_slicing, reason = "entries lie within their text")]
    fn write_to(&self, json: &mut String, from: usize, count: usize) {
        let skipped: usize = self.lengths.iter().take(from).sum();
        let length: usize = self.lengths.iter().skip(from).take(count).sum();
        let at = self.start + skipped;
        // The entries were written by this crate's encoder, so this never replaces anything.
        let entries = &self.text[at..at + length];
        // Whole entries are always text; checking that is faster than repairing what is not.
        match str::from_utf8(entries) {
            Ok(text) => json.push_str(text),
            Err(_) => json.push_str(&String::from_utf8_lossy(entries)),
        }
    }

    fn clear(&mut self) {
        self.text.clear();
        self.lengths.clear();
        (self.start, self.end) = (0, 0);
    }
}

fn within<'l>(
    lengths: impl Iterator<Item = &'l usize>,
    entries_max: usize,
    bytes_max: usize,
) -> usize {
    let mut bytes = 0;
    lengths
        .take(entries_max)
        .take_while(|length| {
            bytes += **length;
            bytes <= bytes_max
        })
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(number: usize, padding: usize) -> Vec<u8> {
        format!("{{\"node\":\"{number}\",\"pad\":\"{}\"}},", "x".repeat(padding)).into_bytes()
    }

    fn push(trace: &mut Trace, entry: &[u8], entries_max: usize) {
        trace.begin();
        trace.open().extend_from_slice(entry);
        trace.end(entries_max);
    }

    fn trace(entries: usize, padding: usize, entries_max: usize) -> Trace {
        let mut trace = Trace::default();
        for number in 0..entries {
            push(&mut trace, &entry(number, padding), entries_max);
        }
        trace
    }

    fn nodes(kept: &Kept) -> Vec<usize> {
        let entries: Vec<serde_json::Value> = serde_json::from_str(&kept.json).unwrap();
        entries.iter().map(|entry| entry["node"].as_str().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn a_trace_without_nodes_is_no_trace() {
        assert_eq!(Trace::default().keep(true, 200), None);
    }

    #[test]
    fn a_trace_at_the_limit_is_whole_for_ok_and_failed_runs() {
        for failed in [false, true] {
            let kept = trace(200, 1, 200).keep(failed, 200).unwrap();
            assert_eq!((kept.kept, kept.total), (200, 200));
            assert_eq!(nodes(&kept), (0..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_past_the_limit_an_ok_run_keeps_its_head() {
        let kept = trace(201, 1, 200).keep(false, 200).unwrap();
        assert_eq!((kept.kept, kept.total), (200, 201));
        assert_eq!(nodes(&kept), (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn one_past_the_limit_a_failed_run_keeps_its_head_and_its_tail() {
        let kept = trace(201, 1, 200).keep(true, 200).unwrap();
        let expected: Vec<_> = (0..100).chain(101..201).collect();
        assert_eq!(nodes(&kept), expected);
        assert_eq!((kept.kept, kept.total), (200, 201));
    }

    #[test]
    fn a_long_failed_run_keeps_its_first_and_its_last_hundred() {
        let kept = trace(100_000, 1, 200).keep(true, 200).unwrap();
        let expected: Vec<_> = (0..100).chain(99_900..100_000).collect();
        assert_eq!(nodes(&kept), expected);
    }

    #[test]
    fn limits_of_one_and_of_odd_numbers_hold() {
        for entries_max in [1, 2, 3, 7] {
            let long = trace(50, 1, entries_max);
            assert_eq!(
                nodes(&long.keep(false, entries_max).unwrap()),
                (0..entries_max).collect::<Vec<_>>()
            );
            let failed = nodes(&long.keep(true, entries_max).unwrap());
            assert_eq!(failed.len(), entries_max);
            assert_eq!(failed.last(), Some(&49), "the end matters most");
        }
    }

    #[test]
    fn the_bytes_of_a_row_are_bounded_and_the_end_of_a_failure_survives() {
        let long = trace(150, 1_900, 200);
        let ok = long.keep(false, 200).unwrap();
        assert!(ok.json.len() <= TRACE_BYTES_MAX && ok.kept < 150);
        let failed = long.keep(true, 200).unwrap();
        assert!(failed.json.len() <= TRACE_BYTES_MAX);
        let kept = nodes(&failed);
        assert_eq!((kept.first(), kept.last()), (Some(&0), Some(&149)));
        assert!(failed.bytes > TRACE_BYTES_MAX as u64, "the whole size is known");
    }

    proptest! {
        #[test]
        fn what_is_kept_is_bounded_ordered_and_never_repeats(
            sizes in proptest::collection::vec(0_usize..1_900, 0..400),
            entries_max in 1_usize..250,
            failed: bool,
        ) {
            let mut trace = Trace::default();
            for (number, padding) in sizes.iter().enumerate() {
                push(&mut trace, &entry(number, *padding), entries_max);
            }
            let Some(kept) = trace.keep(failed, entries_max) else {
                prop_assert!(sizes.is_empty());
                return Ok(());
            };
            let nodes = nodes(&kept);
            prop_assert!(kept.json.len() <= TRACE_BYTES_MAX);
            prop_assert!(nodes.len() <= entries_max);
            prop_assert_eq!(nodes.len() as u64, kept.kept);
            prop_assert!(nodes.windows(2).all(|pair| pair[0] < pair[1]));
            // With room for one entry, a failed run keeps its end.
            if !failed || entries_max > 1 {
                prop_assert_eq!(nodes.first(), Some(&0));
            }
            if failed {
                prop_assert_eq!(nodes.last().copied(), Some(sizes.len() - 1));
            }
        }
    }
}
