//! The program as a user runs it: in a directory of its own, with nothing configured.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod exporters;
mod flags;
mod numbers;
#[path = "../../../../crates/obs-stack/tests/it/ports.rs"]
mod ports;
mod postgres;
mod rows;

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A directory, and the program in it.
struct Quickstart {
    dir: TempDir,
}

impl Quickstart {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Runs the program with none of the variables of whoever runs the tests.
    fn run(&self, flags: &str, variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_quickstart"))
            .args(flags.split_whitespace())
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }

    /// What `--json` prints, after a run that went well.
    fn json(&self, flags: &str, variables: &[(&str, &str)]) -> Value {
        let output = self.run(&format!("{flags} --json"), variables);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        // Nothing but one object: trailing text would be an error.
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn sum(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().sum()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a whole number"))
}
