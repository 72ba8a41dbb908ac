//! `obs-torture` in a directory of its own, and what it said.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use obs::Clock;
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything here takes; only a test that fails waits for it.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A directory in which processes are tortured, one after the other.
pub(crate) struct Rack {
    pub(crate) dir: TempDir,
}

/// A process, which is killed when the test has seen enough.
pub(crate) struct Victim {
    child: Child,
    acks: PathBuf,
    out: PathBuf,
    err: PathBuf,
    ledger: PathBuf,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

/// One line of the oracle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) class: String,
    pub(crate) ack: String,
}

impl Rack {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The address of a SQLite file here.
    pub(crate) fn sqlite(&self) -> String {
        format!("sqlite:{}", self.path("rows.sqlite").display())
    }

    /// Starts a process; `name` is for its log and its ledger.
    pub(crate) fn start(&self, name: &str, flags: &str) -> Victim {
        self.launch(&[], &[], name, flags)
    }

    /// The same behind another program, e.g. one that traces it.
    pub(crate) fn start_under(&self, wrapper: &[&str], name: &str, flags: &str) -> Victim {
        self.launch(wrapper, &[], name, flags)
    }

    /// The same with variables set.
    pub(crate) fn start_in(&self, environment: &[(&str, &str)], name: &str, flags: &str) -> Victim {
        self.launch(&[], environment, name, flags)
    }

    fn launch(
        &self,
        wrapper: &[&str],
        environment: &[(&str, &str)],
        name: &str,
        flags: &str,
    ) -> Victim {
        let [acks, ledger, out, err] =
            ["acks", "json", "out", "err"].map(|end| self.path(&format!("{name}.{end}")));
        File::create(&acks).unwrap();
        // The shell gives descriptor 3 to it, as any harness does.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 3>>\"$1\"; shift; exec \"$@\"", "sh"])
            .arg(&acks)
            .args(wrapper)
            .arg(env!("CARGO_BIN_EXE_obs-torture"))
            .args(flags.split_whitespace())
            .args(["--ack-fd", "3", "--metrics-file"])
            .arg(&ledger)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(environment.iter().copied())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        Victim { child: command.spawn().unwrap(), acks, out, err, ledger }
    }

    /// Runs a process to its end.
    pub(crate) fn run(&self, name: &str, flags: &str) -> (Ended, Account) {
        let mut victim = self.start(name, flags);
        let ended = victim.end();
        (ended, victim.account())
    }
}

impl Victim {
    pub(crate) fn acks(&self) -> Vec<Ack> {
        let text = fs::read_to_string(&self.acks).unwrap();
        // A kill may end the write of a line where the file's next page begins. What is not a whole line
        // was told to nobody.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(Ack::parse).collect()
    }

    /// Waits for so many lines of the log.
    pub(crate) fn until_acked(&self, count: usize) {
        until(&format!("{count} acks"), || {
            fs::read_to_string(&self.acks).unwrap().lines().count() >= count
        });
    }

    /// Waits for so many lines on its output that begin like this.
    pub(crate) fn until_said(&self, begin: &str, count: usize) {
        until(&format!("{count} lines that begin with {begin}"), || {
            let out = fs::read_to_string(&self.out).unwrap();
            out.lines().filter(|line| line.starts_with(begin)).count() >= count
        });
    }

    /// What it last said of itself.
    pub(crate) fn ledger(&self) -> Value {
        until("it has said something", || self.ledger.exists());
        let text = fs::read_to_string(&self.ledger).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> Ended {
        let clock = Clock::default();
        let start = clock.now();
        until("it ends", || self.child.try_wait().unwrap().is_some());
        let took = clock.now().since(start);
        let [out, err] = [&self.out, &self.err].map(|path| fs::read_to_string(path).unwrap());
        Ended { code: self.child.wait().unwrap().code(), out, err, took }
    }

    /// SIGTERM, and the end.
    pub(crate) fn terminate(&mut self) -> Ended {
        self.signal("TERM");
        self.end()
    }

    /// SIGKILL, and the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.end().code, None);
    }

    /// Log and ledger, after the end.
    pub(crate) fn account(&self) -> Account {
        Account { acks: self.acks(), ledger: self.ledger() }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ack {
    pub(crate) fn parse(line: &str) -> Self {
        let fields: Vec<_> = line.split(' ').collect();
        let [seq, id, class, ack] = fields[..] else { panic!("a torn line: {line:?}") };
        assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{line:?}");
        assert!(["ok", "error"].contains(&class), "{line:?}");
        assert!(["disk", "os", "memory", "refused"].contains(&ack), "{line:?}");
        Self {
            seq: seq.parse().unwrap(),
            id: id.to_owned(),
            class: class.to_owned(),
            ack: ack.to_owned(),
        }
    }
}

/// What a process said of its runs, and of itself.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) acks: Vec<Ack>,
    pub(crate) ledger: Value,
}

impl Account {
    /// The ids of a class with one of these promises.
    pub(crate) fn ids(&self, class: &str, promises: &[&str]) -> BTreeSet<String> {
        let theirs =
            self.acks.iter().filter(|ack| ack.class == class && promises.contains(&&*ack.ack));
        theirs.map(|ack| ack.id.clone()).collect()
    }

    /// A term of the ledger, e.g. `["ok", "dropped", "crash"]`.
    pub(crate) fn term(&self, path: &[&str]) -> u64 {
        term(&self.ledger, path)
    }

    /// L1: the books balance; and they know of exactly the runs that have a line.
    pub(crate) fn assert_balanced(&self) {
        assert_eq!(self.ledger["imbalance"], 0, "{}", self.ledger);
        for class in ["ok", "error"] {
            assert_eq!(self.ledger[class]["imbalance"], 0, "{}", self.ledger);
            let lines = self.acks.iter().filter(|ack| ack.class == class).count() as u64;
            assert_eq!(self.term(&[class, "recorded"]), lines, "{class}: {}", self.ledger);
        }
        let ids: BTreeSet<_> = self.acks.iter().map(|ack| &ack.id).collect();
        assert_eq!(ids.len(), self.acks.len(), "every id is unique");
        let seqs: BTreeSet<_> = self.acks.iter().map(|ack| ack.seq).collect();
        assert_eq!(seqs.len(), self.acks.len(), "every run has one line");
    }

    /// How many records of a class were dropped, by reason.
    pub(crate) fn dropped(&self, class: &str) -> BTreeMap<String, u64> {
        let reasons = self.ledger[class]["dropped"].as_object().unwrap();
        let counts =
            reasons.iter().map(|(reason, count)| (reason.clone(), count.as_u64().unwrap()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

pub(crate) fn term(ledger: &Value, path: &[&str]) -> u64 {
    let value = path.iter().fold(ledger, |value, name| &value[*name]);
    value.as_u64().unwrap_or_else(|| panic!("{path:?} is no count in {ledger}"))
}

/// Waits until something is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    const PAUSE: Duration = Duration::from_millis(5);
    let clock = Clock::default();
    let start = clock.now();
    while !is_true() {
        assert!(clock.now().since(start) < LONG, "never: {what}");
        thread::park_timeout(PAUSE);
    }
}

/// What is stored is what was promised: nothing is missing, and nothing more is there.
#[track_caller]
pub(crate) fn assert_same(stored: &BTreeSet<String>, promised: &BTreeSet<String>, what: &str) {
    let missing: Vec<_> = promised.difference(stored).take(3).collect();
    let surplus: Vec<_> = stored.difference(promised).take(3).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "{what}: {} promised, {} stored; missing {missing:?}…, surplus {surplus:?}…",
        promised.len(),
        stored.len()
    );
}

/// The runs whose records are in a spool, as `obs spool dump` lists them.
pub(crate) fn dump(spool: &Path) -> Vec<String> {
    let lines = told_by_obs(&["spool", "dump"], spool);
    lines.iter().map(|line| line["run_id"].as_str().unwrap().to_owned()).collect()
}

fn told_by_obs(command: &[&str], spool: &Path) -> Vec<Value> {
    let output = Command::new(obs()).args(command).arg("--json").arg(spool).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The command `obs`, which cargo puts beside this program; built if only this package was.
#[expect(clippy::disallowed_methods, reason = "what cargo has set for this test")]
fn obs() -> &'static Path {
    static OBS: OnceLock<PathBuf> = OnceLock::new();
    OBS.get_or_init(|| {
        let ours = Path::new(env!("CARGO_BIN_EXE_obs-torture"));
        let obs = ours.with_file_name("obs");
        if !obs.is_file() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo
                .args(["build", "--package", "obs-cli", "--target-dir"])
                .arg(ours.ancestors().nth(2).unwrap());
            if ours.parent().is_some_and(|folder| folder.ends_with("release")) {
                cargo.arg("--release");
            }
            // What cargo says of this package to its test: a build script that looks at it would run again, and all that
            // depends on it be built again, here and at the next `cargo test`.
            for (name, _) in std::env::vars_os() {
                let name = name.to_string_lossy().into_owned();
                if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                    cargo.env_remove(name);
                }
            }
            assert!(cargo.status().unwrap().success());
        }
        obs
    })
}

/// What `obs spool verify` says against a spool; 1 is its code for that.
fn verified(spool: &Path) -> (Option<String>, String) {
    let mut command = Command::new(obs());
    let output = command.args(["spool", "verify", "--json"]).arg(spool).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{err}");
    (code.filter(|code| *code == 1).map(|_| err), out)
}

/// Nothing of a spool is damaged or missing, as `obs spool verify` says.
#[track_caller]
pub(crate) fn assert_verified(spool: &Path, what: &str) {
    let (problem, out) = verified(spool);
    assert_eq!(problem, None, "{what}: {out}");
}

/// In how many places of a spool there is something that is no record, and be it one that was being written.
pub(crate) fn damaged_places(spool: &Path) -> u64 {
    let lines = verified(spool).1;
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["segment"].is_u64())
        .map(|line| term(&line, &["damaged"]) + term(&line, &["cut_off"]))
        .sum()
}

/// Whether the full counts are asked for.
pub(crate) fn is_soak() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    std::env::var_os("OBS_TEST_SOAK").is_some()
}

/// A count that a soak sets.
pub(crate) fn count(name: &str, usual: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    let set = std::env::var(name).ok();
    set.map_or(usual, |set| set.parse().unwrap_or_else(|_| panic!("{name}={set} is no count")))
}

/// Says that a case could not run, and why. With `OBS_TEST_PRIVILEGED`, which `scripts/test` sets where it may
/// install and mount, that is a failure.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration to ask")]
    let must = std::env::var_os("OBS_TEST_PRIVILEGED").is_some();
    assert!(!must, "OBS_TEST_PRIVILEGED is set, but {reason}");
    told(reason);
}

/// The same for what this machine cannot have, whoever runs the tests.
pub(crate) fn told(reason: &str) {
    // Not `println!`, which is kept back of a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}
