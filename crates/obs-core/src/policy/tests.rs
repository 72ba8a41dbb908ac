use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::{SampleBy, Status, keep::Bar};

fn rate(rate: f64) -> Rate {
    Rate::new(rate).unwrap()
}

const BONUS: Who<'_> =
    Who { kind: "dsl", id: "bonus", version: "3", realm: Some("acme"), own: None };

const LONG_AGO: Timestamp = Timestamp::from_micros(0);

fn ok_rate(rules: Vec<KeepRule>, who: &Who<'_>) -> f64 {
    let policy = Policy { rules, ..Policy::default() }.checked().unwrap();
    policy.rules_for(who, LONG_AGO).ok_rate.get()
}

fn half() -> KeepRule {
    KeepRule { sample_rate: Some(rate(0.5)), ..KeepRule::default() }
}

#[test]
fn a_rule_is_about_what_it_names_and_nothing_else() {
    let some = |text: &str| Some(text.to_owned());
    let matching = [
        KeepRule { kind: some("dsl"), ..half() },
        KeepRule { strategy: some(" bonus "), ..half() },
        KeepRule { version: some("3"), ..half() },
        KeepRule { realm: some("acme"), ..half() },
        half(),
    ];
    for rule in matching {
        assert_eq!(ok_rate(vec![rule.clone()], &BONUS), 0.5, "{rule:?}");
    }
    let others = [
        KeepRule { kind: some("ds"), ..half() },
        KeepRule { strategy: some("bonu"), ..half() },
        KeepRule { version: some("33"), ..half() },
        KeepRule { realm: some("acm"), ..half() },
        KeepRule { kind: some("dsl"), version: some("4"), ..half() },
    ];
    for rule in others {
        assert_eq!(ok_rate(vec![rule.clone()], &BONUS), 0.05, "{rule:?}");
    }
    let nobody = Who { realm: None, ..BONUS };
    assert_eq!(ok_rate(vec![KeepRule { realm: some("acme"), ..half() }], &nobody), 0.05);
}

#[test]
fn the_first_rule_that_matches_decides_and_leaves_alone_what_it_says_nothing_of() {
    let second = Duration::from_secs(1);
    let slow = KeepRule { slow: Some(second), ..KeepRule::default() };
    let policy = Policy { rules: vec![slow, half()], ..Policy::default() }.checked().unwrap();
    let rules = policy.rules_for(&BONUS, LONG_AGO);
    assert_eq!((rules.ok_rate.get(), rules.slow_above), (0.05, 1_000_000_000));
    let never = KeepRule { slow: Some(Duration::MAX), ..KeepRule::default() };
    let policy = Policy { rules: vec![never], ..Policy::default() }.checked().unwrap();
    assert_eq!(policy.rules_for(&BONUS, LONG_AGO).slow_above, u64::MAX);
}

#[test]
fn a_rule_changes_the_policy_of_a_kind_that_has_one_of_its_own() {
    let own = KeepPolicy { ok_rate: rate(0.9), cancelled_rate: rate(0.8), ..KeepPolicy::default() };
    let who = Who { own: Some(&own), ..BONUS };
    assert_eq!(ok_rate(Vec::new(), &who), 0.9);
    assert_eq!(ok_rate(vec![half()], &who), 0.5);
    let all = KeepRule { keep_all: true, ..KeepRule::default() };
    let policy = Policy { rules: vec![all], ..Policy::default() };
    let rules = policy.rules_for(&who, LONG_AGO);
    assert_eq!((rules.ok_rate, rules.cancelled_rate), (Rate::ALL, Rate::ALL));
}

#[test]
fn what_cannot_be_meant_is_refused_by_the_place_the_value_the_rule_and_the_way_out() {
    let one = |rule| Policy { rules: vec![half(), rule], ..Policy::default() };
    let both = KeepRule { keep_all: true, ..half() };
    let empty = KeepRule { realm: Some(" \t".to_owned()), ..half() };
    let long = KeepRule { version: Some("x".repeat(129)), ..half() };
    let shown = "x".repeat(64);
    for (policy, message) in [
        (
            one(KeepRule::default()),
            "rules[1] changes nothing: give it a sample_rate or slow, or let it keep_all"
                .to_owned(),
        ),
        (
            one(both),
            "rules[1] has a sample_rate and is to keep_all: leave one of them out".to_owned(),
        ),
        (
            one(empty),
            "rules[1] has an empty realm: name one, or leave it out for a rule about every realm"
                .to_owned(),
        ),
        (
            one(long),
            format!(
                "rules[1] has the version {shown:?} of 129 bytes, and none has more than 128: name one that exists"
            ),
        ),
        (
            Policy { rules: vec![half(); 101], ..Policy::default() },
            "101 rules are more than 100: let one be about a whole kind or realm".to_owned(),
        ),
        (
            Policy { limits: Limits { trace_entries: 10_001 }, ..Policy::default() },
            "trace entries 10001 is more than 10000: use 0 (no trace) to 10000".to_owned(),
        ),
    ] {
        assert_eq!(policy.checked().unwrap_err().to_string(), message);
    }
    assert!(Policy { rules: vec![half(); 100], ..Policy::default() }.checked().is_ok());
}

#[test]
fn a_copy_says_what_the_rules_say_and_nothing_once_it_is_old_or_may_have_ended() {
    let keep = KeepPolicy {
        ok_rate: rate(0.25),
        cancelled_rate: rate(0.75),
        sample_by: SampleBy::Correlation,
        ..KeepPolicy::default()
    };
    let rules = KeepRules::new(keep, None);
    let copy = Cached::new((7, &rules));
    for status in [Status::Ok, Status::Cancelled, Status::Error] {
        let (bar, expected) = (copy.bar(7, status).unwrap(), rules.bar(status));
        // What is certain is drawn for by nobody, whatever it would be drawn by.
        let how = if expected.how.draws() { expected.how } else { bar.how };
        assert_eq!(bar, Bar { how, ..expected });
    }
    assert!(copy.bar(8, Status::Ok).is_none());
    let at = Timestamp::from_micros;
    copy.write(8, &KeepRules::new(keep, Some(at(10))));
    assert!(copy.bar(8, Status::Ok).is_none());
    assert!(copy.bar_at(8, Status::Ok, at(9)).is_some());
    assert!(copy.bar_at(8, Status::Ok, at(10)).is_none());
}

#[test]
fn no_reader_sees_parts_of_two_copies() {
    const COPIES_READ: u32 = 100;
    const WRITES_LEAST: u32 = 200_000;
    const WRITES_MAX: u32 = 20_000_000;
    // In each copy all numbers are the same.
    let rules = |number: u32| {
        let share = f64::from(number % 1_000) / 1_000.0;
        let slow = Duration::from_nanos(u64::from(number % 1_000));
        let keep = KeepPolicy { ok_rate: rate(share), slow: Some(slow), ..KeepPolicy::default() };
        KeepRules::new(keep, None)
    };
    let copy = Cached::new((1, &rules(1)));
    let order = Ordering::SeqCst;
    let (number, is_over) = (AtomicU32::new(1), AtomicBool::new(false));
    let reads = [AtomicU32::new(0), AtomicU32::new(0)];
    std::thread::scope(|scope| {
        for reads in &reads {
            scope.spawn(|| {
                let mut last = 0;
                while !is_over.load(order) {
                    let now = number.load(order);
                    let Some(bar) = copy.bar(now, Status::Ok) else { continue };
                    let of_rate = (bar.rate.get() * 1_000.0).round();
                    assert_eq!(of_rate, bar.slow_above as f64, "copy {now}");
                    reads.fetch_add(u32::from(now != last), order);
                    last = now;
                }
            });
        }
        // Until both have read many of them, however seldom they run.
        let few = || reads.iter().any(|reads| reads.load(order) < COPIES_READ);
        for next in 2..WRITES_MAX {
            if next > WRITES_LEAST && !few() {
                break;
            }
            copy.write(next, &rules(next));
            number.store(next, order);
        }
        is_over.store(true, order);
    });
    assert!(reads.iter().all(|reads| reads.load(order) >= COPIES_READ), "{reads:?}");
}
