use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A store that refuses some records, and that is sick at some of its statements.
struct Store {
    poison: BTreeSet<usize>,
    /// Whether each statement meets a sick store; healthy when there are no more.
    sick: std::vec::IntoIter<bool>,
    statements: usize,
}

#[derive(Debug, Default, PartialEq)]
struct Result {
    written: Vec<usize>,
    convicted: Vec<usize>,
    statements: usize,
}

impl Store {
    fn new(poison: &BTreeSet<usize>, sick: Vec<bool>) -> Self {
        Self { poison: poison.clone(), sick: sick.into_iter(), statements: 0 }
    }

    fn healthy(&mut self) -> bool {
        self.statements += 1;
        !self.sick.next().unwrap_or(false)
    }

    fn takes(&mut self, part: Range<usize>) -> bool {
        self.healthy() && self.poison.range(part).next().is_none()
    }

    /// Writes a batch of `records` as the worker does.
    fn drain(mut self, records: usize) -> Result {
        let mut bisection = Bisection::of(records);
        let mut result = Result::default();
        for _ in 0..1_000_000 {
            match bisection.next() {
                Next::Done => {
                    result.statements = self.statements;
                    result.written.sort_unstable();
                    result.convicted.sort_unstable();
                    return result;
                }
                Next::Write(part) if self.takes(part.clone()) => {
                    result.written.extend(part);
                    bisection.settled();
                }
                Next::Write(_) => bisection.refused(),
                Next::Canary(_) if self.healthy() => bisection.canary_passed(),
                Next::Canary(_) => bisection.store_failed(),
                Next::Convict(at) => {
                    result.convicted.push(at);
                    bisection.settled();
                }
            }
        }
        panic!("it never ends");
    }
}

/// What one bad record of `records` may cost beyond the batch's own statement.
fn most(records: usize) -> usize {
    let levels = records.next_power_of_two().trailing_zeros();
    2 * usize::try_from(levels).unwrap() + 4
}

#[test]
fn one_bad_record_is_found_wherever_it_is_within_the_promised_statements() {
    for records in [1, 2, 3, 4, 7, 8, 100, 255, 256, 257, 512] {
        for at in 0..records {
            let result = Store::new(&BTreeSet::from([at]), Vec::new()).drain(records);
            assert_eq!(result.convicted, [at], "of {records}");
            assert_eq!(result.written.len(), records - 1, "of {records}");
            let allowed = 1 + most(records);
            assert!(result.statements <= allowed, "{at} of {records}: {}", result.statements);
        }
    }
}

#[test]
fn a_good_batch_is_one_statement_and_an_empty_one_none() {
    let result = Store::new(&BTreeSet::new(), Vec::new()).drain(256);
    assert_eq!((result.statements, result.written.len()), (1, 256));
    assert_eq!(Store::new(&BTreeSet::new(), Vec::new()).drain(0), Result::default());
}

#[test]
fn while_the_canary_fails_no_part_of_the_batch_is_tried() {
    let mut bisection = Bisection::of(8);
    bisection.refused();
    for _ in 0..5 {
        assert_eq!(bisection.next(), Next::Canary(0));
        bisection.store_failed();
    }
    bisection.canary_passed();
    assert_eq!(bisection.next(), Next::Write(0..4));
}

#[test]
fn a_record_is_convicted_only_after_the_canary_passed_behind_both_of_its_failures() {
    let mut bisection = Bisection::of(1);
    bisection.refused();
    assert_eq!(bisection.next(), Next::Canary(0));
    bisection.canary_passed();
    assert_eq!(bisection.next(), Next::Write(0..1), "once is not enough");
    bisection.refused();
    assert_eq!(bisection.next(), Next::Canary(0));
    bisection.store_failed();
    bisection.canary_passed();
    assert_eq!(bisection.next(), Next::Write(0..1), "the store was at fault: it begins anew");
    bisection.refused();
    bisection.canary_passed();
    bisection.refused();
    bisection.canary_passed();
    assert_eq!(bisection.next(), Next::Convict(0));
}

#[test]
fn a_part_that_took_too_long_is_halved_but_held_against_no_record() {
    let mut bisection = Bisection::of(2);
    bisection.too_slow();
    for round in 0..10 {
        let turn = round % 2;
        assert_eq!(bisection.next(), Next::Canary(turn));
        bisection.canary_passed();
        assert_eq!(bisection.next(), Next::Write(turn..turn + 1), "they take turns");
        bisection.too_slow();
    }
    assert_eq!(bisection.left(), 2);
}

#[test]
fn a_record_that_fails_together_with_the_store_lets_its_siblings_go_first() {
    let mut bisection = Bisection::of(2);
    bisection.refused();
    bisection.canary_passed();
    bisection.refused();
    bisection.store_failed();
    bisection.canary_passed();
    assert_eq!(bisection.next(), Next::Write(1..2));
}

proptest! {
    #[test]
    fn every_bad_record_is_convicted_and_every_other_written_once(
        records in 1..600_usize,
        poison in prop::collection::btree_set(0..600_usize, 0..12),
    ) {
        let poison: BTreeSet<usize> = poison.into_iter().filter(|at| *at < records).collect();
        let result = Store::new(&poison, Vec::new()).drain(records);
        let good: Vec<usize> = (0..records).filter(|at| !poison.contains(at)).collect();
        prop_assert_eq!(result.written, good);
        prop_assert_eq!(result.convicted, poison.iter().copied().collect::<Vec<_>>());
        prop_assert!(result.statements <= 1 + poison.len() * most(records));
    }

    /// A store that stays sick for at least two statements, so that the canary behind a failure
    /// sees it, never gets a good record convicted.
    #[test]
    fn a_sick_store_never_makes_a_good_record_look_bad(
        records in 1..300_usize,
        poison in prop::collection::btree_set(0..300_usize, 0..4),
        times in prop::collection::vec((0..6_usize, 2..9_usize), 0..40),
    ) {
        let poison: BTreeSet<usize> = poison.into_iter().filter(|at| *at < records).collect();
        let sick = times.into_iter().flat_map(|(well, ill)| {
            std::iter::repeat_n(false, well).chain(std::iter::repeat_n(true, ill))
        });
        let result = Store::new(&poison, sick.collect()).drain(records);
        let good: Vec<usize> = (0..records).filter(|at| !poison.contains(at)).collect();
        prop_assert_eq!(result.written, good);
        prop_assert_eq!(result.convicted, poison.into_iter().collect::<Vec<_>>());
    }
}
