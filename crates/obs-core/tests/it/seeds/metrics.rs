//! Instruments and labels: what dashboards that exist expect, and what they did not get.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use obs_core::{
    ErrorStatus, KindSpec, MetricsMapping, RunError,
    otel::{Metrics, MetricsOptions},
    testing::TestObs,
};
use opentelemetry::{
    KeyValue,
    metrics::{
        Counter, Gauge, Histogram, HistogramBuilder, InstrumentBuilder, InstrumentProvider, Meter,
        SyncInstrument, UpDownCounter,
    },
};

use super::{OWN, end_in_every_way, fail, strategy, with};
use crate::support::{both_ways, measured};

#[test]
fn the_default_bounds_hold_all_fifteen_of_the_dashboards_that_exist() {
    const SEED: [f64; 15] =
        [0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0];
    both_ways(|measured| {
        let bonus = strategy(measured.test.obs());
        bonus.start().finish(Ok::<_, String>(())).unwrap();
        let export = measured.export();
        let labels = with(("obs.run.status", "ok"));
        let bounds = &export.histogram("obs.run.duration", &labels).unwrap().bounds;
        assert!(SEED.iter().all(|bound| bounds.contains(bound)), "{bounds:?}");
    });
}

#[test]
fn a_node_counter_beside_the_histogram_counts_the_nodes_of_failures_too() {
    both_ways(|measured| {
        let mapping = MetricsMapping::default().nodes_total("dsl.nodes");
        let kind = measured.test.obs().define_kind(KindSpec::new("dsl").metrics(mapping)).unwrap();
        let bonus = kind.realm("acme").type_("DSL_FULL").lookup("bonus", "3");
        for failed in [false, true] {
            let mut run = bonus.start();
            run.add_nodes(1_000);
            let _ = run.finish(if failed { Err("runaway".to_owned()) } else { Ok(()) });
        }
        let export = measured.export();
        assert_eq!(export.at("dsl.nodes", &OWN), Some(2_000.0));
        assert_eq!(export.histogram("obs.run.nodes", &OWN).unwrap().sum, 2_000.0);
    });
}

#[test]
fn node_counts_without_measure_neither_panic_nor_spoil_the_sum() {
    both_ways(|measured| {
        let mapping = MetricsMapping::default().nodes_total("dsl.nodes");
        let kind = measured.test.obs().define_kind(KindSpec::new("dsl").metrics(mapping)).unwrap();
        let bonus = kind.realm("acme").type_("DSL_FULL").lookup("bonus", "3");
        for _ in 0..3 {
            let mut run = bonus.start();
            run.add_nodes(u64::MAX).node("one more");
            run.finish(Ok::<_, String>(())).unwrap();
        }
        let export = measured.export();
        let nodes = export.histogram("obs.run.nodes", &OWN).unwrap();
        assert_eq!(nodes.count, 3);
        assert_eq!(nodes.sum, export.at("dsl.nodes", &OWN).unwrap());
        assert!(nodes.sum >= 3e9, "{}", nodes.sum);
        measured.test.assert_balanced();
    });
}

#[test]
fn a_failure_without_a_code_of_its_own_has_a_fixed_one_on_metric_and_row() {
    #[derive(Debug)]
    struct CustomerAliceHasNoWallet(ErrorStatus);
    impl RunError for CustomerAliceHasNoWallet {
        fn status(&self) -> ErrorStatus {
            self.0
        }
    }
    both_ways(|measured| {
        let bonus = strategy(measured.test.obs());
        for (status, code) in [
            (ErrorStatus::Error, "_OTHER"),
            (ErrorStatus::Timeout, "timeout"),
            (ErrorStatus::Limit, "limit"),
        ] {
            let _ = bonus.start().finish(Err::<(), _>(CustomerAliceHasNoWallet(status)));
            let record = measured.test.records().pop().unwrap();
            assert_eq!(record.error_type.as_deref(), Some(code));
            let labels = with(("error.type", code));
            assert_eq!(measured.export().at("obs.run.errors", &labels), Some(1.0));
        }
        assert!(!format!("{:?}", measured.export()).contains("Wallet"));
    });
}

#[test]
fn every_series_about_runs_has_the_same_keys_given_or_not() {
    both_ways(|measured| {
        let kind = measured.test.obs().kind("dsl");
        for bare in [kind.lookup("a", "1"), kind.realm("acme").type_("T").lookup("b", "1")] {
            let _: Result<(), String> = bare.observe(&(), |run| {
                run.subject("user-7").case("c").attribute("game", "chess");
                Err("no".to_owned())
            });
        }
        let export = measured.export();
        let keys = |more: &[&str]| -> BTreeSet<String> {
            let keys = ["obs.kind", "obs.realm", "obs.strategy.type"].iter().chain(more);
            keys.map(|key| (*key).to_owned()).collect()
        };
        for (name, expected) in [
            ("obs.run.started", keys(&[])),
            ("obs.run.active", keys(&[])),
            ("obs.run.errors", keys(&["error.type"])),
            ("obs.record.dropped", keys(&["class", "reason"])),
        ] {
            for labels in export.numbers[name].keys() {
                assert_eq!(labels.keys().cloned().collect::<BTreeSet<_>>(), expected, "{name}");
            }
        }
        let numbers = export.numbers.values().flat_map(|points| points.keys());
        let mut values = numbers.flat_map(|labels| labels.values());
        assert!(values.all(|value| !value.is_empty()));
    });
}

#[test]
fn an_error_code_is_one_text_on_metric_and_row_and_never_blank() {
    both_ways(|measured| {
        let bonus = strategy(measured.test.obs());
        let long = "x".repeat(500);
        for (code, shown) in [
            ("  DSL_TIMEOUT\n", "DSL_TIMEOUT"),
            ("DSL\u{7}_LIMIT", "DSL_LIMIT"),
            ("Mixed_Case", "Mixed_Case"),
            (" \t ", "unknown"),
            ("", "unknown"),
            (&long, &long[..128]),
        ] {
            fail(&bonus, code);
            let record = measured.test.records().pop().unwrap();
            assert_eq!(record.error_type.as_deref(), Some(shown), "{code:?}");
            let labels: Vec<_> = OWN.into_iter().chain([("error.type", shown)]).collect();
            assert!(measured.export().at("obs.run.errors", &labels) > Some(0.0), "{code:?}");
        }
    });
}

#[test]
fn labels_keep_their_case_because_ids_of_tenants_may_differ_by_it() {
    both_ways(|measured| {
        let kind = measured.test.obs().kind("dsl");
        for realm in ["ACME", "acme", " acme\n"] {
            kind.realm(realm).lookup("s", "1").start().finish(Ok::<_, String>(())).unwrap();
        }
        let export = measured.export();
        let started = |realm| {
            let labels = [OWN[0], ("obs.realm", realm), ("obs.strategy.type", "unknown")];
            export.at("obs.run.started", &labels)
        };
        assert_eq!((started("ACME"), started("acme")), (Some(1.0), Some(2.0)));
    });
}

#[test]
fn names_of_a_kind_that_differ_by_white_space_are_one_kind() {
    let measured = measured(true, |builder| builder).unwrap();
    let obs = measured.test.obs();
    let mapping = MetricsMapping::default().prefix("mine");
    obs.define_kind(KindSpec::new(" dsl\n").metrics(mapping)).unwrap();
    obs.kind("dsl").lookup("s", "1").start().finish(Ok::<_, String>(())).unwrap();
    obs.kind("dsl ").lookup("s", "1").start().finish(Ok::<_, String>(())).unwrap();
    assert_eq!(measured.export().total("mine.started"), 2.0);
    assert!(obs.define_kind(KindSpec::new("dsl")).is_err(), "it is in use already");
}

#[test]
fn codes_that_fold_do_not_use_up_the_room_of_those_that_do_not() {
    both_ways(|measured| {
        let kind = measured.test.obs().kind("dsl");
        let noisy = kind.realm("noisy").lookup("s", "1");
        for number in 0..4_000 {
            fail(&noisy, &format!("CODE_{number}"));
        }
        fail(&kind.realm("quiet").lookup("s", "1"), "CODE_7");
        let export = measured.export();
        let labels = [
            OWN[0],
            ("obs.realm", "quiet"),
            ("obs.strategy.type", "unknown"),
            ("error.type", "CODE_7"),
        ];
        assert_eq!(export.at("obs.run.errors", &labels), Some(1.0));
        assert_eq!(export.total("obs.run.errors"), 4_001.0);
    });
}

struct Deaf;

impl<T> SyncInstrument<T> for Deaf {
    fn measure(&self, _measurement: T, _attributes: &[KeyValue]) {}
}

#[derive(Default)]
struct CountsInstruments(AtomicU64);

impl CountsInstruments {
    fn one(&self) -> Arc<Deaf> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Arc::new(Deaf)
    }
}

impl InstrumentProvider for CountsInstruments {
    fn u64_counter(&self, _: InstrumentBuilder<'_, Counter<u64>>) -> Counter<u64> {
        Counter::new(self.one())
    }
    fn i64_up_down_counter(
        &self,
        _: InstrumentBuilder<'_, UpDownCounter<i64>>,
    ) -> UpDownCounter<i64> {
        UpDownCounter::new(self.one())
    }
    fn f64_gauge(&self, _: InstrumentBuilder<'_, Gauge<f64>>) -> Gauge<f64> {
        Gauge::new(self.one())
    }
    fn f64_histogram(&self, _: HistogramBuilder<'_, Histogram<f64>>) -> Histogram<f64> {
        Histogram::new(self.one())
    }
    fn u64_histogram(&self, _: HistogramBuilder<'_, Histogram<u64>>) -> Histogram<u64> {
        Histogram::new(self.one())
    }
}

#[test]
fn instruments_are_made_with_the_first_strategy_and_never_again() {
    let made = Arc::new(CountsInstruments::default());
    let meter = Meter::new(Arc::clone(&made) as Arc<_>);
    let metrics = Metrics::new(&meter, MetricsOptions::default()).unwrap();
    let test = TestObs::with(|builder| builder.metrics(metrics)).unwrap();
    end_in_every_way(&strategy(test.obs()));
    let before = made.0.load(Ordering::SeqCst);
    assert!(before >= 5, "{before}");
    for number in 0..100 {
        let kind = test.obs().kind(&format!("kind-{}", number % 3));
        end_in_every_way(&kind.realm(&format!("realm-{number}")).lookup("s", &number.to_string()));
        fail(&strategy(test.obs()), &format!("CODE_{number}"));
    }
    assert_eq!(made.0.load(Ordering::SeqCst), before);
}
