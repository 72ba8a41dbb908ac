//! A program of the stack as a child process that can be killed and started again, and that is started again when it
//! ends by itself.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// So often a program that ended by itself is started again, as a service manager does.
///
/// A Collector before 0.156 may end at its start under load: the receiver that all signals share takes what comes before
/// the queues of all of them are open, and a call over gRPC that meets such a queue ends the process
/// (open-telemetry/opentelemetry-collector#15485).
const STARTS_AGAIN: u32 = 3;
const LOOKS: Duration = Duration::from_millis(50);

/// A child process; killed when dropped.
pub(crate) struct Process {
    program: Program,
    running: Arc<Mutex<Running>>,
}

#[derive(Clone)]
struct Program {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    folder: PathBuf,
}

struct Running {
    /// None when it was killed, or ended too often.
    child: Option<Child>,
    starts_left: u32,
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
        let program = Program {
            name: name.to_owned(),
            binary: binary.to_owned(),
            arguments: arguments.to_vec(),
            settings: settings.collect(),
            folder: folder.to_owned(),
        };
        let running = Running { child: Some(program.spawn()), starts_left: STARTS_AGAIN };
        let process = Self { program, running: Arc::new(Mutex::new(running)) };
        process.watch();
        process
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.running.lock().unwrap().child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn start_again(&mut self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.child.is_none(), "{} runs", self.program.name);
        *running = Running { child: Some(self.program.spawn()), starts_left: STARTS_AGAIN };
    }

    /// What it said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.program.log()).unwrap_or_default()
    }

    /// Starts it again whenever it ends by itself, until this is dropped.
    fn watch(&self) {
        let (program, running) = (self.program.clone(), Arc::downgrade(&self.running));
        thread::spawn(move || {
            while let Some(running) = running.upgrade() {
                running.lock().unwrap().look_after(&program);
                drop(running);
                thread::sleep(LOOKS);
            }
        });
    }
}

impl Running {
    fn look_after(&mut self, program: &Program) {
        let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) else {
            return;
        };
        let then = if self.starts_left > 0 { "started again" } else { "it stays away" };
        program.note(&format!("WARN {} ended by itself, {ended}: {then}", program.name));
        self.child = (self.starts_left > 0).then(|| program.spawn());
        self.starts_left = self.starts_left.saturating_sub(1);
    }
}

impl Program {
    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let child = Command::new(&self.binary)
            .args(&self.arguments)
            .envs(self.settings.iter().cloned())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        child.unwrap()
    }

    /// Beside what it said itself.
    fn note(&self, line: &str) {
        let mut log = File::options().append(true).open(self.log()).unwrap();
        writeln!(log, "{line}").unwrap();
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

#[expect(clippy::print_stderr, reason = "only beside a failure")]
impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let said = self.said();
            let troubles = said.lines().rev().filter(|line| {
                ["rror", "arn", "WARN", "panic"].iter().any(|word| line.contains(word))
            });
            let mut last: Vec<_> =
                troubles.take(5).map(|line| line.chars().take(400).collect::<String>()).collect();
            last.reverse();
            eprintln!("{} complained: {last:#?}", self.program.name);
        }
    }
}

mod tests {
    use super::*;
    use crate::stack::until;

    fn shell(script: &str, folder: &Path) -> Process {
        let arguments = ["-c", script].map(str::to_owned);
        Process::start("shell", Path::new("/bin/sh"), &arguments, &[], folder)
    }

    fn says(process: &Process, what: &str) {
        until(
            || format!("{what:?} in {:?}", process.said()),
            || process.said().contains(what).then_some(()),
        );
    }

    #[test]
    fn a_program_that_ends_at_its_start_is_started_again_and_that_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell(
            "test -e seen && echo up >&2 && exec sleep 60; touch seen; exit 7",
            folder.path(),
        );
        says(&process, "up");
        assert!(
            process.said().contains("ended by itself, exit status: 7: started again"),
            "{}",
            process.said()
        );
    }

    #[test]
    fn a_program_that_always_ends_stays_away_after_a_few_times() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo up >&2", folder.path());
        says(&process, "it stays away");
        assert_eq!(process.said().matches("up\n").count(), 1 + STARTS_AGAIN as usize);
        process.start_again();
        let twice = 2 * (1 + STARTS_AGAIN as usize);
        until(
            || process.said(),
            || (process.said().matches("up\n").count() == twice).then_some(()),
        );
    }

    #[test]
    fn a_program_that_is_killed_stays_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo up >&2; exec sleep 60", folder.path());
        says(&process, "up");
        process.kill();
        let mut running = process.running.lock().unwrap();
        running.look_after(&process.program);
        assert!(running.child.is_none());
        drop(running);
        assert!(!process.said().contains("by itself"), "{}", process.said());
    }
}
