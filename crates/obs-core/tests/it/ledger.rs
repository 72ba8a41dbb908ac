//! The ledger in exports: balanced in every one of them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use obs_core::{Ack, Class, DropReason, Kept, Sink, testing::assert_balanced};

use crate::support::{Export, measured};

/// Settles every third record late, every third never.
#[derive(Debug, Default)]
struct Fickle {
    held: std::sync::Mutex<Vec<Kept>>,
}

impl Sink for Fickle {
    fn submit(&self, kept: Kept) -> Ack {
        match kept.record.nodes % 3 {
            0 => kept.ticket.persisted(),
            1 => kept.ticket.dropped(DropReason::QueueFull),
            _ => {
                let mut held = self.held.lock().unwrap();
                held.push(kept);
                if held.len() > 50 {
                    held.remove(0).ticket.persisted();
                }
            }
        }
        Ack::Memory
    }

    fn capacity(&self, class: Class) -> u64 {
        if class == Class::Ok { 1_000 } else { 256 }
    }
}

/// The law, from exported numbers alone.
fn assert_export_balances(export: &Export) {
    for class in ["ok", "error"] {
        let recorded = export.at("obs.record.recorded", &[("class", class)]).unwrap();
        let adopted = export.at("obs.record.adopted", &[("class", class)]).unwrap();
        let outcomes: f64 = export.numbers["obs.record.outcomes"]
            .iter()
            .filter(|(labels, _)| labels["class"] == class)
            .map(|(_, count)| count)
            .sum();
        let pending: f64 = export.numbers["obs.record.pending"]
            .iter()
            .filter(|(labels, _)| labels["class"] == class)
            .map(|(_, count)| count)
            .sum();
        assert_eq!(recorded + adopted, outcomes + pending, "class {class}");
    }
    assert_eq!(export.at("obs.record.imbalance", &[]), Some(0.0));
    let dropped: f64 = export.numbers["obs.record.outcomes"]
        .iter()
        .filter(|(labels, _)| labels["outcome"] == "dropped")
        .map(|(_, count)| count)
        .sum();
    assert_eq!(export.total("obs.record.dropped"), dropped, "both say the same losses");
}

#[test]
fn every_export_balances_while_threads_run() {
    const EXPORTS: usize = 150;
    let sink = Arc::new(Fickle::default());
    let measured =
        measured(true, |builder| builder.sink(Arc::clone(&sink) as Arc<dyn Sink>)).unwrap();
    // Losses of dead processes are on the same instrument as those of this one.
    measured.test.adopter().crashed(Class::Ok, 5);
    let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (strategy, stop) = (strategy.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let mut run = strategy.start();
                    run.add_nodes(number);
                    let failed = number.is_multiple_of(2);
                    let _ = run.finish(if failed { Err("no".to_owned()) } else { Ok(()) });
                    number += 1;
                }
            })
        })
        .collect();
    for _ in 0..EXPORTS {
        assert_export_balances(&measured.export());
    }
    stop.store(true, Ordering::Relaxed);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    sink.held.lock().unwrap().drain(..).for_each(|kept| kept.ticket.persisted());
    assert_export_balances(&measured.export());
    measured.test.assert_balanced();
}

#[test]
fn a_record_that_a_panicking_sink_held_is_abandoned_and_the_run_does_not_notice() {
    #[derive(Debug)]
    struct Panics;
    impl Sink for Panics {
        fn submit(&self, _kept: Kept) -> Ack {
            panic!("a sink must not panic, but this one does");
        }
        fn capacity(&self, _class: Class) -> u64 {
            0
        }
    }
    let obs = obs_core::Obs::builder().sink(Arc::new(Panics)).build().unwrap();
    let strategy = obs.kind("dsl").lookup("s", "1");
    let result: Result<u32, String> = strategy.observe(&(), |_run| Err("no".to_owned()));
    assert_eq!(result, Err("no".to_owned()));
    drop(strategy.start());
    let ledger = obs.ledger();
    assert_eq!(ledger.error.dropped.of(DropReason::Abandoned), 1);
    assert_balanced(&obs);
}

#[test]
fn capacity_is_what_the_sink_says() {
    let measured = measured(false, |builder| builder.sink(Arc::new(Fickle::default()))).unwrap();
    let export = measured.export();
    let capacity =
        |class| export.at("obs.record.capacity", &[("class", class), ("stage", "queue")]);
    assert_eq!((capacity("ok"), capacity("error")), (Some(1_000.0), Some(256.0)));
}

#[test]
fn ten_thousand_runs_on_eight_threads_that_end_in_every_way_are_each_recorded_once() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let measured = measured(true, |builder| builder).unwrap();
    let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let strategy = &strategy;
            scope.spawn(move || {
                for number in 0..1_250_u64 {
                    match (number + thread) % 4 {
                        0 => drop(strategy.start()),
                        1 => {
                            let _ = strategy.start().finish(Err::<(), _>("no".to_owned()));
                        }
                        2 => {
                            let _ = catch_unwind(AssertUnwindSafe(|| {
                                strategy.observe(&(), |_run| -> Result<(), String> {
                                    std::panic::resume_unwind(Box::new("quiet panic"))
                                })
                            }));
                        }
                        _ => strategy.start().finish(Ok::<_, String>(())).unwrap(),
                    }
                }
            });
        }
    });
    measured.test.assert_balanced();
    let ledger = measured.test.obs().ledger();
    assert_eq!(ledger.runs.finished, 10_000);
    assert_eq!(ledger.error.recorded, 5_000);
    assert_eq!(measured.test.records().len() as u64, ledger.ok.persisted + ledger.error.persisted);
    assert_eq!(measured.export().total("obs.run.active"), 0.0);
}

#[test]
fn runs_that_new_threads_start_and_an_old_one_ends_never_outnumber_the_starts() {
    const THREADS: usize = 4_000;
    let measured = measured(true, |builder| builder).unwrap();
    let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
    strategy.start().finish(Ok::<_, String>(())).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let runs = measured.test.obs().ledger().runs;
                assert!(runs.finished <= runs.started, "{runs:?}");
                assert!(measured.export().total("obs.run.active") >= 0.0);
            }
        });
        for _ in 0..THREADS {
            let start = strategy.clone();
            let (hand_over, taken) = std::sync::mpsc::sync_channel(1);
            scope.spawn(move || hand_over.send(start.start()).unwrap());
            taken.recv().unwrap().finish(Ok::<_, String>(())).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert!(measured.export().total("obs.run.active").abs() < 0.5);
    measured.test.assert_balanced();
}
