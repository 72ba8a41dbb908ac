//! Postgres, on this machine or over a network that needs no TLS.

use std::{error::Error, time::Duration};

use tokio::{runtime, time::timeout};
use tokio_postgres::{Client, NoTls, Row};

use super::{Kept, Schema, Weighted};

/// How long connecting and asking may take together.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) fn read(
    url: &str,
    schema: Schema,
    epoch: &str,
) -> Result<Kept, Box<dyn Error + Send + Sync>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        timeout(DEADLINE, async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            // Ends when the client is dropped; an error of it is an error of the query too.
            tokio::spawn(connection);
            ask(&client, schema, epoch).await
        })
        .await?
        .map_err(Into::into)
    })
}

async fn ask(client: &Client, schema: Schema, epoch: &str) -> Result<Kept, tokio_postgres::Error> {
    let reasons = client.query(&schema.by_reason("$1::text::uuid"), &[&epoch]).await?;
    let weighted = client.query(&schema.weighted(), &[]).await?;
    Ok(Kept {
        by_reason: reasons.iter().map(reason).collect::<Result<_, _>>()?,
        weighted: weighted.iter().map(line).collect::<Result<_, _>>()?,
    })
}

fn reason(row: &Row) -> Result<(String, u64), tokio_postgres::Error> {
    Ok((row.try_get(0)?, row.try_get::<_, i64>(1)?.unsigned_abs()))
}

fn line(row: &Row) -> Result<Weighted, tokio_postgres::Error> {
    Ok(Weighted {
        strategy: row.try_get(0)?,
        version: row.try_get(1)?,
        rows_kept: row.try_get(2)?,
        runs: row.try_get(3)?,
        failures: row.try_get(4)?,
        duration_p95_s: row.try_get(5)?,
    })
}
