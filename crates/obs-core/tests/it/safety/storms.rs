//! Error storms: rows get slim, never fewer.

use std::time::Duration;

use obs_core::{RunFailure, Strategy, testing::TestObs};
use proptest::prelude::*;

use crate::support::measured;

fn fail(strategy: &Strategy, code: &'static str) {
    let mut run = strategy.start_with("the whole input");
    run.subject("user-7").attribute("attempt", 2);
    run.node("n1").value(&"what it saw");
    let _ = run.finish_with(Err::<(), _>(()), |()| {
        RunFailure::error(code).message("no such field").node("n1")
    });
}

#[test]
fn of_5000_identical_errors_100_carry_a_payload_and_all_are_rows() {
    let measured = measured(false, |builder| builder).unwrap();
    let bonus = measured.test.obs().kind("dsl").lookup("bonus", "3");
    (0..5_000).for_each(|_| fail(&bonus, "NO_FIELD"));
    let records = measured.test.records();
    assert_eq!(records.len(), 5_000);
    let full: Vec<_> = records.iter().filter(|record| record.input.is_some()).collect();
    assert_eq!(full.len(), 100);
    assert!(full.iter().all(|record| record.trace.is_some() && !record.slim));
    let slim = &records[4_999];
    assert!(slim.slim);
    assert_eq!((&slim.input, &slim.trace), (&None, &None));
    assert_eq!((slim.input_bytes, slim.input_truncated, slim.trace_kept), (0, false, 0));
    assert_eq!((slim.trace_total, slim.nodes), (1, 1), "how much there was is still said");
    assert_eq!(slim.error_message.as_deref(), Some("no such field"));
    assert_eq!(slim.subject.as_deref(), Some("user-7"));
    assert_eq!(slim.attributes.as_ref().unwrap().as_str(), r#"{"attempt":2}"#);
    let export = measured.export();
    assert_eq!(export.at("obs.record.sanitized", &[("reason", "slim")]), Some(4_900.0));
    assert_eq!(measured.test.obs().ledger().error.recorded, 5_000);
    measured.test.assert_balanced();
    measured.test.clock().advance(Duration::from_secs(60));
    fail(&bonus, "NO_FIELD");
    assert!(!measured.test.records()[5_000].slim, "a new minute is stored in full again");
}

#[test]
fn another_error_in_a_storm_and_ok_runs_are_stored_in_full() {
    let test = TestObs::new();
    let bonus = test.obs().kind("dsl").lookup("bonus", "3");
    (0..200).for_each(|_| fail(&bonus, "NO_FIELD"));
    fail(&bonus, "TIMEOUT");
    fail(&test.obs().kind("dsl").lookup("bonus", "4"), "NO_FIELD");
    for _ in 0..200 {
        let mut run = bonus.start_with("the whole input");
        run.keep();
        run.finish(Ok::<_, String>(())).unwrap();
    }
    let records = test.records();
    assert!(records[199].slim && records[200..].iter().all(|record| record.input.is_some()));
}

proptest! {
    #[test]
    fn the_number_of_rows_never_changes(errors in proptest::collection::vec((0_usize..3, 1_usize..200), 1..12)) {
        const CODES: [&str; 3] = ["A", "B", "C"];
        let test = TestObs::new();
        let bonus = test.obs().kind("dsl").lookup("bonus", "3");
        let mut offered = [0; 3];
        for (code, count) in errors {
            (0..count).for_each(|_| fail(&bonus, CODES[code]));
            offered[code] += count;
        }
        let records = test.records();
        prop_assert_eq!(records.len(), offered.iter().sum::<usize>());
        for (code, offered) in CODES.into_iter().zip(offered) {
            let of_code = || records.iter().filter(|record| record.error_type.as_deref() == Some(code));
            prop_assert_eq!(of_code().count(), offered);
            prop_assert_eq!(of_code().filter(|record| !record.slim).count(), offered.min(100));
        }
    }
}
