//! What several heirs of one process do to each other, and those that find no room or die at it.

use super::*;

#[test]
fn processes_that_look_at_once_do_not_keep_each_other_from_giving_a_file_up() {
    let left = Left::with(600, LARGE);
    let lost = left.spoil(1, &[5]);
    let lives = [2, 3].map(|epoch| left.life(epoch, LARGE));
    let mut held = [Held::default(), Held::default()];
    for _ in 0..=LOOKS_MAX {
        for (at, life) in lives.iter().enumerate() {
            // The other one has its lock for a moment.
            let other = lives[1 - at].log.epoch;
            let looks = DeadEpoch::find(&left.root.path().join("spool"), other).unwrap();
            life.takes_over_in(1, &mut held[at]);
            drop(looks);
            life.takes_over_in(1, &mut held[at]);
        }
    }
    let sum = |of: fn(&Life) -> u64| lives.iter().map(of).sum::<u64>();
    let counts = (sum(|life| life.error().persisted), sum(Life::crashed));
    assert_eq!(counts, (600 - lost, lost));
}

#[test]
fn a_run_that_ended_is_no_second_row_when_there_was_no_room_for_one_that_did_not() {
    let left = Left::with(0, LIMITS);
    let dead = left.life(7, LIMITS);
    dead.leaves_one_that_failed_and_one_open();
    drop(dead);
    let heir = left.life(8, LIMITS);
    let mut orphans = heir.finds(Uuid::from_u128(8));
    left.disk.set().changes_left = Some(0);
    while !orphans.pages.is_empty() {
        heir.settle(orphans.adopt_next(&heir.test.adopter()));
    }
    left.disk.set().changes_left = None;
    heir.takes_over(&mut orphans);
    drop(orphans);
    let last = left.life(9, LIMITS);
    last.takes_over_in(1, &mut Held::default());
    assert_eq!(heir.error().persisted + last.error().persisted, 2, "one row for each run");
}

#[test]
fn what_processes_that_die_amid_it_leave_of_a_file_is_bounded_and_known_for_what_it_is() {
    let left = Left::with(300, LARGE);
    let lost = left.spoil(1, &[7]);
    for epoch in 2..12 {
        let life = left.life(epoch, LARGE);
        let mut held = Held::default();
        life.takes_over_in(LOOKS_MAX - 1, &mut held);
        // Stands for a kill: the copy is written, and nothing after that is done.
        left.disk.set().changes_left = Some(3);
        life.takes_over_and(&mut life.looks(&mut held), |(ticket, _)| ticket.stays());
        left.disk.set().changes_left = None;
    }
    assert!((1..=3).contains(&left.set_aside()), "{}", left.set_aside());
    let aside = bad::Bad::all(&left.root.path().join("spool"));
    assert!(aside.iter().all(|bad| bad.segment == Some((Uuid::from_u128(1), 1))), "{aside:?}");
    let life = left.life(20, LARGE);
    life.takes_over_in(LOOKS_MAX + 1, &mut Held::default());
    assert_eq!((life.error().persisted, life.crashed()), (300 - lost, lost));
}

#[test]
fn a_look_at_what_cannot_be_read_ends_at_the_next_read_once_its_process_is_to_end() {
    let left = Left::with(600, LARGE);
    left.spoil(1, &(0..64).collect::<Vec<_>>());
    let life = left.life(2, LARGE);
    let mut held = Held::default();
    // From the next one on it is read page by page.
    life.takes_over_in(LOOKS_MAX - 2, &mut held);
    let last = left.disk.set().reads + 5;
    left.disk.set().leaves_at = Some((last, Arc::clone(&life.log)));
    life.takes_over_in(2 * LOOKS_MAX, &mut held);
    assert_eq!(left.disk.set().reads, last);
    assert_eq!((life.error().adopted, left.set_aside()), (0, 0));
    left.disk.set().leaves_at = None;
    drop(life);
    let life = left.life(3, LARGE);
    life.takes_over_in(LOOKS_MAX + 1, &mut Held::default());
    assert_eq!((life.error().adopted, life.crashed()), (600, 600));
}
