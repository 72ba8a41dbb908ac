//! A policy that changes while runs go on.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use obs_core::{
    KeepPolicy, KeepReason, KeepRule, KindSpec, Limits, Policy, Rate, SampleBy, Strategy,
    testing::TestObs,
};

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn rate(rate: f64) -> Rate {
    Rate::new(rate).unwrap()
}

fn keep(ok_rate: f64) -> KeepPolicy {
    KeepPolicy { ok_rate: rate(ok_rate), first: 0, ..KeepPolicy::default() }
}

fn test() -> (TestObs, Strategy) {
    let test = TestObs::with(|builder| builder.policy(keep(0.0))).unwrap();
    let strategy = test.obs().kind("dsl").lookup("bonus", "3");
    (test, strategy)
}

fn set_rate(test: &TestObs, ok_rate: f64) {
    test.obs().policy().set(Policy { keep: keep(ok_rate), ..Policy::default() }).unwrap();
}

fn runs(strategy: &Strategy, count: u32) {
    for _ in 0..count {
        strategy.observe(&(), |_run| Ok::<_, String>(())).unwrap();
    }
}

/// How many runs were kept of the next ten.
fn kept_of_ten(test: &TestObs, strategy: &Strategy) -> usize {
    let before = test.records().len();
    runs(strategy, 10);
    test.records().len() - before
}

fn all_of(strategy: &str) -> KeepRule {
    KeepRule { strategy: Some(strategy.to_owned()), keep_all: true, ..KeepRule::default() }
}

#[test]
fn a_change_is_seen_by_the_next_run_of_strategies_that_exist() {
    let (test, strategy) = test();
    let other = strategy.clone();
    assert_eq!(kept_of_ten(&test, &strategy), 0);
    set_rate(&test, 1.0);
    assert_eq!(kept_of_ten(&test, &strategy), 10);
    assert_eq!(kept_of_ten(&test, &other), 10);
    // A run in flight ends by the policy at its end.
    let run = strategy.start();
    set_rate(&test, 0.0);
    run.finish(Ok::<_, String>(())).unwrap();
    assert_eq!(test.records().len(), 20);
    assert_eq!(test.obs().policy().changes(), 2);
    test.assert_balanced();
}

#[test]
fn each_row_has_the_rate_that_was_in_force_when_it_was_chosen() {
    let (test, strategy) = test();
    set_rate(&test, 0.5);
    runs(&strategy, 400);
    let before = test.records().len();
    set_rate(&test, 0.25);
    runs(&strategy, 400);
    let records = test.records();
    let rates = |of: &[obs_core::RunRecord]| -> Vec<_> {
        let mut rates: Vec<_> =
            of.iter().map(|row| (row.inclusion_probability, row.sample_rate)).collect();
        rates.dedup();
        rates
    };
    assert_eq!(rates(&records[..before]), [(0.5, 0.5)]);
    assert_eq!(rates(&records[before..]), [(0.25, 0.25)]);
    // Each row stands for as many runs as it was likely: about 800. Six standard deviations are 240.
    let stands_for: f64 = records.iter().map(|row| 1.0 / row.inclusion_probability).sum();
    assert!((stands_for - 800.0).abs() < 240.0, "{stands_for}");
}

#[test]
fn a_slow_run_is_one_by_the_threshold_in_force() {
    let (test, strategy) = test();
    let long_run = || {
        let run = strategy.start();
        test.clock().advance(Duration::from_millis(100));
        run.finish(Ok::<_, String>(())).unwrap();
        test.records().last().map(|row| row.keep_reason)
    };
    assert_eq!(long_run(), None);
    let slow = Some(Duration::from_millis(50));
    test.obs()
        .policy()
        .set(Policy { keep: KeepPolicy { slow, ..keep(0.0) }, ..Policy::default() })
        .unwrap();
    assert_eq!(long_run(), Some(KeepReason::Slow));
}

#[test]
fn a_policy_with_one_mistake_changes_nothing_at_all() {
    let (test, strategy) = test();
    set_rate(&test, 1.0);
    let before = test.obs().policy().current();
    let bad = Policy {
        keep: keep(0.0),
        limits: Limits { trace_entries: 1 },
        rules: vec![all_of("other"), KeepRule::default()],
    };
    let error = test.obs().policy().set(bad).unwrap_err();
    assert_eq!(error.rule(), Some(1));
    assert_eq!(test.obs().policy().current(), before);
    assert_eq!(kept_of_ten(&test, &strategy), 10);
    let state = test.obs().policy().state();
    assert_eq!((state.changes, state.refused), (1, 1));
    assert!(state.problem.unwrap().starts_with("rules[1] changes nothing"));
    set_rate(&test, 1.0);
    assert_eq!(test.obs().policy().state().problem, None);
}

#[test]
fn what_others_refuse_is_said_at_bounded_length_until_it_is_mended() {
    let (test, _) = test();
    let policy = test.obs().policy();
    policy.refused(&"ä".repeat(600));
    assert_eq!(policy.state().problem.unwrap(), "ä".repeat(512));
    policy.mended();
    let state = policy.state();
    assert_eq!((state.changes, state.refused, state.problem), (0, 1, None));
}

#[test]
fn a_rule_ends_by_the_clock_without_anybody_doing_anything() {
    let (test, strategy) = test();
    let other = test.obs().kind("dsl").lookup("other", "3");
    runs(&strategy, 1);
    test.obs().policy().add_for(all_of("bonus"), TEN_MINUTES).unwrap();
    assert_eq!(kept_of_ten(&test, &strategy), 10);
    assert_eq!(kept_of_ten(&test, &other), 0);
    test.clock().advance(TEN_MINUTES - Duration::from_micros(1));
    assert_eq!(kept_of_ten(&test, &strategy), 10);
    assert_eq!(test.obs().policy().current().rules.len(), 1);
    test.clock().advance(Duration::from_micros(1));
    assert_eq!(test.obs().policy().current().rules.len(), 0);
    assert_eq!(kept_of_ten(&test, &strategy), 0);
    assert_eq!(kept_of_ten(&test, &test.obs().kind("dsl").lookup("bonus", "new")), 0);
    test.assert_balanced();
}

#[test]
fn a_rule_that_has_ended_does_not_come_back_when_the_clock_is_set_back() {
    let (test, strategy) = test();
    test.obs().policy().add_for(all_of("bonus"), TEN_MINUTES).unwrap();
    test.clock().advance(TEN_MINUTES);
    assert_eq!(kept_of_ten(&test, &strategy), 0);
    test.clock().jump_wall(-300_000_000);
    assert_eq!(kept_of_ten(&test, &strategy), 0);
    // A new one is told the time of the new clock.
    test.obs().policy().add_for(all_of("bonus"), Duration::from_secs(60)).unwrap();
    assert_eq!(kept_of_ten(&test, &strategy), 10);
    assert_eq!(test.obs().policy().current().rules.len(), 1, "the ended one is gone");
}

#[test]
fn under_a_rule_that_ends_lies_the_next_one() {
    let (test, strategy) = test();
    let half = KeepRule { sample_rate: Some(rate(0.5)), ..KeepRule::default() };
    test.obs()
        .policy()
        .set(Policy { keep: keep(0.0), rules: vec![half], ..Policy::default() })
        .unwrap();
    test.obs().policy().add_for(all_of("bonus"), TEN_MINUTES).unwrap();
    runs(&strategy, 10);
    test.clock().advance(TEN_MINUTES);
    runs(&strategy, 100);
    let rates: Vec<_> = test.records().iter().map(|row| row.inclusion_probability).collect();
    assert_eq!(rates[..10], [1.0; 10]);
    assert!(rates.len() > 30 && rates[10..].iter().all(|rate| *rate == 0.5), "{rates:?}");
}

#[test]
fn rules_of_the_builder_count_from_the_start_and_win_over_a_kinds_own_policy() {
    let test = TestObs::with(|builder| builder.policy(keep(0.0)).rules(vec![all_of("bonus")]));
    let test = test.unwrap();
    let spec = KindSpec::new("own").policy(keep(0.0));
    let kind = test.obs().define_kind(spec).unwrap();
    assert_eq!(kept_of_ten(&test, &kind.lookup("bonus", "1")), 10);
    assert_eq!(kept_of_ten(&test, &kind.lookup("other", "1")), 0);
    let error = TestObs::with(|builder| builder.rules(vec![KeepRule::default()])).unwrap_err();
    assert!(error.to_string().starts_with("policy: rules[0] changes nothing"), "{error}");
}

#[test]
fn a_kind_with_a_policy_of_its_own_is_left_alone_by_another_policy_of_all() {
    let (test, _) = test();
    let kind = test.obs().define_kind(KindSpec::new("own").policy(keep(0.0))).unwrap();
    let strategy = kind.lookup("bonus", "1");
    set_rate(&test, 1.0);
    assert_eq!(kept_of_ten(&test, &strategy), 0);
}

#[test]
fn traces_have_the_length_in_force_when_their_run_started() {
    let (test, strategy) = test();
    let set = |entries| {
        let limits = Limits { trace_entries: entries };
        let policy = Policy { keep: keep(1.0), limits, ..Policy::default() };
        test.obs().policy().set(policy).unwrap();
    };
    let last = || test.records().last().map(|row| (row.trace_kept, row.trace_total)).unwrap();
    let mut run = strategy.start();
    set(2);
    (0..5).for_each(|_| drop(run.node("n")));
    run.finish(Ok::<_, String>(())).unwrap();
    assert_eq!(last(), (5, 5), "it started before");
    let mut run = strategy.start();
    set(10);
    (0..5).for_each(|_| drop(run.node("n")));
    run.finish(Ok::<_, String>(())).unwrap();
    assert_eq!(last(), (2, 5));
}

#[test]
fn by_what_runs_are_chosen_may_change_too() {
    let (test, strategy) = test();
    let by = KeepPolicy { sample_by: SampleBy::Correlation, ..keep(0.5) };
    test.obs().policy().set(Policy { keep: by, ..Policy::default() }).unwrap();
    let kept_of = |id: &str| {
        let before = test.records().len();
        for _ in 0..20 {
            let mut run = strategy.start();
            run.correlation_id(id);
            run.finish(Ok::<_, String>(())).unwrap();
        }
        test.records().len() - before
    };
    let kept: Vec<_> = (0..20).map(|nth| kept_of(&format!("req-{nth}"))).collect();
    assert!(kept.iter().all(|kept| matches!(kept, 0 | 20)), "{kept:?}");
    assert!(kept.contains(&0) && kept.contains(&20), "{kept:?}");
}

#[test]
fn the_books_balance_while_many_threads_run_and_the_policy_changes() {
    const THREADS: u32 = 4;
    const RUNS: u32 = 5_000;
    const CHANGES_LEAST: u64 = 4;
    let policies = [(0.25, None), (0.75, Some(Duration::MAX)), (1.0, None)];
    let (test, _) = test();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut changes = 0_u64;
            // However late it begins.
            while changes < CHANGES_LEAST || !done.load(Ordering::Acquire) {
                let (ok_rate, slow) = policies[(changes % 3) as usize];
                let policy = Policy {
                    keep: KeepPolicy { slow, ..keep(ok_rate) },
                    rules: vec![KeepRule { sample_rate: Some(rate(0.5)), ..about_shared() }],
                    ..Policy::default()
                };
                test.obs().policy().set(policy).unwrap();
                changes += 1;
            }
            changes
        });
        let runners: Vec<_> = (0..THREADS)
            .map(|nth| {
                let kind = test.obs().kind("dsl");
                scope.spawn(move || {
                    let (mine, shared) =
                        (kind.lookup(&format!("rule-{nth}"), "1"), kind.lookup("shared", "1"));
                    for _ in 0..RUNS {
                        runs(&mine, 1);
                        runs(&shared, 1);
                    }
                })
            })
            .collect();
        for runner in runners {
            runner.join().unwrap();
        }
        done.store(true, Ordering::Release);
        assert!(changer.join().unwrap() >= CHANGES_LEAST);
    });
    test.assert_balanced();
    let ledger = test.obs().ledger();
    assert_eq!(ledger.ok.recorded, u64::from(2 * THREADS * RUNS));
    assert_eq!(ledger.ok.persisted as usize, test.records().len());
    let known = [0.0, 0.25, 0.5, 0.75, 1.0];
    for row in test.records() {
        assert!(known.contains(&row.inclusion_probability), "{}", row.inclusion_probability);
        assert!(row.keep_reason != KeepReason::Slow, "no run took any time");
    }
}

/// The beginning of a rule about the strategy that all threads share.
fn about_shared() -> KeepRule {
    KeepRule { strategy: Some("shared".to_owned()), ..KeepRule::default() }
}
