//! `obs spool verify`: whether what is in the segments is whole, and of a dead process whether it is all there.
//!
//! A segment alone shows only what is damaged in it: zeros, a file without anything and one that is gone look like
//! one that never held more. How much a process had there is on its ledger's page, which whoever takes its records
//! over compares with the same.

use std::{fmt, path::Path};

use obs_core::{Class, PageError, ledger::PageLedger};
use obs_persist::inspect::{InspectError, SpooledEpoch, SpooledSegment, epochs};
use serde::Serialize;
use uuid::Uuid;

use super::{each_segment, is_gone};
use crate::{error::Failure, output::Output};

pub(super) fn verify(folder: &Path, output: &mut Output) -> Result<(), Failure> {
    let mut looked_at = Vec::new();
    let mut found = Found::default();
    for epoch in epochs(folder).map_err(|error| Failure::inspect(&error))? {
        let mut segments = Vec::new();
        let read = each_segment(&epoch, |segment| {
            segments.push(Segment::new(&epoch, segment));
            Ok(())
        });
        // After the segments: whoever takes them over removes the page before the first of them.
        let page = read.and_then(|()| Page::of(&epoch, &segments));
        // What cannot be read says nothing, and is no reason to say nothing of the others.
        let page = page.unwrap_or_else(|failure| {
            found.unread.get_or_insert(failure);
            Page::Silent
        });
        page.excuse(&epoch, &mut segments);
        looked_at.push((epoch, segments, page));
    }
    let blank = looked_at.iter().filter(|(.., page)| matches!(page, Page::Blank));
    let mut uncounted = blank.map(|(_, segments, _)| records(segments)).sum();
    for (epoch, segments, page) in looked_at {
        for segment in &segments {
            found.add(segment);
            output.say(segment)?;
        }
        if !epoch.alive {
            let left = Left::new(&epoch, &segments, page, &mut uncounted);
            found.missing += left.missing;
            found.pages += usize::from(left.problem.is_some());
            output.say(&left)?;
        }
    }
    found.verdict()
}

fn records(segments: &[Segment]) -> u64 {
    segments.iter().map(|segment| segment.records as u64).sum()
}

/// What is wrong in a folder.
#[derive(Default)]
struct Found {
    segments: usize,
    damaged: usize,
    pages: usize,
    missing: u64,
    /// Why something could not be read.
    unread: Option<Failure>,
}

impl Found {
    fn add(&mut self, segment: &Segment) {
        self.segments += 1;
        self.damaged += usize::from(!segment.ok);
    }

    fn verdict(self) -> Result<(), Failure> {
        let Self { segments, damaged, pages, missing, unread } = self;
        let mut problems = Vec::new();
        if damaged > 0 {
            problems.push(format!(
                "{damaged} of {segments} segments are damaged: their whole records are stored by the next program with \
                 obs, which keeps the file in `bad`"
            ));
        }
        if missing > 0 {
            problems.push(format!(
                "{missing} errors that dead processes left are missing: put the files back if there is a copy of them, \
                 before the next program with obs starts; it stores what is there and counts what is not as \
                 `dropped (crash)`"
            ));
        }
        if pages > 0 {
            problems.push(format!(
                "{pages} ledgers of dead processes are damaged, so what is missing beside them cannot be told: put \
                 them back if there is a copy; the next program with obs stores the records all the same"
            ));
        }
        if problems.is_empty() {
            return unread.map_or(Ok(()), Err);
        }
        problems.extend(unread.map(|failure| failure.line()));
        Err(Failure::Bad(problems.join("; ")))
    }
}

/// What the ledger's page of a dead process says.
enum Page {
    Whole(Box<PageLedger>),
    /// Nothing: it was taken over, or is for another release to read.
    Silent,
    /// Nobody counts there: errors that end after their persister are in such a directory, and are counted in its
    /// first one.
    Blank,
    /// It is damaged.
    Damaged(PageError),
}

impl Page {
    fn of(epoch: &SpooledEpoch, segments: &[Segment]) -> Result<Self, Failure> {
        match epoch.ledger() {
            Ok(page) => Ok(Self::Whole(Box::new(page))),
            Err(error) if is_gone(&error) => Ok(Self::Silent),
            Err(InspectError::Page { source: PageError::Blank, .. }) => Ok(Self::Blank),
            Err(InspectError::Page { source: PageError::Version { .. }, .. }) => Ok(Self::Silent),
            // A process that died while it made the page, before it had any record.
            Err(InspectError::Page { source: PageError::Length { .. }, .. })
                if segments.iter().all(|segment| segment.records == 0 && segment.damaged == 0) =>
            {
                Ok(Self::Silent)
            }
            Err(InspectError::Page { source, .. }) => Ok(Self::Damaged(source)),
            Err(error) => Err(Failure::inspect(&error)),
        }
    }

    /// What looks like a write that was cut off is that, and no damage, for as many errors as died in memory: nothing
    /// was promised of those. One that was promised is missing, which is told by itself. Where nobody says how many
    /// died, or one may be written just now, each of them may be one.
    fn excuse(&self, epoch: &SpooledEpoch, segments: &mut [Segment]) {
        let mut died = match self {
            Self::Whole(page) if !epoch.alive => page.died(Class::Error),
            _ => u64::MAX,
        };
        for segment in segments {
            segment.cut_off = segment.cut_off.min(died);
            died -= segment.cut_off;
            segment.damaged = segment.damaged.saturating_sub(segment.cut_off);
            segment.judge();
        }
    }
}

#[derive(Serialize)]
struct Segment {
    epoch: Uuid,
    segment: u64,
    /// Its process lives, and may be writing.
    alive: bool,
    records: usize,
    errors: usize,
    damaged: u64,
    unreadable: u64,
    /// Its end is not there.
    cut: bool,
    /// Places that are no damage: records that were being written, of which nothing was promised.
    cut_off: u64,
    ok: bool,
}

impl Segment {
    fn new(epoch: &SpooledEpoch, segment: &SpooledSegment) -> Self {
        let errors = segment.records.iter().filter(|record| record.class == Class::Error).count();
        let mut this = Self {
            epoch: segment.epoch,
            segment: segment.segment,
            alive: epoch.alive,
            records: segment.records.len(),
            errors,
            damaged: segment.damaged,
            unreadable: segment.unreadable,
            cut: segment.is_cut,
            cut_off: segment.cut_off,
            ok: false,
        };
        this.judge();
        this
    }

    const fn judge(&mut self) {
        self.ok = self.damaged == 0 && self.unreadable == 0 && !self.cut;
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08}: {} records", self.epoch, self.segment, self.records)?;
        match (self.damaged, self.unreadable) {
            (0, 0) if self.cut => {}
            (0, 0) => f.write_str(", whole")?,
            (damaged, unreadable) => {
                write!(f, ", {damaged} damaged places, {unreadable} records that cannot be read")?;
            }
        }
        f.write_str(if self.cut { ", its end is cut off" } else { "" })?;
        f.write_str(if self.alive { " (its process lives)" } else { "" })
    }
}

/// What a dead process left, and what it says that it left.
#[derive(Serialize)]
struct Left {
    epoch: Uuid,
    records: u64,
    /// The errors that were not settled; unknown where its ledger says nothing.
    spooled: Option<u64>,
    /// So many of them are not there, at least: those that are may have been settled, and those that nobody counts in
    /// other directories of the folder may be some of them.
    missing: u64,
    /// What is wrong with its ledger.
    problem: Option<String>,
    ok: bool,
}

impl Left {
    fn new(epoch: &SpooledEpoch, segments: &[Segment], page: Page, uncounted: &mut u64) -> Self {
        let records = records(segments);
        let (spooled, problem) = match page {
            Page::Whole(page) => {
                (Some(Class::ALL.map(|class| page.spooled_here(class)).iter().sum()), None)
            }
            Page::Silent | Page::Blank => (None, None),
            Page::Damaged(error) => (None, Some(error.to_string())),
        };
        let lacking = spooled.map_or(0, |spooled: u64| spooled.saturating_sub(records));
        let elsewhere = lacking.min(*uncounted);
        *uncounted -= elsewhere;
        let missing = lacking - elsewhere;
        let ok = missing == 0 && problem.is_none();
        Self { epoch: epoch.epoch, records, spooled, missing, problem, ok }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, records, missing, .. } = self;
        match (self.spooled, &self.problem) {
            (_, Some(problem)) => write!(f, "{epoch}: its ledger is damaged: {problem}"),
            (None, None) => {
                write!(
                    f,
                    "{epoch}: {records} records; its ledger does not say whether these are all"
                )
            }
            (Some(spooled), None) if self.ok => {
                write!(
                    f,
                    "{epoch}: {records} records; none of {spooled} unsettled errors is known to be missing"
                )
            }
            (Some(spooled), None) => {
                write!(
                    f,
                    "{epoch}: {records} records; {missing} of {spooled} unsettled errors are missing"
                )
            }
        }
    }
}
