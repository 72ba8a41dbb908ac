//! One connection to a server.

use std::fmt::Write;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls};

use super::{
    pooler,
    target::{Target, Tls},
    tls,
};
use crate::{retry::Jitter, store::StoreError};

/// A connection, and whether a pooler is in between.
pub(super) struct Connection {
    pub(super) connection: AsyncPgConnection,
    pub(super) is_pooled: bool,
}

pub(super) async fn connect(target: &Target) -> Result<Connection, StoreError> {
    let limit = target.connect_timeout();
    match timeout(limit, Box::pin(open_directly(target))).await {
        Ok(Some(connection)) => {
            return Ok(Connection { connection: connection?, is_pooled: false });
        }
        Ok(None) => {}
        Err(_) => return Err(StoreError::late("connecting", limit)),
    }
    // Three connections, one after the other, and some transactions.
    let limit = limit.saturating_mul(3);
    let through_pooler = async {
        pooler::try_out(target).await?;
        open(target, &target.plain).await
    };
    match timeout(limit, Box::pin(through_pooler)).await {
        Ok(connection) => Ok(Connection { connection: connection?, is_pooled: true }),
        Err(_) => Err(StoreError::late("connecting through a pooler", limit)),
    }
}

/// With our options, one of which is a mark by which a session of ours is known again; `None` when
/// a pooler did not take them.
async fn open_directly(target: &Target) -> Option<Result<AsyncPgConnection, StoreError>> {
    let mark = format!("{:016x}", Jitter::from_system().next());
    let mut config = target.config.clone();
    let mut options = config.get_options().unwrap_or_default().to_owned();
    // Writing to a string cannot fail.
    let _ = write!(options, " -c obs.session={mark}");
    config.options(options);
    let mut connection = match open(target, &config).await {
        Ok(connection) => connection,
        Err(error) if pooler::is_pooler(&error.chain()) => return None,
        Err(error) => return Some(Err(error)),
    };
    // Nothing that a pooler could lose is prepared for this.
    let same = format!(
        "DO $$ BEGIN IF pg_catalog.current_setting('obs.session', true) IS DISTINCT FROM '{mark}' THEN \
         RAISE 'not the session that took our options'; END IF; END $$"
    );
    match connection.batch_execute(&same).await {
        Ok(()) => Some(Ok(connection)),
        Err(error) if error.to_string().contains("not the session") => None,
        Err(error) => Some(Err(StoreError::transient("cannot set the connection up", error))),
    }
}

async fn open(target: &Target, config: &Config) -> Result<AsyncPgConnection, StoreError> {
    let connection = match &target.tls {
        Tls::Off => {
            let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
        Tls::Verified { roots } => {
            let connector = tls::connector(roots.as_deref())?;
            let (client, connection) = config.connect(connector).await.map_err(refused)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
    };
    connection.map_err(|source| StoreError::transient("cannot set the connection up", source))
}

/// A connection of its own, without our options, to try something out.
pub(super) async fn plain_client(target: &Target) -> Result<Client, StoreError> {
    Ok(match &target.tls {
        Tls::Off => {
            let (client, connection) = target.plain.connect(NoTls).await.map_err(refused)?;
            // It ends with the client; what it says at its end was said to the client, too.
            drop(tokio::spawn(connection));
            client
        }
        Tls::Verified { roots } => {
            let connector = tls::connector(roots.as_deref())?;
            let (client, connection) = target.plain.connect(connector).await.map_err(refused)?;
            drop(tokio::spawn(connection));
            client
        }
    })
}

fn refused(source: tokio_postgres::Error) -> StoreError {
    StoreError::transient("cannot connect", source)
}
