//! The Postgres store: one connection, one statement per batch and class, and one for its audit entries.

mod canary;
mod connect;
mod erase;
mod insert;
mod partitions;
mod places;
mod pooler;
mod retention;
mod schema;
mod stored;
mod target;
mod tls;

use std::sync::Arc;

use diesel_async::AsyncPgConnection;
use obs_core::{Clock, RunRecord, Status, Timestamp};

use crate::erasure::{EraseFuture, Erasure};
use crate::migrations::Migrations;
use crate::store::{MaintainFuture, Maintained, Retention, Store, StoreError, StoreFuture};
use crate::stored::{StoredFuture, Unsettled};

use connect::{Begin, Connection};
use insert::Rows;
use partitions::Days;
pub(crate) use target::{Target, TargetError};

/// A store in the schema `obs` of a Postgres database.
pub(crate) struct PostgresStore {
    target: Target,
    migrations: Migrations,
    clock: Clock,
    connection: Option<Connected>,
    /// Where the next attempt to connect begins: behind where the last one was dropped.
    begin: Begin,
    /// The plaintext warning is said once…
    warned: bool,
    /// … and so is what a pooler keeps from us.
    said_pooled: bool,
}

struct Connected {
    connection: AsyncPgConnection,
    days: Days,
    /// Behind a pooler there is no session of our own.
    session: Option<u64>,
}

impl PostgresStore {
    pub(crate) fn new(target: Target, migrations: Migrations) -> Self {
        Self {
            target,
            migrations,
            clock: Clock::default(),
            connection: None,
            begin: Begin::default(),
            warned: false,
            said_pooled: false,
        }
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        if self.target.is_exposed() && !self.warned {
            tracing::warn!(store = %self.target, "sslmode=disable: rows and password travel unencrypted");
            self.warned = true;
        }
        let connected = self.connect().await;
        // It was not dropped, so the next attempt is a whole one.
        self.begin = Begin::default();
        self.connection = Some(connected?);
        Ok(())
    }

    async fn connect(&mut self) -> Result<Connected, StoreError> {
        let Connection { connection, is_pooled } =
            connect::connect(&self.target, &mut self.begin).await?;
        if is_pooled && !self.said_pooled {
            tracing::warn!(
                store = %self.target,
                "a pooler is in between and takes no settings: set statement_timeout, lock_timeout and \
                 idle_in_transaction_session_timeout for the role"
            );
            self.said_pooled = true;
        }
        let today = partitions::day_of(self.clock.wall());
        let (mut connection, days) = schema::prepare(connection, self.migrations, today).await?;
        let session = if is_pooled { None } else { Some(stored::session(&mut connection).await?) };
        Ok(Connected { connection, days, session })
    }

    /// The connection is put back only when its state is known: a future that is dropped, or an
    /// error, takes it and its locks with it.
    fn take(&mut self, what: &str) -> Result<Connected, StoreError> {
        let none = || StoreError::transient(format!("cannot {what}"), "there is no connection");
        self.connection.take().ok_or_else(none)
    }

    async fn maintain_days(
        &mut self,
        now: Timestamp,
        retention: Retention,
    ) -> Result<Maintained, StoreError> {
        let mut connected = self.take("maintain")?;
        let Connected { connection, days, .. } = &mut connected;
        let done = retention::maintain(connection, days, (now, &self.clock), retention).await?;
        self.connection = Some(connected);
        Ok(done)
    }

    async fn write_batch(&mut self, batch: Arc<[RunRecord]>) -> Result<(), StoreError> {
        let Some(Connected { connection, days, .. }) = &mut self.connection else {
            return Err(StoreError::transient("cannot write", "there is no connection"));
        };
        let needed = batch.iter().map(partitions::needed_by);
        if let Err(error) = days.ensure(connection, needed).await {
            // It may hold locks, or be in a transaction, where later rows would be lost. Where nobody has made a day,
            // it has only read, and the canary that comes next can say so.
            if !matches!(error, StoreError::Permanent { .. }) {
                self.connection = None;
            }
            return Err(error);
        }
        let ended = stored::ended(connection, &batch).await;
        for which in Rows::ALL {
            let mut rows: Vec<&RunRecord> =
                batch.iter().filter(|row| Rows::of(row) == which).collect();
            rows.retain(|row| row.status != Status::Lost || !ended.contains(&row.run_id));
            if !rows.is_empty() {
                insert::insert(connection, which, &rows).await?;
            }
        }
        Ok(())
    }
}

impl PostgresStore {
    async fn try_canary(&mut self, row: Box<RunRecord>) -> Result<(), StoreError> {
        let Some(mut connected) = self.connection.take() else {
            return Err(StoreError::transient("cannot try a canary", "there is no connection"));
        };
        let Connected { connection, days, .. } = &mut connected;
        days.ensure(connection, std::iter::once(partitions::needed_by(&row))).await?;
        canary::try_out(connection, &row).await?;
        self.connection = Some(connected);
        Ok(())
    }
}

impl Store for PostgresStore {
    fn name(&self) -> String {
        self.target.to_string()
    }

    fn prepare(&mut self) -> StoreFuture<'_> {
        Box::pin(self.open())
    }

    fn write(&mut self, batch: Arc<[RunRecord]>) -> StoreFuture<'_> {
        Box::pin(self.write_batch(batch))
    }

    fn canary(&mut self, row: Box<RunRecord>) -> StoreFuture<'_> {
        Box::pin(self.try_canary(row))
    }

    fn maintain(&mut self, now: Timestamp, retention: Retention) -> MaintainFuture<'_> {
        Box::pin(self.maintain_days(now, retention))
    }

    fn bury<'a>(&'a mut self, erasure: &'a Erasure) -> EraseFuture<'a> {
        Box::pin(async {
            let mut connected = self.take("bury")?;
            let buried = erase::bury(&mut connected.connection, erasure).await?;
            self.connection = Some(connected);
            Ok(buried)
        })
    }

    fn erase<'a>(&'a mut self, erasure: &'a Erasure, files: u64) -> EraseFuture<'a> {
        Box::pin(async move {
            let mut connected = self.take("erase")?;
            let erased = erase::erase(&mut connected.connection, erasure, files).await?;
            self.connection = Some(connected);
            Ok(erased)
        })
    }

    fn session(&self) -> Option<u64> {
        self.connection.as_ref()?.session
    }

    fn stored<'a>(&'a mut self, unsettled: &'a Unsettled) -> StoredFuture<'a> {
        Box::pin(async {
            let mut connected = self.take("read")?;
            let stored = stored::stored(&mut connected.connection, unsettled).await?;
            self.connection = Some(connected);
            Ok(stored)
        })
    }

    fn close(&mut self) -> StoreFuture<'_> {
        Box::pin(async {
            self.connection = None;
            Ok(())
        })
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore")
            .field("target", &format_args!("{}", self.target))
            .field("connected", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}
