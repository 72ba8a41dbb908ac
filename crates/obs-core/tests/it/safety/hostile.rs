//! Labels and numbers that somebody chose in order to do harm.

use std::{env, fs, process::Command, time::Duration};

use obs_core::{Clock, KindSpec, Recording, RunFailure, otel::Measure, testing::TestObs};
use serde_json::{Value, value::RawValue};

use crate::support::{measured, measured_with};

/// Series of one run instrument at most, as OpenTelemetry's own default has it.
const SERIES_MAX: usize = 2_000;
/// Distinct values of one label at most, and `_OTHER`.
const VALUES_MAX: usize = 64 + 1;

/// What a hostile value may cost the process that sees it: 16 MiB.
const MEMORY_MAX: usize = 16 << 20;

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

/// Runs by which every limit of labels and series is reached.
const FULL: usize = 5_000;

fn any_number_of_labels_keeps_its_limits_and_totals(runs: usize) {
    let measured =
        measured_with(Measure::InCells, true, |builder| builder.recording(Recording::MetricsOnly))
            .unwrap();
    let kind = measured.test.obs().define_kind(KindSpec::new("dsl").label_strategy(true)).unwrap();
    let mut filled = memory();
    for number in 0..runs {
        if number == FULL {
            filled = memory();
        }
        let hostile = label(number);
        let strategy = kind.realm(&hostile).type_(&hostile).lookup(&hostile, &hostile);
        let _ =
            strategy.start().finish_with(Err::<(), _>(()), |()| RunFailure::error(hostile.clone()));
    }
    let more = memory().saturating_sub(filled);
    assert!(
        more <= MEMORY_MAX,
        "{more} bytes more once there is a series for as many as there may be"
    );
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
    if !is_alone("ten_thousand_hostile_labels_keep_their_limits_and_totals") {
        return;
    }
    any_number_of_labels_keeps_its_limits_and_totals(10_000);
}

#[test]
#[ignore = "soak: takes minutes without optimisation"]
fn a_million_hostile_labels_keep_their_limits_and_totals() {
    if !is_alone("a_million_hostile_labels_keep_their_limits_and_totals") {
        return;
    }
    any_number_of_labels_keeps_its_limits_and_totals(1_000_000);
}

#[test]
fn a_text_of_300_megabytes_costs_little_time_and_memory_wherever_it_stands() {
    const BYTES: usize = 300_000_000;
    /// Four walks through as much as may be walked, not optimised, beside other tests.
    const TIME_MAX: Duration = Duration::from_secs(8);
    if !is_alone("a_text_of_300_megabytes_costs_little_time_and_memory_wherever_it_stands") {
        return;
    }
    let (test, clock) = (TestObs::new(), Clock::default());
    let bonus = test.obs().kind("dsl").lookup("bonus", "3");
    let text = "x".repeat(BYTES);
    let raw = RawValue::from_string(format!("\"{text}\"")).unwrap();
    let value = Value::String(text);
    let Value::String(text) = &value else { unreachable!() };
    let (before, start) = (memory(), clock.now());
    let _: Result<(), &str> = bonus.observe(&value, |_| Err("timeout"));
    let _: Result<(), &str> = bonus.observe(&raw, |_| Err("timeout"));
    let _: Result<(), &str> = bonus.observe(&(), |_| Err(text.as_str()));
    let _: Result<(), &str> = bonus.observe(&(), |run| {
        run.subject(text).case(text).correlation_id(text);
        run.node(text);
        Err("timeout")
    });
    let (took, more) = (clock.now().since(start), memory().saturating_sub(before));
    assert!(took < TIME_MAX, "{took:?} for four runs");
    assert!(more <= MEMORY_MAX, "{more} bytes more than its owner's");
    let records = test.records();
    assert_eq!(records.len(), 4);
    for record in records {
        let bytes = format!("{record:?}").len();
        assert!(bytes <= 64 << 10, "{bytes} bytes of a record");
    }
    test.assert_balanced();
}

/// Whether this process is one test's own, where nobody else takes memory. If not, the test is run in such a process
/// and has passed there.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "OBS_TEST_ALONE";
    #[expect(clippy::disallowed_methods, reason = "a parent tells its child so")]
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let name = format!("safety::hostile::{test}");
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--include-ignored", "--nocapture", &name])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let [said, why] = [&child.stdout, &child.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(child.status.success() && said.contains("1 passed"), "{said}{why}");
    false
}

/// The most that this process has ever had in memory, in bytes; nothing where that is not known.
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kibibytes.unwrap_or(0) << 10
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
