//! Erasure by subject. Everything here runs under the writer's lock, so no row slips through.

use std::{collections::BTreeSet, fmt::Write};

use diesel::{
    QueryResult, RunQueryDsl,
    connection::SimpleConnection,
    dsl::sql,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_query,
    sql_types::{BigInt, Binary, Bool, Integer, Text},
    sqlite::{Sqlite, SqliteConnection},
};
use obs_core::{RunRecord, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::in_transaction;
use crate::erasure::{Erased, Erasure, tombstone};

/// Rows that are deleted under one hold of the writer's lock.
const ROWS_MAX: i32 = 1_000;

/// Those runs of a batch whose subject was erased after they began.
pub(super) fn among(
    connection: &mut SqliteConnection,
    batch: &[RunRecord],
) -> QueryResult<BTreeSet<Uuid>> {
    let mut found = BTreeSet::new();
    // Almost always there are none.
    if !AnyErased.get_result::<bool>(connection)? {
        return Ok(found);
    }
    let salt = salt(connection)?;
    for record in batch {
        let Some(subject) = &record.subject else { continue };
        let is_erased = sql::<Bool>("SELECT EXISTS (SELECT 1 FROM erased WHERE subject_hash = ")
            .bind::<Binary, _>(hash(&salt, subject))
            .sql(" AND started_before > ")
            .bind::<BigInt, _>(record.started_at.as_micros())
            .sql(" AND forget_at > CAST(unixepoch('subsec') * 1000000 AS INTEGER))")
            .get_result::<bool>(connection)?;
        if is_erased {
            found.insert(record.run_id);
        }
    }
    Ok(found)
}

/// Whether there is any tombstone: asked for each batch, so it is prepared once, as `sql` is not.
struct AnyErased;

impl QueryFragment<Sqlite> for AnyErased {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("SELECT EXISTS (SELECT 1 FROM erased)");
        Ok(())
    }
}

impl QueryId for AnyErased {
    type QueryId = Self;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for AnyErased {
    type SqlType = Bool;
}

impl RunQueryDsl<SqliteConnection> for AnyErased {}

pub(super) fn bury(
    connection: &mut SqliteConnection,
    forms: &[String],
    now: Timestamp,
) -> QueryResult<Erased> {
    let (started_before, forget_at) = tombstone(now);
    in_transaction(connection, |connection| {
        let forget = sql_query("DELETE FROM erased WHERE forget_at <= ?");
        forget.bind::<BigInt, _>(now.as_micros()).execute(connection)?;
        let salt = salt(connection)?;
        for form in forms {
            sql_query(
                "INSERT INTO erased (subject_hash, started_before, forget_at) VALUES (?, ?, ?) \
                 ON CONFLICT (subject_hash) DO UPDATE SET \
                 started_before = max(started_before, excluded.started_before), \
                 forget_at = max(forget_at, excluded.forget_at)",
            )
            .bind::<Binary, _>(hash(&salt, form))
            .bind::<BigInt, _>(started_before)
            .bind::<BigInt, _>(forget_at)
            .execute(connection)?;
        }
        let hashes = forms.iter().map(|form| hexadecimal(&hash(&salt, form))).collect();
        Ok(Erased { hashes, ..Erased::default() })
    })
}

pub(super) fn erase(
    connection: &mut SqliteConnection,
    erasure: &Erasure,
    files: u64,
    now: Timestamp,
) -> QueryResult<Erased> {
    let mut erased = Erased { files, ..Erased::default() };
    let most = usize::try_from(ROWS_MAX).unwrap_or(usize::MAX);
    for form in erasure.forms() {
        loop {
            let ids =
                in_transaction(connection, |connection| erase_some(connection, form, &mut erased))?;
            if ids < most {
                break;
            }
        }
        loop {
            let entries = in_transaction(connection, |connection| erase_entries(connection, form))?;
            erased.audit += u64::try_from(entries).unwrap_or(0);
            if entries < most {
                break;
            }
        }
    }
    in_transaction(connection, |connection| {
        let salt = salt(connection)?;
        let forms = erasure.forms().iter();
        erased.hashes = forms.map(|form| hexadecimal(&hash(&salt, form))).collect();
        record(connection, erasure, &erased, now)
    })?;
    // Free pages, and what pages held before they were split, still have the bytes, so the file is
    // written anew; the log beside it has them, too. It takes room and time, but nobody erases often.
    connection.batch_execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(erased)
}

/// At most so many entries of the audit trail of an actor; how many.
fn erase_entries(connection: &mut SqliteConnection, form: &str) -> QueryResult<usize> {
    sql_query(
        "DELETE FROM audit WHERE audit_id IN (SELECT audit_id FROM audit WHERE actor = ? LIMIT ?)",
    )
    .bind::<Text, _>(form)
    .bind::<Integer, _>(ROWS_MAX)
    .execute(connection)
}

/// At most so many rows of a subject, with their payloads; how many.
fn erase_some(
    connection: &mut SqliteConnection,
    form: &str,
    erased: &mut Erased,
) -> QueryResult<usize> {
    let ids = sql::<Binary>("SELECT run_id FROM run WHERE subject = ")
        .bind::<Text, _>(form)
        .sql(" LIMIT ")
        .bind::<Integer, _>(ROWS_MAX)
        .load::<Vec<u8>>(connection)?;
    for id in &ids {
        let status = sql::<Text>("DELETE FROM run WHERE run_id = ")
            .bind::<Binary, _>(id)
            .sql(" RETURNING status")
            .get_result::<String>(connection)?;
        match status.as_str() {
            "ok" | "cancelled" => erased.rows_ok += 1,
            _ => erased.rows_error += 1,
        }
        let payload = sql_query("DELETE FROM run_payload WHERE run_id = ?");
        let payloads = payload.bind::<Binary, _>(id).execute(connection)?;
        erased.payloads += u64::try_from(payloads).unwrap_or(0);
    }
    Ok(ids.len())
}

fn record(
    connection: &mut SqliteConnection,
    erasure: &Erasure,
    erased: &Erased,
    now: Timestamp,
) -> QueryResult<()> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let statement = "INSERT INTO erasure (erased_at, erased_by, subject_hashes, rows_ok, rows_error, \
                     payloads, audit, files) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    sql_query(statement)
        .bind::<BigInt, _>(now.as_micros())
        .bind::<Text, _>(erasure.asked_by())
        .bind::<Text, _>(erased.hashes.join(" "))
        .bind::<BigInt, _>(number(erased.rows_ok))
        .bind::<BigInt, _>(number(erased.rows_error))
        .bind::<BigInt, _>(number(erased.payloads))
        .bind::<BigInt, _>(number(erased.audit))
        .bind::<BigInt, _>(number(erased.files))
        .execute(connection)
        .map(drop)
}

fn salt(connection: &mut SqliteConnection) -> QueryResult<Vec<u8>> {
    sql::<Binary>("SELECT salt FROM erasure_salt").get_result(connection)
}

fn hash(salt: &[u8], subject: &str) -> Vec<u8> {
    Sha256::new().chain_update(salt).chain_update(subject).finalize().to_vec()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
