//! Erasure by subject: a tombstone first, then the rows, partition by partition.

use diesel::{
    QueryResult,
    dsl::sql,
    sql_types::{Array, BigInt, Integer, Text},
};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager,
};
use obs_core::Class;

use crate::{
    erasure::{ERASURE_GRACE, Erased, Erasure, TOMBSTONE_LIFE},
    store::StoreError,
};

/// Rows that are deleted in one transaction.
const ROWS_MAX: i32 = 5_000;

/// How long one partition may be searched, in the server's words: there is no index by subject.
const SEARCH_TIMEOUT: &str = "10min";

/// How long anything else may take: a pooler does not hand on what our connections ask for.
const STEP_TIMEOUT: &str = "10s";

/// How long to wait for writes under way; other writes wait behind us meanwhile.
const LOCK_TIMEOUT: &str = "5s";

type Transaction = <AsyncPgConnection as AsyncConnection>::TransactionManager;

/// Sets the tombstones, and waits for writes that began without them.
pub(super) async fn bury(
    connection: &mut AsyncPgConnection,
    erasure: &Erasure,
) -> Result<Erased, StoreError> {
    let until = format!(
        ", now() + {} * interval '1 second', now() + {} * interval '1 second')) AS hash",
        ERASURE_GRACE.as_secs(),
        TOMBSTONE_LIFE.as_secs(),
    );
    let failed = |source| StoreError::transient(REFUSED, source);
    begin(connection, STEP_TIMEOUT).await.map_err(failed)?;
    let hashes = sql::<Text>("SELECT encode(hash, 'hex') FROM unnest(obs.bury(")
        .bind::<Array<Text>, _>(erasure.forms())
        .sql(&until)
        .load::<String>(connection)
        .await
        .map_err(failed)?;
    Transaction::commit_transaction(connection).await.map_err(failed)?;
    // Whoever writes holds a lock that this one waits for, until the write is committed. Whoever
    // comes later looks for tombstones only once it has its own, and finds ours.
    let wait = format!(
        "SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; LOCK TABLE ONLY obs.run_ok, ONLY obs.run_error, ONLY obs.audit IN SHARE MODE"
    );
    connection.batch_execute(&wait).await.map_err(|source| {
        StoreError::transient("cannot wait for the writes that are under way", source)
    })?;
    Ok(Erased { hashes, ..Erased::default() })
}

const REFUSED: &str = "cannot erase: use the role that owns the schema, the one of `obs migrate`";

/// Deletes rows and payloads, and leaves a record of it.
pub(super) async fn erase(
    connection: &mut AsyncPgConnection,
    erasure: &Erasure,
    files: u64,
) -> Result<Erased, StoreError> {
    let mut erased = Erased { files, ..Erased::default() };
    for class in [Class::Ok, Class::Error] {
        for partition in partitions(connection, &format!("run_{class}")).await? {
            loop {
                let (rows, payloads) = erase_from(connection, class, &partition, erasure).await?;
                match class {
                    Class::Ok => erased.rows_ok += rows,
                    Class::Error => erased.rows_error += rows,
                }
                erased.payloads += payloads;
                if rows < u64::from(ROWS_MAX.unsigned_abs()) {
                    break;
                }
            }
        }
    }
    for partition in partitions(connection, "audit").await? {
        loop {
            let entries = erase_audit_from(connection, &partition, erasure).await?;
            erased.audit += entries;
            if entries < u64::from(ROWS_MAX.unsigned_abs()) {
                break;
            }
        }
    }
    erased.hashes = record(connection, erasure, &erased).await?;
    Ok(erased)
}

/// All of them, whoever made and named them.
async fn partitions(
    connection: &mut AsyncPgConnection,
    table: &str,
) -> Result<Vec<String>, StoreError> {
    let leaves = format!(
        "SELECT relid::text FROM pg_catalog.pg_partition_tree('obs.{table}'::regclass) WHERE isleaf ORDER BY 1"
    );
    let failed = |source| StoreError::transient("cannot list the partitions", source);
    begin(connection, STEP_TIMEOUT).await.map_err(failed)?;
    let leaves = sql::<Text>(&leaves).load::<String>(connection).await.map_err(failed)?;
    Transaction::commit_transaction(connection).await.map_err(failed)?;
    Ok(leaves)
}

async fn erase_from(
    connection: &mut AsyncPgConnection,
    class: Class,
    partition: &str,
    erasure: &Erasure,
) -> Result<(u64, u64), StoreError> {
    let failed = |source| StoreError::transient(REFUSED, source);
    begin(connection, SEARCH_TIMEOUT).await.map_err(failed)?;
    let (rows, payloads) =
        sql::<(BigInt, BigInt)>("SELECT rows_gone, payloads_gone FROM obs.erase_from(")
            .bind::<Text, _>(class.as_str())
            .sql(", to_regclass(")
            .bind::<Text, _>(partition)
            .sql("), ")
            .bind::<Array<Text>, _>(erasure.forms())
            .sql(", ")
            .bind::<Integer, _>(ROWS_MAX)
            .sql(")")
            .get_result::<(i64, i64)>(connection)
            .await
            .map_err(failed)?;
    Transaction::commit_transaction(connection).await.map_err(failed)?;
    Ok((rows.unsigned_abs(), payloads.unsigned_abs()))
}

async fn erase_audit_from(
    connection: &mut AsyncPgConnection,
    partition: &str,
    erasure: &Erasure,
) -> Result<u64, StoreError> {
    let failed = |source| StoreError::transient(REFUSED, source);
    begin(connection, SEARCH_TIMEOUT).await.map_err(failed)?;
    let entries = sql::<BigInt>("SELECT coalesce(obs.erase_audit_from(to_regclass(")
        .bind::<Text, _>(partition)
        .sql("), ")
        .bind::<Array<Text>, _>(erasure.forms())
        .sql(", ")
        .bind::<Integer, _>(ROWS_MAX)
        .sql("), 0)")
        .get_result::<i64>(connection)
        .await
        .map_err(failed)?;
    Transaction::commit_transaction(connection).await.map_err(failed)?;
    Ok(entries.unsigned_abs())
}

/// Begins a transaction each of whose statements may take so long, in the server's words.
async fn begin(connection: &mut AsyncPgConnection, patience: &str) -> QueryResult<()> {
    Transaction::begin_transaction(connection).await?;
    let patience = format!("SET LOCAL statement_timeout = '{patience}'");
    connection.batch_execute(&patience).await
}

/// What was done, as one row; its hashes.
async fn record(
    connection: &mut AsyncPgConnection,
    erasure: &Erasure,
    erased: &Erased,
) -> Result<Vec<String>, StoreError> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let failed = |source| StoreError::transient("cannot record what was erased", source);
    begin(connection, STEP_TIMEOUT).await.map_err(failed)?;
    let hashes = sql::<Text>(
        "INSERT INTO obs.erasure (subject_hashes, erased_by, rows_ok, rows_error, payloads, audit, files) \
         VALUES (ARRAY(SELECT obs.subject_hash(form) FROM unnest(",
    )
    .bind::<Array<Text>, _>(erasure.forms())
    .sql(") AS form), ")
    .bind::<Text, _>(erasure.asked_by())
    .sql(", ")
    .bind::<BigInt, _>(number(erased.rows_ok))
    .sql(", ")
    .bind::<BigInt, _>(number(erased.rows_error))
    .sql(", ")
    .bind::<BigInt, _>(number(erased.payloads))
    .sql(", ")
    .bind::<BigInt, _>(number(erased.audit))
    .sql(", ")
    .bind::<BigInt, _>(number(erased.files))
    .sql(") RETURNING (SELECT string_agg(encode(hash, 'hex'), ' ') FROM unnest(subject_hashes) AS hash)")
    .get_result::<String>(connection)
    .await
    .map_err(failed)?;
    Transaction::commit_transaction(connection).await.map_err(failed)?;
    Ok(hashes.split(' ').map(str::to_owned).collect())
}
