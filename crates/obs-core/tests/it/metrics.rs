//! The instruments: names, units, bounds, zeros.

use std::time::Duration;

use obs_core::{Clock, KeptRows, KindSpec, StoreState, Timestamp, otel};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

use crate::support::{Export, both_ways, measured};

const OWN: [(&str, &str); 3] =
    [("obs.kind", "dsl"), ("obs.realm", "unknown"), ("obs.strategy.type", "unknown")];

#[test]
fn names_and_units_are_those_of_the_conventions() {
    both_ways(|measured| {
        let kind = measured
            .test
            .obs()
            .define_kind(KindSpec::new("dsl").time_limit(Duration::from_millis(500)));
        let mut run = kind.unwrap().lookup("s", "1").start();
        run.queued(Duration::from_millis(1));
        run.finish(Ok::<_, String>(())).unwrap();
        let units = measured.export().units;
        for (name, unit) in [
            ("obs.run.duration", "s"),
            ("obs.run.nodes", "{node}"),
            ("obs.run.queue.duration", "s"),
            ("obs.run.errors", "{error}"),
            ("obs.run.started", "{run}"),
            ("obs.run.active", "{run}"),
            ("obs.run.time_limit", "s"),
            ("obs.record.adopted", "{record}"),
            ("obs.record.recorded", "{record}"),
            ("obs.record.outcomes", "{record}"),
            ("obs.record.dropped", "{record}"),
            ("obs.record.pending", "{record}"),
            ("obs.record.capacity", "{record}"),
            ("obs.record.imbalance", "{record}"),
            ("obs.record.sanitized", "{value}"),
            ("obs.label.folded", "{value}"),
        ] {
            assert_eq!(units.get(name).map(String::as_str), Some(unit), "{name}");
        }
    });
}

#[test]
fn duration_buckets_are_in_seconds_and_hold_the_slo() {
    both_ways(|measured| {
        let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        for millis in [1, 250, 251, 20_000] {
            let run = strategy.start();
            measured.test.clock().advance(Duration::from_millis(millis));
            run.finish(Ok::<_, String>(())).unwrap();
        }
        let export = measured.export();
        let mut labels = OWN.to_vec();
        labels.push(("obs.run.status", "ok"));
        let duration = export.histogram("obs.run.duration", &labels).unwrap();
        assert_eq!(duration.bounds.len(), 21);
        assert_eq!((duration.bounds[0], duration.bounds[20]), (0.0001, 10.0));
        let upto_slo = duration.bounds.iter().position(|bound| *bound == 0.25).unwrap();
        // A bucket holds what is at most its bound.
        assert_eq!(duration.buckets[upto_slo], 1);
        assert_eq!(duration.buckets[upto_slo + 1], 1);
        assert_eq!(duration.buckets.last(), Some(&1), "beyond the last bound");
        assert_eq!((duration.count, duration.sum), (4, 20.502));
    });
}

#[test]
fn node_buckets_count_nodes() {
    both_ways(|measured| {
        let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        for nodes in [0, 1, 1_000, 20_000] {
            let mut run = strategy.start();
            run.add_nodes(nodes);
            run.finish(Ok::<_, String>(())).unwrap();
        }
        let export = measured.export();
        let nodes = export.histogram("obs.run.nodes", &OWN).unwrap();
        let bounds = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4];
        assert_eq!(nodes.bounds, bounds);
        assert_eq!((nodes.buckets[0], nodes.buckets[9], nodes.buckets[13]), (2, 1, 1));
        assert_eq!(nodes.sum, 21_001.0);
    });
}

#[test]
fn counters_exist_with_zero_before_the_first_event_and_histograms_do_not() {
    both_ways(|measured| {
        let _strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        let export = measured.export();
        assert_eq!(export.at("obs.run.started", &OWN), Some(0.0));
        assert_eq!(export.at("obs.run.active", &OWN), Some(0.0));
        let mut other = OWN.to_vec();
        other.push(("error.type", "_OTHER"));
        assert_eq!(export.at("obs.run.errors", &other), Some(0.0));
        let dropped = [OWN[0], OWN[1], OWN[2], ("class", "error"), ("reason", "queue_full")];
        assert_eq!(export.at("obs.record.dropped", &dropped), Some(0.0));
        let outcome = [("class", "ok"), ("outcome", "dropped"), ("reason", "closed")];
        assert_eq!(export.at("obs.record.outcomes", &outcome), Some(0.0));
        assert!(
            export.histograms.values().all(|points| points.is_empty()),
            "{:?}",
            export.histograms
        );
    });
}

#[test]
fn error_type_is_only_on_errors() {
    both_ways(|measured| {
        let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        let _: Result<(), String> = strategy.observe(&(), |_run| Err("no".to_owned()));
        let export = measured.export();
        for (name, points) in &export.histograms {
            assert!(points.keys().all(|labels| !labels.contains_key("error.type")), "{name}");
        }
    });
}

#[test]
fn the_time_limit_of_a_kind_is_exported_for_alerts() {
    both_ways(|measured| {
        let spec = KindSpec::new("dsl").time_limit(Duration::from_millis(500));
        let _strategy = measured.test.obs().define_kind(spec).unwrap().lookup("s", "1");
        assert_eq!(measured.export().at("obs.run.time_limit", &OWN), Some(0.5));
    });
}

#[test]
fn two_strategies_with_the_same_labels_share_one_series() {
    both_ways(|measured| {
        let kind = measured.test.obs().kind("dsl");
        for id in ["a", "b", "c"] {
            kind.lookup(id, "1").start().finish(Ok::<_, String>(())).unwrap();
        }
        assert_eq!(measured.export().at("obs.run.started", &OWN), Some(3.0));
    });
}

#[test]
fn kinds_with_and_without_a_mapping_live_side_by_side() {
    let measured = measured(true, |builder| builder).unwrap();
    let obs = measured.test.obs();
    let mapping = obs_core::MetricsMapping::default().prefix("mine");
    let mapped = obs.define_kind(KindSpec::new("mapped").metrics(mapping)).unwrap();
    mapped.lookup("s", "1").start().finish(Ok::<_, String>(())).unwrap();
    obs.kind("dsl").lookup("s", "1").start().finish(Ok::<_, String>(())).unwrap();
    let export = measured.export();
    assert_eq!((export.total("mine.started"), export.total("obs.run.started")), (1.0, 1.0));
}

#[test]
fn a_kind_is_defined_once_and_before_its_first_use() {
    let measured = measured(false, |builder| builder).unwrap();
    let obs = measured.test.obs();
    let _in_use = obs.kind("dsl");
    let error = obs.define_kind(KindSpec::new("dsl")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kind \"dsl\" is already in use: define it once, before its first strategy is built"
    );
}

#[test]
fn the_store_reports_state_age_size_and_duration() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let meter = provider.meter("obs");
    let metrics = otel::Metrics::new(&meter, otel::MetricsOptions::default()).unwrap();
    let store = metrics.store();
    store.wrote(Ok(256), Duration::from_millis(5));
    store.wrote(Err(3), Duration::from_millis(50));
    assert_eq!(store.state(), StoreState::Down);
    provider.force_flush().unwrap();
    let exported = format!("{:?}", exporter.get_finished_metrics().unwrap());
    for name in [
        "obs.store.write.duration",
        "obs.store.batch.size",
        "obs.store.state",
        "obs.store.last_write.age",
    ] {
        assert!(exported.contains(name), "{name}");
    }
    for name in ["obs.store.days.ahead", "obs.store.oldest.age"] {
        assert!(!exported.contains(name), "{name} before anything is known");
    }
}

#[test]
fn how_far_a_store_goes_back_and_ahead_is_exported_once_it_is_known() {
    const HOUR_MICROS: i64 = 3_600_000_000;
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let meter = provider.meter("obs");
    let store = otel::Metrics::new(&meter, otel::MetricsOptions::default()).unwrap().store();
    let now = Clock::default().wall().as_micros();
    let at = |hours: i64| Some(Timestamp::from_micros(now + hours * HOUR_MICROS));
    store.set_kept(KeptRows { room_until: at(4 * 24), oldest_ok: at(-2), oldest_error: None });
    provider.force_flush().unwrap();
    let exported = Export::read(&exporter);
    assert_eq!(exported.at("obs.store.days.ahead", &[]), Some(3.0));
    let age = exported.at("obs.store.oldest.age", &[("class", "ok")]).unwrap();
    assert!((7_200.0..7_300.0).contains(&age), "{age}");
    assert_eq!(exported.at("obs.store.oldest.age", &[("class", "error")]), None);
    assert_eq!(exported.units["obs.store.oldest.age"], "s");
}

#[test]
fn a_kind_without_a_name_cannot_be_defined() {
    let measured = measured(false, |builder| builder).unwrap();
    let error = measured.test.obs().define_kind(KindSpec::new("  ")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "kind name is empty: name the family of runs, e.g. \"dsl.execution\""
    );
}

#[test]
fn the_fixed_error_codes_exist_with_zero_before_the_first_of_them() {
    both_ways(|measured| {
        let _strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        let export = measured.export();
        for code in ["_OTHER", "timeout", "limit", "panicked"] {
            let mut labels = OWN.to_vec();
            labels.push(("error.type", code));
            assert_eq!(export.at("obs.run.errors", &labels), Some(0.0), "{code}");
        }
    });
}

#[test]
fn a_wait_for_the_start_is_measured_only_where_it_is_given() {
    both_ways(|measured| {
        let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        strategy.start().finish(Ok::<_, String>(())).unwrap();
        let mut late = strategy.start();
        late.queued(Duration::from_millis(400));
        late.finish(Ok::<_, String>(())).unwrap();
        let export = measured.export();
        let waits = export.histogram("obs.run.queue.duration", &OWN).unwrap();
        assert_eq!((waits.count, waits.sum), (1, 0.4));
        let durations: u64 =
            export.histograms["obs.run.duration"].values().map(|point| point.count).sum();
        assert_eq!(durations, 2, "the wait is no part of the duration");
    });
}
