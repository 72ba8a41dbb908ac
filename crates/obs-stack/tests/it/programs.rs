//! The real programs that tests start: where they are, and what it means when they are not there.

use std::{
    env, fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output},
};

use obs_stack::root;

/// A program of the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// The environment variable with its folder or file.
    variable: &'static str,
    /// Set to 1, the variable that says to go without.
    skip: &'static str,
    /// Its folder in the cache, and its file in a build there.
    cache: (&'static str, &'static str),
    /// What builds it.
    script: &'static str,
}

pub(crate) const PROMTOOL: Program = Program {
    variable: "OBS_TEST_PROMETHEUS",
    skip: "OBS_SKIP_PROMETHEUS",
    cache: ("prometheus", "promtool"),
    script: "scripts/build-prometheus",
};

pub(crate) const PROMETHEUS: Program = Program { cache: ("prometheus", "prometheus"), ..PROMTOOL };

pub(crate) const COLLECTOR: Program = Program {
    variable: "OBS_TEST_COLLECTOR",
    skip: "OBS_SKIP_COLLECTOR",
    cache: ("collector", "otelcol-obs"),
    script: "scripts/build-collector",
};

pub(crate) const THANOS: Program = Program {
    variable: "OBS_TEST_THANOS",
    skip: "OBS_SKIP_THANOS",
    cache: ("thanos", "thanos"),
    script: "scripts/build-thanos",
};

/// A folder of jars, for the `java` that is on the path.
pub(crate) const KAFKA: Program = Program {
    variable: "OBS_TEST_KAFKA",
    skip: "OBS_SKIP_KAFKA",
    cache: ("kafka", "jars"),
    script: "scripts/install-kafka",
};

impl Program {
    /// `None` only if whoever runs the tests has said to go without.
    #[expect(clippy::disallowed_methods, reason = "how the scripts tell a test where programs are")]
    pub(crate) fn find(self) -> Option<PathBuf> {
        let Self { variable, skip, script, cache: (_, file) } = self;
        if env::var(skip).is_ok_and(|skip| skip == "1") {
            // Not by a macro: what those print is shown for tests that fail only.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no test with {file}: {skip}=1");
            return None;
        }
        let named = env::var_os(variable).map(PathBuf::from);
        let named = named.map(|at| if at.is_dir() { at.join(file) } else { at });
        let found = named.or_else(|| self.newest_build()).filter(|program| program.exists());
        assert!(
            found.is_some(),
            "there is no {file}: run {script}, or name where it is in {variable}, or set {skip}=1 to go without"
        );
        found
    }

    fn newest_build(self) -> Option<PathBuf> {
        let (folder, file) = self.cache;
        let builds = fs::read_dir(root().join(".cache").join(folder)).ok()?.flatten();
        let programs = builds.map(|build| build.path().join(file));
        programs
            .filter_map(|program| Some((fs::metadata(&program).ok()?.modified().ok()?, program)))
            .max()
            .map(|(_, program)| program)
    }
}

/// One of our own programs, beside the test's and in the same profile. Built if need be.
#[expect(clippy::disallowed_methods, reason = "what cargo has set for this test")]
pub(crate) fn built(package: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "--package", package]).current_dir(root());
    // What cargo says of this package to its test: a build script that looks at it (ring's does) would run again, and all
    // that depends on it be built again, here and at the next `cargo test`.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|part| name.starts_with(part)) {
            build.env_remove(name);
        }
    }
    assert!(build.status().unwrap().success(), "{package} is not built");
    let own = env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join(package)
}

/// Runs a program to its end; what it said if that was not a good one.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    if status.success() { Ok(said) } else { Err(said) }
}
