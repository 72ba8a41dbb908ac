//! Disks that fail, and say so.

use super::*;

const POLICIES: [Fsync; 3] = [Fsync::Interval, Fsync::Always, Fsync::Never];

/// A log with a keeper, which has made its segments.
fn kept(fsync: Fsync) -> (SimDisk, ManualClock, Log) {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, LogLimits { fsync, ..limits(8) }, &clock);
    log.expect_keeper();
    tend_all(&log);
    (disk, clock, log)
}

#[test]
fn after_a_failed_sync_the_file_is_not_touched_again_and_its_records_are_in_another() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(8), &clock);
    disk.fail_syncs([1]);
    let slots: Vec<Slot> =
        (0..5).map(|id| log.append(&mut frame_of(id, &[7; 300])).unwrap()).collect();
    clock.advance(Duration::from_millis(100));
    tend_all(&log);
    // The pages of the first file are gone.
    assert_eq!(ids(&disk), (0..5).collect::<Vec<_>>());
    assert_eq!(recover(&disk, Bugs::default())[0].0, 2, "in another segment");
    let mut buffer = Vec::new();
    for (slot, id) in slots.iter().zip(0..) {
        assert_eq!(log.read(*slot, &mut buffer).unwrap().id.as_u128(), id, "by its old name");
    }
    for round in 0..5_u8 {
        log.append(&mut frame_of(u128::from(10 + round), b"later")).unwrap();
        assert!(is_durable(&log));
        tend_all(&log);
    }
    assert_eq!(disk.syncs_of_failed_files(), 0);
    assert!(!log.stats().off);
    // Settling by the old name frees the new place.
    slots.iter().for_each(|slot| log.settle(*slot));
    assert_eq!(log.stats().records, 5);
    assert!(log.lock().moved.is_empty());
}

#[test]
fn a_record_that_was_settled_before_the_sync_failed_is_not_written_again() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(8), &clock);
    disk.fail_syncs([1]);
    let slots: Vec<Slot> = (0..3).map(|id| log.append(&mut frame_of(id, b"x")).unwrap()).collect();
    log.settle(slots[1]);
    clock.advance(Duration::from_millis(100));
    tend_all(&log);
    assert_eq!(ids(&disk), [0, 2]);
    assert_eq!(log.stats().records, 2);
}

#[test]
fn two_failed_syncs_in_a_row_end_the_spool_and_nothing_is_said_to_be_durable() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(8), &clock);
    disk.fail_syncs(1..100);
    log.append(&mut frame_of(1, b"x")).unwrap();
    assert!(!is_durable(&log));
    assert!(log.stats().off);
    assert_eq!(log.stats().sync_errors, 2);
    assert_eq!(log.append(&mut frame_of(2, b"x")), Err(Refusal::Io));
    for time in 0..3 {
        assert!(!is_durable(&log), "nor to whoever asks later: {time}");
    }
    assert_eq!(disk.syncs_of_failed_files(), 0);
}

#[test]
fn what_no_copy_was_kept_of_is_never_said_to_be_durable_once_its_sync_failed() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    // Nothing is synced unless somebody asks, so nothing is kept for that.
    let log = log_on(&disk, LogLimits { fsync: Fsync::Never, ..limits(8) }, &clock);
    let slot = log.append(&mut frame_of(1, b"x")).unwrap();
    disk.fail_syncs([1]);
    assert!(!is_durable(&log), "the pages are gone, and nobody has them");
    assert!(!is_durable(&log), "and so they are later");
    assert!(!log.stats().off);
    log.append(&mut frame_of(2, b"x")).unwrap();
    assert!(!is_durable(&log), "whose record it is, is not known here");
    log.settle(slot);
    log.append(&mut frame_of(3, b"x")).unwrap();
    assert!(is_durable(&log), "what the store has needs no file");
}

#[test]
fn what_a_good_sync_had_made_durable_stays_so_when_a_later_one_fails() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(8), &clock);
    disk.fail_syncs([2]);
    for id in 0..4 {
        log.append(&mut frame_of(id, b"x")).unwrap();
        assert!(is_durable(&log), "{id}: those before are where they were, it is in another file");
    }
    assert_eq!(log.stats().sync_errors, 1);
    assert_eq!(ids(&disk), (0..4).collect::<Vec<_>>());
}

#[test]
fn a_good_sync_between_two_bad_ones_makes_them_two_of_one() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(8), &clock);
    // The second and the fifth: each is followed by a good one of the other file.
    disk.fail_syncs([2, 5]);
    for id in 0..6 {
        log.append(&mut frame_of(id, b"x")).unwrap();
        clock.advance(Duration::from_millis(100));
        tend_all(&log);
    }
    assert!(!log.stats().off);
    assert_eq!(log.stats().sync_errors, 2);
    assert_eq!(ids(&disk), (0..6).collect::<Vec<_>>());
}

#[test]
fn a_directory_that_cannot_be_synced_is_tried_once_more_for_whoever_waits() {
    for fsync in POLICIES {
        let (disk, clock, log) = kept(fsync);
        log.append(&mut frame_of(1, b"x")).unwrap();
        disk.fail_dir_syncs([1]);
        let round = log.sync_soon();
        tend_all(&log);
        clock.advance(Duration::from_millis(100));
        tend_all(&log);
        assert!(is_done(&log, round), "{fsync:?}: nobody else asks");
        assert!(!log.stats().off);
        disk.reboot();
        assert_eq!(ids(&disk), [1]);
    }
}

#[test]
fn a_directory_that_can_never_be_synced_ends_the_spool_and_keeps_neither_waiters_nor_the_keeper() {
    for fsync in POLICIES {
        let (disk, clock, log) = kept(fsync);
        log.append(&mut frame_of(1, b"x")).unwrap();
        disk.fail_dir_syncs(1..1_000);
        let round = log.sync_soon();
        for _ in 0..20 {
            clock.advance(Duration::from_millis(100));
            tend_all(&log);
        }
        assert!(is_answered(&log, round) && !is_done(&log, round), "{fsync:?}");
        assert_eq!(
            log.stats().sync_errors,
            2,
            "{fsync:?}: it is said twice, not ten times a second"
        );
        assert!(!is_durable(&log), "nor to whoever asks later");
        log.close();
        tend_all(&log);
        assert_eq!(log.tend(), Tended::Stopped);
    }
}

#[test]
fn a_directory_that_cannot_be_synced_for_less_than_a_tenth_of_a_second_costs_nobody_anything() {
    for fsync in POLICIES {
        let (disk, clock, log) = kept(fsync);
        disk.fail_dir_syncs(1..1_000);
        let rounds = [1, 2].map(|id| {
            log.append(&mut frame_of(id, b"x")).unwrap();
            let round = log.sync_soon();
            tend_all(&log);
            clock.advance(Duration::from_millis(50));
            round
        });
        assert_eq!(log.stats().sync_errors, 1, "{fsync:?}: whoever asks");
        disk.fail_dir_syncs([]);
        tend_all(&log);
        assert!(rounds.into_iter().all(|round| is_done(&log, round)), "{fsync:?}");
        assert!(!log.stats().off);
        disk.reboot();
        assert_eq!(ids(&disk), [1, 2]);
    }
}

#[test]
fn when_the_directory_fails_for_good_what_is_in_files_whose_names_are_durable_is_synced_all_the_same()
 {
    for fsync in POLICIES {
        let (disk, clock, log) = kept(fsync);
        log.append(&mut frame_of(1, b"x")).unwrap();
        let durable = log.sync_soon();
        tend_all(&log);
        assert!(is_done(&log, durable), "the name of the segment, too");
        disk.fail_dir_syncs(1..1_000);
        make_name(&log);
        log.append(&mut frame_of(2, &[7; 1_900])).unwrap();
        let round = log.sync_soon();
        for _ in 0..20 {
            tend_all(&log);
            clock.advance(Duration::from_millis(100));
        }
        assert!(log.stats().off);
        log.close();
        tend_all(&log);
        assert!(!is_done(&log, round) && !is_durable(&log), "{fsync:?}");
        disk.reboot();
        assert_eq!(ids(&disk), [1, 2], "{fsync:?}");
    }
}

#[test]
fn a_directory_that_failed_is_tried_once_more_at_the_end() {
    for fsync in POLICIES {
        let (disk, clock, log) = kept(fsync);
        log.append(&mut frame_of(1, &[7; 1_900])).unwrap();
        disk.fail_dir_syncs([1, 2]);
        let round = log.sync_soon();
        for _ in 0..20 {
            tend_all(&log);
            clock.advance(Duration::from_millis(100));
        }
        assert!(log.stats().off);
        log.close();
        tend_all(&log);
        assert_eq!(log.tend(), Tended::Stopped);
        assert!(!is_done(&log, round) && !is_durable(&log), "{fsync:?}: that is said no more");
        disk.reboot();
        assert_eq!(ids(&disk), [1], "{fsync:?}");
    }
}

#[test]
fn a_file_whose_sync_failed_beside_its_directory_is_not_synced_again() {
    for fsync in POLICIES {
        let (disk, clock, log) = kept(fsync);
        log.append(&mut frame_of(1, b"x")).unwrap();
        disk.fail_dir_syncs([1, 2]);
        disk.fail_syncs([1]);
        let round = log.sync_soon();
        for _ in 0..20 {
            tend_all(&log);
            clock.advance(Duration::from_millis(100));
        }
        assert!(log.stats().off);
        log.close();
        tend_all(&log);
        assert!(!is_done(&log, round) && !is_durable(&log), "{fsync:?}");
        assert_eq!(disk.syncs_of_failed_files(), 0, "{fsync:?}");
    }
}

#[test]
fn two_failed_writes_weeks_apart_do_not_end_the_spool_also_if_nobody_asks_for_a_sync() {
    for fsync in POLICIES {
        let (disk, clock, log) = kept(fsync);
        for id in 0..3 {
            log.append(&mut frame_of(2 * id, b"x")).unwrap();
            clock.advance(Duration::from_secs(7 * 24 * 60 * 60));
            disk.fail_writes(1);
            log.append(&mut frame_of(2 * id + 1, b"x")).unwrap();
            tend_all(&log);
            clock.advance(Duration::from_millis(100));
            tend_all(&log);
        }
        assert!(!log.stats().off, "{fsync:?}");
        assert_eq!(log.stats().sync_errors, 3);
        assert_eq!(ids(&disk), (0..6).collect::<Vec<_>>());
    }
}

#[test]
fn with_never_a_write_that_fails_is_no_reason_to_sync_at_once() {
    let (disk, clock, log) = kept(Fsync::Never);
    log.append(&mut frame_of(1, b"x")).unwrap();
    clock.advance(Duration::from_secs(10));
    disk.fail_writes(1);
    log.append(&mut frame_of(2, b"x")).unwrap();
    tend_all(&log);
    assert_eq!(log.lock().rounds_started, 0, "the disk may need a moment");
    clock.advance(Duration::from_millis(100));
    tend_all(&log);
    assert_eq!(log.lock().failures, 0);
    log.append(&mut frame_of(3, b"x")).unwrap();
    clock.advance(Duration::from_secs(10));
    tend_all(&log);
    assert_eq!(log.lock().rounds_started, 1, "and then only for those who ask");
}

#[test]
fn a_failed_write_goes_to_another_file_and_two_end_the_spool() {
    let disk = SimDisk::new(1);
    let log = log_on(&disk, limits(8), &ManualClock::new());
    log.append(&mut frame_of(1, b"x")).unwrap();
    disk.fail_writes(2);
    assert_eq!(log.append(&mut frame_of(2, b"x")), Err(Refusal::Io));
    assert!(log.stats().off);
    assert_eq!(log.append(&mut frame_of(3, b"x")), Err(Refusal::Io), "it stays off");
    assert_eq!(ids(&disk), [1], "what was written stays");
}

#[test]
fn a_full_disk_takes_what_was_set_aside_refuses_the_rest_and_recovers() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    let log = log_on(&disk, limits(100), &clock);
    tend_all(&log);
    disk.space_left(0);
    let fitting = (0..100).take_while(|id| {
        let fits = log.append(&mut frame_of(*id, &[7; 1_900])).is_ok();
        tend_all(&log);
        fits
    });
    assert_eq!(fitting.count(), 4, "the active segment and the next, two records each");
    assert_eq!(log.append(&mut frame_of(50, &[7; 1_900])), Err(Refusal::Full));
    // Removing needs no space, and makes some.
    let slots: Vec<Slot> = (log.lock().segments.keys())
        .flat_map(|segment| {
            [0, 1_928].map(|offset| Slot { segment: *segment, offset, bytes: 1_928 })
        })
        .collect();
    slots.iter().for_each(|slot| log.settle(*slot));
    tend_all(&log);
    clock.advance(Duration::from_secs(2));
    assert!(log.append(&mut frame_of(60, &[7; 1_900])).is_ok());
}

#[test]
fn a_disk_that_is_full_from_the_start_is_no_failure() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new());
    disk.space_left(0);
    let log = log_on(&disk, limits(8), &clock);
    tend_all(&log);
    assert_eq!(log.append(&mut frame_of(1, b"x")), Err(Refusal::Full));
    disk.space_left(u64::MAX);
    assert_eq!(log.append(&mut frame_of(1, b"x")), Err(Refusal::Full), "it does not try each time");
    clock.advance(Duration::from_secs(2));
    assert!(log.append(&mut frame_of(1, b"x")).is_ok());
}
