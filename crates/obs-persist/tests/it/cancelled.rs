//! Futures that are dropped before their end, wherever they are: one row each, no more.

use std::{
    future::pending,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use obs_core::{Obs, Status, Strategy};

use crate::support::{LONG, Rig};

/// In how many places the work can be interrupted.
const AWAITS: usize = 10;

/// Work that gives way ten times. The run is one to keep, so that what is tested is not chance.
async fn work(strategy: Strategy) -> Result<(), String> {
    let work = strategy.observe_async(&7, async |run| -> Result<(), String> {
        run.keep();
        for at in 0..AWAITS {
            run.node(&format!("n{at}"));
            tokio::task::yield_now().await;
        }
        Ok(())
    });
    work.await
}

/// Work that never ends.
async fn endless(strategy: Strategy) -> Result<(), String> {
    let work = strategy.observe_async(&7, async |run| -> Result<(), String> {
        run.keep();
        pending().await
    });
    work.await
}

/// The statuses of the rows after these futures are gone, with nothing left in flight.
fn rows_after(act: impl FnOnce(&Strategy)) -> Vec<(Status, u64)> {
    let rig = Rig::new();
    let obs = Obs::builder().sink(rig.sink.clone()).build().unwrap();
    act(&obs.kind("dsl").strategy("bonus").version("1").build().unwrap());
    assert!(rig.persister.flush_blocking(LONG).complete);
    let ledger = obs.ledger();
    assert_eq!((ledger.runs.active, ledger.imbalance()), (0, 0), "{ledger}");
    rig.store.rows().iter().map(|row| (row.status, row.nodes)).collect()
}

#[test]
fn a_future_that_is_dropped_at_any_of_its_awaits_is_one_cancelled_row() {
    for polls in 1..=AWAITS {
        let rows = rows_after(|strategy| {
            let mut work = Box::pin(work(strategy.clone()));
            for _ in 0..polls {
                assert!(work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
        });
        assert_eq!(rows, [(Status::Cancelled, polls as u64)]);
    }
    let to_its_end = rows_after(|strategy| {
        let mut work = pin!(work(strategy.clone()));
        while work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    });
    assert_eq!(to_its_end, [(Status::Ok, 10)]);
}

#[test]
fn the_loser_of_a_select_and_a_future_that_runs_out_of_time_are_one_cancelled_row_each() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let lost = rows_after(|strategy| {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = endless(strategy.clone()) => unreachable!("it never ends"),
                () = tokio::task::yield_now() => {}
            }
        });
    });
    assert_eq!(lost, [(Status::Cancelled, 0)]);
    let late = rows_after(|strategy| {
        let work = endless(strategy.clone());
        let limit = Duration::from_millis(1);
        assert!(runtime.block_on(async { tokio::time::timeout(limit, work).await }).is_err());
    });
    assert_eq!(late, [(Status::Cancelled, 0)]);
}
