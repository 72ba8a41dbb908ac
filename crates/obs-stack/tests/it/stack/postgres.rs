//! A Postgres of our own that can be killed and started again, through the project's script.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use obs_stack::root;

/// A server that ends with it.
pub(crate) struct Postgres {
    script: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Postgres {
    pub(super) fn start() -> Self {
        let mut script = Command::new(root().join("scripts/private-postgres"))
            .arg("--commands")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = script.stdin.take();
        let mut answers = BufReader::new(script.stdout.take().unwrap());
        let mut url = String::new();
        answers.read_line(&mut url).unwrap();
        assert!(url.starts_with("postgres://"), "scripts/private-postgres said {url:?}");
        Self { script, commands, answers, url: url.trim().to_owned() }
    }

    pub(crate) fn kill(&mut self) {
        self.order("kill");
    }

    pub(crate) fn start_again(&mut self) {
        self.order("start");
    }

    fn order(&mut self, order: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), order);
    }

    /// What a query gives, a line a row, by `psql`.
    pub(crate) fn ask(&self, sql: &str) -> Result<Vec<String>, String> {
        let place = crate::programs::run(
            Command::new(root().join("scripts/private-postgres")).arg("--where"),
        )?;
        let psql = std::path::Path::new(place.trim()).join("psql");
        let arguments = [
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--quiet",
            "--dbname",
            &self.url,
            "--command",
            sql,
        ];
        let answer = crate::programs::run(
            Command::new(psql).args(arguments).args(["--set", "ON_ERROR_STOP=1"]),
        )?;
        Ok(answer.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its end of input is the script's signal.
        drop(self.commands.take());
        let _ = self.script.wait();
    }
}
