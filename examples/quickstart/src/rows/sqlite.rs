//! The SQLite file.

use std::error::Error;

use diesel::{
    Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query,
    sql_types::{BigInt, Binary, Double, Text},
};

use super::{Kept, Schema, Weighted};

#[derive(QueryableByName)]
struct ReasonRow {
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct WeightedRow {
    #[diesel(sql_type = Text)]
    strategy_id: String,
    #[diesel(sql_type = Text)]
    strategy_version: String,
    #[diesel(sql_type = BigInt)]
    rows_kept: i64,
    #[diesel(sql_type = Double)]
    runs: f64,
    #[diesel(sql_type = Double)]
    failures: f64,
    #[diesel(sql_type = Double)]
    duration_p95_s: f64,
}

pub(super) fn read(
    path: &str,
    schema: Schema,
    epoch: &[u8],
) -> Result<Kept, Box<dyn Error + Send + Sync>> {
    let mut file = SqliteConnection::establish(path)?;
    let reasons =
        sql_query(schema.by_reason("?")).bind::<Binary, _>(epoch).load::<ReasonRow>(&mut file)?;
    let weighted = sql_query(schema.weighted()).load::<WeightedRow>(&mut file)?;
    Ok(Kept {
        by_reason: reasons.into_iter().map(|row| (row.reason, row.count.unsigned_abs())).collect(),
        weighted: weighted.into_iter().map(Weighted::from).collect(),
    })
}

impl From<WeightedRow> for Weighted {
    fn from(row: WeightedRow) -> Self {
        Self {
            strategy: row.strategy_id,
            version: row.strategy_version,
            rows_kept: row.rows_kept,
            runs: row.runs,
            failures: row.failures,
            duration_p95_s: row.duration_p95_s,
        }
    }
}
