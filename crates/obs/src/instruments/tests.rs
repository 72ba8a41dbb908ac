use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{Environment, MetricsSnapshot, Telemetry};

fn telemetry() -> Telemetry {
    crate::builder().environment(Environment::empty()).rows(false).snapshots(true).init().unwrap()
}

fn number(telemetry: &Telemetry, name: &str, attributes: &[(&str, &str)]) -> Option<f64> {
    in_snapshot(&telemetry.snapshot().unwrap(), name, attributes)
}

fn in_snapshot(snapshot: &MetricsSnapshot, name: &str, attributes: &[(&str, &str)]) -> Option<f64> {
    snapshot.metric(name)?.series_with(attributes).next()?.value.number()
}

#[test]
fn a_counter_adds_up_by_attributes() {
    let telemetry = telemetry();
    let sales = telemetry.instruments("shop").counter("shop.sales", "{sale}", "Sales").unwrap();
    sales.with([("country", "at")]).add(2);
    sales.with([("country", "de")]).add(3);
    sales.with([("country", "at")]).add(1);
    assert_eq!(number(&telemetry, "shop.sales", &[("country", "at")]), Some(3.0));
    assert_eq!(number(&telemetry, "shop.sales", &[("country", "de")]), Some(3.0));
}

#[test]
fn a_guard_counts_down_exactly_once_also_when_its_thread_unwinds() {
    let telemetry = telemetry();
    let open = telemetry.instruments("shop").active("cart.open", "{cart}", "Carts").unwrap();
    let vip = open.with([("vip", "yes")]);
    let first = vip.enter();
    let second = vip.enter();
    assert_eq!(number(&telemetry, "cart.open", &[("vip", "yes")]), Some(2.0));
    std::thread::spawn(move || drop(first)).join().unwrap();
    assert_eq!(number(&telemetry, "cart.open", &[("vip", "yes")]), Some(1.0));
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _cart = second;
        std::panic::resume_unwind(Box::new("out of stock"));
    }));
    assert!(unwound.is_err());
    assert_eq!(number(&telemetry, "cart.open", &[("vip", "yes")]), Some(0.0));
}

#[test]
fn a_gauge_that_fails_or_panics_has_no_value_and_everything_else_has() {
    let telemetry = telemetry();
    let shop = telemetry.instruments("shop");
    let turn = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&turn);
    let _gauge = shop
        .gauge("shop.load", "1", "Load", move |readings| {
            readings.add(0.5, [("core", "0")]);
            match now.load(Ordering::SeqCst) {
                0 => Ok(()),
                1 => Err("no such file"),
                _ => std::panic::resume_unwind(Box::new("no such core")),
            }
        })
        .unwrap();
    let sales = shop.counter("shop.sales", "{sale}", "Sales").unwrap();
    let failures = [("instrument", "shop.load")];
    for (says, load, failed, sold) in [
        (0, Some(0.5), 0.0, 1.0),
        (1, None, 1.0, 2.0),
        (2, None, 2.0, 3.0),
        (0, Some(0.5), 2.0, 4.0),
    ] {
        turn.store(says, Ordering::SeqCst);
        sales.add(1);
        let snapshot = telemetry.snapshot().unwrap();
        assert_eq!(in_snapshot(&snapshot, "shop.load", &[("core", "0")]), load, "{says}");
        assert_eq!(in_snapshot(&snapshot, "shop.sales", &[]), Some(sold), "{says}");
        let counted = in_snapshot(&snapshot, "obs.instrument.failures", &failures);
        assert_eq!(counted, Some(failed), "{says}");
    }
}

#[test]
fn a_gauge_is_read_for_as_long_as_its_handle_lives() {
    let telemetry = telemetry();
    let shop = telemetry.instruments("shop");
    let look = |readings: &mut Readings| {
        readings.add(1.0, []);
        Ok::<_, String>(())
    };
    let gauge = shop.gauge("shop.load", "1", "Load", look).unwrap();
    assert_eq!(number(&telemetry, "shop.load", &[]), Some(1.0));
    drop(gauge);
    assert_eq!(number(&telemetry, "shop.load", &[]), None);
    let _again = shop.gauge("shop.load", "1", "Load", look).unwrap();
    assert_eq!(number(&telemetry, "shop.load", &[]), Some(1.0));
}

#[test]
fn a_look_gives_as_many_readings_as_a_gauge_may_have_series_and_not_one_more() {
    let telemetry = telemetry();
    let count = Arc::new(AtomicU64::new(READINGS_MAX as u64));
    let now = Arc::clone(&count);
    let _gauge = telemetry
        .instruments("shop")
        .gauge("shop.load", "1", "Load", move |readings| {
            for core in 0..now.load(Ordering::SeqCst) {
                readings.add(1.0, [("core", &*core.to_string())]);
            }
            Ok::<_, String>(())
        })
        .unwrap();
    let series = |telemetry: &Telemetry| {
        let snapshot = telemetry.snapshot().unwrap();
        snapshot.metric("shop.load").map_or(0, |metric| metric.series.len())
    };
    assert_eq!(series(&telemetry), READINGS_MAX);
    count.store(READINGS_MAX as u64 + 1, Ordering::SeqCst);
    assert_eq!(series(&telemetry), 0);
}

#[test]
fn names_and_units_that_opentelemetry_would_swallow_are_errors_that_say_so() {
    let telemetry = telemetry();
    let shop = telemetry.instruments("shop");
    let longest = "a".repeat(INSTRUMENT_NAME_BYTES_MAX);
    for good in ["a", "shop.sales/2-x_y", &longest] {
        assert!(shop.counter(good, "1", "").is_ok(), "{good}");
    }
    for bad in ["", "9lives", ".a", "a b", "ä", &format!("{longest}a")] {
        let error = shop.counter(bad, "1", "").unwrap_err();
        assert!(matches!(error, InstrumentError::Name { .. }), "{error}");
    }
    for reserved in ["obs.mine", "OBS.mine"] {
        let error = shop.active(reserved, "1", "").unwrap_err();
        assert!(matches!(error, InstrumentError::Reserved { .. }), "{error}");
    }
    let error = shop.counter("b", "€", "").unwrap_err();
    assert!(matches!(error, InstrumentError::Unit { .. }), "{error}");
    assert!(shop.counter("c", &"u".repeat(UNIT_BYTES_MAX), "").is_ok());
    assert!(shop.counter("d", &"u".repeat(UNIT_BYTES_MAX + 1), "").is_err());
}

#[test]
fn a_name_means_one_instrument() {
    let telemetry = telemetry();
    let shop = telemetry.instruments("shop");
    shop.counter("shop.sales", "{sale}", "Sales").unwrap().add(1);
    shop.counter("shop.sales", "{sale}", "Sales").unwrap().add(1);
    assert_eq!(number(&telemetry, "shop.sales", &[]), Some(2.0));
    for other in [
        shop.counter("shop.sales", "{sale}", "Sold").map(drop),
        shop.counter("Shop.Sales", "1", "Sales").map(drop),
        shop.active("shop.sales", "{sale}", "Sales").map(drop),
    ] {
        let error = other.unwrap_err();
        assert!(matches!(error, InstrumentError::Conflict { .. }), "{error}");
    }
}

#[test]
fn an_application_has_so_many_instruments_and_not_one_more() {
    let telemetry = telemetry();
    let book = Book::new(telemetry.provider());
    for name in 0..INSTRUMENTS_MAX {
        book.admit(&format!("a{name}"), Made::new("a counter", "1", "")).unwrap();
    }
    let error = book.admit("b", Made::new("a counter", "1", "")).unwrap_err();
    assert!(matches!(error, InstrumentError::TooMany { .. }), "{error}");
    assert!(book.admit("a7", Made::new("a counter", "1", "")).is_ok());
}
