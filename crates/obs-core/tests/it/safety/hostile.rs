//! Labels and numbers that somebody chose in order to do harm.

use obs_core::{KindSpec, Recording, RunFailure, otel::Measure};

use crate::support::{measured, measured_with};

/// Series of one run instrument at most, as OpenTelemetry's own default has it.
const SERIES_MAX: usize = 2_000;
/// Distinct values of one label at most, and `_OTHER`.
const VALUES_MAX: usize = 64 + 1;

/// A label of `number`, hostile in one of several ways.
fn label(number: usize) -> String {
    match number % 6 {
        0 => format!("user-{number}"),
        1 => format!("{}{number}", "x".repeat(10 * 1024)),
        2 => format!("nul\0{number}"),
        3 => format!("line\r\nbreak\u{1b}[31m{number}"),
        4 => format!("<script>alert({number})</script>"),
        _ => format!("  \u{7}{number}\u{85} "),
    }
}

fn any_number_of_labels_keeps_its_limits_and_totals(runs: usize) {
    let measured =
        measured_with(Measure::InCells, true, |builder| builder.recording(Recording::MetricsOnly))
            .unwrap();
    let kind = measured.test.obs().define_kind(KindSpec::new("dsl").label_strategy(true)).unwrap();
    for number in 0..runs {
        let hostile = label(number);
        let strategy = kind.realm(&hostile).type_(&hostile).lookup(&hostile, &hostile);
        let _ =
            strategy.start().finish_with(Err::<(), _>(()), |()| RunFailure::error(hostile.clone()));
    }
    let export = measured.export();
    for (name, points) in &export.numbers {
        assert!(points.len() <= SERIES_MAX, "{name}: {}", points.len());
        for key in ["obs.realm", "obs.strategy.type", "obs.strategy.id", "error.type"] {
            let mut values: Vec<_> = points.keys().filter_map(|labels| labels.get(key)).collect();
            values.sort();
            values.dedup();
            let fixed_codes = if key == "error.type" { 5 } else { 0 };
            assert!(values.len() <= VALUES_MAX + fixed_codes, "{name}, {key}: {}", values.len());
            for value in values {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
                assert!(value.len() <= 128 && value.chars().all(is_plain), "{value:?}");
            }
        }
    }
    for (name, points) in &export.histograms {
        assert!(points.len() <= SERIES_MAX, "{name}: {}", points.len());
    }
    let total: f64 = export.numbers["obs.run.errors"].values().sum();
    assert_eq!(total, runs as f64, "every error is counted once");
    let measured_runs: u64 =
        export.histograms["obs.run.duration"].values().map(|it| it.count).sum();
    assert_eq!(measured_runs, runs as u64);
    measured.test.assert_balanced();
}

#[test]
fn ten_thousand_hostile_labels_keep_their_limits_and_totals() {
    any_number_of_labels_keeps_its_limits_and_totals(10_000);
}

#[test]
#[ignore = "soak: takes minutes without optimisation"]
fn a_million_hostile_labels_keep_their_limits_and_totals() {
    any_number_of_labels_keeps_its_limits_and_totals(1_000_000);
}

#[test]
fn numbers_that_are_none_are_left_out_and_counted_exactly() {
    const RUNS: usize = 10_000;
    const HOSTILE: [f64; 4] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0];
    let measured = measured(true, |builder| builder).unwrap();
    let bonus = measured.test.obs().kind("dsl").lookup("bonus", "3");
    let mut injected = 0;
    for number in 0..RUNS {
        let mut run = bonus.start();
        run.keep();
        let hostile = number.is_multiple_of(100);
        let value = if hostile { HOSTILE[number / 100 % 4] } else { 1.0 };
        injected += u32::from(!value.is_finite());
        run.value(value);
        run.finish(Ok::<_, String>(())).unwrap();
    }
    assert_eq!(injected, 75);
    let export = measured.export();
    assert_eq!(
        export.at("obs.record.sanitized", &[("reason", "non_finite")]),
        Some(f64::from(injected))
    );
    let values: Vec<_> = measured.test.records().iter().map(|record| record.value).collect();
    assert_eq!(values.iter().filter(|value| value.is_none()).count(), 75);
    assert!(values.iter().flatten().all(|value| value.is_finite()));
    for points in export.histograms.values() {
        assert!(points.values().all(|point| point.sum.is_finite()));
    }
}
