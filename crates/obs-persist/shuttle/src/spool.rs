//! Stands in for the spool: what its files hold, in memory, behind one of the checker's locks.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use obs_core::{
    Ack, Adopter, Class, DropReason, Durable, RecordLabels, RunRecord, Ticket, testing::record,
};

use uuid::Uuid;

use crate::sync::Mutex;

/// How many records a spool of a model holds.
const ROOM: usize = 4;

/// How many records of a dead process a model's spool begins with, at most.
const ORPHANS: usize = 2;

pub(crate) struct Spool {
    files: std::sync::Arc<Mutex<Files>>,
    /// Whether a dead process left some that nobody has taken over.
    orphans: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Files {
    records: BTreeMap<u64, RunRecord>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u64);

impl Slot {
    pub(crate) const fn bytes(self) -> usize {
        64
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    Full,
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
        Self { files: std::sync::Arc::default(), orphans: AtomicBool::new(orphans) }
    }

    /// How many records the next process would find.
    pub(crate) fn left(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let files = std::sync::Arc::clone(&self.files);
        move || files.lock().unwrap().records.len()
    }

    pub(crate) fn write(&self, record: &RunRecord) -> Result<Slot, Refusal> {
        let mut files = self.files.lock().unwrap();
        if files.records.len() >= ROOM + ORPHANS {
            return Err(Refusal::Full);
        }
        Ok(files.put(record.clone()))
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

    pub(crate) fn read(&self, slot: Slot, _: &mut Vec<u8>) -> Result<RunRecord, io::Error> {
        let files = self.files.lock().unwrap();
        Ok(files.records.get(&slot.0).expect("nothing is read that was settled").clone())
    }

    pub(crate) fn settle(&self, slot: Slot) {
        let settled = self.files.lock().unwrap().records.remove(&slot.0);
        assert!(settled.is_some(), "a record is settled twice");
    }

    pub(crate) fn orphans(&self) -> Orphans {
        Orphans {
            files: std::sync::Arc::clone(&self.files),
            left: if self.orphans.swap(false, Ordering::Relaxed) { ORPHANS } else { 0 },
        }
    }

    /// Where the batch in flight is noted for the next process; a model has none.
    pub(crate) const fn batch_page(&self) -> Option<&Page> {
        None
    }

    pub(crate) const fn close(&self) {}

    pub(crate) const fn leave(&self) {}
}

pub(crate) struct Page;

impl Page {
    pub(crate) fn begin(&self, _: impl Iterator<Item = Uuid>) {}

    pub(crate) const fn settled(&self) {}
}

/// Records of a dead process.
pub(crate) struct Orphans {
    files: std::sync::Arc<Mutex<Files>>,
    left: usize,
}

impl Orphans {
    pub(crate) const fn is_empty(&self) -> bool {
        self.left == 0
    }

    pub(crate) const fn has_room(&self) -> bool {
        true
    }

    pub(crate) const fn doubt(&self) -> Option<(Uuid, Vec<Uuid>)> {
        None
    }

    pub(crate) const fn answered(&self, _: Uuid, _: u64) {}

    pub(crate) fn adopt_next(&mut self, books: &Adopter) -> Vec<(Ticket, Slot)> {
        self.left -= 1;
        let orphan = record("orphan", "1");
        let ticket = books.adopt(Class::Error, &RecordLabels::of(&orphan));
        vec![(ticket, self.files.lock().unwrap().put(orphan))]
    }
}
