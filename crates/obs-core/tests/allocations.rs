//! A run that is not kept allocates nothing after warm-up. In a binary of its own, because the
//! counting allocator is the process's.

#![expect(clippy::unwrap_used, reason = "a test may")]
#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use obs_core::{
    KeepPolicy, KeepRule, Obs, Policy, Rate,
    otel::{Metrics, MetricsOptions},
};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending is none that this test looks at.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

fn never_keep() -> KeepPolicy {
    let never = Rate::new(0.0).unwrap();
    KeepPolicy {
        ok_rate: never,
        cancelled_rate: never,
        first: 0,
        slow: None,
        ..KeepPolicy::default()
    }
}

fn measured(bound: bool) -> (Obs, SdkMeterProvider) {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
    let options = MetricsOptions { bound, ..MetricsOptions::default() };
    let metrics = Metrics::new(&provider.meter("obs"), options).unwrap();
    (Obs::builder().metrics(metrics).policy(never_keep()).build().unwrap(), provider)
}

#[test]
fn a_run_that_is_not_kept_allocates_nothing_after_warm_up() {
    const WARM_UP: u32 = 100;
    const RUNS: u32 = 10_000;
    for bound in [false, true] {
        let (obs, _provider) = measured(bound);
        let kind = obs.kind("dsl");
        let event = String::from("event");
        let a_run = || {
            let strategy = kind.lookup("tenant-rule-99", "4");
            let result: Result<u32, String> = strategy.observe(&event, |run| {
                run.subject("user-7").correlation_id("4b0c1f").value(12.5).case("big-spender");
                run.attribute("game.id", "chess").attribute("attempt", 2);
                for _ in 0..20 {
                    run.node("n1").kind("compare").phase("pre").branch("match").value(&42);
                }
                Ok(7)
            });
            assert_eq!(result, Ok(7));
            drop(strategy.start());
        };
        (0..WARM_UP).for_each(|_| a_run());
        let count = allocations(|| (0..RUNS).for_each(|_| a_run()));
        assert_eq!(count, 0, "bound: {bound}");
        assert_eq!(obs.ledger().ok.sampled_out, u64::from(2 * (WARM_UP + RUNS)));
    }
}

#[test]
fn a_run_that_is_not_kept_allocates_nothing_when_the_policy_has_just_changed_or_a_rule_may_end() {
    let (obs, _provider) = measured(true);
    let strategy = obs.kind("dsl").lookup("bonus", "4");
    let a_run = || strategy.observe(&(), |_run| Ok::<_, String>(())).unwrap();
    (0..100).for_each(|_| a_run());
    let still_none = KeepRule { slow: Some(Duration::MAX), ..KeepRule::default() };
    for _ in 0..10 {
        obs.policy().set(Policy { keep: never_keep(), ..Policy::default() }).unwrap();
        assert_eq!(allocations(a_run), 0);
        obs.policy().add_for(still_none.clone(), Duration::from_secs(600)).unwrap();
        assert_eq!(allocations(a_run), 0, "the first that sees the rule");
        assert_eq!(allocations(a_run), 0, "one that looks whether it has ended");
    }
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))) > 0);
}
