//! Quantiles of durations, from cells.

use std::{thread, time::Duration};

use obs_core::{FinishedRun, Status, otel::Measure};
use proptest::prelude::*;

use crate::support::measured_with;

const SHARES: [f64; 5] = [0.0, 0.5, 0.9, 0.99, 0.999];

fn run(nanos: u64, status: Status) -> FinishedRun {
    FinishedRun { status, duration: Duration::from_nanos(nanos), ..FinishedRun::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn quantiles_are_within_one_per_cent_on_living_and_ended_threads_before_and_after_collections(
        runs in prop::collection::vec((any::<u64>(), 24_u32..64, any::<bool>(), prop::bool::weighted(0.1)), 1..200),
    ) {
        let measured = measured_with(Measure::InCells, true, |builder| builder).unwrap();
        let strategy = measured.test.obs().kind("dsl").lookup("s", "1");
        let mut taken = Vec::new();
        for (nanos, shift, elsewhere, collect) in runs {
            let nanos = nanos >> shift;
            taken.push(nanos);
            if elsewhere {
                thread::scope(|scope| {
                    scope.spawn(|| strategy.record(run(nanos, Status::Ok)));
                });
            } else {
                strategy.record(run(nanos, Status::Ok));
            }
            if collect {
                measured.export();
            }
        }
        taken.sort_unstable();
        let durations = measured.test.obs().durations();
        prop_assert_eq!(durations.len(), 1);
        prop_assert_eq!(durations[0].count(), taken.len() as u64);
        for share in SHARES {
            let rank = ((taken.len() as f64 * share).ceil() as usize).max(1);
            let exact = taken[rank - 1] as f64;
            let found = durations[0].quantile(share).unwrap().as_nanos() as f64;
            prop_assert!((found - exact).abs() <= (0.01 * exact).max(8.0), "{share}: {found} and {exact}");
        }
    }
}

#[test]
fn durations_stand_apart_by_series_and_status() {
    let measured = measured_with(Measure::InCells, true, |builder| builder).unwrap();
    let kind = measured.test.obs().kind("dsl");
    kind.realm("a").lookup("s", "1").record(run(1_000_000, Status::Ok));
    kind.realm("a").lookup("s", "1").record(run(2_000_000, Status::Timeout));
    kind.realm("b").lookup("s", "1").record(run(3_000_000, Status::Ok));
    let mut seen: Vec<_> = measured.test.obs().durations();
    seen.sort_by_key(|durations| durations.quantile(0.5));
    let statuses: Vec<_> = seen.iter().map(|durations| durations.status).collect();
    assert_eq!(statuses, [Status::Ok, Status::Timeout, Status::Ok]);
    let realm = |at: usize| seen[at].labels.iter().find(|(key, _)| key == "obs.realm").unwrap();
    assert_eq!((&*realm(1).1, &*realm(2).1), ("a", "b"));
    assert_eq!((seen[0].quantile(1.1), seen[0].quantile(f64::NAN)), (None, None));
}

#[test]
fn runs_that_are_not_measured_in_cells_have_no_durations() {
    let measured = measured_with(Measure::EachRun, true, |builder| builder).unwrap();
    measured.test.obs().kind("dsl").lookup("s", "1").record(run(1, Status::Ok));
    assert!(measured.test.obs().durations().is_empty());
}
