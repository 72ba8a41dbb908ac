//! A pooler between us and the server: which one works, and which one is refused.
//!
//! A session of a real server takes our options; a pooler refuses or ignores them, or puts the next
//! transaction on another session. Then it must not lose what we prepared, because every batch uses
//! one prepared statement. PgBouncer does since 1.21, if told; before, it works until two
//! transactions meet on different sessions, which a test of an evening does not show. So it is tried
//! out, with a second connection that takes the session away.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Error, SimpleQueryMessage, error::SqlState};

use super::{connect, target::Target};
use crate::store::StoreError;

/// How often the second connection tries to be where the first one prepared.
const ATTEMPTS: usize = 5;

/// How long one step may take: a pool with a single session makes the two wait for each other.
const STEP_TIMEOUT: Duration = Duration::from_secs(1);

/// What the startup message of a pooler says that takes no options.
const NO_OPTIONS: &str = "unsupported startup parameter";

/// Whether an error's text is one that only a pooler gives.
pub(super) fn is_pooler(error: &str) -> bool {
    error.contains(NO_OPTIONS) || loses_statements(error)
}

/// Whether an error's text tells of a statement that was prepared on another session.
pub(super) fn loses_statements(error: &str) -> bool {
    error.contains("prepared statement")
        && (error.contains("does not exist") || error.contains("already exists"))
}

/// The refusal, with the way out.
pub(super) fn refusal() -> StoreError {
    StoreError::permanent(
        "the pooler in front of the database loses prepared statements between transactions, as PgBouncer before 1.21 \
         does, and later ones with max_prepared_statements = 0: give this program the address of the server itself, or of \
         a pool with pool_mode = session, or use PgBouncer 1.21 or newer with max_prepared_statements above 0",
    )
}

/// Tries out whether statements survive a change of session.
///
/// # Errors
/// When they do not, or the pooler cannot be reached.
pub(super) async fn try_out(target: &Target) -> Result<(), StoreError> {
    let first = connect::plain_client(target).await?;
    let second = connect::plain_client(target).await?;
    match statements_survive(&first, &second).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(refusal()),
        Err(error) => Err(StoreError::transient("cannot try the pooler out", error)),
    }
}

async fn statements_survive(first: &Client, second: &Client) -> Result<bool, Error> {
    // In a transaction, so that it is known where it was prepared.
    first.batch_execute("BEGIN").await?;
    let prepared = first.prepare("SELECT pg_catalog.pg_backend_pid()").await;
    let home = session(first).await?;
    first.batch_execute("COMMIT").await?;
    let statement = match prepared {
        Ok(statement) => statement,
        Err(error) => return is_lost(error).map(|_| false),
    };
    for _ in 0..ATTEMPTS {
        second.batch_execute("BEGIN").await?;
        let taken = session(second).await?;
        let ran = timeout(STEP_TIMEOUT, first.query_one(&statement, &[])).await;
        second.batch_execute("COMMIT").await?;
        match ran {
            // It waits for a session: there is but one.
            Err(_) => return Ok(true),
            Ok(Err(error)) => return is_lost(error).map(|_| false),
            // Elsewhere, and it is known there.
            Ok(Ok(row)) if row.try_get::<_, i32>(0)?.to_string() != home => return Ok(true),
            // Taken away, and still there: the session is ours.
            Ok(Ok(_)) if taken == home => return Ok(true),
            Ok(Ok(_)) => {}
        }
    }
    Ok(true)
}

fn is_lost(error: Error) -> Result<(), Error> {
    let lost = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];
    if error.code().is_some_and(|code| lost.contains(code)) { Ok(()) } else { Err(error) }
}

/// The number of the session that runs this transaction.
async fn session(client: &Client) -> Result<String, Error> {
    let messages = client.simple_query("SELECT pg_catalog.pg_backend_pid()").await?;
    let pid = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(pid.unwrap_or_default())
}
