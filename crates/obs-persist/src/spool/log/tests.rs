use std::{path::Path, task::Context};

use obs_core::ManualClock;

use super::{
    super::{
        adopt::segments_in,
        bugs::Bug,
        keeper::{Round, Tended},
        pieces::read_segment,
        segment::{SEGMENT_BYTES, path_of},
        sim::{Chance, SimDisk},
    },
    *,
};

const EPOCH: Uuid = Uuid::from_u128(0xe90c);
const DIRECTORY: &str = "/spool/epoch";
/// Small, so that a few records fill one.
const SEGMENT: usize = 4_096;

mod crashes;
mod failures;

fn limits(segments: u64) -> LogLimits {
    LogLimits { bytes: segments * SEGMENT as u64, segment: SEGMENT, fsync: Fsync::Interval }
}

fn log_on(disk: &SimDisk, limits: LogLimits, clock: &ManualClock) -> Log {
    Log::new(Arc::new(disk.clone()), (DIRECTORY.into(), EPOCH), limits, Clock::from(clock))
}

fn frame_of(id: u128, payload: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::new();
    frame::begin(&mut buffer, frame::FLAG_ERROR, Uuid::from_u128(id));
    buffer.extend_from_slice(payload);
    assert!(frame::finish(&mut buffer));
    buffer
}

/// Does everything that is due.
fn tend_all(log: &Log) {
    for _ in 0..100 {
        if log.tend() != Tended::Something {
            return;
        }
    }
    panic!("there is always more to do");
}

fn is_durable(log: &Log) -> bool {
    is_done(log, log.sync_soon())
}

fn is_answered(log: &Log, round: Round) -> bool {
    log.poll_synced(round, &Context::from_waker(Waker::noop())).is_ready()
}

fn is_done(log: &Log, round: Round) -> bool {
    let waker = Waker::noop();
    matches!(log.poll_synced(round, &Context::from_waker(waker)), std::task::Poll::Ready(true))
}

/// As if there was a new segment.
fn make_name(log: &Log) {
    let directory = log.disk.open_dir(&log.directory).unwrap();
    log.lock().names_unsynced = Some(directory);
}

/// Every record on the disk: the segment, the id, the payload.
fn recover(disk: &SimDisk, bugs: Bugs) -> Vec<(u64, u128, Vec<u8>)> {
    let directory = Path::new(DIRECTORY);
    let mut found = Vec::new();
    let mut buffer = Vec::new();
    for number in segments_in(disk, directory).unwrap() {
        assert!(read_segment(disk, &path_of(directory, number), &mut buffer).unwrap());
        for (_, frame) in bugs.scan(&buffer, Seed::new(EPOCH, number)) {
            found.push((number, frame.id.as_u128(), frame.payload.to_vec()));
        }
    }
    found
}

fn ids(disk: &SimDisk) -> Vec<u128> {
    recover(disk, Bugs::default()).into_iter().map(|(_, id, _)| id).collect()
}

#[test]
fn an_appended_record_is_on_the_disk_before_append_returns_and_can_be_read_back() {
    let disk = SimDisk::new(1);
    let log = log_on(&disk, limits(4), &ManualClock::new());
    let slot = log.append(&mut frame_of(1, b"first")).unwrap();
    assert_eq!(recover(&disk, Bugs::default()), [(1, 1, b"first".to_vec())]);
    let mut buffer = Vec::new();
    let read = log.read(slot, &mut buffer).unwrap();
    assert_eq!((read.id, read.payload), (Uuid::from_u128(1), &b"first"[..]));
}

#[test]
fn the_keeper_reads_the_segments_that_it_makes_so_that_their_pages_are_in_memory() {
    /// Several times what is read at once, and some more.
    const SEGMENT: usize = 200 << 10;
    let disk = SimDisk::new(1);
    let limits = LogLimits { segment: SEGMENT, bytes: 4 * SEGMENT as u64, ..limits(4) };
    let log = log_on(&disk, limits, &ManualClock::new());
    log.expect_keeper();
    tend_all(&log);
    assert_eq!(disk.used(), 2 * SEGMENT as u64);
    assert!(disk.was_read());
}

/// What happens once, while a disk is at something else.
type Happens = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A disk on which something happens while a file is being made or read, or a directory synced.
struct Meanwhile {
    disk: SimDisk,
    making: Happens,
    reading: Arc<Happens>,
    syncing: Arc<Happens>,
}

impl Meanwhile {
    fn log(disk: &SimDisk) -> (Arc<Self>, Arc<Log>) {
        let [making, reading, syncing] = [(); 3].map(|()| Happens::default());
        let (reading, syncing) = (Arc::new(reading), Arc::new(syncing));
        let meanwhile = Arc::new(Self { disk: disk.clone(), making, reading, syncing });
        let place = (DIRECTORY.into(), EPOCH);
        let clock = Clock::from(&ManualClock::new());
        let log = Log::new(Arc::clone(&meanwhile) as _, place, limits(4), clock);
        log.expect_keeper();
        (meanwhile, Arc::new(log))
    }
}

fn happen(happens: &Happens) -> bool {
    let happens = happens.lock().unwrap().take();
    let there = happens.is_some();
    if let Some(happens) = happens {
        happens();
    }
    there
}

/// A file of such a disk. The read during which something happens fails.
struct ReadMeanwhile(Arc<dyn DiskFile>, Arc<Happens>);

impl fmt::Debug for ReadMeanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl DiskFile for ReadMeanwhile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.pwrite(bytes, offset)
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.0.fdatasync()
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if happen(&self.1) {
            return Err(io::Error::other("a read failed"));
        }
        self.0.pread(bytes, offset)
    }
}

/// A directory of such a disk.
struct SyncMeanwhile(Arc<dyn DiskDir>, Arc<Happens>);

impl fmt::Debug for SyncMeanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl DiskDir for SyncMeanwhile {
    fn sync(&self) -> io::Result<()> {
        happen(&self.1);
        self.0.sync()
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Disk for Meanwhile {
    fn create_reserved(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let made = self.disk.create_reserved(path, bytes);
        happen(&self.making);
        Ok(Arc::new(ReadMeanwhile(made?, Arc::clone(&self.reading))))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path)
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<String>> {
        self.disk.list(directory, most)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn link(&self, path: &Path, also: &Path) -> io::Result<()> {
        self.disk.link(path, also)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.disk.unlink(path)
    }

    fn open_dir(&self, directory: &Path) -> io::Result<Arc<dyn DiskDir>> {
        let dir = self.disk.open_dir(directory)?;
        Ok(Arc::new(SyncMeanwhile(dir, Arc::clone(&self.syncing))))
    }
}

#[test]
fn a_segment_is_there_before_it_is_read_and_stays_when_it_cannot_be() {
    let disk = SimDisk::new(1);
    let (meanwhile, log) = Meanwhile::log(&disk);
    for id in [1, 2] {
        let writer = Arc::clone(&log);
        *meanwhile.reading.lock().unwrap() = Some(Box::new(move || {
            // Two do not fit into one.
            let slot = writer.append(&mut frame_of(id, &[7; 2_500])).unwrap();
            assert_eq!(u128::from(slot.segment), id, "nobody had to make another one");
        }));
        assert_eq!(log.tend(), Tended::Something);
        assert!(meanwhile.reading.lock().unwrap().is_none(), "it was read");
    }
    tend_all(&log);
    assert_eq!((ids(&disk), disk.used()), (vec![1, 2], 3 * SEGMENT as u64));
    assert!(!log.stats().off);
}

#[test]
fn a_segment_that_is_being_made_when_the_log_is_closed_does_not_stay() {
    for with_active in [false, true] {
        let disk = SimDisk::new(1);
        let (meanwhile, log) = Meanwhile::log(&disk);
        if with_active {
            let slot = log.append(&mut frame_of(1, b"x")).unwrap();
            log.settle(slot);
        }
        let closed = Arc::clone(&log);
        *meanwhile.making.lock().unwrap() = Some(Box::new(move || closed.close()));
        tend_all(&log);
        assert_eq!(disk.used(), 0, "with an active one: {with_active}");
    }
}

#[test]
fn who_has_no_room_while_a_segment_is_being_made_waits_for_that_one() {
    let disk = SimDisk::new(1);
    let (meanwhile, log) = Meanwhile::log(&disk);
    let append = |log: &Log, id| log.append(&mut frame_of(id, &[7; 1_900]));
    // Two to a segment: three of the four that there is room for.
    assert!((0..6).all(|id| append(&log, id).is_ok()));
    let (writer, waiting) = (Arc::clone(&log), Arc::new(Mutex::new(None)));
    let begun = Arc::clone(&waiting);
    *meanwhile.making.lock().unwrap() = Some(Box::new(move || {
        let write = move || [6, 7, 8].map(|id| append(&writer, id).map(|slot| slot.segment));
        *begun.lock().unwrap() = Some(std::thread::spawn(write));
        // Long enough for it to come to the point where it would make one of its own.
        std::thread::park_timeout(Duration::from_millis(50));
    }));
    tend_all(&log);
    let written = waiting.lock().unwrap().take().unwrap().join().unwrap();
    assert_eq!(written, [Ok(4), Ok(4), Err(Refusal::Full)]);
    assert_eq!(disk.used(), 4 * SEGMENT as u64);
}

#[test]
fn the_keeper_makes_none_for_which_the_last_room_was_taken_since_it_decided_to() {
    let disk = SimDisk::new(1);
    let (_, log) = Meanwhile::log(&disk);
    // One to a segment, and room for four.
    assert!((0..4).all(|id| log.append(&mut frame_of(id, &[7; 2_500])).is_ok()));
    log.prepare();
    assert_eq!(disk.used(), 4 * SEGMENT as u64);
}

#[test]
fn nobody_else_waits_while_a_thread_makes_the_segment_that_it_needs() {
    let disk = SimDisk::new(1);
    let (meanwhile, log) = Meanwhile::log(&disk);
    let [first, second] = [1, 2].map(|id| log.append(&mut frame_of(id, &[7; 1_900])).unwrap());
    let (worker, free) = (Arc::clone(&log), Arc::new(Mutex::new(false)));
    let was_free = Arc::clone(&free);
    *meanwhile.making.lock().unwrap() = Some(Box::new(move || {
        *was_free.lock().unwrap() = worker.state.try_lock().is_ok();
        if *was_free.lock().unwrap() {
            worker.settle(first);
        }
    }));
    let third = log.append(&mut frame_of(3, &[7; 1_900])).unwrap();
    assert!(
        *free.lock().unwrap(),
        "what is settled meanwhile, by the worker, would wait for the disk"
    );
    assert_eq!((second.segment, third.segment, log.stats().records), (1, 2, 2));
}

#[test]
fn what_is_durable_already_needs_no_other_sync_and_what_is_being_synced_is_not_yet() {
    let disk = SimDisk::new(1);
    let (meanwhile, log) = Meanwhile::log(&disk);
    assert!(is_durable(&log), "there is nothing");
    tend_all(&log);
    // The names of the segments that were made.
    assert!(!is_durable(&log));
    tend_all(&log);
    let begun = log.lock().rounds_started;
    assert!(is_durable(&log));
    assert_eq!(log.tend(), Tended::Nothing(None), "nobody has to sync for that");

    log.append(&mut frame_of(1, b"x")).unwrap();
    assert!(!is_durable(&log), "it was written just now");
    make_name(&log);
    let (asked, seen) = (Arc::clone(&log), Arc::new(Mutex::new(None)));
    let saw = Arc::clone(&seen);
    let ask = move || *saw.lock().unwrap() = Some(is_durable(&asked));
    *meanwhile.syncing.lock().unwrap() = Some(Box::new(ask));
    tend_all(&log);
    assert_eq!(*seen.lock().unwrap(), Some(false), "its sync had only begun");
    assert!(is_durable(&log));
    // Whoever asked in between waits for a round of their own.
    assert_eq!(log.lock().rounds_started, begun + 2);
}

#[test]
fn what_is_written_while_a_sync_is_under_way_waits_for_the_next_one() {
    let disk = SimDisk::new(1);
    let (meanwhile, log) = Meanwhile::log(&disk);
    tend_all(&log);
    log.append(&mut frame_of(1, b"before")).unwrap();
    make_name(&log);
    let before = log.sync_soon();
    let (writer, seen) = (Arc::clone(&log), Arc::new(Mutex::new(None)));
    let saw = Arc::clone(&seen);
    let write = move || {
        writer.append(&mut frame_of(2, b"meanwhile")).unwrap();
        *saw.lock().unwrap() = Some(writer.sync_soon());
    };
    *meanwhile.syncing.lock().unwrap() = Some(Box::new(write));
    assert_eq!(log.tend(), Tended::Something);
    let written_meanwhile = seen.lock().unwrap().unwrap();
    assert_eq!((is_done(&log, before), is_done(&log, written_meanwhile)), (true, false));
    tend_all(&log);
    assert!(is_done(&log, written_meanwhile));
}

#[test]
fn whoever_wants_a_sync_wakes_the_keeper() {
    let place = (DIRECTORY.into(), EPOCH);
    let log = Log::new(Arc::new(SimDisk::new(1)), place, limits(4), Clock::default());
    log.expect_keeper();
    std::thread::scope(|scope| {
        let keeper = scope.spawn(|| log.keep());
        // It sleeps again as soon as it has nothing to do, mostly before the next one asks.
        let woken = (0..50).all(|_| {
            make_name(&log);
            log.wait_synced(log.sync_soon(), Duration::from_secs(10))
        });
        log.close();
        keeper.join().unwrap();
        assert!(woken);
    });
}

#[test]
fn a_segment_goes_when_its_last_record_is_settled_and_not_before() {
    let disk = SimDisk::new(1);
    let log = log_on(&disk, limits(8), &ManualClock::new());
    let slots: Vec<Slot> =
        (0..6).map(|id| log.append(&mut frame_of(id, &[7; 1_900])).unwrap()).collect();
    tend_all(&log);
    // Two to a segment, and one made ahead.
    assert_eq!(disk.used(), 4 * SEGMENT as u64);
    log.settle(slots[0]);
    tend_all(&log);
    assert_eq!(ids(&disk), (0..6).collect::<Vec<_>>());
    log.settle(slots[1]);
    tend_all(&log);
    assert_eq!(ids(&disk), (2..6).collect::<Vec<_>>());
    assert_eq!(log.stats().records, 4);
    // The active one stays, whatever is settled.
    slots[2..].iter().for_each(|slot| log.settle(*slot));
    tend_all(&log);
    assert_eq!(ids(&disk), [4, 5]);
    assert_eq!(log.stats().records, 0);
}

#[test]
fn a_segment_that_has_long_held_nothing_that_is_needed_is_given_up() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(8), &clock);
    let slot = log.append(&mut frame_of(1, b"x")).unwrap();
    log.settle(slot);
    tend_all(&log);
    assert_eq!(ids(&disk), [1]);
    clock.advance(Duration::from_secs(61));
    tend_all(&log);
    assert!(ids(&disk).is_empty());
    assert!(log.append(&mut frame_of(2, b"x")).is_ok());
}

#[test]
fn the_newest_record_is_refused_when_the_budget_is_used_up_and_settling_makes_room() {
    const BUDGET: u64 = 3;
    let disk = SimDisk::new(1);
    let log = log_on(&disk, limits(BUDGET), &ManualClock::new());
    let mut slots = Vec::new();
    let mut refused = 0;
    for id in 0..30 {
        match log.append(&mut frame_of(id, &[7; 1_900])) {
            Ok(slot) => slots.push(slot),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Full);
                refused += 1;
            }
        }
        tend_all(&log);
        assert!(disk.used() <= BUDGET * SEGMENT as u64);
    }
    assert_eq!((slots.len(), refused), (6, 24));
    assert_eq!(ids(&disk), (0..6).collect::<Vec<_>>(), "the first ones are kept");
    slots[..2].iter().for_each(|slot| log.settle(*slot));
    tend_all(&log);
    assert!(log.append(&mut frame_of(99, b"room")).is_ok());
}

#[test]
fn a_record_larger_than_a_frame_is_refused_as_such() {
    let disk = SimDisk::new(1);
    let limits = LogLimits { segment: SEGMENT_BYTES, bytes: u64::MAX, ..limits(1) };
    let log = log_on(&disk, limits, &ManualClock::new());
    assert_eq!(log.append(&mut vec![1; frame::FRAME_MAX + 8]), Err(Refusal::TooLarge));
}

#[test]
fn written_records_are_synced_when_they_are_100_ms_old_and_one_sync_does_for_all() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(8), &clock);
    for id in 0..5 {
        log.append(&mut frame_of(id, b"x")).unwrap();
    }
    tend_all(&log);
    disk.reboot();
    assert!(ids(&disk).len() < 5, "nothing was synced yet");

    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(8), &clock);
    for id in 0..5 {
        log.append(&mut frame_of(id, b"x")).unwrap();
    }
    clock.advance(Duration::from_millis(100));
    tend_all(&log);
    disk.reboot();
    assert_eq!(ids(&disk).len(), 5);
}

#[test]
fn with_never_only_those_who_ask_are_synced() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, LogLimits { fsync: Fsync::Never, ..limits(8) }, &clock);
    log.append(&mut frame_of(1, &[1; 500])).unwrap();
    clock.advance(Duration::from_secs(10));
    tend_all(&log);
    assert!(is_durable(&log));
    disk.reboot();
    assert_eq!(ids(&disk), [1]);
}

#[test]
fn however_much_waits_for_the_store_few_files_are_open_and_few_segments_unsynced() {
    /// Two to a segment.
    const RECORDS: u128 = 200;
    for fsync in [Fsync::Interval, Fsync::Always, Fsync::Never] {
        let (disk, clock) = (SimDisk::new(1), ManualClock::new());
        let log = log_on(&disk, LogLimits { fsync, ..limits(1_000) }, &clock);
        log.expect_keeper();
        let (mut open, mut unsynced) = (0, 0);
        for id in 0..RECORDS {
            log.append(&mut frame_of(id, &[7; 1_900])).unwrap();
            clock.advance(Duration::from_millis(50));
            tend_all(&log);
            open = disk.open_now().max(open);
            unsynced = log.lock().unsynced.segments.len().max(unsynced);
        }
        assert!(open <= 12 && unsynced <= 10, "{fsync:?}: {open} open, {unsynced} unsynced");
        assert!(!log.stats().off);
        assert_eq!(log.stats().records as u128, RECORDS);
    }
}

#[test]
fn a_segment_that_is_gone_is_not_waited_for_by_a_sync() {
    let disk = SimDisk::new(1);
    let limits = LogLimits { fsync: Fsync::Never, ..limits(8) };
    let log = log_on(&disk, limits, &ManualClock::new());
    log.expect_keeper();
    for id in 0..100 {
        let slot = log.append(&mut frame_of(id, &[7; 1_900])).unwrap();
        log.settle(slot);
        tend_all(&log);
        assert!(log.lock().unsynced.segments.len() <= 2, "{id}");
    }
    assert_eq!(log.lock().rounds_started, 0, "and nobody asked for one");
}

#[test]
fn records_of_many_threads_are_all_there_and_none_twice() {
    let disk = SimDisk::new(1);
    let limits = LogLimits { segment: 64 << 10, bytes: u64::MAX, ..limits(1) };
    let log = log_on(&disk, limits, &ManualClock::new());
    log.expect_keeper();
    std::thread::scope(|scope| {
        let keeper = scope.spawn(|| log.keep());
        let writers: Vec<_> = (0..4)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    for at in 0..200 {
                        let id = thread * 1_000 + at;
                        log.append(&mut frame_of(id, &[9; 700])).unwrap();
                        if at % 50 == 0 {
                            let round = log.sync_soon();
                            assert!(log.wait_synced(round, Duration::from_secs(60)));
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        log.close();
        keeper.join().unwrap();
    });
    let mut found = ids(&disk);
    found.sort_unstable();
    let all: Vec<u128> =
        (0..4).flat_map(|thread| (0..200).map(move |at| thread * 1_000 + at)).collect();
    assert_eq!(found, all);
}
