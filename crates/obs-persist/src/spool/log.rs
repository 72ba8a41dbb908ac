//! The writer: appends frames, hands out their places, frees what is settled.
//!
//! Runs' threads come here, and the worker under the lock of all that waits, so the lock is held for a few
//! instructions and never while something is done on the disk. Who has no room, because a segment is full before the
//! keeper has made the next one, makes that, or waits until it is made.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    task::Waker,
    time::Duration,
};

use obs_core::{Clock, DropReason, Tick, Timestamp};
use uuid::Uuid;

use super::{
    ReadError,
    adopt::Home,
    bugs::Bugs,
    disk::{Disk, DiskDir, DiskFile},
    frame::{self, Frame, Seed},
    making::Prepared,
    segment::{Segment, Slot, Unsynced, Written},
};

/// How long after a failed attempt to make a segment the next one is made.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// When a record in the spool is made safe against the loss of power. Against the end of the process
/// it is safe as soon as it is written.
///
/// ```
/// assert_eq!(obs_persist::Fsync::default(), obs_persist::Fsync::Interval);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fsync {
    /// Every 100 ms, and when somebody asks for it.
    #[default]
    Interval,
    /// Before the run's thread goes on; concurrent runs share one.
    Always,
    /// Only when somebody asks for it, when the spool has filled 32 MiB since, and after a failure.
    Never,
}

/// What a log may use, and when it syncs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimits {
    /// Bytes on the disk, in whole segments.
    pub(crate) bytes: u64,
    /// Bytes of one segment.
    pub(crate) segment: usize,
    pub(crate) fsync: Fsync,
}

/// Why a record is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The budget or the disk is full.
    Full,
    /// The disk fails.
    Io,
    /// It is larger than a frame.
    TooLarge,
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Full => Self::SpoolFull,
            Refusal::Io => Self::SpoolIo,
            Refusal::TooLarge => Self::TooLarge,
        }
    }
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogStats {
    pub(crate) bytes: u64,
    pub(crate) limit: u64,
    pub(crate) records: usize,
    /// When the oldest record that may be unsettled came.
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) sync_errors: u64,
    /// Nothing is appended any more: the disk failed twice.
    pub(crate) off: bool,
}

pub(crate) struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) epoch: Uuid,
    pub(super) limits: LogLimits,
    pub(super) clock: Clock,
    pub(super) state: Mutex<State>,
    /// One round after the other.
    pub(super) syncing: Mutex<()>,
    /// Wakes the keeper.
    pub(super) news: Condvar,
    /// Wakes threads that wait for a sync.
    pub(super) synced: Condvar,
    /// Wakes threads that wait for a segment.
    pub(super) one_made: Condvar,
    /// Somebody waits for whoever looks at what the dead left.
    pub(super) leaving: AtomicBool,
    pub(super) bugs: Bugs,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) segments: BTreeMap<u64, Segment>,
    /// The one that is written to.
    pub(super) active: Option<u64>,
    /// The one after it, made already.
    pub(super) next: Option<Prepared>,
    /// Somebody makes one.
    pub(super) making: bool,
    pub(super) next_number: u64,
    pub(super) outstanding: usize,
    /// Where records are that had to move, by where they were.
    pub(super) moved: HashMap<Slot, Slot>,
    pub(super) unsynced: Unsynced,
    /// The memory of the round before, for the next one.
    pub(super) spare: Unsynced,
    /// A round is done, and the keeper has not rested since.
    pub(super) just_synced: bool,
    /// The keeper looks by itself before anything that is written from now on is due.
    pub(super) looks_again: bool,
    /// Since when there is something unsynced.
    pub(super) dirty_since: Option<Tick>,
    /// The directory, if a name was made in it since it was synced last. It was opened when the name was made: to
    /// sync it takes no descriptor, of which there may be none by then.
    pub(super) names_unsynced: Option<Arc<dyn DiskDir>>,
    /// Somebody waits for a sync.
    pub(super) sync_wanted: bool,
    /// The directory could not be synced in the last round: whoever asks waits until the next one is due.
    pub(super) names_failed: bool,
    pub(super) rounds_started: u64,
    /// Whatever was written before one of these rounds started is durable.
    pub(super) rounds_done: u64,
    pub(super) sync_waiters: Vec<Waker>,
    /// Failed syncs without a good one between them.
    pub(super) failures: u32,
    pub(super) sync_errors: u64,
    /// Memory only, from now on.
    pub(super) off: bool,
    /// Segments that nobody needs any more.
    pub(super) waste: Vec<Segment>,
    /// When the last attempt to make a segment failed.
    pub(super) starved_at: Option<Tick>,
    /// The file that was read last, of those that are not written any more.
    pub(super) reader: Option<(u64, Arc<dyn DiskFile>)>,
    pub(super) kept: bool,
    pub(super) closing: bool,
    /// The directory, once the spool is left and somebody is still at something there: the last one gives it up.
    pub(super) home: Option<Home>,
    /// It may be somebody else's: nothing is written, renamed or unlinked there.
    pub(super) left: bool,
}

/// A place that is taken and not yet written.
struct Place {
    slot: Slot,
    seed: Seed,
    file: Arc<dyn DiskFile>,
}

impl Log {
    /// A log in a directory that is there, and nobody else's. A full disk is no reason to fail: it
    /// tries again when there is something to write.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        (directory, epoch): (PathBuf, Uuid),
        limits: LogLimits,
        clock: Clock,
    ) -> Self {
        Self {
            disk,
            directory,
            epoch,
            limits,
            clock,
            state: Mutex::new(State { next_number: 1, ..State::default() }),
            syncing: Mutex::new(()),
            news: Condvar::new(),
            synced: Condvar::new(),
            one_made: Condvar::new(),
            leaving: AtomicBool::new(false),
            bugs: Bugs::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section leaves the state half changed where it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a finished frame: when this returns, it survives the end of the process.
    pub(crate) fn append(&self, frame: &mut [u8]) -> Result<Slot, Refusal> {
        self.append_shared(frame).map(|(slot, _)| slot)
    }

    /// The same; what was written is given back in the memory that is kept until it is synced.
    pub(crate) fn append_shared(&self, frame: &mut [u8]) -> Result<(Slot, Written), Refusal> {
        /// A second file, when the first turns out to be broken.
        const ATTEMPTS: usize = 2;
        for _ in 0..ATTEMPTS {
            let place = self.take_place(frame.len())?;
            // Here, because its memory is new to this processor: it arrives during the checksum and the call of the system,
            // where a lock would wait for it. It has no checksum; whoever writes it once more makes another one.
            let copy = Written::from(&*frame);
            frame::seal(frame, place.seed);
            if let Err(error) = place.file.pwrite(frame, u64::from(place.slot.offset)) {
                self.write_failed(place.slot, &error);
                continue;
            }
            if self.written(place.slot, &copy) {
                return Ok((place.slot, copy));
            }
        }
        Err(Refusal::Io)
    }

    fn take_place(&self, bytes: usize) -> Result<Place, Refusal> {
        if bytes > frame::FRAME_MAX.min(self.limits.segment) {
            return Err(Refusal::TooLarge);
        }
        let mut state = self.lock();
        loop {
            if state.off || state.left {
                return Err(Refusal::Io);
            }
            let active = state.active;
            if let Some(place) = active.and_then(|active| self.place_in(&mut state, active, bytes))
            {
                state.outstanding += 1;
                return Ok(place);
            }
            // Others may have filled it by the time that this thread sees it.
            state = self.turn(state)?;
        }
    }

    /// A place in this segment, if there is room for it.
    fn place_in(&self, state: &mut State, number: u64, bytes: usize) -> Option<Place> {
        let segment = state.segments.get_mut(&number)?;
        let end = segment.used.checked_add(bytes).filter(|end| *end <= self.limits.segment)?;
        let file = Arc::clone(segment.file.as_ref()?);
        let offset = u32::try_from(segment.used).ok()?;
        let slot = Slot { segment: number, offset, bytes: u32::try_from(bytes).ok()? };
        if segment.outstanding == 0 {
            segment.since = Some(self.clock.wall());
        }
        segment.used = end;
        segment.outstanding += 1;
        segment.writing += 1;
        Some(Place { slot, seed: segment.seed, file })
    }

    /// Seals the active segment and goes on with the next one, once that is made.
    fn turn<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
    ) -> Result<MutexGuard<'s, State>, Refusal> {
        let prepared = match state.next.take() {
            Some(prepared) => prepared,
            None if state.making => {
                return Ok(self.one_made.wait(state).unwrap_or_else(PoisonError::into_inner));
            }
            None if !self.has_budget(&state) || state.is_starved(self.clock.now()) => {
                return Err(Refusal::Full);
            }
            None => {
                let (locked, prepared) = self.make_one(state);
                state = locked;
                prepared?
            }
        };
        if state.off {
            state.waste.push(prepared.into_segment());
        } else {
            state.seal_active();
            let number = prepared.number();
            state.segments.insert(number, prepared.into_segment());
            state.active = Some(number);
        }
        self.news.notify_one();
        Ok(state)
    }

    pub(super) fn has_budget(&self, state: &State) -> bool {
        self.bytes_of(state.files() + 1) <= self.limits.bytes
    }

    const fn bytes_of(&self, segments: usize) -> u64 {
        (segments as u64).saturating_mul(self.limits.segment as u64)
    }

    /// Takes note of a written frame; `false` when its file broke meanwhile.
    fn written(&self, slot: Slot, frame: &Written) -> bool {
        let mut state = self.lock();
        let Some(segment) = state.segments.get_mut(&slot.segment) else { return false };
        segment.writing -= 1;
        if segment.distrusted {
            state.free(slot);
            return false;
        }
        let copy = self.limits.fsync != Fsync::Never;
        let fits = state.unsynced.push(slot, frame, copy);
        let first = state.dirty_since.is_none();
        if first {
            state.dirty_since = Some(self.clock.now());
        }
        if !fits && !state.sync_wanted {
            state.sync_wanted = true;
        } else if !self.syncs_by_itself(&state) || !first || state.looks_again {
            return true;
        }
        drop(state);
        self.news.notify_one();
        true
    }

    /// A write failed: nothing more is written to that file.
    fn write_failed(&self, slot: Slot, error: &io::Error) {
        let mut state = self.lock();
        if let Some(segment) = state.segments.get_mut(&slot.segment) {
            segment.writing -= 1;
            // What it may have left there is no record.
            segment.damaged = true;
        }
        if state.active == Some(slot.segment) {
            state.seal_active();
        }
        state.free(slot);
        self.failed(&mut state, "a write", error);
        if self.limits.fsync == Fsync::Never && state.dirty_since.is_some() {
            // The sync that may make up for it is due, but not before the disk had its time, however long nobody asked.
            state.dirty_since = Some(self.clock.now());
            drop(state);
            self.news.notify_one();
        }
    }

    /// Counts a failure; the second one without a success between them is the end.
    pub(super) fn failed(&self, state: &mut State, what: &str, error: &io::Error) {
        /// Two different files: it is not the file.
        const FAILURES_MAX: u32 = 2;
        state.sync_errors += 1;
        state.failures += 1;
        if state.failures >= FAILURES_MAX && !state.off {
            state.off = true;
            state.seal_active();
        }
        tracing::warn!(
            directory = %self.directory.display(),
            %error,
            memory_only = state.off,
            "{what} to the spool failed"
        );
    }

    /// Reads a record back.
    #[expect(clippy::indexing_slicing, reason = "no more is filled than there is room for")]
    pub(crate) fn read<'b>(
        &self,
        slot: Slot,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Frame<'b>, ReadError> {
        let state = self.lock();
        let slot = state.place_of(slot);
        let segment = state.segments.get(&slot.segment).ok_or(ReadError::Gone)?;
        let (path, seed, file) = (segment.path.clone(), segment.seed, segment.file.clone());
        drop(state);
        let file = match file {
            Some(file) => file,
            None => {
                self.reopen(slot.segment, &path).map_err(|error| self.unopened(&path, error))?
            }
        };
        buffer.resize(slot.bytes as usize, 0);
        let filled = file.pread(buffer, u64::from(slot.offset)).map_err(|error| {
            // The next attempt begins with another descriptor.
            self.lock().reader.take_if(|(open, _)| *open == slot.segment);
            ReadError::Place(error)
        })?;
        frame::read(&buffer[..filled], seed).map_err(ReadError::Frame)
    }

    /// A file that is not there while its directory is was removed; without the directory the volume may be away.
    fn unopened(&self, path: &Path, error: io::Error) -> ReadError {
        if error.kind() == io::ErrorKind::NotFound && self.is_gone(path) {
            ReadError::Gone
        } else {
            ReadError::Io(error)
        }
    }

    /// Whether a file that was not there is none.
    pub(super) fn is_gone(&self, path: &Path) -> bool {
        let is_gone = || matches!(self.disk.open(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
        // Asked again, because the volume may have come back in between.
        path.parent().is_some_and(|folder| self.disk.list(folder, 1).is_ok()) && is_gone()
    }

    /// Whether a dead process wrote the record.
    pub(super) fn is_adopted(&self, slot: Slot) -> bool {
        let state = self.lock();
        let slot = state.place_of(slot);
        state.segments.get(&slot.segment).is_some_and(|segment| segment.dead.is_some())
    }

    /// What is at this place is no record: its segment is set aside once it is done. Whether that is news.
    pub(super) fn is_damaged_now(&self, slot: Slot) -> bool {
        let mut state = self.lock();
        let slot = state.place_of(slot);
        let segment = state.segments.get_mut(&slot.segment);
        segment.is_some_and(|segment| !std::mem::replace(&mut segment.damaged, true))
    }

    /// Opens a segment that is not written any more, in the place of the one that was read before.
    fn reopen(&self, number: u64, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if let Some((open, file)) = &self.lock().reader
            && *open == number
        {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(path)?;
        self.lock().reader = Some((number, Arc::clone(&file)));
        Ok(file)
    }

    /// The store has the record, or nobody wants it any more.
    pub(crate) fn settle(&self, slot: Slot) {
        let mut state = self.lock();
        let slot = state.take_place_of(slot);
        state.free(slot);
        if !state.waste.is_empty() {
            drop(state);
            self.news.notify_one();
        }
    }

    pub(crate) fn stats(&self) -> LogStats {
        let state = self.lock();
        let unsettled = state.segments.values().filter(|segment| segment.outstanding > 0);
        LogStats {
            bytes: self.bytes_of(state.files()),
            limit: self.limits.bytes,
            records: state.outstanding,
            oldest: unsettled.filter_map(|segment| segment.since).min(),
            sync_errors: state.sync_errors,
            off: state.off,
        }
    }
}

impl State {
    pub(super) fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Files on the disk, or about to be.
    fn files(&self) -> usize {
        let ahead = usize::from(self.next.is_some()) + usize::from(self.making);
        self.segments.len() + ahead + self.waste.len()
    }

    /// Whether it is too early to try to make another segment.
    pub(super) fn is_starved(&self, now: Tick) -> bool {
        self.starved_at.is_some_and(|at| now.since(at) < RETRY_AFTER)
    }

    pub(super) fn seal_active(&mut self) {
        if let Some(number) = self.active.take() {
            if let Some(segment) = self.segments.get_mut(&number) {
                segment.sealed = true;
            }
            self.sweep(number);
        }
    }

    /// One record less in a segment.
    pub(super) fn free(&mut self, slot: Slot) {
        let Some(segment) = self.segments.get_mut(&slot.segment) else { return };
        segment.outstanding = segment.outstanding.saturating_sub(1);
        if segment.file.is_some() {
            segment.settled.push(slot.offset);
        }
        self.outstanding = self.outstanding.saturating_sub(1);
        self.sweep(slot.segment);
    }

    /// Sets a segment aside for removal if nobody needs it.
    pub(super) fn sweep(&mut self, number: u64) {
        if self.segments.get(&number).is_some_and(Segment::is_done)
            && let Some(segment) = self.segments.remove(&number)
        {
            self.reader.take_if(|(open, _)| *open == number);
            self.unsynced.forget(number);
            self.waste.push(segment);
        }
    }

    /// Where a record is now.
    fn place_of(&self, mut slot: Slot) -> Slot {
        while let Some(moved) = self.moved.get(&slot) {
            slot = *moved;
        }
        slot
    }

    fn take_place_of(&mut self, mut slot: Slot) -> Slot {
        while let Some(moved) = self.moved.remove(&slot) {
            slot = moved;
        }
        slot
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("directory", &self.directory)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
