//! The statement that writes a batch: rows and payloads of one class, or entries of the audit trail, in one
//! round trip.
//!
//! Each column travels as one array, so the statement is the same for every batch size and is
//! prepared once per connection. Both tables get their rows in one statement, so a row and its
//! payload are committed together; a row that is there already is left alone.

use std::{num::TryFromIntError, ops::RangeInclusive};

use diesel::{
    QueryResult,
    backend::Backend,
    pg::{Pg, PgMetadataLookup, PgTypeMetadata},
    query_builder::{AstPass, QueryFragment, QueryId},
    result::Error,
    sql_types::{Array, BigInt, Bool, Double, HasSqlType, Json, Text, Timestamptz, Uuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use obs_core::{Class, RunRecord};

use super::pooler;
use crate::{
    columns::{AUDIT, Column, PAYLOAD, RUN, Read},
    store::StoreError,
};

/// Postgres counts microseconds from 2000-01-01.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Which statement writes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The tables that it writes to.
    pub(super) const fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Run(Class::Ok) => &["run_ok", "run_ok_payload"],
            Self::Run(Class::Error) => &["run_error", "run_error_payload"],
            Self::Audit => &["audit"],
        }
    }
}

pub(super) async fn insert(
    connection: &mut AsyncPgConnection,
    which: Rows,
    rows: &[&RunRecord],
) -> Result<(), StoreError> {
    let written = match which {
        Rows::Audit => RunQueryDsl::execute(Insert::<0> { rows }, connection).await,
        Rows::Run(Class::Error) => RunQueryDsl::execute(Insert::<1> { rows }, connection).await,
        Rows::Run(Class::Ok) => RunQueryDsl::execute(Insert::<2> { rows }, connection).await,
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

/// The statement of `Rows::ALL[N]`. Each is a type, by which the connection knows what it prepared.
struct Insert<'a, const N: usize> {
    rows: &'a [&'a RunRecord],
}

fn run_columns() -> impl Iterator<Item = &'static Column> {
    RUN.iter().chain(PAYLOAD.iter().skip(1))
}

/// Its arrays are those of [`RUN`], then those of [`PAYLOAD`] without the id: `$1` is the array of ids, which all
/// parts share.
fn push_run([run, payload]: [&str; 2], out: &mut AstPass<'_, '_, Pg>) {
    push_erased(&RUN, ["run_id", "subject", "started_at"], out);
    out.push_sql(", run AS (INSERT INTO ");
    out.push_sql(run);
    push_names(&RUN, out);
    out.push_sql(" SELECT * FROM UNNEST($1");
    push_numbers(2..=RUN.len(), out);
    push_unless_erased(&RUN, out);
    out.push_sql(") INSERT INTO ");
    out.push_sql(payload);
    push_names(&PAYLOAD, out);
    out.push_sql(" SELECT * FROM UNNEST($1");
    push_numbers(RUN.len() + 1..=RUN.len() + PAYLOAD.len() - 1, out);
    push_unless_erased(&PAYLOAD, out);
}

/// Its arrays are those of [`AUDIT`].
fn push_audit(out: &mut AstPass<'_, '_, Pg>) {
    push_erased(&AUDIT, ["audit_id", "actor", "occurred_at"], out);
    out.push_sql(" INSERT INTO obs.audit");
    push_names(&AUDIT, out);
    out.push_sql(" SELECT * FROM UNNEST($1");
    push_numbers(2..=AUDIT.len(), out);
    push_unless_erased(&AUDIT, out);
}

fn push_numbers(numbers: RangeInclusive<usize>, out: &mut AstPass<'_, '_, Pg>) {
    for number in numbers {
        out.push_sql(", $");
        out.push_sql(&number.to_string());
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

// The arrays are not bound one by one while walking, so that each is written once, in memory of its size.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler finds it, and would refuse a place outside"
)]
impl<const N: usize> QueryFragment<Pg> for Insert<'_, N> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        match const { Rows::ALL[N] } {
            Rows::Audit => push_audit(&mut out),
            Rows::Run(Class::Error) => {
                push_run(["obs.run_error", "obs.run_error_payload"], &mut out);
            }
            Rows::Run(Class::Ok) => push_run(["obs.run_ok", "obs.run_ok_payload"], &mut out),
        }
        Ok(())
    }

    fn collect_binds<'b>(
        &'b self,
        out: &mut Binds<'b>,
        types: &mut (dyn PgMetadataLookup + 'static),
        _: &'b Pg,
    ) -> QueryResult<()> {
        let mut bind = |column: &Column| bind(out, column, self.rows, types);
        match const { Rows::ALL[N] } {
            Rows::Audit => AUDIT.iter().try_for_each(&mut bind),
            Rows::Run(_) => run_columns().try_for_each(&mut bind),
        }
    }

    fn is_safe_to_cache_prepared(&self, _: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

impl<const N: usize> QueryId for Insert<'_, N> {
    type QueryId = Insert<'static, N>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

type Binds<'a> = <Pg as Backend>::BindCollector<'a>;

/// One column of the rows.
fn bind(
    out: &mut Binds<'_>,
    column: &Column,
    rows: &[&RunRecord],
    types: &mut (dyn PgMetadataLookup + 'static),
) -> QueryResult<()> {
    let (array, element) = match column.read {
        Read::Id(_) => types_of::<Uuid>(types),
        Read::Text(_) => types_of::<Text>(types),
        Read::Json(_) => types_of::<Json>(types),
        Read::Integer(_) => types_of::<BigInt>(types),
        Read::Float(_) => types_of::<Double>(types),
        Read::Boolean(_) => types_of::<Bool>(types),
        Read::Time(_) => types_of::<Timestamptz>(types),
    };
    let element = element.oid().map_err(|error| Error::SerializationError(error.into()))?;
    let bytes = array_of(column.read, rows, element)
        .map_err(|error| Error::SerializationError(error.into()))?;
    out.metadata.push(array);
    out.binds.push(Some(bytes));
    Ok(())
}

/// That of an array, and that of its elements.
fn types_of<ST: 'static>(
    types: &mut (dyn PgMetadataLookup + 'static),
) -> (PgTypeMetadata, PgTypeMetadata)
where
    Pg: HasSqlType<ST> + HasSqlType<Array<ST>>,
{
    (<Pg as HasSqlType<Array<ST>>>::metadata(types), <Pg as HasSqlType<ST>>::metadata(types))
}

/// The binary form of a one-dimensional array: a header, then each element behind its length.
fn array_of(read: Read, rows: &[&RunRecord], element: u32) -> Result<Vec<u8>, TryFromIntError> {
    match read {
        Read::Id(read) => fixed(rows, element, |row| read(row).map(|id| *id.as_bytes())),
        Read::Text(read) => texts(rows, element, |row| read(row).map(str::as_bytes)),
        Read::Json(read) => texts(rows, element, |row| read(row).map(obs_core::Json::as_bytes)),
        Read::Integer(read) => fixed(rows, element, |row| Some(read(row).to_be_bytes())),
        Read::Float(read) => fixed(rows, element, |row| read(row).map(|one| one.to_be_bytes())),
        Read::Boolean(read) => fixed(rows, element, |row| Some([u8::from(*read(row))])),
        Read::Time(read) => {
            fixed(rows, element, |row| Some(read(row).saturating_sub(POSTGRES_EPOCH).to_be_bytes()))
        }
    }
}

/// Stands for the length of an element that is NULL.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// An empty array with room for so many bytes of elements, beside their lengths.
fn array(rows: usize, element: u32, bytes: usize) -> Result<Vec<u8>, TryFromIntError> {
    const DIMENSIONS: i32 = 1;
    const HAS_NULLS: i32 = 1;
    const LOWER_BOUND: i32 = 1;
    const HEADER_BYTES: usize = 20;
    let mut array = Vec::with_capacity(HEADER_BYTES + rows * NULL.len() + bytes);
    array.extend_from_slice(&DIMENSIONS.to_be_bytes());
    array.extend_from_slice(&HAS_NULLS.to_be_bytes());
    array.extend_from_slice(&element.to_be_bytes());
    array.extend_from_slice(&i32::try_from(rows)?.to_be_bytes());
    array.extend_from_slice(&LOWER_BOUND.to_be_bytes());
    Ok(array)
}

fn fixed<const N: usize>(
    rows: &[&RunRecord],
    element: u32,
    read: impl Fn(&RunRecord) -> Option<[u8; N]>,
) -> Result<Vec<u8>, TryFromIntError> {
    let mut array = array(rows.len(), element, rows.len() * N)?;
    let length = i32::try_from(N)?.to_be_bytes();
    for row in rows {
        match read(row) {
            Some(bytes) => {
                array.extend_from_slice(&length);
                array.extend_from_slice(&bytes);
            }
            None => array.extend_from_slice(&NULL),
        }
    }
    Ok(array)
}

fn texts(
    rows: &[&RunRecord],
    element: u32,
    read: impl Fn(&RunRecord) -> Option<&[u8]>,
) -> Result<Vec<u8>, TryFromIntError> {
    let bytes = rows.iter().filter_map(|row| read(row)).map(<[u8]>::len).sum();
    let mut array = array(rows.len(), element, bytes)?;
    for row in rows {
        match read(row) {
            Some(text) => {
                array.extend_from_slice(&i32::try_from(text.len())?.to_be_bytes());
                array.extend_from_slice(text);
            }
            None => array.extend_from_slice(&NULL),
        }
    }
    Ok(array)
}

#[cfg(test)]
mod tests {
    use obs_core::testing::record;

    use super::*;

    #[test]
    fn an_array_is_written_into_memory_of_its_size() {
        let mut records = [record("bonus", "1"), record("", "2"), record("bonus", "3")];
        records[1].subject = Some("user-7".into());
        records[2].value = Some(1.5);
        let rows: Vec<&RunRecord> = records.iter().collect();
        for column in run_columns().chain(&AUDIT) {
            let array = array_of(column.read, &rows, 25).unwrap();
            if let Read::Text(_) | Read::Json(_) = column.read {
                assert_eq!(array.capacity(), array.len(), "{}", column.name);
            }
            // Where another value is NULL, its room is left over.
            assert!(array.len() <= array.capacity(), "{}", column.name);
            assert!(array.capacity() <= array.len() + rows.len() * 16, "{}", column.name);
        }
        let Read::Text(subject) = RUN[8].read else { panic!("the subject is a text") };
        let array = texts(&rows, 25, |row| subject(row).map(str::as_bytes)).unwrap();
        let mut expected = [1, 1, 25, 3, 1, -1_i32, 6].map(i32::to_be_bytes).concat();
        expected.extend_from_slice(b"user-7");
        expected.extend_from_slice(&NULL);
        assert_eq!(array, expected);
    }
}
