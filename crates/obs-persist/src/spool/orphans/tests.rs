use std::{collections::BTreeSet, sync::atomic::Ordering};

use obs_core::{
    DropReason, Page, RunRecord, Status, ledger,
    testing::{TestObs, record},
};

#[cfg(unix)]
mod faults;

use super::{
    super::{
        MappedPage,
        adopt::{BATCH_PAGE, Home, LEDGER_PAGE, PAGES},
        disk::{Disk, RealDisk},
        keeper::Tended,
        log::{Fsync, LogLimits},
        recover::Scan,
        under_way::{self, Mark, UnderWay},
    },
    *,
};
use crate::platform::{Origin, Words};

/// Segments are small: a few records fill one.
const LIMITS: LogLimits = LogLimits { bytes: 1 << 20, segment: 4_096, fsync: Fsync::Never };

/// A process of which a kill leaves everything: dropping it changes no file.
struct Life {
    test: TestObs,
    log: Arc<Log>,
    home: Home,
    batch: Arc<dyn Page>,
    under_way: UnderWay,
}

impl Life {
    fn begin(root: &Path, epoch: Uuid) -> Self {
        Self::begin_on(Arc::new(RealDisk), root, epoch)
    }

    fn begin_on(disk: Arc<dyn Disk>, root: &Path, epoch: Uuid) -> Self {
        Self::begin_with(disk, LIMITS, root, epoch)
    }

    fn begin_with(disk: Arc<dyn Disk>, limits: LogLimits, root: &Path, epoch: Uuid) -> Self {
        let home = Home::make(root, Origin::Given, epoch).unwrap();
        let place = (home.directory.clone(), epoch);
        let log = Log::new(disk, place, limits, obs_core::Clock::default());
        let page = |name, words| -> Arc<dyn Page> {
            Arc::new(MappedPage(Words::create(&home.directory.join(name), words).unwrap()))
        };
        let counts = page(LEDGER_PAGE, ledger::PAGE_WORDS);
        let runs = page(RUNS_PAGE, in_flight::PAGE_WORDS);
        let test =
            TestObs::with(|builder| builder.ledger_page(counts).in_flight_page(runs)).unwrap();
        let batch = page(BATCH_PAGE, under_way::UNDER_WAY_WORDS);
        let under_way = UnderWay::on(Some(Arc::clone(&batch)));
        Self { test, log: Arc::new(log), home, batch, under_way }
    }

    /// An ok record in memory; its ticket, and what it is called.
    fn kept(&self) -> (Ticket, Uuid) {
        let (record, ticket) = self.test.kept("bonus", "1").into_parts();
        (ticket, record.run_id)
    }

    /// One that is with the store.
    fn sent(&mut self) -> (Ticket, Uuid, Mark) {
        let (ticket, id) = self.kept();
        (ticket, id, self.under_way.note(id, Class::Ok).unwrap())
    }

    fn stores(&self, (at, value): under_way::Step) {
        self.batch.words()[at].store(value, Ordering::Release);
    }

    /// Errors that are in its spool when it dies.
    fn fail(&self, errors: u64) {
        self.fail_and(errors, Ticket::stays);
    }

    /// Errors whose frames are there, and with whose tickets this is done.
    fn fail_and(&self, errors: u64, then: impl Fn(Ticket)) {
        for _ in 0..errors {
            self.fail_with(an_error(), &then);
        }
    }

    fn fail_with(&self, record: RunRecord, then: impl Fn(Ticket)) {
        let mut buffer = Vec::new();
        frame::begin(&mut buffer, frame::FLAG_ERROR, record.run_id);
        codec::encode(&record, &mut buffer).unwrap();
        assert!(frame::finish(&mut buffer));
        self.log.append(&mut buffer).unwrap();
        let (_, mut ticket) = self.test.kept_record(record).into_parts();
        ticket.spooled();
        then(ticket);
    }

    /// Two runs that its page says are open: of one the error is in the spool.
    fn leaves_one_that_failed_and_one_open(&self) {
        let strategy = self.test.obs().kind("dsl").strategy("bonus").version("1").build().unwrap();
        let [mut failed, open] = [strategy.start(), strategy.start()];
        let mut error = an_error();
        error.run_id = failed.id();
        self.fail_with(error, Ticket::stays);
        killed_with([failed, open]);
    }

    /// An error of which the kill leaves half a frame: its ticket does not know of the spool.
    fn fail_half(&self) {
        let record = an_error();
        let mut buffer = Vec::new();
        frame::begin(&mut buffer, frame::FLAG_ERROR, record.run_id);
        codec::encode(&record, &mut buffer).unwrap();
        assert!(frame::finish(&mut buffer));
        let slot = self.log.append(&mut buffer).unwrap();
        let segment = path_of(&self.home.directory, slot.segment);
        let mut bytes = fs::read(&segment).unwrap();
        let end = (slot.offset + slot.bytes) as usize;
        bytes[end - slot.bytes as usize / 2..end].fill(0);
        fs::write(&segment, bytes).unwrap();
        killed_with(self.test.kept_record(record));
    }

    /// All of them, which a store takes at once.
    fn takes_over(&self, orphans: &mut Orphans) {
        while !orphans.is_empty() {
            self.settle(orphans.adopt_next(&self.test.adopter()));
        }
    }

    fn finds(&self, own: Uuid) -> Orphans {
        assert_eq!(own, self.log.epoch);
        self.looks(&mut Held::default())
    }

    fn looks(&self, held: &mut Held) -> Orphans {
        let place = (&*self.home.root, self.log.epoch);
        Orphans::find(place, Arc::clone(&self.log), held, &self.test.adopter())
    }

    /// The store has these.
    fn settle(&self, adopted: Vec<Adopted>) {
        for (ticket, slot) in adopted {
            ticket.persisted();
            self.log.settle(slot);
        }
        while self.log.tend() == Tended::Something {}
    }

    fn error(&self) -> obs_core::ClassLedger {
        let ledger = self.test.obs().ledger();
        assert_eq!(ledger.imbalance(), 0, "{ledger}");
        ledger.error
    }
}

fn an_error() -> RunRecord {
    let mut record = record("bonus", "1");
    record.status = Status::Error;
    record
}

/// Nothing of a killed process is let go of.
fn killed_with<T>(value: T) {
    Box::leak(Box::new(value));
}

fn segments(directory: &Path) -> usize {
    let files = fs::read_dir(directory).unwrap();
    files
        .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "seg"))
        .count()
}

#[test]
fn what_a_process_had_written_of_a_dead_one_does_not_count_as_lost_when_it_is_killed_before_the_rest()
 {
    const ERRORS: u64 = 60;
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let [first, second, third] = [1, 2, 3].map(Uuid::from_u128);
    let dead = Life::begin(&root, first);
    dead.fail(ERRORS);
    let directory = dead.home.directory.clone();
    let before = segments(&directory);
    assert!(before >= 3, "{before} segments");
    drop(dead);

    let heir = Life::begin(&root, second);
    let books = heir.test.adopter();
    let mut orphans = heir.finds(second);
    let mut adopted = Vec::new();
    while adopted.is_empty() {
        adopted = orphans.adopt_next(&books);
    }
    let written = adopted.len() as u64;
    heir.settle(adopted);
    assert!(segments(&directory) < before, "what it wrote is gone");
    assert_eq!((heir.error().adopted, heir.error().dropped.total()), (written, 0));
    drop((orphans, heir));

    let last = Life::begin(&root, third);
    let books = last.test.adopter();
    let mut orphans = last.finds(third);
    while !orphans.is_empty() {
        let adopted = orphans.adopt_next(&books);
        last.settle(adopted);
    }
    let error = last.error();
    assert_eq!(error.dropped.of(DropReason::Crash), 0, "every record was written by one of them");
    assert_eq!((error.adopted, error.persisted), (ERRORS - written, ERRORS - written));
    drop(orphans);
    assert!(!directory.exists());
}

#[test]
fn a_damaged_record_counts_as_lost_also_beside_records_that_were_settled() {
    const SETTLED: u64 = 3;
    for (errors, damaged, lost) in [(2, 0, 0), (2, 1, 1), (2, 2, 2), (0, 1, 0), (1, 2, 1)] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        let dead = Life::begin(&root, Uuid::from_u128(1));
        // They are in the segment for as long as another one is.
        dead.fail_and(SETTLED, Ticket::persisted);
        dead.fail(errors);
        let segment = path_of(&dead.home.directory, 1);
        drop(dead);
        // From the back, every other frame at most: stretches that touch are one.
        let mut bytes = fs::read(&segment).unwrap();
        let scan = Scan::new(&bytes, Seed::new(Uuid::from_u128(1), 1));
        let frames: Vec<usize> = scan.map(|(at, _)| at).collect();
        for at in frames.into_iter().rev().step_by(2).take(damaged) {
            bytes[at + frame::HEADER] ^= 1;
        }
        fs::write(&segment, bytes).unwrap();

        let heir = Life::begin(&root, Uuid::from_u128(2));
        let mut orphans = heir.finds(Uuid::from_u128(2));
        while !orphans.is_empty() {
            let adopted = orphans.adopt_next(&heir.test.adopter());
            heir.settle(adopted);
        }
        let crashed = heir.error().dropped.of(DropReason::Crash);
        assert_eq!(crashed, lost, "{damaged} damaged beside {errors} that were not settled");
    }
}

#[test]
fn a_record_whose_write_was_cut_off_by_the_kill_counts_as_lost_once() {
    for torn in 0..=1 {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        let dead = Life::begin(&root, Uuid::from_u128(1));
        dead.fail(2);
        if torn > 0 {
            dead.fail_half();
        }
        drop(dead);
        let heir = Life::begin(&root, Uuid::from_u128(2));
        let mut orphans = heir.finds(Uuid::from_u128(2));
        while !orphans.is_empty() {
            let adopted = orphans.adopt_next(&heir.test.adopter());
            heir.settle(adopted);
        }
        let error = heir.error();
        assert_eq!((error.adopted, error.persisted), (2 + torn, 2), "{torn} torn");
        assert_eq!(error.dropped.of(DropReason::Crash), torn, "{torn} torn");
    }
}

#[test]
fn a_damaged_record_does_not_pass_for_one_that_died_in_memory() {
    for torn in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        let dead = Life::begin(&root, Uuid::from_u128(1));
        dead.fail_and(3, Ticket::persisted);
        dead.fail(2);
        if torn {
            dead.fail_half();
        } else {
            killed_with(dead.test.kept_record(an_error()));
        }
        let segment = path_of(&dead.home.directory, 1);
        drop(dead);
        let mut bytes = fs::read(&segment).unwrap();
        let mut scan = Scan::new(&bytes, Seed::new(Uuid::from_u128(1), 1));
        let at = scan.nth(3).unwrap().0;
        bytes[at + frame::HEADER] ^= 1;
        fs::write(&segment, bytes).unwrap();

        let heir = Life::begin(&root, Uuid::from_u128(2));
        let mut orphans = heir.finds(Uuid::from_u128(2));
        while !orphans.is_empty() {
            let adopted = orphans.adopt_next(&heir.test.adopter());
            heir.settle(adopted);
        }
        let crashed = heir.error().dropped.of(DropReason::Crash);
        assert_eq!(crashed, 2, "one in memory and one on the disk; its frame was begun: {torn}");
    }
}

#[test]
fn a_process_killed_anywhere_while_it_settles_a_record_leaves_an_exact_count() {
    const STORES: usize = 5;
    for killed_after in 0..=STORES {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        let mut dead = Life::begin(&root, Uuid::from_u128(1));
        // Settled, being settled, sent and no row, waiting.
        let (ticket, first, mark) = dead.sent();
        dead.under_way.persist(Some(mark), Class::Ok, || ticket.persisted());
        let (ticket, second, mark) = dead.sent();
        let others = [dead.sent().0, dead.kept().0];
        let [free, count, done] = under_way::settled(mark, Class::Ok, 2);
        let mut ticket = Some(ticket);
        for store in 0..killed_after {
            match store {
                0 => dead.stores(under_way::settling(mark)),
                1 => ticket.take().into_iter().for_each(Ticket::persisted),
                2 => dead.stores(free),
                3 => dead.stores(count),
                _ => dead.stores(done),
            }
        }
        killed_with((ticket, others));
        drop(dead);

        // The first heir dies before the store has answered: the second one knows as much.
        let heirs = [2, 3].map(|epoch| {
            let epoch = Uuid::from_u128(epoch);
            let life = Life::begin(&root, epoch);
            let mut orphans = life.finds(epoch);
            while !orphans.is_empty() {
                assert!(orphans.adopt_next(&life.test.adopter()).is_empty());
            }
            if epoch.as_u128() == 3 {
                let rows = BTreeSet::from([first, second]);
                let books = life.test.adopter();
                assert!(orphans.ask(&books).is_some(), "the third record is asked about");
                orphans.answered(&Stored::Rows(rows), &books);
                assert!(orphans.is_done());
            }
            let ok = life.test.obs().ledger().ok;
            (ok.dropped.of(DropReason::Crash), ok.persisted)
        });
        let settled = killed_after >= 2;
        assert_eq!(heirs[0], (1, 0), "killed after {killed_after}: what waited is certain");
        assert_eq!(heirs[1], (1, u64::from(!settled)), "killed after {killed_after}");
    }
}

#[test]
fn what_a_process_had_adopted_when_it_was_killed_does_not_count_as_lost() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let [first, second, third] = [1, 2, 3].map(Uuid::from_u128);
    let dead = Life::begin(&root, first);
    dead.fail(5);
    drop(dead);
    let heir = Life::begin(&root, second);
    heir.fail(2);
    let mut orphans = heir.finds(second);
    while !orphans.is_empty() {
        for (ticket, _) in orphans.adopt_next(&heir.test.adopter()) {
            killed_with(ticket);
        }
    }
    assert_eq!(heir.error().spooled, 7, "nothing is written");
    drop((orphans, heir));

    let last = Life::begin(&root, third);
    let mut orphans = last.finds(third);
    while !orphans.is_empty() {
        let adopted = orphans.adopt_next(&last.test.adopter());
        last.settle(adopted);
    }
    let error = last.error();
    assert_eq!(error.dropped.of(DropReason::Crash), 0, "{error}");
    assert_eq!((error.adopted, error.persisted), (7, 7));
}

#[test]
fn the_row_of_a_lost_run_is_missed_if_it_is_not_in_the_spool_that_it_was_written_to() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let [first, second, third] = [1, 2, 3].map(Uuid::from_u128);
    let dead = Life::begin(&root, first);
    let strategy = dead.test.obs().kind("dsl").strategy("bonus").version("1").build().unwrap();
    killed_with(strategy.start());
    drop((strategy, dead));
    let heir = Life::begin(&root, second);
    heir.fail(2);
    let mut orphans = heir.finds(second);
    let adopted = orphans.adopt_next(&heir.test.adopter());
    assert_eq!(adopted.len(), 1, "the lost run");
    let (ticket, slot) = adopted.into_iter().next().unwrap();
    killed_with(ticket);
    let segment = path_of(&heir.home.directory, 1);
    drop((orphans, heir));
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - slot.bytes() / 2] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let last = Life::begin(&root, third);
    let mut orphans = last.finds(third);
    while !orphans.is_empty() {
        let adopted = orphans.adopt_next(&last.test.adopter());
        last.settle(adopted);
    }
    let error = last.error();
    assert_eq!((error.persisted, error.dropped.of(DropReason::Crash)), (2, 1), "{error}");
}

/// As after a loss of power: what is in the segment is on the disk, and the page of the runs is older.
#[test]
fn an_error_is_kept_and_not_taken_for_lost_where_the_page_says_that_its_run_is_still_open() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let dead = Life::begin(&root, first);
    dead.leaves_one_that_failed_and_one_open();
    drop(dead);

    let heir = Life::begin(&root, second);
    let mut orphans = heir.finds(second);
    let lost = orphans.adopt_next(&heir.test.adopter());
    assert_eq!(lost.len(), 1, "the other one");
    heir.settle(lost);
    let kept = orphans.adopt_next(&heir.test.adopter());
    assert_eq!(kept.len(), 1);
    heir.settle(kept);
    assert!(orphans.is_done());
    assert_eq!((heir.error().adopted, heir.error().dropped.of(DropReason::Crash)), (2, 0));
}

#[test]
fn pages_of_noise_do_not_stay() {
    for noise in [vec![], vec![7; 5], vec![0; 4 << 20], vec![9; 4 << 20]] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        let directory = Home::make(&root, Origin::Given, Uuid::from_u128(1)).unwrap().directory;
        for (name, _) in PAGES {
            fs::write(directory.join(name), &noise).unwrap();
            private(&directory.join(name));
        }
        let life = Life::begin(&root, Uuid::from_u128(2));
        let mut orphans = life.finds(Uuid::from_u128(2));
        while !orphans.is_empty() {
            assert!(orphans.adopt_next(&life.test.adopter()).is_empty());
        }
        assert!(orphans.is_done(), "nothing is asked");
        drop(orphans);
        assert!(!directory.exists(), "{} bytes", noise.len());
        assert_eq!(life.error().adopted, 0);
    }
}

#[test]
fn a_page_that_cannot_be_read_is_looked_at_again_and_then_set_aside() {
    for name in [LEDGER_PAGE, BATCH_PAGE, RUNS_PAGE] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        let dead = Life::begin(&root, Uuid::from_u128(1));
        dead.fail(3);
        let directory = dead.home.directory.clone();
        drop(dead);
        // A directory opens and cannot be read.
        let _ = fs::remove_file(directory.join(name));
        fs::create_dir(directory.join(name)).unwrap();
        let life = Life::begin(&root, Uuid::from_u128(2));
        let mut held = Held::default();
        let mut find = || life.looks(&mut held);
        for look in 1..super::super::held::LOOKS_MAX {
            assert!(find().is_empty(), "{name}, look {look}");
            assert!(directory.join(name).exists());
        }
        let mut orphans = find();
        life.takes_over(&mut orphans);
        drop(orphans);
        assert!(!directory.exists(), "{name} keeps nothing there");
        assert_eq!((life.error().adopted, life.error().dropped.total()), (3, 0), "{name}");
    }
}

#[test]
fn what_cannot_be_set_aside_stays_with_all_that_is_beside_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let dead = Life::begin(&root, Uuid::from_u128(1));
    dead.fail(3);
    let directory = dead.home.directory.clone();
    drop(dead);
    fs::remove_file(directory.join(LEDGER_PAGE)).unwrap();
    fs::create_dir(directory.join(LEDGER_PAGE)).unwrap();
    let life = Life::begin(&root, Uuid::from_u128(2));
    fs::write(root.join("bad"), "no folder").unwrap();
    let mut held = Held::default();
    let mut find = || life.looks(&mut held);
    for look in 0..2 * super::super::held::LOOKS_MAX {
        assert!(find().is_empty() && directory.join(LEDGER_PAGE).exists(), "look {look}");
    }
    fs::remove_file(root.join("bad")).unwrap();
    let mut orphans = find();
    life.takes_over(&mut orphans);
    assert_eq!((life.error().adopted, life.error().dropped.total()), (3, 0));
}

#[cfg(unix)]
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn private(_path: &Path) {}
