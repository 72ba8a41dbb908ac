//! The records of dead processes, taken over a segment at a time.
//!
//! Where a process died, its ledger's page says how many records died in its memory. They are
//! [entered](super::crash) once: the page is removed at that moment, and the segments go when their
//! records are in the store. The pages come first: what they say of the spool is compared with all of its
//! segments, of which some may be gone when whoever takes them over dies as well. What cannot be read any more since
//! it was looked at, as in a process that has no descriptor left, is put off until a later look: it is still there.

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    path::Path,
    sync::Arc,
};

use obs_core::{Adopter, Class, PageError, RecordLabels, RunRecord, Ticket, in_flight};
use uuid::Uuid;

use super::{
    adopt::{DeadEpoch, Found, RUNS_PAGE},
    bad, codec,
    crash::{self, InSegments, Question},
    frame::{self, Seed},
    held::{Held, Readable},
    log::{Log, Refusal},
    pieces::{NOTHING, read_segment},
    segment::{Slot, path_of},
};
use crate::{
    platform,
    stored::{Stored, Unsettled},
};

/// What is left to take over.
#[derive(Debug)]
pub(crate) struct Orphans {
    log: Arc<Log>,
    segments: VecDeque<(Arc<DeadEpoch>, Readable)>,
    /// The epochs whose pages are not entered yet.
    pages: VecDeque<Pages>,
    /// What only the store knows.
    questions: VecDeque<Question>,
}

/// The pages of an epoch, and what its segments say to them.
#[derive(Debug)]
struct Pages {
    dead: Arc<DeadEpoch>,
    found: InSegments,
    /// Runs that the page has as open, and whose records are there: a page that is older than the
    /// segments, as after a loss of power, or a kill between the two.
    ended: BTreeSet<Uuid>,
}

/// One record, now ours.
pub(crate) type Adopted = (Ticket, Slot);

impl Orphans {
    /// Those below `root`; what cannot be looked at is said and left for the next time.
    pub(super) fn find(
        (root, own): (&Path, Uuid),
        log: Arc<Log>,
        held: &mut Held,
        books: &Adopter,
    ) -> Self {
        bad::forget(root, log.clock.wall());
        let dead = DeadEpoch::find(root, own).unwrap_or_else(|error| {
            tracing::warn!(root = %root.display(), %error, "cannot look for spools of dead processes");
            Vec::new()
        });
        // Somebody else may look at it just now, whose looks are not ours.
        let is_there = |epoch: Uuid| root.join(epoch.to_string()).try_exists().unwrap_or(true);
        held.keep(|epoch| dead.iter().any(|dead| dead.epoch == epoch) || is_there(epoch));
        let (mut segments, mut pages) = (VecDeque::new(), VecDeque::new());
        for epoch in dead {
            let Some(readable) = held.admits(&epoch, &log, books) else { continue };
            let found = InSegments {
                records: readable.iter().map(|segment| segment.records).sum(),
                damaged: readable.iter().map(|segment| segment.damaged).sum(),
                cut_off: readable.iter().map(|segment| segment.cut_off).sum(),
            };
            let ended = readable.iter().flat_map(|segment| segment.ended.iter().copied()).collect();
            segments.extend(readable.into_iter().map(|segment| (Arc::clone(&epoch), segment)));
            pages.push_back(Pages { dead: epoch, found, ended });
        }
        if !segments.is_empty() {
            tracing::info!(
                epochs = pages.len(),
                segments = segments.len(),
                "records of processes that ended without writing them are taken over"
            );
        }
        Self { log, segments, pages, questions: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.pages.is_empty()
    }

    /// Whether nothing is left to take over or to ask.
    pub(crate) fn is_done(&self) -> bool {
        self.is_empty() && !self.has_question()
    }

    pub(crate) fn has_question(&self) -> bool {
        !self.questions.is_empty()
    }

    /// What to ask the store next; what it was asked for long enough counts as lost.
    pub(crate) fn ask(&mut self, books: &Adopter) -> Option<Arc<Unsettled>> {
        while let Some(question) = self.questions.front_mut() {
            if let Some(unsettled) = question.ask() {
                return Some(unsettled);
            }
            self.answered(&Stored::Unknown, books);
        }
        None
    }

    /// What the store said to the last question.
    pub(crate) fn answered(&mut self, stored: &Stored, books: &Adopter) {
        self.questions.pop_front_if(|question| question.answered(stored, books));
    }

    /// Whether there is room for another segment: what the dead left must not keep our own errors out.
    pub(crate) fn has_room(&self) -> bool {
        self.log.may_adopt()
    }

    /// What died in the memory of the next process, as long as there is one; then the records of the next
    /// segment, entered into the books.
    pub(crate) fn adopt_next(&mut self, books: &Adopter) -> Vec<Adopted> {
        if let Some(pages) = self.pages.pop_front() {
            return self.enter(&pages, books).unwrap_or_else(|error| {
                let epoch = pages.dead.epoch;
                tracing::warn!(%epoch, %error, "an earlier process is left as it is until its pages can be read again");
                // They would be missed when its pages are compared with what is left.
                self.segments.retain(|(other, _)| other.epoch != epoch);
                Vec::new()
            });
        }
        match self.segments.pop_front() {
            Some((epoch, segment)) => self.adopt_segment(&epoch, segment, books),
            None => Vec::new(),
        }
    }

    fn enter(&mut self, pages: &Pages, books: &Adopter) -> io::Result<Vec<Adopted>> {
        let Pages { dead, found, ended } = pages;
        let path = dead.directory.join(RUNS_PAGE);
        let runs = match platform::read_words(&path, in_flight::PAGE_WORDS) {
            Ok(words) => Some(words),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        self.questions.extend(crash::enter(dead, *found, books)?);
        let Some(runs) = runs else { return Ok(Vec::new()) };
        let mut records = lost_runs(dead.epoch, &runs);
        records.retain(|record| !ended.contains(&record.run_id));
        Ok(self.keep_lost(dead, &records, books).unwrap_or_else(|| {
            // Without its record here a run that ended would be taken for a lost one at the next look.
            if !ended.is_empty() {
                self.segments.retain(|(other, _)| other.epoch != dead.epoch);
            }
            Vec::new()
        }))
    }

    fn adopt_segment(
        &self,
        epoch: &Arc<DeadEpoch>,
        Readable { number, records: expected, .. }: Readable,
        books: &Adopter,
    ) -> Vec<Adopted> {
        let path = path_of(&epoch.directory, number);
        let mut buffer = Vec::new();
        let whole = match read_segment(&*self.log.disk, &path, &mut buffer) {
            Ok(whole) => whole,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a segment cannot be read now; it is tried again");
                // Its page counted it as there.
                if error.kind() == io::ErrorKind::NotFound && self.log.is_gone(&path) {
                    books.crashed(Class::Error, expected);
                }
                return Vec::new();
            }
        };
        let seed = Seed::new(epoch.epoch, number);
        let mut scan = self.log.bugs.scan(&buffer, seed);
        let (mut records, mut tickets, mut unreadable) = (Vec::new(), Vec::new(), 0_u64);
        for (offset, frame) in scan.by_ref() {
            match codec::decode(frame.payload) {
                Ok(record) => {
                    records.push(Found { offset, bytes: frame.bytes, id: frame.id });
                    tickets.push(books.adopt(record.class(), &RecordLabels::of(&record)));
                }
                Err(_) => unreadable += 1,
            }
        }
        let damaged = scan.damaged() + unreadable;
        if damaged > 0 {
            let path = path.display();
            tracing::warn!(%path, damaged, "a segment is damaged; what can be read of it is kept");
        }
        // The file that this stands for was set aside already.
        let is_to_be_seen = (damaged > 0 || !whole) && buffer != NOTHING;
        let slots = self.log.take_over((epoch, number), &records, is_to_be_seen);
        tickets.into_iter().zip(slots).collect()
    }

    /// Takes the rows of the runs that a process died with, and not of those that ended: the record of one says more
    /// than that it was lost. They are written to our own spool first: a process that dies now leaves them twice,
    /// under the same id, and never not at all. If there is no room for all of them, that is `None`: they are for a
    /// later look.
    fn keep_lost(
        &self,
        dead: &DeadEpoch,
        records: &[RunRecord],
        books: &Adopter,
    ) -> Option<Vec<Adopted>> {
        let (mut buffer, mut written) = (Vec::new(), Vec::new());
        for record in records {
            frame::begin(&mut buffer, frame::FLAG_ERROR, record.run_id);
            let fits = codec::encode(record, &mut buffer).is_ok() && frame::finish(&mut buffer);
            let slot = if fits { self.log.append(&mut buffer) } else { Err(Refusal::TooLarge) };
            if let Err(refusal @ (Refusal::Full | Refusal::Io)) = slot {
                let epoch = dead.epoch;
                tracing::warn!(%epoch, ?refusal, "the runs that an earlier process died with have no room yet");
                written.into_iter().flatten().for_each(|slot| self.log.settle(slot));
                return None;
            }
            written.push(slot.ok());
        }
        let adopt = |(record, slot): (&RunRecord, Option<Slot>)| {
            let ticket = books.adopt_here(record.class(), &RecordLabels::of(record));
            match slot {
                Some(slot) => Some((ticket, slot)),
                None => {
                    ticket.dropped(Refusal::TooLarge.into());
                    None
                }
            }
        };
        let adopted: Vec<_> = records.iter().zip(written).filter_map(adopt).collect();
        if !adopted.is_empty() {
            let (epoch, runs) = (dead.epoch, adopted.len());
            tracing::warn!(%epoch, runs, "runs ended with their process; each becomes a row");
        }
        // Only now: its records are elsewhere.
        let _ = fs::remove_file(dead.directory.join(RUNS_PAGE));
        Some(adopted)
    }
}

/// The rows of the runs that a process died with.
fn lost_runs(epoch: Uuid, words: &[u64]) -> Vec<RunRecord> {
    match in_flight::read_page(words) {
        Ok(page) => page.records(),
        // It died before it had a run.
        Err(PageError::Blank) => Vec::new(),
        Err(error) => {
            tracing::warn!(%epoch, %error, "nobody knows which runs an earlier process died with");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
