//! Power cuts at a random step, thousands of them, and bugs that they must find.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::spool::sim::in_soak;

/// What was done before the power went.
#[derive(Default)]
struct Story {
    /// The payload of each record, and the segment that it went to.
    appended: BTreeMap<u128, (u64, Vec<u8>)>,
    unsettled: BTreeMap<u128, Slot>,
    durable: BTreeSet<u128>,
}

/// One life of a log on a disk that loses its power at a random step. Returns what is wrong with
/// what is left.
fn live_and_crash(seed: u64, bugs: Bugs, sync_fails: bool) -> Result<(), String> {
    let (mut chance, disk, clock) = (Chance::new(seed), SimDisk::new(seed), ManualClock::new());
    let mut log = log_on(&disk, limits(12), &clock);
    log.bugs = bugs;
    disk.crash_after(20 + chance.below(200));
    if sync_fails {
        disk.fail_syncs([1 + chance.below(4)]);
    }
    let mut story = Story::default();
    for id in 0..400 {
        act(&log, &mut story, &mut chance, id);
        clock.advance(Duration::from_millis(chance.below(20)));
        if chance.percent(30) {
            log.tend();
        }
        if disk.has_crashed() {
            break;
        }
    }
    disk.reboot();
    judge(&story, &recover(&disk, bugs), sync_fails)
}

fn act(log: &Log, story: &mut Story, chance: &mut Chance, id: u128) {
    match chance.below(10) {
        0..6 => {
            let len = usize::try_from(10 + chance.below(700)).unwrap();
            let payload: Vec<u8> = (0..len).map(|_| (chance.next() & 0xff) as u8).collect();
            let appended = log.append(&mut frame_of(id, &payload));
            // What a failed append wrote may be there, as it is.
            let segment = appended.map_or(u64::MAX, |slot| slot.segment);
            story.appended.insert(id, (segment, payload));
            if let Ok(slot) = appended {
                story.unsettled.insert(id, slot);
            }
        }
        6..9 => {
            let oldest = story.unsettled.first_key_value().map(|(id, slot)| (*id, *slot));
            if let Some((id, slot)) = oldest {
                story.unsettled.remove(&id);
                story.durable.remove(&id);
                log.settle(slot);
            }
        }
        _ => {
            let so_far: Vec<u128> = story.unsettled.keys().copied().collect();
            if is_durable(log) {
                story.durable.extend(so_far);
            }
        }
    }
}

fn judge(story: &Story, found: &[(u64, u128, Vec<u8>)], moves: bool) -> Result<(), String> {
    for (segment, id, payload) in found {
        match story.appended.get(id) {
            None => return Err(format!("record {id} was never written")),
            Some((_, written)) if written != payload => {
                return Err(format!("record {id} is another one"));
            }
            Some((at, _)) if at != segment && *at != u64::MAX && !moves => {
                return Err(format!("record {id} of segment {at} shows up in {segment}"));
            }
            Some(_) => {}
        }
    }
    let there: BTreeSet<u128> = found.iter().map(|(_, id, _)| *id).collect();
    match story.durable.difference(&there).next() {
        Some(lost) => Err(format!("record {lost} was said to be durable and is lost")),
        None => Ok(()),
    }
}

#[test]
fn whatever_was_said_to_be_durable_survives_thousands_of_power_cuts() {
    for seed in 0..u64::from(in_soak(2_000, 10_000)) {
        let sync_fails = seed % 4 == 3;
        let lived = live_and_crash(seed, Bugs::default(), sync_fails);
        assert_eq!(lived, Ok(()), "seed {seed}, a sync fails: {sync_fails}");
    }
}

#[test]
fn each_planted_bug_is_found_within_100_power_cuts() {
    let table = [
        (Bug::NamesNotSynced, false),
        (Bug::AckBeforeSync, false),
        (Bug::NoChecksum, false),
        (Bug::NoSeed, false),
        (Bug::FailedSyncIgnored, true),
    ];
    for (bug, sync_fails) in table {
        let found =
            (0..100).find(|seed| live_and_crash(*seed, Bugs::one(bug), sync_fails).is_err());
        assert!(found.is_some(), "{bug:?} is not found");
    }
}
