//! Records of dead processes: in the ledger, and in every export.

use std::sync::{Arc, Mutex};

use obs_core::{
    Ack, Adopter, Class, DropReason, Kept, Obs, Page, RecordLabels, Sink, Status, ledger,
    testing::record,
};

use crate::support::measured;

/// Keeps what it is attached with.
#[derive(Debug, Default)]
struct Attached(Mutex<Vec<Adopter>>);

impl Sink for Attached {
    fn submit(&self, kept: Kept) -> Ack {
        kept.ticket.persisted();
        Ack::Memory
    }

    fn capacity(&self, _class: Class) -> u64 {
        1
    }

    fn attach(&self, books: Adopter) {
        self.0.lock().unwrap().push(books);
    }
}

#[test]
fn a_sink_is_attached_once_and_before_the_first_run() {
    let sink = Arc::new(Attached::default());
    let obs = Obs::builder().sink(Arc::clone(&sink) as Arc<dyn Sink>).build().unwrap();
    assert_eq!(sink.0.lock().unwrap().len(), 1);
    let books = sink.0.lock().unwrap()[0].clone();
    books.crashed(Class::Ok, 4);
    assert_eq!(obs.ledger().ok.adopted, 4);
    drop(obs);
    // The sink may outlive the `Obs`, and an adoption that is under way with it.
    books.adopt(Class::Error, &RecordLabels::default()).persisted();
}

#[test]
fn adopted_records_are_exported_with_the_labels_of_their_record() {
    let measured = measured(true, |builder| builder).unwrap();
    let books = measured.test.adopter();
    let mut found = record("bonus", "1");
    found.status = Status::Lost;
    let adopt = || books.adopt(found.class(), &RecordLabels::of(&found));
    let waiting = adopt();
    adopt().persisted();
    adopt().dropped(DropReason::SpoolIo);
    books.crashed(Class::Ok, 12);
    let export = measured.export();
    let error = ("class", "error");
    assert_eq!(export.at("obs.record.pending", &[error, ("stage", "spool")]), Some(1.0));
    assert_eq!(export.at("obs.record.outcomes", &[error, ("outcome", "persisted")]), Some(1.0));
    assert_eq!(export.at("obs.record.imbalance", &[]), Some(0.0));
    let lost = [
        ("obs.kind", "test"),
        ("obs.realm", "acme"),
        ("obs.strategy.type", "chain"),
        error,
        ("reason", "spool_io"),
    ];
    assert_eq!(export.at("obs.record.dropped", &lost), Some(1.0));
    let unknown = ["obs.kind", "obs.realm", "obs.strategy.type"].map(|key| (key, "unknown"));
    let crashed = [&unknown[..], &[("class", "ok"), ("reason", "crash")]].concat();
    assert_eq!(export.at("obs.record.dropped", &crashed), Some(12.0));
    waiting.persisted();
    measured.test.assert_balanced();
}

#[test]
fn a_kind_that_is_used_after_its_records_were_adopted_adds_to_the_same_point() {
    let measured = measured(false, |builder| builder).unwrap();
    let found = record("bonus", "1");
    let books = measured.test.adopter();
    books.adopt(Class::Ok, &RecordLabels::of(&found)).dropped(DropReason::QueueFull);
    let kind = measured.test.obs().kind("test").realm("acme").type_("chain");
    kind.lookup("bonus", "1").start().finish(Ok::<_, String>(())).unwrap();
    let export = measured.export();
    assert!((export.total("obs.record.dropped") - 1.0).abs() < 0.5);
    let point = [
        ("obs.kind", "test"),
        ("obs.realm", "acme"),
        ("obs.strategy.type", "chain"),
        ("class", "ok"),
        ("reason", "queue_full"),
    ];
    assert_eq!(export.at("obs.record.dropped", &point), Some(1.0));
}

#[test]
fn labels_of_adopted_records_are_bounded_and_their_sum_is_the_ledgers() {
    let measured = measured(true, |builder| builder).unwrap();
    let books = measured.test.adopter();
    for number in 0..400 {
        let realm = format!("realm-{}", number % 80);
        let kind = format!("kind-{}", number / 8);
        let labels = RecordLabels { kind: &kind, realm: Some(&realm), strategy_type: None };
        books.adopt(Class::Error, &labels).dropped(DropReason::Encode);
    }
    let export = measured.export();
    assert!((export.total("obs.record.dropped") - 400.0).abs() < 0.5);
    let realms: std::collections::BTreeSet<_> = export.numbers["obs.record.dropped"]
        .keys()
        .map(|labels| labels["obs.realm"].clone())
        .collect();
    assert!(realms.len() <= 65, "{} realms", realms.len());
    let series = export.numbers["obs.record.dropped"]
        .keys()
        .filter(|labels| labels["reason"] == "encode")
        .count();
    assert!(series <= 257, "256 and the one of those that found no room, not {series}");
    assert!(realms.contains("_OTHER"));
    assert!(export.total("obs.label.folded") > 0.0);
}

#[derive(Debug)]
struct Words(Vec<std::sync::atomic::AtomicU64>);

impl Words {
    fn blank(len: usize) -> Arc<Self> {
        Arc::new(Self((0..len).map(|_| std::sync::atomic::AtomicU64::new(0)).collect()))
    }

    fn dumped(&self) -> Vec<u64> {
        self.0.iter().map(|word| word.load(std::sync::atomic::Ordering::Relaxed)).collect()
    }
}

impl Page for Words {
    fn words(&self) -> &[std::sync::atomic::AtomicU64] {
        &self.0
    }
}

#[test]
fn the_next_process_counts_what_died_in_the_memory_of_this_one() {
    #[derive(Debug)]
    struct Holds(Mutex<Vec<Kept>>);
    impl Sink for Holds {
        fn submit(&self, mut kept: Kept) -> Ack {
            if kept.record.class() == Class::Error {
                kept.ticket.spooled();
            }
            self.0.lock().unwrap().push(kept);
            Ack::Os
        }
        fn capacity(&self, _class: Class) -> u64 {
            u64::MAX
        }
    }
    let page = Words::blank(ledger::PAGE_WORDS);
    let sink = Arc::new(Holds(Mutex::default()));
    let obs = Obs::builder()
        .sink(Arc::clone(&sink) as Arc<dyn Sink>)
        .ledger_page(Arc::clone(&page) as Arc<dyn Page>)
        .build()
        .unwrap();
    let strategy = obs.kind("dsl").lookup("s", "1");
    for number in 0..30 {
        let mut run = strategy.start();
        run.keep();
        let _ = run.finish(if number % 3 == 0 { Err("no".to_owned()) } else { Ok(()) });
    }
    sink.0.lock().unwrap().drain(..15).for_each(|kept| kept.ticket.persisted());
    // What is in the page now is what a process that is killed now leaves.
    let dead = ledger::read_page(&page.dumped()).unwrap();
    assert_eq!(dead.owner.epoch, obs.epoch());
    assert_eq!((dead.died(Class::Ok), dead.died(Class::Error)), (10, 0));
    assert_eq!(dead.ledger.error.spooled, 5);

    let next = Arc::new(Attached::default());
    let successor = Obs::builder().sink(Arc::clone(&next) as Arc<dyn Sink>).build().unwrap();
    let books = next.0.lock().unwrap()[0].clone();
    Class::ALL.into_iter().for_each(|class| books.crashed(class, dead.died(class)));
    let ledger = successor.ledger();
    assert_eq!(ledger.ok.dropped.of(DropReason::Crash), 10);
    assert_eq!(ledger.imbalance(), 0);
}

#[test]
fn a_page_that_is_too_short_or_in_use_is_refused_with_the_way_out() {
    let short = Obs::builder().ledger_page(Words::blank(9)).build().unwrap_err().to_string();
    assert!(short.starts_with("ledger page: the page has 9 words, fewer than"), "{short}");
    let page = Words::blank(ledger::PAGE_WORDS);
    let first = Obs::builder().ledger_page(Arc::clone(&page) as Arc<dyn Page>).build().unwrap();
    let second = Obs::builder().ledger_page(page).build().unwrap_err();
    assert!(second.to_string().contains("give one that is blank"), "{second}");
    assert!(std::error::Error::source(&second).is_some());
    drop(first);
}
