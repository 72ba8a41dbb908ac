//! `obs doctor`: whether telemetry works, in one screen. It asks what a program would ask, with the same
//! settings: the store for a row, each exporter for a point, and leaves nothing behind in the store.

mod exporters;
mod local;
mod store;

use std::{fmt, path::Path, time::Duration};

use obs::{Configuration, Environment};
use serde::Serialize;

use crate::{error::Failure, output::Output, text::Shown};

/// How long each hop may take: name, connection, answer, statement.
pub(crate) const HOP_DEADLINE: Duration = Duration::from_secs(5);

/// What was found out about one part.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) state: State,
    /// What was looked at.
    pub(crate) target: String,
    /// How far it got, where it did not get through.
    pub(crate) stopped_at: Option<&'static str>,
    pub(crate) detail: String,
}

/// Whether a part works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Ok,
    /// Nobody wants it.
    Off,
    Bad,
}

impl Finding {
    pub(crate) fn ok(
        check: &'static str,
        target: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state: State::Ok,
            target: target.into(),
            stopped_at: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn off(check: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::Off, ..Self::ok(check, "", detail) }
    }

    pub(crate) fn bad(
        check: &'static str,
        target: impl Into<String>,
        hop: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { state: State::Bad, stopped_at: Some(hop), ..Self::ok(check, target, detail) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, state, target, stopped_at, detail } = self;
        let state = match state {
            State::Ok => "ok",
            State::Off => "off",
            State::Bad => "BAD",
        };
        write!(f, "{state:<4}{check:<10}")?;
        if !target.is_empty() {
            write!(f, "{}: ", Shown::whole(target))?;
        }
        if let Some(hop) = stopped_at {
            write!(f, "stopped at {hop}: ")?;
        }
        write!(f, "{}", Shown::whole(detail))
    }
}

pub(crate) fn run(file: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    // Without settings there is nothing to look at: exit code 2, as everywhere.
    let settings = Configuration::read(file, &Environment::process())?;
    let mut bad = 0_usize;
    let mut say = |finding: Finding, output: &mut Output| {
        bad += usize::from(finding.state == State::Bad);
        output.say(&finding)
    };
    for finding in local::findings(file, &settings) {
        say(finding, output)?;
    }
    say(store::finding(&settings), output)?;
    for finding in exporters::findings(&settings) {
        say(finding, output)?;
    }
    match bad {
        0 => Ok(()),
        1 => Err(Failure::Bad("one part does not work: see above".to_owned())),
        bad => Err(Failure::Bad(format!("{bad} parts do not work: see above"))),
    }
}
