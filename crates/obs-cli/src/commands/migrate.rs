//! `obs migrate`: the schema as this version knows it.

use std::fmt;

use obs_persist::{Migrations, StoreUrl};
use serde::Serialize;

use crate::{commands::Ready, error::Failure, output::Output};

pub(crate) fn run(url: &StoreUrl, output: &mut Output) -> Result<(), Failure> {
    let ready = Ready::new(url, Migrations::AtStart)?;
    let done = Migrated { store: ready.name.clone(), migrated: true };
    ready.close()?;
    output.say(&done)
}

#[derive(Serialize)]
struct Migrated {
    store: String,
    migrated: bool,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the schema is up to date", self.store)
    }
}
