use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;

#[derive(Debug)]
struct Heap(Vec<AtomicU64>);

impl Page for Heap {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

impl Heap {
    fn blank() -> Arc<Self> {
        Arc::new(Self((0..UNDER_WAY_WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    fn dumped(&self) -> Vec<u64> {
        self.0.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn read(&self) -> Unsettled {
        read(&self.dumped(), |_| u64::MAX).unwrap()
    }
}

fn under_way() -> (Arc<Heap>, UnderWay) {
    let page = Heap::blank();
    (Arc::clone(&page), UnderWay::on(Some(page)))
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number << 60 | number)
}

#[test]
fn what_is_under_way_is_on_the_page_until_it_is_taken_back() {
    let (page, mut own) = under_way();
    let marks: Vec<_> = (1..=3).map(|at| own.note(id(at), Class::Ok).unwrap()).collect();
    let failed = own.note(id(9), Class::Error).unwrap();
    assert_eq!(page.read().ok, [id(1), id(2), id(3)]);
    assert_eq!(page.read().error, [id(9)]);
    own.take_back(marks[1]);
    own.take_back(failed);
    assert_eq!((page.read().ok, page.read().error), (vec![id(1), id(3)], vec![]));
    own.note(id(4), Class::Ok).unwrap();
    assert_eq!(page.read().ok, [id(1), id(3), id(4)], "of two batches, each keeps its own");
}

#[test]
fn a_process_killed_between_any_two_stores_leaves_no_id_that_is_not_under_way() {
    // The life of a record and of the next in its place, beside one that stays; for each prefix of
    // the stores, which ids may be there.
    let (page, mut own) = under_way();
    own.note(id(1), Class::Ok).unwrap();
    let mark = Mark(7);
    let mut steps = Vec::new();
    steps.extend(note(mark, id(2), Class::Ok).map(|step| (step, None)));
    steps[2].1 = Some(id(2));
    steps.push((take_back(mark), None));
    steps.extend(note(mark, id(3), Class::Ok).map(|step| (step, None)));
    steps[6].1 = Some(id(3));
    steps.push((take_back(mark), None));
    for (step, there) in steps {
        own.apply(&[step]);
        let mut expected = vec![id(1)];
        expected.extend(there);
        assert_eq!(page.read().ok, expected, "after {step:?}");
    }
}

#[test]
fn a_record_is_settled_here_between_what_says_so_before_and_after() {
    let (page, mut own) = under_way();
    let [first, second] = [1, 2].map(|at| own.note(id(at), Class::Ok).unwrap());
    own.persist(Some(first), Class::Ok, || {
        assert_eq!(page.read().ok, [id(1), id(2)], "its place is still taken");
        assert_eq!(resolve(&page.dumped(), |_| 0), [(SETTLING_AT, 0)], "not yet");
        assert_eq!(resolve(&page.dumped(), |_| 1), [take_back(first), (SETTLING_AT, 0)], "settled");
    });
    assert_eq!(page.read().ok, [id(2)]);
    assert_eq!(resolve(&page.dumped(), |_| 1), []);
    own.persist(None, Class::Ok, || {});
    own.persist(Some(second), Class::Ok, || {
        assert_eq!(
            resolve(&page.dumped(), |_| 2),
            [(SETTLING_AT, 0)],
            "the third is not settled yet"
        );
        let settled = resolve(&page.dumped(), |class| if class == Class::Ok { 3 } else { 0 });
        assert_eq!(settled, [take_back(second), (SETTLING_AT, 0)]);
    });
    assert!(page.read().ok.is_empty());
}

#[test]
fn no_more_records_are_noted_than_the_largest_batch_has() {
    let (page, mut own) = under_way();
    for at in 0..MARKS_MAX as u128 {
        assert!(own.note(id(at), Class::Ok).is_some());
    }
    assert_eq!(own.note(id(1 << 20), Class::Ok), None);
    assert_eq!(page.read().ok.len(), MARKS_MAX);
    assert_eq!(
        Mark(u32::try_from(MARKS_MAX).unwrap()).at(),
        UNDER_WAY_WORDS,
        "the page ends behind the last of them"
    );
}

#[test]
fn a_page_that_says_it_was_settling_what_it_has_no_place_for_says_nothing() {
    let (page, _own) = under_way();
    let mut words = page.dumped();
    for (said, known) in [(MARKS_MAX as u64, true), (MARKS_MAX as u64 + 1, false), (0, false)] {
        words[SETTLING_AT] = said;
        assert_eq!(resolve(&words, |_| 7), Vec::from_iter(known.then_some((SETTLING_AT, 0))));
    }
}

#[test]
fn without_a_blank_page_nothing_is_noted() {
    assert_eq!(UnderWay::on(None).note(id(1), Class::Ok), None);
    let (page, mut own) = under_way();
    own.note(id(1), Class::Ok);
    let mut second = UnderWay::on(Some(Arc::clone(&page) as Arc<dyn Page>));
    assert_eq!(second.note(id(2), Class::Ok), None);
    assert_eq!(page.read().ok, [id(1)]);
}

#[test]
fn the_last_connections_are_known() {
    let (page, mut own) = under_way();
    assert_eq!(page.read().sessions, [0; 0]);
    (1..=5).for_each(|session| own.through(session));
    assert_eq!(page.read().sessions, [5, 2, 3, 4]);
}

#[test]
fn no_more_is_asked_than_died() {
    let (page, mut own) = under_way();
    for at in 1..=5 {
        own.note(id(at), Class::Ok).unwrap();
        own.note(id(10 + at), Class::Error).unwrap();
    }
    let left = read(&page.dumped(), |class| if class == Class::Ok { 2 } else { 0 }).unwrap();
    assert_eq!((left.ok.len(), left.error.len()), (2, 0));
}

proptest! {
    #[test]
    fn whatever_a_page_holds_reading_it_does_not_panic(
        noise in prop::collection::vec((0..64_usize, any::<u64>()), 0..64),
        kept in prop::option::of(0..UNDER_WAY_WORDS),
    ) {
        let (page, _own) = under_way();
        let mut words = page.dumped();
        for (word, value) in noise {
            words[word] = value;
        }
        words.truncate(kept.unwrap_or(UNDER_WAY_WORDS));
        for (at, value) in resolve(&words, |_| 7) {
            words[at] = value;
        }
        if let Some(left) = read(&words, |_| u64::MAX) {
            prop_assert!(left.ok.len() + left.error.len() <= MARKS_MAX);
        }
    }
}
