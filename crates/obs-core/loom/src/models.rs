//! The models: a few threads each, and what must hold whenever somebody looks.

use std::sync::Arc;

use loom::thread;

use crate::{
    bucket::Bucket,
    ledger::{Book, Ledger, SeriesDrops},
    slots::{self, Entry},
    status::{Class, DropReason, Status},
    sync::{AtomicU64, Mutex, Ordering, use_shard},
};

/// Every model with its name.
pub(crate) const ALL: [(&str, fn()); 8] = [
    ("two-writers", || two_writers([0, 1])),
    ("two-writers-one-shard", || two_writers([2, 2])),
    ("spool", spool),
    ("ends", ends),
    ("ended-elsewhere", ended_elsewhere),
    ("thread-ends", thread_ends),
    ("slot", slot),
    ("bucket", bucket),
];

fn book() -> (Arc<Book>, Arc<SeriesDrops>) {
    (Arc::new(Book::default()), Arc::new(SeriesDrops::default()))
}

/// Balanced, no run ended that did not start, and every loss is in its series.
fn looks(book: &Book, drops: &SeriesDrops) -> Ledger {
    book.frozen(|ledger| {
        for class in Class::ALL {
            let terms = ledger.class(class);
            assert_eq!(terms.imbalance(), 0, "{ledger}");
            for reason in [DropReason::QueueFull, DropReason::Abandoned] {
                assert_eq!(terms.dropped.of(reason), drops.of(class, reason), "{class} {reason}");
            }
        }
        assert!(ledger.runs.finished <= ledger.runs.started, "{ledger}");
        ledger.clone()
    })
}

/// Two threads whose runs end, kept and not kept, while a third looks.
fn two_writers(shards: [usize; 2]) {
    let (book, drops) = book();
    let writers = shards.map(|shard| {
        let (book, drops) = (Arc::clone(&book), Arc::clone(&drops));
        thread::spawn(move || {
            book.started();
            if shard == 1 {
                book.not_kept(Status::Ok);
            } else {
                use_shard(shard);
                book.kept(Status::Error, &drops).dropped(DropReason::QueueFull);
            }
        })
    });
    looks(&book, &drops);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let ledger = looks(&book, &drops);
    assert_eq!((ledger.runs.finished, ledger.runs.active), (2, 0));
}

/// A record goes through the spool, its ticket from thread to thread.
fn spool() {
    let (book, drops) = book();
    use_shard(5);
    let mut ticket = book.adopted(Class::Error, &drops);
    let other = {
        let (book, drops) = (Arc::clone(&book), Arc::clone(&drops));
        thread::spawn(move || {
            book.started();
            use_shard(5);
            let mut kept = book.kept(Status::Error, &drops);
            kept.spooled();
            ticket.spooled();
            ticket.quarantined();
            kept
        })
    };
    looks(&book, &drops);
    other.join().unwrap().persisted();
    let ledger = looks(&book, &drops);
    assert_eq!((ledger.error.persisted, ledger.error.quarantined), (1, 1));
}

/// Two records whose ends are on threads of their own; letting go of one is what unwinding does too,
/// which the checker cannot interrupt.
fn ends() {
    let (book, drops) = book();
    let [let_go, finished] = [Status::Panicked, Status::Cancelled].map(|status| {
        book.started();
        use_shard(7);
        book.kept(status, &drops)
    });
    let threads = [thread::spawn(move || drop(let_go)), thread::spawn(|| finished.persisted())];
    looks(&book, &drops);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let ledger = looks(&book, &drops);
    assert_eq!((ledger.ok.persisted, ledger.error.dropped.total()), (1, 1));
}

/// A run that a new thread starts and a thread that has counted before ends is never an end without a
/// start.
fn ended_elsewhere() {
    let (book, drops) = book();
    book.started();
    book.not_kept(Status::Ok);
    let handed = Arc::new(Mutex::new(false));
    let starts = {
        let (book, handed) = (Arc::clone(&book), Arc::clone(&handed));
        thread::spawn(move || {
            book.started();
            *handed.lock().unwrap() = true;
        })
    };
    let looker = {
        let (book, drops) = (Arc::clone(&book), Arc::clone(&drops));
        thread::spawn(move || looks(&book, &drops))
    };
    let handed = *handed.lock().unwrap();
    if handed {
        book.not_kept(Status::Ok);
    }
    starts.join().unwrap();
    looker.join().unwrap();
    looks(&book, &drops);
}

/// What a thread counted is counted once, whenever it ends.
fn thread_ends() {
    let (book, drops) = book();
    let ends = {
        let book = Arc::clone(&book);
        thread::spawn(move || {
            book.started();
            book.not_kept(Status::Ok);
        })
    };
    let before = looks(&book, &drops);
    let during = looks(&book, &drops);
    assert!(before.runs.finished <= during.runs.finished);
    ends.join().unwrap();
    let after = looks(&book, &drops);
    assert_eq!((after.runs.started, after.runs.finished), (1, 1));
}

/// One slot: its thread fills it whenever it is free, another one ends the runs, a third one looks.
fn slot() {
    let entry = |number: u64| Entry { seed: [number, number], reading: number, mark: number };
    let take = move |words: &[AtomicU64], number| {
        slots::free(words, 0)
            .is_some_and(|free| free.take(&entry(number)).load(Ordering::Relaxed) != 0)
    };
    // Only the first slot is used.
    let words: Arc<[AtomicU64]> = (0..slots::at(1)).map(|_| AtomicU64::new(0)).collect();
    assert!(take(&words, 1));
    let ends = {
        let words = Arc::clone(&words);
        thread::spawn(move || slots::clear(&words, 0))
    };
    let starts = {
        let words = Arc::clone(&words);
        thread::spawn(move || take(&words, 2))
    };
    if let Some(seen) = slots::read(&words, 0) {
        assert!([entry(1), entry(2)].contains(&seen), "{seen:?}");
    }
    ends.join().unwrap();
    let expected = starts.join().unwrap().then(|| entry(2));
    assert_eq!(slots::read(&words, 0), expected);
}

/// A thread counts 1, 2 and 1 while another reads: whatever it reads are the first so many of them. The last goes the
/// short way.
fn bucket() {
    const SUM_AND_MAX: [(u128, u64); 4] = [(0, 0), (1, 1), (3, 2), (4, 2)];
    let bucket = Arc::new(Bucket::default());
    let writer = {
        let bucket = Arc::clone(&bucket);
        thread::spawn(move || {
            [1, 2].into_iter().for_each(|value| bucket.add(value));
            let sum = bucket.sum_with(1);
            sum.into_iter().for_each(|sum| bucket.add_within(sum));
        })
    };
    let reader = {
        let bucket = Arc::clone(&bucket);
        thread::spawn(move || bucket.try_read())
    };
    if let Some(read) = reader.join().unwrap() {
        let expected = SUM_AND_MAX[usize::try_from(read.count).unwrap()];
        assert_eq!((read.sum, read.max), expected, "of one moment");
    }
    writer.join().unwrap();
    let all = bucket.try_read().map(|read| (read.count, read.sum, read.min, read.max));
    assert_eq!(all, Some((3, 4, 1, 2)));
}
