//! One connection to a server.

use diesel_async::AsyncPgConnection;
use tokio::time::timeout;
use tokio_postgres::NoTls;

use super::{
    target::{Target, Tls},
    tls,
};
use crate::store::StoreError;

pub(super) async fn connect(target: &Target) -> Result<AsyncPgConnection, StoreError> {
    let limit = target.connect_timeout();
    match timeout(limit, Box::pin(open(target))).await {
        Ok(connection) => connection,
        Err(_) => Err(StoreError::late("connecting", limit)),
    }
}

async fn open(target: &Target) -> Result<AsyncPgConnection, StoreError> {
    let refused = |source| StoreError::transient("cannot connect", source);
    let connection = match &target.tls {
        Tls::Off => {
            let (client, connection) = target.config.connect(NoTls).await.map_err(refused)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
        Tls::Verified { roots } => {
            let connector = tls::connector(roots.as_deref())?;
            let (client, connection) = target.config.connect(connector).await.map_err(refused)?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
    };
    connection.map_err(|source| StoreError::transient("cannot set the connection up", source))
}
