//! Rows that are past their retention, deleted a bounded amount at a time.
//!
//! Their pages are used again, so the file stops growing when as much goes as comes. It shrinks only
//! when its disk is full; `VACUUM`, which writes all of it anew, is left to whoever wants the room.

use std::time::Duration;

use diesel::{
    OptionalExtension, QueryResult, RunQueryDsl,
    connection::SimpleConnection,
    dsl::sql,
    sql_query,
    sql_types::{BigInt, Bool},
    sqlite::SqliteConnection,
};
use obs_core::{Class, Clock, Timestamp};

use crate::store::{Maintained, Retention};

/// Rows that are deleted under one hold of the writer's lock: some ten milliseconds.
const ROWS_MAX: i64 = 500;

/// No further transaction is begun after so long: records wait meanwhile.
const PASS_BUDGET: Duration = Duration::from_secs(1);

/// Pages of 16 KiB by which the file shrinks at once: 2 MiB.
const STEP_PAGES: u32 = 128;

/// How often it shrinks at most: 48 MiB in all.
const STEPS_MAX: u32 = 24;

/// Which rows are of a class, as the indexes by time have it.
const fn of_class(class: Class) -> &'static str {
    match class {
        Class::Ok => "status IN ('ok', 'cancelled')",
        Class::Error => "status NOT IN ('ok', 'cancelled')",
    }
}

/// Which rows of a class are past their retention.
fn old_rows(class: Class) -> String {
    format!("{} AND started_at < ", of_class(class))
}

/// The start times before which runs of a class go.
fn cutoffs(now: Timestamp, retention: Retention) -> impl Iterator<Item = (Class, i64)> {
    [Class::Ok, Class::Error].into_iter().filter_map(move |class| {
        let kept = i64::try_from(retention.of(class)?.as_micros()).unwrap_or(i64::MAX);
        Some((class, now.as_micros().saturating_sub(kept)))
    })
}

/// Whether there is anything to drop. Works on a full disk, too.
pub(super) fn is_due(
    connection: &mut SqliteConnection,
    now: Timestamp,
    retention: Retention,
) -> QueryResult<bool> {
    for (class, cutoff) in cutoffs(now, retention) {
        let exists = format!("SELECT EXISTS (SELECT 1 FROM run WHERE {}", old_rows(class));
        let exists = sql::<Bool>(&exists).bind::<BigInt, _>(cutoff).sql(")");
        if exists.get_result::<bool>(connection)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes old rows and their payloads, until none is left or the time is over.
pub(super) fn drop_old(
    connection: &mut SqliteConnection,
    now: Timestamp,
    retention: Retention,
    clock: &Clock,
) -> QueryResult<Maintained> {
    let start = clock.now();
    let mut done = Maintained::default();
    'classes: for (class, cutoff) in cutoffs(now, retention) {
        loop {
            if clock.now().since(start) > PASS_BUDGET {
                done.more = true;
                break 'classes;
            }
            let rows = drop_some(connection, class, cutoff)?;
            done.rows = done.rows.saturating_add(rows);
            if rows < ROWS_MAX.unsigned_abs() {
                break;
            }
        }
    }
    done.oldest_ok = oldest(connection, Class::Ok)?;
    done.oldest_error = oldest(connection, Class::Error)?;
    Ok(done)
}

/// When the first row of a class began that is left.
fn oldest(connection: &mut SqliteConnection, class: Class) -> QueryResult<Option<Timestamp>> {
    let class = of_class(class);
    let first = format!("SELECT started_at FROM run WHERE {class} ORDER BY started_at LIMIT 1");
    let first = sql::<BigInt>(&first).get_result::<i64>(connection).optional()?;
    Ok(first.map(Timestamp::from_micros))
}

fn drop_some(connection: &mut SqliteConnection, class: Class, cutoff: i64) -> QueryResult<u64> {
    let old = format!("{}? ORDER BY started_at LIMIT {ROWS_MAX}", old_rows(class));
    let rows = super::in_transaction(connection, |connection| {
        // The same rows twice: the payloads know no class and no time.
        let mut rows = 0;
        for table in ["run_payload", "run"] {
            let statement =
                format!("DELETE FROM {table} WHERE run_id IN (SELECT run_id FROM run WHERE {old})");
            rows = sql_query(statement).bind::<BigInt, _>(cutoff).execute(connection)?;
        }
        Ok(rows)
    })?;
    Ok(u64::try_from(rows).unwrap_or(u64::MAX))
}

/// Shrinks the file on a full disk, in steps that need little room themselves.
pub(super) fn give_back(connection: &mut SqliteConnection) -> QueryResult<()> {
    checkpoint(connection)?;
    for _ in 0..STEPS_MAX {
        let free = sql::<BigInt>("PRAGMA freelist_count").get_result::<i64>(connection)?;
        if free == 0 {
            break;
        }
        connection.batch_execute(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
        checkpoint(connection)?;
    }
    Ok(())
}

/// Moves what is in the log into the file, so that the log takes no more room than it needs.
pub(super) fn checkpoint(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")
}
