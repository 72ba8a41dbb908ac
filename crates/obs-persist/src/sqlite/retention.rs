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

/// What goes together.
#[derive(Clone, Copy)]
enum Rows {
    Runs(Class),
    /// Entries of the audit trail, which are kept as long as errors are.
    Audit,
}

impl Rows {
    const ALL: [Self; 3] = [Self::Runs(Class::Ok), Self::Runs(Class::Error), Self::Audit];

    const fn class(self) -> Class {
        match self {
            Self::Runs(class) => class,
            Self::Audit => Class::Error,
        }
    }

    /// Those that are past their retention, up to the time.
    fn old(self) -> String {
        match self {
            Self::Runs(class) => format!("run WHERE {} AND started_at < ", of_class(class)),
            Self::Audit => "audit WHERE occurred_at < ".to_owned(),
        }
    }

    /// The time of the first of them.
    fn first(self) -> String {
        match self {
            Self::Runs(class) => {
                let class = of_class(class);
                format!("SELECT started_at FROM run WHERE {class} ORDER BY started_at LIMIT 1")
            }
            Self::Audit => "SELECT occurred_at FROM audit ORDER BY occurred_at LIMIT 1".to_owned(),
        }
    }
}

/// The times before which rows go.
fn cutoffs(now: Timestamp, retention: Retention) -> impl Iterator<Item = (Rows, i64)> {
    Rows::ALL.into_iter().filter_map(move |rows| {
        let kept = i64::try_from(retention.of(rows.class())?.as_micros()).unwrap_or(i64::MAX);
        Some((rows, now.as_micros().saturating_sub(kept)))
    })
}

/// Whether there is anything to drop. Works on a full disk, too.
pub(super) fn is_due(
    connection: &mut SqliteConnection,
    now: Timestamp,
    retention: Retention,
) -> QueryResult<bool> {
    for (rows, cutoff) in cutoffs(now, retention) {
        let exists = format!("SELECT EXISTS (SELECT 1 FROM {}", rows.old());
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
    'rows: for (which, cutoff) in cutoffs(now, retention) {
        loop {
            if clock.now().since(start) > PASS_BUDGET {
                done.more = true;
                break 'rows;
            }
            let rows = drop_some(connection, which, cutoff)?;
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

/// When the first row began that is left of what is kept as long as this class.
fn oldest(connection: &mut SqliteConnection, class: Class) -> QueryResult<Option<Timestamp>> {
    let mut oldest: Option<i64> = None;
    for rows in Rows::ALL.into_iter().filter(|rows| rows.class() == class) {
        let first = sql::<BigInt>(&rows.first()).get_result::<i64>(connection).optional()?;
        oldest = oldest.into_iter().chain(first).min();
    }
    Ok(oldest.map(Timestamp::from_micros))
}

fn drop_some(connection: &mut SqliteConnection, which: Rows, cutoff: i64) -> QueryResult<u64> {
    // The same runs twice: the payloads know no class and no time.
    let (tables, key, time): (&[&str], _, _) = match which {
        Rows::Runs(_) => (&["run_payload", "run"], "run_id", "started_at"),
        Rows::Audit => (&["audit"], "audit_id", "occurred_at"),
    };
    let old = format!("SELECT {key} FROM {}? ORDER BY {time} LIMIT {ROWS_MAX}", which.old());
    let rows = super::in_transaction(connection, |connection| {
        let mut rows = 0;
        for table in tables {
            let statement = format!("DELETE FROM {table} WHERE {key} IN ({old})");
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
