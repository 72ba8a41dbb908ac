//! The schema `obs`: brought up to date by whoever comes first, under a lock.

use diesel::{
    QueryResult,
    dsl::sql,
    migration::MigrationVersion,
    pg::Pg,
    sql_types::{Bool, Text},
};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::partitions::{Day, Days, may_make};
use crate::{
    migrations::{self, Known},
    store::StoreError,
};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The key of the advisory lock: "obs-pers" in ASCII.
const LOCK_KEY: i64 = 0x6f62_732d_7065_7273;

/// How long to wait for another process that migrates, in the server's words; it must be less than
/// the server's `statement_timeout`.
const LOCK_TIMEOUT: &str = "8s";

/// Migrates if need be, and makes the partitions of the days around `today`.
pub(super) async fn prepare(
    connection: AsyncPgConnection,
    today: Day,
) -> Result<(AsyncPgConnection, Days), StoreError> {
    let mut connection = connection;
    // A role that may only insert gets along, as long as there is nothing to do.
    if is_behind(&mut connection).await? {
        connection = migrate(connection).await?;
    }
    let mut days = Days::default();
    // A role that may only insert lives on what others make, and is warned when that runs out.
    if may_make(&mut connection).await? {
        days.ensure(&mut connection, today.around()).await?;
    }
    Ok((connection, days))
}

/// Whether migrations are missing.
///
/// # Errors
/// When the schema is newer than this program.
async fn is_behind(connection: &mut AsyncPgConnection) -> Result<bool, StoreError> {
    let unreadable = |source| StoreError::transient("cannot read the schema's version", source);
    let applied = applied(connection).await.map_err(unreadable)?;
    let versions: Vec<_> = applied.into_iter().map(MigrationVersion::from).collect();
    let known = Known::of::<Pg>(&MIGRATIONS).map_err(|source| {
        StoreError::permanent_because("cannot read the embedded migrations", source)
    })?;
    migrations::check(known, &versions)
}

async fn applied(connection: &mut AsyncPgConnection) -> QueryResult<Vec<String>> {
    let exists = sql::<Bool>("SELECT to_regclass('obs.__diesel_schema_migrations') IS NOT NULL")
        .get_result::<bool>(connection)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    sql::<Text>("SELECT version::text FROM obs.__diesel_schema_migrations").load(connection).await
}

async fn migrate(mut connection: AsyncPgConnection) -> Result<AsyncPgConnection, StoreError> {
    let failed = |source| StoreError::transient("cannot migrate the schema", source);
    let lock = Lock::take(&mut connection).await?;
    // Somebody else may have done it meanwhile.
    if is_behind(&mut connection).await? {
        // IF NOT EXISTS would want the right to create schemas even where it exists.
        connection
            .batch_execute(
                "DO $$ BEGIN IF to_regnamespace('obs') IS NULL THEN CREATE SCHEMA obs; \
                 COMMENT ON SCHEMA obs IS 'Kept runs, written by obs-persist. Read obs.run, obs.run_payload, \
                 obs.run_stats and obs.run_stats_daily.'; END IF; END $$",
            )
            .await
            .map_err(|source| {
                StoreError::transient(
                    "cannot create the schema `obs`: grant CREATE on the database, or create it",
                    source,
                )
            })?;
        let mut harness = AsyncMigrationHarness::new(connection);
        harness.run_pending_migrations(MIGRATIONS).map_err(failed)?;
        connection = harness.into_inner();
    }
    lock.release(&mut connection).await?;
    Ok(connection)
}

/// The lock of everybody who changes the schema. It belongs to the session: when anything goes
/// wrong, the connection is thrown away and the lock with it.
#[must_use = "the lock is held until it is released or the connection ends"]
pub(super) struct Lock(());

impl Lock {
    pub(super) async fn take(connection: &mut AsyncPgConnection) -> Result<Self, StoreError> {
        let statements = format!(
            "SET lock_timeout = '{LOCK_TIMEOUT}'; SELECT pg_advisory_lock({LOCK_KEY}); RESET lock_timeout"
        );
        connection.batch_execute(&statements).await.map_err(|source| {
            StoreError::transient("cannot get the lock to change the schema", source)
        })?;
        Ok(Self(()))
    }

    /// The same without waiting; `None` if somebody else has it.
    pub(super) async fn try_take(
        connection: &mut AsyncPgConnection,
    ) -> Result<Option<Self>, StoreError> {
        let taken = sql::<Bool>(&format!("SELECT pg_try_advisory_lock({LOCK_KEY})"))
            .get_result::<bool>(connection)
            .await
            .map_err(|source| {
                StoreError::transient("cannot ask for the lock to change the schema", source)
            })?;
        Ok(taken.then_some(Self(())))
    }

    pub(super) async fn release(
        self,
        connection: &mut AsyncPgConnection,
    ) -> Result<(), StoreError> {
        connection.batch_execute(&format!("SELECT pg_advisory_unlock({LOCK_KEY})")).await.map_err(
            |source| StoreError::transient("cannot release the lock to change the schema", source),
        )
    }
}
