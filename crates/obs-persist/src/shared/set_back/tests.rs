//! Errors in the spool that come back from the worker, on a clock of the test's.

use std::{sync::Arc, time::Duration};

use obs_core::{
    Ack, Clock, DropReason, ManualClock, Status, StoreMetrics,
    testing::{TestObs, record},
};
use tempfile::TempDir;

use super::super::{Abandoned, CHUNK, Shared};
use crate::{
    SpoolDir,
    batch::Step,
    config::PersistConfig,
    spool::{self, Spool, sim::SimDisk},
    waiters::Fate,
};

/// Longer than the longest wait between two attempts.
const LONG: Duration = Duration::from_secs(60);

/// Nobody works on it: what is taken and settled is up to the test.
struct Rig {
    _folder: TempDir,
    clock: ManualClock,
    test: TestObs,
    shared: Shared,
}

impl Rig {
    fn with(errors: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool_dir = Some(SpoolDir::Given(folder.path().join("spool")));
        let config = PersistConfig { spool_dir, ..PersistConfig::default() };
        let on = Arc::new(SimDisk::new(1));
        let spool = Spool::open_on(on, &config.spool().unwrap(), spool::random_epoch()).unwrap();
        let (clock, test) = (ManualClock::new(), TestObs::new());
        let metrics = StoreMetrics::default();
        let shared = Shared::new(&config, metrics, Some(spool), Clock::from(&clock));
        let rig = Self { _folder: folder, clock, test, shared };
        (0..errors).for_each(|_| rig.submit(Status::Error));
        rig
    }

    fn submit(&self, status: Status) {
        let mut record = record("bonus", "1");
        record.status = status;
        let expected = if status == Status::Error { Ack::Os } else { Ack::Memory };
        assert_eq!(self.shared.submit(self.test.kept_record(record)), expected);
    }

    /// How many records are in the next batch, if it is time for one.
    fn take(&self) -> usize {
        self.clock.advance(Duration::from_millis(1));
        let mut step = self.shared.next_step();
        if let Step::Linger(rest) = step {
            self.clock.advance(rest);
            step = self.shared.next_step();
        }
        if step == Step::Write { self.shared.take_batch().len() } else { 0 }
    }

    fn rest(&self) -> Duration {
        self.shared.until_tried_again(LONG)
    }

    /// In the spool, persisted, and lost.
    fn errors(&self) -> (u64, u64, u64) {
        self.test.assert_balanced();
        let error = self.test.obs().ledger().error;
        (error.spooled, error.persisted, error.dropped.total())
    }
}

#[test]
fn what_a_panic_gave_back_is_tried_one_by_one_and_the_second_panic_leaves_one_for_the_next_process()
{
    let rig = Rig::with(5);
    rig.submit(Status::Ok);
    let flush = rig.shared.begin_flush(LONG);
    assert_eq!(rig.take(), 6);
    rig.shared.settle(0..1, Fate::Persisted);
    let became = rig.shared.abandon();
    assert_eq!(became, Abandoned { lost: 1, tried_again: 4, ..Abandoned::default() });
    assert_eq!(rig.errors(), (4, 1, 0));
    assert_eq!(rig.test.obs().ledger().ok.dropped.of(DropReason::Abandoned), 1);

    (0..3).for_each(|_| rig.submit(Status::Error));
    for at in 0..4 {
        assert_eq!(rig.take(), 1, "number {at}");
        if at == 2 {
            let left = Abandoned { left: 1, ..Abandoned::default() };
            assert_eq!(rig.shared.abandon(), left);
        } else {
            rig.shared.settle(0..1, Fate::Persisted);
        }
    }
    assert!(rig.shared.lock().set_back.suspects.is_empty());
    assert_eq!((rig.take(), rig.errors()), (3, (4, 4, 0)), "the others go together again");
    rig.shared.settle(0..3, Fate::Persisted);
    assert_eq!((rig.take(), rig.errors()), (0, (1, 7, 0)), "one stays");
    rig.shared.forget(flush);
}

#[test]
fn while_the_quarantine_cannot_be_written_one_that_waits_for_it_is_tried_less_and_less_often() {
    let rig = Rig::with(5);
    assert_eq!(rig.rest(), LONG, "nothing waits");
    assert_eq!(rig.take(), 5);
    for at in 0..5 {
        assert!(rig.shared.waits_for_quarantine(at));
        assert!(!rig.shared.waits_for_quarantine(at), "it is gone from the batch");
    }
    assert_eq!(rig.errors(), (5, 0, 0));
    let (mut tries, mut longest) = (0, Duration::ZERO);
    for second in 0..600 {
        let taken = rig.take();
        // At first the pause is shorter than the batch lingers.
        assert!(taken <= 1 || (taken == 2 && second < 10), "{taken} at once in second {second}");
        tries += taken;
        assert!((0..taken).all(|at| rig.shared.waits_for_quarantine(at)));
        longest = longest.max(rig.rest());
        rig.clock.advance(Duration::from_secs(1));
    }
    assert!((40..100).contains(&tries), "{tries} times in ten minutes");
    assert!((10..=15).contains(&longest.as_secs()), "{longest:?}");

    // Somebody waits: that is reason enough to try one now, and the others follow.
    let flush = rig.shared.begin_flush(LONG);
    assert_eq!(rig.take(), 1);
    rig.shared.settle(0..1, Fate::Quarantined);
    rig.shared.quarantine_works();
    assert_eq!((rig.take(), rig.rest()), (4, LONG));
    rig.shared.settle(0..4, Fate::Quarantined);
    assert_eq!((rig.errors(), rig.test.obs().ledger().error.quarantined), ((0, 0, 0), 5));
    rig.shared.forget(flush);
}

#[test]
fn what_is_in_memory_only_does_not_wait_for_the_quarantine() {
    let rig = Rig::with(0);
    rig.submit(Status::Ok);
    assert_eq!(rig.take(), 1);
    assert!(!rig.shared.waits_for_quarantine(0));
    rig.shared.settle(0..1, Fate::Lost(DropReason::SpoolIo));
    assert_eq!(rig.test.obs().ledger().ok.dropped.total(), 1);
}

#[test]
fn ok_records_on_their_turn_fill_a_batch_while_suspects_are_tried_one_by_one() {
    let rig = Rig::with(40);
    assert_eq!(rig.take(), 40);
    assert_eq!(rig.shared.abandon().tried_again, 40);
    (0..100).for_each(|_| rig.submit(Status::Ok));
    let ok = || rig.test.obs().ledger().ok.persisted;
    let mut batches = 0;
    while ok() < 100 {
        let before = ok();
        let taken = rig.take();
        rig.shared.settle(0..taken, Fate::Persisted);
        assert!(taken == 1 || ok() - before == taken as u64, "a suspect is a batch of its own");
        batches += 1;
        assert!(batches <= 5, "{} ok records in {batches} batches", ok());
    }
}

#[test]
fn a_quarantine_that_works_again_takes_what_waits_for_it_by_and_by() {
    let rig = Rig::with(100);
    assert_eq!(rig.take(), 100);
    assert!((0..100).all(|at| rig.shared.waits_for_quarantine(at)));
    let flush = rig.shared.begin_flush(LONG);
    assert_eq!(rig.take(), 1);
    rig.shared.settle(0..1, Fate::Quarantined);
    rig.shared.quarantine_works();
    let mut left = 99;
    while left > 0 {
        let taken = rig.take();
        assert!((1..=CHUNK + 1).contains(&taken), "{taken} at once, of {left}");
        rig.shared.settle(0..taken, Fate::Quarantined);
        rig.shared.quarantine_works();
        left -= taken;
    }
    assert_eq!((rig.errors(), rig.test.obs().ledger().error.quarantined), ((0, 0, 0), 100));
    rig.shared.forget(flush);
}

#[test]
fn a_store_that_takes_now_what_waits_for_the_quarantine_gets_all_of_it_soon() {
    let rig = Rig::with(100);
    assert_eq!(rig.take(), 100);
    assert!((0..100).all(|at| rig.shared.waits_for_quarantine(at)));
    // Until the pauses are the longest.
    for _ in 0..600 {
        let taken = rig.take();
        assert!((0..taken).all(|at| rig.shared.waits_for_quarantine(at)));
        rig.clock.advance(Duration::from_secs(1));
    }
    let mut seconds = 0;
    while rig.errors().0 > 0 {
        let taken = rig.take();
        rig.shared.settle(0..taken, Fate::Persisted);
        rig.clock.advance(Duration::from_secs(1));
        seconds += 1;
        assert!(seconds < 60, "{:?} after a minute", rig.errors());
    }
    assert_eq!((rig.errors(), rig.rest()), ((0, 100, 0), LONG));
}
