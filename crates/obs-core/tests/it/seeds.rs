//! What the systems before obs did, pinned as behaviour, and what they got wrong, repaired.
//!
//! `docs/seeds.md` says which line each test holds. Here: the observer of runs, and runs in flight.

mod harmless;
mod metrics;
mod records;

use std::{
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use obs_core::{
    Builder, FinishedRun, KeepPolicy, KeepReason, Obs, Rate, Recording, RunFailure, Status,
    Strategy,
    testing::{TestObs, assert_balanced},
};

use crate::support::{Attributes, both_ways, measured, poll_once};

pub(super) const OWN: [(&str, &str); 3] =
    [("obs.kind", "dsl"), ("obs.realm", "acme"), ("obs.strategy.type", "DSL_FULL")];

pub(super) fn strategy(obs: &Obs) -> Strategy {
    let kind = obs.kind("dsl");
    kind.strategy("bonus").version("3").realm("acme").type_("DSL_FULL").build().unwrap()
}

pub(super) fn with(more: (&'static str, &'static str)) -> Vec<(&'static str, &'static str)> {
    OWN.into_iter().chain([more]).collect()
}

pub(super) fn only_failures() -> KeepPolicy {
    let never = Rate::new(0.0).unwrap();
    KeepPolicy {
        ok_rate: never,
        cancelled_rate: never,
        first: 0,
        slow: None,
        ..KeepPolicy::default()
    }
}

pub(super) fn fail(strategy: &Strategy, code: &str) {
    let code = code.to_owned();
    let _ = strategy.start().finish_with(Err::<(), _>(()), |()| RunFailure::error(code));
}

/// Ends one run in each of the ways that there are.
pub(super) fn end_in_every_way(strategy: &Strategy) -> u64 {
    strategy.start().finish(Ok::<_, String>(())).unwrap();
    let early: Result<(), String> = strategy.observe(&(), |_run| {
        let nothing: Option<()> = None;
        nothing.ok_or_else(|| "hook says no".to_owned())
    });
    assert!(early.is_err());
    for failure in [RunFailure::timeout("T"), RunFailure::limit("L"), RunFailure::cancelled()] {
        let _ = strategy.start().finish(Err::<(), _>(failure));
    }
    drop(strategy.start());
    assert!(
        poll_once(strategy.observe_async(&(), async |_run| pending::<Result<(), String>>().await))
            .is_pending()
    );
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        strategy.observe(&(), |_run| -> Result<(), String> {
            std::panic::resume_unwind(Box::new("quiet"))
        })
    }));
    assert!(unwound.is_err());
    strategy.record(FinishedRun { status: Status::Lost, ..FinishedRun::default() });
    9
}

#[test]
fn at_rate_zero_a_timeout_is_kept_and_not_called_sampled() {
    let test = TestObs::with(|builder| builder.policy(only_failures())).unwrap();
    let bonus = strategy(test.obs());
    let _ = bonus.start().finish(Err::<(), _>(RunFailure::timeout("DSL_TIMEOUT")));
    bonus.start().finish(Ok::<_, String>(())).unwrap();
    let records = test.records();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].status, records[0].keep_reason), (Status::Timeout, KeepReason::Failure));
    assert_eq!(records[0].inclusion_probability, 1.0);
    test.assert_balanced();
}

#[test]
fn a_sampled_ok_row_says_so_and_keeps_its_parent_and_its_version() {
    let always = KeepPolicy { ok_rate: Rate::new(1.0).unwrap(), ..only_failures() };
    let test = TestObs::with(|builder| builder.policy(always)).unwrap();
    let bonus = strategy(test.obs());
    let mut parent = bonus.start();
    let id = parent.id();
    let mut child = bonus.start();
    child.parent(id);
    child.finish(Ok::<_, String>(())).unwrap();
    let record = &test.records()[0];
    assert_eq!((record.keep_reason, record.sample_rate), (KeepReason::Sampled, 1.0));
    assert_eq!((record.parent_run_id, &*record.strategy_version), (Some(id), "3"));
    drop(parent);
}

#[test]
fn errors_are_counted_by_their_labels_even_with_rows_off() {
    for bound in [false, true] {
        let rows_off = |builder: Builder| builder.recording(Recording::MetricsOnly);
        let measured = measured(bound, rows_off).unwrap();
        fail(&strategy(measured.test.obs()), "DSL_ARITH_DIV_BY_ZERO");
        let labels = with(("error.type", "DSL_ARITH_DIV_BY_ZERO"));
        assert_eq!(measured.export().at("obs.run.errors", &labels), Some(1.0));
        assert!(measured.test.records().is_empty());
        measured.test.assert_balanced();
    }
}

#[test]
fn an_obs_without_anything_accepts_everything() {
    let obs = Obs::builder().build().unwrap();
    let odd = obs.kind("\u{0}").realm("").type_(&"x".repeat(1_000)).lookup("", "\n");
    let result: Result<u8, String> = odd.observe(&f64::NAN, |run| {
        run.subject("").case("\0").correlation_id(&"c".repeat(9_999)).value(f64::INFINITY);
        run.attribute("", f64::NAN).keep();
        run.node("").kind("").branch("\u{1}").value(&[f64::NAN]);
        run.add_nodes(u64::MAX);
        Ok(7)
    });
    assert_eq!(result, Ok(7));
    let runs = end_in_every_way(&odd);
    assert_eq!(obs.ledger().runs.finished, runs + 1);
    assert_balanced(&obs);
}

#[test]
fn a_division_by_zero_is_one_run_with_its_code_its_nodes_and_no_value() {
    both_ways(|measured| {
        let bonus = strategy(measured.test.obs());
        let divided: Result<f64, RunFailure> = bonus.observe(&0, |run| {
            run.node("n1").kind("literal").value(&0);
            run.node("n2").kind("arith");
            measured.test.clock().advance(Duration::from_millis(2));
            Err(RunFailure::error("DSL_ARITH_DIV_BY_ZERO").message("1 / 0").node("n2"))
        });
        assert!(divided.is_err());
        let records = measured.test.records();
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!((&*record.strategy_id, &*record.strategy_version), ("bonus", "3"));
        assert_eq!(
            (record.strategy_type.as_deref(), record.realm.as_deref()),
            (Some("DSL_FULL"), Some("acme"))
        );
        assert_eq!((record.status, record.value), (Status::Error, None));
        assert_eq!(record.error_type.as_deref(), Some("DSL_ARITH_DIV_BY_ZERO"));
        assert_eq!(record.error_node.as_deref(), Some("n2"));
        assert_eq!((record.nodes, record.trace_total, record.trace_kept), (2, 2, 2));
        assert_eq!(record.duration, Duration::from_millis(2));
        let export = measured.export();
        let duration = export.histogram("obs.run.duration", &with(("obs.run.status", "error")));
        assert_eq!(duration.unwrap().sum, 0.002);
        assert_eq!(export.histogram("obs.run.nodes", &OWN).unwrap().sum, 2.0);
    });
}

#[test]
fn in_flight_goes_up_and_down_on_one_point_whatever_the_end_is() {
    both_ways(|measured| {
        let bonus = strategy(measured.test.obs());
        let in_flight = || measured.export().numbers["obs.run.active"].clone();
        let only = |value| std::iter::once((texts(&OWN), value)).collect();
        assert_eq!(in_flight(), only(0.0), "there is a zero before the first run");
        let held = bonus.start();
        assert_eq!(in_flight(), only(1.0));
        end_in_every_way(&bonus);
        assert_eq!(
            in_flight(),
            only(1.0),
            "a decrement under other labels would be a second point"
        );
        drop(held);
        assert_eq!(in_flight(), only(0.0));
    });
}

#[test]
fn in_flight_is_seen_while_the_run_is_inside() {
    both_ways(|measured| {
        let bonus = strategy(measured.test.obs());
        for inside in [1.0, 2.0, 1.0] {
            let _second = (inside > 1.0).then(|| bonus.start());
            let seen = bonus
                .observe(&(), |_run| Ok::<_, String>(measured.export().at("obs.run.active", &OWN)));
            assert_eq!(seen, Ok(Some(inside)));
        }
        assert_eq!(measured.export().at("obs.run.active", &OWN), Some(0.0));
    });
}

#[test]
fn every_end_has_its_own_status_and_what_started_either_ended_or_is_active() {
    both_ways(|measured| {
        let bonus = strategy(measured.test.obs());
        let held = bonus.start();
        let ended = end_in_every_way(&bonus);
        let export = measured.export();
        let by_status: Vec<(&str, u64)> = export.histograms["obs.run.duration"]
            .iter()
            .map(|(labels, point)| (labels["obs.run.status"].as_str(), point.count))
            .collect();
        let expected = [
            ("cancelled", 3),
            ("error", 1),
            ("limit", 1),
            ("lost", 1),
            ("ok", 1),
            ("panicked", 1),
            ("timeout", 1),
        ];
        assert_eq!(by_status, expected);
        let finished: u64 = by_status.iter().map(|(_, count)| count).sum();
        assert_eq!(finished, ended);
        assert_eq!(export.at("obs.run.started", &OWN), Some((ended + 1) as f64));
        assert_eq!(export.at("obs.run.active", &OWN), Some(1.0));
        assert_eq!(export.histogram("obs.run.nodes", &OWN).unwrap().count, ended);
        assert_eq!(export.total("obs.run.errors"), 5.0, "cancelled runs are no errors");
        drop(held);
        measured.test.assert_balanced();
    });
}

fn texts(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
