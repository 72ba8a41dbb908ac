//! What takes time, on a thread of its own: syncing, making segments ahead, removing done ones, and
//! moving records out of a file that failed.
//!
//! [`Log::tend`] does one thing and returns; the thread only calls it again. So a simulation can call
//! it, too.

use std::{
    io,
    sync::{Arc, MutexGuard, PoisonError, TryLockError, atomic::Ordering},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use obs_core::Tick;

use super::{
    adopt::Home,
    disk::{DiskDir, DiskFile},
    log::{Fsync, Log, State},
    segment::{Segment, Slot, Unsynced},
};

/// How old a written record gets before it is synced.
const SYNC_EVERY: Duration = Duration::from_millis(100);

/// After this time a segment without unsettled records is given up for an empty one, so that a
/// process that is killed leaves little that was written to the store long ago.
const QUIET: Duration = Duration::from_secs(60);

/// A name for a moment: whatever was written before it is durable when the round is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Round(u64);

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
enum Duty {
    Sync,
    Prepare,
    Remove,
    /// The active segment holds nothing that is needed.
    Turn,
    /// Nothing for this long, if at all.
    Wait(Option<Duration>),
    Stop,
}

/// What [`Log::tend`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tended {
    Something,
    Nothing(Option<Duration>),
    Stopped,
}

/// The keeper's last act, however it ends: nobody is to wait for it any more.
struct Ended<'l>(&'l Log);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.kept = false;
        // Under the same hold: whoever leaves later than this does it by themselves, and sees it done.
        let left = self.0.take_left(&mut state);
        if thread::panicking() {
            // Wakers are foreign code, which may panic, too: whoever comes next wakes them.
            drop(state);
            self.0.synced.notify_all();
        } else {
            self.0.wake(state);
        }
        self.0.give_up(left);
    }
}

impl Log {
    /// Keeps the log until it is closed; for a thread of its own, which [`expect_keeper`] announced.
    ///
    /// [`expect_keeper`]: Self::expect_keeper
    pub(crate) fn keep(&self) {
        let _ended = Ended(self);
        loop {
            match self.tend() {
                Tended::Something => {}
                Tended::Nothing(_) => self.rest(),
                Tended::Stopped => break,
            }
        }
    }

    /// Whether the keeper is still at it.
    pub(super) fn is_kept(&self) -> bool {
        self.lock().kept
    }

    /// From now on somebody else does what takes time.
    pub(crate) fn expect_keeper(&self) {
        self.lock().kept = true;
    }

    /// Sleeps until there is something to do. After a round for no longer than until the next one may be due:
    /// while errors come and come, none of their threads has to wake it.
    fn rest(&self) {
        let mut state = self.lock();
        // Decided again under the lock that the news come under: none can be missed.
        let Duty::Wait(mut pause) = self.duty(&state, self.clock.now()) else { return };
        if std::mem::take(&mut state.just_synced) {
            pause = Some(pause.map_or(SYNC_EVERY, |pause| pause.min(SYNC_EVERY)));
            state.looks_again = true;
        }
        let woken = match pause {
            Some(pause) => match self.news.wait_timeout(state, pause) {
                Ok((state, _)) => Ok(state),
                Err(poisoned) => Err(PoisonError::new(poisoned.into_inner().0)),
            },
            None => self.news.wait(state),
        };
        woken.unwrap_or_else(PoisonError::into_inner).looks_again = false;
    }

    /// Does what is due first.
    pub(crate) fn tend(&self) -> Tended {
        let now = self.clock.now();
        let duty = self.duty(&self.lock(), now);
        match duty {
            Duty::Sync => self.sync(),
            Duty::Prepare => self.prepare(),
            Duty::Remove => self.remove(),
            Duty::Turn => self.lock().seal_active(),
            Duty::Wait(pause) => return Tended::Nothing(pause),
            Duty::Stop => return Tended::Stopped,
        }
        Tended::Something
    }

    fn duty(&self, state: &State, now: Tick) -> Duty {
        let age = state.dirty_since.map(|since| now.since(since));
        let by_itself = self.syncs_by_itself(state);
        if (state.sync_wanted && !state.names_failed)
            || age.is_some_and(|age| by_itself && (age >= SYNC_EVERY || state.closing))
        {
            return Duty::Sync;
        }
        if !state.waste.is_empty() {
            return Duty::Remove;
        }
        if state.closing {
            return Duty::Stop;
        }
        let has_none = state.next.is_none() && !state.making && !state.off;
        if has_none && !state.is_starved(now) && self.has_budget(state) {
            return Duty::Prepare;
        }
        let quiet = state.active_quiet_for(self.clock.wall().as_micros());
        if quiet.is_some_and(|quiet| quiet >= QUIET) {
            return Duty::Turn;
        }
        let sync_in = age.filter(|_| by_itself).map(|age| SYNC_EVERY.saturating_sub(age));
        let turn_in = quiet.map(|quiet| QUIET.saturating_sub(quiet));
        Duty::Wait([sync_in, turn_in].into_iter().flatten().min())
    }

    /// After a failure with any policy: a good sync makes up for it.
    pub(super) fn syncs_by_itself(&self, state: &State) -> bool {
        self.limits.fsync != Fsync::Never || state.failures > 0
    }

    pub(super) fn prepare(&self) {
        let state = self.lock();
        // Decided again: somebody may have taken the last room meanwhile, and others were refused then.
        if state.making || state.next.is_some() || !self.has_budget(&state) {
            return;
        }
        let (mut state, made) = self.make_one(state);
        let mut file = None;
        if let Ok(prepared) = made {
            match state.active {
                // Closed meanwhile, with what is not needed given up.
                _ if state.closing => state.waste.push(prepared.into_segment()),
                None => {
                    file = prepared.file();
                    let number = prepared.number();
                    state.segments.insert(number, prepared.into_segment());
                    state.active = Some(number);
                }
                Some(_) => {
                    file = prepared.file();
                    state.next = Some(prepared);
                }
            }
        }
        drop(state);
        // Whoever needs it meanwhile has it, however long this takes.
        if let Some(file) = file {
            warm(&*file, self.limits.segment);
        }
    }

    fn remove(&self) {
        let waste = self.lock().waste.first().map(|segment| {
            (segment.path.clone(), segment.damaged, segment.seed, segment.dead.clone())
        });
        let Some((path, damaged, seed, dead)) = waste else { return };
        if damaged {
            let root = self.directory.parent().unwrap_or(&self.directory);
            // Nothing in it is needed any more.
            let moved = super::bad::set_aside(&*self.disk, (root, self.clock.wall()), &path);
            if let Err(error) = moved.or_else(|_| self.disk.unlink(&path)) {
                tracing::debug!(path = %path.display(), %error, "a damaged segment stays");
            }
        } else if let Err(error) = self.disk.unlink(&path) {
            // Its records come again at the next start, and change nothing.
            tracing::debug!(path = %path.display(), %error, "a done segment stays");
        }
        let mut state = self.lock();
        if state.waste.first().is_some_and(|first| first.seed == seed) {
            state.waste.remove(0);
        }
        drop(state);
        // The last segment of a dead epoch takes its directory with it.
        drop(dead);
    }

    // ---- syncing ----

    /// Begins a round, or finds that everything is durable already.
    pub(crate) fn sync_soon(&self) -> Round {
        let mut state = self.lock();
        if !self.bugs.acks_after_sync() {
            return Round(state.rounds_done);
        }
        let running = state.rounds_started > state.rounds_done;
        if state.unsynced.is_empty() && !running && state.names_unsynced.is_none() {
            return Round(state.rounds_done);
        }
        state.sync_wanted = true;
        let round = Round(state.rounds_started + 1);
        let kept = state.kept;
        drop(state);
        if kept {
            self.news.notify_one();
        } else {
            self.sync();
        }
        round
    }

    /// Whether that round is done: `Some(false)` when it never will be.
    fn outcome(state: &State, Round(round): Round) -> Option<bool> {
        if state.rounds_done >= round {
            return Some(!state.has_untrusted());
        }
        (state.off || !state.kept).then_some(false)
    }

    pub(crate) fn poll_synced(&self, round: Round, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        match Self::outcome(&state, round) {
            Some(durable) => Poll::Ready(durable),
            None => {
                let waker = cx.waker();
                if !state.sync_waiters.iter().any(|known| known.will_wake(waker)) {
                    state.sync_waiters.push(waker.clone());
                }
                Poll::Pending
            }
        }
    }

    /// Waits for a round; `false` when it was not done in time, or never will be.
    pub(crate) fn wait_synced(&self, round: Round, limit: Duration) -> bool {
        let start = self.clock.now();
        let mut state = self.lock();
        loop {
            if let Some(durable) = Self::outcome(&state, round) {
                return durable;
            }
            let rest = limit.saturating_sub(self.clock.now().since(start));
            if rest.is_zero() {
                return false;
            }
            state = match self.synced.wait_timeout(state, rest) {
                Ok((state, _)) => state,
                Err(poisoned) => PoisonError::into_inner(poisoned).0,
            };
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let waiters = std::mem::take(&mut state.sync_waiters);
        drop(state);
        self.synced.notify_all();
        waiters.into_iter().for_each(Waker::wake);
    }

    /// One round: everything that was written before it becomes durable, or moves.
    pub(super) fn sync(&self) {
        self.sync_once();
        self.give_up_left();
    }

    fn sync_once(&self) {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        state.sync_wanted = false;
        state.names_failed = false;
        state.dirty_since = None;
        state.rounds_started += 1;
        let round = state.rounds_started;
        let empty = std::mem::take(&mut state.spare);
        let mut unsynced = std::mem::replace(&mut state.unsynced, empty);
        let names = state.names_unsynced.take();
        let files = state.files_of(&unsynced.segments);
        drop(state);

        let named = self.sync_names(names.as_deref());
        if let Err(error) = &named {
            let mut state = self.lock();
            self.failed(&mut state, "syncing the directory", error);
            state.names_unsynced = state.names_unsynced.take().or(names);
            if !state.off {
                self.again(&mut state, unsynced);
                return;
            }
            // The last one that nobody asked for: names that are durable may lead to what is in these files.
        }
        let mut broken = Vec::new();
        for (number, file) in files {
            if let Err(error) = file.fdatasync() {
                broken.push((number, error));
            }
        }
        if !self.bugs.failed_sync_counts() {
            broken.clear();
        }
        let whole = named.is_ok() && broken.is_empty();
        for (number, error) in broken {
            self.move_out(number, &unsynced, &error);
        }
        unsynced.clear();
        let mut state = self.lock();
        if !state.off {
            state.rounds_done = state.rounds_done.max(round);
        }
        if whole {
            state.failures = 0;
            state.close_synced();
        }
        state.spare = unsynced;
        state.just_synced = true;
        self.wake(state);
    }

    fn sync_names(&self, unsynced: Option<&dyn DiskDir>) -> io::Result<()> {
        match unsynced {
            Some(directory) if self.bugs.names_are_synced() => directory.sync(),
            _ => Ok(()),
        }
    }

    /// The directory could not be synced: the round never was. Whoever waits does so for a later one, which
    /// counts for this one, and which gives a hiccup of the disk the time to be over.
    fn again(&self, state: &mut State, unsynced: Unsynced) {
        state.unsynced.put_back(unsynced);
        state.names_failed = true;
        state.dirty_since = Some(self.clock.now());
    }

    /// A sync failed: the kernel may have dropped what it could not write and say so only once. Every
    /// record since the last good sync is written again, from memory, to another file.
    fn move_out(&self, number: u64, unsynced: &Unsynced, error: &io::Error) {
        let mut state = self.lock();
        if state.active == Some(number) {
            state.seal_active();
        }
        let lacks = unsynced.lacks_copies_of(number) || state.unsynced.lacks_copies_of(number);
        if let Some(segment) = state.segments.get_mut(&number) {
            segment.distrusted = true;
            segment.untrusted |= lacks;
        }
        self.failed(&mut state, "a sync", error);
        // What was written to it while it was being synced, too.
        let copies = [unsynced.copies_of(number), state.unsynced.copies_of(number)];
        state.unsynced.forget(number);
        if state.off || state.left {
            state.distrust(number);
            return;
        }
        drop(state);
        let mut targets = Vec::new();
        for (slot, mut frame) in copies.into_iter().flatten() {
            if self.lock().is_settled(slot) {
                continue;
            }
            let Ok(to) = self.append(&mut frame) else {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                let mut state = self.lock();
                self.failed(&mut state, "writing records again", &full);
                state.distrust(number);
                break;
            };
            self.lock().moved(slot, to);
            if !targets.contains(&to.segment) {
                targets.push(to.segment);
            }
        }
        let state = self.lock();
        let (files, names) = (state.files_of(&targets), state.names_unsynced.clone());
        drop(state);
        let synced = (self.sync_names(names.as_deref()))
            .and_then(|()| files.into_iter().try_for_each(|(_, file)| file.fdatasync()));
        if let Err(error) = synced {
            let mut state = self.lock();
            self.failed(&mut state, "a sync of another file", &error);
            targets.into_iter().for_each(|target| state.distrust(target));
        }
        if let Some(segment) = self.lock().segments.get_mut(&number) {
            segment.settled = Vec::new();
            segment.file = None;
        }
    }

    // ---- the end ----

    /// Syncs what is left and stops the keeper. What is appended later is safe against the end of
    /// the process, and synced when somebody asks.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        state.give_up_unused();
        // Once more what nothing is said of any more: it may be there after a loss of power all the same.
        let left = !state.unsynced.is_empty() || state.names_unsynced.is_some();
        state.sync_wanted |= state.off && left;
        drop(state);
        self.news.notify_one();
    }
}

/// Reads a new file's zeros, so that the system has its pages in memory when a run's thread writes to them: it finds
/// them there in two thirds of the time. Nothing is written by that, and nothing depends on it.
fn warm(file: &dyn DiskFile, bytes: usize) {
    const CHUNK: usize = 64 << 10;
    let mut chunk = vec![0; CHUNK.min(bytes)];
    for at in (0..bytes).step_by(CHUNK) {
        // Whoever writes there will find out what is wrong.
        let Ok(_) = file.pread(&mut chunk, at as u64) else { return };
    }
}

impl Log {
    /// A look at what the dead left goes no further than to the end of the read that it is at.
    pub(super) fn stop_looks(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether it may read on: an error says nothing of any file.
    pub(super) fn may_look(&self) -> io::Result<()> {
        if self.leaving.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    /// Gives up the directory of a log that nobody appends to any more, as soon as nobody is at anything there: a disk
    /// that does not answer holds up neither the end of the process nor whoever takes the directory over, but a sync that
    /// fails later still has to write there.
    pub(super) fn leave(&self, home: Home) {
        self.lock().home = Some(home);
        self.give_up_left();
    }

    /// Gives up the directory that was left, if nobody is at anything there. Whoever was tries again when they are
    /// done, and whoever begins a sync later than this sees that it is given up.
    fn give_up_left(&self) {
        let left = self.take_left(&mut self.lock());
        self.give_up(left);
    }

    fn take_left(&self, state: &mut State) -> Option<Home> {
        // A waker, or whoever takes log lines, may have panicked under it.
        let is_syncing = matches!(self.syncing.try_lock(), Err(TryLockError::WouldBlock));
        let is_free = !state.kept && !is_syncing;
        let home = state.home.take_if(|_| is_free)?;
        state.left = true;
        Some(home)
    }

    fn give_up(&self, left: Option<Home>) {
        let Some(home) = left else { return };
        self.empty();
        home.leave();
    }

    /// Removes what holds nothing that is needed, at the very end.
    fn empty(&self) {
        /// More than there are segments in any budget that makes sense.
        const SEGMENTS_MAX: usize = 1_000_000;
        let mut state = self.lock();
        state.give_up_unused();
        if state.unsynced.is_empty() {
            // The names of segments that hold nothing, in a directory that may be gone when somebody asks.
            state.names_unsynced = None;
        }
        drop(state);
        for _ in 0..SEGMENTS_MAX {
            if self.lock().waste.is_empty() {
                return;
            }
            self.remove();
        }
    }
}

impl State {
    /// Gives up the segment made ahead, and the active one if nothing in it is needed.
    fn give_up_unused(&mut self) {
        if let Some(next) = self.next.take() {
            self.waste.push(next.into_segment());
        }
        let active = self.active.and_then(|active| self.segments.get(&active));
        if active.is_some_and(|active| active.outstanding == 0) {
            self.seal_active();
        }
    }

    fn files_of(&self, segments: &[u64]) -> Vec<(u64, Arc<dyn DiskFile>)> {
        let file = |number: &u64| {
            let segment = self.segments.get(number).filter(|segment| !segment.distrusted)?;
            Some((*number, Arc::clone(segment.file.as_ref()?)))
        };
        segments.iter().filter_map(file).collect()
    }

    /// A sealed segment that is synced is not written again: its file need not stay open.
    fn close_synced(&mut self) {
        let Self { segments, unsynced, .. } = self;
        for (number, segment) in segments {
            let synced = segment.writing == 0 && !unsynced.segments.contains(number);
            if segment.sealed && synced && segment.file.is_some() {
                segment.file = None;
                segment.settled = Vec::new();
            }
        }
    }

    /// What came to a file since its last good sync is nowhere else: there was no copy of it, or nowhere to put it.
    fn distrust(&mut self, number: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            (segment.distrusted, segment.untrusted) = (true, true);
        }
    }

    /// Whether there may be a record of that kind, which no later sync makes good.
    fn has_untrusted(&self) -> bool {
        let holds = |segment: &Segment| segment.untrusted && segment.outstanding > segment.writing;
        self.segments.values().any(holds)
    }

    fn is_settled(&self, slot: Slot) -> bool {
        let settled = |segment: &Segment| segment.settled.contains(&slot.offset);
        self.segments.get(&slot.segment).is_none_or(settled)
    }

    /// A record is somewhere else now.
    fn moved(&mut self, from: Slot, to: Slot) {
        if self.is_settled(from) {
            // Meanwhile.
            self.free(to);
            return;
        }
        self.moved.insert(from, to);
        self.free(from);
    }

    /// For how long the active segment has held nothing that is needed, although it was used.
    fn active_quiet_for(&self, now_micros: i64) -> Option<Duration> {
        let active = self.segments.get(&self.active?)?;
        let since = active.since.filter(|_| active.outstanding == 0 && active.used > 0)?;
        let micros = now_micros.saturating_sub(since.as_micros());
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }
}
