//! What becomes of the spool of a dead process when its disk fails, or its heir is short of descriptors.

mod heirs;

use std::{
    io,
    ops::Range,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use super::{
    super::super::{
        disk::{DiskDir, DiskFile},
        held::LOOKS_MAX,
        sim::{Chance, in_soak},
    },
    *,
};

/// A segment has 64 pages of 4 KiB.
const LARGE: LogLimits = LogLimits { bytes: 64 << 20, segment: 256 << 10, fsync: Fsync::Never };

const PAGE: u64 = 4_096;

/// The disk of this machine, which fails as a test says.
#[derive(Clone, Debug, Default)]
struct Faulty(Arc<Mutex<Faults>>);

#[derive(Debug, Default)]
struct Faults {
    /// Reads that touch these places of files fail, whatever names those have.
    bad: Vec<(u64, Range<u64>)>,
    /// How many of a hundred other reads fail.
    flaky: Option<(Chance, u64)>,
    /// This file cannot be opened, for want of a descriptor.
    short_of: Option<PathBuf>,
    /// The same, of the one that is opened after so many.
    short_after: Option<u64>,
    /// Nothing more is changed after so many changes.
    changes_left: Option<u64>,
    /// Reads so far.
    reads: u64,
    /// The process that looks is to end after so many of them.
    leaves_at: Option<(u64, Arc<Log>)>,
}

impl Faulty {
    fn set(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap()
    }

    fn changes(&self) -> io::Result<()> {
        match &mut self.set().changes_left {
            Some(0) => Err(io::Error::other("nothing can be changed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn wraps(&self, file: Arc<dyn DiskFile>, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { file, inode: inode_of(path), disk: self.clone() })
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    inode: u64,
    disk: Faulty,
}

fn inode_of(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

impl DiskFile for FaultyFile {
    fn pwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.changes()?;
        self.file.pwrite(bytes, offset)
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.disk.changes()?;
        self.file.fdatasync()
    }

    fn pread(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut faults = self.disk.set();
        faults.reads += 1;
        if let Some((at, log)) = &faults.leaves_at
            && *at == faults.reads
        {
            log.stop_looks();
        }
        let end = offset + bytes.len() as u64;
        let mut bad = faults.bad.iter();
        let is_bad = bad
            .any(|(inode, place)| *inode == self.inode && place.start < end && offset < place.end);
        let flaky = faults.flaky.as_mut();
        if is_bad || flaky.is_some_and(|(chance, percent)| chance.percent(*percent)) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        drop(faults);
        self.file.pread(bytes, offset)
    }
}

impl Disk for Faulty {
    fn create_reserved(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.changes()?;
        Ok(self.wraps(RealDisk.create_reserved(path, bytes)?, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut faults = self.set();
        let is_short = match &mut faults.short_after {
            Some(0) => {
                faults.short_after = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => faults.short_of.as_deref() == Some(path),
        };
        drop(faults);
        if is_short {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Ok(self.wraps(RealDisk.open(path)?, path))
    }

    fn list(&self, directory: &Path, most: usize) -> io::Result<Vec<String>> {
        RealDisk.list(directory, most)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changes()?;
        RealDisk.rename(from, to)
    }

    fn link(&self, path: &Path, also: &Path) -> io::Result<()> {
        self.changes()?;
        RealDisk.link(path, also)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.changes()?;
        RealDisk.unlink(path)
    }

    fn open_dir(&self, directory: &Path) -> io::Result<Arc<dyn DiskDir>> {
        self.changes()?;
        RealDisk.open_dir(directory)
    }
}

/// A spool's folder, a disk, and the directory of a process that died with so many errors in its spool.
struct Left {
    root: tempfile::TempDir,
    disk: Faulty,
    directory: PathBuf,
}

impl Left {
    fn with(errors: u64, limits: LogLimits) -> Self {
        Self::partly_settled(0, errors, limits)
    }

    /// The first ones were rows when it died; their segments are there for as long as others are.
    fn partly_settled(settled: u64, errors: u64, limits: LogLimits) -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk = Faulty::default();
        let first = Uuid::from_u128(1);
        let dead =
            Life::begin_with(Arc::new(disk.clone()), limits, &root.path().join("spool"), first);
        dead.fail_and(settled, Ticket::persisted);
        dead.fail(errors);
        Self { root, disk, directory: dead.home.directory }
    }

    fn life(&self, epoch: u128, limits: LogLimits) -> Life {
        let disk = Arc::new(self.disk.clone());
        Life::begin_with(disk, limits, &self.root.path().join("spool"), Uuid::from_u128(epoch))
    }

    fn segment(&self, number: u64) -> PathBuf {
        path_of(&self.directory, number)
    }

    /// How many records touch these pages, each of which is bad from now on.
    fn spoil(&self, number: u64, pages: &[u64]) -> u64 {
        let path = self.segment(number);
        let places: Vec<_> = pages.iter().map(|page| page * PAGE..(page + 1) * PAGE).collect();
        let bytes = fs::read(&path).unwrap();
        let touched = |(at, frame): &(usize, frame::Frame<'_>)| {
            let (start, end) = (*at as u64, (at + frame.bytes) as u64);
            places.iter().any(|place| place.start < end && start < place.end)
        };
        let scan = Scan::new(&bytes, Seed::new(Uuid::from_u128(1), number));
        let lost = scan.filter(touched).count() as u64;
        self.disk.set().bad.extend(places.into_iter().map(|place| (inode_of(&path), place)));
        lost
    }

    fn set_aside(&self) -> usize {
        let folder = fs::read_dir(self.root.path().join("spool/bad"));
        folder.map_or(0, |folder| folder.count())
    }
}

impl Life {
    /// Takes over whatever it finds in so many looks, which a store takes at once.
    fn takes_over_in(&self, looks: u32, held: &mut Held) {
        for _ in 0..looks {
            self.takes_over(&mut self.looks(held));
        }
    }

    fn takes_over_and(&self, orphans: &mut Orphans, then: impl Fn(Adopted)) {
        while !orphans.is_empty() {
            orphans.adopt_next(&self.test.adopter()).into_iter().for_each(&then);
        }
    }

    fn crashed(&self) -> u64 {
        self.error().dropped.of(DropReason::Crash)
    }
}

#[test]
fn what_can_be_read_of_a_segment_becomes_rows_and_what_cannot_counts_once() {
    // Amid the records, at the beginning, two places, one that is longer than what is read at once.
    for pages in [&[5][..], &[0], &[3, 9], &[2, 3, 4, 5, 6], &[15, 16]] {
        let left = Left::with(600, LARGE);
        let lost = left.spoil(1, pages);
        assert!(lost > 0 && lost < 200, "{lost}");
        let life = left.life(2, LARGE);
        let mut held = Held::default();
        for look in 1..LOOKS_MAX {
            life.takes_over(&mut life.looks(&mut held));
            assert_eq!((life.error().adopted, left.set_aside()), (0, 0), "{pages:?}, look {look}");
        }
        life.takes_over_in(3, &mut held);
        let error = life.error();
        assert_eq!((error.persisted, life.crashed()), (600 - lost, lost), "{pages:?}");
        assert_eq!((error.adopted, error.spooled), (600, 0));
        // The file itself, and what was read of it.
        assert!(!left.directory.exists() && left.set_aside() == 2, "{pages:?}");
    }
}

#[test]
fn what_becomes_unreadable_once_its_page_was_entered_counts_once_by_whoever_finds_it() {
    for places in [&[7][..], &[2, 3, 9], &(0..64).collect::<Vec<_>>()] {
        let left = Left::with(600, LARGE);
        let heir = left.life(2, LARGE);
        let mut orphans = heir.finds(Uuid::from_u128(2));
        heir.takes_over_and(&mut orphans, |(ticket, _)| ticket.stays());
        assert_eq!((heir.error().spooled, heir.crashed()), (600, 0));
        drop((orphans, heir));
        let lost = left.spoil(1, places);
        let stretches = if places.len() == 3 { 2 } else { 1 };

        let (mut rows, mut crashed) = (0, 0);
        for epoch in 3..6 {
            let life = left.life(epoch, LARGE);
            let mut held = Held::default();
            for _ in 0..2 * LOOKS_MAX {
                let mut orphans = life.looks(&mut held);
                if epoch < 5 {
                    // It dies before the store has any.
                    life.takes_over_and(&mut orphans, |(ticket, _)| ticket.stays());
                } else {
                    life.takes_over(&mut orphans);
                }
            }
            rows += life.error().persisted;
            crashed += life.crashed();
        }
        assert_eq!((rows, crashed), (600 - lost, stretches), "{places:?}");
    }
}

#[test]
fn a_segment_of_which_nothing_can_be_read_is_missed_beside_records_that_were_settled() {
    for is_directory in [false, true] {
        let left = Left::partly_settled(900, 1_100, LARGE);
        let last = segments(&left.directory) as u64;
        let lost = left.spoil(last, &(0..64).collect::<Vec<_>>());
        assert!(lost > 100, "{lost}");
        if is_directory {
            fs::remove_file(left.segment(last)).unwrap();
            fs::create_dir(left.segment(last)).unwrap();
        }
        let life = left.life(2, LARGE);
        life.takes_over_in(LOOKS_MAX + 2, &mut Held::default());
        // How many of those that are left were settled is not known.
        assert_eq!((life.error().persisted, life.crashed()), (2_000 - lost, 1));
        assert!(!left.directory.exists() && left.set_aside() == 1);
    }
}

#[test]
fn what_a_segment_lost_is_counted_if_its_page_will_not_tell() {
    let noise = vec![7; ledger::PAGE_WORDS * size_of::<u64>()];
    let blank = vec![0; noise.len()];
    let pages =
        [("blank", Some(blank)), ("noise", Some(noise)), ("empty", Some(vec![])), ("bad", None)];
    for (name, says) in &pages {
        for looks_before in [0, 1, LOOKS_MAX - 1] {
            let left = Left::with(600, LARGE);
            let lost = left.spoil(1, &[5]);
            let life = left.life(2, LARGE);
            let mut held = Held::default();
            life.takes_over_in(looks_before, &mut held);
            let page = left.directory.join(LEDGER_PAGE);
            fs::remove_file(&page).unwrap();
            match says {
                // As after a loss of power.
                Some(says) => fs::write(&page, says).unwrap(),
                None => fs::create_dir(&page).unwrap(),
            }
            private(&page);
            life.takes_over_in(2 * LOOKS_MAX, &mut held);
            let counts = (life.error().persisted, life.crashed());
            assert_eq!(counts, (600 - lost, 1), "{name} after {looks_before} looks");
        }
    }
}

#[test]
fn a_page_that_cannot_be_read_for_a_moment_tells_later_what_a_segment_lost() {
    let left = Left::with(600, LARGE);
    let lost = left.spoil(1, &[5]);
    let life = left.life(2, LARGE);
    let mut held = Held::default();
    life.takes_over_in(LOOKS_MAX - 1, &mut held);
    let (page, kept) = (left.directory.join(LEDGER_PAGE), left.root.path().join("kept"));
    fs::rename(&page, &kept).unwrap();
    fs::create_dir(&page).unwrap();
    life.takes_over_in(1, &mut held);
    assert_eq!((life.error().adopted, left.set_aside()), (0, 0));
    fs::remove_dir(&page).unwrap();
    fs::rename(&kept, &page).unwrap();
    life.takes_over_in(2, &mut held);
    assert_eq!((life.error().persisted, life.crashed()), (600 - lost, lost));
}

#[test]
fn a_disk_that_fails_for_a_while_costs_nothing_whatever_it_failed_at_before() {
    let left = Left::with(2_000, LARGE);
    let life = left.life(2, LARGE);
    let mut held = Held::default();
    let lost = left.spoil(1, &[7]);
    life.takes_over_in(LOOKS_MAX - 1, &mut held);
    // All of it, when it would be given up; then another file.
    let once = left.disk.set().bad.clone();
    for (number, pages, set_aside) in [(1, 0..64, 0), (2, 3..5, 0), (2, 20..22, 1)] {
        left.spoil(number, &pages.collect::<Vec<_>>());
        life.takes_over_in(1, &mut held);
        assert_eq!((life.error().adopted, left.set_aside()), (0, set_aside));
        left.disk.set().bad.clone_from(&once);
    }
    life.takes_over_in(3, &mut held);
    assert_eq!((life.error().persisted, life.crashed()), (2_000 - lost, lost));
}

#[test]
fn a_disk_that_fails_now_and_then_costs_nothing_but_what_it_never_gives_back() {
    for seed in 0..u64::from(in_soak(4, 40)) {
        let left = Left::with(2_000, LARGE);
        let lost = left.spoil(2, &[4]);
        left.disk.set().flaky = Some((Chance::new(seed), 1 + seed % 3));
        let life = left.life(2, LARGE);
        let mut held = Held::default();
        life.takes_over_in(20, &mut held);
        left.disk.set().flaky = None;
        life.takes_over_in(2 * LOOKS_MAX, &mut held);
        assert_eq!((life.error().persisted, life.crashed()), (2_000 - lost, lost), "seed {seed}");
    }
}

#[test]
fn a_bad_place_where_nothing_was_written_costs_nothing() {
    let left = Left::with(100, LARGE);
    assert_eq!(left.spoil(1, &[40, 50, 63]), 0);
    let life = left.life(2, LARGE);
    life.takes_over_in(LOOKS_MAX, &mut Held::default());
    assert_eq!((life.error().persisted, life.crashed()), (100, 0));
}

#[test]
fn wherever_a_file_that_cannot_be_read_stops_being_replaced_it_is_replaced_later() {
    for has_page in [true, false] {
        for changes in 0.. {
            let left = Left::with(300, LARGE);
            let lost = left.spoil(1, &[7]);
            if !has_page {
                fs::remove_file(left.directory.join(LEDGER_PAGE)).unwrap();
            }
            let life = left.life(2, LARGE);
            let mut held = Held::default();
            left.disk.set().changes_left = Some(changes);
            for _ in 0..LOOKS_MAX {
                life.takes_over_and(&mut life.looks(&mut held), |(ticket, _)| ticket.stays());
            }
            let is_done = left.disk.set().changes_left.take() > Some(0);
            // It dies before the store has any, and another one goes on.
            let before = life.crashed();
            drop(life);
            let life = left.life(3, LARGE);
            life.takes_over_in(LOOKS_MAX + 1, &mut Held::default());
            let (rows, crashed) = (life.error().persisted, before + life.crashed());
            let expected = if has_page { lost } else { 1 };
            assert_eq!((rows, crashed), (300 - lost, expected), "{changes} changes, {has_page}");
            if is_done {
                assert!(changes > 5, "{changes}");
                break;
            }
        }
    }
}

/// Its errors, in three segments and on three pages, and a run that it died with.
fn left_with_a_run() -> Left {
    let left = Left::with(0, LIMITS);
    let dead = left.life(7, LIMITS);
    dead.fail(60);
    let (ticket, _) = dead.kept();
    let strategy = dead.test.obs().kind("dsl").strategy("bonus").version("1").build().unwrap();
    killed_with((strategy.start(), ticket));
    assert!(segments(&dead.home.directory) >= 3);
    Left { directory: dead.home.directory, ..left }
}

#[test]
fn a_process_that_has_no_descriptor_for_a_moment_counts_nothing_as_lost_that_is_there() {
    for opens in 0.. {
        let left = left_with_a_run();
        let life = left.life(8, LIMITS);
        let mut held = Held::default();
        left.disk.set().short_after = Some(opens);
        life.takes_over_in(1, &mut held);
        let is_done = left.disk.set().short_after.take().is_some();
        life.takes_over_in(3, &mut held);
        // 60 errors and a lost run.
        assert_eq!((life.error().persisted, life.crashed()), (61, 0), "after {opens} files");
        assert_eq!((life.error().adopted, life.test.obs().ledger().ok.adopted), (61, 1));
        assert!(!left.directory.exists(), "after {opens} files");
        if is_done {
            assert!(opens >= 6, "{opens}");
            break;
        }
    }
}

#[test]
fn a_file_that_could_not_be_opened_for_want_of_a_descriptor_is_not_given_up() {
    for opens in 0..4 {
        let left = Left::with(300, LARGE);
        let lost = left.spoil(1, &[7]);
        let life = left.life(2, LARGE);
        let mut held = Held::default();
        life.takes_over_in(LOOKS_MAX - 2, &mut held);
        for _ in 0..3 {
            left.disk.set().short_after = Some(opens);
            life.takes_over_in(1, &mut held);
        }
        left.disk.set().short_after = None;
        life.takes_over_in(3, &mut held);
        assert_eq!((life.error().persisted, life.crashed()), (300 - lost, lost), "after {opens}");
    }
}

#[test]
fn a_page_that_cannot_be_read_since_it_was_looked_at_keeps_all_of_its_process_for_later() {
    for (name, _) in PAGES {
        let left = left_with_a_run();
        let life = left.life(8, LIMITS);
        let mut orphans = life.finds(Uuid::from_u128(8));
        let (page, kept) = (left.directory.join(name), left.root.path().join("kept"));
        fs::rename(&page, &kept).unwrap();
        fs::create_dir(&page).unwrap();
        life.takes_over(&mut orphans);
        drop(orphans);
        assert_eq!((life.error().adopted, segments(&left.directory) >= 3), (0, true), "{name}");
        fs::remove_dir(&page).unwrap();
        fs::rename(&kept, &page).unwrap();
        life.takes_over_in(1, &mut Held::default());
        let ledger = life.test.obs().ledger();
        assert_eq!((ledger.error.persisted, ledger.error.dropped.total()), (61, 0), "{name}");
        assert_eq!(ledger.ok.dropped.of(DropReason::Crash), 1, "{name}");
        assert!(!left.directory.exists(), "{name}");
    }
}

#[test]
fn a_segment_that_somebody_removes_between_the_look_and_the_taking_over_is_counted() {
    let left = Left::with(60, LIMITS);
    let life = left.life(2, LIMITS);
    let mut orphans = life.finds(Uuid::from_u128(2));
    fs::remove_file(left.segment(1)).unwrap();
    life.takes_over(&mut orphans);
    let error = life.error();
    assert!(life.crashed() > 10 && error.persisted + life.crashed() == 60, "{error}");
}

#[test]
fn runs_that_a_process_died_with_wait_until_there_is_room_for_all_of_them() {
    let left = left_with_a_run();
    let life = left.life(8, LIMITS);
    left.disk.set().changes_left = Some(0);
    life.takes_over(&mut life.finds(Uuid::from_u128(8)));
    assert_eq!((life.error().persisted, life.error().dropped.total()), (60, 0));
    assert!(left.directory.join(RUNS_PAGE).exists());
    drop(life);
    left.disk.set().changes_left = None;
    let life = left.life(9, LIMITS);
    life.takes_over_in(1, &mut Held::default());
    assert_eq!(life.error().dropped.total(), 0);
    assert!(!left.directory.exists());
}

#[test]
fn a_process_without_descriptors_takes_no_file_of_a_dead_one_for_unreadable() {
    let left = Left::with(120, LIMITS);
    let last = segments(&left.directory) as u64;
    assert!(last > 2, "{last} segments");
    // One cannot be read by anybody.
    let unreadable = left.segment(1);
    fs::remove_file(&unreadable).unwrap();
    fs::create_dir(&unreadable).unwrap();
    let life = left.life(2, LIMITS);
    let mut held = Held::default();
    left.disk.set().short_of = Some(left.segment(last));
    for look in 0..2 * LOOKS_MAX {
        assert!(life.looks(&mut held).is_empty(), "look {look}");
    }
    left.disk.set().short_of = None;
    for look in 1..LOOKS_MAX {
        assert!(life.looks(&mut held).is_empty(), "look {look} at the other one");
    }
    life.takes_over_in(1, &mut held);
    let error = life.error();
    assert_eq!(error.persisted + life.crashed(), 120, "{error}");
    assert!(error.persisted > 60 && error.adopted == 120, "{error}");
}
