//! Which runs become records.

use std::time::Duration;

use obs_core::{
    DropReason, KeepPolicy, KeepReason, KindSpec, Rate, Recording, Status, Strategy,
    testing::{TestObs, assert_balanced},
};

fn policy(ok_rate: f64) -> KeepPolicy {
    KeepPolicy { ok_rate: Rate::new(ok_rate).unwrap(), first: 0, ..KeepPolicy::default() }
}

fn test(policy: KeepPolicy) -> (TestObs, Strategy) {
    let test = TestObs::with(|builder| builder.policy(policy)).unwrap();
    let strategy = test.obs().kind("dsl").strategy("bonus").version("3").build().unwrap();
    (test, strategy)
}

fn run(strategy: &Strategy, ok: bool) {
    let _: Result<(), String> =
        strategy.observe(&(), |_run| if ok { Ok(()) } else { Err("no".to_owned()) });
}

#[test]
fn with_rate_zero_no_ok_run_and_every_failure_is_kept() {
    let (test, strategy) = test(policy(0.0));
    for number in 0..100 {
        run(&strategy, number % 4 != 0);
    }
    let records = test.records();
    assert_eq!(records.len(), 25);
    for record in &records {
        assert_eq!((record.status, record.keep_reason), (Status::Error, KeepReason::Failure));
        assert_eq!((record.inclusion_probability, record.sample_rate), (1.0, 1.0));
    }
    test.assert_balanced();
    assert_eq!(test.obs().ledger().ok.sampled_out, 75);
}

#[test]
fn with_rate_one_every_run_is_kept() {
    let (test, strategy) = test(policy(1.0));
    (0..100).for_each(|_| run(&strategy, true));
    assert_eq!(test.records().len(), 100);
    assert!(test.records().iter().all(|record| record.keep_reason == KeepReason::Sampled));
    test.assert_balanced();
}

#[test]
fn a_rate_between_keeps_its_share_with_its_probability() {
    let (test, strategy) = test(policy(0.05));
    (0..20_000).for_each(|_| run(&strategy, true));
    let records = test.records();
    // Six standard deviations of a binomial with n = 20,000 and p = 0.05 are 185.
    assert!(records.len().abs_diff(1_000) < 185, "{}", records.len());
    assert!(
        records
            .iter()
            .all(|record| (record.inclusion_probability, record.sample_rate) == (0.05, 0.05))
    );
}

#[test]
fn the_first_runs_of_each_version_are_kept_and_no_more() {
    let (test, strategy) = test(KeepPolicy { first: 3, ..policy(0.0) });
    let other = test.obs().kind("dsl").lookup("bonus", "4");
    for _ in 0..10 {
        run(&strategy, true);
        run(&other, true);
    }
    let again = test.obs().kind("dsl").strategy("bonus").version("3").build().unwrap();
    run(&again, true);
    let records = test.records();
    assert_eq!(records.len(), 6);
    for version in ["3", "4"] {
        let firsts = records.iter().filter(|record| *record.strategy_version == *version);
        assert_eq!(firsts.filter(|record| record.keep_reason == KeepReason::First).count(), 3);
    }
}

#[test]
fn a_slow_run_is_kept_and_says_so() {
    let (test, strategy) = test(policy(0.0));
    let _: Result<(), String> = strategy.observe(&(), |_run| {
        test.clock().advance(Duration::from_millis(251));
        Ok(())
    });
    run(&strategy, true);
    let records = test.records();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].keep_reason, records[0].slow), (KeepReason::Slow, true));
    assert_eq!(records[0].duration, Duration::from_millis(251));
}

#[test]
fn a_caller_can_force_one_run() {
    let (test, strategy) = test(policy(0.0));
    let mut forced = strategy.start();
    forced.keep();
    forced.finish(Ok::<_, String>(())).unwrap();
    run(&strategy, true);
    assert_eq!(test.records().len(), 1);
    assert_eq!(test.records()[0].keep_reason, KeepReason::Forced);
}

#[test]
fn one_slow_run_does_not_change_which_other_runs_are_sampled() {
    let sampled = |slow_run: Option<usize>| {
        let (test, strategy) = test(policy(0.05));
        for number in 0..8_000_usize {
            let mut run = strategy.start();
            run.value(f64::from(u32::try_from(number).unwrap()));
            if slow_run == Some(number) {
                test.clock().advance(Duration::from_secs(1));
            }
            run.finish(Ok::<_, String>(())).unwrap();
        }
        test.records()
            .into_iter()
            .filter(|record| record.keep_reason == KeepReason::Sampled)
            .map(|record| record.value.unwrap() as usize)
            .collect::<Vec<_>>()
    };
    let undisturbed = sampled(None);
    let victim = (0..8_000).find(|number| !undisturbed.contains(number)).unwrap();
    assert_eq!(sampled(Some(victim)), undisturbed);
}

#[test]
fn cancelled_runs_are_kept_by_default_and_follow_their_own_rate() {
    let (kept, strategy) = test(policy(0.0));
    drop(strategy.start());
    assert_eq!(kept.records()[0].keep_reason, KeepReason::Cancelled);
    let (none, strategy) =
        test(KeepPolicy { cancelled_rate: Rate::new(0.0).unwrap(), ..policy(1.0) });
    drop(strategy.start());
    assert!(none.records().is_empty());
    assert_eq!(none.obs().ledger().ok.sampled_out, 1);
}

#[test]
fn with_rows_switched_off_not_even_a_failure_is_persisted_and_each_is_counted() {
    let test = TestObs::with(|builder| builder.recording(Recording::MetricsOnly)).unwrap();
    let strategy = test.obs().kind("dsl").strategy("bonus").version("3").build().unwrap();
    run(&strategy, true);
    run(&strategy, false);
    assert!(test.records().is_empty());
    let ledger = test.obs().ledger();
    assert_eq!(ledger.error.dropped.of(DropReason::Disabled), 1);
    assert_eq!(ledger.runs.finished, 2);
    test.assert_balanced();
}

#[test]
fn without_a_sink_nothing_fails_and_the_books_balance() {
    let obs = obs_core::Obs::builder().build().unwrap();
    let strategy = obs.kind("dsl").lookup("bonus", "3");
    run(&strategy, false);
    assert_eq!(obs.ledger().error.dropped.of(DropReason::Disabled), 1);
    assert_balanced(&obs);
}

#[test]
fn input_and_attributes_are_encoded_only_for_runs_that_are_kept() {
    use std::cell::Cell;

    struct Counts<'a>(&'a Cell<u32>);
    impl serde::Serialize for Counts<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.set(self.0.get() + 1);
            serializer.serialize_unit()
        }
    }
    let encoded = Cell::new(0);
    let (_test, strategy) = test(policy(0.0));
    for number in 0..10 {
        let _: Result<(), String> = strategy.observe(&Counts(&encoded), |_run| {
            if number == 3 { Err("no".to_owned()) } else { Ok(()) }
        });
    }
    assert_eq!(encoded.get(), 1);
}

#[test]
fn a_kind_may_keep_by_a_policy_of_its_own() {
    let test = TestObs::with(|builder| builder.policy(policy(1.0))).unwrap();
    let quiet = KindSpec::new("http.server").policy(policy(0.0));
    let quiet = test.obs().define_kind(quiet).unwrap().lookup("/users/{id}", "1");
    let loud = test.obs().kind("dsl").lookup("bonus", "3");
    for _ in 0..5 {
        run(&quiet, true);
        run(&loud, true);
    }
    run(&quiet, false);
    let kept: Vec<_> = test.records().iter().map(|record| record.kind.to_string()).collect();
    assert_eq!(kept, ["dsl", "dsl", "dsl", "dsl", "dsl", "http.server"]);
    assert_eq!(test.records()[5].sample_rate, 1.0);
    test.assert_balanced();
}

#[test]
fn runs_of_one_trace_or_one_request_are_kept_together_in_every_process_and_weighed_the_same() {
    use obs_core::{CorrelationId, SampleBy, otel, trace_id_of, trace_is_within};
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
    };

    let service = |by| {
        let ok_rate = Rate::new(0.25).unwrap();
        let policy =
            KeepPolicy { ok_rate, first: 0, slow: None, sample_by: by, ..KeepPolicy::default() };
        let test = TestObs::with(|builder| builder.policy(policy)).unwrap();
        let strategy = test.obs().kind("dsl").lookup("bonus", "3");
        (test, strategy)
    };
    for by in [SampleBy::Trace, SampleBy::Correlation] {
        let ((left, one), (right, other)) = (service(by), service(by));
        for nth in 0..400_u128 {
            let trace = trace_id_of(uuid::Uuid::from_u128(nth));
            let span = SpanContext::new(
                TraceId::from(trace),
                SpanId::from(7_u64),
                TraceFlags::SAMPLED,
                true,
                TraceState::default(),
            );
            let context = Context::new().with_remote_span_context(span);
            let id = CorrelationId::new(&format!("request-{nth}"));
            let _attached = otel::with_correlation_id(&context, id).attach();
            one.observe(&(), |_| Ok::<_, String>(())).unwrap();
            other.start().finish(Ok::<_, String>(())).unwrap();
        }
        let ids = |test: &TestObs| {
            let rows = test.records();
            assert!(rows.iter().all(|row| row.inclusion_probability == 0.25), "the rate's");
            rows.into_iter().map(|row| row.correlation_id.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&left), ids(&right), "{by:?}");
        assert!((60..140).contains(&ids(&left).len()), "{by:?}: {}", ids(&left).len());
        if by == SampleBy::Trace {
            let trace = |row: &obs_core::RunRecord| {
                u128::from_str_radix(row.trace_id.as_deref().unwrap(), 16).unwrap()
            };
            assert!(left.records().iter().all(|row| trace_is_within(trace(row), 0.25)));
        }
    }
    // Without an id that others know, chance decides, and failures are kept anyway.
    let (test, strategy) = service(SampleBy::Trace);
    for _ in 0..400 {
        strategy.observe(&(), |_| Ok::<_, String>(())).unwrap();
    }
    assert!((60..140).contains(&test.records().len()));
    let _ = strategy.observe(&(), |_| Err::<(), _>("no points".to_owned()));
    assert_eq!(test.records().last().unwrap().inclusion_probability, 1.0);
}
