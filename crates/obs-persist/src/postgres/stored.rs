//! Which records of a dead process are rows, once its connection is gone.
//!
//! A server that has read a statement carries it out, whether its client lives or not. So the rows are
//! looked at after the dead process's session has ended: then nothing more can come.

use std::{collections::BTreeSet, fmt::Write};

use diesel::{
    QueryResult,
    dsl::sql,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use obs_core::{RunRecord, Status};
use uuid::Uuid;

use crate::{
    store::StoreError,
    stored::{Stored, Unsettled},
};

/// A session: the server's process, and when it began, so that no later one is taken for it.
const SESSION: &str = "(pid::bigint << 32) | \
                       ((EXTRACT(EPOCH FROM backend_start) * 1000000)::bigint & 4294967295)";

/// The number of our session.
pub(super) async fn session(connection: &mut AsyncPgConnection) -> Result<u64, StoreError> {
    let query = format!(
        "SELECT {SESSION} FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())"
    );
    let session = sql::<BigInt>(&query).get_result::<i64>(connection).await;
    session
        .map(i64::cast_unsigned)
        .map_err(|source| StoreError::transient("cannot read the number of the session", source))
}

pub(super) async fn stored(
    connection: &mut AsyncPgConnection,
    unsettled: &Unsettled,
) -> Result<Stored, StoreError> {
    let answer = async {
        Ok(if is_any_there(connection, unsettled.sessions()).await? {
            Stored::Busy
        } else {
            Stored::Rows(rows(connection, unsettled).await?)
        })
    };
    answer.await.map_err(|source: diesel::result::Error| {
        StoreError::transient("cannot read which runs are rows", source)
    })
}

async fn is_any_there(connection: &mut AsyncPgConnection, sessions: &[u64]) -> QueryResult<bool> {
    if sessions.is_empty() {
        return Ok(false);
    }
    let sessions = array(sessions.iter().map(|session| session.cast_signed()));
    let query = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity \
         WHERE {SESSION} = ANY ('{sessions}'::bigint[]))"
    );
    sql::<Bool>(&query).get_result(connection).await
}

/// The ids are literals, so that the planner looks at the partitions of their days only.
async fn rows(
    connection: &mut AsyncPgConnection,
    unsettled: &Unsettled,
) -> QueryResult<BTreeSet<Uuid>> {
    let ids = array(unsettled.run_ids());
    let query = format!(
        "SELECT run_id::text FROM obs.run_ok WHERE run_id = ANY ('{ids}'::uuid[]) UNION ALL \
         SELECT run_id::text FROM obs.run_error WHERE run_id = ANY ('{ids}'::uuid[]) UNION ALL \
         SELECT audit_id::text FROM obs.audit WHERE audit_id = ANY ('{ids}'::uuid[])"
    );
    let rows = sql::<Text>(&query).load::<String>(connection).await?;
    Ok(rows.iter().filter_map(|id| id.parse().ok()).collect())
}

/// The runs of a batch that are said to be lost, and have a row as runs that ended well: after a loss of power the page
/// that says so may be older than that row, which is in another table, so its key keeps out none beside it. Where the
/// store cannot tell there are two.
pub(super) async fn ended(
    connection: &mut AsyncPgConnection,
    batch: &[RunRecord],
) -> BTreeSet<Uuid> {
    let lost = batch.iter().filter(|row| row.status == Status::Lost);
    let lost: Vec<Uuid> = lost.map(|row| row.run_id).collect();
    if lost.is_empty() {
        return BTreeSet::new();
    }
    let ids = array(lost.iter());
    let query = format!("SELECT run_id::text FROM obs.run_ok WHERE run_id = ANY ('{ids}'::uuid[])");
    let rows = sql::<Text>(&query).load::<String>(connection).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "nobody knows whether runs that were lost have a row");
        Vec::new()
    });
    rows.iter().filter_map(|id| id.parse().ok()).collect()
}

/// The text of an array of numbers or ids.
fn array(items: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let mut text = String::from("{");
    for (at, item) in items.enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{item}", if at == 0 { "" } else { "," });
    }
    text.push('}');
    text
}
