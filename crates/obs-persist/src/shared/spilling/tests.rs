//! Errors that are only in the spool, on a disk that fails to give them back.

use std::{
    ops::Range,
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use obs_core::{
    Ack, Clock, DropReason, Json, ManualClock, RunRecord, Sink as _, Status, StoreMetrics,
    testing::{TestObs, record},
};
use tempfile::TempDir;
use uuid::Uuid;

use super::super::{
    Shared,
    spilled::{Others, Spilled, SpilledErrors},
};
use crate::{
    SpoolDir,
    batch::Step,
    config::PersistConfig,
    lanes::Place,
    spool::{self, Slot, Spool, sim::SimDisk},
    waiters::Fate,
};

/// So many of them fill a segment.
const TO_A_SEGMENT: usize = 20;

/// Two whole segments, and some.
const ERRORS: usize = 2 * TO_A_SEGMENT + 10;

/// So many are in memory, and the others only in the spool.
const IN_MEMORY: usize = 4;

/// Longer than the longest wait between two attempts.
const LONG: Duration = Duration::from_secs(60);

/// Amid the first full segment.
const BAD: Range<u64> = 2 << 20..(2 << 20) + 1;

/// Errors in the spool of a simulated disk, of which the full segments are synced and closed. Nobody works
/// on it: what is taken and settled is up to the test.
struct Rig {
    _folder: TempDir,
    disk: SimDisk,
    clock: ManualClock,
    test: TestObs,
    shared: Shared,
    ids: Vec<Uuid>,
}

fn small() -> RunRecord {
    let mut record = record("bonus", "1");
    record.status = Status::Error;
    record
}

/// One of which 20 fill a segment.
fn large() -> RunRecord {
    let mut record = small();
    record.input = Some(Json::parse(&format!("\"{}\"", "x".repeat(200_000))).unwrap());
    record
}

impl Rig {
    fn new() -> Self {
        Self::of((0..ERRORS).map(|_| large()).collect())
    }

    fn of(records: Vec<RunRecord>) -> Self {
        let (folder, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(1));
        let config = PersistConfig {
            spool_dir: Some(SpoolDir::Given(folder.path().join("spool"))),
            queue_records: IN_MEMORY / 2,
            error_records: IN_MEMORY / 2,
            ..PersistConfig::default()
        };
        let on = Arc::new(disk.clone());
        let spool = Spool::open_on(on, &config.spool().unwrap(), spool::random_epoch()).unwrap();
        let (clock, test) = (ManualClock::new(), TestObs::new());
        let metrics = StoreMetrics::default();
        let shared = Shared::new(&config, metrics, Some(spool), Clock::from(&clock));
        let ids = records.iter().map(|record| record.run_id).collect();
        for record in records {
            assert_eq!(shared.submit(test.kept_record(record)), Ack::Os);
        }
        let durable = shared.durable(Ack::Os);
        assert_eq!(futures_executor::block_on(durable), Ack::Disk);
        Self { _folder: folder, disk, clock, test, shared, ids }
    }

    /// The files that hold records.
    fn segments(&self) -> Vec<PathBuf> {
        let mut paths = self.disk.paths();
        paths.retain(|path| path.extension().is_some_and(|end| end == "seg"));
        paths
    }

    /// The file of the oldest one that is only in the spool: they are not numbered as they are used.
    fn first_segment(&self) -> PathBuf {
        let number = self.shared.lock().spilled.next().unwrap().segment();
        let name = format!("{number:08}.seg");
        self.segments().into_iter().find(|path| path.ends_with(&name)).unwrap()
    }

    /// Writes one batch to a store that takes it; which records those were.
    fn write(&self) -> Vec<Uuid> {
        let batch = self.shared.take_batch();
        self.shared.settle(0..batch.len(), Fate::Persisted);
        batch.iter().map(|record| record.run_id).collect()
    }

    /// Writes for as long as the worker would without a pause for what cannot be read.
    fn write_all(&self) -> Vec<Uuid> {
        let mut written = Vec::new();
        for _ in 0..1_000 {
            match self.shared.next_step() {
                Step::Write => written.extend(self.write()),
                Step::Linger(_) if self.shared.lock().waiting().records > 0 => {
                    self.clock.advance(PersistConfig::default().linger);
                }
                _ => return written,
            }
        }
        panic!("there is always more to write");
    }

    fn lost(&self) -> u64 {
        let ledger = self.test.obs().ledger();
        assert_eq!(ledger.imbalance(), 0, "{ledger}");
        ledger.error.dropped.total()
    }

    fn spooled(&self) -> u64 {
        self.test.obs().ledger().error.spooled
    }
}

#[test]
fn errors_whose_file_cannot_be_opened_for_a_while_are_written_later_and_hold_up_no_others() {
    let rig = Rig::new();
    rig.disk.fail_opens(true);
    let (in_memory, rest) = rig.ids.split_at(IN_MEMORY);
    let (unreadable, readable) = rest.split_at(2 * TO_A_SEGMENT - IN_MEMORY);
    assert_eq!(rig.write_all(), [in_memory, readable].concat());
    assert_eq!((rig.lost(), rig.spooled()), (0, unreadable.len() as u64));

    rig.disk.fail_opens(false);
    rig.clock.advance(LONG);
    assert_eq!(rig.write_all(), unreadable);
    assert_eq!((rig.lost(), rig.spooled()), (0, 0));
    rig.test.assert_balanced();
}

#[test]
fn a_frame_that_is_damaged_is_lost_and_counted_alone_and_its_file_is_set_aside() {
    let rig = Rig::new();
    let first = rig.first_segment();
    // In the payload of a frame in the middle.
    rig.disk.spoil(&first, 4 << 20 >> 1);
    assert_eq!(rig.write_all().len(), ERRORS - 1);
    assert_eq!((rig.lost(), rig.spooled()), (1, 0));
    let lost = rig.test.obs().ledger().error.dropped.of(DropReason::SpoolIo);
    assert_eq!(lost, 1);
    rig.shared.close_spool();
    let left = rig.disk.paths();
    let aside = |path: &PathBuf| path.parent().is_some_and(|folder| folder.ends_with("bad"));
    assert_eq!((left.len(), left.iter().all(aside)), (1, true), "{left:?}");
}

#[test]
fn a_file_that_can_be_opened_and_not_read_is_tried_again_less_and_less_often() {
    let rig = Rig::new();
    let first = rig.first_segment();
    rig.disk.fail_reads([first]);
    let readable = ERRORS - (TO_A_SEGMENT - IN_MEMORY);
    assert_eq!(rig.write_all().len(), readable);
    assert_eq!((rig.lost(), rig.spooled()), (0, (ERRORS - readable) as u64));
    let rest = || rig.shared.until_tried_again(LONG);
    let (before, mut longest) = ((rig.disk.opens(), rest()), Duration::ZERO);
    for second in 0..600 {
        assert!(rig.write_all().is_empty(), "in second {second}");
        longest = longest.max(rest());
        rig.clock.advance(Duration::from_secs(1));
    }
    // Each of its records that are only there, every time.
    let tried = (rig.disk.opens() - before.0) / (TO_A_SEGMENT - IN_MEMORY) as u64;
    assert!((40..100).contains(&tried), "{tried} times in ten minutes");
    assert!(before.1 < Duration::from_millis(100) && longest > Duration::from_secs(10));

    rig.disk.fail_reads([]);
    // Somebody waits: that is reason enough to look again now.
    let flush = rig.shared.begin_flush(LONG);
    assert_eq!(rig.write_all().len(), ERRORS - readable);
    assert_eq!(rig.lost(), 0);
    rig.shared.forget(flush);
    rig.test.assert_balanced();
}

#[test]
fn a_place_that_cannot_be_read_holds_up_no_other_of_its_file() {
    let rig = Rig::new();
    rig.disk.fail_reads_at(Some((rig.first_segment(), BAD)));
    assert_eq!((rig.write_all().len(), rig.lost(), rig.spooled()), (ERRORS - 1, 0, 1));
    rig.clock.advance(LONG);
    assert_eq!((rig.write_all().len(), rig.lost(), rig.spooled()), (0, 0, 1));
    rig.disk.fail_reads_at(None);
    rig.clock.advance(LONG);
    assert_eq!((rig.write_all().len(), rig.lost(), rig.spooled()), (1, 0, 0));
    rig.test.assert_balanced();
}

#[test]
fn a_page_that_cannot_be_read_holds_up_none_but_its_own_records_however_many_those_are() {
    let rig = Rig::of((0..2_000).map(|_| small()).collect());
    rig.disk.fail_reads_at(Some((rig.first_segment(), 100 << 10..104 << 10)));
    let (written, left) = (rig.write_all().len() as u64, rig.spooled());
    assert!((17..40).contains(&left) && written + left == 2_000, "{written}, {left} left");
    // The last one of the page before, the first of that page, and once more when nothing else is left.
    assert_eq!(rig.disk.failed_reads(), 3);
    rig.disk.fail_reads_at(None);
    rig.clock.advance(LONG);
    assert_eq!((rig.write_all().len() as u64, rig.lost(), rig.spooled()), (left, 0, 0));
    rig.test.assert_balanced();
}

#[test]
fn the_end_leaves_the_place_that_cannot_be_read_and_no_other_of_its_file() {
    let rig = Rig::new();
    rig.disk.fail_reads_at(Some((rig.first_segment(), BAD)));
    let shutdown = rig.shared.begin_shutdown(LONG);
    assert_eq!((rig.write_all().len(), rig.spooled()), (ERRORS - 1, 1));
    assert_eq!(rig.shared.next_step(), Step::Stop);
    rig.shared.worker_ended();
    let answer = rig.shared.poll_answer(shutdown, &Context::from_waker(Waker::noop()));
    let Poll::Ready(answer) = answer else { panic!("it waits for what cannot be read") };
    assert_eq!((answer.spooled, answer.dropped.total(), answer.left), (1, 0, 0));
    assert_eq!(rig.lost(), 0);
}

#[test]
fn errors_whose_file_somebody_removed_are_counted_and_their_room_is_free_again() {
    let rig = Rig::new();
    let first = rig.first_segment();
    rig.disk.remove(&first);
    let gone = TO_A_SEGMENT - IN_MEMORY;
    assert_eq!(rig.write_all().len(), ERRORS - gone);
    assert_eq!((rig.lost(), rig.spooled()), (gone as u64, 0));
    let dropped = rig.test.obs().ledger().error.dropped;
    assert_eq!(dropped.of(DropReason::SpoolIo), gone as u64);
    rig.shared.close_spool();
    assert_eq!(rig.disk.paths(), Vec::<PathBuf>::new());
}

#[test]
fn the_end_leaves_what_cannot_be_read_to_the_next_process_and_does_not_wait_for_it() {
    let rig = Rig::new();
    rig.disk.fail_opens(true);
    assert_eq!(rig.write_all().len(), ERRORS - 2 * TO_A_SEGMENT + IN_MEMORY);
    let shutdown = rig.shared.begin_shutdown(LONG);
    // Once more, and that is all.
    assert_eq!(rig.shared.next_step(), Step::Write);
    assert!(rig.write().is_empty());
    assert_eq!(rig.shared.next_step(), Step::Stop);
    rig.shared.worker_ended();
    let answer = rig.shared.poll_answer(shutdown, &Context::from_waker(Waker::noop()));
    let Poll::Ready(answer) = answer else { panic!("it waits for what cannot be read") };
    let left = 2 * TO_A_SEGMENT - IN_MEMORY;
    assert_eq!((answer.spooled, answer.dropped.total(), answer.left), (left as u64, 0, 0));
    assert_eq!((rig.lost(), rig.spooled()), (0, left as u64));
    rig.shared.leave_spool();
    assert_eq!(rig.segments().len(), 2, "they stay");
}

#[test]
fn what_a_spilled_error_says_is_for_the_store_to_judge_as_that_of_one_in_memory() {
    let mut records: Vec<RunRecord> = (0..ERRORS).map(|_| large()).collect();
    for record in &mut records {
        // No record that a run makes has such a text; somebody may change one on its way here.
        record.error_message = Some("\0".into());
    }
    let rig = Rig::of(records);
    assert_eq!(rig.write_all(), rig.ids);
    assert_eq!(rig.lost(), 0);
    rig.test.assert_balanced();
}

#[test]
fn what_is_packed_comes_out_as_it_went_in_whenever_it_came() {
    let test = TestObs::new();
    let mut spilled = SpilledErrors::default();
    // Earlier than the first, too late for its block, and more than a block holds.
    let numbers: Vec<u64> =
        [70, 3, 71, 70_000, 9_000_000_000].into_iter().chain(100_000..100_700).collect();
    let slots: Vec<Slot> =
        (0..).map(|at| Slot::from_within(4, (at * 64, 7))).take(numbers.len()).collect();
    for (slot, number) in slots.iter().zip(&numbers) {
        let (_, ticket) = test.kept_record(large()).into_parts();
        spilled.push(Spilled { ticket, slot: *slot, place: Place::in_spool(*number) });
    }
    assert_eq!(spilled.ready(), numbers.len());
    let before = Clock::from(&ManualClock::new()).now();
    assert!(spilled.hold(slots[0], before, Others::Wait));
    assert!(spilled.ready() == 0 && spilled.hurry());
    for (at, (slot, number)) in slots.iter().zip(&numbers).enumerate() {
        assert_eq!(spilled.next(), Some(*slot));
        let (first, all_can_be_read) = spilled.take(*slot).unwrap();
        assert_eq!(
            (first.slot, first.place, all_can_be_read),
            (*slot, Place::in_spool(*number), at == 0)
        );
        if at % 2 == 0 {
            spilled.put_back(first);
            let (again, _) = spilled.take(*slot).unwrap();
            again.ticket.persisted();
        } else {
            first.ticket.persisted();
        }
    }
    assert_eq!((spilled.ready(), spilled.next()), (0, None));
    test.assert_balanced();
}
