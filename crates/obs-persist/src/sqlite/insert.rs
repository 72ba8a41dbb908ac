//! The statements of the SQLite store: prepared once, run for a few records of a batch at a time.

use std::{marker::PhantomData, slice};

use diesel::{
    QueryResult, RunQueryDsl,
    query_builder::{AstPass, QueryFragment, QueryId},
    sql_types::{BigInt, Binary, Bool, Double, Nullable, Text},
    sqlite::{Sqlite, SqliteConnection},
};
use obs_core::RunRecord;

use crate::columns::{AUDIT, Column, PAYLOAD, RUN, Read};

/// Records in one statement, largest first. What one costs beside its rows (10 us) is shared by so many; with less than
/// eight, a statement for each is cheaper, which has no loop over rows.
const MANY: usize = 128;
const SOME: usize = 32;

/// Writes the records into their tables. After an error some of them may be there: the caller's
/// transaction has to be rolled back.
pub(super) fn insert(connection: &mut SqliteConnection, records: &[&RunRecord]) -> QueryResult<()> {
    let (entries, runs): (Vec<&RunRecord>, Vec<&RunRecord>) =
        records.iter().copied().partition(|record| record.audit.is_some());
    for entry in entries {
        Insert::<Audit, _, 1>::new(&AUDIT, [entry]).execute(connection)?;
    }
    let (chunks, rest) = runs.as_chunks::<MANY>();
    for chunk in chunks {
        insert_rows(connection, *chunk)?;
    }
    let (chunks, rest) = rest.as_chunks::<SOME>();
    for chunk in chunks {
        insert_rows(connection, *chunk)?;
    }
    for record in rest {
        insert_rows(connection, [*record])?;
    }
    Ok(())
}

fn insert_rows<const N: usize>(
    connection: &mut SqliteConnection,
    records: [&RunRecord; N],
) -> QueryResult<()> {
    Insert::<Run, _, N>::new(&RUN, records).execute(connection)?;
    Insert::<Payload, _, N>::new(&PAYLOAD, records).execute(connection)?;
    Ok(())
}

/// A table, as a type, so that each has cached statements of its own.
///
/// `OR FAIL`, because otherwise SQLite would copy every page before a statement of many rows changes
/// it, to be able to undo that statement alone. The transaction is undone as a whole.
trait Table: 'static {
    const INSERT: &'static str;
}

struct Run;

impl Table for Run {
    const INSERT: &'static str = "INSERT OR FAIL INTO run (";
}

struct Payload;

impl Table for Payload {
    const INSERT: &'static str = "INSERT OR FAIL INTO run_payload (";
}

struct Audit;

impl Table for Audit {
    const INSERT: &'static str = "INSERT OR FAIL INTO audit (";
}

/// Some rows, each of which is not written again where it is already.
struct Insert<'a, T, const COLUMNS: usize, const N: usize> {
    columns: &'static [Column; COLUMNS],
    records: [&'a RunRecord; N],
    /// What no record holds as SQLite wants it, in the order of the binds, which borrow.
    numbers: Vec<i64>,
    table: PhantomData<fn() -> T>,
}

impl<'a, T, const COLUMNS: usize, const N: usize> Insert<'a, T, COLUMNS, N> {
    fn new(columns: &'static [Column; COLUMNS], records: [&'a RunRecord; N]) -> Self {
        let mut numbers = Vec::with_capacity(N * COLUMNS);
        for record in records {
            for column in columns {
                if let Read::Integer(read) | Read::Time(read) = column.read {
                    numbers.push(read(record));
                }
            }
        }
        Self { columns, records, numbers, table: PhantomData }
    }
}

impl<T: Table, const COLUMNS: usize, const N: usize> QueryId for Insert<'_, T, COLUMNS, N> {
    type QueryId = Insert<'static, T, COLUMNS, N>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<T: Table, const COLUMNS: usize, const N: usize> QueryFragment<Sqlite>
    for Insert<'_, T, COLUMNS, N>
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(T::INSERT);
        for (at, column) in self.columns.iter().enumerate() {
            out.push_sql(if at == 0 { "" } else { ", " });
            out.push_sql(column.name);
        }
        let mut numbers = self.numbers.iter();
        let mut before_row = ") VALUES (";
        for record in self.records {
            let mut before = before_row;
            for column in self.columns {
                out.push_sql(before);
                push(&mut out, column, record, &mut numbers)?;
                before = ", ";
            }
            before_row = "), (";
        }
        // The first column is the key.
        out.push_sql(") ON CONFLICT (");
        out.push_sql(self.columns.first().map_or("", |key| key.name));
        out.push_sql(") DO NOTHING");
        Ok(())
    }
}

impl<T, const COLUMNS: usize, const N: usize> RunQueryDsl<SqliteConnection>
    for Insert<'_, T, COLUMNS, N>
{
}

/// One value of one row, straight from the record where it has it as SQLite wants it.
fn push<'a>(
    out: &mut AstPass<'_, 'a, Sqlite>,
    column: &Column,
    record: &'a RunRecord,
    numbers: &mut slice::Iter<'a, i64>,
) -> QueryResult<()> {
    match column.read {
        Read::Id(read) => match read(record) {
            Some(id) => out.push_bind_param::<Binary, [u8; 16]>(id.as_bytes()),
            None => push_null(out),
        },
        Read::Json(read) => match read(record) {
            Some(json) => out.push_bind_param::<Text, str>(json.as_str()),
            None => push_null(out),
        },
        Read::Text(read) => match read(record) {
            Some(text) => out.push_bind_param::<Text, str>(text),
            None => push_null(out),
        },
        Read::Integer(_) | Read::Time(_) => match numbers.next() {
            Some(number) => out.push_bind_param::<BigInt, i64>(number),
            None => push_null(out),
        },
        Read::Float(read) => match read(record) {
            Some(number) => out.push_bind_param::<Double, f64>(number),
            None => push_null(out),
        },
        Read::Boolean(read) => out.push_bind_param::<Bool, bool>(read(record)),
    }
}

/// SQLite asks for no type.
fn push_null(out: &mut AstPass<'_, '_, Sqlite>) -> QueryResult<()> {
    out.push_bind_param::<Nullable<BigInt>, Option<i64>>(&None)
}
