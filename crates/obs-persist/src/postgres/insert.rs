//! The statement that writes a batch: rows and payloads of one class, or entries of the audit trail, in one
//! round trip.
//!
//! Each column travels as one array, so the statement is the same for every batch size and is
//! prepared once per connection. Both tables get their rows in one statement, so a row and its
//! payload are committed together; a row that is there already is left alone.

use std::{cell::Cell, fmt, io::Write};

use diesel::{
    QueryResult,
    pg::Pg,
    query_builder::{AstPass, QueryFragment, QueryId},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{Array, BigInt, Bool, Double, HasSqlType, Json, Text, Timestamptz, Uuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use obs_core::{Class, RunRecord};

use super::pooler;
use crate::{
    columns::{AUDIT, Column, PAYLOAD, RUN, Type, Value},
    store::StoreError,
};

/// Postgres counts microseconds from 2000-01-01.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Where an array is put together keeps this much memory for the next one; a batch's traces fit.
const SCRATCH_BYTES_MAX: usize = 2 << 20;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Which statement writes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    Run(Class),
    Audit,
}

impl Rows {
    /// The order in which those of a batch are written.
    pub(super) const ALL: [Self; 3] = [Self::Audit, Self::Run(Class::Error), Self::Run(Class::Ok)];

    pub(super) const fn of(record: &RunRecord) -> Self {
        if record.audit.is_some() { Self::Audit } else { Self::Run(record.class()) }
    }
}

pub(super) async fn insert(
    connection: &mut AsyncPgConnection,
    which: Rows,
    rows: &[&RunRecord],
) -> Result<(), StoreError> {
    let values = |column| Values { column, rows };
    let run = || Insert { columns: RUN.iter().chain(PAYLOAD.iter().skip(1)).map(values).collect() };
    let written = match which {
        Rows::Run(Class::Ok) => RunQueryDsl::execute(InsertOk(run()), connection).await,
        Rows::Run(Class::Error) => RunQueryDsl::execute(InsertError(run()), connection).await,
        Rows::Audit => {
            let columns = AUDIT.iter().map(values).collect();
            RunQueryDsl::execute(InsertAudit { columns }, connection).await
        }
    };
    written.map(drop).map_err(|source| {
        // Whatever was tried out before.
        if pooler::loses_statements(&source.to_string()) {
            pooler::refusal()
        } else {
            StoreError::transient("cannot write", source)
        }
    })
}

/// The arrays of a batch: those of [`RUN`], then those of [`PAYLOAD`] without the id.
struct Insert<'a> {
    columns: Vec<Values<'a>>,
}

struct InsertOk<'a>(Insert<'a>);

struct InsertError<'a>(Insert<'a>);

impl Insert<'_> {
    /// `$1` is the array of ids, which all parts share.
    fn walk<'b>(&'b self, tables: [&str; 2], mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let [run, payload] = tables;
        let (run_columns, payload_columns) = self.columns.split_at(RUN.len());
        push_erased(&RUN, ["run_id", "subject", "started_at"], &mut out);
        out.push_sql(", run AS (INSERT INTO ");
        out.push_sql(run);
        push_names(&RUN, &mut out);
        out.push_sql(" SELECT * FROM UNNEST(");
        for (at, values) in run_columns.iter().enumerate() {
            out.push_sql(if at == 0 { "" } else { ", " });
            values.push(&mut out)?;
        }
        push_unless_erased(&RUN, &mut out);
        out.push_sql(") INSERT INTO ");
        out.push_sql(payload);
        push_names(&PAYLOAD, &mut out);
        out.push_sql(" SELECT * FROM UNNEST($1");
        for values in payload_columns {
            out.push_sql(", ");
            values.push(&mut out)?;
        }
        push_unless_erased(&PAYLOAD, &mut out);
        Ok(())
    }
}

/// Runs of subjects that were erased are left out, here and not before, so that none slips through
/// between asking and writing. The columns are bound behind this, in their order.
fn push_erased(columns: &[Column], told: [&str; 3], out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql("WITH erased AS MATERIALIZED (SELECT obs.erased_runs(");
    for (at, name) in told.into_iter().enumerate() {
        let number = columns.iter().take_while(|column| column.name != name).count() + 1;
        out.push_sql(if at == 0 { "$" } else { ", $" });
        out.push_sql(&number.to_string());
    }
    out.push_sql(") AS ids)");
}

/// The first column is the key.
fn push_unless_erased(columns: &[Column], out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql(") AS new (id) WHERE id <> ALL ((SELECT ids FROM erased)::uuid[]) ON CONFLICT (");
    out.push_sql(columns.first().map_or("", |key| key.name));
    out.push_sql(") DO NOTHING");
}

fn push_names(columns: &[Column], out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql(" (");
    for (at, column) in columns.iter().enumerate() {
        out.push_sql(if at == 0 { "" } else { ", " });
        out.push_sql(column.name);
    }
    out.push_sql(")");
}

impl QueryFragment<Pg> for InsertOk<'_> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk(["obs.run_ok", "obs.run_ok_payload"], out)
    }
}

impl QueryFragment<Pg> for InsertError<'_> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk(["obs.run_error", "obs.run_error_payload"], out)
    }
}

/// The arrays of [`AUDIT`].
struct InsertAudit<'a> {
    columns: Vec<Values<'a>>,
}

impl QueryFragment<Pg> for InsertAudit<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push_erased(&AUDIT, ["audit_id", "actor", "occurred_at"], &mut out);
        out.push_sql(" INSERT INTO obs.audit");
        push_names(&AUDIT, &mut out);
        out.push_sql(" SELECT * FROM UNNEST(");
        for (at, values) in self.columns.iter().enumerate() {
            out.push_sql(if at == 0 { "" } else { ", " });
            values.push(&mut out)?;
        }
        push_unless_erased(&AUDIT, &mut out);
        Ok(())
    }
}

impl QueryId for InsertAudit<'_> {
    type QueryId = InsertAudit<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

// The text of each depends on nothing but its type: it is prepared once per connection.
impl QueryId for InsertOk<'_> {
    type QueryId = InsertOk<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryId for InsertError<'_> {
    type QueryId = InsertError<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

/// One column of a batch, written straight from the records.
struct Values<'a> {
    column: &'static Column,
    rows: &'a [&'a RunRecord],
}

impl Values<'_> {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match self.column.type_ {
            Type::Id => out.push_bind_param::<Array<Uuid>, _>(self),
            Type::Text => out.push_bind_param::<Array<Text>, _>(self),
            Type::Json => out.push_bind_param::<Array<Json>, _>(self),
            Type::Integer => out.push_bind_param::<Array<BigInt>, _>(self),
            Type::Float => out.push_bind_param::<Array<Double>, _>(self),
            Type::Boolean => out.push_bind_param::<Array<Bool>, _>(self),
            Type::Time => out.push_bind_param::<Array<Timestamptz>, _>(self),
        }
    }
}

/// The binary form of a one-dimensional array: a header, then each element behind its length.
impl<ST> ToSql<Array<ST>, Pg> for Values<'_>
where
    Pg: HasSqlType<ST>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        const DIMENSIONS: i32 = 1;
        const HAS_NULLS: i32 = 1;
        const LOWER_BOUND: i32 = 1;
        let element = <Pg as HasSqlType<ST>>::metadata(out.metadata_lookup()).oid()?;
        // In memory that is there already, so that the bind itself is made in its size and does not grow.
        let mut array = SCRATCH.take();
        array.clear();
        array.extend_from_slice(&DIMENSIONS.to_be_bytes());
        array.extend_from_slice(&HAS_NULLS.to_be_bytes());
        array.extend_from_slice(&element.to_be_bytes());
        array.extend_from_slice(&i32::try_from(self.rows.len())?.to_be_bytes());
        array.extend_from_slice(&LOWER_BOUND.to_be_bytes());
        for row in self.rows {
            write_element(&mut array, (self.column.read)(row))?;
        }
        out.write_all(&array)?;
        put_back(array);
        Ok(IsNull::No)
    }
}

/// Keeps the memory of an array for the next one, within its limit.
fn put_back(mut array: Vec<u8>) {
    // What it holds is not given back.
    array.clear();
    array.shrink_to(SCRATCH_BYTES_MAX);
    SCRATCH.set(array);
}

fn write_element(
    out: &mut Vec<u8>,
    value: Value<'_>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    const NULL: i32 = -1;
    let mut write = |bytes: &[u8]| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        out.extend_from_slice(&i32::try_from(bytes.len())?.to_be_bytes());
        out.extend_from_slice(bytes);
        Ok(())
    };
    match value {
        Value::Id(id) => write(id.as_bytes()),
        Value::Text(text) => write(text.as_bytes()),
        Value::Integer(number) => write(&number.to_be_bytes()),
        Value::Float(number) => write(&number.to_be_bytes()),
        Value::Boolean(truth) => write(&[u8::from(truth)]),
        Value::Time(micros) => write(&micros.saturating_sub(POSTGRES_EPOCH).to_be_bytes()),
        Value::Null => {
            out.extend_from_slice(&NULL.to_be_bytes());
            Ok(())
        }
    }
}

/// The column's name: its values may be private.
impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.column.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_large_array_is_not_kept_and_that_of_a_usual_one_is() {
        put_back(vec![7; 4 * SCRATCH_BYTES_MAX]);
        assert!(SCRATCH.take().capacity() <= SCRATCH_BYTES_MAX);
        put_back(vec![7; 1 << 10]);
        assert_eq!(SCRATCH.take().capacity(), 1 << 10);
    }
}
