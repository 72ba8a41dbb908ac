//! `obs migrate`: the schema as this version knows it, and room for the days to come.

use std::fmt;

use obs_core::Clock;
use obs_persist::{Migrations, PersistConfig, StoreError, StoreUrl};
use serde::Serialize;

use crate::{commands::Ready, error::Failure, output::Output};

const NO_ROOM: &str = "all migrations are applied, but there is no room for tomorrow: if this role may not make days, GRANT \
    EXECUTE ON FUNCTION obs.make_day(date) to it; else a table of the schema is missing that a migration made: \
    put it back as it was";

pub(crate) fn run(url: &StoreUrl, output: &mut Output) -> Result<(), Failure> {
    let mut ready = Ready::new(url, Migrations::AtStart)?;
    // A retention for ever: nothing is dropped here.
    let mut kept = PersistConfig::default();
    (kept.retention_ok, kept.retention_error) = (None, None);
    let now = Clock::default().wall();
    let made = ready.step("making days ahead", |store| store.maintain(now, kept.retention()))?;
    let store = ready.name.clone();
    if let Some(problem) = made.problem {
        let what = format!("the schema is up to date, but days ahead are missing: {problem}");
        return Err(Failure::Store { store, source: Box::new(StoreError::permanent(what)) });
    }
    if made.days_ahead == Some(0) {
        let source = Box::new(StoreError::permanent(NO_ROOM));
        return Err(Failure::Store { store, source });
    }
    ready.close()?;
    output.say(&Migrated { store, migrated: true, days_ahead: made.days_ahead })
}

#[derive(Serialize)]
struct Migrated {
    store: String,
    migrated: bool,
    /// For how many whole days after today there is room, in a store that needs it made.
    days_ahead: Option<u32>,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the schema is up to date", self.store)?;
        match self.days_ahead {
            Some(days) => write!(f, "; there is room for {days} days ahead"),
            None => Ok(()),
        }
    }
}
