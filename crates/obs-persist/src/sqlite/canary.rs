//! The canary: a row that is written like any other, in a transaction that is rolled back.
//!
//! SQLite writes nothing before a commit as long as its cache has room, so a full disk would let
//! the canary pass. With a cache of one page, what the canary changes is pushed out to the log
//! while the transaction runs; all but the pages that were touched last. So some large rows go with
//! it: on a disk that is all but full, it must not fit where a record does not.

use diesel::{QueryResult, connection::SimpleConnection, result::Error, sqlite::SqliteConnection};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use obs_core::RunRecord;

use super::{in_transaction, insert};
use crate::{canary, retry::Jitter, store::StoreError};

/// Large rows that go with the canary: their pages outnumber those of any record that could stay
/// in the cache.
const FILLERS: usize = 4;

pub(super) async fn try_out(
    connection: Option<&mut SyncConnectionWrapper<SqliteConnection>>,
    row: Box<RunRecord>,
) -> Result<(), StoreError> {
    let Some(connection) = connection else {
        return Err(StoreError::transient("cannot try a canary", "the file is not open"));
    };
    connection
        .spawn_blocking(move |connection| write_and_take_back(connection, &row))
        .await
        .map_err(|source| StoreError::transient("cannot write to the file", source))
}

fn write_and_take_back(connection: &mut SqliteConnection, row: &RunRecord) -> QueryResult<()> {
    connection.batch_execute("PRAGMA cache_size = 1")?;
    let written = in_transaction(connection, |connection| {
        insert::insert(connection, &[row])?;
        let mut chance = Jitter::from_system();
        for _ in 0..FILLERS {
            let filler = canary::filler(row, &mut chance);
            insert::insert(connection, &[&filler])?;
        }
        Err::<(), _>(Error::RollbackTransaction)
    });
    // Back to what it was at the start: SQLite's own default of 2 MB.
    connection.batch_execute("PRAGMA cache_size = -2000")?;
    match written {
        Ok(()) | Err(Error::RollbackTransaction) => Ok(()),
        Err(error) => Err(error),
    }
}
