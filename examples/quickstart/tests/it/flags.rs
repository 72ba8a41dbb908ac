//! The command line, from outside.

use crate::Quickstart;

#[test]
fn a_bad_flag_ends_with_2_and_names_the_value_the_rule_and_the_way_out() {
    let table = [
        ("--threads 0", "`--threads 0` is not a whole number from 1 to 64: leave it out for 2"),
        (
            "--runs many",
            "`--runs many` is not a whole number from 1 to 100000000: leave it out for 20000",
        ),
        ("--seed -1", "`--seed -1` is not a whole number from 0 to 18446744073709551615"),
        ("--hold", "`--hold` needs a whole number from 0 to 86400 after it"),
        ("--fast", "`--fast` is not an option: `--help` lists them"),
    ];
    for (flags, message) in table {
        let output = Quickstart::new().run(flags, &[]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags}: {errors}");
        assert!(errors.contains(message), "{flags}: {errors}");
        assert!(output.stdout.is_empty(), "{flags}");
    }
}

#[test]
fn a_bad_variable_ends_with_1_and_names_itself() {
    let quickstart = Quickstart::new();
    let output = quickstart.run("--runs 1", &[("OBS_SAMPLE_RATE", "1.5")]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors.starts_with("error: OBS_SAMPLE_RATE=\"1.5\": rate 1.5 is not in [0, 1]"),
        "{errors}"
    );
}

#[test]
fn help_lists_every_option_and_runs_nothing() {
    let quickstart = Quickstart::new();
    let output = quickstart.run("--help", &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for option in ["--runs", "--threads", "--seed", "--hold", "--json", "--help"] {
        assert!(text.contains(option), "{option}");
    }
    assert_eq!(quickstart.dir.path().read_dir().unwrap().count(), 0);
}
