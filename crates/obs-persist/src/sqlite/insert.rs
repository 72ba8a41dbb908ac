//! The statements of the SQLite store: prepared once, run for a few records of a batch at a time.

use std::{array, fmt, marker::PhantomData};

use diesel::{
    QueryResult, RunQueryDsl,
    backend::Backend,
    query_builder::{AstPass, BindCollector, QueryFragment, QueryId},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, Binary, Bool, Double, Text},
    sqlite::{Sqlite, SqliteConnection},
};
use obs_core::RunRecord;

use crate::columns::{AUDIT, Column, PAYLOAD, RUN, Type, Value};

/// Records in one statement: what a statement costs beside its rows is shared by so many.
const ROWS: usize = 16;

/// Writes the records into their tables. After an error some of them may be there: the caller's
/// transaction has to be rolled back.
pub(super) fn insert(connection: &mut SqliteConnection, records: &[&RunRecord]) -> QueryResult<()> {
    let (entries, runs): (Vec<&RunRecord>, Vec<&RunRecord>) =
        records.iter().copied().partition(|record| record.audit.is_some());
    for entry in entries {
        Insert::<Audit, _, 1>::new(&AUDIT, [entry]).execute(connection)?;
    }
    let (chunks, rest) = runs.as_chunks::<ROWS>();
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
    rows: [[Cell<'a>; COLUMNS]; N],
    table: PhantomData<fn() -> T>,
}

impl<'a, T, const COLUMNS: usize, const N: usize> Insert<'a, T, COLUMNS, N> {
    fn new(columns: &'static [Column; COLUMNS], records: [&'a RunRecord; N]) -> Self {
        let cells = |record| array::from_fn(|at| Cell { column: &columns[at], record });
        Self { rows: records.map(cells), table: PhantomData }
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
        for (at, cell) in self.rows.iter().take(1).flatten().enumerate() {
            out.push_sql(if at == 0 { "" } else { ", " });
            out.push_sql(cell.column.name);
        }
        out.push_sql(") VALUES ");
        for (at, row) in self.rows.iter().enumerate() {
            out.push_sql(if at == 0 { "(" } else { ", (" });
            for (at, cell) in row.iter().enumerate() {
                out.push_sql(if at == 0 { "" } else { ", " });
                cell.push(&mut out)?;
            }
            out.push_sql(")");
        }
        // The first column is the key.
        out.push_sql(" ON CONFLICT (");
        out.push_sql(
            self.rows.first().and_then(|row| row.first()).map_or("", |cell| cell.column.name),
        );
        out.push_sql(") DO NOTHING");
        Ok(())
    }

    /// As the walk does, without asking each time which walk it is: there are hundreds of values.
    fn collect_binds<'b>(
        &'b self,
        out: &mut <Sqlite as Backend>::BindCollector<'b>,
        (): &mut (),
        _: &'b Sqlite,
    ) -> QueryResult<()> {
        self.rows.iter().flatten().try_for_each(|cell| cell.bind(out))
    }

    /// The type says all of the text.
    fn is_safe_to_cache_prepared(&self, _: &Sqlite) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<T, const COLUMNS: usize, const N: usize> RunQueryDsl<SqliteConnection>
    for Insert<'_, T, COLUMNS, N>
{
}

/// One value of one row, read when it is bound.
struct Cell<'a> {
    column: &'static Column,
    record: &'a RunRecord,
}

impl Cell<'_> {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        match self.column.type_ {
            Type::Id => out.push_bind_param::<Binary, _>(self),
            Type::Text | Type::Json => out.push_bind_param::<Text, _>(self),
            Type::Integer | Type::Time => out.push_bind_param::<BigInt, _>(self),
            Type::Float => out.push_bind_param::<Double, _>(self),
            Type::Boolean => out.push_bind_param::<Bool, _>(self),
        }
    }

    fn bind<'b>(&'b self, out: &mut <Sqlite as Backend>::BindCollector<'b>) -> QueryResult<()> {
        match self.column.type_ {
            Type::Id => out.push_bound_value::<Binary, _>(self, &mut ()),
            Type::Text | Type::Json => out.push_bound_value::<Text, _>(self, &mut ()),
            Type::Integer | Type::Time => out.push_bound_value::<BigInt, _>(self, &mut ()),
            Type::Float => out.push_bound_value::<Double, _>(self, &mut ()),
            Type::Boolean => out.push_bound_value::<Bool, _>(self, &mut ()),
        }
    }
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
