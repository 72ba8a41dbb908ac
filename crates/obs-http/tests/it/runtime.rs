//! Snapshots of the process.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use obs_http::{DELIVERY_KINDS_MAX, Delivery, KEYS_MAX, NAMES_MAX, otel, testing::TestRuntime};

use crate::support::{Exports, rig};

const SERVED: Delivery<'_> =
    Delivery { endpoint: "run-time", target: "website", names: &["Theme", "Locale"], caller: None };

/// Stops a thread that writes on and on, also when an assertion fails beside it.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_process_says_who_it_is_and_its_uptime_is_monotonic() {
    let test = TestRuntime::new();
    test.clock().advance(Duration::from_millis(1_500));
    // The clock on the wall is set back a day.
    test.clock().jump_wall(-86_400_000_000);
    let process = test.runtime().snapshot().process;
    assert_eq!(process.uptime_seconds, 1.5);
    assert_eq!(process.started_at, "2026-01-01T00:00:00.000Z");
    assert_eq!(process.pid, std::process::id());
    assert_ne!(process.host.as_deref(), Some(""));
}

#[test]
fn requests_are_counted_by_template_and_class_with_their_time() {
    let rig = rig();
    for path in ["/users/7", "/users/8", "/fail", "/nothing"] {
        rig.get(path);
    }
    rig.idle();
    let requests = rig.runtime.snapshot().requests;
    assert_eq!(requests.by_route["/users/{id}"].classes.success, 2);
    assert!(requests.by_route["/users/{id}"].seconds > 0.0);
    assert_eq!(requests.by_route["/fail"].classes.server_error, 1);
    assert_eq!(requests.unrouted.classes.client_error, 1);
    assert_eq!((requests.started, requests.finished, requests.in_flight), (4, 4, 0));
}

#[test]
fn deliveries_are_counted_by_everything_that_is_known_of_them() {
    let test = TestRuntime::new();
    let config = test.runtime().deliveries("config").unwrap();
    config.delivered(&SERVED);
    test.clock().advance(Duration::from_secs(60));
    config.delivered(&Delivery {
        endpoint: " Build-Time ",
        target: "WEBSITE",
        names: &["theme"],
        caller: Some(" User-7\n"),
    });
    config.refused("run-time", "website");
    test.clock().advance(Duration::from_secs(5));
    let snapshot = &test.runtime().snapshot().deliveries["config"];
    let totals = snapshot.totals;
    assert_eq!((totals.responses, totals.values, totals.refused), (2, 3, 1));
    assert_eq!(snapshot.by_endpoint.counts["build-time"], 1);
    assert_eq!(snapshot.by_target.counts["website"], 2);
    assert_eq!(snapshot.by_caller.counts["local:website"], 1);
    assert_eq!(snapshot.values_by_caller.counts["user-7"], 1);
    assert_eq!(snapshot.values_by_target.counts["website"], 3);
    let names: Vec<_> = snapshot.values_by_name.counts.keys().collect();
    assert_eq!(names, ["Locale", "Theme", "theme"], "the case of names matters");
    assert_eq!(snapshot.last_at.as_deref(), Some("2026-01-01T00:01:00.000Z"));
    assert_eq!(snapshot.last_age_seconds, Some(5.0));
}

#[test]
fn every_map_is_bounded_and_what_goes_beyond_is_counted_together() {
    let test = TestRuntime::new();
    let config = test.runtime().deliveries("config").unwrap();
    let callers: Vec<_> = (0..=KEYS_MAX).map(|number| format!("user-{number}")).collect();
    for caller in &callers {
        config.delivered(&Delivery { names: &[caller], caller: Some(caller), ..SERVED });
    }
    let many = vec!["user-0"; NAMES_MAX + 5];
    config.delivered(&Delivery { names: &many, ..SERVED });
    let snapshot = &test.runtime().snapshot().deliveries["config"];
    assert_eq!((snapshot.by_caller.counts.len(), snapshot.by_caller.other), (KEYS_MAX, 2));
    assert_eq!(snapshot.values_by_name.counts["user-0"], NAMES_MAX as u64 + 1);
    assert_eq!(snapshot.values_by_name.other, 1 + 5);
    assert_eq!(snapshot.values_by_name.total(), snapshot.totals.values);
    for number in 1..DELIVERY_KINDS_MAX {
        test.runtime().deliveries(&format!("kind-{number}")).unwrap();
    }
    let error = test.runtime().deliveries("one-more").unwrap_err().to_string();
    assert!(error.starts_with("kind of delivery \"one-more\" is one more than 16"), "{error}");
    assert!(test.runtime().deliveries(" config ").is_ok(), "those that are known stay known");
}

#[test]
fn a_snapshot_is_detached_and_one_instant_across_all_groups() {
    let test = TestRuntime::new();
    let runtime = test.runtime();
    let deliveries = [runtime.deliveries("a").unwrap(), runtime.deliveries("b").unwrap()];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        scope.spawn(|| {
            // First a, then b: an instant has at most one more of a.
            while !stop.load(Ordering::Relaxed) {
                deliveries.iter().for_each(|kind| kind.delivered(&SERVED));
            }
        });
        for _ in 0..2_000 {
            let snapshot = runtime.snapshot();
            let of = |kind: &str| &snapshot.deliveries[kind];
            let (a, b) = (of("a").totals.responses, of("b").totals.responses);
            assert!(a == b || a == b + 1, "{a} and {b}");
            for kind in [of("a"), of("b")] {
                assert_eq!(kind.by_caller.total(), kind.totals.responses);
                assert_eq!(kind.values_by_name.total(), kind.totals.values);
            }
        }
    });
    let before = runtime.snapshot();
    let copy = before.clone();
    deliveries[0].delivered(&SERVED);
    assert_eq!(before, copy);
}

#[test]
fn a_test_handle_clears_every_counter_every_map_and_the_last_time() {
    let test = TestRuntime::new();
    let config = test.runtime().deliveries("config").unwrap();
    let empty = test.runtime().snapshot();
    config.delivered(&SERVED);
    config.refused("run-time", "website");
    test.clock().advance(Duration::from_secs(9));
    assert_ne!(test.runtime().snapshot(), empty);
    test.reset();
    let reset = test.runtime().snapshot();
    assert_eq!((&reset.deliveries, &reset.requests), (&empty.deliveries, &empty.requests));
    assert_eq!(reset.process.uptime_seconds, 0.0);
    assert_eq!(reset.process.started_at, "2026-01-01T00:00:09.000Z");
}

#[test]
fn what_only_grows_is_exported_as_counters_and_what_has_many_values_is_not_exported() {
    let exports = Exports::new();
    let test = TestRuntime::new();
    otel::watch_runtime(&exports.meter(), test.runtime());
    let config = test.runtime().deliveries("config").unwrap();
    test.clock().advance(Duration::from_secs(7));
    config.delivered(&Delivery { caller: Some("user-7"), ..SERVED });
    config.refused("run-time", "website");
    let export = exports.read();
    let labels = [("endpoint", "run-time"), ("kind", "config"), ("target", "website")];
    let with = |outcome| [labels[0], labels[1], ("outcome", outcome), labels[2]];
    assert_eq!(export.at("obs.runtime.values", &labels), Some(2.0));
    assert_eq!(export.at("obs.runtime.deliveries", &with("delivered")), Some(1.0));
    assert_eq!(export.at("obs.runtime.deliveries", &with("refused")), Some(1.0));
    assert_eq!(export.at("process.uptime", &[]), Some(7.0));
    assert!(!format!("{export:?}").contains("user-7"));
    assert!(!format!("{export:?}").contains("Theme"));
    let mut monotonic = export.monotonic;
    monotonic.sort_unstable();
    assert_eq!(monotonic, ["obs.runtime.deliveries", "obs.runtime.requests", "obs.runtime.values"]);
}

#[test]
fn each_export_of_a_snapshot_is_one_instant() {
    let exports = Exports::new();
    let test = TestRuntime::new();
    otel::watch_runtime(&exports.meter(), test.runtime());
    let config = test.runtime().deliveries("config").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                config.delivered(&SERVED);
            }
        });
        for _ in 0..100 {
            let export = exports.read();
            let deliveries = export.total("obs.runtime.deliveries");
            assert_eq!(export.total("obs.runtime.values"), 2.0 * deliveries);
        }
    });
}

#[test]
fn deliveries_of_many_targets_fold_on_metrics_and_nothing_is_lost() {
    let exports = Exports::new();
    let test = TestRuntime::new();
    otel::watch_runtime(&exports.meter(), test.runtime());
    let config = test.runtime().deliveries("config").unwrap();
    for number in 0..60 {
        config.delivered(&Delivery { target: &format!("target-{number}"), ..SERVED });
    }
    let export = exports.read();
    let folded = [("endpoint", "_OTHER"), ("kind", "config"), ("target", "_OTHER")];
    assert_eq!(export.at("obs.runtime.values", &folded), Some(20.0));
    assert_eq!(export.total("obs.runtime.values"), 120.0);
}
