//! Everything at once: threads, failures, panics, flushes; the books must balance throughout.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::support::{LONG, Rig};

#[test]
fn every_record_is_accounted_for_at_every_instant() {
    const THREADS: usize = 4;
    const EACH: usize = 3_000;
    let rig = Rig::with(|config| {
        config.queue_records = 200;
        config.batch_records = 32;
        config.linger = Duration::from_millis(1);
    });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for at in 0..EACH {
                        if at % 3 == 0 { rig.submit_errors(1) } else { rig.submit_ok(1) }
                    }
                })
            })
            .collect();
        let trouble = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                rig.store.fail(1);
                rig.persister.flush_blocking(Duration::from_millis(5));
                rig.store.fail_after_commit(1);
                rig.persister.flush_blocking(Duration::from_millis(5));
                rig.store.panic(1);
                rig.persister.flush_blocking(Duration::from_millis(5));
            }
        });
        let auditor = scope.spawn(|| {
            let mut snapshots = 0_u64;
            while !over.load(Ordering::Acquire) {
                assert_eq!(rig.test.obs().ledger().imbalance(), 0);
                snapshots += 1;
            }
            snapshots
        });
        runs.into_iter().for_each(|run| run.join().unwrap());
        over.store(true, Ordering::Release);
        trouble.join().unwrap();
        assert!(auditor.join().unwrap() > 0);
    });
    rig.store.fail(0);
    rig.store.panic(0);
    let report = rig.persister.shutdown_blocking(LONG);
    assert!(report.complete, "{report}");
    let ledger = rig.ledger();
    let settled = |class: &obs_core::ClassLedger| class.persisted + class.dropped.total();
    assert_eq!(settled(&ledger.ok) + settled(&ledger.error), (THREADS * EACH) as u64);
    assert_eq!(ledger.ok.in_queue + ledger.error.in_queue, 0);
    // A panic may come after its batch was committed; then rows are there that count as lost.
    assert!(rig.store.rows().len() as u64 >= ledger.ok.persisted + ledger.error.persisted);
}
