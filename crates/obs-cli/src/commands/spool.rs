//! `obs spool`: what is in the segments.

use std::{fmt, path::Path};

use obs_core::Class;
use obs_persist::inspect::{InspectError, SpooledEpoch, SpooledRecord, SpooledSegment, epochs};
use serde::Serialize;
use uuid::Uuid;

use crate::{args::Look, commands::spool_of, error::Failure, output::Output};

pub(crate) fn run(look: &Look, output: &mut Output) -> Result<(), Failure> {
    match look {
        Look::Dump(dir) => dump(&spool_of(dir)?, output),
        Look::Verify(dir) => verify(&spool_of(dir)?, output),
    }
}

fn dump(folder: &Path, output: &mut Output) -> Result<(), Failure> {
    each_segment(folder, |_, segment| {
        segment.records.iter().try_for_each(|record| output.say(&Line(record)))
    })
}

fn verify(folder: &Path, output: &mut Output) -> Result<(), Failure> {
    let mut bad = 0_usize;
    let mut looked_at = 0_usize;
    each_segment(folder, |epoch, segment| {
        let verdict = Verdict::new(epoch, segment);
        looked_at += 1;
        bad += usize::from(!verdict.ok);
        output.say(&verdict)
    })?;
    match bad {
        0 => Ok(()),
        _ => Err(Failure::Bad(format!(
            "{bad} of {looked_at} segments are damaged: their whole records are stored by the next program with obs, \
             which keeps the file in `bad`"
        ))),
    }
}

/// One segment after the other, so that a large spool needs little memory. A segment or directory that is
/// gone when its turn comes was committed meanwhile.
fn each_segment(
    folder: &Path,
    mut see: impl FnMut(&SpooledEpoch, &SpooledSegment) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for epoch in epochs(folder).map_err(|error| Failure::inspect(&error))? {
        let segments = match epoch.segments() {
            Err(error) if is_gone(&error) => continue,
            segments => segments.map_err(|error| Failure::inspect(&error))?,
        };
        for number in segments {
            match epoch.segment(number) {
                Err(error) if is_gone(&error) => {}
                segment => see(&epoch, &segment.map_err(|error| Failure::inspect(&error))?)?,
            }
        }
    }
    Ok(())
}

fn is_gone(error: &InspectError) -> bool {
    matches!(error, InspectError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

#[derive(Serialize)]
struct Line<'a>(&'a SpooledRecord);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpooledRecord { epoch, segment, offset, run_id, class, bytes, .. } = self.0;
        write!(
            f,
            "{run_id}  {class:5}  {bytes:>7} B  {epoch}/{segment:08} at {offset}",
            class = class.as_str()
        )
    }
}

#[derive(Serialize)]
struct Verdict {
    epoch: Uuid,
    segment: u64,
    /// Its process lives, and may be writing.
    alive: bool,
    records: usize,
    errors: usize,
    damaged: u64,
    unreadable: u64,
    ok: bool,
}

impl Verdict {
    fn new(epoch: &SpooledEpoch, segment: &SpooledSegment) -> Self {
        let errors = segment.records.iter().filter(|record| record.class == Class::Error).count();
        let (damaged, unreadable) = (segment.damaged, segment.unreadable);
        Self {
            epoch: segment.epoch,
            segment: segment.segment,
            alive: epoch.alive,
            records: segment.records.len(),
            errors,
            damaged,
            unreadable,
            ok: damaged == 0 && unreadable == 0,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08}: {} records", self.epoch, self.segment, self.records)?;
        match (self.damaged, self.unreadable) {
            (0, 0) => write!(f, ", whole")?,
            (damaged, unreadable) => {
                write!(f, ", {damaged} damaged places, {unreadable} records that cannot be read")?;
            }
        }
        f.write_str(if self.alive { " (its process lives)" } else { "" })
    }
}
