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
        let late = move |_| {
            StoreError::permanent(format!(
                "{what} took longer than {STEP_DEADLINE:?} and was given up: look at the locks there, and try again"
            ))
        };
        self.long_step(|store| {
            let step = step(store);
            async move { time::timeout(STEP_DEADLINE, step).await.map_err(late)? }
        })
    }

    /// A step that takes as long as there is to do: each of its statements has a limit of its own in the server, and what
    /// was done so far stays done.
    fn long_step<'a, T, F>(
        &'a mut self,
        step: impl FnOnce(&'a mut dyn Store) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, StoreError>> + 'a,
    {
        let Self { name, store, runtime } = self;
        let failed = |source| Failure::Store { store: name.clone(), source: Box::new(source) };
        runtime.block_on(step(store.as_mut())).map_err(failed)
    }

    fn close(mut self) -> Result<(), Failure> {
        self.step("closing", |store| store.close())
    }
}
