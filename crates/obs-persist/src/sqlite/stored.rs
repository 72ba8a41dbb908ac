//! Which records of a dead process are rows. Nothing of it is under way any more: SQLite writes within
//! the process.

use std::collections::BTreeSet;

use diesel::{
    QueryResult, RunQueryDsl,
    dsl::sql,
    sql_types::{Binary, Bool},
    sqlite::SqliteConnection,
};
use uuid::Uuid;

pub(super) fn rows(connection: &mut SqliteConnection, ids: &[Uuid]) -> QueryResult<BTreeSet<Uuid>> {
    let mut rows = BTreeSet::new();
    for id in ids {
        let is_row = sql::<Bool>("SELECT EXISTS (SELECT 1 FROM run WHERE run_id = ")
            .bind::<Binary, _>(&id.as_bytes()[..])
            .sql(") OR EXISTS (SELECT 1 FROM audit WHERE audit_id = ")
            .bind::<Binary, _>(&id.as_bytes()[..])
            .sql(")")
            .get_result::<bool>(connection)?;
        if is_row {
            rows.insert(*id);
        }
    }
    Ok(rows)
}
