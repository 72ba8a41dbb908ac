use obs_core::{
    DropReason, Page, Status, ledger,
    testing::{TestObs, record},
};

use super::{
    super::{
        MappedPage,
        adopt::{BATCH_PAGE, Home, LEDGER_PAGE, PAGES},
        disk::RealDisk,
        keeper::Tended,
        log::{Fsync, LogLimits},
    },
    *,
};
use crate::platform::{Origin, Words};

/// Segments are small: a few records fill one.
const LIMITS: LogLimits =
    LogLimits { bytes: 1 << 20, segment: 4_096, records: 1_000, fsync: Fsync::Never };

/// A process of which a kill leaves everything: dropping it changes no file.
struct Life {
    test: TestObs,
    log: Arc<Log>,
    home: Home,
}

impl Life {
    fn begin(root: &Path, epoch: Uuid) -> Self {
        let home = Home::make(root, Origin::Given, epoch).unwrap();
        let place = (home.directory.clone(), epoch);
        let log = Log::new(Arc::new(RealDisk), place, LIMITS, obs_core::Clock::default());
        let words = Words::create(&home.directory.join(LEDGER_PAGE), ledger::PAGE_WORDS).unwrap();
        let page: Arc<dyn Page> = Arc::new(MappedPage(words));
        let test = TestObs::with(|builder| builder.ledger_page(page)).unwrap();
        Self { test, log: Arc::new(log), home }
    }

    /// Errors that are in its spool when it dies.
    fn fail(&self, errors: u64) {
        let mut buffer = Vec::new();
        for _ in 0..errors {
            let mut record = record("bonus", "1");
            record.status = Status::Error;
            frame::begin(&mut buffer, frame::FLAG_ERROR, record.run_id);
            codec::encode(&record, &mut buffer).unwrap();
            assert!(frame::finish(&mut buffer));
            self.log.append(&mut buffer).unwrap();
            let (_, mut ticket) = self.test.kept_record(record).into_parts();
            ticket.spooled();
            ticket.stays();
        }
    }

    fn finds(&self, own: Uuid) -> Orphans {
        Orphans::find(&self.home.root, own, Arc::clone(&self.log), &mut Held::default())
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
        let mut find =
            || Orphans::find(&root, Uuid::from_u128(2), Arc::clone(&life.log), &mut held);
        for look in 1..super::super::held::LOOKS_MAX {
            assert!(find().is_empty(), "{name}, look {look}");
            assert!(directory.join(name).exists());
        }
        let mut orphans = find();
        while !orphans.is_empty() {
            life.settle(orphans.adopt_next(&life.test.adopter()));
        }
        drop(orphans);
        assert!(!directory.exists(), "{name} keeps nothing there");
        assert_eq!((life.error().adopted, life.error().dropped.total()), (3, 0), "{name}");
    }
}

#[cfg(unix)]
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[cfg(not(unix))]
fn private(_path: &Path) {}
