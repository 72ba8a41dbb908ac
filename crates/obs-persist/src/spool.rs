//! The spool: crash-safe segment files that hold error records until the store has committed them.
//!
//! ```text
//! <spool>/<epoch>/lock                   held for as long as the process lives
//! <spool>/<epoch>/NNNNNNNN.seg           frames, in a file of fixed size whose space is set aside
//! <spool>/<epoch>/ledger.page            its counts; runs.page: its runs in flight; batch.page: what the store has
//! <spool>/bad/<time>-<epoch>-N.bad       files in which something was damaged, for a week
//! ```
//!
//! A record is one [`frame`] in a [`segment`]; [`log`] appends and frees, [`keeper`] does what takes
//! time (syncing, making and removing files), [`recover`] reads what a dead process left, and
//! [`adopt`] finds it. All of it sits on a [`disk`], which a test can let fail.
//!
//! S1 A frame is written by one call before its append returns, so a killed process loses none.
//! S2 What is promised as durable was synced after it was written, and so was its directory.
//! S3 A segment is unlinked when every record in it is settled, and never changed before: there is no
//!    cursor that could disagree. Writing a record twice changes nothing in a store.
//! S4 A file whose sync failed is neither written nor synced again.
//! S5 Freeing space needs none, and the next two segments have theirs.

mod adopt;
mod bad;
mod bugs;
mod codec;
mod crash;
mod disk;
mod frame;
#[cfg(feature = "testing")]
pub mod fuzz;
mod held;
pub mod inspect;
mod keeper;
mod log;
mod making;
mod orphans;
mod pieces;
mod recover;
mod segment;
#[cfg(test)]
pub(crate) mod sim;
mod successor;
mod under_way;

use std::{
    cell::Cell,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, RwLock},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use obs_core::{Ack, Adopter, Clock, Durable, Page, RunRecord, SpoolUse, in_flight, ledger};
use uuid::Uuid;

use self::{
    adopt::{BATCH_PAGE, Home, HomeError, LEDGER_PAGE, RUNS_PAGE},
    codec::DecodeError,
    disk::{Disk, RealDisk},
    frame::{ALIGN, Flaw, HEADER},
    held::Held,
    keeper::Round,
    log::{Log, LogLimits, LogStats},
    successor::Successor,
};
use crate::{
    platform::{self, Origin, Process, Words},
    store,
};

pub use log::Fsync;
pub(crate) use log::Refusal;
pub(crate) use orphans::Orphans;
pub(crate) use segment::{SEGMENT_BYTES, Slot, Written};
pub(crate) use under_way::{Mark, UnderWay};

/// How long a thread waits for its record to be synced, where the policy is to wait.
const SYNC_PATIENCE: Duration = Duration::from_secs(1);

/// How long the end of a process waits for the keeper's last sync.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// A thread keeps a buffer of at most this size for its next record.
const BUFFER_KEPT: usize = 64 << 10;

/// Where a spool is, and what it may use.
#[derive(Clone, Debug)]
pub(crate) struct SpoolConfig {
    pub(crate) root: PathBuf,
    pub(crate) origin: Origin,
    pub(crate) bytes: u64,
    pub(crate) fsync: Fsync,
}

/// The spool of this process.
#[derive(Debug)]
pub(crate) struct Spool {
    log: Arc<Log>,
    root: PathBuf,
    epoch: Uuid,
    ledger_page: Option<Arc<MappedPage>>,
    runs_page: Option<Arc<MappedPage>>,
    batch_page: Option<Arc<MappedPage>>,
    // `None` once it is left. Whoever writes holds it, so that nothing is written to a directory that
    // somebody else may already have taken over; the log has it for as long as its keeper may write.
    home: RwLock<Option<Home>>,
    /// Dead spools that could not be read.
    held: Mutex<Held>,
    /// Where errors go that come after that.
    successor: Successor<Self>,
    config: SpoolConfig,
    /// Nothing here is a forked child's.
    process: Process,
}

/// Words in a file of the spool.
#[derive(Debug)]
pub(crate) struct MappedPage(Words);

impl Page for MappedPage {
    fn words(&self) -> &[std::sync::atomic::AtomicU64] {
        self.0.words()
    }
}

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("cannot start a thread for the spool: raise the limit of threads of this process")]
    Thread(#[source] io::Error),
}

/// Why a record is not read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// What is there may be whole: it can be read later, or by the next process.
    #[error("its segment cannot be opened now")]
    Io(#[from] io::Error),
    /// The same, but others in the file may be read.
    #[error("its place cannot be read now")]
    Place(#[source] io::Error),
    /// Somebody removed the file.
    #[error("its segment is gone")]
    Gone,
    /// It is gone, whoever reads it.
    #[error("its frame is damaged ({0:?})")]
    Frame(Flaw),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Spool {
    /// Makes the directory of this process, and a thread that keeps it.
    pub(crate) fn open(config: &SpoolConfig, epoch: Uuid) -> Result<Self, OpenError> {
        let spool = Self::open_on(Arc::new(RealDisk), config, epoch)?;
        // Whoever made its root may have died before they had synced that.
        if let Err(error) = platform::sync_name_of(&spool.root) {
            tracing::warn!(%error, "the name of the spool's directory may not outlive a loss of power");
        }
        Ok(spool)
    }

    /// The same, with the segments on a disk that may be a test's.
    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        config: &SpoolConfig,
        epoch: Uuid,
    ) -> Result<Self, OpenError> {
        let home = Home::make(&config.root, config.origin, epoch)?;
        let limits = LogLimits { bytes: config.bytes, segment: SEGMENT_BYTES, fsync: config.fsync };
        let place = (home.directory.clone(), epoch);
        let log = Arc::new(Log::new(disk, place, limits, Clock::default()));
        let page = |name, words| match Words::create(&home.directory.join(name), words) {
            Ok(words) => Some(Arc::new(MappedPage(words))),
            Err(error) => {
                tracing::warn!(%error, page = name, "what dies in memory with this process will not be known");
                None
            }
        };
        let ledger_page = page(LEDGER_PAGE, ledger::PAGE_WORDS);
        let runs_page = page(RUNS_PAGE, in_flight::PAGE_WORDS);
        let batch_page = page(BATCH_PAGE, under_way::UNDER_WAY_WORDS);
        log.expect_keeper();
        let kept = Arc::clone(&log);
        let keeper = thread::Builder::new().name("obs-spool".to_owned()).spawn(move || kept.keep());
        if let Err(error) = keeper {
            home.give_up();
            return Err(OpenError::Thread(error));
        }
        Ok(Self {
            log,
            root: home.root.clone(),
            epoch,
            ledger_page,
            runs_page,
            batch_page,
            home: RwLock::new(Some(home)),
            held: Mutex::default(),
            successor: Successor::new(),
            config: config.clone(),
            process: Process::current(),
        })
    }

    /// Where the ledger's counts can live, so that the next process sees them.
    pub(crate) fn ledger_page(&self) -> Option<Arc<dyn Page>> {
        self.ledger_page.clone().map(|page| page as Arc<dyn Page>)
    }

    /// Where the runs in flight can live.
    pub(crate) fn runs_page(&self) -> Option<Arc<dyn Page>> {
        self.runs_page.clone().map(|page| page as Arc<dyn Page>)
    }

    /// What is with the store and not settled.
    pub(crate) fn under_way(&self) -> UnderWay {
        UnderWay::on(self.batch_page.clone().map(|page| page as Arc<dyn Page>))
    }

    /// Where records go that the store does not take, unless somebody says otherwise.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Writes a record: when this returns, it survives the end of the process. What was written is all that the
    /// process needs of it from then on, for [`unpack`](Self::unpack).
    pub(crate) fn write(&self, record: &RunRecord) -> Result<(Slot, Written), Refusal> {
        thread_local! {
            static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        // A thread that is ending has none any more.
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        let written = self.write_through(record, &mut buffer);
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
        written
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the buffer has room for a header")]
    fn write_through(
        &self,
        record: &RunRecord,
        buffer: &mut Vec<u8>,
    ) -> Result<(Slot, Written), Refusal> {
        let home = self.home.read().unwrap_or_else(PoisonError::into_inner);
        if home.is_none() {
            drop(home);
            return self.write_late(record, buffer);
        }
        // The room that an earlier record needed is as good as new: nothing of it is left in a frame.
        let room = HEADER + codec::bound(record) + ALIGN;
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let written = match codec::encode_into(record, &mut buffer[HEADER..]) {
            Ok(payload) => {
                match frame::around(buffer, payload, (frame::FLAG_ERROR, record.run_id)) {
                    Some(frame) => self.log.append_shared(frame),
                    None => Err(Refusal::TooLarge),
                }
            }
            Err(_) => Err(Refusal::Io),
        };
        drop(home);
        if buffer.capacity() > BUFFER_KEPT {
            buffer.truncate(BUFFER_KEPT);
            buffer.shrink_to(BUFFER_KEPT);
        }
        written
    }

    /// After the end of everything: into a spool of its own, which the next process finds. The place there
    /// means nothing here, and nobody asks for it.
    fn write_late(
        &self,
        record: &RunRecord,
        buffer: &mut Vec<u8>,
    ) -> Result<(Slot, Written), Refusal> {
        let successor = self.successor.get_or_make(&self.log.clock, || {
            Self::open_on(Arc::clone(&self.log.disk), &self.config, random_epoch())
        });
        match successor {
            Some(spool) => spool.write_through(record, buffer),
            None => Err(Refusal::Io),
        }
    }

    /// What is promised of a record that was just written, by the policy: it may wait for a sync.
    pub(crate) fn promise(&self) -> Ack {
        if self.log.limits.fsync != Fsync::Always {
            return Ack::Os;
        }
        let mut rounds = self.sync_soon().into_iter().flatten();
        if rounds.all(|(log, round)| log.wait_synced(round, SYNC_PATIENCE)) {
            Ack::Disk
        } else {
            Ack::Os
        }
    }

    /// What is promised of the records to come, as far as one can know.
    pub(crate) fn outlook(&self) -> Ack {
        if let Some(successor) = self.successor.get() {
            return successor.outlook();
        }
        match self.log.limits.fsync {
            _ if self.successor.has_failed() || self.log.stats().off => Ack::Memory,
            Fsync::Always => Ack::Disk,
            _ => Ack::Os,
        }
    }

    /// Makes everything durable that was written before.
    pub(crate) fn durable(&self) -> Durable {
        Box::pin(Syncing(self.sync_soon()))
    }

    /// Begins a round wherever there may be a record that somebody asks about. A spool that is left has
    /// given up its directory unless something stays in it, and later records are with its successor.
    fn sync_soon(&self) -> Rounds {
        let begin = |log: &Arc<Log>| (Arc::clone(log), log.sync_soon());
        let has_own = !self.is_left() || self.log.stats().records > 0;
        let late = self.successor.get();
        [has_own.then(|| begin(&self.log)), late.map(|spool| begin(&spool.log))]
    }

    fn is_left(&self) -> bool {
        self.home.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The record that was written as this.
    pub(crate) fn unpack(written: &Written) -> Result<RunRecord, DecodeError> {
        let frame = frame::read_unchecked(written).map_err(|_| DecodeError::NoFrame)?;
        codec::decode_own(frame.payload)
    }

    /// Reads a record back. One of this process is as it was written, and the store judges what it says. One
    /// that was adopted is somebody else's file, which may have changed since it was checked when it was
    /// taken over: the checksum keeps out accidents, not strangers.
    pub(crate) fn read(&self, slot: Slot, buffer: &mut Vec<u8>) -> Result<RunRecord, ReadError> {
        let is_own = !self.log.is_adopted(slot);
        let read = self.log.read(slot, buffer).and_then(|frame| {
            let decode = if is_own { codec::decode_own } else { codec::decode };
            Ok(decode(frame.payload)?)
        });
        if let Err(error @ (ReadError::Gone | ReadError::Frame(_) | ReadError::Decode(_))) = &read
            && self.log.is_damaged_now(slot)
        {
            tracing::warn!(
                error = %store::chain(error),
                "a segment of the spool is damaged; what can be read of it is kept, the rest counts as lost"
            );
        }
        read
    }

    /// Nobody needs the record any more.
    pub(crate) fn settle(&self, slot: Slot) {
        self.log.settle(slot);
    }

    /// What dead processes left.
    pub(crate) fn orphans(&self, books: &Adopter) -> Orphans {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Orphans::find((&self.root, self.epoch), Arc::clone(&self.log), &mut held, books)
    }

    /// Reads what it holds, for metrics.
    pub(crate) fn gauge(&self) -> impl Fn() -> SpoolUse + Send + Sync + 'static {
        let log = Arc::clone(&self.log);
        move || {
            let LogStats { bytes, limit, oldest, .. } = log.stats();
            SpoolUse { bytes, limit, oldest }
        }
    }

    /// Syncs and frees what it can. Records can still be written, and are safe against the end of the
    /// process. The worker and whoever lets go of everything may both wait for that.
    pub(crate) fn close(&self) {
        self.log.close();
        let clock = Clock::default();
        let start = clock.now();
        // A disk that does not answer must not hold up the end of the process.
        while self.log.is_kept() && clock.now().since(start) < END_PATIENCE {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

impl Spool {
    /// Whoever looks at what dead processes left is to stop: somebody waits for that.
    pub(crate) fn stop_looks(&self) {
        self.log.stop_looks();
    }

    /// Gives the directory up, and what was taken over: removed if nothing is left in it, and free for others to
    /// take over, once the keeper is not at anything there any more. Nobody reads or settles anything any more.
    pub(crate) fn leave(&self) {
        if self.process.is_forked() {
            // It is all its parent's. Before any lock: a thread of the parent may have held it.
            return;
        }
        self.close();
        let home = self.home.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(home) = home {
            self.log.give_up_adopted();
            self.log.leave(home);
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The id of a process lifetime.
pub(crate) fn random_epoch() -> Uuid {
    let mut bytes = [0; 16];
    // Without entropy all epochs are one: the second of two processes has no spool then.
    let _ = getrandom::fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// What is synced before somebody is told that it is durable: our own log, and that of the successor.
type Rounds = [Option<(Arc<Log>, Round)>; 2];

/// Somebody's wait for a sync.
struct Syncing(Rounds);

impl Future for Syncing {
    type Output = Ack;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ack> {
        for (log, round) in self.0.iter().flatten() {
            match log.poll_synced(*round, cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Ack::Os),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ack::Disk)
    }
}

#[cfg(test)]
mod tests;
