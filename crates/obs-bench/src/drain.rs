//! The drain, which obs-persist measures with a program of its own: its ratios stand among the others.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::report::{Aim, Report};

/// What it measures, so that every aim is in the list also where it cannot run.
const RATIOS: [(&str, Aim); 7] = [
    ("drain: one connection / binary COPY", Aim::AtLeast(0.75)),
    ("drain: two connections / one", Aim::AtLeast(1.25)),
    ("drain: one connection / UNNEST by hand", Aim::AtLeast(0.9)),
    ("drain: one connection / row by row", Aim::AtLeast(10.0)),
    ("drain: one connection / row by row, 2 ms commits", Aim::AtLeast(60.0)),
    ("drain: client CPU, us a row", Aim::AtMost(2.0)),
    ("drain: SQLite / the same rows by hand", Aim::AtLeast(0.9)),
];

pub(crate) fn run(program: Option<&str>, full: bool, report: &mut Report) {
    report.title("nanoseconds a row, to a store (of a process of its own)");
    let measured = program.ok_or_else(|| "its program was not given".to_owned());
    let measured = match measured.and_then(|program| printed_by(program, full)) {
        Ok(measured) => measured,
        Err(why) => {
            RATIOS.into_iter().for_each(|(name, aim)| report.not_measured(name, aim, &why));
            return;
        }
    };
    for (name, nanos) in measured["ns"].as_object().into_iter().flatten() {
        report.nanos(name, nanos.as_f64().unwrap());
    }
    let ratios = measured["ratios"].as_array().unwrap();
    for (name, aim) in RATIOS {
        let ratio = ratios.iter().find(|ratio| ratio["name"] == name);
        let Some(ratio) = ratio else {
            report.not_measured(name, aim, "the drain's benchmark did not measure it");
            continue;
        };
        assert_eq!(ratio["aim"], aim.text(), "{name}: the two programs aim at the same");
        let spread = [0, 1].map(|end| ratio["spread"][end].as_f64().unwrap());
        report.value(name, ratio["value"].as_f64().unwrap(), Some(spread), aim);
    }
}

/// What it printed, or what it said last before it failed: it needs a Postgres that it can start, and
/// counts what every side wrote.
fn printed_by(program: &str, full: bool) -> Result<Value, String> {
    let mut command = Command::new(program);
    command.args(["--bench", "--json"]).stdin(Stdio::null());
    if full {
        command.arg("--full");
    }
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} failed: {}", said.lines().last().unwrap_or("silently")));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{program}: {error}"))
}
