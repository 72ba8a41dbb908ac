//! The embedded store: one SQLite file, one connection.

mod canary;
mod erase;
mod insert;
mod transaction;

use std::{fs, io, path::Path, sync::Arc};

use diesel::{
    QueryResult,
    connection::SimpleConnection,
    sqlite::{Sqlite, SqliteConnection},
};
use diesel_async::{AsyncConnection, sync_connection_wrapper::SyncConnectionWrapper};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use obs_core::{Clock, RunRecord};
use tokio::task::spawn_blocking;

use crate::{
    erasure::{EraseFuture, Erasure},
    migrations::{self, Known, Migrations},
    store::{Store, StoreError, StoreFuture},
};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Each is a statement of its own: some only take effect outside of others.
const PRAGMAS: [&str; 5] = [
    // Before the first table: rows of two kilobytes waste less of a larger page.
    "PRAGMA page_size = 16384",
    // Before anything that may wait for another process.
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = WAL",
    // A commit survives the process; a power loss may take the last commits, never the file.
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 1000",
];

/// A store in one file.
pub(crate) struct SqliteStore {
    path: String,
    migrations: Migrations,
    clock: Clock,
    connection: Option<SyncConnectionWrapper<SqliteConnection>>,
}

impl SqliteStore {
    pub(crate) fn new(path: &str, migrations: Migrations) -> Self {
        Self { path: path.to_owned(), migrations, clock: Clock::default(), connection: None }
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        let path = self.path.clone();
        match spawn_blocking(move || create_file(Path::new(&path))).await {
            Ok(created) => created?,
            Err(panic) => return Err(StoreError::transient("cannot create the file", panic)),
        }
        let error = |source| StoreError::transient(format!("cannot open `{}`", self.path), source);
        let mut connection =
            SyncConnectionWrapper::<SqliteConnection>::establish(&file_name(&self.path))
                .await
                .map_err(error)?;
        let mode = self.migrations;
        let migrated =
            connection.spawn_blocking(move |connection| Ok(set_up(connection, mode))).await;
        migrated.map_err(|source| StoreError::transient("cannot set the file up", source))??;
        self.connection = Some(connection);
        Ok(())
    }

    /// Runs something on the thread for such things. The connection is put back whatever comes of it:
    /// a statement that failed was undone.
    async fn on<T: Send + 'static>(
        &mut self,
        what: &'static str,
        act: impl FnOnce(&mut SqliteConnection) -> QueryResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(connection) = &mut self.connection else {
            return Err(StoreError::transient(what, "the file is not open"));
        };
        connection.spawn_blocking(act).await.map_err(|source| StoreError::transient(what, source))
    }
}

impl Store for SqliteStore {
    fn name(&self) -> String {
        format!("sqlite:{}", self.path)
    }

    fn prepare(&mut self) -> StoreFuture<'_> {
        Box::pin(self.open())
    }

    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        Box::pin(self.on("cannot write to the file", move |connection| write(connection, &batch)))
    }

    fn bury<'a>(&'a mut self, erasure: &'a Erasure) -> EraseFuture<'a> {
        let (forms, now) = (erasure.forms().to_vec(), self.clock.wall());
        let act = move |connection: &mut SqliteConnection| erase::bury(connection, &forms, now);
        Box::pin(self.on("cannot erase from the file", act))
    }

    fn erase<'a>(&'a mut self, erasure: &'a Erasure, files: u64) -> EraseFuture<'a> {
        let (erasure, now) = (erasure.clone(), self.clock.wall());
        let act =
            move |connection: &mut SqliteConnection| erase::erase(connection, &erasure, files, now);
        Box::pin(self.on("cannot erase from the file", act))
    }

    fn canary(&mut self, row: Box<RunRecord>) -> StoreFuture<'_> {
        Box::pin(canary::try_out(self.connection.as_mut(), row))
    }

    fn close(&mut self) -> StoreFuture<'_> {
        Box::pin(async {
            self.connection = None;
            Ok(())
        })
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .field("open", &self.connection.is_some())
            .finish()
    }
}

/// SQLite reads `file:…` as a URI; a path that begins like this is still a path.
fn file_name(path: &str) -> String {
    if path.starts_with('/') || path.starts_with("./") {
        path.to_owned()
    } else {
        format!("./{path}")
    }
}

/// Makes the file readable for its owner only. SQLite gives the files beside it the same mode. A
/// file that exists keeps the mode that somebody gave it.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(StoreError::permanent(format!(
            "cannot create `{}`, because the folder `{}` does not exist: create it, or choose another path",
            path.display(),
            folder.display(),
        )));
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => {
            let what = format!(
                "cannot create `{}`: make its folder writable, or choose another path",
                path.display()
            );
            Err(StoreError::permanent_because(what, error))
        }
    }
}

fn set_up(connection: &mut SqliteConnection, mode: Migrations) -> Result<(), StoreError> {
    for pragma in PRAGMAS {
        connection
            .batch_execute(pragma)
            .map_err(|source| StoreError::transient("cannot set the file up", source))?;
    }
    // One transaction around all migrations: of several processes that start at once, the first
    // one migrates and the others find it done.
    let migrated = connection.immediate_transaction(|connection| {
        let applied = connection.applied_migrations().map_err(Migrating::Failed)?;
        let known = Known::of::<Sqlite>(&MIGRATIONS).map_err(Migrating::Failed)?;
        let is_behind = migrations::check(known, &applied).map_err(Migrating::Refused)?;
        if is_behind && mode == Migrations::External {
            return Err(Migrating::Refused(migrations::missing()));
        }
        connection.run_pending_migrations(MIGRATIONS).map_err(Migrating::Failed)?;
        Ok(())
    });
    migrated.map_err(|error| match error {
        Migrating::Refused(error) => error,
        Migrating::Failed(source) => StoreError::transient("cannot migrate the file", source),
        Migrating::Database(source) => StoreError::transient("cannot migrate the file", source),
    })
}

enum Migrating {
    Refused(StoreError),
    Failed(Box<dyn std::error::Error + Send + Sync>),
    Database(diesel::result::Error),
}

impl From<diesel::result::Error> for Migrating {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error)
    }
}

fn write(connection: &mut SqliteConnection, batch: &[RunRecord]) -> QueryResult<()> {
    transaction::immediate(connection, |connection| {
        let erased = erase::among(connection, batch)?;
        for record in batch.iter().filter(|record| !erased.contains(&record.run_id)) {
            insert::run(connection, record)?;
            insert::payload(connection, record)?;
        }
        Ok(())
    })
}
