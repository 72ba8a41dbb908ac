//! `obs config`: settings by themselves.

use std::fmt;

use obs::{Configuration, Environment};
use serde::Serialize;

use crate::{args::Settings, error::Failure, output::Output};

pub(crate) fn run(settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let environment = Environment::process();
    match settings {
        Settings::Check { file } => {
            let read = Configuration::read(Some(file), &environment)?;
            output.say(&Good { file: file.display().to_string(), ignored: read.ignored() })
        }
        Settings::Show { file } => {
            let read = Configuration::read(file.as_deref(), &environment)?;
            output.say(&Shown { settings: read.show() })
        }
        Settings::Schema => output.say(&Shown { settings: Configuration::schema() }),
    }
}

#[derive(Serialize)]
struct Good<'a> {
    file: String,
    /// Variables that are set and change nothing.
    ignored: &'a [String],
}

impl fmt::Display for Good<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, ignored } = self;
        write!(f, "{file}: good")?;
        if ignored.is_empty() {
            return Ok(());
        }
        let ignored = ignored.join(", ");
        write!(f, "; set, and without effect because the file does not refer to them: {ignored}")
    }
}

#[derive(Serialize)]
struct Shown {
    settings: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.settings.trim_end())
    }
}
