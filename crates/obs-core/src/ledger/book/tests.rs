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
