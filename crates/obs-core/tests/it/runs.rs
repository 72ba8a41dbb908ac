//! How runs end: exactly once, on every path, with the result unchanged.

use std::{
    borrow::Cow,
    future::{Future, pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use obs_core::{
    ErrorStatus, FinishedNode, FinishedRun, Recording, RunError, RunFailure, Status, Strategy,
    Timestamp, testing::TestObs,
};

use crate::support::{Measured, both_ways, idle_waker, poll_once};

const SERIES: [(&str, &str); 3] =
    [("obs.kind", "dsl"), ("obs.realm", "acme"), ("obs.strategy.type", "chain")];

fn strategy(test: &TestObs) -> Strategy {
    let kind = test.obs().kind("dsl");
    kind.strategy("bonus").version("3").realm("acme").type_("chain").build().unwrap()
}

#[derive(Clone, Debug, PartialEq)]
struct Failed(ErrorStatus);

impl RunError for Failed {
    fn status(&self) -> ErrorStatus {
        self.0
    }
    fn error_type(&self) -> Cow<'_, str> {
        "CODE".into()
    }
    fn message(&self) -> Option<Cow<'_, str>> {
        Some("what happened".into())
    }
    fn node(&self) -> Option<Cow<'_, str>> {
        Some("n2".into())
    }
}

/// After the run: what the metrics say about its end, with nothing left in flight.
fn assert_ended_once(measured: &Measured, status: Status, nodes: f64) {
    measured.test.assert_balanced();
    let export = measured.export();
    assert_eq!(export.at("obs.run.started", &SERIES), Some(1.0));
    assert_eq!(export.at("obs.run.active", &SERIES), Some(0.0), "{status}");
    let mut with_status = SERIES.to_vec();
    with_status.push(("obs.run.status", status.as_str()));
    let duration = export.histogram("obs.run.duration", &with_status).unwrap();
    assert_eq!((duration.count, duration.sum), (1, 0.007), "{status}");
    let nodes_seen = export.histogram("obs.run.nodes", &SERIES).unwrap();
    assert_eq!((nodes_seen.count, nodes_seen.sum), (1, nodes), "{status}");
    let failures = f64::from(u8::from(status.is_failure()));
    assert_eq!(export.total("obs.run.errors"), failures, "{status}");
    assert_eq!(measured.test.records().last().unwrap().status, status);
}

fn work(measured: &Measured, run: &mut obs_core::Run) {
    run.node("n1");
    run.node("n2");
    measured.test.clock().advance(Duration::from_millis(7));
}

#[test]
fn a_run_that_returns_ok_is_ok_and_its_value_comes_back() {
    both_ways(|measured| {
        let result: Result<u32, Failed> = strategy(&measured.test).observe(&(), |run| {
            work(&measured, run);
            assert_eq!(measured.export().at("obs.run.active", &SERIES), Some(1.0));
            Ok(42)
        });
        assert_eq!(result, Ok(42));
        assert_ended_once(&measured, Status::Ok, 2.0);
    });
}

#[test]
fn an_error_gives_its_status_code_message_and_node_and_comes_back_unchanged() {
    for (given, status) in [
        (ErrorStatus::Error, Status::Error),
        (ErrorStatus::Timeout, Status::Timeout),
        (ErrorStatus::Limit, Status::Limit),
    ] {
        both_ways(|measured| {
            let result: Result<u32, Failed> = strategy(&measured.test).observe(&(), |run| {
                work(&measured, run);
                Err(Failed(given))
            });
            assert_eq!(result, Err(Failed(given)));
            assert_ended_once(&measured, status, 2.0);
            let record = &measured.test.records()[0];
            assert_eq!(record.error_type.as_deref(), Some("CODE"));
            assert_eq!(record.error_message.as_deref(), Some("what happened"));
            assert_eq!(record.error_node.as_deref(), Some("n2"));
            let mut labels = SERIES.to_vec();
            labels.push(("error.type", "CODE"));
            assert_eq!(measured.export().at("obs.run.errors", &labels), Some(1.0));
        });
    }
}

#[test]
fn a_question_mark_or_an_early_return_ends_the_run_as_what_it_is() {
    both_ways(|measured| {
        let result: Result<u32, String> = strategy(&measured.test).observe(&(), |run| {
            work(&measured, run);
            let nothing: Option<u32> = None;
            let number = nothing.ok_or_else(|| "missing".to_owned())?;
            Ok(number)
        });
        assert_eq!(result, Err("missing".to_owned()));
        assert_ended_once(&measured, Status::Error, 2.0);
    });
}

#[test]
fn an_error_that_says_cancelled_is_no_failure() {
    both_ways(|measured| {
        let run_result: Result<(), Failed> = strategy(&measured.test).observe(&(), |run| {
            work(&measured, run);
            Err(Failed(ErrorStatus::Cancelled))
        });
        assert!(run_result.is_err());
        assert_ended_once(&measured, Status::Cancelled, 2.0);
        assert_eq!(measured.test.records()[0].error_type, None);
    });
}

#[test]
fn a_guard_that_is_dropped_is_cancelled() {
    both_ways(|measured| {
        let mut run = strategy(&measured.test).start();
        work(&measured, &mut run);
        drop(run);
        assert_ended_once(&measured, Status::Cancelled, 2.0);
    });
}

#[test]
fn a_panic_inside_observe_is_panicked_keeps_its_message_and_goes_on() {
    both_ways(|measured| {
        let bonus = strategy(&measured.test);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            bonus.observe(&"the input", |run| -> Result<(), Failed> {
                work(&measured, run);
                panic!("node {} exploded", run.id().get_version_num() - 5)
            })
        }));
        let payload = caught.unwrap_err();
        assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("node 2 exploded"));
        assert_ended_once(&measured, Status::Panicked, 2.0);
        let record = &measured.test.records()[0];
        assert_eq!(record.error_type.as_deref(), Some("panicked"));
        assert_eq!(record.error_message.as_deref(), Some("node 2 exploded"));
        assert_eq!(record.input.as_ref().map(|json| json.as_str()), Some("\"the input\""));
    });
}

#[test]
fn a_guard_that_a_panic_unwinds_is_panicked() {
    both_ways(|measured| {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let mut run = strategy(&measured.test).start_with(7);
            work(&measured, &mut run);
            panic!("elsewhere");
        }));
        assert!(caught.is_err());
        assert_ended_once(&measured, Status::Panicked, 2.0);
        assert_eq!(measured.test.records()[0].input.as_ref().map(|json| json.as_str()), Some("7"));
    });
}

#[test]
fn a_run_that_starts_and_is_dropped_while_its_thread_unwinds_is_cancelled() {
    struct RunsInDrop(Strategy);
    impl Drop for RunsInDrop {
        fn drop(&mut self) {
            drop(self.0.start());
        }
    }
    let test = TestObs::new();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _cleans_up = RunsInDrop(strategy(&test));
        panic!("not the run's");
    }));
    assert!(caught.is_err());
    assert_eq!(test.records()[0].status, Status::Cancelled);
}

#[test]
fn an_async_run_that_completes_is_ok_and_one_that_fails_fails() {
    both_ways(|measured| {
        let bonus = strategy(&measured.test);
        let done = poll_once(bonus.observe_async(&1, async |run| -> Result<u32, Failed> {
            work(&measured, run);
            ready(Ok(7)).await
        }));
        assert_eq!(done, Poll::Ready(Ok(7)));
        assert_ended_once(&measured, Status::Ok, 2.0);
    });
    let test = TestObs::new();
    let failed = poll_once(
        strategy(&test)
            .observe_async(&1, async |_run| -> Result<(), String> { Err("no".to_owned()) }),
    );
    assert_eq!(failed, Poll::Ready(Err("no".to_owned())));
    assert_eq!(test.records()[0].status, Status::Error);
}

#[test]
fn a_future_that_is_dropped_before_its_end_is_cancelled_with_its_input() {
    both_ways(|measured| {
        let bonus = strategy(&measured.test);
        let waiting =
            poll_once(bonus.observe_async("the input", async |run| -> Result<(), Failed> {
                work(&measured, run);
                pending().await
            }));
        assert!(waiting.is_pending());
        assert_ended_once(&measured, Status::Cancelled, 2.0);
        let record = &measured.test.records()[0];
        assert_eq!(record.input.as_ref().map(|json| json.as_str()), Some("\"the input\""));
    });
}

#[test]
fn a_future_that_is_never_polled_is_no_run() {
    let test = TestObs::new();
    drop(strategy(&test).observe_async(&(), async |_run| Ok::<_, String>(())));
    assert_eq!(test.obs().ledger().runs.started, 0);
}

#[test]
fn a_panic_inside_a_future_is_panicked() {
    struct PanicsOnSecondPoll(bool);
    impl Future for PanicsOnSecondPoll {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
            assert!(!self.0, "second poll");
            self.0 = true;
            Poll::Pending
        }
    }
    both_ways(|measured| {
        let bonus = strategy(&measured.test);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let mut future = pin!(bonus.observe_async(&(), async |run| -> Result<(), Failed> {
                work(&measured, run);
                PanicsOnSecondPoll(false).await;
                Ok(())
            }));
            let waker = idle_waker();
            let mut context = Context::from_waker(&waker);
            assert!(future.as_mut().poll(&mut context).is_pending());
            let _ = future.as_mut().poll(&mut context);
        }));
        assert!(caught.is_err());
        assert_ended_once(&measured, Status::Panicked, 2.0);
        assert_eq!(measured.test.records()[0].error_message.as_deref(), Some("second poll"));
    });
}

#[test]
fn an_async_run_can_be_spawned() {
    fn must_be_spawnable<F: Future + Send + 'static>(_future: F) {}
    let test = TestObs::new();
    let bonus = strategy(&test);
    must_be_spawnable(async move {
        let event = String::from("event");
        bonus
            .observe_async(&event, async |run| {
                run.subject("user-7");
                ready(()).await;
                Ok::<_, String>(event.len())
            })
            .await
    });
}

#[test]
fn a_run_may_end_on_another_thread_than_it_started_on() {
    both_ways(|measured| {
        let mut run = strategy(&measured.test).start();
        work(&measured, &mut run);
        let ended = std::thread::spawn(move || run.finish(Ok::<_, Failed>(1))).join().unwrap();
        assert_eq!(ended, Ok(1));
        assert_ended_once(&measured, Status::Ok, 2.0);
    });
}

#[test]
fn finish_with_describes_an_error_that_cannot_describe_itself() {
    let test = TestObs::new();
    let parsed = strategy(&test).start().finish_with("x".parse::<u32>(), |error| {
        RunFailure::timeout("PARSE").message(error.to_string()).node("n9")
    });
    assert!(parsed.is_err());
    let record = &test.records()[0];
    assert_eq!(record.status, Status::Timeout);
    assert_eq!(record.error_type.as_deref(), Some("PARSE"));
    assert_eq!(record.error_message.as_deref(), Some("invalid digit found in string"));
    assert_eq!(record.error_node.as_deref(), Some("n9"));
}

#[test]
fn an_error_without_a_code_gets_the_fixed_one() {
    both_ways(|measured| {
        let result: Result<(), String> =
            strategy(&measured.test).observe(&(), |_run| Err("user 7 has no wallet".to_owned()));
        assert!(result.is_err());
        let mut labels = SERIES.to_vec();
        labels.push(("error.type", "_OTHER"));
        assert_eq!(measured.export().at("obs.run.errors", &labels), Some(1.0));
        assert_eq!(measured.test.records()[0].error_type.as_deref(), Some("_OTHER"));
    });
}

#[test]
fn a_dry_run_records_nothing_and_returns_the_result() {
    both_ways(|measured| {
        let dry = strategy(&measured.test).with_recording(Recording::Nothing);
        let result: Result<u32, String> = dry.observe(&(), |run| {
            run.subject("user-7").node("n1").value(&1);
            Err("simulated".to_owned())
        });
        assert_eq!(result, Err("simulated".to_owned()));
        drop(dry.start());
        dry.record(FinishedRun::default());
        assert_eq!(measured.test.obs().ledger(), obs_core::Ledger::default());
        let export = measured.export();
        assert_eq!(export.at("obs.run.started", &SERIES), Some(0.0));
        assert!(export.histograms.get("obs.run.duration").is_none_or(|points| points.is_empty()));
    });
}

#[test]
fn a_finished_run_from_elsewhere_goes_through_the_same_steps() {
    both_ways(|measured| {
        let started_at = Timestamp::from_micros(1_766_000_000_000_000);
        strategy(&measured.test).record(FinishedRun {
            status: Status::Limit,
            error_type: Some("NODE_LIMIT".to_owned()),
            duration: Duration::from_millis(7),
            started_at: Some(started_at),
            nodes: 2,
            trace: vec![FinishedNode {
                id: "n1".to_owned(),
                branch: Some("match".to_owned()),
                offset: Duration::from_micros(5),
                ..FinishedNode::default()
            }],
            case: Some("big".to_owned()),
            input: Some(serde_json::json!({"a": 1})),
            ..FinishedRun::default()
        });
        assert_ended_once(&measured, Status::Limit, 2.0);
        let record = &measured.test.records()[0];
        assert_eq!(record.started_at, started_at);
        assert_eq!(record.run_id.as_u128() >> 80, 1_766_000_000_000);
        assert_eq!(record.finished_at.as_micros() - started_at.as_micros(), 7_000);
        assert_eq!(record.input.as_ref().map(|json| json.as_str()), Some(r#"{"a":1}"#));
        let trace = record.trace.as_ref().map(|json| json.as_str());
        assert_eq!(trace, Some(r#"[{"node":"n1","branch":"match","seq":0,"offset_us":5}]"#));
    });
}

#[test]
fn a_finished_run_with_an_impossible_start_is_taken_as_ending_now_and_counted() {
    both_ways(|measured| {
        for impossible in [0, i64::MAX, i64::MIN] {
            strategy(&measured.test).record(FinishedRun {
                started_at: Some(Timestamp::from_micros(impossible)),
                keep: true,
                ..FinishedRun::default()
            });
            let record = measured.test.records().last().unwrap().clone();
            assert_eq!(record.started_at.as_micros(), 1_767_225_600_000_000);
        }
        assert_eq!(measured.export().at("obs.record.sanitized", &[("reason", "clock")]), Some(3.0));
    });
}

#[test]
fn a_run_that_the_body_puts_in_the_place_of_its_own_ends_as_dropped_and_the_bodys_own_as_returned()
{
    let test = TestObs::new();
    let (outer, other) = (strategy(&test), test.obs().kind("dsl").lookup("other", "1"));
    let mut moved_out = None;
    let result: Result<u32, Failed> = outer.observe(&"input", |run| {
        test.clock().advance(Duration::from_millis(3));
        moved_out = Some(std::mem::replace(run, other.start()));
        Err(Failed(ErrorStatus::Timeout))
    });
    assert_eq!(result, Err(Failed(ErrorStatus::Timeout)));
    let mut moved_out = moved_out.unwrap();
    moved_out.node("n1").kind("compare");
    assert_eq!(moved_out.finish(Ok::<_, Failed>(7)), Ok(7));
    let records = test.records();
    let seen: Vec<_> = records
        .iter()
        .map(|record| (&*record.strategy_id, record.status, record.duration))
        .collect();
    assert_eq!(
        seen,
        [
            ("other", Status::Cancelled, Duration::ZERO),
            ("bonus", Status::Timeout, Duration::from_millis(3)),
        ]
    );
    let ledger = test.obs().ledger();
    assert_eq!((ledger.runs.started, ledger.runs.active), (2, 0));
    test.assert_balanced();
}

#[test]
fn runs_of_a_dry_and_a_real_body_that_change_places_leave_one_start_and_one_end() {
    let test = TestObs::new();
    let (real, dry) = (strategy(&test), strategy(&test).with_recording(Recording::Nothing));
    let result: Result<(), Failed> = real.observe(&(), |one| {
        let _: Result<(), Failed> = dry.observe(&(), |two| {
            std::mem::swap(one, two);
            Ok(())
        });
        assert_eq!(test.obs().ledger().runs.active, 1, "the dry run has ended nothing");
        Ok(())
    });
    assert_eq!(result, Ok(()));
    let ledger = test.obs().ledger();
    assert_eq!((ledger.runs.started, ledger.runs.finished, ledger.runs.active), (1, 1, 0));
    test.assert_balanced();
}

#[test]
fn a_future_that_is_dropped_with_another_run_in_its_place_ends_both() {
    let test = TestObs::new();
    let (outer, other) = (strategy(&test), test.obs().kind("dsl").lookup("other", "1"));
    {
        let mut future = pin!(outer.observe_async(&(), async |run| {
            let _moved_out = std::mem::replace(run, other.start());
            pending::<()>().await;
            Ok::<_, Failed>(())
        }));
        assert!(poll_once(future.as_mut()).is_pending());
        assert_eq!(test.obs().ledger().runs.active, 2);
    }
    let ledger = test.obs().ledger();
    assert_eq!((ledger.runs.started, ledger.runs.active), (2, 0));
    assert_eq!(ledger.ok.recorded, 2);
    test.assert_balanced();
}
