//! `obs spool`: what is in the segments.

mod verify;

use std::{fmt, path::Path};

use obs_persist::inspect::{InspectError, SpooledEpoch, SpooledRecord, SpooledSegment, epochs};
use serde::Serialize;

use crate::{args::Look, commands::spool_of, error::Failure, output::Output};

pub(crate) fn run(look: &Look, output: &mut Output) -> Result<(), Failure> {
    match look {
        Look::Dump(dir) => dump(&spool_of(dir)?, output),
        Look::Verify(dir) => verify::verify(&spool_of(dir)?, output),
    }
}

fn dump(folder: &Path, output: &mut Output) -> Result<(), Failure> {
    for epoch in epochs(folder).map_err(|error| Failure::inspect(&error))? {
        each_segment(&epoch, |segment| {
            segment.records.iter().try_for_each(|record| output.say(&Line(record)))
        })?;
    }
    Ok(())
}

/// One segment after the other, so that a large spool needs little memory. A segment or directory that is
/// gone when its turn comes was committed meanwhile.
fn each_segment(
    epoch: &SpooledEpoch,
    mut see: impl FnMut(&SpooledSegment) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let segments = match epoch.segments() {
        Err(error) if is_gone(&error) => return Ok(()),
        segments => segments.map_err(|error| Failure::inspect(&error))?,
    };
    for number in segments {
        match epoch.segment(number) {
            Err(error) if is_gone(&error) => {}
            segment => see(&segment.map_err(|error| Failure::inspect(&error))?)?,
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
