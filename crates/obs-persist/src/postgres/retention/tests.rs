use uuid::Uuid;

use super::{super::partitions::day_of_id, *};

const DAY_MICROS: i64 = 86_400_000_000;
const DAYS_1: Duration = Duration::from_secs(86_400);

/// Noon of a day.
fn noon(day: i64) -> Timestamp {
    Timestamp::from_micros(day * DAY_MICROS + DAY_MICROS / 2)
}

fn day(number: i64) -> Day {
    day_of(noon(number))
}

fn whole(days: impl Iterator<Item = i64>) -> BTreeSet<Present> {
    days.flat_map(|one| TABLES.map(|table| Present { day: day(one), table, may_drop: true }))
        .collect()
}

fn keep(ok: u32, error: u32) -> Retention {
    Retention { ok: Some(DAYS_1 * ok), error: Some(DAYS_1 * error) }
}

fn dropped(plan: &Plan) -> Vec<(Day, Class)> {
    plan.drop.iter().map(|one| (one.day, one.class)).collect()
}

#[test]
fn whole_days_past_their_retention_are_dropped_and_the_boundary_day_is_kept() {
    let at = |now: i64, server: i64, retention| {
        let server_now = Timestamp::from_micros(server);
        let catalog = Catalog { present: whole(95..108), server_now };
        dropped(&plan(Timestamp::from_micros(now), &catalog, retention))
    };
    let same = |now, retention| at(now, now, retention);
    let midnight = 100 * DAY_MICROS;
    let (ok, error) = (Class::Ok, Class::Error);
    // Day 97 ends at midnight of 98: on day 100 it is two days old from midnight on.
    assert_eq!(
        same(midnight, keep(2, 4)),
        [(day(95), ok), (day(95), error), (day(96), ok), (day(97), ok)]
    );
    assert_eq!(same(midnight - 1, keep(2, 4)), [(day(95), ok), (day(96), ok)]);
    assert_eq!(same(midnight, keep(1, 100)).last(), Some(&(day(98), ok)));
    let off = Retention { ok: None, error: None };
    assert_eq!(same(midnight, off), []);
    // The clocks must agree, whichever is ahead.
    assert_eq!(
        at(midnight + 1_000 * DAY_MICROS, midnight, keep(3, 9)),
        [(day(95), ok), (day(96), ok)]
    );
    assert_eq!(
        at(midnight, midnight + 1_000 * DAY_MICROS, keep(3, 9)),
        [(day(95), ok), (day(96), ok)]
    );
}

#[test]
fn the_shortest_retention_drops_no_day_that_is_made_ahead() {
    for minute in 0..1_440 {
        let now = Timestamp::from_micros(100 * DAY_MICROS + minute * 60_000_000);
        let catalog = Catalog { present: whole(98..108), server_now: now };
        let plan = plan(now, &catalog, keep(1, 1));
        assert_eq!(dropped(&plan), [(day(98), Class::Ok), (day(98), Class::Error)]);
        assert_eq!(plan.make, []);
    }
}

#[test]
fn missing_tables_around_today_are_made_and_half_a_day_is_completed() {
    let mut present = whole(99..105);
    present.remove(&Present { day: day(103), table: "run_ok_payload", may_drop: true });
    let catalog = Catalog { present, server_now: noon(100) };
    let plan = plan(noon(100), &catalog, keep(30, 180));
    assert_eq!((plan.make, plan.drop), ([103, 105, 106, 107].map(day).to_vec(), vec![]));
}

#[test]
fn a_day_of_another_role_is_counted_and_left() {
    let mut present = whole(99..108);
    present.insert(Present { day: day(5), table: "run_ok", may_drop: false });
    present.insert(Present { day: day(5), table: "run_ok_payload", may_drop: true });
    let catalog = Catalog { present, server_now: noon(100) };
    let plan = plan(noon(100), &catalog, keep(30, 180));
    assert_eq!((plan.drop, plan.foreign), (vec![], 1));
}

#[test]
fn days_ahead_end_at_the_first_gap() {
    assert_eq!(days_ahead(noon(100), &whole(99..108)), 7);
    assert_eq!(days_ahead(noon(104), &whole(99..108)), 3);
    assert_eq!(days_ahead(noon(107), &whole(99..108)), 0);
    let mut present = whole(99..108);
    present.remove(&Present { day: day(102), table: "run_error", may_drop: true });
    assert_eq!(days_ahead(noon(100), &present), 1);
}

#[test]
fn only_what_has_our_parent_and_our_name_is_ours() {
    assert_eq!(named_by_us("run_ok", "run_ok_20261121"), Some(("run_ok", day(20_778))));
    let last = day_of_id(Uuid::max());
    assert_eq!(named_by_us("run_ok", &format!("run_ok_{last}")), Some(("run_ok", last)));
    let table = [
        ("run", "run_ok_20261121"),
        ("run_error", "run_ok_20261121"),
        ("run_ok", "run_ok_payload_20261121"),
        ("run_ok", "run_ok_20261131"),
        ("run_ok", "run_ok_2026112"),
        ("run_ok", "run_ok_19691231"),
        ("run_ok", "run_ok_+0261121"),
        ("run_ok", "run_ok_99999999999999999999"),
        ("run_ok", "run_ok_"),
        ("run_ok", "archive"),
    ];
    for (parent, child) in table {
        assert_eq!(named_by_us(parent, child), None, "{parent} {child}");
    }
}

#[test]
fn a_day_of_audit_entries_goes_with_the_errors_of_that_day_and_no_sooner() {
    let present = [Present { day: day(95), table: "audit", may_drop: true }].into();
    let catalog = Catalog { present, server_now: noon(100) };
    assert_eq!(dropped(&plan(noon(100), &catalog, keep(1, 4))), [(day(95), Class::Error)]);
    assert_eq!(dropped(&plan(noon(100), &catalog, keep(1, 5))), []);
}
