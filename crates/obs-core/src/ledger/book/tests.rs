use std::thread;

use super::*;

fn book() -> (Arc<Book>, Arc<SeriesDrops>) {
    (Arc::new(Book::default()), Arc::new(SeriesDrops::default()))
}

#[test]
fn a_run_that_is_not_kept_is_recorded_and_sampled_out_at_once() {
    let (book, _) = book();
    book.started();
    book.not_kept(Status::Ok);
    let ledger = book.snapshot();
    assert_eq!((ledger.ok.recorded, ledger.ok.sampled_out), (1, 1));
    assert_eq!(ledger.runs, RunLedger { started: 1, finished: 1, active: 0 });
}

#[test]
fn a_kept_record_is_in_the_queue_until_somebody_decides() {
    let (book, drops) = book();
    book.started();
    let ticket = book.kept(Status::Error, &drops);
    assert_eq!(book.snapshot().error.in_queue, 1);
    assert_eq!(book.snapshot().imbalance(), 0);
    ticket.persisted();
    let ledger = book.snapshot();
    assert_eq!((ledger.error.recorded, ledger.error.persisted, ledger.error.in_queue), (1, 1, 0));
}

#[test]
fn a_ticket_that_is_let_go_of_counts_as_abandoned() {
    let (book, drops) = book();
    book.started();
    drop(book.kept(Status::Timeout, &drops));
    let ledger = book.snapshot();
    assert_eq!(ledger.error.dropped.of(DropReason::Abandoned), 1);
    assert_eq!(drops.of(Class::Error, DropReason::Abandoned), 1);
    assert_eq!(ledger.imbalance(), 0);
}

#[test]
fn a_settled_ticket_is_not_abandoned_as_well() {
    let (book, drops) = book();
    book.started();
    book.kept(Status::Ok, &drops).dropped(DropReason::QueueFull);
    let ledger = book.snapshot();
    assert_eq!(ledger.ok.dropped.total(), 1);
    assert_eq!(ledger.ok.dropped.of(DropReason::QueueFull), 1);
}

#[test]
fn a_move_of_which_half_is_missing_shows_in_the_ledger() {
    let (book, drops) = book();
    book.started();
    let ticket = book.kept(Status::Error, &drops);
    let (end, queue) = page::settle(Class::Error, Lies::InMemory, page::End::Persisted);
    assert!(queue.is_some());
    book.shard(ticket_shard(&book)).row.apply((end, None));
    let ledger = book.snapshot();
    assert_eq!((ledger.imbalance(), ledger.error.in_queue), (-1, 1), "{ledger}");
    ticket.stays();
}

/// The shard in which the only record is.
fn ticket_shard(book: &Book) -> usize {
    let holds = |shard: &usize| book.shard(*shard).row.read(Term::InQueue(Class::Error)) > 0;
    (0..SHARDS).find(holds).unwrap()
}

#[test]
fn a_process_that_is_said_to_be_forked_and_is_not_goes_on_with_its_locks() {
    let mut book = Book::default();
    book.forks = book.forks.wrapping_sub(1);
    assert_eq!(book.generation(), 0);
    // A child that has its parent's copy.
    book.pid = book.pid.wrapping_add(1);
    assert_eq!(book.generation(), 1);
}

#[test]
fn a_child_that_was_forked_amid_a_move_counts_in_the_queue_what_was_on_its_way() {
    let end = page::settle(Class::Error, Lies::InMemory, page::End::Persisted);
    for (moved, in_queue) in [(page::keep(Status::Error), 2), (end, 0)] {
        let mut book = Book::default();
        (0..2).for_each(|_| book.started());
        book.shard(0).row.apply(page::keep(Status::Error));
        book.shard(1).row.apply((moved.0, None));
        assert_ne!(book.snapshot().imbalance(), 0);
        book.forks = book.forks.wrapping_sub(1);
        book.pid = book.pid.wrapping_add(1);
        let ledger = book.snapshot();
        assert_eq!((ledger.imbalance(), ledger.error.in_queue), (0, in_queue), "{ledger}");
    }
}

#[test]
fn a_run_that_ended_in_the_parent_just_before_the_fork_counts_as_started_in_the_child() {
    let mut book = Book::default();
    book.pid = book.pid.wrapping_add(1);
    book.not_kept(Status::Ok);
    assert_eq!(book.snapshot().runs, RunLedger { started: 1, finished: 1, active: 0 });
}

#[test]
fn every_thread_has_a_shard_whatever_its_number_and_neighbours_have_different_ones() {
    let mut taken = [0; SHARDS];
    for _ in 0..SHARDS * SHARDS + 1 {
        taken[thread::spawn(own_shard).join().unwrap()] += 1;
    }
    // Threads of other tests take some of the numbers.
    assert!(taken.iter().all(|threads| *threads > 0), "{taken:?}");
}

#[test]
fn every_snapshot_balances_while_threads_start_end_and_settle() {
    const THREADS: usize = 4;
    const RUNS: usize = 20_000;
    let (book, drops) = book();
    let workers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (book, drops) = (Arc::clone(&book), Arc::clone(&drops));
            thread::spawn(move || {
                for run in 0..RUNS {
                    book.started();
                    match (run + thread) % 5 {
                        0 => book.kept(Status::Error, &drops).persisted(),
                        1 => book.kept(Status::Ok, &drops).dropped(DropReason::QueueFull),
                        2 => drop(book.kept(Status::Panicked, &drops)),
                        _ => book.not_kept(Status::Ok),
                    }
                }
            })
        })
        .collect();
    let mut snapshots = 0_u32;
    while workers.iter().any(|worker| !worker.is_finished()) {
        let ledger = book.snapshot();
        assert_eq!(ledger.imbalance(), 0, "{ledger}");
        assert_eq!(ledger.runs.started, ledger.runs.finished + ledger.runs.active);
        snapshots += 1;
    }
    for worker in workers {
        worker.join().unwrap();
    }
    let ledger = book.snapshot();
    assert!(snapshots > 0);
    assert_eq!(ledger.runs.finished, (THREADS * RUNS) as u64);
    assert_eq!(ledger.runs.active, 0);
    assert_eq!(ledger.imbalance(), 0);
}

#[test]
fn a_spooled_record_leaves_the_queue_once_and_its_end_leaves_the_spool() {
    let (book, drops) = book();
    book.started();
    let mut ticket = book.kept(Status::Error, &drops);
    ticket.spooled();
    ticket.spooled();
    let error = book.snapshot().error;
    assert_eq!((error.in_queue, error.spooled, error.imbalance()), (0, 1, 0));
    ticket.quarantined();
    let error = book.snapshot().error;
    assert_eq!((error.spooled, error.quarantined, error.imbalance()), (0, 1, 0));
}

#[test]
fn a_record_that_stays_is_spooled_if_it_was_and_abandoned_if_not() {
    let (book, drops) = book();
    (0..2).for_each(|_| book.started());
    let mut ticket = book.kept(Status::Error, &drops);
    assert!(!ticket.is_spooled());
    ticket.spooled();
    assert!(ticket.is_spooled());
    ticket.stays();
    assert_eq!(book.snapshot().error.spooled, 1);
    book.kept(Status::Error, &drops).stays();
    let error = book.snapshot().error;
    assert_eq!((error.spooled, error.dropped.of(DropReason::Abandoned)), (1, 1));
    assert_eq!(error.imbalance(), 0);
}

#[test]
fn an_adopted_record_is_spooled_from_its_first_snapshot_on_and_no_run_of_this_process() {
    let (book, drops) = book();
    let ticket = book.adopted(Class::Error, &drops);
    let ledger = book.snapshot();
    assert_eq!((ledger.error.adopted, ledger.error.spooled, ledger.imbalance()), (1, 1, 0));
    assert_eq!(ledger.runs, RunLedger::default());
    drop(ticket);
    let ledger = book.snapshot();
    assert_eq!((ledger.error.spooled, ledger.imbalance()), (0, 0));
    assert_eq!(drops.of(Class::Error, DropReason::Abandoned), 1);
}

#[test]
fn crashed_records_are_counted_in_their_series_as_in_the_ledger() {
    let (book, drops) = book();
    book.crashed(Class::Ok, 17, &drops);
    book.crashed(Class::Error, 2, &drops);
    let ledger = book.snapshot();
    assert_eq!((ledger.ok.adopted, ledger.error.adopted, ledger.imbalance()), (17, 2, 0));
    for (class, records) in [(Class::Ok, 17), (Class::Error, 2)] {
        assert_eq!(ledger.class(class).dropped.of(DropReason::Crash), records);
        assert_eq!(drops.of(class, DropReason::Crash), records);
    }
}

#[test]
fn the_next_process_reads_what_this_one_counted() {
    let page: Arc<dyn Page> = Arc::new(HeapPage::new(PAGE_WORDS));
    let epoch = uuid::Uuid::from_u128(77);
    let started_at = crate::Timestamp::from_micros(1_000_000);
    let owner = PageOwner::this_process(epoch, started_at);
    let book = Arc::new(Book::on(Arc::clone(&page), &owner).unwrap());
    let drops = Arc::new(SeriesDrops::default());
    let held: Vec<_> = [Status::Ok, Status::Ok, Status::Error, Status::Error]
        .map(|status| {
            book.started();
            book.kept(status, &drops)
        })
        .into();
    book.started();
    book.not_kept(Status::Ok);
    let alive = book.snapshot();
    let words: Vec<_> = page.words().iter().map(|word| word.load(Ordering::Relaxed)).collect();
    let dead = crate::ledger::read_page(&words).unwrap();
    assert_eq!((dead.owner, &dead.ledger), (owner, &alive));
    assert_eq!((dead.died(Class::Ok), dead.died(Class::Error)), (2, 2));
    let again = Book::on(Arc::clone(&page), &owner).unwrap_err();
    assert!(again.to_string().contains("in use"), "{again}");
    held.into_iter().for_each(Ticket::persisted);
}

/// What a thread of the property does next; the number chooses among the tickets that it holds.
#[derive(Clone, Copy, Debug)]
enum Do {
    NotKept(usize),
    Keep(usize),
    Adopt(usize),
    Crash(usize, u64),
    Spool(usize),
    Persist(usize),
    Quarantine(usize),
    Drop(usize, usize),
    LetGo(usize),
}

fn doing() -> impl proptest::strategy::Strategy<Value = Do> {
    use proptest::prelude::*;
    let any = || any::<usize>();
    prop_oneof![
        1 => any().prop_map(Do::NotKept),
        4 => any().prop_map(Do::Keep),
        1 => any().prop_map(Do::Adopt),
        1 => (any(), 0..1_000_u64).prop_map(|(class, records)| Do::Crash(class, records)),
        3 => any().prop_map(Do::Spool),
        2 => any().prop_map(Do::Persist),
        1 => any().prop_map(Do::Quarantine),
        1 => (any(), any()).prop_map(|(which, reason)| Do::Drop(which, reason)),
        1 => any().prop_map(Do::LetGo),
    ]
}

fn act(book: &Arc<Book>, drops: &Arc<SeriesDrops>, doings: &[Do]) {
    fn one(held: &mut Vec<Ticket>, which: usize) -> Option<Ticket> {
        (!held.is_empty()).then(|| held.swap_remove(which % held.len()))
    }
    let mut held = Vec::new();
    for doing in doings {
        match *doing {
            Do::NotKept(status) => {
                book.started();
                book.not_kept(Status::ALL[status % Status::ALL.len()]);
            }
            Do::Keep(status) => {
                book.started();
                held.push(book.kept(Status::ALL[status % Status::ALL.len()], drops));
            }
            Do::Adopt(class) => held.push(book.adopted(Class::ALL[class % 2], drops)),
            Do::Crash(class, records) => book.crashed(Class::ALL[class % 2], records, drops),
            Do::Spool(which) => {
                let held_len = held.len().max(1);
                held.get_mut(which % held_len).into_iter().for_each(Ticket::spooled);
            }
            Do::Persist(which) => one(&mut held, which).into_iter().for_each(Ticket::persisted),
            Do::Quarantine(which) => {
                one(&mut held, which).into_iter().for_each(Ticket::quarantined);
            }
            Do::Drop(which, reason) => {
                let reason = DropReason::ALL[reason % DropReason::ALL.len()];
                one(&mut held, which).into_iter().for_each(|ticket| ticket.dropped(reason));
            }
            Do::LetGo(which) => drop(one(&mut held, which)),
        }
    }
}

/// Balanced, and every loss is in its series too.
fn assert_exact(book: &Book, drops: &SeriesDrops) {
    book.frozen(|ledger| {
        for class in Class::ALL {
            let terms = ledger.class(class);
            assert_eq!(terms.imbalance(), 0, "{ledger}");
            for reason in DropReason::ALL {
                assert_eq!(terms.dropped.of(reason), drops.of(class, reason), "{class} {reason}");
            }
        }
        assert_eq!(ledger.runs.started, ledger.runs.finished + ledger.runs.active);
    });
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..Default::default() })]

    #[test]
    fn whatever_several_threads_do_every_snapshot_balances(
        plans in proptest::collection::vec(proptest::collection::vec(doing(), 1..300), 3),
    ) {
        let (book, drops) = book();
        thread::scope(|scope| {
            let workers: Vec<_> = plans
                .iter()
                .map(|plan| scope.spawn(|| act(&book, &drops, plan)))
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                assert_exact(&book, &drops);
                thread::yield_now();
            }
        });
        assert_exact(&book, &drops);
        let ledger = book.snapshot();
        for class in Class::ALL {
            let terms = ledger.class(class);
            assert_eq!((terms.in_queue, terms.spooled), (0, 0), "nobody holds a ticket: {ledger}");
        }
    }
}
