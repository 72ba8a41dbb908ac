use super::*;
use crate::page::{HeapPage, Page};

/// A page that a process writes to, and that can be read as its successor would.
struct Written(HeapPage);

impl Written {
    fn new() -> Self {
        let page = HeapPage::new(PAGE_WORDS);
        let owner = PageOwner::this_process(
            uuid::Uuid::from_u128(7),
            crate::record::Timestamp::from_micros(1),
        );
        FORMAT.begin(page.words(), &owner);
        Self(page)
    }

    fn row(&self, shard: usize) -> Row<'_> {
        Row::of(self.0.words(), shard)
    }

    fn words(&self) -> Vec<u64> {
        self.0.words().iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn read(&self) -> PageLedger {
        read_page(&self.words()).unwrap()
    }
}

/// Every end that a record can come to.
fn ends() -> Vec<End> {
    let mut ends = vec![End::Persisted, End::Quarantined];
    ends.extend(DropReason::ALL.map(End::Dropped));
    ends
}

/// The lives that a record can have: its moves from its first to its last, and after how many of them it
/// is in memory no more.
fn lives(class: Class) -> Vec<(Vec<Move>, usize)> {
    let status = if class == Class::Ok { Status::Cancelled } else { Status::Timeout };
    let mut lives = Vec::new();
    for end in ends() {
        let settled = |lies| settle(class, lies, end);
        lives.push((vec![keep(status), settled(Lies::InMemory)], 2));
        lives.push((vec![keep(status), spool(class), settled(Lies::Spooled)], 2));
        if class == Class::Error {
            lives.push((vec![audit(), settled(Lies::InMemory)], 2));
            lives.push((vec![audit(), spool(class), settled(Lies::Spooled)], 2));
        }
        for lies in [Lies::Spooled, Lies::Elsewhere] {
            lives.push((vec![adopt(class, lies), settled(lies)], 0));
        }
    }
    lives
}

#[test]
fn a_process_killed_between_any_two_stores_leaves_exactly_the_records_that_died() {
    for class in Class::ALL {
        for (life, safe) in lives(class) {
            let page = Written::new();
            // Another record, in memory all the while, which must not be hidden by this one's moves.
            page.row(3).apply(keep(if class == Class::Ok { Status::Ok } else { Status::Error }));
            for (at, (first, then)) in life.iter().enumerate() {
                for step in [Some(*first), *then].into_iter().flatten() {
                    page.row(3).step(step);
                    let died = page.read().died(class);
                    assert_eq!(died, 1 + u64::from(at + 1 < safe), "after {step:?} of {life:?}");
                }
            }
            let dead = page.read();
            assert_eq!(dead.ledger.imbalance(), 0, "{life:?}");
            let ledger = dead.ledger.class(class);
            assert_eq!((ledger.in_queue, ledger.spooled), (1, 0), "{life:?}");
        }
    }
}

#[test]
fn what_was_adopted_is_told_from_what_the_next_process_finds_in_our_spool() {
    let (page, class) = (Written::new(), Class::Error);
    let row = page.row(2);
    for _ in 0..3 {
        row.apply(adopt(class, Lies::Elsewhere));
    }
    row.apply(adopt(class, Lies::Spooled));
    row.apply(keep(Status::Error));
    row.apply(spool(class));
    let here = |page: &Written| (page.read().ledger.error.spooled, page.read().spooled_here(class));
    assert_eq!(here(&page), (5, 2));
    row.apply(settle(class, Lies::Elsewhere, End::Persisted));
    assert_eq!(here(&page), (4, 2));
    row.apply(settle(class, Lies::Spooled, End::Dropped(DropReason::SpoolIo)));
    assert_eq!(here(&page), (3, 1));
    assert_eq!(page.read().spooled_here(Class::Ok), 0);
    assert_eq!((page.read().died(class), page.read().ledger.imbalance()), (0, 0));
    assert_eq!(page.read().persisted_from_memory(class), 0, "what was persisted was in a spool");
}

#[test]
fn a_record_that_is_neither_settled_nor_spooled_died_and_one_that_is_did_not() {
    let page = Written::new();
    let row = page.row(15);
    for _ in 0..5 {
        row.apply(keep(Status::Ok));
    }
    row.apply(settle(Class::Ok, Lies::InMemory, End::Persisted));
    row.apply(spool(Class::Ok));
    row.apply(settle(Class::Ok, Lies::InMemory, End::Dropped(DropReason::QueueFull)));
    let dead = page.read();
    assert_eq!(dead.died(Class::Ok), 2);
    assert_eq!(dead.died(Class::Ok), dead.ledger.ok.in_queue);
    assert_eq!(dead.persisted_from_memory(Class::Ok), 1);
    assert_eq!(dead.died(Class::Error), 0);
    assert_eq!(dead.ledger.imbalance(), 0);
}

#[test]
fn every_term_has_a_word_of_its_own() {
    let mut words = std::collections::HashSet::new();
    let mut terms: Vec<_> = Status::ALL.map(Term::Kept).into();
    terms.push(Term::Audited);
    for class in Class::ALL {
        for lies in Lies::ALL {
            terms.extend(ends().into_iter().map(|end| Term::Ended(class, lies, end)));
        }
        terms.extend([Term::Adopted(class), Term::AdoptedHere(class), Term::Crashed(class)]);
        terms.extend([Term::InQueue(class), Term::Spooled(class)]);
    }
    for term in &terms {
        assert!(term.index() < SHARD_WORDS, "{term:?}");
        assert!(words.insert(term.index()), "{term:?}");
    }
}

#[test]
fn runs_that_were_not_kept_are_those_of_the_last_snapshot() {
    let page = Written::new();
    page.row(0).apply(keep(Status::Error));
    publish(page.0.words(), &[100, 0, 0, 0, 7, 0, 0], 120);
    let dead = page.read();
    assert_eq!((dead.ledger.ok.recorded, dead.ledger.ok.sampled_out), (107, 107));
    assert_eq!(dead.ledger.runs, RunLedger { started: 120, finished: 108, active: 12 });
    assert_eq!(dead.died(Class::Error), 1);
}

#[test]
fn more_ended_runs_than_were_published_as_started_are_not_negative_ones_in_flight() {
    let page = Written::new();
    page.row(0).apply(keep(Status::Ok));
    assert_eq!(page.read().ledger.runs, RunLedger { started: 1, finished: 1, active: 0 });
}

#[test]
fn records_that_crashed_before_are_adopted_and_dropped_by_one_store() {
    let page = Written::new();
    assert_eq!(page.row(1).add(Term::Crashed(Class::Ok), 12), 12);
    let dead = page.read();
    assert_eq!(dead.ledger.ok.adopted, 12);
    assert_eq!(dead.ledger.ok.dropped.of(DropReason::Crash), 12);
    assert_eq!(dead.died(Class::Ok), 0);
}

#[test]
fn a_count_of_crashed_records_stops_where_a_page_can_still_be_read() {
    let page = Written::new();
    assert_eq!(page.row(1).add(Term::Crashed(Class::Ok), u64::MAX), COUNT_MAX);
    assert_eq!(page.row(1).add(Term::Crashed(Class::Ok), 1), 0);
    assert_eq!(page.read().ledger.ok.adopted, COUNT_MAX);
}

#[test]
fn a_count_that_cannot_be_is_an_error_that_names_it() {
    for word in [HEADER_WORDS, SHARDS_AT, PAGE_WORDS - 1] {
        let mut words = Written::new().words();
        words[word] = COUNT_MAX + 1;
        assert_eq!(read_page(&words), Err(PageError::Value { word, value: COUNT_MAX + 1 }));
    }
}

#[test]
fn the_largest_counts_everywhere_are_read_without_overflow() {
    let mut words = Written::new().words();
    words[HEADER_WORDS..].fill(COUNT_MAX);
    let dead = read_page(&words).unwrap();
    assert_eq!(dead.died(Class::Ok), 0, "more is settled than was ever recorded");
    let _ = dead.ledger.to_string();
}

proptest::proptest! {
    #[test]
    fn whatever_a_page_holds_reading_it_does_not_panic(
        noise in proptest::collection::vec((0..PAGE_WORDS, proptest::num::u64::ANY), 0..64),
        kept_words in 0..=PAGE_WORDS,
    ) {
        let mut words = Written::new().words();
        for (word, value) in noise {
            words[word] = value;
        }
        words.truncate(kept_words);
        if let Ok(dead) = read_page(&words) {
            let _ = (dead.died(Class::Ok), dead.died(Class::Error), dead.ledger.to_string());
        }
    }
}
