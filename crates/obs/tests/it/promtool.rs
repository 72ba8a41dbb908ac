//! What `/metrics` answers, judged by Prometheus' own tool.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use obs::{Instrument, KindSpec, Label, MetricsMapping};

use crate::support::{metrics_only, runs};

const FOLDER: &str = "OBS_TEST_PROMETHEUS";
const SKIP: &str = "OBS_SKIP_PROMETHEUS";

#[test]
fn promtool_takes_the_classic_text_of_a_snapshot() {
    let Some(promtool) = program("promtool") else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}/runs.sqlite", folder.path().display());
    let telemetry = metrics_only().rows(true).store(store).snapshots(true).init().unwrap();
    runs(&telemetry.kind("dsl.execution"), 20);
    // Keys that become one label, a name that needs mending, and a value that needs escaping.
    let odd = MetricsMapping::default()
        .prefix("lives/of-a.kind")
        .label(Label::Realm, "a.b")
        .label(Label::StrategyType, "a_b")
        .name(Instrument::Started, "begun.total");
    let kind = telemetry.define_kind(KindSpec::new("odd").metrics(odd)).unwrap();
    let strategy = kind.strategy("s").version("1").realm("say \"a\\b\"").build().unwrap();
    let _: Result<(), String> = strategy.observe(&(), |_| Err("line\nbreak".to_owned()));
    let text = telemetry.snapshot().unwrap().to_prometheus();
    assert!(text.contains("begun_total{"), "{text}");
    check(&promtool, &text).unwrap_or_else(|said| panic!("promtool: {said}\n{text}"));
}

#[test]
fn promtool_refuses_a_text_in_which_a_name_has_two_types() {
    let Some(promtool) = program("promtool") else { return };
    let twice =
        "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n# TYPE a_total gauge\na_total 2\n";
    check(&promtool, twice).unwrap_err();
}

/// What promtool has to say against a text.
fn check(promtool: &Path, text: &str) -> Result<(), String> {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// `None` only if whoever runs the tests has said that there is to be no Prometheus.
#[expect(clippy::disallowed_methods, reason = "how the scripts tell a test where the programs are")]
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    if env::var(SKIP).is_ok_and(|skip| skip == "1") {
        // Not by a macro: what those print is shown for tests that fail only.
        let _ = writeln!(std::io::stderr(), "SKIPPED: nothing was checked by {name}: {SKIP}=1");
        return None;
    }
    let folder = env::var(FOLDER).map(PathBuf::from).ok().or_else(newest_build);
    let program = folder.map(|folder| folder.join(name)).filter(|tool| tool.is_file());
    assert!(
        program.is_some(),
        "there is no {name} to check with: run scripts/build-prometheus, or name its folder in \
         {FOLDER}, or set {SKIP}=1 to go without this test"
    );
    program
}

/// What `scripts/build-prometheus` built last.
fn newest_build() -> Option<PathBuf> {
    let cache = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/prometheus"));
    let folders = fs::read_dir(cache).ok()?.flatten().map(|build| build.path());
    let built = folders.filter(|folder| folder.join("promtool").is_file());
    built
        .filter_map(|at| Some((fs::metadata(&at).ok()?.modified().ok()?, at)))
        .max()
        .map(|(_, at)| at)
}
