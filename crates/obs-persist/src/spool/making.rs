//! Making a segment: by the keeper, or by whoever has no room before the keeper has made one.

use std::{
    io,
    sync::{Arc, MutexGuard},
};

use super::{
    disk::{DiskDir, DiskFile},
    frame::Seed,
    log::{Log, Refusal, State},
    segment::{Segment, path_of},
};

/// A segment that nothing was written to.
#[derive(Debug)]
pub(super) struct Prepared {
    number: u64,
    segment: Segment,
}

/// A segment whose file was made, and the directory that has its name.
type Made = (Prepared, Arc<dyn DiskDir>);

impl Log {
    /// Makes a segment, for as long as the disk takes: nobody else makes one meanwhile, and nobody waits for the
    /// lock.
    pub(super) fn make_one<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
    ) -> (MutexGuard<'s, State>, Result<Prepared, Refusal>) {
        let number = state.take_number();
        state.making = true;
        drop(state);
        let made = self.make(number);
        let mut state = self.lock();
        state.making = false;
        self.one_made.notify_all();
        let prepared = self.made(&mut state, made);
        (state, prepared)
    }

    /// Makes the file of a segment.
    fn make(&self, number: u64) -> io::Result<Made> {
        let path = path_of(&self.directory, number);
        let names = self.disk.open_dir(&self.directory)?;
        let file = self.disk.create_reserved(&path, self.limits.segment as u64)?;
        let seed = self.bugs.seed(Seed::new(self.epoch, number));
        Ok((Prepared { number, segment: Segment::new(path, seed, file) }, names))
    }

    /// Takes note of how that went.
    fn made(&self, state: &mut State, made: io::Result<Made>) -> Result<Prepared, Refusal> {
        match made {
            Ok((prepared, names)) => {
                if state.starved_at.take().is_some() {
                    tracing::info!("the spool has room again");
                }
                state.names_unsynced = Some(names);
                Ok(prepared)
            }
            Err(error) => {
                if state.starved_at.is_none() {
                    tracing::warn!(
                        directory = %self.directory.display(),
                        %error,
                        "the spool cannot make a segment; it tries again when there is something to write"
                    );
                }
                state.starved_at = Some(self.clock.now());
                // What cannot be had is space, or whatever else space stands for.
                Err(Refusal::Full)
            }
        }
    }
}

impl Prepared {
    pub(super) fn file(&self) -> Option<Arc<dyn DiskFile>> {
        self.segment.file.clone()
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn into_segment(self) -> Segment {
        self.segment
    }
}
