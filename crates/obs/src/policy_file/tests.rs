use std::io::Write as _;

use obs_core::{KeepPolicy, Rate, SampleBy};

use super::*;

struct Fixture {
    folder: tempfile::TempDir,
    reader: Reader,
    live: LivePolicy,
}

const GOOD: &str = "file_format: \"1.0\"\nobs: { policy: { sample_rate: 0.5 } }\n";

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("obs.yaml");
        fs::write(&path, GOOD).unwrap();
        let (given, environment) = (Given::default(), Environment::empty());
        let policy =
            config::policy_of(&given, &environment, (path.as_path(), GOOD.to_owned())).unwrap();
        let obs = obs_core::Obs::builder().policy(policy.keep).build().unwrap();
        let live = obs.policy();
        let watched = Watched { path, given, environment, policy, live: live.clone() };
        let mut reader = Reader::new(watched);
        reader.look(true);
        Self { folder, reader, live }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("obs.yaml")
    }

    fn write(&mut self, policy: &str) {
        fs::write(self.path(), format!("file_format: \"1.0\"\nobs: {{ policy: {policy} }}\n"))
            .unwrap();
        self.reader.look(false);
    }

    fn rate(&self) -> f64 {
        self.live.current().keep.ok_rate.get()
    }

    /// Applied, refused, and why.
    fn state(&self) -> (u64, u64, Option<String>) {
        let state = lock(&self.reader.state).clone();
        (state.applied, state.refused, state.problem)
    }
}

#[test]
fn a_file_that_says_what_it_said_at_the_start_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.reader.look(true);
    assert_eq!(fixture.state(), (0, 0, None));
    assert_eq!(fixture.live.changes(), 0);
}

#[test]
fn an_edit_takes_effect_with_everything_that_the_policy_says() {
    let mut fixture = Fixture::new();
    fixture.write(
        "{ sample_rate: 0.25, slo: off, sample_by: trace, trace_entries: 7, \
         rules: [{ strategy: bonus, version: 3, keep_all: true, until: 2100-01-01T00:00:00Z }] }",
    );
    assert_eq!(fixture.state(), (1, 0, None));
    let policy = fixture.live.current();
    let expected = KeepPolicy {
        ok_rate: Rate::new(0.25).unwrap(),
        slow: None,
        sample_by: SampleBy::Trace,
        ..KeepPolicy::default()
    };
    assert_eq!((policy.keep, policy.limits.trace_entries), (expected, 7));
    assert_eq!((policy.rules.len(), policy.rules[0].version.as_deref()), (1, Some("3")));
}

#[test]
fn a_broken_file_leaves_the_policy_as_it_is_until_it_is_mended() {
    let mut fixture = Fixture::new();
    fixture.write("{ sample_rate: 0.25, slo: fast }");
    let (applied, refused, problem) = fixture.state();
    assert_eq!((applied, refused, fixture.rate()), (0, 1, 0.5));
    assert_eq!(fixture.live.state().problem, problem);
    assert!(problem.unwrap().contains("obs.yaml:2: obs.policy.slo=\"fast\": not a duration"));
    // The same mistake is the same state; something else in the file is wrong just as well.
    fixture.reader.look(true);
    assert_eq!(fixture.state().1, 1);
    fs::write(fixture.path(), GOOD.replace("0.5", "0.75") + "meter_provder: {}\n").unwrap();
    fixture.reader.look(false);
    assert_eq!((fixture.state().1, fixture.rate()), (2, 0.5));
    fixture.write("{ sample_rate: 0.25 }");
    assert_eq!((fixture.state(), fixture.rate()), ((1, 2, None), 0.25));
}

#[test]
fn a_rule_that_cannot_be_meant_refuses_the_whole_file() {
    let mut fixture = Fixture::new();
    fixture.write("{ sample_rate: 0.25, rules: [{ kind: dsl, sample_rate: 1 }, { kind: dsl }] }");
    assert_eq!((fixture.rate(), fixture.live.changes()), (0.5, 0));
    let problem = fixture.state().2.unwrap();
    assert!(problem.contains("obs.yaml:2: obs.policy.rules[1]: changes nothing"), "{problem}");
}

#[test]
fn a_file_that_is_removed_leaves_the_policy_as_it_is_and_one_that_comes_back_is_read() {
    let mut fixture = Fixture::new();
    fs::remove_file(fixture.path()).unwrap();
    fixture.reader.look(false);
    fixture.reader.look(false);
    let (_, refused, problem) = fixture.state();
    assert_eq!((refused, fixture.rate()), (1, 0.5));
    assert!(problem.unwrap().contains("cannot be read"));
    fs::write(fixture.path(), GOOD).unwrap();
    fixture.reader.look(false);
    assert_eq!((fixture.state(), fixture.live.changes()), ((0, 1, None), 0));
    assert_eq!((fixture.live.state().refused, fixture.live.state().problem), (1, None));
    fixture.write("{ sample_rate: 0.25 }");
    assert_eq!(fixture.rate(), 0.25);
}

#[test]
fn a_file_that_another_one_replaces_is_read_even_with_its_length_and_time() {
    let mut fixture = Fixture::new();
    let time = fs::metadata(fixture.path()).unwrap().modified().unwrap();
    let other = fixture.folder.path().join("other.yaml");
    let mut file = fs::File::create(&other).unwrap();
    file.write_all(GOOD.replace("0.5", "0.1").as_bytes()).unwrap();
    file.set_modified(time).unwrap();
    drop(file);
    fs::rename(&other, fixture.path()).unwrap();
    fixture.reader.look(false);
    assert_eq!(fixture.rate(), 0.5, "it looks the same");
    fixture.reader.look(true);
    assert_eq!(fixture.rate(), 0.1);
}

#[test]
fn what_the_program_has_set_stays_until_the_policy_of_the_file_changes() {
    let mut fixture = Fixture::new();
    let mut policy = fixture.live.current();
    policy.keep.ok_rate = Rate::new(1.0).unwrap();
    fixture.live.set(policy).unwrap();
    fs::write(fixture.path(), GOOD.to_owned() + "disabled: true\n").unwrap();
    fixture.reader.look(false);
    assert_eq!(fixture.rate(), 1.0);
    fixture.write("{ sample_rate: 0.25 }");
    assert_eq!(fixture.rate(), 0.25);
}
