//! The canary: a row that is written like any other, in a transaction that is rolled back.

use diesel_async::{AsyncConnection, AsyncPgConnection};
use obs_core::RunRecord;

use super::insert::{self, Rows};
use crate::store::StoreError;

/// Rolling back is what a transaction does when its closure returns an error.
enum Outcome {
    Passed,
    Failed(StoreError),
}

impl From<diesel::result::Error> for Outcome {
    fn from(source: diesel::result::Error) -> Self {
        Self::Failed(StoreError::transient("cannot roll back", source))
    }
}

/// After an error the connection is not to be used any more.
pub(super) async fn try_out(
    connection: &mut AsyncPgConnection,
    row: &RunRecord,
) -> Result<(), StoreError> {
    let outcome = connection
        .transaction(async |connection| {
            match insert::insert(connection, Rows::of(row), &[row]).await {
                Ok(()) => Err::<(), _>(Outcome::Passed),
                Err(error) => Err(Outcome::Failed(error)),
            }
        })
        .await;
    match outcome {
        Ok(()) | Err(Outcome::Passed) => Ok(()),
        Err(Outcome::Failed(error)) => Err(error),
    }
}
