//! A program of the stack as a child process that can be killed and started again.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A child process; killed when dropped.
pub(crate) struct Process {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    folder: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn start(
        name: &str,
        binary: &Path,
        arguments: &[String],
        settings: &[(&str, String)],
        folder: &Path,
    ) -> Self {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        let mut process = Self {
            name: name.to_owned(),
            binary: binary.to_owned(),
            arguments: arguments.to_vec(),
            settings: settings.collect(),
            folder: folder.to_owned(),
            child: None,
        };
        process.start_again();
        process
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let child = Command::new(&self.binary)
            .args(&self.arguments)
            .envs(self.settings.iter().cloned())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// What it said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

#[expect(clippy::print_stderr, reason = "only beside a failure")]
impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let said = self.said();
            let troubles = said
                .lines()
                .rev()
                .filter(|line| ["rror", "arn", "WARN"].iter().any(|word| line.contains(word)));
            let mut last: Vec<_> =
                troubles.take(5).map(|line| line.chars().take(400).collect::<String>()).collect();
            last.reverse();
            eprintln!("{} complained: {last:#?}", self.name);
        }
    }
}
