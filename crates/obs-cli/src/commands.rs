//! The commands, each in a file of its own.

mod config;
mod doctor;
mod erase;
mod ledger;
mod migrate;
mod quarantine;
mod retention;
mod spool;

use std::{future::Future, path::PathBuf, time::Duration};

use obs_persist::{Migrations, Store, StoreError, StoreUrl};
use tokio::{runtime, time};

use crate::{
    args::{Args, Command, SpoolDir},
    config::Settings,
    error::Failure,
    output::Output,
};

/// How long the store may take for one step; each address of it has less to be connected to.
const STEP_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    match &args.command {
        Command::Migrate(store) => {
            migrate::run(&Settings::new(store.store.as_deref())?.store()?, output)
        }
        Command::Retention { store, ok, error } => {
            let settings = Settings::new(store.store.as_deref())?;
            let url = settings.store()?;
            retention::run(&url, settings.retention(*ok, *error)?, output)
        }
        Command::Erase(forget) => erase::run(forget, output),
        Command::Config(settings) => config::run(settings, output),
        Command::Doctor { file } => doctor::run(file.as_deref(), output),
        Command::Spool(look) => spool::run(look, output),
        Command::Ledger(dir) => ledger::run(&spool_of(dir)?, output),
        Command::Quarantine(judgement) => quarantine::run(judgement, output),
    }
}

fn spool_of(dir: &SpoolDir) -> Result<PathBuf, Failure> {
    Settings::new(None)?.spool(dir.dir.as_deref())
}

/// A store that is ready, and a place to wait for it.
struct Ready {
    name: String,
    store: Box<dyn Store>,
    runtime: runtime::Runtime,
}

impl Ready {
    /// Connects. Only `obs migrate` changes the schema.
    fn new(url: &StoreUrl, migrations: Migrations) -> Result<Self, Failure> {
        // Migrations and SQLite need the flavour with threads.
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(
                |error| {
                    Failure::machine(
                        "cannot start a runtime: raise the limits of threads and open files",
                        error,
                    )
                },
            )?;
        let mut ready = Self { name: url.to_string(), store: url.store_with(migrations), runtime };
        ready.step("connecting", |store| store.prepare())?;
        Ok(ready)
    }

    /// One step, within the deadline.
    fn step<'a, T, F>(
        &'a mut self,
        what: &'static str,
        step: impl FnOnce(&'a mut dyn Store) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StoreError>> + 'a,
    {
        let Self { name, store, runtime } = self;
        let step = step(store.as_mut());
        let done = runtime.block_on(async { time::timeout(STEP_DEADLINE, step).await });
        let late = |_| {
            StoreError::permanent(format!(
                "{what} took longer than {STEP_DEADLINE:?} and was given up: look at the locks there, and try again"
            ))
        };
        let failed = |source| Failure::Store { store: name.clone(), source: Box::new(source) };
        done.map_err(late).and_then(|done| done).map_err(failed)
    }

    fn close(mut self) -> Result<(), Failure> {
        self.step("closing", |store| store.close())
    }
}
