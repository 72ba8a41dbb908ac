//! Flush and shutdown work on every kind of runtime, and on none.

use std::time::Duration;

use obs_core::DropReason;

use crate::support::{LONG, Rig, timed};

const SHORT: Duration = Duration::from_millis(100);

/// Flushes, meets a deadline and shuts down; none of it may hang or panic.
async fn use_it(rig: &Rig) {
    rig.submit_ok(10);
    let report = rig.persister.flush(LONG).await;
    assert_eq!((report.persisted, report.complete), (10, true));
    rig.store.set_stalled(true);
    rig.submit_ok(1);
    let report = rig.persister.flush(SHORT).await;
    assert_eq!((report.left, report.complete), (1, false));
    let report = rig.persister.shutdown(SHORT).await;
    assert_eq!(report.dropped.of(DropReason::ShutdownDeadline), 1);
    rig.ledger();
}

#[test]
fn without_a_runtime() {
    let rig = Rig::new();
    let ((), took) = timed(|| futures_executor::block_on(use_it(&rig)));
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn on_a_multi_thread_runtime() {
    let rig = Rig::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(use_it(&rig));
}

#[test]
fn on_a_current_thread_runtime_without_timers() {
    let rig = Rig::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(use_it(&rig));
}

#[test]
fn in_a_spawned_task() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let rig = Rig::new();
    rig.submit_ok(1);
    let flush = rig.persister.flush(LONG);
    assert!(runtime.block_on(runtime.spawn(flush)).unwrap().complete);
}

#[test]
fn the_blocking_forms_work_inside_of_runtimes() {
    for multi in [false, true] {
        let rig = Rig::new();
        let mut builder = if multi {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        };
        builder.build().unwrap().block_on(async {
            rig.submit_ok(3);
            assert_eq!(rig.persister.flush_blocking(LONG).persisted, 3);
            assert!(rig.persister.shutdown_blocking(LONG).complete);
        });
    }
}

#[test]
fn the_handle_may_be_made_and_dropped_inside_of_runtimes() {
    for multi in [false, true] {
        let mut builder = if multi {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        };
        let runtime = builder.build().unwrap();
        let rig = runtime.block_on(async { Rig::new() });
        rig.submit_ok(3);
        let store = rig.store.clone();
        runtime.block_on(async move { drop(rig) });
        assert_eq!(store.rows().len(), 3);
    }
}

#[test]
fn a_shutdown_works_after_the_callers_runtime_is_gone() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let rig = runtime.block_on(async { Rig::new() });
    rig.submit_ok(3);
    drop(runtime);
    assert_eq!(rig.persister.shutdown_blocking(LONG).persisted, 3);
}
