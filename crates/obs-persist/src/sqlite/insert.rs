//! The two statements of the SQLite store: prepared once, run for every record of a batch.

use std::{array, fmt, marker::PhantomData};

use diesel::{
    QueryResult, RunQueryDsl,
    query_builder::{AstPass, QueryFragment, QueryId},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, Binary, Bool, Double, Text},
    sqlite::{Sqlite, SqliteConnection},
};
use obs_core::RunRecord;

use crate::columns::{Column, PAYLOAD, RUN, Type, Value};

pub(super) fn run(connection: &mut SqliteConnection, record: &RunRecord) -> QueryResult<usize> {
    Insert::<Run, _>::new(&RUN, record).execute(connection)
}

pub(super) fn payload(connection: &mut SqliteConnection, record: &RunRecord) -> QueryResult<usize> {
    Insert::<Payload, _>::new(&PAYLOAD, record).execute(connection)
}

/// A table, as a type, so that each has a cached statement of its own.
trait Table: 'static {
    const INSERT: &'static str;
}

struct Run;

impl Table for Run {
    const INSERT: &'static str = "INSERT INTO run (";
}

struct Payload;

impl Table for Payload {
    const INSERT: &'static str = "INSERT INTO run_payload (";
}

/// One row, which is not written again where it is already.
struct Insert<'a, T, const COLUMNS: usize> {
    cells: [Cell<'a>; COLUMNS],
    table: PhantomData<fn() -> T>,
}

impl<'a, T, const COLUMNS: usize> Insert<'a, T, COLUMNS> {
    fn new(columns: &'static [Column; COLUMNS], record: &'a RunRecord) -> Self {
        let cells = array::from_fn(|at| Cell { column: &columns[at], record });
        Self { cells, table: PhantomData }
    }
}

impl<T: Table, const COLUMNS: usize> QueryId for Insert<'_, T, COLUMNS> {
    type QueryId = Insert<'static, T, COLUMNS>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<T: Table, const COLUMNS: usize> QueryFragment<Sqlite> for Insert<'_, T, COLUMNS> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(T::INSERT);
        for (at, cell) in self.cells.iter().enumerate() {
            out.push_sql(if at == 0 { "" } else { ", " });
            out.push_sql(cell.column.name);
        }
        out.push_sql(") VALUES (");
        for (at, cell) in self.cells.iter().enumerate() {
            out.push_sql(if at == 0 { "" } else { ", " });
            match cell.column.type_ {
                Type::Id => out.push_bind_param::<Binary, _>(cell)?,
                Type::Text | Type::Json => out.push_bind_param::<Text, _>(cell)?,
                Type::Integer | Type::Time => out.push_bind_param::<BigInt, _>(cell)?,
                Type::Float => out.push_bind_param::<Double, _>(cell)?,
                Type::Boolean => out.push_bind_param::<Bool, _>(cell)?,
            }
        }
        out.push_sql(") ON CONFLICT (run_id) DO NOTHING");
        Ok(())
    }
}

impl<T, const COLUMNS: usize> RunQueryDsl<SqliteConnection> for Insert<'_, T, COLUMNS> {}

/// One value of one row, read when it is bound.
struct Cell<'a> {
    column: &'static Column,
    record: &'a RunRecord,
}

impl<ST> ToSql<ST, Sqlite> for Cell<'_> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        match (self.column.read)(self.record) {
            Value::Id(id) => out.set_value(&id.as_bytes()[..]),
            Value::Text(text) => out.set_value(text),
            Value::Integer(number) | Value::Time(number) => out.set_value(number),
            Value::Float(number) => out.set_value(number),
            Value::Boolean(truth) => out.set_value(i32::from(truth)),
            Value::Null => return Ok(IsNull::Yes),
        }
        Ok(IsNull::No)
    }
}

/// The column's name: its value may be private.
impl fmt::Debug for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.column.name)
    }
}
