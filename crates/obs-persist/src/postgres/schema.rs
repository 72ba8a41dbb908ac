//! The schema `obs`: brought up to date by whoever comes first, under a lock.

use diesel::{
    QueryResult,
    dsl::sql,
    migration::MigrationVersion,
    pg::Pg,
    sql_types::{Bool, Text},
};
use diesel_async::{
    AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    TransactionManager,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::partitions::{Day, Days, may_make};
use crate::{
    migrations::{self, Known, Migrations},
    store::StoreError,
};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The key of the advisory lock, which the functions of the schema take too: "obs-pers" in ASCII.
const LOCK_KEY: i64 = 0x6f62_732d_7065_7273;

/// How long to wait for another process that migrates, in the server's words; it must be less than
/// the server's `statement_timeout`.
const LOCK_TIMEOUT: &str = "8s";

/// Migrates if need be and allowed, and makes the partitions of the days around `today`. Only its own have
/// to be there: maintenance, which follows at once, tries the others again and says why they are missing.
pub(super) async fn prepare(
    connection: AsyncPgConnection,
    migrations: Migrations,
    today: Day,
) -> Result<(AsyncPgConnection, Days), StoreError> {
    let mut connection = connection;
    // A role that may only insert gets along, as long as there is nothing to do.
    if is_behind(&mut connection).await? {
        if migrations == Migrations::External {
            return Err(migrations::missing());
        }
        connection = migrate(connection).await?;
    }
    let mut days = Days::default();
    // A role that may make no days lives on what others make, and is warned when that runs out.
    if may_make(&mut connection).await? {
        days.ensure(&mut connection, today.whole()).await?;
        if let Err(error) = days.ensure(&mut connection, today.around().flat_map(Day::whole)).await
        {
            tracing::debug!(error = %error.chain(), "not all days ahead are there");
        }
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

/// Everything in one transaction, which holds the lock: of several processes that start at once, one
/// migrates and the others find it done, and a pooler that changes sessions in between does no harm.
async fn migrate(mut connection: AsyncPgConnection) -> Result<AsyncPgConnection, StoreError> {
    type Transaction = <AsyncPgConnection as AsyncConnection>::TransactionManager;
    let begun = Transaction::begin_transaction(&mut connection).await;
    begun.map_err(|source| StoreError::transient("cannot begin to migrate", source))?;
    let lock = format!(
        "SET LOCAL search_path = obs, pg_temp; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
         SELECT pg_catalog.pg_advisory_xact_lock({LOCK_KEY})"
    );
    connection.batch_execute(&lock).await.map_err(|source| {
        StoreError::transient("cannot get the lock to change the schema", source)
    })?;
    // Somebody else may have done it meanwhile.
    if is_behind(&mut connection).await? {
        create_schema(&mut connection).await?;
        let mut harness = AsyncMigrationHarness::new(connection);
        harness.run_pending_migrations(MIGRATIONS).map_err(|source| {
            StoreError::transient(
                "cannot migrate the schema, and nothing of it is changed: run `obs migrate` as the role that owns it; \
                 if something is there already, or is missing, that obs.__diesel_schema_migrations says otherwise \
                 of, somebody did half of a migration by hand: undo that first",
                source,
            )
        })?;
        connection = harness.into_inner();
    }
    let committed = Transaction::commit_transaction(&mut connection).await;
    committed.map_err(|source| StoreError::transient("cannot commit the migrations", source))?;
    Ok(connection)
}

async fn create_schema(connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
    // IF NOT EXISTS would want the right to create schemas even where it exists.
    let created = connection.batch_execute(
        "DO $$ BEGIN IF to_regnamespace('obs') IS NULL THEN CREATE SCHEMA obs; \
         COMMENT ON SCHEMA obs IS 'Kept runs, written by obs-persist. Read obs.run, obs.run_payload, \
         obs.run_stats and obs.run_stats_daily.'; END IF; END $$",
    );
    created.await.map_err(|source| {
        StoreError::transient(
            "cannot create the schema `obs`: run `obs migrate` as a role with CREATE on the database",
            source,
        )
    })
}
