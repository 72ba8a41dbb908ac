//! Stands in for the spool: what its files hold, in memory, behind one of the checker's locks. The page of
//! the batches under way is the real one.

#[path = "../../src/spool/under_way.rs"]
mod under_way;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use obs_core::{
    Ack, Adopter, Class, DropReason, Durable, Page, RecordLabels, RunRecord, Ticket,
    testing::record,
};
use shuttle::rand::Rng;
use uuid::Uuid;

use crate::{
    stored::{Stored, Unsettled},
    sync::Mutex,
};

pub(crate) use under_way::{Mark, UnderWay};

/// What a record is in memory once it is written.
pub(crate) type Written = Arc<RunRecord>;

/// How many records a spool of a model holds.
const ROOM: usize = 4;

/// How many records of a dead process a model's spool begins with, at most.
const ORPHANS: usize = 2;

/// How often asking may fail, as in the real one.
const FAILURES_MAX: u32 = 5;

pub(crate) struct Spool {
    files: Arc<Mutex<Files>>,
    /// Whether a dead process left some that nobody has taken over.
    orphans: Arc<AtomicBool>,
    /// What it had handed to the store.
    unsettled: Vec<Uuid>,
    page: Arc<Words>,
    /// Its files cannot be read now and then.
    fails: bool,
}

/// A page that nothing is read from but here.
#[derive(Debug)]
struct Words(Vec<AtomicU64>);

impl Page for Words {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

#[derive(Default)]
pub(crate) struct Files {
    records: BTreeMap<u64, RunRecord>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot(u64);

impl Slot {
    /// Two to a segment.
    pub(crate) const fn segment(self) -> u64 {
        self.0 / 2
    }

    pub(crate) fn within(self) -> (u32, u16) {
        ((self.0 % 2) as u32, 0)
    }

    pub(crate) fn from_within(segment: u64, (at, _): (u32, u16)) -> Self {
        Self(segment * 2 + u64::from(at))
    }

    pub(crate) const fn bytes(self) -> usize {
        64
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    Full,
}

#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    #[expect(dead_code, reason = "the model's disk fails as a whole")]
    Place(io::Error),
    Frame,
}

impl From<Refusal> for DropReason {
    fn from(Refusal::Full: Refusal) -> Self {
        Self::SpoolFull
    }
}

impl Files {
    fn put(&mut self, record: RunRecord) -> Slot {
        let at = self.next;
        self.next += 1;
        self.records.insert(at, record);
        Slot(at)
    }
}

impl Spool {
    pub(crate) fn new(orphans: bool) -> Self {
        let words = (0..under_way::UNDER_WAY_WORDS).map(|_| AtomicU64::new(0)).collect();
        Self {
            files: Arc::default(),
            orphans: Arc::new(AtomicBool::new(orphans)),
            unsettled: Vec::new(),
            page: Arc::new(Words(words)),
            fails: false,
        }
    }

    /// One of whose files every other attempt to read them fails.
    pub(crate) fn failing() -> Self {
        Self { fails: true, ..Self::new(false) }
    }

    /// One beside which a process died that had these ok records under way.
    pub(crate) fn doubted(unsettled: Vec<Uuid>) -> Self {
        Self { unsettled, ..Self::new(true) }
    }

    /// How many records the next process would ask its store for.
    pub(crate) fn under_way_now(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let page = Arc::clone(&self.page);
        move || {
            let words: Vec<u64> = page.0.iter().map(|word| word.load(Ordering::Relaxed)).collect();
            under_way::read(&words, |_| u64::MAX).map_or(0, |left| left.run_ids().count())
        }
    }

    pub(crate) fn under_way(&self) -> UnderWay {
        UnderWay::on(Some(Arc::clone(&self.page) as Arc<dyn Page>))
    }

    /// Lets a process die beside it.
    pub(crate) fn dies_beside(&self) -> impl Fn() + Send + Sync + 'static {
        let orphans = Arc::clone(&self.orphans);
        move || orphans.store(true, Ordering::Relaxed)
    }

    /// How many records the next process would find.
    pub(crate) fn left(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let files = Arc::clone(&self.files);
        move || files.lock().unwrap().records.len()
    }

    pub(crate) fn write(&self, record: &RunRecord) -> Result<(Slot, Written), Refusal> {
        let mut files = self.files.lock().unwrap();
        if files.records.len() >= ROOM + ORPHANS {
            return Err(Refusal::Full);
        }
        Ok((files.put(record.clone()), Arc::new(record.clone())))
    }

    pub(crate) fn unpack(written: &Written) -> Result<RunRecord, io::Error> {
        Ok((**written).clone())
    }

    pub(crate) const fn outlook(&self) -> Ack {
        Ack::Os
    }

    pub(crate) const fn promise(&self) -> Ack {
        Ack::Os
    }

    pub(crate) fn durable(&self) -> Durable {
        Box::pin(std::future::ready(Ack::Disk))
    }

    pub(crate) fn read(&self, slot: Slot, _: &mut Vec<u8>) -> Result<RunRecord, ReadError> {
        if self.fails && shuttle::rand::thread_rng().gen_range(0..2) == 0 {
            return Err(ReadError::Io(io::ErrorKind::Other.into()));
        }
        let files = self.files.lock().unwrap();
        Ok(files.records.get(&slot.0).expect("nothing is read that was settled").clone())
    }

    pub(crate) fn settle(&self, slot: Slot) {
        let settled = self.files.lock().unwrap().records.remove(&slot.0);
        assert!(settled.is_some(), "a record is settled twice");
    }

    pub(crate) fn orphans(&self, _: &Adopter) -> Orphans {
        let first = self.orphans.swap(false, Ordering::Relaxed);
        let unsettled = if first { self.unsettled.clone() } else { Vec::new() };
        Orphans {
            files: Arc::clone(&self.files),
            left: if first { ORPHANS } else { 0 },
            question: (!unsettled.is_empty()).then(|| Arc::new(Unsettled::of(unsettled, [7]))),
            failures: 0,
        }
    }

    pub(crate) const fn close(&self) {}

    pub(crate) const fn stop_looks(&self) {}

    pub(crate) const fn leave(&self) {}
}

/// Records of a dead process, and what only the store knows of it.
pub(crate) struct Orphans {
    files: Arc<Mutex<Files>>,
    left: usize,
    question: Option<Arc<Unsettled>>,
    failures: u32,
}

impl Orphans {
    pub(crate) const fn is_empty(&self) -> bool {
        self.left == 0
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.is_empty() && !self.has_question()
    }

    pub(crate) const fn has_question(&self) -> bool {
        self.question.is_some()
    }

    pub(crate) const fn has_room(&self) -> bool {
        true
    }

    pub(crate) fn ask(&mut self, books: &Adopter) -> Option<Arc<Unsettled>> {
        if self.failures >= FAILURES_MAX {
            self.answered(&Stored::Unknown, books);
        }
        self.failures += 1;
        self.question.clone()
    }

    pub(crate) fn answered(&mut self, stored: &Stored, books: &Adopter) {
        let Some(question) = &self.question else { return };
        let none = BTreeSet::new();
        let rows = match stored {
            Stored::Busy => {
                self.failures = 0;
                return;
            }
            Stored::Rows(rows) => rows,
            Stored::Unknown => &none,
        };
        let (stored, lost) = question.split(Class::Ok, rows);
        for _ in 0..stored {
            books.adopt(Class::Ok, &RecordLabels::default()).persisted();
        }
        books.crashed(Class::Ok, lost);
        self.question = None;
    }

    pub(crate) fn adopt_next(&mut self, books: &Adopter) -> Vec<(Ticket, Slot)> {
        self.left -= 1;
        let orphan = record("orphan", "1");
        let ticket = books.adopt(Class::Error, &RecordLabels::of(&orphan));
        vec![(ticket, self.files.lock().unwrap().put(orphan))]
    }
}
