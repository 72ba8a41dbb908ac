use std::fs;

use obs_core::Clock;

use super::{
    super::{
        disk::RealDisk,
        frame,
        keeper::Tended,
        log::{Fsync, LogLimits},
        pieces::read_segment,
        recover::Scan,
        segment::SEGMENT_BYTES,
    },
    *,
};

const LIMITS: LogLimits =
    LogLimits { bytes: 64 << 20, segment: SEGMENT_BYTES, fsync: Fsync::Interval };

fn log_in(home: &Home, epoch: Uuid) -> Log {
    Log::new(Arc::new(RealDisk), (home.directory.clone(), epoch), LIMITS, Clock::default())
}

fn append(log: &Log, id: u128) -> Slot {
    let mut buffer = Vec::new();
    frame::begin(&mut buffer, 0, Uuid::from_u128(id));
    buffer.extend_from_slice(&[3; 100]);
    assert!(frame::finish(&mut buffer));
    log.append(&mut buffer).unwrap()
}

fn tend_all(log: &Log) {
    for _ in 0..100 {
        if log.tend() != Tended::Something {
            return;
        }
    }
    panic!("there is always more to do");
}

fn found_in(directory: &Path, epoch: Uuid, number: u64) -> (Vec<Found>, bool) {
    let mut buffer = Vec::new();
    let path = super::super::segment::path_of(directory, number);
    assert!(read_segment(&RealDisk, &path, &mut buffer).unwrap());
    let mut scan = Scan::new(&buffer, Seed::new(epoch, number));
    let found =
        scan.by_ref().map(|(offset, frame)| Found { offset, bytes: frame.bytes, id: frame.id });
    (found.collect(), scan.damaged() > 0)
}

/// A process that dies with three records in its spool.
fn dead(root: &Path, epoch: Uuid) {
    let home = Home::make(root, Origin::Given, epoch).unwrap();
    let log = log_in(&home, epoch);
    for id in 0..3 {
        append(&log, id);
    }
    // Its end releases the lock and leaves the rest.
}

#[test]
fn a_live_epoch_is_nobody_elses_and_a_dead_one_is_adopted_once() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let (a, b, c) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    dead(&root, a);
    let _live = Home::make(&root, Origin::Given, b).unwrap();
    let _own = Home::make(&root, Origin::Given, c).unwrap();
    let found = DeadEpoch::find(&root, c).unwrap();
    assert_eq!(found.iter().map(|dead| dead.epoch).collect::<Vec<_>>(), [a]);
    assert!(DeadEpoch::find(&root, c).unwrap().is_empty(), "its lock is held now");
}

#[test]
fn what_is_taken_over_has_waited_since_the_first_of_its_runs_began() {
    const MILLIS: [u64; 2] = [1_790_000_000_500, 1_790_000_000_000];
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let [old, own] = [1, 2].map(Uuid::from_u128);
    let home = Home::make(&root, Origin::Given, old).unwrap();
    let log = log_in(&home, old);
    for began in MILLIS {
        append(&log, u128::from(began) << 80 | 7);
    }
    drop((log, home));
    let home = Home::make(&root, Origin::Given, own).unwrap();
    let log = log_in(&home, own);
    let found = DeadEpoch::find(&root, own).unwrap().remove(0);
    let (records, damaged) = found_in(&found.directory, old, 1);
    log.take_over((&found, 1), &records, damaged);
    assert_eq!(log.stats().oldest, Some(Timestamp::from_micros(1_790_000_000_000_000)));
}

#[test]
fn adopted_records_are_read_where_they_are_and_go_with_their_directory() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let (old, own) = (Uuid::from_u128(1), Uuid::from_u128(2));
    dead(&root, old);
    let home = Home::make(&root, Origin::Given, own).unwrap();
    let log = log_in(&home, own);
    let found = DeadEpoch::find(&root, own).unwrap().remove(0);
    assert_eq!(found.segments(&RealDisk).unwrap(), [1]);
    let (records, damaged) = found_in(&found.directory, old, 1);
    assert_eq!((records.len(), damaged), (3, false));
    let slots = log.take_over((&found, 1), &records, damaged);
    let directory = found.directory.clone();
    drop(found);
    assert_eq!(log.stats().records, 3);
    let mut buffer = Vec::new();
    for (slot, id) in slots.iter().zip(0..) {
        assert_eq!(log.read(*slot, &mut buffer).unwrap().id.as_u128(), id);
    }
    log.settle(slots[0]);
    log.settle(slots[1]);
    tend_all(&log);
    assert!(directory.join("00000001.seg").exists(), "one is not settled yet");
    log.settle(slots[2]);
    tend_all(&log);
    assert!(!directory.exists());
    drop(log);
    home.leave();
}

#[test]
fn a_process_that_dies_while_it_adopts_leaves_everything_for_the_next_one() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let (old, own) = (Uuid::from_u128(1), Uuid::from_u128(2));
    dead(&root, old);
    {
        let home = Home::make(&root, Origin::Given, own).unwrap();
        let log = log_in(&home, own);
        let found = DeadEpoch::find(&root, own).unwrap().remove(0);
        let (records, damaged) = found_in(&found.directory, old, 1);
        let slots = log.take_over((&found, 1), &records, damaged);
        log.settle(slots[0]);
    }
    let again = DeadEpoch::find(&root, Uuid::from_u128(3)).unwrap();
    let first = again.iter().find(|dead| dead.epoch == old).unwrap();
    assert_eq!(found_in(&first.directory, old, 1).0.len(), 3);
}

#[test]
fn a_damaged_segment_is_set_aside_after_its_good_records_and_three_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let own = Uuid::from_u128(99);
    let home = Home::make(&root, Origin::Given, own).unwrap();
    let log = log_in(&home, own);
    for epoch in 1..=5 {
        let epoch = Uuid::from_u128(epoch);
        dead(&root, epoch);
        let path = root.join(epoch.to_string()).join("00000001.seg");
        let mut bytes = fs::read(&path).unwrap();
        bytes[150] ^= 1;
        fs::write(&path, bytes).unwrap();
        let found = DeadEpoch::find(&root, own).unwrap().remove(0);
        let (records, damaged) = found_in(&found.directory, epoch, 1);
        assert_eq!((records.len(), damaged), (2, true));
        let slots = log.take_over((&found, 1), &records, damaged);
        drop(found);
        assert!(path.exists());
        slots.iter().for_each(|slot| log.settle(*slot));
        tend_all(&log);
        assert!(!path.exists());
    }
    let bad: Vec<_> = fs::read_dir(root.join("bad")).unwrap().collect();
    assert_eq!(bad.len(), 3);
    let oldest = bad.iter().any(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().contains("000000000001-")
    });
    assert!(!oldest, "the newest are kept");
}

#[test]
fn a_directory_is_left_behind_only_when_something_is_in_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let home = Home::make(&root, Origin::Given, Uuid::from_u128(1)).unwrap();
    let directory = home.directory.clone();
    home.leave();
    assert!(!directory.exists());
    let home = Home::make(&root, Origin::Given, Uuid::from_u128(2)).unwrap();
    let directory = home.directory.clone();
    append(&log_in(&home, Uuid::from_u128(2)), 1);
    home.leave();
    assert!(directory.exists());
}

#[test]
fn what_is_not_ours_in_the_directory_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let own = Uuid::from_u128(2);
    let home = Home::make(&spool, Origin::Given, own).unwrap();
    fs::create_dir(spool.join("notes")).unwrap();
    fs::write(spool.join("file"), "").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(root.path(), spool.join(Uuid::from_u128(7).to_string())).unwrap();
    assert!(DeadEpoch::find(&spool, own).unwrap().is_empty());
    home.leave();
}

#[test]
fn what_the_dead_left_takes_up_half_of_the_budget_at_most_and_never_the_room_of_our_own() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let (old, own) = (Uuid::from_u128(1), Uuid::from_u128(2));
    dead(&root, old);
    let home = Home::make(&root, Origin::Given, own).unwrap();
    let log = log_in(&home, own);
    let found = DeadEpoch::find(&root, own).unwrap().remove(0);
    let (records, _) = found_in(&found.directory, old, 1);
    let mut slots = Vec::new();
    for _ in (0..20).take_while(|_| log.may_adopt()) {
        slots.push(log.take_over((&found, 1), &records, false));
    }
    // 16 segments are the budget.
    assert_eq!(slots.len(), 8);
    append(&log, 9);
    slots[3].iter().for_each(|slot| log.settle(*slot));
    assert!(log.may_adopt(), "one of them is done");
}

#[test]
fn a_page_that_nobody_entered_outlives_whoever_found_it() {
    for (name, _) in PAGES {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("spool");
        let home = Home::make(&root, Origin::Given, Uuid::from_u128(1)).unwrap();
        let page = home.directory.join(name);
        drop(home);
        fs::write(&page, "counts").unwrap();
        drop(DeadEpoch::find(&root, Uuid::from_u128(2)).unwrap());
        assert!(page.exists(), "{name} is for the next process");
        fs::remove_file(&page).unwrap();
        drop(DeadEpoch::find(&root, Uuid::from_u128(2)).unwrap());
        assert!(!page.parent().unwrap().exists(), "with {name} gone nobody needs the rest");
    }
}

#[cfg(unix)]
#[test]
fn a_forked_child_that_is_done_with_what_its_parent_took_over_leaves_that_to_its_parent() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    drop(Home::make(&root, Origin::Given, Uuid::from_u128(1)).unwrap());
    let mut found = DeadEpoch::find(&root, Uuid::from_u128(2)).unwrap();
    let directory = found[0].directory.clone();
    assert_eq!(platform::fork(|| found.pop().is_some()), Some(0));
    assert!(directory.join(LOCK).exists());
    drop(found);
    assert!(!directory.exists());
}

#[cfg(unix)]
#[test]
fn nothing_stays_of_a_directory_that_could_not_be_made() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("spool");
    let epoch = Uuid::from_u128(1);
    let names = || {
        let entries = fs::read_dir(&root).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    // Somebody has made something where it would be.
    let taken = root.join(epoch.to_string());
    platform::private_dir(&taken.join("sub"), Origin::Given).unwrap();
    assert!(matches!(Home::make(&root, Origin::Given, epoch), Err(HomeError::Make { .. })));
    assert_eq!(names(), [epoch.to_string()]);
    fs::remove_dir_all(&taken).unwrap();
    // A lock that cannot be opened.
    let unfinished = root.join(format!("{UNFINISHED}{epoch}"));
    platform::private_dir(&unfinished, Origin::Given).unwrap();
    std::os::unix::fs::symlink(&root, unfinished.join(LOCK)).unwrap();
    assert!(matches!(Home::make(&root, Origin::Given, epoch), Err(HomeError::Make { .. })));
    assert!(names().is_empty());
    Home::make(&root, Origin::Given, epoch).unwrap().leave();
    assert!(names().is_empty());
}
