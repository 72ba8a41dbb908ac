//! The embedded store: one SQLite file, one connection.

mod ballast;
mod canary;
mod erase;
mod insert;
mod retention;
mod stored;

use std::{fs, io, path::Path, sync::Arc};

use diesel::{
    QueryResult, RunQueryDsl,
    connection::SimpleConnection,
    dsl::sql,
    sql_types::BigInt,
    sqlite::{Sqlite, SqliteConnection},
};
use diesel_async::{AsyncConnection, sync_connection_wrapper::SyncConnectionWrapper};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use obs_core::{Class, Clock, RunRecord, Timestamp};
use tokio::task::spawn_blocking;

use crate::{
    believed::Believed,
    erasure::{EraseFuture, Erasure},
    migrations::{self, Known, Migrations},
    store::{MaintainFuture, Maintained, Retention, Store, StoreError, StoreFuture},
    stored::{Stored, StoredFuture, Unsettled},
};

use ballast::{BALLAST_BYTES, Ballast};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Each is a statement of its own: some only take effect outside of others.
const PRAGMAS: [&str; 4] = [
    "PRAGMA journal_mode = WAL",
    // A commit survives the process; a power loss may take the last commits, never the file. A
    // batch with errors is written with FULL, and survives that, too.
    "PRAGMA synchronous = NORMAL",
    // Pages, so 4 MiB: on a full disk the ballast must have room for what is in the log.
    "PRAGMA wal_autocheckpoint = 256",
    // What a burst or a long reader made of the log beyond that goes back.
    "PRAGMA journal_size_limit = 4194304",
];

/// For a file that is still empty: rows of two kilobytes waste less of a larger page; on a full disk
/// the file can be made smaller, a little at a time.
const LAYOUT: &str = "PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL";

/// A store in one file.
pub(crate) struct SqliteStore {
    path: String,
    migrations: Migrations,
    clock: Clock,
    connection: Option<SyncConnectionWrapper<SqliteConnection>>,
    ballast: Ballast,
    /// As the last maintenance was told: on a full disk, a write may have to make room first.
    retention: Option<Retention>,
    /// There is no server whose clock could be asked as well.
    believed: Believed,
}

impl SqliteStore {
    pub(crate) fn new(path: &str, migrations: Migrations) -> Self {
        let clock = Clock::default();
        Self {
            path: path.to_owned(),
            migrations,
            believed: Believed::from(&clock),
            clock,
            connection: None,
            ballast: Ballast::of(path),
            retention: None,
        }
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        let (path, mode) = (self.path.clone(), self.migrations);
        let found = spawn_blocking(move || match mode {
            Migrations::AtStart => create_file(Path::new(&path)),
            Migrations::External => find_file(Path::new(&path)),
        });
        match found.await {
            Ok(found) => found?,
            Err(panic) => return Err(StoreError::transient("cannot look for the file", panic)),
        }
        let error = |source| StoreError::transient(format!("cannot open `{}`", self.path), source);
        let mut connection =
            SyncConnectionWrapper::<SqliteConnection>::establish(&file_name(&self.path))
                .await
                .map_err(error)?;
        let migrated =
            connection.spawn_blocking(move |connection| Ok(set_up(connection, mode))).await;
        migrated.map_err(|source| StoreError::transient("cannot set the file up", source))??;
        self.connection = Some(connection);
        Ok(())
    }

    async fn write_batch(&mut self, batch: Arc<[RunRecord]>) -> Result<(), StoreError> {
        let again = Arc::clone(&batch);
        let what = "cannot write to the file";
        match self.on(what, move |connection| write(connection, &batch)).await {
            Err(error) if is_full(&error) && self.make_room().await => {
                self.on(what, move |connection| write(connection, &again)).await
            }
            written => written,
        }
    }

    async fn drop_old(
        &mut self,
        now: Timestamp,
        retention: Retention,
    ) -> Result<Maintained, StoreError> {
        let (what, clock) = ("cannot drop old rows", self.clock.clone());
        let drop_old = move |connection: &mut SqliteConnection| {
            retention::drop_old(connection, now, retention, &clock)
        };
        let mut done = match self.on(what, drop_old).await {
            Err(error) if is_full(&error) && self.make_room().await => Maintained::default(),
            done => done?,
        };
        let ballast = self.ballast.clone();
        let laid = spawn_blocking(move || ballast.lay()).await;
        if let Ok(Err(error)) = laid {
            done.problem = Some(format!(
                "there is no room for {BALLAST_BYTES} bytes of ballast beside `{}`, without which old rows cannot \
                 be deleted on a full disk: free some ({error})",
                self.path
            ));
        }
        Ok(done)
    }

    /// On a full disk: gives the ballast up, if that lets old rows go. Whether another attempt makes
    /// sense.
    async fn make_room(&mut self) -> bool {
        let Some(retention) = self.retention else { return false };
        // The transaction that met the full disk may have left anything behind.
        if self.open().await.is_err() {
            return false;
        }
        let now = self.believed.now(&self.clock);
        let (ballast, clock) = (self.ballast.clone(), self.clock.clone());
        let making = self.on("cannot make room", move |connection| {
            // What is in the log may find its place in the file without any room.
            let emptied = retention::checkpoint(connection);
            if !retention::is_due(connection, now, retention)? {
                return emptied;
            }
            ballast.give_up();
            let _ = retention::checkpoint(connection);
            retention::drop_old(connection, now, retention, &clock)?;
            retention::give_back(connection)?;
            // For the next time. Without room for it, the next maintenance says so.
            let _ = ballast.lay();
            Ok(())
        });
        making.await.is_ok()
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
        format!("sqlite:{}", obs_core::Escaped(&self.path))
    }

    fn prepare(&mut self) -> StoreFuture<'_> {
        Box::pin(self.open())
    }

    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        Box::pin(self.write_batch(batch))
    }

    fn maintain(&mut self, now: Timestamp, retention: Retention) -> MaintainFuture<'_> {
        self.retention = Some(retention);
        let now = self.believed.at(now, self.clock.now());
        Box::pin(self.drop_old(now, retention))
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

    fn stored<'a>(&'a mut self, unsettled: &'a Unsettled) -> StoredFuture<'a> {
        let ids: Vec<_> = unsettled.run_ids().collect();
        let act = move |connection: &mut SqliteConnection| stored::rows(connection, &ids);
        let rows = self.on("cannot read from the file", act);
        Box::pin(async { rows.await.map(Stored::Rows) })
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

/// A file that is not there is for somebody else to make, or the path is wrong: SQLite would make an empty one.
fn find_file(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::permanent(format!(
                "there is no file `{}`, and only who migrates makes one: check the path; `obs migrate` makes \
                 the file, as the user that is to own it",
                path.display()
            )))
        }
        // Whatever else is wrong with it, SQLite says.
        _ => Ok(()),
    }
}

fn set_up(connection: &mut SqliteConnection, mode: Migrations) -> Result<(), StoreError> {
    let unusable = |source| StoreError::transient("cannot set the file up", source);
    // Before anything that may wait for another process.
    connection.batch_execute("PRAGMA busy_timeout = 5000").map_err(unusable)?;
    // Only in an empty file: it would be written to a file that exists, each time.
    let pages = sql::<BigInt>("PRAGMA page_count").get_result::<i64>(connection);
    if pages.map_err(unusable)? == 0 {
        connection.batch_execute(LAYOUT).map_err(unusable)?;
    }
    for pragma in PRAGMAS {
        connection.batch_execute(pragma).map_err(unusable)?;
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

/// A transaction that has the writer's lock from its begin. A full disk makes SQLite undo all by
/// itself; then Diesel's own transaction would tell of that, and not of the disk.
fn in_transaction<T>(
    connection: &mut SqliteConnection,
    act: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
) -> QueryResult<T> {
    connection.batch_execute("BEGIN IMMEDIATE")?;
    let done = act(connection).and_then(|done| connection.batch_execute("COMMIT").map(|()| done));
    if done.is_err() {
        let _ = connection.batch_execute("ROLLBACK");
    }
    done
}

fn is_full(error: &StoreError) -> bool {
    error.chain().contains("disk is full")
}

fn write(connection: &mut SqliteConnection, batch: &[RunRecord]) -> QueryResult<()> {
    let has_errors = batch.iter().any(|record| record.class() == Class::Error);
    let synchronous = if has_errors { "FULL" } else { "NORMAL" };
    connection.batch_execute(&format!("PRAGMA synchronous = {synchronous}"))?;
    in_transaction(connection, |connection| {
        let erased = erase::among(connection, batch)?;
        let stays = |record: &&RunRecord| !erased.contains(&record.run_id);
        insert::insert(connection, &batch.iter().filter(stays).collect::<Vec<_>>())
    })
}

#[cfg(test)]
mod tests {
    use diesel::{Connection, sql_types::Integer};
    use obs_core::{Status, testing::record};

    use super::*;

    #[test]
    fn a_batch_with_an_error_survives_a_power_loss_and_others_wait_for_no_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("obs.sqlite");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        set_up(&mut connection, Migrations::AtStart).unwrap();
        let mut failed = record("bonus", "1");
        failed.status = Status::Timeout;
        let ok = record("bonus", "1");
        let (full, normal) = (2, 1);
        for (batch, expected) in
            [(vec![ok.clone()], normal), (vec![ok.clone(), failed], full), (vec![ok], normal)]
        {
            write(&mut connection, &batch).unwrap();
            let synchronous = sql::<Integer>("PRAGMA synchronous");
            assert_eq!(synchronous.get_result::<i32>(&mut connection).unwrap(), expected);
        }
    }

    /// Rows of each table.
    fn counts(connection: &mut SqliteConnection) -> (i64, i64) {
        let mut count = |table| {
            sql::<BigInt>(&format!("SELECT count(*) FROM {table}")).get_result(connection).unwrap()
        };
        (count("run"), count("run_payload"))
    }

    #[test]
    fn a_batch_of_any_size_is_written_whole_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("obs.sqlite");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        set_up(&mut connection, Migrations::AtStart).unwrap();
        let mut before = 0;
        for size in [1, 31, 32, 33, 100, 127, 128, 129, 165, 256] {
            let batch: Vec<_> = (0..size).map(|_| record("bonus", "1")).collect();
            // Some are there already.
            write(&mut connection, &batch[..batch.len() / 3]).unwrap();
            write(&mut connection, &batch).unwrap();
            assert_eq!(counts(&mut connection), (before + size, before + size), "{size}");
            // All are there already, some are twice in the batch.
            let twice: Vec<_> = batch.iter().chain(&batch[batch.len() / 2..]).cloned().collect();
            write(&mut connection, &twice).unwrap();
            assert_eq!(counts(&mut connection), (before + size, before + size), "{size}");
            before += size;
        }
    }

    #[test]
    fn a_row_that_is_refused_leaves_nothing_of_its_batch_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("obs.sqlite");
        let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        set_up(&mut connection, Migrations::AtStart).unwrap();
        for bad in [0, 7, 127, 130, 159, 169] {
            let mut batch: Vec<_> = (0..170).map(|_| record("bonus", "1")).collect();
            // SQLite takes what is not a number for NULL, which the column does not.
            batch[bad].sample_rate = f64::NAN;
            let refused = write(&mut connection, &batch).unwrap_err();
            assert!(refused.to_string().contains("NOT NULL"), "{refused}");
            assert_eq!(counts(&mut connection), (0, 0), "{bad}");
        }
    }
}
