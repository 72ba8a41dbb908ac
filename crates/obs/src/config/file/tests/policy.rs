//! The policy and its rules, as a file says them.

use obs_core::{KeepRule, Rate, SampleBy, Timestamp};

use super::*;

fn rules(entries: &str) -> String {
    format!("file_format: \"1.0\"\nobs:\n  policy:\n    rules:\n{entries}")
}

#[test]
fn a_rule_says_whom_it_is_about_and_what_holds_until_when() {
    let text = rules(
        "      - { kind: dsl, strategy: 42, version: 3, realm: \"${COLLECTOR}\", keep_all: true, until: 2026-11-21T18:00:00+01:00 }
      - { sample_rate: 1, slo: off }
      - { slo: 2.5ms, keep_all: false }
",
    );
    let checked = checked(&text).unwrap();
    let some = |text: &str| Some(text.to_owned());
    let expected = [
        KeepRule {
            kind: some("dsl"),
            strategy: some("42"),
            version: some("3"),
            realm: some("http://collector:4318"),
            keep_all: true,
            until: Some(Timestamp::from_micros(1_795_280_400_000_000)),
            ..KeepRule::default()
        },
        KeepRule {
            sample_rate: Some(Rate::new(1.0).unwrap()),
            slow: Some(Duration::MAX),
            ..KeepRule::default()
        },
        KeepRule { slow: Some(Duration::from_micros(2_500)), ..KeepRule::default() },
    ];
    assert_eq!(checked.rules, expected);
    let shown = crate::Configuration::parse("obs.yaml", &text, &environment()).unwrap().show();
    assert_eq!(super::checked(&shown).unwrap().rules, expected, "{shown}");
}

#[test]
fn a_value_of_a_rule_that_cannot_be_used_is_named_with_its_line() {
    const MOMENT: &str = "not a moment: write date, time and zone, e.g. 2026-11-21T18:00:00Z";
    const DURATION: &str =
        "not a duration above 0: use seconds (0.25) or a number with us, ms or s (250ms)";
    for (rule, message) in [
        ("{ kind: dsl, sample_rate: 1.5 }", ".sample_rate=\"1.5\": ".to_owned()),
        ("{ slo: fast }", format!(".slo=\"fast\": {DURATION}")),
        ("{ slo: 0 }", format!(".slo=\"0\": {DURATION}")),
        ("{ keep_all: 7 }", ".keep_all=\"7\": not a switch: use true or false".to_owned()),
        ("{ keep_all: true, until: 18:00 }", format!(".until=\"18:00\": {MOMENT}")),
        (
            "{ keep_all: true, until: 2026-02-29T00:00:00Z }",
            format!(".until=\"2026-02-29T00:00:00Z\": {MOMENT}"),
        ),
        ("{ strategy: { a: b } }", ".strategy: not a single value".to_owned()),
        ("{ tenant: acme }", ".tenant is not a key here".to_owned()),
        (
            "{ kind: dsl }",
            ": changes nothing: give it a sample_rate or slow, or let it keep_all".to_owned(),
        ),
        ("{ keep_all: true, sample_rate: 1 }", ": has a sample_rate and is to keep_all".to_owned()),
        ("{ keep_all: true, kind: \" \" }", ": has an empty kind: name one".to_owned()),
    ] {
        let text = rules(&format!("      - {{ keep_all: true }}\n      - {rule}\n"));
        let (found, start) = (super::message(&text), "obs.yaml:6: obs.policy.rules[1]");
        assert!(found.starts_with(&format!("{start}{message}")), "{found}");
    }
    let many = rules(&"      - { keep_all: true }\n".repeat(101));
    assert!(
        message(&many).starts_with("obs.yaml:5: obs.policy.rules: 101 rules are more than 100"),
        "{}",
        message(&many)
    );
}

#[test]
fn by_what_runs_are_chosen_is_a_word_of_the_file_or_of_a_variable_which_wins() {
    let text = "file_format: \"1.0\"\nobs: { policy: { sample_by: trace } }";
    assert_eq!(checked(text).unwrap().policy.sample_by, SampleBy::Trace);
    let file = parse(text).unwrap();
    let environment = Environment::from_iter([("OBS_SAMPLE_BY", "correlation")]);
    let (checked, _) = with_file(&Given::default(), &environment, &file).unwrap();
    assert_eq!(checked.policy.sample_by, SampleBy::Correlation);
    let given = Given { policy: Some(obs_core::KeepPolicy::default()), ..Given::default() };
    let (checked, _) = with_file(&given, &environment, &file).unwrap();
    assert_eq!(checked.policy.sample_by, SampleBy::Chance, "code says the whole policy");
}
