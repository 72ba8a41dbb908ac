//! A transaction whose error is the one that ended it.

use diesel::{QueryResult, connection::SimpleConnection, sqlite::SqliteConnection};

/// Runs `act` in a transaction that may write, and commits it if that worked.
///
/// SQLite itself rolls back when its disk is full, and then the statement that rolls back fails
/// too; what it says is worth nothing, so it is not what is returned.
pub(super) fn immediate<T>(
    connection: &mut SqliteConnection,
    act: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
) -> QueryResult<T> {
    connection.batch_execute("BEGIN IMMEDIATE")?;
    let done = act(connection).and_then(|value| {
        connection.batch_execute("COMMIT")?;
        Ok(value)
    });
    if done.is_err() {
        let _ = connection.batch_execute("ROLLBACK");
    }
    done
}
