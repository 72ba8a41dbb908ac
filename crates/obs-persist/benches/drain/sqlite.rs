//! The sides that write to SQLite: ours, and the same rows by hand.

use std::{fs, path::Path};

use obs_core::RunRecord;
use rusqlite::{Connection, ToSql, types::ToSqlOutput, types::ValueRef};

use crate::{
    BATCH,
    measure::{Sample, measure},
    rows::{Cell, PAYLOAD, RUN, payload_cells, run_cells, trace_bytes},
};

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match *self {
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Integer(number) | Self::Time(number) => ValueRef::Integer(number),
            Self::Float(number) => ValueRef::Real(number),
            Self::Boolean(truth) => ValueRef::Integer(i64::from(truth)),
            Self::Null => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// An empty file with our tables, copied from `template`.
pub(crate) fn fresh(template: &Path, file: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", file.display()));
    }
    fs::copy(template, file).unwrap();
}

/// Two prepared statements, one transaction a batch, the same settings.
pub(crate) fn by_hand(file: &Path, rows: &[RunRecord]) -> Sample {
    let connection = Connection::open(file).unwrap();
    // As the store sets them; the log is checkpointed as often.
    for pragma in [
        "busy_timeout = 5000",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "wal_autocheckpoint = 256",
        "journal_size_limit = 4194304",
    ] {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |_| Ok(())).ok();
    }
    let insert = |table: &str, columns: &str, count: usize| {
        let marks = vec!["?"; count].join(", ");
        format!("INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT (run_id) DO NOTHING")
    };
    let mut run = connection.prepare(&insert("run", RUN, 28)).unwrap();
    let mut payload = connection.prepare(&insert("run_payload", PAYLOAD, 9)).unwrap();
    measure(None, rows.len(), || {
        for batch in rows.chunks(BATCH) {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            for row in batch {
                run.execute(rusqlite::params_from_iter(run_cells(row))).unwrap();
                payload.execute(rusqlite::params_from_iter(payload_cells(row))).unwrap();
            }
            connection.execute_batch("COMMIT").unwrap();
        }
    })
}

/// What is in the file is what was written.
pub(crate) fn check(side: &str, file: &Path, rows: &[RunRecord]) {
    let connection = Connection::open(file).unwrap();
    let query = "SELECT (SELECT count(*) FROM run), count(*), coalesce(sum(octet_length(trace)), 0) FROM run_payload";
    let found: [i64; 3] =
        connection.query_row(query, [], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap();
    let count = i64::try_from(rows.len()).unwrap();
    assert_eq!(
        found,
        [count, count, trace_bytes(rows).cast_signed()],
        "{side} wrote something else"
    );
}
