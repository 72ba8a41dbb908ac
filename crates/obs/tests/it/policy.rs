//! A policy that changes by an edit of its file.

use std::fs;

use obs::{Environment, KeepRule, Telemetry, Value};

use crate::support::{runs, until};

fn text(policy: &str, folder: &tempfile::TempDir) -> String {
    format!(
        "file_format: \"1.0\"\nobs:\n  store: {{ url: \"sqlite:{}/runs.sqlite\" }}\n  policy: {policy}\n",
        folder.path().display()
    )
}

fn sampled_out(telemetry: &Telemetry) -> u64 {
    telemetry.ledger().ok.sampled_out
}

/// The changes, and whether what was offered last is refused, as exported.
fn exported(telemetry: &Telemetry) -> (u64, u64) {
    let snapshot = telemetry.snapshot().unwrap();
    let value = |name: &str| match snapshot.metric(name).unwrap().series[0].value {
        Value::Counter(value) | Value::Gauge(value) => value as u64,
        ref other => panic!("{other:?}"),
    };
    (value("obs.policy.changes"), value("obs.policy.refused"))
}

#[test]
fn an_edit_of_the_file_takes_effect_while_the_program_runs_and_a_mistake_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("obs.yaml");
    fs::write(&path, text("{ sample_rate: 1 }", &folder)).unwrap();
    let telemetry = obs::builder()
        .environment(Environment::empty())
        .config_file(&path)
        .snapshots(true)
        .init()
        .unwrap();
    let kind = telemetry.kind("dsl");
    runs(&kind, 20);
    assert_eq!(sampled_out(&telemetry), 0);

    fs::write(&path, text("{ sample_rate: 0.0 }", &folder)).unwrap();
    until("the edit takes effect", || (telemetry.policy_file()?.applied == 1).then_some(()));
    runs(&kind, 20);
    assert_eq!(sampled_out(&telemetry), 10);

    fs::write(&path, text("{ sample_rate: 100% }", &folder)).unwrap();
    let problem = until("the mistake is seen", || telemetry.policy_file()?.problem);
    assert!(problem.contains("obs.yaml:4: obs.policy.sample_rate=\"100%\""), "{problem}");
    assert_eq!(exported(&telemetry), (1, 1));
    runs(&kind, 20);
    assert_eq!(sampled_out(&telemetry), 20);

    fs::write(&path, text("{ rules: [{ kind: dsl, keep_all: true }] }", &folder)).unwrap();
    until("it is mended", || (telemetry.policy_file()?.problem.is_none()).then_some(()));
    runs(&kind, 20);
    assert_eq!(sampled_out(&telemetry), 20);
    assert_eq!(telemetry.policy().current().rules.len(), 1);
    assert_eq!(telemetry.policy_file().map(|file| (file.applied, file.refused)), Some((2, 1)));
    assert_eq!(exported(&telemetry), (2, 0));
    assert_eq!(telemetry.ledger().imbalance(), 0);
}

#[test]
fn code_changes_the_policy_where_there_is_no_file() {
    let telemetry = crate::support::metrics_only().sample_rate(0.0).init().unwrap();
    assert!(telemetry.policy_file().is_none());
    let kind = telemetry.kind("dsl");
    runs(&kind, 20);
    let before = sampled_out(&telemetry);
    let all =
        KeepRule { strategy: Some("bonus".to_owned()), keep_all: true, ..KeepRule::default() };
    telemetry.policy().add_for(all, std::time::Duration::from_secs(600)).unwrap();
    runs(&kind, 20);
    assert_eq!(sampled_out(&telemetry), before);
}

/// What can be read only once: a second look would wait for a writer, or find nothing.
#[cfg(unix)]
#[test]
fn settings_from_a_pipe_are_read_once_and_not_watched_and_those_behind_a_link_are() {
    let folder = tempfile::tempdir().unwrap();
    let [pipe, file, link] = ["pipe", "obs.yaml", "link"].map(|name| folder.path().join(name));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (into, content) = (pipe.clone(), text("{ sample_rate: 0.0 }", &folder));
    let writer = std::thread::spawn(move || fs::write(into, content).unwrap());
    let start = |path: &std::path::Path| {
        obs::builder().environment(Environment::empty()).config_file(path).init().unwrap()
    };
    let telemetry = start(&pipe);
    writer.join().unwrap();
    runs(&telemetry.kind("dsl"), 20);
    assert_eq!(sampled_out(&telemetry), 9, "all ok runs but the first");
    assert_eq!(telemetry.policy_file(), None);

    fs::write(&file, text("{ sample_rate: 1 }", &folder)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(start(&link).policy_file().map(|file| file.path), Some(link));
}
